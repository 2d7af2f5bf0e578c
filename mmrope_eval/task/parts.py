"""From a dataset row to what the model is given: its pictures, its video with subtitles and its text, in reading order.

`Reader` makes a sample's request from its row, in this process or in another one.
"""

from __future__ import annotations

import platform
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.data.cache import unpack
from mmrope_eval.data.lmudata import PROBLEM
from mmrope_eval.data.media_files import ContentHashes, MediaFolder, NoSuchFileError
from mmrope_eval.data.places import Located
from mmrope_eval.errors import MissingMediumError, SampleError, full_trace, sentence
from mmrope_eval.media.sources import require_regular
from mmrope_eval.messages import Failure, ImageSource, Part, Request, VideoSource
from mmrope_eval.task.clusters import contents
from mmrope_eval.task.sample import Sample
from mmrope_eval.task.template import Doc, render
from mmrope_eval.words import flat

if TYPE_CHECKING:
    from mmrope_eval.task.dataset import TaskRows


def check_made(doc: Doc) -> None:
    """SampleError for a row of VLMEvalKit's table that could not be made into one of the data set."""
    if problem := doc.get(PROBLEM):
        raise SampleError(problem)


def check_question(field: str | None, doc: Doc) -> None:
    """SampleError when the question is empty: there is nothing to ask."""
    if field is not None and not str(doc.get(field) or "").strip():
        raise SampleError(f"the question is empty (field '{field}').")


def with_subtitles(media: Mapping[str, Any], doc: Doc, files: MediaFolder | None) -> Doc:
    """The row with the text of its subtitle file as `subtitles` where the task wants it; "" when there is no file."""
    if "subtitles" not in media:
        return doc
    try:
        file = on_disk(_find(media["subtitles"], doc, files))
        text = subtitle_text(file.read_text(encoding="utf-8", errors="replace"))
    except MissingMediumError:
        text = ""
    return {**doc, "subtitles": text}


def build_parts(media: Mapping[str, Any], prompt: str, doc: Doc, files: MediaFolder | None) -> tuple[Part, ...]:
    """What the model is given, in reading order. MissingMediumError for a medium that is not there. Media come first,
    then the text, as Qwen's own examples order them; with a `placeholder`, every picture comes where the prompt first
    names it. Of `images` those are shown that the row has, of `image` every one."""
    if "video" in media:
        file, start, end = locate_video(media, doc, files)
        return (VideoSource(on_disk(file), start, end), prompt)
    if "placeholder" in media:
        return interleaved(media["images"], media["placeholder"], prompt, doc, files)
    if "images" in media:
        return (*(read_image(doc, name, files) for name in _filled(media["images"], doc)), prompt)
    fields = media.get("image", [])
    return (*(read_image(doc, name, files) for name in ([fields] if isinstance(fields, str) else fields)), prompt)


def _filled(fields: Sequence[str], doc: Doc) -> Sequence[str]:
    """The first of `fields`, as many as the row has pictures. MissingMediumError for none, and for a gap between them.
    Only a field without a value is no picture: one whose picture is lost is among them, and fails when it is read."""
    filled = [name for name in fields if doc.get(name) is not None]
    lacking = next((name for name in fields if name not in filled), None)
    if not filled:
        raise MissingMediumError(f"the row has no image in any of the fields {', '.join(fields)}.")
    if filled != list(fields[: len(filled)]):
        raise MissingMediumError(f"the row has no image in field '{lacking}', but one in '{filled[-1]}'.")
    return filled


def locate_video(media: Mapping[str, Any], doc: Doc,
                 files: MediaFolder | None) -> tuple[Located, float | None, float | None]:
    """A row's video, as a file or still in its archive, and the span asked for. MissingMediumError without a file."""
    start, end = (doc.get(media[key]) if key in media else None for key in ("start", "end"))
    return _find(media["video"], doc, files), start, end


def on_disk(file: Located) -> Path:
    """A medium as a file; one that lies in an archive is unpacked into the cache."""
    return file if isinstance(file, Path) else unpack(file)


def interleaved(fields: Sequence[str], placeholder: str, prompt: str, doc: Doc,
                files: MediaFolder | None = None) -> tuple[Part, ...]:
    """Text and pictures in reading order: `placeholder` with the number n stands for the n-th of `fields`. A picture is
    shown once, where it is first named; a later mention stays text. Pictures that the prompt does not name are not
    shown. MissingMediumError when it names none, or one that the row does not hold."""
    places = {placeholder.format(number): field for number, field in enumerate(fields, 1)}
    parts: list[Part] = []
    text = ""
    for piece in re.split(f"({'|'.join(map(re.escape, places))})", prompt):
        if piece not in places:
            text += piece
            continue
        parts += [*([text] if text else []), read_image(doc, places.pop(piece), files)]
        text = ""
    if not parts:
        raise MissingMediumError(f"the prompt names no image ({placeholder.format(1)} ...).")
    return (*parts, text) if text else tuple(parts)


def _find(names: str | Sequence[str], doc: Doc, files: MediaFolder | None) -> Located:
    """The first file of a field name, a template of the file's name, or a list of these, that is there."""
    if files is None:
        raise MissingMediumError("the task needs videos, but no folder of videos is known.")
    missing: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        try:
            return files.find(render(name, doc) if "{{" in name else str(doc[name]))
        except NoSuchFileError as error:
            missing.append(str(error))
    raise MissingMediumError(missing[0])


def read_image(doc: Doc, field: str, files: MediaFolder | None = None) -> ImageSource:
    """A picture's bytes, or its file where the row has only a path: one of the data set's own files and no other."""
    value = doc.get(field)
    if isinstance(value, Mapping) and value.get("bytes"):
        return ImageSource(bytes(value["bytes"]))
    if isinstance(value, Mapping) and value.get("path") and files is not None:
        try:
            return ImageSource(files.row_file(str(value["path"])))
        except NoSuchFileError as error:
            raise MissingMediumError(str(error)) from error
    raise MissingMediumError(f"the row has no image in field '{field}'.")


def subtitle_text(content: str) -> str:
    """The spoken lines of a SubRip file in order, without numbers, times and markup; a line repeated at once, once."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", content.replace("\r\n", "\n")):
        rows = block.strip().split("\n")
        times = next((i for i, row in enumerate(rows) if "-->" in row), len(rows))
        text = flat(re.sub(r"<[^>]*>", "", " ".join(rows[times + 1 :])))
        if text and lines[-1:] != [text]:
            lines.append(text)
    return "\n".join(lines)


class LazyDocs:
    """A task's rows, loaded when first needed: a run that has all its answers needs none. What is sent to another
    process is how to load them (`load`, if it can be pickled), not the rows."""

    def __init__(self, load: Callable[[], TaskRows]) -> None:
        self._load = load
        self._docs: TaskRows | None = None
        self._loading = threading.Lock()

    def get(self) -> TaskRows:
        """The rows. UserError when the dataset cannot be loaded."""
        with self._loading:
            if self._docs is None:
                self._docs = self._load()
            return self._docs

    def __reduce__(self) -> tuple[type[LazyDocs], tuple[Callable[[], TaskRows]]]:
        return LazyDocs, (self._load,)


def content_of(part: ImageSource | VideoSource) -> str:
    """sha256 of an encoded image, or of a video's file, which is remembered. UserError, MediaError."""
    return ContentHashes().of_located(part.path) if isinstance(part, VideoSource) else image_fingerprint(part)


def image_fingerprint(source: ImageSource) -> str:
    """sha256 of an image's bytes. Raises MediaError for a path that is no regular file: a pipe would block for ever."""
    if not isinstance(source.data, Path):
        return str(source.digest)
    require_regular(source.data, "image")
    return ContentHashes().of_located(source.data)


@dataclass(frozen=True)
class Reader:
    """Makes one task's requests; light to send, as it holds no rows."""

    media: Mapping[str, Any]
    """The task's (`TaskSpec.media`)."""
    enable_thinking: bool | None
    docs: LazyDocs

    def request(self, sample: Sample) -> Request:
        """The engine's request for a sample. SampleError when its media are not those of the plan: gone, or others."""
        docs = self.docs.get()
        parts = build_parts(self.media, sample.prompt, docs.rows[sample.index], docs.files)
        shown = [content_of(part) for part in parts if not isinstance(part, str)]
        if shown != contents(sample.media):
            raise MissingMediumError("what it shows is not what was planned: its data changed meanwhile, or are others "
                                     f"on this machine ({platform.node()}).")  # fmt: skip
        return Request(sample.id, parts, sample.generation, sample.system, self.enable_thinking)

    def __call__(self, sample: Sample) -> Request | Failure:
        """The request, or why there is none."""
        try:
            return self.request(sample)
        except SampleError as error:
            return Failure(sample.id, error.stage, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a dataset's reader may raise anything
            return Failure(sample.id, "media", f"it cannot be read ({sentence(error)}).", trace=full_trace(error))

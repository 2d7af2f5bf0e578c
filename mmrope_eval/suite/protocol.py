"""From a dataset row to what the model sees and what its answer is measured against.

Everything task-specific comes from the task file: which fields hold media (`media`), the wording (`prompt`, a Jinja
template), the question field that may not be empty, and the target (Jinja expressions). The three `doc_to_*` functions
are what the task files name, for lmms-eval's own evaluator; `evaluate.py` uses the functions below them directly.
"""

from __future__ import annotations

import functools
import io
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import jinja2
import jinja2.nodes

from mmrope_eval.data.cache import unpack
from mmrope_eval.data.lmudata import PROBLEM
from mmrope_eval.data.media_files import Located, MediaFolder, NoSuchFileError
from mmrope_eval.engine.types import ImageSource, Part, VideoSource
from mmrope_eval.models.bounded import MEMORY, BoundError, Bounds
from mmrope_eval.models.families import DEFAULT_FAMILY
from mmrope_eval.models.template import Sandbox, check_length
from mmrope_eval.suite.choice import LETTERS, read_options
from mmrope_eval.suite.task_yaml import unknown

Doc = Mapping[str, Any]
Result = TypeVar("Result")


class SampleError(Exception):
    """A dataset row that cannot become a sample; one sentence."""

    stage: Literal["media", "prompt", "target"] = "prompt"


class TargetError(SampleError):
    """The row's right answer cannot be read or scored."""

    stage = "target"


class MissingMediumError(SampleError):
    """The row's image or video is not there."""

    stage = "media"


def render(template: str, doc: Doc) -> str:
    """A prompt from its Jinja template; SampleError when the row lacks a field that it uses, or when it takes more time
    or text than a prompt does."""

    def write() -> str:
        pieces, length, given = [], 0, sum(len(value) for value in doc.values() if isinstance(value, str))
        for piece in _template(template).generate(**doc):
            pieces.append(piece)
            length += len(piece)
            check_length(length, given)
        return "".join(pieces)

    try:
        return _ended(template, write)
    except BoundError as error:
        raise SampleError(f"the prompt's template {error}.") from error
    except jinja2.UndefinedError as error:
        raise SampleError(f"the prompt uses a field the row does not have ({error}).") from error


def template_fields(template: str) -> set[str]:
    """The row's fields that a Jinja template cannot do without: it reads them and nowhere asks whether they exist."""
    from jinja2 import meta, nodes

    tree = _environment().parse(template)
    asked: list[nodes.Expr | None] = [node.node for node in tree.find_all(nodes.Test) if node.name == "defined"]
    asked += [node.node for node in tree.find_all(nodes.Filter) if node.name == "default"]
    return meta.find_undeclared_variables(tree) - {node.name for node in asked if isinstance(node, nodes.Name)}


def expression_fields(expression: str) -> set[str]:
    """The row's fields that a Jinja expression reads."""
    return template_fields("{{" + expression + "}}")


def template_problem(text: str, expression: bool = False) -> str | None:
    """What is wrong with a Jinja template or expression before any row is seen, in one sentence; None for nothing."""
    environment = _environment()
    try:
        tree = _parsed_expression(text) if expression else environment.parse(text)
    except jinja2.TemplateSyntaxError as error:
        line = f" in line {error.lineno}" if "\n" in text else ""
        return f"Jinja cannot read it{line}: {(error.message or 'a syntax error').rstrip('.')}."
    if next(tree.find_all((jinja2.nodes.Include, jinja2.nodes.Extends, jinja2.nodes.Import)), None) is not None:
        return "a template stands alone here, without include, extends and import."
    for node in (tree, *tree.find_all((jinja2.nodes.Filter, jinja2.nodes.Test))):
        for kind, of, known in (("filter", jinja2.nodes.Filter, environment.filters),
                                ("test", jinja2.nodes.Test, environment.tests)):
            if isinstance(node, of) and node.name not in known:
                return unknown(f"{kind} called", node.name, known, "docs/benchmark.md")
    return None


def _parsed_expression(text: str) -> jinja2.nodes.Expr:
    from jinja2.parser import Parser

    parser = Parser(_environment(), text, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        raise jinja2.TemplateSyntaxError("chunk after expression", parser.stream.current.lineno)
    return tree


def build_target(expressions: Mapping[str, str], doc: Doc) -> dict[str, Any]:
    """Each target field from its Jinja expression; SampleError when one cannot be computed from the row."""
    target = {}
    for name, expression in expressions.items():
        try:
            target[name] = evaluate(expression, doc)
        except ValueError as error:
            raise TargetError(f"the target '{name}' cannot be read from the row ({error}).") from error
    return target


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """The value of a Jinja expression over a row's fields. ValueError when it has none."""
    try:
        value = _ended(expression, lambda: _expression(expression)(**names))
    except BoundError as error:
        raise ValueError(f"{expression[:200]}: it {error}") from error
    except (jinja2.UndefinedError, TypeError, ValueError, LookupError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    if isinstance(value, jinja2.Undefined):
        raise ValueError(f"{expression}: it uses a field the row does not have")
    return value


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
    """What the model is given, in reading order. MissingMediumError for a medium that is not there.

    Media come first, then the text, as Qwen's own examples order them; with a `placeholder`, every picture comes where
    the prompt first names it. Of `images` those are shown that the row has, of `image` every one.
    """
    if "video" in media:
        file, start, end = locate_video(media, doc, files)
        return (VideoSource(on_disk(file), start, end), prompt)
    if "placeholder" in media:
        return interleaved(media["images"], media["placeholder"], prompt, doc, files)
    if "images" in media:
        return (*(_image(doc, name, files) for name in _filled(media["images"], doc)), prompt)
    fields = media.get("image", [])
    return (*(_image(doc, name, files) for name in ([fields] if isinstance(fields, str) else fields)), prompt)


def _filled(fields: Sequence[str], doc: Doc) -> Sequence[str]:
    """The first of `fields`, as many as the row has pictures. MissingMediumError for none, and for a gap between them.

    Only a field without a value is no picture: one whose picture is lost is among them, and fails when it is read.
    """
    there = [name for name in fields if doc.get(name) is not None]
    lacking = next((name for name in fields if name not in there), None)
    if not there:
        raise MissingMediumError(f"the row has no image in any of the fields {', '.join(fields)}.")
    if there != list(fields[: len(there)]):
        raise MissingMediumError(f"the row has no image in field '{lacking}', but one in '{there[-1]}'.")
    return there


def locate_video(
    media: Mapping[str, Any], doc: Doc, files: MediaFolder | None
) -> tuple[Located, float | None, float | None]:
    """A row's video, as a file or still in its archive, and the span asked for. MissingMediumError without a file."""
    start, end = (doc.get(media[key]) if key in media else None for key in ("start", "end"))
    return _find(media["video"], doc, files), start, end


def on_disk(file: Located) -> Path:
    """A medium as a file; one that lies in an archive is unpacked into the cache."""
    return file if isinstance(file, Path) else unpack(file)


def interleaved(
    fields: Sequence[str], placeholder: str, prompt: str, doc: Doc, files: MediaFolder | None = None
) -> tuple[Part, ...]:
    """Text and pictures in reading order: `placeholder` with the number n stands for the n-th of `fields`.

    A picture is shown once, where it is first named; a later mention stays text. Pictures that the prompt does not
    name are not shown. MissingMediumError when it names none, or one that the row does not hold.
    """
    places = {placeholder.format(number): field for number, field in enumerate(fields, 1)}
    parts: list[Part] = []
    text = ""
    for piece in re.split(f"({'|'.join(map(re.escape, places))})", prompt):
        if piece not in places:
            text += piece
            continue
        parts += [*([text] if text else []), _image(doc, places.pop(piece), files)]
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


def _image(doc: Doc, field: str, files: MediaFolder | None = None) -> ImageSource:
    """A picture's bytes, or its file where the row has only a path: one of the data set's own files and no other."""
    value = doc.get(field)
    if isinstance(value, Mapping) and value.get("bytes"):
        return ImageSource(bytes(value["bytes"]))
    if isinstance(value, Mapping) and value.get("path") and files is not None:
        try:
            return ImageSource(files.own(str(value["path"])))
        except NoSuchFileError as error:
            raise MissingMediumError(str(error)) from error
    raise MissingMediumError(f"the row has no image in field '{field}'.")


# --------------------------------------------------------------------------------------------------------------
# lmms-eval's interface


def doc_to_visual(doc: Doc, lmms_eval_specific_kwargs: Mapping[str, Any]) -> list[Any]:
    """lmms-eval: decoded RGB pictures, or the path of the video file."""
    from PIL import Image

    media, files = _media(lmms_eval_specific_kwargs)
    # Under lmms-eval the pictures go before the text, wherever a placeholder names them.
    prompt = render(lmms_eval_specific_kwargs["prompt"], doc) if "placeholder" in media else ""
    found: list[Any] = []
    for part in build_parts(media, prompt, doc, files):
        if isinstance(part, ImageSource):
            data = io.BytesIO(part.data) if isinstance(part.data, bytes) else part.data
            found.append(Image.open(data).convert("RGB"))
        elif isinstance(part, VideoSource):
            found.append(str(part.path))
    return found


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: Mapping[str, Any]) -> str:
    """lmms-eval: the prompt."""
    media, files = _media(lmms_eval_specific_kwargs)
    return render(lmms_eval_specific_kwargs["prompt"], with_subtitles(media, doc, files))


def _media(kwargs: Mapping[str, Any]) -> tuple[Mapping[str, Any], MediaFolder | None]:
    media, roots = kwargs["media"], kwargs.get("media_roots")
    return media, MediaFolder(tuple(map(Path, roots)), tuple(media.get("folders", ()))) if roots else None


def doc_to_target(doc: Doc, model_specific_target_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """lmms-eval: the scorer's target, with the scorer's name in it for `metrics.Metric`.

    Boxes need the size of the resized picture; under lmms-eval nobody reports it, so it follows from the default media
    policy. `evaluate.py` uses the size that was really fed.
    """
    kwargs = model_specific_target_kwargs
    target = build_target(kwargs["target"], doc)
    if kwargs["scorer"] == "box":
        target |= {"coordinates": kwargs["coordinates"], **_sizes(doc, kwargs.get("image", "image"))}
    return {"scorer": kwargs["scorer"], **target}


def _sizes(doc: Doc, field: str) -> dict[str, tuple[int, int]]:
    from PIL import Image

    from mmrope_eval.engine.media_policy import published_size

    source = _image(doc, field).data
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
        size = picture.size
    return {"source_size": size, "used_size": published_size(*size, DEFAULT_FAMILY)}


# --------------------------------------------------------------------------------------------------------------


def parsed(value: Any) -> Any:
    """Jinja filter: a field that some uploads store as JSON text and others as a list."""
    return json.loads(value) if isinstance(value, str) else value


def lettered(options: Any, line: str = "{}. {}") -> str:
    """Jinja filter: one line an option, its letter and its text, from whatever `choice.read_options` reads."""
    return "\n".join(line.format(letter, text) for letter, text in read_options(options).items())


def letter_at(index: Any) -> str:
    """Jinja filter: the letter of an option by its place from 0. ValueError for what is no place."""
    text = str(index).strip()
    if not text.isdecimal() or int(text) >= len(LETTERS):
        raise ValueError(f"{index!r} is no place in a list of options")
    return LETTERS[int(text)]


def chinese(text: Any) -> bool:
    """Jinja test: whether a text has a Chinese character, by the range that VLMEvalKit looks for."""
    return re.search("[\u4e00-\u9fff]", str(text)) is not None


def subtitle_text(content: str) -> str:
    """The spoken lines of a SubRip file in order, without numbers, times and markup; a line repeated at once, once."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", content.replace("\r\n", "\n")):
        rows = block.strip().split("\n")
        times = next((i for i, row in enumerate(rows) if "-->" in row), len(rows))
        text = " ".join(re.sub(r"<[^>]*>", "", " ".join(rows[times + 1 :])).split())
        if text and lines[-1:] != [text]:
            lines.append(text)
    return "\n".join(lines)


STOPPED: Final = 3
"""Rows at which a template may take too long; no more are tried, as each costs ten seconds."""


def _ended(template: str, work: Callable[[], Result]) -> Result:
    """What `work` gives, in bounded time. `BoundError` where it was stopped, or such a template was too often."""
    stopped = _stopped(template)
    if len(stopped) >= STOPPED:
        raise BoundError(f"{stopped[-1]} at {STOPPED} rows before")
    try:
        return _bounds(threading.get_ident()).run(work)
    except BoundError as error:
        if "took" in str(error):
            stopped.append(str(error))
        raise


@functools.lru_cache(maxsize=256)
def _stopped(template: str) -> list[str]:
    """Why a template was stopped, once for each time."""
    return []


@functools.lru_cache(maxsize=64)
def _bounds(thread: int) -> Bounds:
    """A thread's own; only one call at a time may run in one."""
    return Bounds(memory=MEMORY)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters |= {"parsed": parsed, "lettered": lettered, "options": read_options, "letter": letter_at}
    environment.tests["chinese"] = chinese
    return environment


@functools.lru_cache(maxsize=256)
def _template(text: str) -> jinja2.Template:
    return _environment().from_string(text)


@functools.lru_cache(maxsize=256)
def _expression(text: str) -> Callable[..., Any]:
    return _environment().compile_expression(text, undefined_to_none=False)

"""Making a sample's request from its row, in this process or in another one."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.data.hashes import ContentHashes
from mmrope_eval.errors import SampleError, full_trace, sentence
from mmrope_eval.media.sources import require_regular
from mmrope_eval.messages import Failure, ImageSource, Request, VideoSource
from mmrope_eval.task.clusters import contents
from mmrope_eval.task.parts import build_parts
from mmrope_eval.task.sample import Sample

if TYPE_CHECKING:
    from mmrope_eval.task.dataset import Docs


class LazyDocs:
    """A task's rows, loaded when first needed: a run that has all its answers needs none. What is sent to another
    process is how to load them (`load`, if it can be pickled), not the rows."""

    def __init__(self, load: Callable[[], Docs]) -> None:
        self._load = load
        self._docs: Docs | None = None
        self._loading = threading.Lock()

    def get(self) -> Docs:
        """The rows. UserError when the dataset cannot be loaded."""
        with self._loading:
            if self._docs is None:
                self._docs = self._load()
            return self._docs

    def __reduce__(self) -> tuple[type[LazyDocs], tuple[Callable[[], Docs]]]:
        return LazyDocs, (self._load,)


class OtherMediumError(SampleError):
    """A medium with another content than the plan's."""

    stage = "media"


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
            raise OtherMediumError("what it shows is not what was planned: its data changed meanwhile, or are others "
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

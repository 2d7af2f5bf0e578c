"""What a run will ask: every sample's prompt, media and target, and the identity under which its response is kept.

A sample is light (no pixels): media are read again from the dataset when its request is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmrope_eval.engine.media_policy import MediaError
from mmrope_eval.engine.media_sources import require_regular
from mmrope_eval.engine.types import Generation, ImageSource, Part, Request, VideoSource
from mmrope_eval.errors import UserError
from mmrope_eval.models.files import FileHashes
from mmrope_eval.suite.data import Docs
from mmrope_eval.suite.protocol import SampleError, build_parts, build_target, check_question, render, with_subtitles
from mmrope_eval.suite.registry import Family, TaskSpec

SEPARATOR = "/"


@dataclass(frozen=True)
class Sample:
    """One question: everything but the media's content, of which it holds fingerprints."""

    id: str
    """`task/index`, the index counting the task's samples from 0."""
    task: str
    index: int
    prompt: str
    system: str | None
    media: tuple[str, ...]
    """A fingerprint of each source, in order: of an image's bytes, of a video file's content and span."""
    generation: Generation
    target: Mapping[str, Any] | None
    problem: tuple[Literal["media", "prompt"], str] | None = None
    """Stage and cause why the row cannot be asked at all; such a sample is a failure before any engine sees it."""

    def content_key(self) -> list[Any]:
        """What the model is asked, without who is asked: JSON-able, the same for every checkpoint and variant."""
        return [self.media, self.prompt, self.system, dataclasses.astuple(self.generation), self.problem]


class LazyDocs:
    """A task's rows, loaded when first needed: a run that has all its answers needs none."""

    def __init__(self, load: Callable[[], Docs]) -> None:
        self._load = load
        self._docs: Docs | None = None

    def get(self) -> Docs:
        """The rows. UserError when the dataset cannot be loaded."""
        if self._docs is None:
            self._docs = self._load()
        return self._docs


@dataclass(frozen=True)
class TaskPlan:
    """One task's samples, and the rows they come from."""

    spec: TaskSpec
    family: Family
    samples: tuple[Sample, ...]
    docs: LazyDocs

    def fingerprint(self) -> str:
        """sha256 over the questions, media and targets: two runs with the same one measured the same thing."""
        return digest([[s.content_key(), s.target] for s in self.samples])

    def prompt_hash(self) -> str:
        """sha256 over the rendered prompts and the generation settings."""
        return digest([[s.prompt, s.system, dataclasses.astuple(s.generation)] for s in self.samples])

    def request(self, sample: Sample) -> Request:
        """The engine's request for a sample. SampleError when its media are gone since the plan was made."""
        docs = self.docs.get()
        parts = build_parts(self.spec.media, sample.prompt, docs.rows[sample.index], docs.videos)
        return Request(sample.id, parts, sample.generation, sample.system)


def plan_samples(
    spec: TaskSpec, docs: Docs, family: Family, limit: int | None, seed: int = 0
) -> tuple[Sample, ...]:
    """The task's first `limit` samples (all without one), exactly that many when the task has them."""
    count = len(docs.rows) if limit is None else min(limit, len(docs.rows))
    # Greedy decoding draws nothing, so another seed must not make another response of it.
    generation = dataclasses.replace(spec.generation, seed=seed if spec.generation.temperature > 0 else 0)
    return tuple(plan_sample(spec, docs, family, index, generation) for index in range(count))


def plan_sample(spec: TaskSpec, docs: Docs, family: Family, index: int, generation: Generation) -> Sample:
    """One sample. Whatever is wrong with the row, or the task's own code does with it, becomes its `problem`."""
    prompt = ""
    media: tuple[str, ...] = ()
    target: dict[str, Any] | None = None
    problem: tuple[Literal["media", "prompt"], str] | None = None
    try:
        row = with_subtitles(spec.media, docs.rows[index], docs.videos)
        target = build_target(spec.target, row)
        prompt = render(spec.prompt(family.prompts), row)
        check_question(spec.question, row)
        parts = build_parts(spec.media, prompt, row, docs.videos)
        media = tuple(source_fingerprint(part) for part in parts if not isinstance(part, str))
    except SampleError as error:
        problem = (error.stage, str(error))
    except (MediaError, UserError) as error:
        problem = ("media", str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a task's code may even call sys.exit; one row must not end a run
        problem = ("prompt", f"the row cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:300]}).")
    name = f"{spec.name}{SEPARATOR}{index}"
    return Sample(name, spec.name, index, prompt, family.system, media, generation, target, problem)


def identity(sample: Sample, context: Mapping[str, Any]) -> str:
    """sha256 over all that can change a response: the question and its media, and the run's `context` (weights,
    variant, media policy, versions, precision)."""
    return digest([sample.content_key(), context])


def digest(value: Any) -> str:
    """sha256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_jsonable)
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def source_fingerprint(part: Part) -> str:
    """A medium before any policy: sha256 of the image's bytes, or of the video file's with the span asked for.

    Raises MediaError for a path that is no regular file: a pipe would block for ever.
    """
    if isinstance(part, ImageSource):
        if isinstance(part.data, bytes):
            return hashlib.sha256(part.data).hexdigest()
        require_regular(part.data, "image")
        return FileHashes().of(part.data)
    assert isinstance(part, VideoSource)
    require_regular(part.path, "video")
    # Remembered by size and time: hashing a thousand videos at every start would cost minutes.
    return f"{FileHashes().of(part.path)}@{part.start}-{part.end}"

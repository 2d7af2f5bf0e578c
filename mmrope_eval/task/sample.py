"""One question of a run, and the identity under which its response is kept."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmrope_eval.messages import Generation
from mmrope_eval.task.clusters import VIDEO_MARK

TIME = "time"
"""Of a run's context: what frames are counted in, where it is not the clock of version 0.3 and before."""

Stage = Literal["media", "prompt", "target"]


@dataclass(frozen=True, slots=True)
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
    problem: tuple[Stage, str] | None = None
    """Stage and cause why the row cannot be asked at all; such a sample is a failure before any engine sees it."""
    cluster: str | None = None
    """What the task's own expression says that it stands or falls with (`clusters.named_cluster`)."""

    def content_key(self) -> list[Any]:
        """What the model is asked, without who is asked: JSON-able, the same for every checkpoint and variant."""
        return [self.media, self.prompt, self.system, generation_key(self.generation), self.problem]


@functools.lru_cache(maxsize=64)
def generation_key(generation: Generation) -> tuple[Any, ...]:
    """A generation's values; a task's samples share one."""
    return dataclasses.astuple(generation)


def shows_video(sample: Sample) -> bool:
    """Whether a video is among a question's media."""
    return any(VIDEO_MARK in medium for medium in sample.media)


@dataclass(frozen=True, slots=True)
class Key:
    """Under what an outcome is kept: its identity, and the part of it that is the question alone."""

    identity: str
    question: str


def keys(samples: Iterable[Sample], context: Mapping[str, Any]) -> dict[str, Key]:
    """The key of every sample, by its id: sha256 over all that can change a response, which is the question and its
    media, and the run's `context` (weights, variant, media policy, versions, precision), of which `time` bears on
    videos alone."""
    of_video, of_others = canonical(context), canonical({key: value for key, value in context.items() if key != TIME})
    by_sample = {}
    for sample in samples:
        question, bearing = canonical(sample.content_key()), of_video if shows_video(sample) else of_others
        by_sample[sample.id] = Key(_sha256(f"[{question},{bearing}]"), _sha256(question)[:32])
    return by_sample


def digest(value: Any) -> str:
    """sha256 of a JSON-able value in canonical form."""
    return _sha256(canonical(value))


def digest_of(values: Iterable[Any]) -> str:
    """`digest` of the list of these values, of which never two are held at a time."""
    content = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        content.update(f"{',' if number else ''}{canonical(value)}".encode("utf-8", "surrogatepass"))
    content.update(b"]")
    return content.hexdigest()


def canonical(value: Any) -> str:
    """A JSON-able value as text that is the same for equal values."""
    return _encoder().encode(value)


@functools.cache
def _encoder() -> json.JSONEncoder:
    return json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_jsonable)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)

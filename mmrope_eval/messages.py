"""What goes into a live engine and what comes out: requests, responses, failures, media facts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class ImageSource:
    """An encoded image: a file, or the file's bytes as a dataset row holds them."""

    data: bytes | Path

    @cached_property
    def digest(self) -> str | None:
        """sha256 of the bytes, taken once wherever the source is sent; None for a file, whose content may change."""
        return hashlib.sha256(self.data).hexdigest() if isinstance(self.data, bytes) else None


@dataclass(frozen=True)
class VideoSource:
    """A video file, optionally cut to the seconds from `start` to `end`."""

    path: Path
    start: float | None = None
    end: float | None = None


Part = str | ImageSource | VideoSource


@dataclass(frozen=True)
class Generation:
    """How to decode. Greedy unless a temperature is given; `max_tokens` is never raised behind the task's back."""

    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    ignore_eos: bool = False
    logprobs: bool = False
    """Also return the log-probability of every prompt and generated token."""


@dataclass(frozen=True)
class Request:
    """One user turn: text and media in reading order, rendered with the checkpoint's own chat template."""

    id: str
    content: tuple[Part, ...]
    generation: Generation
    system: str | None = None
    enable_thinking: bool | None = None
    """What the chat template is told by this name; None: nothing."""

    def made(self) -> Request:
        """The request: it needs no making, unlike a `Deferred` one."""
        return self


@dataclass(frozen=True)
class MediaFacts:
    """What was done to one image or video before the model saw it. Sizes are (width, height) in pixels."""

    kind: Literal["image", "video"]
    fingerprint: str
    """sha256 over the source's content and the policy applied to it."""
    source_size: tuple[int, int]
    used_size: tuple[int, int]
    grid_thw: tuple[int, int, int]
    """Vision grid in patches (before spatial merging), as the processor counts it."""
    tokens: int
    """Vision tokens in the language model's sequence (after spatial merging)."""
    source_frames: int | None = None
    source_fps: float | None = None
    duration: float | None = None
    """Seconds, of the span that was asked for."""
    frame_indices: tuple[int, ...] = ()
    timestamps: tuple[float, ...] = ()
    """Presentation time in seconds of every frame used, relative to the span's start."""
    seconds_per_grid: float | None = None
    notes: tuple[str, ...] = ()
    """One sentence for each loss: resized, frames dropped, odd frame repeated."""


@dataclass(frozen=True)
class PositionFacts:
    """The position ids the engine really used for one prompt."""

    fingerprint: str
    """sha256 over the encoded (3, n) position ids and the delta."""
    max_position: float
    delta: float


@dataclass(frozen=True)
class Response:
    """One finished generation."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    media: tuple[MediaFacts, ...] = ()
    positions: PositionFacts | None = None
    prompt_token_ids: tuple[int, ...] = field(default=(), repr=False)
    prompt_logprobs: tuple[float, ...] | None = field(default=None, repr=False)
    """Log-probability of prompt tokens 1..n-1 given their prefix; None unless asked for."""
    logprobs: tuple[float, ...] | None = field(default=None, repr=False)
    thought_open: bool = False
    """Whether the prompt ended inside a thought that the chat template opened, so that no tag in `text` opens it."""


REPEATS = 8
"""So many times one token and nothing else, up to the limit, is a broken model and no answer."""


def no_answer(token_ids: Sequence[int], finish_reason: str) -> str | None:
    """Why generated tokens are no answer, in one sentence; None for an answer."""
    if finish_reason != "length" or len(token_ids) < REPEATS or len(set(token_ids)) > 1:
        return None
    return (f"the model repeats token {token_ids[0]} to the limit of {len(token_ids)}: its weights are not trained, or "
            "do not fit its variant or precision")  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A request that produced no answer, and why, in one sentence."""

    id: str
    stage: Literal["media", "prompt", "target", "positions", "engine"]
    """media: the sample's own file cannot be read; target: its right answer. The others may be the engine's fault."""
    cause: str
    media: tuple[MediaFacts, ...] = ()
    trace: str = field(default="", repr=False, compare=False)
    """What Python printed of an exception that nobody foresaw; for a log, not kept with the outcome."""


@dataclass(frozen=True)
class Deferred:
    """A request that is made when and where it is answered: what is needed for it is light, its media are not."""

    id: str
    source: Callable[[Any], Request | Failure]
    """Makes the request of `what`; one object for many requests. Both can be pickled."""
    what: Any
    together: str = ""
    """What it shows: neighbours that show the same are best answered by the same engine."""
    weight: int = 0
    """What answering it costs above others, in any unit: engines side by side get equal shares of it."""

    def made(self) -> Request | Failure:
        """The request, or why there is none."""
        return self.source(self.what)


class EngineDiedError(RuntimeError):
    """vLLM's engine cannot go on: a new one is needed, and what it had not answered must be asked again."""

    def __init__(self, cause: str, in_flight: Collection[str] | None = None) -> None:
        super().__init__(cause)
        self.in_flight = None if in_flight is None else tuple(in_flight)
        """Ids of the requests that it worked on; None where nobody knows."""


class EngineStartError(RuntimeError):
    """An engine could not be started: the error that its processes ended with, or that it took too long."""

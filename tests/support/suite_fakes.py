"""A stand-in for the live engine behind the same interface, for tests of what surrounds it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrope_eval.engine.backend import Engine, StartEngine
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, ImageSource, MediaFacts, Request, Response
from mmrope_eval.rope import Variant


@dataclass(frozen=True)
class FakeCheckpoint:
    """What the suite reads of a checkpoint."""

    path: Path
    family: str = "qwen2.5-vl"
    fingerprint: str = "weights-1"


def answer(request: Request, variant: str, fingerprint: str) -> str:
    """A deterministic text that depends on everything a real answer depends on."""
    seed = hashlib.sha256(f"{request.content[-1]}|{variant}|{fingerprint}".encode()).digest()
    x, y = seed[0] % 60, seed[1] % 40
    return f"[{x}, {y}, {x + seed[2] % 40}, {y + seed[3] % 30}] from {seed[4] % 9} to {seed[5] % 20} seconds"


@dataclass
class FakeEngine:
    """Answers in a scrambled order, several requests at a time, fails and dies where told to."""

    checkpoint: Any
    variant: Variant
    delay: float = 0.0
    fail: frozenset[str] = frozenset()
    fail_all: Failure | None = None
    """With this stage, cause and trace, but for `spared`."""
    spared: frozenset[str] = frozenset()
    poison: frozenset[str] = frozenset()
    """Samples that no engine survives."""
    capacity: int = 4
    """Requests in flight."""
    knows: bool = True
    """Whether it says at its death what was in flight."""
    dies_after: int | None = None
    """Answers, after which it is killed from outside."""
    lose_power_after: int | None = None
    """Answers, after which its stream raises what is no engine's death."""
    asks: Callable[[Request], None] | None = None
    """Called with every request before it is answered; what it raises ends the stream."""
    log: list[str] = field(default_factory=list)
    deaths: int = 0

    def stream(self, requests: Iterable[Request | Deferred]) -> Generator[Response | Failure, None, None]:
        window: list[Request] = []
        served = 0
        for item in requests:
            request = item.made()
            if isinstance(request, Failure):
                yield request
                continue
            window.append(request)
            if len(window) >= self.capacity:
                yield self.work(window, served % self.capacity)
                served += 1
                if self.lose_power_after is not None and served >= self.lose_power_after:
                    raise OSError("the engine died")
        while window:
            yield self.work(window, len(window) - 1)

    def work(self, window: list[Request], place: int) -> Response | Failure:
        """The outcome of one of the requests in flight, which leaves them; EngineDiedError instead."""
        killed = self.dies_after is not None and len(self.answered) >= self.dies_after
        if killed or window[place].id in self.poison:
            cause = "its process was killed" if killed else "its process ended with exit code 1"
            raise EngineDiedError(cause, [request.id for request in window] if self.knows else None)
        return self.reply(window.pop(place))

    @property
    def answered(self) -> list[str]:
        """Samples that it was asked and lived on."""
        return [line for line in self.log if "/" in line]

    def reply(self, request: Request) -> Response | Failure:
        if self.asks is not None:
            self.asks(request)
        self.log.append(request.id)
        time.sleep(self.delay)
        if request.id in self.fail:
            return Failure(request.id, "engine", "told to fail.")
        if self.fail_all is not None and request.id not in self.spared:
            return dataclasses.replace(self.fail_all, id=request.id)
        text = answer(request, self.variant.name, self.checkpoint.fingerprint)
        media = tuple(facts(part) for part in request.content if not isinstance(part, str))
        return Response(request.id, text, tuple(text.encode()), "stop", 7, media)

    def switch(self, *, variant: Variant | None = None, checkpoint: Any = None, policy: Any = None) -> None:
        self.log.append(f"switch {variant.name if variant else '='} {'weights' if checkpoint else '='}")
        self.variant, self.checkpoint = variant or self.variant, checkpoint or self.checkpoint

    def close(self) -> None:
        self.log.append("close")


def facts(part: Any) -> MediaFacts:
    """Plausible facts for a source."""
    kind: Literal["image", "video"] = "image" if isinstance(part, ImageSource) else "video"
    return MediaFacts(kind, "f", (96, 64), (84, 56), (1, 4, 6), 6, notes=("resized",))


@dataclass
class FakeStart:
    """A `start_engine` that remembers every engine it started."""

    settings: dict[str, Any] = field(default_factory=dict)
    engines: list[FakeEngine] = field(default_factory=list)
    lives: tuple[int | None, ...] = ()
    """After how many answers the first engine is killed from outside, the second, ...; None: not."""

    def __call__(self, checkpoint: Any, variant: Variant, options: Any = None) -> FakeEngine:
        number = len(self.engines)
        dies = self.lives[number] if number < len(self.lives) else None
        self.engines.append(FakeEngine(checkpoint, variant, **{"dies_after": dies, **self.settings}))
        return self.engines[-1]

    @property
    def asked(self) -> list[str]:
        """Sample ids that reached an engine, in order."""
        return [line for engine in self.engines for line in engine.log if "/" in line]


def with_fingerprint(checkpoint: FakeCheckpoint, fingerprint: str) -> FakeCheckpoint:
    """The same path with other weights."""
    return dataclasses.replace(checkpoint, fingerprint=fingerprint)


if TYPE_CHECKING:  # what a run takes
    ENGINE: type[Engine] = FakeEngine
    START: StartEngine = FakeStart()

"""A stand-in for the live engine behind the same interface, for tests of what surrounds it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval.engine.types import Failure, ImageSource, MediaFacts, Request, Response
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
    """Answers in a scrambled order, looks ahead by a few requests, fails where told to."""

    checkpoint: Any
    variant: Variant
    delay: float = 0.0
    fail: frozenset[str] = frozenset()
    lose_power_after: int | None = None
    log: list[str] = field(default_factory=list)

    def stream(self, requests: Iterable[Request]) -> Generator[Response | Failure, None, None]:
        window: list[Request] = []
        served = 0
        for request in requests:
            window.append(request)
            if len(window) >= 4:
                yield self.reply(window.pop(served % 4))
                served += 1
                if self.lose_power_after is not None and served >= self.lose_power_after:
                    raise OSError("the engine died")
        while window:
            yield self.reply(window.pop())

    def reply(self, request: Request) -> Response | Failure:
        self.log.append(request.id)
        time.sleep(self.delay)
        if request.id in self.fail:
            return Failure(request.id, "engine", "told to fail.")
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
    kind = "image" if isinstance(part, ImageSource) else "video"
    return MediaFacts(kind, "f", (96, 64), (84, 56), (1, 4, 6), 6, notes=("resized",))


@dataclass
class FakeStart:
    """A `start_engine` that remembers every engine it started."""

    settings: dict[str, Any] = field(default_factory=dict)
    engines: list[FakeEngine] = field(default_factory=list)

    def __call__(self, checkpoint: Any, variant: Variant, policy: Any = None) -> FakeEngine:
        self.engines.append(FakeEngine(checkpoint, variant, **self.settings))
        return self.engines[-1]

    @property
    def asked(self) -> list[str]:
        """Sample ids that reached an engine, in order."""
        return [line for engine in self.engines for line in engine.log if "/" in line]


def with_fingerprint(checkpoint: FakeCheckpoint, fingerprint: str) -> FakeCheckpoint:
    """The same path with other weights."""
    return dataclasses.replace(checkpoint, fingerprint=fingerprint)

"""No wait on vLLM lasts for ever: a thread watches an engine's processes and the time.

vLLM's own calls wait without a limit, and where its process was killed nothing ends them. So a thread of ours looks
several times a second whether the engine's processes live and whether the call at hand is overdue; if not, or if so, it
ends the call.

The limits, where the user names none, are far longer than anything should take: they end what will never end, so they
are drawn from the work to be done at a speed that every machine exceeds by far, on top of ten minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.messages import EngineDiedError
from mmrope_eval.models.checkpoint import Checkpoint

PATIENCE = 600.0
"""Seconds, whatever the work: for compilers, cold disks and machines that others use too."""

LOADING = 20e6
"""Bytes of weights a second."""

COMPUTING = {"cpu": 2e9, "cuda": 1e13}
"""Floating-point operations a second."""

READING = {"cpu": 1e9, "cuda": 1e11}
"""Bytes of weights a second, which every generated token needs once."""


@dataclass(frozen=True)
class Limits:
    """Seconds for the calls of one engine."""

    checkpoint: Checkpoint
    options: EngineOptions
    cuda: bool

    @property
    def start(self) -> float:
        """For an engine's start, or for other weights."""
        return self.options.start_timeout or PATIENCE + self._weights / LOADING

    def silence(self, tokens: int) -> float:
        """For the engine to give out anything after `tokens` of prompts: those of a step, or of the longest prompt."""
        return self.options.request_timeout or PATIENCE + self._prompts(tokens)

    def request(self, in_flight: int, max_tokens: int) -> float:
        """For one request to be answered, behind `in_flight` tokens of prompts, its own among them."""
        reading = self._weights / READING[self._device]
        return self.options.request_timeout or PATIENCE + self._prompts(in_flight) + max_tokens * (1 + reading)

    def _prompts(self, tokens: int) -> float:
        """For so many tokens: twice the weights a token, and attention to all before it."""
        shape = self.checkpoint
        attention = 4 * tokens**2 * shape.num_layers * shape.num_heads * shape.head_dim
        return (self._weights * tokens + attention) / COMPUTING[self._device]

    @cached_property
    def _weights(self) -> int:
        return self.checkpoint.weight_bytes

    @property
    def _device(self) -> str:
        return "cuda" if self.cuda else "cpu"


TICK = 0.25
"""Seconds between two looks."""

LONGEST_TICK = 1.0
"""So much counts at most between two looks: a machine that was suspended has not waited for its engine."""


class Workers(Protocol):
    """An engine's own processes."""

    def gone(self) -> str | None:
        """Why the engine cannot answer any more, as the end of a sentence; None while it can."""

    def kill(self) -> None:
        """End all processes now."""

    def release(self) -> None:
        """End every call that waits for their answer."""


@dataclass(frozen=True)
class Wait:
    """A call that is being waited for."""

    what: str
    seconds: float
    until: float
    """On the watch's own clock."""


class Watch:
    """Watches one engine; a context manager.

    `stuck` is called with a sentence when a call inside this process is overdue, which nothing can end from outside;
    without it such a call is waited for.
    """

    def __init__(self, workers: Workers | None = None, stuck: Callable[[str], None] | None = None) -> None:
        self.workers = workers
        self.now = 0.0
        """Seconds that this thread has seen pass."""
        self.overdue = False
        """Whether it ended the engine because a call took too long."""
        self._stuck = stuck
        self._wait: Wait | None = None
        self._cause: str | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="engine-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def limit(self, seconds: float, what: str) -> Iterator[None]:
        """A call of vLLM's inside, which may take so long.

        Raises `EngineDiedError` where the engine died meanwhile, or was ended because the time was over; its sentence
        goes "`what` ..." for the latter.
        """
        outer, self._wait = self._wait, Wait(what, seconds, self.now + seconds)
        try:
            yield
        except EngineDiedError:
            raise
        except Exception as error:
            cause = self._cause or (self.workers.gone() if self.workers is not None else None)
            if cause is None:
                raise
            raise EngineDiedError(cause) from error
        finally:
            self._wait = outer

    def _look(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(TICK):
            passed, last = time.monotonic() - last, time.monotonic()
            self.now += min(passed, LONGEST_TICK)
            wait = self._wait
            if wait is not None:
                self._judge(wait)

    def _judge(self, wait: Wait) -> None:
        overdue = self.now > wait.until
        if self.workers is None:
            if overdue and self._stuck is not None:
                self._stuck(f"{wait.what} has taken more than {wait.seconds:.0f} s")
            return
        if self._cause is None:
            self._cause = self.workers.gone()
        if self._cause is None and overdue:
            self.overdue = True
            self._cause = f"{wait.what} took more than {wait.seconds:.0f} s, so the engine was ended"
            self.workers.kill()
        if self._cause is not None:
            self.workers.release()

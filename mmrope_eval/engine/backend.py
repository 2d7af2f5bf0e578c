"""The seam between what asks and what answers: engines behind one interface, and the holder of the one that lives."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import MachinesError, UserError, sentence
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Request, Response
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.media.policy import MediaPolicy
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant


class RowError(Exception):
    """One row cannot be evaluated, whatever its samples are; one sentence. The other rows can."""


class DoesNotFitError(Exception):
    """A context needs more memory than there is; one sentence. A shorter one may fit."""


class Engine(Protocol):
    """A live engine, or several that work as one."""

    @property
    def deaths(self) -> int:
        """Engines inside it that died until now, and were replaced without a word to its user."""

    def stream(self, requests: Iterable[Request | Deferred]) -> Generator[Response | Failure, None, None]:
        """Answers in any order, requests pulled as needed; closing it drops what is unfinished.

        Raises `EngineDiedError` when it cannot go on.
        """

    def switch(self, *, variant: Variant | None = None, checkpoint: Checkpoint | None = None,
               policy: MediaPolicy | None = None) -> None:
        """Go on with another variant, checkpoint or media policy; what is None stays. Raises where it cannot."""

    def close(self) -> None:
        """Free everything."""


StartEngine = Callable[["Checkpoint", "Variant", EngineOptions], Engine]
"""Starts an engine on a checkpoint with a variant inside; the media policy is that of the options.

Raises `EngineDiedError` for one that was killed while it started (another may live), `MachinesError` where no row has
room, `DoesNotFitError` where this context has none, and anything else where this checkpoint cannot be run.
"""

Identify = Callable[[], Mapping[str, Any]]
"""What a process runs, as far as answers depend on it; equal in the driver and all replicas. Can be pickled."""


@dataclass(frozen=True)
class Driver:
    """The process that asks."""

    identify: Identify
    """What code it runs: an engine elsewhere must run the same."""
    say: Callable[[str], None]
    """Takes, in a sentence, what its user should know."""


Start = Callable[["Checkpoint", "Variant", EngineOptions, Driver], Engine]
"""Starts an engine on a backend; raises as `StartEngine`."""


def start_on_backend(checkpoint: Checkpoint, variant: Variant, options: EngineOptions, driver: Driver) -> Engine:
    """An engine on the backend that the options ask for. Raises as `StartEngine`."""
    start: Start = _load(options.run_by.starts)
    return start(checkpoint, variant, options, driver)


def require_machines(options: EngineOptions) -> None:
    """MachinesError where the machines that shall run engines cannot be reached."""
    if options.run_by.requires is not None:
        _load(options.run_by.requires)(options)


def _load(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


@dataclass
class Timings:
    """Seconds; the only part of a run's record that differs between identical runs."""

    engine_start: float = 0.0
    switch: float = 0.0
    generation: float = 0.0
    asked: int = 0
    deaths: int = 0
    """Engines that died while this row was asked, or since the row before it."""


@dataclass
class EngineHolder(AbstractContextManager["EngineHolder"]):
    """At most one live engine, started when first needed and switched from row to row; closed at the end of `with`."""

    start: StartEngine
    check: Callable[[], None]
    """Called when an engine has started, and with it all code is loaded; what it raises ends that engine."""
    serves: Callable[[EngineOptions], bool] = lambda _: True
    """Whether the engine that `start` started last has room for what such options ask for."""
    engine: Engine | None = None
    checkpoint: Checkpoint | None = None
    """What the engine runs."""

    def ready(self, label: str, checkpoint: Checkpoint, variant: Variant, options: EngineOptions,
              timings: Timings) -> Engine:
        """The engine, running a checkpoint under a variant and the options' media policy.

        RowError, with what vLLM raised as its cause, when none can be started on it. Otherwise raises as `StartEngine`,
        and what `check` raises.
        """
        began = time.perf_counter()
        if self.engine is not None and not self.serves(options):
            self.close()
        if self.engine is not None:
            died_before = self.engine.deaths
            try:
                same = self.checkpoint is not None and self.checkpoint.fingerprint == checkpoint.fingerprint
                self.engine.switch(variant=variant, checkpoint=None if same else checkpoint, policy=options.policy)
                timings.switch = time.perf_counter() - began
                timings.deaths += self.engine.deaths - died_before  # replicas whose end is noticed only now
            except Exception as error:  # noqa: BLE001 - this checkpoint needs an engine of its own, or cannot be loaded
                if not isinstance(error, UserError):
                    say(f"{label}: the running engine could not take it over ({sentence(error)}); starting another",
                        file=sys.stderr)  # fmt: skip
                self.close()
        if self.engine is None:
            self.engine = self._started(checkpoint, variant, options)
            try:
                self.check()
            except BaseException:
                self.close()
                raise
            timings.engine_start += time.perf_counter() - began
            timings.deaths += self.engine.deaths
        self.checkpoint = checkpoint
        return self.engine

    def _started(self, checkpoint: Checkpoint, variant: Variant, options: EngineOptions) -> Engine:
        try:
            return self.start(checkpoint, variant, options)
        except (EngineDiedError, MachinesError, DoesNotFitError):
            raise
        except UserError as error:
            raise RowError(str(error)) from error
        except Exception as error:
            raise RowError(f"no engine could be started on it: {sentence(error)}") from error

    def close(self) -> None:
        """Close the engine if there is one."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def __exit__(self, *_: object) -> None:
        self.close()

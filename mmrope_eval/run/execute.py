"""What is asked, of which engine: rows, the engine that serves them, and what a row still has to ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmrope_eval.errors import MachinesError, UserError, sentence
from mmrope_eval.messages import EngineDiedError
from mmrope_eval.run.answer_limits import Thinking
from mmrope_eval.store.answer_code import CodeChangedError, require_unedited
from mmrope_eval.store.store import Known, ResponseStore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import Family
from mmrope_eval.task.sample import Key, Sample, keys
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.engine.backend import Engine, StartEngine
    from mmrope_eval.media.policy import MediaPolicy
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.models.variant_choice import VariantChoice
    from mmrope_eval.rope import Variant


class RowError(Exception):
    """One row cannot be evaluated, whatever its samples are; one sentence. The other rows can."""


class TooManyFailuresError(Exception):
    """`--max-failures` was exceeded; one sentence."""


@dataclass(frozen=True)
class MaxFailures:
    """How many samples of one cell may fail before the run stops: a number, or a fraction of all its samples.

    A failed sample counts as wrong, is listed with its cause, and is tried once more by the next start. Without a limit
    no number of failures stops a run. UserError for a limit that is neither a count nor a share.
    """

    limit: int | float | None = None

    def __post_init__(self) -> None:
        share = isinstance(self.limit, float)
        if self.limit is not None and not (0 <= self.limit <= 1 if share else self.limit >= 0):
            raise UserError(f"--max-failures {self.limit}: give a whole number, or a share between 0 and 1.")

    def check(self, failed: int, total: int) -> None:
        """TooManyFailuresError when `failed` of `total` samples is more than allowed."""
        if self.limit is None:
            return
        allowed = self.limit * total if isinstance(self.limit, float) else self.limit
        if failed > allowed:
            raise TooManyFailuresError(
                f"{failed} of {total} samples failed, more than --max-failures {self.limit} allows."
            )


@dataclass(frozen=True)
class Cell:
    """One row of the result: a checkpoint under a variant."""

    label: str
    checkpoint: Checkpoint
    chosen: VariantChoice
    family: Family
    policy: MediaPolicy
    media_sources: Mapping[str, str]
    """Where each limit of `policy` was said that is not this project's default."""
    folder: Path
    context: Mapping[str, Any]
    """What, besides the question, determines a response (see `sample.identity`)."""
    named: str = ""
    """The checkpoint, as the user named it."""
    thinking: Thinking = field(default_factory=Thinking)

    @property
    def variant(self) -> Variant:
        """The variant that the row is evaluated under."""
        return self.chosen.variant


@dataclass
class Timings:
    """Seconds; the only part of a run's record that differs between identical runs."""

    engine_start: float = 0.0
    switch: float = 0.0
    generation: float = 0.0
    asked: int = 0
    deaths: int = 0
    """Engines that died while this row was asked."""


@dataclass
class EngineHolder(AbstractContextManager["EngineHolder"]):
    """At most one live engine, started when first needed and switched from cell to cell."""

    start: StartEngine
    engine: Engine | None = None
    cell: Cell | None = None
    expected: int = 0
    """Questions that the row at hand asks."""

    def ready(self, cell: Cell, timings: Timings) -> Engine:
        """The engine, running `cell`. RowError, with what vLLM raised as its cause, when none can be started on it.

        EngineDiedError for one that was killed while it started: another may live. MachinesError where no row has room.
        """
        began = time.perf_counter()
        if self.engine is not None and self.cell is not None:
            same = self.cell.checkpoint.fingerprint == cell.checkpoint.fingerprint
            try:
                new = None if same else cell.checkpoint
                self.engine.switch(variant=cell.variant, checkpoint=new, policy=cell.policy)
                timings.switch = time.perf_counter() - began
            except Exception as error:  # noqa: BLE001 - this checkpoint needs an engine of its own, or cannot be loaded
                if not isinstance(error, UserError):
                    say(f"{cell.label}: {failed_takeover(error)}", file=sys.stderr)
                self.close()
        if self.engine is None:
            try:
                self.engine = self.start(cell.checkpoint, cell.variant, cell.policy)
                self._check_code()
            except (EngineDiedError, CodeChangedError, MachinesError):
                raise
            except UserError as error:
                raise RowError(str(error)) from error
            except Exception as error:
                raise RowError(f"no engine could be started on it: {sentence(error)}") from error
            timings.engine_start += time.perf_counter() - began
        self.cell = cell
        return self.engine

    def _check_code(self) -> None:
        """Now that all code is loaded: CodeChangedError, and no engine, when the run began with other code."""
        try:
            require_unedited()
        except CodeChangedError:
            self.close()
            raise

    def close(self) -> None:
        """Close the engine if there is one."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def failed_takeover(error: Exception) -> str:
    """Why a row gets an engine of its own, where its user did not know."""
    return f"the running engine could not take it over ({sentence(error)}); starting another"


@dataclass(frozen=True)
class Work:
    """What one cell still has to ask."""

    keys: Mapping[str, Key]
    """Under what every sample of the plan is kept, by sample id."""
    kept: Mapping[str, Known]
    pending: Sequence[Sample]


def remaining(cell: Cell, plans: Mapping[str, TaskPlan], store: ResponseStore) -> Work:
    """Which samples have no final outcome yet."""
    samples = [sample for plan in plans.values() for sample in plan.samples]
    wanted = keys(samples, cell.context)
    kept = store.known({sample: key.identity for sample, key in wanted.items()})
    return Work(wanted, kept, [s for s in samples if s.id not in kept or not kept[s.id].final])

"""What is asked: rows, how many of their samples may fail (`--max-failures`), and what a row still has to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.run.answer_limits import Thinking
from mmrope_eval.store.store import Known, ResponseStore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import Family
from mmrope_eval.task.sample import Key, Sample, keys

if TYPE_CHECKING:
    from mmrope_eval.media.policy import MediaPolicy
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.models.variant_choice import VariantChoice
    from mmrope_eval.rope import Variant


class TooManyFailuresError(Exception):
    """`--max-failures` was exceeded; one sentence."""


@dataclass(frozen=True)
class MaxFailures:
    """How many samples of one cell may fail before the run stops: a number, or a fraction of all its samples. A failed
    sample counts as wrong, is listed with its cause, and is tried once more by the next start. Without a limit no
    number of failures stops a run. UserError for a limit that is neither a count nor a share."""

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
    """What, besides the question, determines a response (see `sample.keys`)."""
    named: str = ""
    """The checkpoint, as the user named it."""
    thinking: Thinking = field(default_factory=Thinking)
    time: Literal["index", "seconds"] = "index"
    """What the positions of a video's frames follow."""

    @property
    def variant(self) -> Variant:
        """The variant that the row is evaluated under."""
        return self.chosen.variant


@dataclass(frozen=True)
class PendingWork:
    """What one cell still has to ask."""

    keys: Mapping[str, Key]
    """Under what every sample of the plan is kept, by sample id."""
    kept: Mapping[str, Known]
    pending: Sequence[Sample]


def remaining(cell: Cell, plans: Mapping[str, TaskPlan], store: ResponseStore) -> PendingWork:
    """Which samples have no final outcome yet."""
    samples = [sample for plan in plans.values() for sample in plan.samples]
    wanted = keys(samples, cell.context)
    kept = store.known({sample: key.identity for sample, key in wanted.items()})
    return PendingWork(wanted, kept, [s for s in samples if s.id not in kept or not kept[s.id].final])

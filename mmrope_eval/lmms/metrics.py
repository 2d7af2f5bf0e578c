"""The scorers as lmms-eval metrics, and how samples become one number.

In a task file `metric: !function mmrope_eval.lmms.metrics.acc_50` names any value that the task's scorer computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmrope_eval.record.aggregate import mean
from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer import score

__all__ = ["Metric", "mean"]


@dataclass(frozen=True)
class Metric:
    """One named value of a scorer, callable as lmms-eval calls metrics: references in, predictions in, value out."""

    __name__: str

    def __call__(self, references: Sequence[score.Target], predictions: Sequence[str], **_: Any) -> float | None:
        """The value for one sample; None where the metric does not apply to it."""
        target = references[0]
        return scorers.SCORERS[target["scorer"]](predictions[0], target).values[self.__name__]


def __getattr__(name: str) -> Metric:
    if any(name in names for names in scorers.METRICS.values()):
        return Metric(name)
    raise AttributeError(f"no scorer has a metric called {name!r}")

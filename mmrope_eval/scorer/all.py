"""Every scorer by its name: the one table that task files, results and lmms-eval metrics look scorers up in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mmrope_eval.scorer import choice, score, text
from mmrope_eval.scorer.score import Fields, Score, Scorer, Target

SCORERS: Final[Mapping[str, Scorer]] = {**score.SCORERS, **choice.SCORERS, **text.SCORERS}
METRICS: Final[Mapping[str, tuple[str, ...]]] = {**score.METRICS, **choice.METRICS, **text.METRICS}
"""What each scorer can report; the first is its main metric."""
TARGETS: Final[Mapping[str, Fields]] = {**score.TARGETS, **choice.TARGETS, **text.TARGETS}
"""The fields of a target that each scorer reads."""


def score_failure(scorer: str, target: Target | None) -> Score:
    """The score of a sample that produced no answer: what an empty response gets, which is 0 on every metric. Without a
    target (the dataset row itself was unusable) the metrics that depend on it do not apply."""
    if target is None:
        main = METRICS[scorer][0]
        return Score({name: None if name.startswith(f"{main}_") else 0.0 for name in METRICS[scorer]}, None)
    return SCORERS[scorer]("", target)

"""Every scorer by its name: the one table that task files, results and lmms-eval metrics look scorers up in.

Beside them, what another harness is given for its own number from the same responses, and what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mmrope_eval.scorer.choice import score_choice
from mmrope_eval.scorer.score import Fields, Score, Scorer, Target, score_box, score_relaxed, score_span
from mmrope_eval.scorer.text import score_anls, score_choice_or_exact, score_choice_or_open, score_contains, score_vqa

Doc = Mapping[str, Any]


class SecondError(Exception):
    """The other harness' scoring failed, or it has nothing for the column; one sentence."""


@dataclass(frozen=True)
class SecondItem:
    """A dataset row, and the response to it. Pictures are never looked at; grounding needs their size, from a PIL
    image, `{"bytes": ...}`, `{"path": ...}` or `{"width": ..., "height": ...}`."""

    doc: Doc
    response: str
    group: str | None = None
    """The task of a family of them that the row belongs to; their numbers are averaged (lmms-eval's MVBench)."""
    target: Mapping[str, Any] | None = None
    """What our scorer was given (`task.template.build_target`); VLMEvalKit's table of options is made of it."""
    failed: bool = False
    """Whether there is no response at all; `response` is empty then."""


@dataclass(frozen=True)
class SecondResult:
    """The other harness' number on a 0-100 scale, and what to know about it."""

    value: float
    samples: tuple[float | None, ...]
    """Each sample's part of it in [0, 1]; None for one that the other harness was not asked about."""
    task: str
    metric: str
    note: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else belongs into the record, by name."""


_ANSWERS: Final = "answers|answer"
_TABLE: Final[Mapping[str, tuple[Scorer, tuple[str, ...], Fields]]] = {
    "box": (score_box, ("acc_50", "iou"), Fields(("box",))),
    "relaxed": (score_relaxed, ("relaxed", "strict", "official", "relaxed_human", "relaxed_augmented"),
                Fields(("answer",))),
    "span": (score_span, ("iou", "r1_30", "r1_50", "r1_70"), Fields(("span",))),
    "choice": (score_choice, ("accuracy",), Fields(("answer",), ("options",))),
    "anls": (score_anls, ("anls", "exact"), Fields((_ANSWERS,))),
    "vqa": (score_vqa, ("vqa", "exact"), Fields((_ANSWERS,))),
    "contains": (score_contains, ("contains", "exact"), Fields((_ANSWERS,), ("dataset",))),
    "choice_or_exact": (score_choice_or_exact, ("accuracy",), Fields(("answer",), ("options",))),
    "choice_or_open": (score_choice_or_open, ("accuracy", "accuracy_choice", "accuracy_open"),
                       Fields(("answer",), ("options",))),
}  # fmt: skip
SCORERS: Final[Mapping[str, Scorer]] = {name: scorer for name, (scorer, _, _) in _TABLE.items()}
METRICS: Final[Mapping[str, tuple[str, ...]]] = {name: metrics for name, (_, metrics, _) in _TABLE.items()}
"""What each scorer can report; the first is its main metric."""
TARGETS: Final[Mapping[str, Fields]] = {name: fields for name, (_, _, fields) in _TABLE.items()}
"""The fields of a target that each scorer reads."""


def score_failure(scorer: str, target: Target | None) -> Score:
    """The score of a sample that produced no answer: what an empty response gets, which is 0 on every metric. Without a
    target (the dataset row itself was unusable) the metrics that depend on it do not apply."""
    if target is None:
        main = METRICS[scorer][0]
        return Score({name: None if name.startswith(f"{main}_") else 0.0 for name in METRICS[scorer]}, None)
    return SCORERS[scorer]("", target)

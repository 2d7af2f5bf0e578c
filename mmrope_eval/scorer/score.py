"""Pure metrics: (response, target) -> score. No file, no model, no randomness.

Every scorer takes the model's whole response and a target (a JSON-able mapping that `task.template.build_target`
makes from a dataset row) and returns a `Score`. Values lie in [0, 1]; None means "this metric does not apply to
this sample". A response from which no answer can be read scores 0 and has `parsed=None`, so that it can be counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mmrope_eval.scorer.answer_part import MINUS, answer_part, answer_words
from mmrope_eval.scorer.box import Box, first_box
from mmrope_eval.scorer.span import Span, first_span

Target = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """What one response is worth: metric name -> value in [0, 1], and what was read from the response."""

    values: Mapping[str, float | None]
    parsed: str | float | tuple[float, ...] | None


Scorer = Callable[[str, Target], Score]


@dataclass(frozen=True)
class Fields:
    """The fields of a target that a scorer reads, besides `group`, which any target may have."""

    needed: tuple[str, ...]
    """`answers|answer`: one of the two."""
    optional: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All of them by name."""
        return (*(name for field in self.needed for name in field.split("|")), *self.optional, "group")

    def lacking(self, target: Mapping[str, object]) -> str | None:
        """The first needed field that a target does not have, alternatives with `or` between them."""
        missing = (field.split("|") for field in self.needed if not set(field.split("|")) & set(target))
        return next((" or ".join(f"'{name}'" for name in names) for names in missing), None)


VERSION: Final = 3
"""Raise it whenever a scorer's result can change for the same response; it is recorded with every score."""


# ---------------------------------------------------------------------------------------------------------------- boxes


def to_source_pixels(box: Box, convention: str, used_size: Sequence[float], source_size: Sequence[float]) -> Box:
    """A predicted box in pixels of the original picture. `convention` is the checkpoint family's declared one:
    `absolute` (pixels of the resized picture the model saw), `thousand` (0-1000 of either side) or `unit` (0-1). Sizes
    are (width, height). ValueError on any other name."""
    sides = {"absolute": used_size, "thousand": (1000, 1000), "unit": (1, 1)}.get(convention)
    if sides is None:
        raise ValueError(f"unknown coordinate convention {convention!r}")
    scale_x, scale_y = source_size[0] / sides[0], source_size[1] / sides[1]
    return (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two (x1, y1, x2, y2) boxes; a reversed or empty box has no area and scores 0."""
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area_a = max(0.0, a[2] - a[0]) * max(0.0, a[3] - a[1])
    area_b = max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1])
    union = area_a + area_b - inter
    return min(1.0, inter / union) if union > 0 and inter > 0 else 0.0


def score_box(response: str, target: Target) -> Score:
    """Referring-expression comprehension, Acc@0.5: 1 when the first box overlaps the object with IoU >= 0.5.

    Definition: Yu et al. 2016 (arXiv:1608.00272) and the REFER toolkit: one expression, one predicted box, a hit
    at IoU >= 0.5. Also `iou` itself (its mean is mIoU). Coordinates are read by the one declared convention.
    Target: `box` (x1, y1, x2, y2 in source pixels), `coordinates`, `source_size` and `used_size` (width, height).
    """
    box = first_box(response)
    if box is None:
        return Score({"acc_50": 0.0, "iou": 0.0}, None)
    pixels = to_source_pixels(box, target["coordinates"], target["used_size"], target["source_size"])
    x1, y1, x2, y2 = (float(v) for v in target["box"])
    iou = box_iou(pixels, (x1, y1, x2, y2))
    return Score({"acc_50": float(iou >= 0.5), "iou": iou}, box)


# --------------------------------------------------------------------------------------------------------------- charts

_GROUPED: Final = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_PLAIN: Final = re.compile(r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})")


def plain_answer(text: str) -> str:
    """An answer without what is layout and not content: outer space and quotes, and one closing full stop."""
    text = text.strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def read_number(text: str) -> float | None:
    """The number a whole answer stands for, or None. Thousands separators, a leading currency sign and a percent sign
    are notation: "2,000", "$2000" and "2000" are one number, and so are "64%" and "64" (a percent sign is a unit here,
    never a division by 100)."""
    text = plain_answer(text.translate(MINUS)).removesuffix("%").rstrip()
    sign = text[:1] if text[:1] in "+-" else ""
    text = sign + text[len(sign) :].lstrip("$€£").lstrip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    return float(text) if _PLAIN.fullmatch(text) else None


def relaxed_by_reference_code(response: str, answer: str) -> bool:
    """Relaxed correctness as the reference code computes it, character for character.

    Definition: `relaxed_correctness` of google-research/pix2struct (metrics.py), which Qwen-VL and lmms-eval use:
    float() of the whole text, a trailing percent sign divides by 100, within 5 % of a non-zero gold number,
    otherwise equality without regard to case. "2,000" is no number there, and "Yes." is not "Yes".
    """

    def to_float(text: str) -> float | None:
        try:
            return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
        except ValueError:
            return None

    predicted, gold = to_float(response), to_float(answer)
    if predicted is not None and gold:
        return abs(predicted - gold) / abs(gold) <= 0.05
    return response.lower() == answer.lower()


def score_relaxed(response: str, target: Target) -> Score:
    """ChartQA relaxed accuracy (`relaxed`), its exact counterpart (`strict`) and the reference code's (`official`).

    Definition: Masry et al. 2022 (arXiv:2203.10244), section 5.1: a numeric answer is correct within 5 % of the
    gold answer, any other answer must match exactly. `relaxed` applies that to the numbers the answers stand for
    (see `read_number`), ignoring case and one closing full stop in words; `strict` wants equal numbers, so that a
    year or a count that is merely near is wrong; `official` is `relaxed_by_reference_code` of the answer part of the
    response, its markup kept, because the reference code keeps it. The other two read `answer_part.answer_words`.
    Target: `answer`; `group` ("human" or "augmented") adds the mean of each half as `relaxed_human` and so on.
    """
    answer, response_words, whole = str(target["answer"]), answer_words(response), answer_part(response).strip()
    words = plain_answer(response_words).casefold()
    predicted, gold = read_number(response_words), read_number(answer)
    if predicted is not None and gold is not None:
        relaxed = abs(predicted - gold) <= 0.05 * abs(gold) + 1e-9 * abs(gold)
        strict = math.isclose(predicted, gold, rel_tol=1e-9, abs_tol=0.0)
    else:
        relaxed = strict = words != "" and words == plain_answer(answer.translate(MINUS)).casefold()
    official = whole != "" and relaxed_by_reference_code(whole, answer)
    values: dict[str, float | None] = {"relaxed": float(relaxed), "strict": float(strict), "official": float(official),
                                       "relaxed_human": None, "relaxed_augmented": None}  # fmt: skip
    group = f"relaxed_{target.get('group')}"
    if group in values:
        values[group] = float(relaxed)
    return Score(values, plain_answer(response_words) or whole or None)


# -------------------------------------------------------------------------------------------------------- spans of time


def span_iou(a: Span, b: Span) -> float:
    """Temporal intersection over union of two (start, end) spans in seconds; a reversed or empty span scores 0."""
    if a[1] <= a[0] or b[1] <= b[0]:
        return 0.0
    inter = min(a[1], b[1]) - max(a[0], b[0])
    return inter / (max(a[1], b[1]) - min(a[0], b[0])) if inter > 0 else 0.0


def score_span(response: str, target: Target) -> Score:
    """Temporal grounding: `iou` (its mean is mIoU) and `r1_30`, `r1_50`, `r1_70` (1 when IoU >= the threshold).

    Definition: Gao et al. 2017 (TALL, arXiv:1705.02101), "R@n, IoU=m" with n = 1, and mIoU as in Charades-STA's
    users since. Seconds are those of the true video timeline. A reversed or unreadable span scores 0; nothing is
    swapped, and samples with equal captions are counted each. Target: `span` (start, end) in seconds.
    """
    span = first_span(response)
    start, end = (float(v) for v in target["span"])
    iou = 0.0 if span is None else span_iou(span, (start, end))
    thresholds = {f"r1_{round(100 * t)}": float(iou >= t) for t in (0.3, 0.5, 0.7)}
    return Score({"iou": iou, **thresholds}, span)

"""Chance: what guessing is expected to score on the very questions that were asked.

Multiple choice is guessed uniformly among a question's own options, a span of time by two moments drawn uniformly over
the video. Everything else is a word, a number or a box, which nobody guesses: 0. The column's own aggregation applies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.scorer.choice_text import is_choice, target_options

GRID = 64
"""Moments of a video that stand for all: the middles of as many equal parts."""


def chance_level(average: str, targets: Sequence[Mapping[str, Any] | None], durations: Sequence[float | None]) -> float:
    """The expected score in [0, 1]; not a number where a span's video has an unknown length, or nothing was asked.
    `targets` are the samples' (None for a row that could not be read, which is wrong), `durations` their videos' in
    seconds."""
    shares = [0.0 if target is None else _share(target, duration)
              for target, duration in zip(targets, durations, strict=True)]  # fmt: skip
    if not shares or any(math.isnan(share) for share in shares):
        return math.nan
    items = [Item.of(share, target) for share, target in zip(shares, targets, strict=True)]
    if average == "circular":  # right under every rotation: the product, where the column's rule takes the smallest
        items = _together(items)
    return AGGREGATES[average](items).value


def _share(target: Mapping[str, Any], duration: float | None) -> float:
    if "span" in target:
        start, end = (float(value) for value in target["span"])
        return math.nan if not duration else expected_iou(start, end, duration)
    options = target_options(target) if "options" in target else {}
    return 1 / len(options) if options and is_choice(options, target.get("answer", "")) else 0.0


def _together(items: Sequence[Item]) -> list[Item]:
    """One item a group, its value the product of the group's; items without a group as they are."""
    products: dict[tuple[str, ...], float] = {}
    for item in items:
        if item.groups:
            products[item.groups] = products.get(item.groups, 1.0) * float(item.value or 0.0)
    alone = [item for item in items if not item.groups]
    return [*alone, *(Item(value, groups) for groups, value in products.items())]


def expected_iou(start: float, end: float, duration: float) -> float:
    """The mean temporal IoU of [start, end] with a span between two moments drawn uniformly from [0, duration]."""
    moments = (np.arange(GRID) + 0.5) / GRID * duration
    low = np.minimum(moments[:, None], moments[None, :])
    high = np.maximum(moments[:, None], moments[None, :])
    inter = np.clip(np.minimum(high, end) - np.maximum(low, start), 0, None)
    union = np.maximum(high, end) - np.minimum(low, start)
    return float(np.mean(np.where(inter > 0, inter / union, 0.0)))

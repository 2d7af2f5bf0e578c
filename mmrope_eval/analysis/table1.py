"""The columns of the paper's Table 1, measured. arXiv 2510.23095 v3.

The paper prints a mark for each method and column and says in words what is meant; the definitions are ours, the same
for every variant, and nothing here knows a variant's name but `PRINTED`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mmrope_eval.analysis.measures import BANDS, DECIMALS, Analysis, agreeing_axes, rotating_axes, structure
from mmrope_eval.rope.positions import Floats
from mmrope_eval.rope.segments import Text, Vision
from mmrope_eval.rope.variant import Variant

COLUMNS: Final = ("structure", "interval", "range", "granularity", "text")

PRINTED: Final[Mapping[str, str]] = {
    "vanilla": "ny--y", "v2pe": "ny--y", "rope-tie": "ynyny", "mrope": "yynny", "circlerope": "ynnny",
    "videorope": "ynnny", "ilrope": "yynnn", "omnirope": "yynnn", "mhrope": "yyyyy", "mrope-i": "yyyny",
}  # fmt: skip
"""The printed marks, in the order of `COLUMNS`: y for a tick, n for a cross, - for neither."""

PROMPT: Final = 64
"""Text before the block whose interval is measured."""
_NOTHING = 1e-6


@dataclass(frozen=True)
class Interval:
    """Where a block stands between the texts around it, in positions."""

    before: float
    """From the last text token to the block's nearest cell, on the axis where that is least; 0 or less: it reaches into
    the text. Axes count that rotate and on which both text and block move on."""
    after: float
    """From its furthest cell to the next text token, in the same way."""
    spare: float
    """How many positions more than its longest side, on the rotating axes, the block takes."""

    @property
    def fits(self) -> bool:
        """Whether the block keeps off the text on both sides and spends no more positions than it needs."""
        return self.before > _NOTHING and self.after > _NOTHING and self.spare <= _NOTHING


@dataclass(frozen=True)
class Marks:
    """A row of Table 1. None where a column is about several axes and the variant has one."""

    structure: bool
    """Rows and columns of a single frame spread in directions of their own."""
    interval: bool
    """Every kind of block of the layout fits between the texts around it."""
    range: bool | None
    """Every axis that rotates and has coordinates of its own turns pairs in each band of wavelength."""
    granularity: bool | None
    """Every such axis turns all frequencies of the model, in one head or another."""
    text: bool
    """Text alone is rotated as by vanilla RoPE, in every bit."""
    intervals: tuple[tuple[Vision, Interval], ...]

    @property
    def spelled(self) -> str:
        """The marks as `PRINTED` has them."""
        words = {True: "y", False: "n", None: "-"}
        return "".join(words[getattr(self, column)] for column in COLUMNS)


def marks(analysis: Analysis) -> Marks:
    """Table 1's columns for one analysed variant."""
    variant, table = analysis.variant, analysis.table
    rotating = rotating_axes(table)
    blocks = tuple(dict.fromkeys(part for part in analysis.segments if isinstance(part, Vision)))
    frames = [structure(variant, Vision(1, block.h, block.w), rotating) for block in blocks]
    intervals = tuple((block, interval(variant, block, rotating)) for block in blocks)
    groups = agreeing_axes(analysis.positions, rotating)
    several = len(groups) > 1
    return Marks(
        structure=all(frame.rank >= frame.needed for frame in frames),
        interval=all(interval.fits for _, interval in intervals),
        range=all(any(analysis.spectra[axis].bands[band] for axis in group) for group in groups
                  for band in range(BANDS)) if several else None,
        granularity=all(bool(np.isin(table.axis, group).any(axis=0).all()) for group in groups) if several else None,
        text=analysis.keeps_text,
        intervals=intervals,
    )


def interval(variant: Variant, block: Vision, rotating: Sequence[int]) -> Interval:
    """Where one block stands behind `PROMPT` tokens of text and before another one."""
    positions, _ = variant.positions([Text(PROMPT), block, Text(1)])
    later, _ = variant.positions([Text(PROMPT + 1), block, Text(1)])
    last, following = positions[:, PROMPT - 1], positions[:, -1]
    cells = positions[:, PROMPT:-1]
    moving = [axis for axis in rotating if last[axis] > positions[axis, 0] and later[axis, PROMPT + 1] > cells[axis, 0]]
    sides = [_side(cells[axis]) for axis in rotating]
    return Interval(before=min((float(cells[axis].min() - last[axis]) for axis in moving), default=0.0),
                    after=min((float(following[axis] - cells[axis].max()) for axis in moving), default=0.0),
                    spare=float(following[0] - last[0] - 1) - max(sides, default=1.0))


def _side(coordinates: Floats) -> float:
    """How long cells are on one axis: from the first to the last and one step on, which is at least a position."""
    span, places = float(np.ptp(coordinates)), len(np.unique(np.round(coordinates, DECIMALS)))
    return span + max(1.0, span / max(places - 1, 1))

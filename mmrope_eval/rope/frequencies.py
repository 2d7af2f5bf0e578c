"""Frequency allocation: how rotary pairs (or whole KV heads) are shared out between the axes (section 3.2).

An allocation is a class with the parameters that it reads and no others. A `mrope_section` counts (t, h, w).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, StrictInt, model_validator

from mmrope_eval.rope.parameters import Must, Number, Parameters, Positive, Switch, Takes, VariantError, Words
from mmrope_eval.words import shown

AXES = {"t": 0, "h": 1, "w": 2, "-": -1}
NONE = -1

AxisMap = NDArray[np.int8]
"""0 = t, 1 = h, 2 = w, -1 = no rotation."""

# Larger counts fit no model, and would only fill the memory.
_MOST = 1_000_000
_PATTERN_ITEM = re.compile(r"([thw-]+)(?:\*([0-9]{1,6}))?")


def _check_section(section: tuple[int, int, int]) -> tuple[int, int, int]:
    if min(section) < 0 or not 0 < sum(section) <= _MOST:
        raise ValueError(f"must be three counts, not {shown(list(section))}")
    return section


def _check_axes(axes: str) -> str:
    if not set(axes) <= set("thw") or len(set(axes)) < len(axes):
        raise ValueError(f"may name t, h and w, each once, not {shown(axes)}")
    return axes


def _counted(pattern: str) -> list[tuple[str, int]]:
    """Every item's letters, and how many pairs they are dealt to."""
    runs = [(item[1], item[2]) for item in _PATTERN_ITEM.finditer(pattern)]
    return [(letters, len(letters) * int(count or 1)) for letters, count in runs]


def _check_pattern(pattern: str) -> str:
    spelled = all(_PATTERN_ITEM.fullmatch(item) for item in pattern.split())
    if not spelled or not any(count for _, count in _counted(pattern)):
        raise ValueError(f"{shown(pattern)} is not made of t, h, w and - (for example 'tthwhwhw' or 't*16 hw*24')")
    return pattern


Section = Annotated[
    tuple[StrictInt, StrictInt, StrictInt], Takes("three whole numbers, for t, h and w"),
    AfterValidator(_check_section),
]


class Allocation(Parameters):
    """What every kind of allocation has in common."""

    allocation: str
    no_rotation: Annotated[Words, AfterValidator(_check_axes)] = ""
    """Axes whose pairs do not rotate at all (HoPE: ``t``)."""
    log_freq_scale: Positive = 1.0
    """Stretches the spectrum on a log scale: inv_freq ** (1 / log_freq_scale) (GRAPE)."""

    def axis_map(self, pairs: int, num_kv_heads: int) -> AxisMap:
        """int8 (num_kv_heads, pairs): 0 = t, 1 = h, 2 = w, -1 = no rotation. Raises `VariantError`."""
        axis = self._rows(pairs, num_kv_heads)
        for name in self.no_rotation:
            axis[axis == AXES[name]] = NONE
        return axis

    def _rows(self, pairs: int, num_kv_heads: int) -> AxisMap:
        """int8 (num_kv_heads, pairs) before `no_rotation`; every head alike unless an allocation says otherwise."""
        return np.tile(self._row(pairs), (num_kv_heads, 1))

    def _row(self, pairs: int) -> AxisMap:
        """int8 (pairs,), the row of one head."""
        raise NotImplementedError

    @property
    def axes(self) -> str:
        """The axes that pairs are dealt to, before `no_rotation`."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _check_muted_axes(self) -> Allocation:
        unused = [axis for axis in self.no_rotation if axis not in self.axes]
        if unused:
            raise ValueError(f"no_rotation names {' and '.join(unused)}, to which this allocation deals no pair "
                             f"(it has {' and '.join(self.axes)}): leave it out")  # fmt: skip
        return self


class SingleAllocation(Allocation):
    """Every pair reads the temporal coordinate."""

    allocation: Literal["single"] = "single"

    def _row(self, pairs: int) -> AxisMap:
        return np.zeros(pairs, np.int8)

    @property
    def axes(self) -> str:
        """The temporal axis alone, along which text lies."""
        return "t"


class DealtAllocation(Allocation):
    """Allocations that know rows and columns."""

    spatial_rope_theta: Annotated[Number, Field(gt=1), Must("exceed 1")] | None = None
    """Rotary base of the h and w pairs, where it differs from the model's."""
    exact: Switch = False
    """True when the counts were given for one model: they must add up. A variant file's own counts are a ratio and
    scale to any number of pairs that they divide."""

    @model_validator(mode="after")
    def _check_spatial_base(self) -> DealtAllocation:
        if self.spatial_rope_theta is not None and not (set(self.axes) - set(self.no_rotation)) & set("hw"):
            raise ValueError("spatial_rope_theta is the base of h and w pairs, and none rotates: leave it out")
        return self


class SectionAllocation(DealtAllocation):
    """Allocations by counts of t, h and w."""

    mrope_section: Section = Field(examples=["[24, 20, 20]"])

    @property
    def axes(self) -> str:
        """The axes with a count."""
        return "".join(axis for axis, count in zip("thw", self.mrope_section, strict=True) if count)


class ChunkedAllocation(SectionAllocation):
    """`mrope_section` pairs of t, h and w in that order (MRoPE)."""

    allocation: Literal["chunked"] = "chunked"

    def _row(self, pairs: int) -> AxisMap:
        t, h, _ = fit(self.mrope_section, pairs, "mrope_section", scale=not self.exact)
        row = np.zeros(pairs, np.int8)
        row[t : t + h], row[t + h :] = 1, 2
        return row


class InterleavedAllocation(SectionAllocation):
    """h on pairs 1, 4, 7 ..., w on 2, 5, 8 ..., as many as their section says, t elsewhere (MRoPE-I)."""

    allocation: Literal["interleaved"] = "interleaved"

    def _row(self, pairs: int) -> AxisMap:
        """``thwthw...``, then t."""
        t, h, w = fit(self.mrope_section, pairs, "mrope_section", scale=not self.exact)
        if max(3 * h - 2, 3 * w - 1) >= pairs:
            # The published code cuts such counts without a word. Of equal h and w there is a usual way to go on.
            first = f"thw*{t} " if t else ""
            example = f" (pattern: {first}hw*{h - t} goes on without t)" if h == w > t else ""
            raise VariantError(f"mrope_section [{t}, {h}, {w}] cannot be interleaved over {pairs} pairs: h and w take "
                               f"every third pair, at most {(pairs + 1) // 3} and {pairs // 3}; spell it out with "
                               f"allocation: pattern{example}")
        row = np.zeros(pairs, np.int8)
        row[1 : 3 * h : 3], row[2 : 3 * w : 3] = 1, 2
        return row


class AlternatingAllocation(SectionAllocation):
    """h on odd pairs below ``2 * section[1]``, w on even pairs from 2 below ``2 * section[2]``, t on pair 0 and after.

    So says VideoRoPE's published code: w has one pair fewer than its section.
    """

    allocation: Literal["alternating"] = "alternating"

    def _row(self, pairs: int) -> AxisMap:
        """``thwhw...``, then t."""
        _, h, w = fit(self.mrope_section, pairs, "mrope_section", scale=not self.exact)
        row = np.zeros(pairs, np.int8)
        row[1 : 2 * h : 2], row[2 : 2 * w : 2] = 1, 2
        return row

    @property
    def axes(self) -> str:
        """Pair 0 reads t, whatever its count."""
        _, h, w = self.mrope_section
        return "t" + "h" * (h > 0) + "w" * (w > 0)


class PatternAllocation(DealtAllocation):
    """Spelled out, e.g. ``tthwhwhw`` (repeated to fill) or ``t*16 hw*24`` (counted). ``-`` does not rotate."""

    allocation: Literal["pattern"] = "pattern"
    pattern: Annotated[Words, AfterValidator(_check_pattern)] = Field(examples=["tthwhwhw"])

    def _row(self, pairs: int) -> AxisMap:
        items = _counted(self.pattern)
        if "*" not in self.pattern:
            cycle = "".join(letters for letters, _ in items)
            text = cycle * -(-pairs // len(cycle))
        else:
            fitted = fit(tuple(count for _, count in items), pairs, "pattern", scale=not self.exact)
            text = "".join((letters * size)[:size] for (letters, _), size in zip(items, fitted, strict=True))
        return np.array([AXES[letter] for letter in text[:pairs]], np.int8)

    @property
    def axes(self) -> str:
        """The pattern's letters, each once."""
        dealt = "".join(letters for letters, count in _counted(self.pattern) if count)
        return "".join(axis for axis in "thw" if axis in dealt)


class HeadsAllocation(SectionAllocation):
    """`mrope_section` KV heads of t, h and w, each with the full spectrum; heads left over do not rotate (MHRoPE).

    Counts of heads never scale, so that nothing here reads `exact`: it is set with the counts, never by hand, and kept
    because answers are filed under it.
    """

    allocation: Literal["heads"] = "heads"

    def _rows(self, pairs: int, num_kv_heads: int) -> AxisMap:
        section = self.mrope_section
        if sum(section) > num_kv_heads:
            raise VariantError(f"mrope_section {list(section)} assigns {sum(section)} KV heads, but the model has "
                               f"{num_kv_heads}: give at most {num_kv_heads} heads, for example "
                               f"mrope_section=[{_fair_heads(num_kv_heads)}]")
        rows = np.repeat(np.array([0, 1, 2], np.int8), section)
        rows = np.concatenate((rows, np.full(num_kv_heads - len(rows), NONE, np.int8)))
        return np.repeat(rows[:, None], pairs, axis=1)


FrequencyAllocation = Annotated[
    SingleAllocation | ChunkedAllocation | InterleavedAllocation | AlternatingAllocation | PatternAllocation
    | HeadsAllocation,
    Field(discriminator="allocation"),
]
"""Which axis every rotary pair reads: one of the allocations, told apart by `allocation`."""


def fit(counts: tuple[int, ...], pairs: int, what: str, *, scale: bool) -> list[int]:
    """The counts, or with `scale` their ratio, over so many pairs. Raises `VariantError` where they do not fit."""
    total = sum(counts)
    if total == pairs:
        return list(counts)
    if scale and all(c * pairs % total == 0 for c in counts):
        return [c * pairs // total for c in counts]
    raise VariantError(f"{what} {list(counts)} adds up to {total}, but the model has {pairs} rotary pairs (rotary_dim "
                       f"/ 2): give a {what} that adds up to {pairs}")


def _fair_heads(num_kv_heads: int) -> str:
    t = max(num_kv_heads // 4, 1)
    h = (num_kv_heads - t) // 2
    return ", ".join(str(max(c, 0)) for c in (t, h, num_kv_heads - t - h))

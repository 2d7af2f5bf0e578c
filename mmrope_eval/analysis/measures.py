"""What a variant does to positions and frequencies, measured without a model. arXiv 2510.23095, sections 3 and 4.

Everything here is counted on a layout and on the table of one model; nothing knows a variant's name. An axis *rotates*
when the table gives it at least one pair: a coordinate that turns nothing cannot tell two tokens apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.rope.geometry import Geometry
from mmrope_eval.rope.positions import Floats
from mmrope_eval.rope.read_variant import load_variant
from mmrope_eval.rope.segments import Segment, Text, Vision
from mmrope_eval.rope.variant import RotaryTable, Variant

AXIS_NAMES = ("t", "h", "w")
BANDS = 4
"""Parts of equal width on a log scale into which the spectrum of wavelengths is cut, from fast to slow."""
TEXT_LENGTH = 4096
"""Tokens of text on which a variant is compared with vanilla RoPE."""
DECIMALS = 6
"""Coordinates equal to this many decimals are the same place."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Growth:
    """What one image or video costs in positions."""

    block: Vision
    advance: float
    """How far the next text position moves because of the block."""
    extent: tuple[float, float, float]
    """Largest minus smallest coordinate of its cells on t, h and w."""

    @property
    def per_token(self) -> float:
        """Positions per vision token: 1 for vanilla RoPE."""
        return self.advance / self.block.n


@dataclass(frozen=True)
class Overlap:
    """Where text and vision tokens meet. Counts per axis are None where the axis does not rotate."""

    text: int
    vision: int
    shared: int
    """Text tokens with the coordinates of a vision token on all rotating axes."""
    doubled: int
    """Vision tokens with the coordinates of another vision token on all rotating axes."""
    same_id: tuple[int | None, int | None, int | None]
    """Text tokens whose coordinate on one axis a vision token has too; harmless where the other axes differ."""
    not_past: tuple[int | None, int | None, int | None]
    """Text tokens after a block that do not lie past all of its cells on one axis: order is lost there."""


@dataclass(frozen=True)
class AxisSpectrum:
    """The part of the spectrum that turns with one axis, over all KV heads."""

    axis: str
    pairs: int
    share: float
    """Of all rotary pairs of all KV heads."""
    shortest: float | None
    longest: float | None
    """Wavelengths in positions; None where the axis has no pair."""
    bands: tuple[float, ...]
    """For each of `BANDS` bands of wavelength, fast to slow: the share of the model's pairs there that the axis has."""
    entropy: float | None
    """Of the axis's own pairs over the bands, 1 when they are spread evenly, 0 when all lie in one."""
    gap: float
    """The widest stretch of the log spectrum without a pair of the axis, 0 to 1."""


@dataclass(frozen=True)
class Structure:
    """In how many independent directions the cells of one block spread on the rotating axes, and in how many they
    should: one for every side of its grid longer than one cell."""

    rank: int
    needed: int


@dataclass(frozen=True)
class Analysis:
    """All measurements of one variant on one layout for one model."""

    variant: Variant
    geometry: Geometry
    segments: tuple[Segment, ...]
    table: RotaryTable
    positions: Floats
    growth: tuple[Growth, ...]
    """One for each kind of block in the layout, in order of appearance."""
    overlap: Overlap
    structure: Structure
    """Of the block that misses most directions; of several, the one with most."""
    spectra: tuple[AxisSpectrum, AxisSpectrum, AxisSpectrum]
    missing_bands: tuple[tuple[str, tuple[int, ...]], ...]
    """Groups of axes with coordinates of their own (``t``, or ``thw`` where all three always agree) and the bands,
    counted from 1, in which they have no pair; groups that miss none are left out."""
    text_deviation: float
    """Largest difference to vanilla RoPE in any cosine or sine on text alone; 0 means equal in every bit."""

    @property
    def keeps_structure(self) -> bool:
        """Every side of a grid has a direction of its own."""
        return self.structure.rank >= self.structure.needed

    @property
    def unambiguous(self) -> bool:
        """No two tokens, one of them vision, sit at the same place."""
        return self.overlap.shared == self.overlap.doubled == 0

    @property
    def in_order(self) -> bool:
        """Text after a block lies past all of its cells on every axis: no modality confusion."""
        return not any(self.overlap.not_past)

    @property
    def coherent(self) -> bool:
        """Whether guideline 1 holds: positional coherence."""
        return self.keeps_structure and self.unambiguous and self.in_order

    @property
    def full_spectrum(self) -> bool:
        """Whether guideline 2 holds: full frequency utilisation."""
        return not self.missing_bands

    @property
    def keeps_text(self) -> bool:
        """Whether guideline 3 holds: preservation of textual priors."""
        return self.text_deviation == 0


def analyze(variant: Variant, segments: Sequence[Segment], geometry: Geometry) -> Analysis:
    """Measure one variant. The layout must hold an image or a video. Raises `VariantError` where it does not fit."""
    table = geometry.table(variant)
    positions, _ = variant.positions(segments)
    is_vision = np.repeat([isinstance(s, Vision) for s in segments], [s.n for s in segments])
    blocks = tuple(dict.fromkeys(s for s in segments if isinstance(s, Vision)))
    rotating = rotating_axes(table)
    structures = [structure(variant, block, rotating) for block in blocks]
    spectra = tuple(spectrum(table, geometry, axis) for axis in range(3))
    return Analysis(
        variant=variant, geometry=geometry, segments=tuple(segments), table=table, positions=positions,
        growth=tuple(growth(variant, block) for block in blocks),
        overlap=overlap(positions, is_vision, rotating),
        structure=max(structures, key=lambda s: (s.needed - s.rank, s.needed)),
        spectra=(spectra[0], spectra[1], spectra[2]),
        missing_bands=missing_bands(positions, spectra),
        text_deviation=text_deviation(variant, geometry),
    )


def rotating_axes(table: RotaryTable) -> tuple[int, ...]:
    """The axes (0 = t, 1 = h, 2 = w) that at least one pair reads."""
    return tuple(axis for axis in range(3) if (table.axis == axis).any())


def growth(variant: Variant, block: Vision) -> Growth:
    """What a block costs. Blocks shift with their origin and nothing else, so where it stands does not matter."""
    positions, delta = variant.positions([block])
    low, high = positions.min(axis=1), positions.max(axis=1)
    t, h, w = (high - low).tolist()
    return Growth(block, block.n + delta, (t, h, w))


def structure(variant: Variant, block: Vision, rotating: Sequence[int]) -> Structure:
    """The rank of the cells' coordinates on the rotating axes, seen from the first cell."""
    positions, _ = variant.positions([block])
    cells = positions[list(rotating)]
    rank = int(np.linalg.matrix_rank(cells - cells[:, :1], tol=1e-6)) if cells.size else 0
    return Structure(rank, sum(side > 1 for side in (block.t, block.h, block.w)))


def overlap(positions: Floats, is_vision: Bools, rotating: Sequence[int]) -> Overlap:
    """Compare every text token's place (3, n) with those of the vision tokens."""
    rounded = np.round(positions, DECIMALS) + 0.0
    _, place = np.unique(rounded[list(rotating)], axis=1, return_inverse=True)
    place = place.reshape(-1)
    vision_at = np.bincount(place[is_vision], minlength=place.max() + 1)
    same_id: list[int | None] = [None] * 3
    not_past: list[int | None] = [None] * 3
    for axis in rotating:
        seen = np.where(is_vision, rounded[axis], -np.inf)
        furthest = np.maximum.accumulate(seen)[~is_vision]
        text = rounded[axis][~is_vision]
        same_id[axis] = int(np.isin(text, rounded[axis][is_vision]).sum())
        not_past[axis] = int((text <= furthest).sum())
    return Overlap(
        text=int((~is_vision).sum()), vision=int(is_vision.sum()),
        shared=int((vision_at[place[~is_vision]] > 0).sum()),
        doubled=int((vision_at[place[is_vision]] > 1).sum()),
        same_id=(same_id[0], same_id[1], same_id[2]), not_past=(not_past[0], not_past[1], not_past[2]),
    )


def spectrum(table: RotaryTable, geometry: Geometry, axis: int) -> AxisSpectrum:
    """Which wavelengths turn with `axis`; bands are those of the model's own spectrum, one vanilla table wide."""
    edges = band_edges(geometry)
    on_axis = table.axis == axis
    everyone, _ = np.histogram(_clipped(_log_wavelengths(table, table.axis == table.axis), edges), edges)
    if not on_axis.any():
        return AxisSpectrum(AXIS_NAMES[axis], 0, 0.0, None, None, (0.0,) * BANDS, None, 1.0)
    logs = _log_wavelengths(table, on_axis)
    counts, _ = np.histogram(_clipped(logs, edges), edges)
    p = counts[counts > 0] / counts.sum()
    ends = np.concatenate(([edges[0]], np.sort(_clipped(logs, edges)), [edges[-1]]))
    return AxisSpectrum(
        axis=AXIS_NAMES[axis], pairs=int(on_axis.sum()), share=float(on_axis.mean()),
        shortest=float(np.exp(logs.min())), longest=float(np.exp(logs.max())),
        bands=tuple(float(c) / max(int(n), 1) for c, n in zip(counts, everyone, strict=True)),
        entropy=abs(float(-(p * np.log(p)).sum())) / math.log(BANDS),
        gap=float(np.diff(ends).max() / (edges[-1] - edges[0])),
    )


def band_edges(geometry: Geometry) -> Floats:
    """Edges (BANDS + 1,) of the bands, as logarithms of wavelengths in positions."""
    plain = geometry.table(load_variant("vanilla"))
    logs = _log_wavelengths(plain, plain.axis == 0)
    return np.linspace(logs.min(), logs.max(), BANDS + 1)


def _log_wavelengths(table: RotaryTable, which: Bools) -> Floats:
    return np.log(2 * math.pi / table.inv_freq[which].astype(np.float64))


def _clipped(logs: Floats, edges: Floats) -> Floats:
    """Wavelengths beyond the model's spectrum (another base, a stretched context) belong to its last bands."""
    clipped: Floats = np.clip(logs, edges[0], edges[-1])
    return clipped


def agreeing_axes(positions: Floats, axes: Iterable[int]) -> list[list[int]]:
    """The axes, those with the same coordinates (3, n) for every token together."""
    groups: dict[bytes, list[int]] = {}
    for axis in axes:
        groups.setdefault((positions[axis] + 0.0).tobytes(), []).append(axis)  # a zero has one sign after the sum
    return list(groups.values())


def missing_bands(positions: Floats, spectra: Sequence[AxisSpectrum]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Axes that always agree are one axis, whichever of them the pairs read; each must reach every band."""
    missing = []
    for group in agreeing_axes(positions, range(3)):
        empty = tuple(band + 1 for band in range(BANDS) if not any(spectra[axis].bands[band] for axis in group))
        if empty:
            missing.append(("".join(AXIS_NAMES[axis] for axis in group), empty))
    return tuple(missing)


def text_deviation(variant: Variant, geometry: Geometry) -> float:
    """Largest |difference| of cos and sin to unscaled vanilla RoPE's over `TEXT_LENGTH` tokens of text."""
    plain = load_variant("vanilla")
    text = [Text(TEXT_LENGTH)]
    ours = geometry.table(variant).cos_sin(variant.positions(text)[0])
    theirs = geometry.table(plain).cos_sin(plain.positions(text)[0])
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def decay(table: RotaryTable, distances: Floats) -> dict[str, Floats]:
    """Expected q.k of two equal unit vectors, one of them rotated by each distance (n,); 1 at distance 0.

    By axis: the vectors' length is spread evenly over the axis's pairs, so it is the mean of cos(d * inv_freq) over
    them; axes without pairs are left out. ``text``: the whole head, the distance on all axes at once, as between two
    text tokens; pairs that do not rotate count 1.
    """
    curves = {}
    for axis, name in enumerate(AXIS_NAMES):
        if (on_axis := table.axis == axis).any():
            curves[name] = _mean_cos(table.inv_freq[on_axis], distances)
    curves["text"] = _mean_cos(np.where(table.axis < 0, 0, table.inv_freq).ravel(), distances)
    return curves


def _mean_cos(inv_freq: NDArray[np.float32], distances: Floats) -> Floats:
    different, counts = np.unique(inv_freq.astype(np.float64), return_counts=True)
    # Divided last, so that distance 0 gives exactly 1.
    mean: Floats = np.cos(np.asarray(distances, np.float64)[:, None] * different) @ counts / counts.sum()
    return mean

"""Position design: from the token layout of a prompt to coordinates (t, h, w). arXiv 2510.23095, section 3.1.

One function serves every variant. A text token sits at one position on all axes. A vision block starts at the next free
position, its *origin*, and a layout, a class with the parameters that it reads and no others, says how its cells spread
from there:

- ``flat``: one after the other, as if they were text; `visual_stride` packs a whole block into that many positions
  (V2PE).
- ``grid``: frame, row and column each along an axis of their own (MRoPE); `spatial_reset` counts rows and columns from
  zero instead of from the origin.
- ``diagonal``: rows and columns are centred and ride on the temporal coordinate (VideoRoPE, HoPE).
- ``circle``: each frame is a ring in the plane perpendicular to the text line (CircleRoPE).

True videos (t > 1), where the published implementation crashes or was never run as one block:

- ``diagonal``: frame `i` moves all three axes by its time, so a video is a stack of images along the text line, and
  text after it starts one position after the last frame's temporal coordinate.
- ``circle``: every frame is the ring that its picture alone would give, moved along the text line by its time; with a
  `temporal_stride` of 0 all frames share one ring. The ring is built from rows and columns only: a radius of ``auto``
  does not grow with the number of frames, and blending with the flat grid (`dff_rate`) works frame by frame. Thus
  frame 0 of a video equals the same picture as an image, and adding frames never moves earlier ones.

Time: under `time: index` frames are `temporal_stride` apart, whatever the clock says, as in the paper. Under
`time: seconds` that is multiplied by `Vision.step`, which carries what the data says (seconds per grid cell times
tokens per second, as Qwen2.5-VL trains with). Variants with `integer_time` truncate the product, as Qwen2.5-VL and the
published MRoPE, MRoPE-I and MHRoPE do; the others keep fractions.

Room: text goes on behind a block's longest side. Under `resume: tokens` it goes on where it would if every vision
token took a position, as in vanilla RoPE, and the block stands inside that room (RoPE-Tie: in its middle).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from mmrope_eval.rope.parameters import (
    FiniteNumber,
    NotNegative,
    Number,
    Parameters,
    Positive,
    Share,
    Switch,
    Takes,
)
from mmrope_eval.rope.segments import Segment, Text, Vision
from mmrope_eval.words import shown

Floats = NDArray[np.float64]

Placement = tuple[Floats, Floats, float]
"""Cells (3, n) relative to the origin; which axes move with it, (3, 1) of ones and zeros; where text resumes."""


def _check_radius(radius: float | str) -> float | str:
    """A radius above zero, in numbers or in words. Raises ValueError."""
    words = re.fullmatch(r"auto(?:-([0-9]+\.?[0-9]*|\.[0-9]+))?", radius) if isinstance(radius, str) else None
    size = float(words[1] or 1) if words else 0.0 if isinstance(radius, str) else radius
    if not 0 < size < math.inf:
        raise ValueError(f"must be a number, 'auto' or 'auto-K', above zero, not {shown(radius)}")
    return radius


def _check_scale(scale: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(scale) <= 0:
        raise ValueError(f"must be positive, not {list(scale)}")
    return scale


class Layout(Parameters):
    """How coordinates are assigned. Field names follow the published implementation's parameters where it has them."""

    layout: str
    modality_interval: NotNegative = 0.0
    """Extra positions left empty before and after every vision block."""
    text_spatial_reset: Switch = False
    """Text tokens sit at zero on the spatial axes."""

    def place(self, block: Vision) -> Placement:
        """Where the cells of one vision block sit."""
        raise NotImplementedError


class FlatLayout(Layout):
    """Cells one after the other on all axes, as if they were text."""

    layout: Literal["flat"] = "flat"
    visual_stride: Positive | None = None
    """Positions one whole vision block takes; None gives every cell a position of its own."""

    def place(self, block: Vision) -> Placement:
        """Every cell on the line of text."""
        moves = np.ones((3, 1))
        if self.visual_stride is None:
            return np.tile(np.arange(block.n, dtype=np.float64), (3, 1)), moves, float(block.n)
        span = np.arange(1, block.n + 1) * (self.visual_stride / block.n)
        # The last cell sits visual_stride after the previous token; text resumes at the next integer. Origins are
        # integers.
        return np.tile(span - 1, (3, 1)), moves, float(math.ceil(self.visual_stride))


class TimedLayout(Layout):
    """Layouts whose frames follow each other in time."""

    time: Annotated[Literal["index", "seconds"], Takes("'index' or 'seconds'")] = "seconds"
    """What frames are counted in: their number, or the clock (`Vision.step`). A definition that does not say means the
    clock, as it did before there was a choice."""
    temporal_stride: Positive = 1.0
    """Positions from frame to frame, times the `step` of the data where time is in seconds."""
    integer_time: Switch = False
    """Whether that product is truncated."""
    resume: Annotated[Literal["extent", "tokens"], Takes("'extent' or 'tokens'")] = "extent"
    """Where text goes on: behind the block's longest side, or where it would if every vision token took a position."""
    gap_before: Share = 0.5
    """Under `resume: tokens`, the share of the room left over that lies before the block; the rest lies behind it."""

    @model_validator(mode="after")
    def _check_gap(self) -> TimedLayout:
        if self.resume == "extent" and self.gap_before != 0.5:
            raise ValueError("gap_before shares out what 'resume: tokens' leaves over, and 'resume: extent' leaves "
                             "nothing: leave it out")  # fmt: skip
        return self

    def frame_times(self, block: Vision) -> Floats:
        """float64 (t,): every frame's coordinate, relative to the origin."""
        step = block.step if self.time == "seconds" else 1.0
        time = np.arange(block.t, dtype=np.float64) * (step * self.temporal_stride)
        if self.integer_time:
            # The small term keeps an exact multiple from falling to the integer below.
            time = np.floor(time + 1e-9)
        return time

    def in_room(self, block: Vision, cells: Floats, moves: Floats, sizes: Floats) -> Placement:
        """A block of cells (3, n), `sizes` (3,) positions long on each axis, in the room that it takes.

        The room is never shorter than the block. Axes that do not move with the origin keep their coordinates.
        """
        extent = float(sizes.max())
        if self.resume == "extent":
            return cells, moves, extent
        room = max(float(block.n), extent)
        return cells + moves * (self.gap_before * (room - sizes))[:, None], moves, room


class GridLayout(TimedLayout):
    """Frame, row and column each along an axis of their own (MRoPE)."""

    layout: Literal["grid"] = "grid"
    spatial_reset: Switch = False
    """Rows and columns count from zero. The closing vision_end token follows the block's *local* extent."""
    position_scale: Annotated[
        tuple[FiniteNumber, FiniteNumber, FiniteNumber], Takes("three finite numbers, for t, h and w"),
        AfterValidator(_check_scale),
    ] = (1.0, 1.0, 1.0)
    """Multiplies local (t, h, w)."""

    def place(self, block: Vision) -> Placement:
        """The block's grid, stretched by `position_scale`."""
        coordinates = (self.frame_times(block), np.arange(block.h), np.arange(block.w))
        axes = [axis * scale for axis, scale in zip(coordinates, self.position_scale, strict=True)]
        cells = np.stack(np.meshgrid(*axes, indexing="ij"))
        moves = np.ones((3, 1))
        moves[1:] = 0.0 if self.spatial_reset else 1.0
        sizes = np.array([axis[-1] + 1.0 for axis in axes])
        return self.in_room(block, cells.reshape(3, -1), moves, sizes)


class DiagonalLayout(TimedLayout):
    """Rows and columns are centred and ride on the temporal coordinate (VideoRoPE, HoPE)."""

    layout: Literal["diagonal"] = "diagonal"

    def place(self, block: Vision) -> Placement:
        """A stack of centred images along the text line."""
        time = self.frame_times(block)
        rows, columns = np.arange(block.h), np.arange(block.w)
        centred = (np.zeros(block.t), rows - (block.h - 1) // 2, columns - (block.w - 1) // 2)
        cells = np.stack(np.meshgrid(*centred, indexing="ij")) + time[:, None, None]
        return self.in_room(block, cells.reshape(3, -1), np.ones((3, 1)), np.full(3, time[-1] + 1))


class CircleLayout(TimedLayout):
    """Each frame is a ring in the plane perpendicular to the text line. CircleRoPE, arXiv 2505.16416.

    `radius` and `alpha` shape the ring, which `method: no_circle` and a `dff_rate` of 1 replace by the flat grid.
    """

    layout: Literal["circle"] = "circle"
    temporal_stride: NotNegative = 1.0
    """As elsewhere; 0 puts all frames on one ring."""
    alpha: Number = 0.5
    """1 spreads cells by their true angle, 0 by their index."""
    radius: Annotated[
        FiniteNumber | StrictStr, Takes("a positive number, 'auto' or 'auto-K'"), AfterValidator(_check_radius),
    ] = 10.0
    """A number, "auto" (the largest centred coordinate) or "auto-K" (K times that)."""
    dff_rate: Annotated[StrictBool | FiniteNumber, Takes("a finite number, true or false")] = False
    """Weight of the flat grid, projected on the same plane, blended in."""
    method: Annotated[Literal["circle", "no_circle"], Takes("'circle' or 'no_circle'")] = "circle"
    move_to_origin: Switch = True
    move_to_positive: Annotated[
        StrictBool | FiniteNumber | Literal["auto"], Takes("a finite number, 'auto', true or false")
    ] = False

    def place(self, block: Vision) -> Placement:
        """The picture's ring, moved along the text line by every frame's time."""
        time = self.frame_times(block)
        ring = self._ring(block.h, block.w)
        cells = ring[:, None] + time[:, None, None]
        return self.in_room(block, cells.reshape(3, -1), np.ones((3, 1)), np.full(3, ring.max() + time[-1] + 1))

    def _ring(self, h: int, w: int) -> Floats:
        """One frame's coordinates (t, h, w), shape (3, h, w), relative to the block's origin.

        x runs along columns and y along rows; both the ring and the flat grid are carried into the plane perpendicular
        to the text line (1, 1, 1), whose basis vectors are u = (-1, 1, 0) / sqrt 2 and v = (-1, -1, 2) / sqrt 6 in
        (w, h, t).
        """
        y, x = (axis.astype(np.float64) for axis in np.mgrid[:h, :w])
        if self.move_to_origin:
            y, x = y - (h - 1) / 2, x - (w - 1) / 2
        # In-plane coordinates of the plain grid; the ring replaces them unless the method says otherwise.
        flat = np.stack((x, y))
        plane = flat
        if self.method == "circle":
            angle = self.alpha * _true_angle(x, y) + (1 - self.alpha) * np.arange(h * w).reshape(h, w) * (
                2 * math.pi / (h * w)
            )
            plane = _radius(self.radius, flat) * np.stack((np.cos(angle), np.sin(angle)))
        rate = float(self.dff_rate)
        a, b = (1 - rate) * plane + rate * flat
        u, v = np.array([0.0, 1.0, -1.0]) / math.sqrt(2), np.array([2.0, -1.0, -1.0]) / math.sqrt(6)  # as (t, h, w)
        ring: Floats = a * u[:, None, None] + b * v[:, None, None]
        if self.move_to_positive is not False:
            offset = 0.0 if self.move_to_positive in ("auto", True) else float(self.move_to_positive)
            ring = ring + abs(float(ring.min())) + offset
        return ring


PositionDesign = Annotated[FlatLayout | GridLayout | DiagonalLayout | CircleLayout, Field(discriminator="layout")]
"""Where tokens sit: one of the layouts, told apart by `layout`."""


def positions(design: PositionDesign, segments: Iterable[Segment]) -> tuple[Floats, float]:
    """Coordinates of every token, and where generation goes on.

    Returns `(float64 (3, n) in the order t, h, w, delta)`: the next generated token sits at `n + delta` on all axes.
    Linear in the number of tokens.
    """
    layout = list(segments)
    n = sum(s.n for s in layout)
    out = np.empty((3, n))
    ramp = np.arange(max((s.n for s in layout if isinstance(s, Text)), default=0), dtype=np.float64)
    local: dict[Vision, Placement] = {}
    cursor, start = 0.0, 0
    for segment in layout:
        stop = start + segment.n
        block = out[:, start:stop]
        if isinstance(segment, Text):
            np.add(ramp[: segment.n], cursor, out=block)
            if design.text_spatial_reset:
                block[1:] = 0.0
            cursor += segment.n
        elif segment.n:
            # Blocks of one shape differ by their origin only: a video of a thousand frames is laid out once.
            if segment not in local:
                local[segment] = design.place(segment)
            origin = cursor + design.modality_interval
            cells, moves, extent = local[segment]
            np.add(cells, moves * origin, out=block)
            cursor = origin + extent + design.modality_interval
        start = stop
    return out, cursor - n


def _true_angle(x: Floats, y: Floats) -> Floats:
    """Angle of each cell around the frame's centre, stretched to cover 0 to 2 pi; a single angle is kept as it is."""
    angle = np.arctan2(y, x)
    low, span = angle.min(), np.ptp(angle)
    return angle if span == 0 else (angle - low) / span * (2 * math.pi)


def _radius(radius: float | str, flat: Floats) -> float:
    if isinstance(radius, str):
        _, _, factor = radius.partition("-")
        # The largest spatial coordinate; the time axis adds its zero, which matters only off-centre.
        return max(float(flat.max()), 0.0) * float(factor or 1)
    return float(radius)

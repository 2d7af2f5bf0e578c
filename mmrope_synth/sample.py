"""A question of the small world, before it is written to a file, and what makes questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mmrope_synth.clips import Clip
from mmrope_synth.core import Difficulty, Pixels, Side


@dataclass(frozen=True)
class Sample:
    """One question of one benchmark column, before it is written to a file."""

    column: str
    kind: str
    """What it takes to answer: `count`, `relation`, `needle` ..."""
    row: Mapping[str, Any]
    """The row's fields as a task sees them, without media: a task file's prompt and target can be rendered on it."""
    answer: str
    """A response that earns full marks: option letter, word or number; boxes and spans as in `box` and `span`."""
    proof: Callable[[], str] = field(repr=False, compare=False)
    """Works the answer out anew from the world's own facts (scene, table or tracks), not from the generator's plan."""
    group: str
    """The same for all samples that share their picture or video."""
    images: Mapping[str, Pixels] = field(default_factory=dict, repr=False, compare=False)
    """Image field -> picture."""
    clip: Clip | None = field(default=None, repr=False, compare=False)
    span: tuple[float, float] | None = None
    """Start and end in seconds: the part of the video to show (STAR), or the answer (Charades-STA)."""
    box: tuple[float, float, float, float] | None = None
    """(x1, y1, x2, y2) in pixels of the picture."""


Draw = Callable[[Random, Difficulty, Side, int], list[Sample]]
"""(rng, difficulty, side, serial number) -> the samples of one picture or video."""

"""A small synthetic world in the benchmarks' own data formats.

`build_world` writes miniature benchmarks that the same task files read as the real ones; `training_samples` gives
endless samples of the same kind for training, disjoint from every evaluation set; `contact_sheet` draws a page of
samples to look at. `mmrope_synth.needle` hides cards in videos of any length.

Imports nothing of mmrope_eval, which draws its sweeps' needles here. What it refuses is a `SynthError`.
"""

from __future__ import annotations

from mmrope_synth.columns import CATEGORIES, COLUMNS, training_samples
from mmrope_synth.core import Difficulty
from mmrope_synth.sample import Sample
from mmrope_synth.sheet import contact_sheet
from mmrope_synth.writer import build_world

__all__ = ["CATEGORIES", "COLUMNS", "Difficulty", "Sample", "build_world", "contact_sheet", "training_samples"]

"""`mmrope-eval demo` and its parts: what they are asked, and what does them.

The demo is imported by name: it stands above the product, which goes without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from mmrope_eval.util.keys import Keys, Names, Place, Positive, Rate, Seed, Seeds, Text, Whole, option


class DemoOptions(Keys):
    """What `demo` is asked."""

    output: Place = option("folder for data and results (default: %(default)s)", Path("demo"), metavar="DIR")
    n: Positive = option("rows a column (default: %(default)s)", 24)
    limit: Text | None = option("evaluate only N samples of each task (first:N: the first ones)")
    fresh: bool = option("ask everything again, whatever answers are kept", False)
    variant: Names = option("checkpoints to evaluate, by folder (default: the seven rows of Table 2)", [],
                            metavar="NAME[,NAME...]")
    checkpoints: Place | None = option("where they are (default: the project's own)", metavar="DIR")


class TrainOptions(Keys):
    """Make the checkpoints: minutes for each on one core."""

    variant: Names = option("default: every row of Tables 2 to 4", [], metavar="NAME[,NAME...]")
    seeds: Seeds | None = option("training seeds (default: 0; 0,1,2 for vanilla and mrope-i, 0,1 for mrope)",
                                 metavar="LIST", action="store")
    out: Place = option("folder of the checkpoints; those already there are kept (default: %(default)s)",
                        Path("checkpoints"), metavar="DIR")
    work: Place = option("lessons and unfinished trainings, to go on from (default: %(default)s)",
                         Path("runs/training"), metavar="DIR")
    threads: Positive = option("compute threads; one is fastest beside another training (default: %(default)s)", 1)
    compile: bool = option("fuse the decoder's operations with torch.compile: needs a C++ compiler, and a minute",
                           False)


class DataOptions(Keys):
    """Generate miniatures of all benchmarks, a mirror for --data-root."""

    out: Place | None = option("folder of the mirror", metavar="DIR")
    n: Positive = option("rows a column (default: %(default)s)", 64)
    columns: Names = option("comma-separated columns; default: all 25", [], metavar="LIST")
    seed: Seed = option("another seed, another world", 0)
    sheet: Place | None = option("also draw a page of samples (alone: only that)", metavar="PNG")


class NeedleOptions(Keys):
    """Generate needles in haystacks: cards in videos of any length."""

    out: Place = option("folder of the mirror", ..., metavar="DIR")
    frames: Positive = option("of every video (default: %(default)s)", 64)
    size: Positive = option("width and height in pixels (default: %(default)s)", 56)
    fps: Rate = option("frames per second (default: %(default)s)", 4.0, metavar="F")
    depths: Names = option("where the card is, in per cent of the video (default: 0,25,50,75,100)",
                           ["0", "25", "50", "75", "100"], metavar="LIST", action="store")
    n: Positive = option("questions at each depth (default: %(default)s)", 8)
    distractors: Whole = option("look-alikes (default: %(default)s)", 3)
    seed: Seed = option("another seed, other needles", 0)


def demo(options: DemoOptions) -> int:
    """Run the demo: exit code 0, or 1 when samples failed."""
    return _work("mmrope_demo.run", "main")(options)


def train(options: TrainOptions) -> int:
    """Train the checkpoints. Exit code 0."""
    return _work("mmrope_demo.training.command", "main")(options)


def data(options: DataOptions) -> int:
    """Write the miniatures. Exit code 0."""
    return _work("mmrope_synth.command", "make_data")(**dict(options))


def needle(options: NeedleOptions) -> int:
    """Write the needles. Exit code 0."""
    return _work("mmrope_synth.command", "make_needles")(**dict(options))


def _work(module: str, name: str) -> Callable[..., int]:
    work: Callable[..., int] = getattr(importlib.import_module(module), name)
    return work

"""`mmrope-eval demo` and its parts: their options, and what does them.

The demo is imported by name: it stands above the product, which goes without it.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from mmrope_eval.cli.options import declared_options, options_as
from mmrope_eval.run.keys import Keys, Names, Place, Positive, Rate, Seed, Seeds, Text, Whole, option


class DemoOptions(Keys):
    """What `demo` is asked."""

    output: Place = option("folder for data and results (default: %(default)s)", Path("demo"), metavar="DIR")
    n: Positive = option("rows a column (default: %(default)s)", 24)
    limit: Text | None = option("evaluate only N samples of each task (first:N: the first ones)")
    fresh: bool = option("ask everything again, whatever answers are kept", False)
    variant: Names = option("checkpoints to evaluate, by folder (default: the seven rows of Table 2)", [],
                            metavar="NAME[,NAME...]")
    checkpoints: Place | None = option("where they are (default: the project's own)", metavar="DIR")


class UntrainedOptions(Keys):
    """Twelve variants with random weights on real pictures and videos."""

    output: Place = option("folder for checkpoints, data and results (default: %(default)s)", Path("demo/untrained"),
                           metavar="DIR")
    limit: Text | None = option("evaluate only N samples of each task (first:N: the first ones)")
    fresh: bool = option("ask everything again, whatever answers are kept", False)
    family: Literal["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "both", "all"] = option(
        "which tiny checkpoint is evaluated; both: the newer two (default: %(default)s)", "qwen2.5-vl")


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


PARTS: Final[Mapping[str | None, tuple[str, str, type[Keys]]]] = {
    None: ("mmrope_demo.run", "main", DemoOptions),
    "untrained": ("mmrope_demo.untrained", "main", UntrainedOptions),
    "train": ("mmrope_demo.training.command", "main", TrainOptions),
    "data": ("mmrope_synth.command", "make_data", DataOptions),
    "needle": ("mmrope_synth.command", "make_needles", NeedleOptions),
}
"""What does each part: a function of a module, and its options."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `demo` and of its parts."""
    declared_options(parser, DemoOptions)
    parts = parser.add_subparsers(dest="part", metavar="PART", title="parts")
    for name, (_, _, kind) in PARTS.items():
        if name is not None:
            words = f"{kind.__doc__}".rstrip(".")
            declared_options(parts.add_parser(name, help=words[0].lower() + words[1:], allow_abbrev=False), kind)


def main(args: argparse.Namespace) -> int:
    """`demo` and its parts: exit code 0, or 1 when samples failed."""
    module, name, kind = PARTS[args.part]
    options, work = options_as(kind, args), getattr(importlib.import_module(module), name)
    code: int = work(**dict(options)) if module.startswith("mmrope_synth") else work(options)
    return code

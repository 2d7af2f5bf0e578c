"""`mmrope-eval demo` and its parts: their options, and what does them.

The demo is imported by name: it stands above the product, which goes without it.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from mmrope_eval.cli.argument_types import names, positive, rate
from mmrope_eval.cli.options import options_as


def whole_numbers(text: str) -> list[int]:
    """A comma-separated list of whole numbers from 0 on."""
    found = names(text)
    if not all(number.isdecimal() for number in found):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers")
    return [int(number) for number in found]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `demo` and of its parts."""
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("demo"),
                        help="folder for data and results (default: %(default)s)")
    parser.add_argument("--n", metavar="N", type=positive, default=24, help="rows a column (default: %(default)s)")
    parser.add_argument("--limit", metavar="N", help="evaluate only N samples of each task (first:N: the first ones)")
    parser.add_argument("--fresh", action="store_true", help="ask everything again, whatever answers are kept")
    parser.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend",
                        help="checkpoints to evaluate, by folder (default: the seven rows of Table 2)")
    parser.add_argument("--checkpoints", metavar="DIR", type=Path, help="where they are (default: the project's own)")
    parts = parser.add_subparsers(dest="part", metavar="PART", title="parts")
    _untrained(parts.add_parser("untrained", help="twelve variants with random weights on real pictures and videos",
                                allow_abbrev=False))
    _train(parts.add_parser("train", help="make the checkpoints: minutes for each on one core", allow_abbrev=False))
    _data(parts.add_parser("data", help="generate miniatures of all benchmarks, a mirror for --data-root",
                           allow_abbrev=False))
    _needle(parts.add_parser("needle", help="generate needles in haystacks: cards in videos of any length",
                             allow_abbrev=False))


def _untrained(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("demo/untrained"),
                        help="folder for checkpoints, data and results (default: %(default)s)")
    parser.add_argument("--limit", metavar="N", help="evaluate only N samples of each task (first:N: the first ones)")
    parser.add_argument("--fresh", action="store_true", help="ask everything again, whatever answers are kept")
    parser.add_argument("--family", choices=["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "both", "all"],
                        default="qwen2.5-vl",
                        help="which tiny checkpoint is evaluated; both: the newer two (default: %(default)s)")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend",
                        help="default: every row of Tables 2 to 4")
    parser.add_argument("--seeds", metavar="LIST", type=whole_numbers,
                        help="training seeds (default: 0; 0,1,2 for vanilla and mrope-i, 0,1 for mrope)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("checkpoints"),
                        help="folder of the checkpoints; those already there are kept (default: %(default)s)")
    parser.add_argument("--work", metavar="DIR", type=Path, default=Path("runs/training"),
                        help="lessons and unfinished trainings, to go on from (default: %(default)s)")
    parser.add_argument("--threads", metavar="N", type=positive, default=1,
                        help="compute threads; one is fastest beside another training (default: %(default)s)")
    parser.add_argument("--compile", action="store_true",
                        help="fuse the decoder's operations with torch.compile: needs a C++ compiler, and a minute")


def _data(made: argparse.ArgumentParser) -> None:
    made.add_argument("--out", metavar="DIR", type=Path, help="folder of the mirror")
    made.add_argument("--n", metavar="N", type=positive, default=64, help="rows a column (default: %(default)s)")
    made.add_argument("--columns", metavar="LIST", type=names, action="extend",
                      help="comma-separated columns; default: all 25")
    made.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, another world")
    made.add_argument("--sheet", metavar="PNG", type=Path, help="also draw a page of samples (alone: only that)")


def _needle(needle: argparse.ArgumentParser) -> None:
    needle.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the mirror")
    needle.add_argument("--frames", metavar="N", type=positive, default=64,
                        help="of every video (default: %(default)s)")
    needle.add_argument("--size", metavar="N", type=positive, default=56,
                        help="width and height in pixels (default: %(default)s)")
    needle.add_argument("--fps", metavar="F", type=rate, default=4.0, help="frames per second (default: %(default)s)")
    needle.add_argument("--depths", metavar="LIST", type=names, default=["0", "25", "50", "75", "100"],
                        help="where the card is, in per cent of the video (default: 0,25,50,75,100)")
    needle.add_argument("--n", metavar="N", type=positive, default=8, help="questions at each depth "
                        "(default: %(default)s)")
    needle.add_argument("--distractors", metavar="N", type=int, default=3, help="look-alikes (default: %(default)s)")
    needle.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, other needles")


@dataclass(frozen=True)
class DemoOptions:
    """What `demo` is asked."""

    output: Path
    n: int = 24
    limit: str | None = None
    fresh: bool = False
    variant: tuple[str, ...] = ()
    checkpoints: Path | None = None


@dataclass(frozen=True)
class UntrainedOptions:
    """What `demo untrained` is asked."""

    output: Path
    limit: str | None = None
    fresh: bool = False
    family: Literal["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "both", "all"] = "qwen2.5-vl"


@dataclass(frozen=True)
class TrainOptions:
    """What `demo train` is asked."""

    out: Path
    work: Path
    variant: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    threads: int = 1
    compile: bool = False


@dataclass(frozen=True)
class DataOptions:
    """What `demo data` is asked."""

    out: Path | None = None
    n: int = 64
    columns: tuple[str, ...] = ()
    seed: int = 0
    sheet: Path | None = None


@dataclass(frozen=True)
class NeedleOptions:
    """What `demo needle` is asked."""

    out: Path
    depths: tuple[str, ...]
    frames: int = 64
    size: int = 56
    fps: float = 4.0
    n: int = 8
    distractors: int = 3
    seed: int = 0


PARTS: Final[Mapping[str | None, tuple[str, str, type[Any]]]] = {
    None: ("mmrope_demo.run", "main", DemoOptions),
    "untrained": ("mmrope_demo.untrained", "main", UntrainedOptions),
    "train": ("mmrope_demo.training.command", "main", TrainOptions),
    "data": ("mmrope_synth.command", "make_data", DataOptions),
    "needle": ("mmrope_synth.command", "make_needles", NeedleOptions),
}
"""What does each part: a function of a module, and its options."""


def main(args: argparse.Namespace) -> int:
    """`demo` and its parts: exit code 0, or 1 when samples failed."""
    module, name, kind = PARTS[args.part]
    options, work = options_as(kind, args), getattr(importlib.import_module(module), name)
    code: int = work(**vars(options)) if module.startswith("mmrope_synth") else work(options)
    return code

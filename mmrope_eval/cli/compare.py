"""`mmrope-eval compare`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import fraction, options_as, whole


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`: two runs."""
    parser.add_argument("a", metavar="A", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("b", metavar="B", type=Path, help="another; differences are B minus A")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every sample in one run only")
    statistics_options(parser)


def statistics_options(parser: argparse.ArgumentParser) -> None:
    """What `compare` and `check` are asked about chance."""
    parser.add_argument("--seeds", choices=["one", "mean"], default="one",
                        help="mean: each side holds several trainings of a design, and their means are compared, as "
                             "designs (default: %(default)s, checkpoint by checkpoint)")
    parser.add_argument("--alpha", metavar="F", type=fraction, default=0.05,
                        help="chance of calling anything different, or worse, that is not (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=whole, default=0,
                        help="of everything drawn at random (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `report.compare.compare`)."""
    from mmrope_eval.report.compare.compare import CompareOptions, main

    return main(options_as(CompareOptions, args))

"""`mmrope-eval samples`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import options_as, positive


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `samples`: a run, and which of its samples."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("--wrong", action="store_true", help="those that failed or have less than the full score")
    parser.add_argument("--n", metavar="N", type=positive, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--task", metavar="TASK", help="of this task; default: all, in the run's order")
    parser.add_argument("--row", metavar="ROW", help="of the row of this name; default: all, side by side")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `report.samples_command`)."""
    from mmrope_eval.report.samples_command import SamplesOptions, main

    return main(options_as(SamplesOptions, args))

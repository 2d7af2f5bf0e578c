"""`mmrope-eval trainings`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import fraction, names, options_as, sizes, step


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `trainings`: runs, and which of their designs are compared."""
    parser.add_argument("run", metavar="RUN", type=Path, nargs="+",
                        help="--output folders of runs; checkpoints of one variant are its trainings")
    parser.add_argument("--baseline", metavar="VARIANT", help="compare all others with it; default: each with each")
    parser.add_argument("--variant", metavar="LIST", type=names, action="extend", default=[],
                        help="only these variants (comma-separated)")
    parser.add_argument("--model", metavar="GLOB", type=names, action="extend", default=[],
                        help="only checkpoints of these names")
    parser.add_argument("--step", metavar="N|last", type=step, help="checkpoints of one training: which step of each")
    parser.add_argument("--points", metavar="LIST", type=sizes, default=[1.0, 3.0],
                        help="differences whose need of trainings is shown (default: 1,3)")
    parser.add_argument("--alpha", metavar="F", type=fraction, default=0.05,
                        help="chance of calling any equal pair different (default: %(default)s)")
    parser.add_argument("--format", choices=["text", "json"], default="text")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `report.compare.trainings_command`)."""
    from mmrope_eval.report.compare.trainings_command import TrainingsOptions, main

    return main(options_as(TrainingsOptions, args))

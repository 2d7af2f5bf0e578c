"""`mmrope-eval steps`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import names, options_as


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `steps`: runs of a training's checkpoints, which scores, a figure."""
    parser.add_argument("run", metavar="RUN", type=Path, nargs="+", help="--output folders of runs")
    parser.add_argument("--columns", metavar="LIST", type=names, action="extend",
                        help="comma-separated averages, benchmarks or tasks; default: Overall,Image,Video,Grounding")
    parser.add_argument("--partial", action="store_true",
                        help="average over the benchmarks that every step has, where some are missing")
    parser.add_argument("--model", metavar="GLOB", type=names, action="extend", default=[],
                        help="only checkpoints of these names")
    parser.add_argument("--reported", action="store_true",
                        help="set the paper's scores beside ours, in the figure as thin lines")
    parser.add_argument("--figure", metavar="FILE", type=Path, help="also draw the scores over steps: .png or .pdf")
    parser.add_argument("--format", choices=["markdown", "csv", "json"], default="markdown")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `report.steps.command`)."""
    from mmrope_eval.report.steps.command import StepsOptions, main

    return main(options_as(StepsOptions, args))

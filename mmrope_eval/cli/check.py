"""`mmrope-eval check`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.compare import statistics_options
from mmrope_eval.cli.options import kinds, options_as, rate, tolerated


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`: a run, what it must not fall behind, how far, and where the outcome is written."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("--against", metavar="BASELINE", type=Path, required=True,
                        help="another run, or a file of reported scores such as results/reported/huang2025.yaml")
    parser.add_argument("--tolerance", metavar="POINTS", type=tolerated, default=0.2,
                        help="a true loss of at most this many points is harmless; only more is worse (default: "
                             "%(default)s)")
    parser.add_argument("--margin", metavar="POINTS", type=rate,
                        help="pass only where it is shown that no average lost so many points; exit code 3 where that "
                             "cannot be told. Without it 2 is what cells are sorted by, and nothing is asked")
    parser.add_argument("--margin-columns", metavar="POINTS", type=rate, help="the same of every column")
    parser.add_argument("--require-power", metavar="POINTS", type=rate,
                        help="exit code 3 where a loss of so many points could have gone unnoticed in some cell")
    parser.add_argument("--allow-different", metavar="KINDS", type=kinds, action="extend", default=[],
                        help="compare although prompts, scorers, data or (answer) limits differ (comma-separated)")
    parser.add_argument("--require-all", action="store_true", help="fail also when a cell of the baseline is missing")
    parser.add_argument("--strict", action="store_true",
                        help="fail also when a cell is lower beyond the tolerance, even where that may be chance")
    parser.add_argument("--table", metavar="NAME",
                        help="compare with this table of a file of reported scores alone, such as families-8b; "
                             "default: all tables about the models of its first")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write a JUnit XML file, one test case a cell")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="write a markdown summary for a pull request")
    statistics_options(parser)


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `report.compare.gate`)."""
    from mmrope_eval.report.compare.gate import CheckOptions, main

    return main(options_as(CheckOptions, args))

"""`mmrope-eval status`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import options_as


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `status`: a folder of results."""
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="the --output of a run or a study")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `run.status`)."""
    from mmrope_eval.run.status import StatusOptions, main

    return main(options_as(StatusOptions, args))

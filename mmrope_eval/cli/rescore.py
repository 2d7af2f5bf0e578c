"""`mmrope-eval rescore`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import options_as, scorer_option, tasks_dir


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rescore`: a stored run, or a folder of them."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    scorer_option(parser)
    parser.add_argument("--output", metavar="DIR", type=Path, help="write here instead of into the run")
    parser.add_argument("--data-root", metavar="DIR", type=Path,
                        help="local mirror of the datasets; default: where the run had it")
    tasks_dir(parser)


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `run.rescore`)."""
    from mmrope_eval.run.rescore import RescoreOptions, main

    return main(options_as(RescoreOptions, args))

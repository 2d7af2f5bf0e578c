"""`mmrope-eval rescore`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import key_options, options_as


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rescore`: a stored run, or a folder of them."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    key_options(parser, "scorer", "tasks_dir", output="write here instead of into the run",
                data_root="local mirror of the datasets; default: where the run had it")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `run.rescore`)."""
    from mmrope_eval.run.rescore import RescoreOptions, main

    return main(options_as(RescoreOptions, args))

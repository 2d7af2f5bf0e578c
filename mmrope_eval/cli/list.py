"""`mmrope-eval list`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import options_as, tasks_dir


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `list`: which kind of name."""
    parser.add_argument("kind", nargs="?", choices=["variants", "tasks", "suites"], help="default: all three")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="say which tasks' data this local mirror holds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    tasks_dir(parser)


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `cli.catalogue`)."""
    from mmrope_eval.cli.catalogue import ListOptions, list_names

    return list_names(options_as(ListOptions, args))

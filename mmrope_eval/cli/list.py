"""`mmrope-eval list`: its options."""

from __future__ import annotations

import argparse

from mmrope_eval.cli.options import key_options, options_as


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `list`: which kind of name."""
    parser.add_argument("kind", nargs="?", choices=["variants", "tasks", "suites"], help="default: all three")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    key_options(parser, "tasks_dir", data_root="say which tasks' data this local mirror holds")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `cli.catalogue`)."""
    from mmrope_eval.cli.catalogue import ListOptions, list_names

    return list_names(options_as(ListOptions, args))

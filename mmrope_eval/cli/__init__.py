"""The command line: which function in which room does a command, how its options are parsed, what a mistake is told."""

from __future__ import annotations

from mmrope_eval.cli.command_line import COMMANDS, bad_input, build_parser, entry, main, parse

__all__ = ["COMMANDS", "bad_input", "build_parser", "entry", "main", "parse"]

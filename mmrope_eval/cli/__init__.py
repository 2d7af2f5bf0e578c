"""The command line: every command with its arguments and its handler."""

from __future__ import annotations

from mmrope_eval.cli.command_line import COMMANDS, bad_input, build_parser, entry, main, parse

__all__ = ["COMMANDS", "bad_input", "build_parser", "entry", "main", "parse"]

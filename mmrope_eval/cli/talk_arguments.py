"""How much a command says, and where: what `run`, `study` and `sweep` share."""

from __future__ import annotations

import argparse
from pathlib import Path


def talk(parser: argparse.ArgumentParser) -> None:
    """`--quiet`, `--verbose` and `--log-file`."""
    group = parser.add_argument_group("what is said")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--quiet", action="store_true",
                        help="print results, errors, failed rows and warnings; the log has the rest")
    either.add_argument("--verbose", action="store_true",
                        help="also print what vLLM says and all tracebacks, as they reach the logs")
    group.add_argument("--log-file", metavar="FILE", type=Path, help="write the log there (default: OUTPUT/log.txt)")

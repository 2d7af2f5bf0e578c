"""What messages have in common: names and values of foreign files, short and on one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def one_line(name: str) -> str:
    """A name of a foreign file: a tensor's, a file's."""
    return name if name.isprintable() else repr(name)


def mended(path: Path, otherwise: str) -> str:
    """What helps where a file cannot be read: if the system forbids it, a new copy would be no better."""
    return "make it readable" if path.exists() and not os.access(path, os.R_OK) else otherwise


def some(names: Sequence[str], count: int = 3) -> str:
    """The first few of many names, and how many there are."""
    listed = ", ".join(one_line(name) for name in names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more ({len(names)} in all)"

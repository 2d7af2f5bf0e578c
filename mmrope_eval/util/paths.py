"""Where the files of this project lie, and where it keeps what it can make again."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final


@functools.cache
def project_dir(name: str) -> Path:
    """`tasks`, `configs`, `results` or the like of a checkout, or the copy inside an installed package."""
    this_file = Path(__file__).resolve()
    candidates = [this_file.parents[2] / name, this_file.parents[1] / name]
    return next((path for path in candidates if path.is_dir()), candidates[-1])


CACHE_VARIABLE: Final = "MMROPE_CACHE"
"""The environment variable that names the cache folder; worker processes inherit it."""


def cache_home() -> Path:
    """The cache folder: $MMROPE_CACHE, else `mmrope-eval` in $XDG_CACHE_HOME (~/.cache)."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmrope-eval"


@contextmanager
def cache_at(folder: str | Path | None) -> Iterator[None]:
    """`--cache-dir`: another cache folder while a command runs; None changes nothing."""
    before = os.environ.get(CACHE_VARIABLE)
    if folder is not None:
        os.environ[CACHE_VARIABLE] = str(Path(folder).expanduser().absolute())
    try:
        yield
    finally:
        if folder is not None:
            os.environ.pop(CACHE_VARIABLE)
            if before is not None:
                os.environ[CACHE_VARIABLE] = before

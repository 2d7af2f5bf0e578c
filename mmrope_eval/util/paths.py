"""Where the files of this project lie: in a checkout, or in an installed package."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def project_dir(name: str) -> Path:
    """`tasks`, `configs`, `results` or the like of a checkout, or the copy inside an installed package."""
    here = Path(__file__).resolve()
    candidates = [here.parents[2] / name, here.parents[1] / name]
    return next((path for path in candidates if path.is_dir()), candidates[-1])

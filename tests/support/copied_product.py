"""A copy of the product in which a test changes a file, and what code says in a process of that copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_product(target: Path, *folders: str) -> Path:
    """The package and other folders of the checkout, without what was compiled of them."""
    for folder in ("mmrope_eval", *folders):
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def said_by(product: Path, code: str) -> list[str]:
    """The lines that code prints there; an error is its last line."""
    done = subprocess.run([sys.executable, "-c", code], cwd=product, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(product)})  # fmt: skip
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()

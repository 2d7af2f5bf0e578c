"""Write requirements/vlmevalkit.lock: what the extra `vlmevalkit` adds to an environment, or changes in it.

    PYTHON scripts/lock_vlmevalkit.py

PYTHON is the interpreter of an environment made from requirements/cpu.lock into which the extra was installed after.
Standard library only. Pins that cpu.lock has alike are left out, so that the file fits both locks.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
LEFT_OUT = {"pip", "mmrope-eval"}
HEADER = """\
# pip constraints: what the extra 'vlmevalkit' adds to cpu.lock and cuda.lock, and the four pins of theirs it changes.
# Install: .venv/bin/python -m pip install --constraint requirements/vlmevalkit.lock --editable '.[vlmevalkit]'
# Written by: python scripts/lock_vlmevalkit.py
"""


def normal(name: str) -> str:
    """A distribution's name as the registry compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Path) -> dict[str, str]:
    """Name -> version of a lock file."""
    lines = (line.partition("==") for line in lock.read_text().splitlines() if not line.startswith("#"))
    return {name: version for name, _, version in lines}


def main() -> int:
    """Write the file; 2 when the interpreter's environment lacks the extra."""
    installed = {normal(distribution.name): distribution.version for distribution in importlib.metadata.distributions()}
    if "ms-vlmeval" not in installed:
        print(f"lock_vlmevalkit: {sys.executable} has no ms-vlmeval; install the extra there first.", file=sys.stderr)
        return 2
    base = pins(REQUIREMENTS / "cpu.lock")
    new = {name: version for name, version in installed.items() if base.get(name) != version and name not in LEFT_OUT}
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(new.items()))
    (REQUIREMENTS / "vlmevalkit.lock").write_text(HEADER + lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())

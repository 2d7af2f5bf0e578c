"""Where a data set's file lies: on its own, or inside a zip archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """A file inside a zip archive."""

    archive: Path
    name: str
    size: int
    checksum: int
    """CRC-32 of its content, as the archive says."""


Located = Path | Member

"""Packages as if they were installed in another version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


def install(folder: Path, versions: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find these versions in `folder`, before those that are installed: as metadata, without any code."""
    for name, version in versions.items():
        home = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        home.mkdir(parents=True)
        (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(folder))

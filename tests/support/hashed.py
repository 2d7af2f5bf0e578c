"""What is read for its sha256, seen at Python's own digests: a file that is hashed again is read again."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest


class Hashed:
    """The sha256 of everything that is hashed from now on, once for each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._made: list[Any] = []
        sha256 = hashlib.sha256

        def noted(*given: Any, **named: Any) -> Any:
            self._made.append(sha256(*given, **named))
            return self._made[-1]

        monkeypatch.setattr(hashlib, "sha256", noted)

    @property
    def digests(self) -> list[str]:
        """In hexadecimal."""
        return [digest.hexdigest() for digest in self._made]

    def clear(self) -> None:
        """Forget what was hashed so far."""
        self._made.clear()

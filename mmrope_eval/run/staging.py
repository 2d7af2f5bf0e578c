"""Files that belong together: written beside their places one after another, then put there all at once."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from mmrope_eval.util.files import draft_of


class Staging:
    """Use it as a context manager: what is not in its place by `commit` when it ends is removed again."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def lines(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """JSON lines for `path`, each written as it comes. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = draft_of(path)
        self._files.append((temporary, path))
        try:
            self._write(temporary, rows)
        except OSError as error:
            error.filename = str(path)  # a full disk names none, and nobody knows the temporary one
            raise

    @staticmethod
    def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        # Half a surrogate pair, which an odd file name may hold, is written as JSON escapes it.
        with path.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
            for row in rows:
                stream.write(encode(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def commit(self) -> None:
        """Put every file in its place."""
        while self._files:
            temporary, path = self._files[0]
            temporary.replace(path)
            self._files.pop(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for temporary, _path in self._files:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

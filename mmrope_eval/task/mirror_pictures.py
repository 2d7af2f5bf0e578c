"""The pictures of `mmrope-eval data check`: each loaded once, by the code that a run uses, several at a time."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from mmrope_eval.messages import ImageSource
from mmrope_eval.models.families import DEFAULT_FAMILY

_AHEAD = 64
"""So many pictures may wait: those of large data sets do not fit in memory together."""


class PictureCheck:
    """Collects what is wrong with rows, in their order, while their pictures are loaded beside the reading. A context
    manager: leaving it ends its threads."""

    def __init__(self, decode: bool = True) -> None:
        self._decode = decode
        self._pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        self._known: dict[str, Future[str | None]] = {}
        self._found: list[tuple[int, str | Future[str | None]]] = []
        self._waiting: deque[Future[str | None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, row: int, source: ImageSource) -> None:
        """Load a picture of a row in the background; one that was loaded before only counts for this row as well."""
        key = str(source.data) if isinstance(source.data, Path) else hashlib.sha256(source.data).hexdigest()
        if key not in self._known:
            if len(self._waiting) >= _AHEAD:
                self._waiting.popleft().result()
            self._known[key] = self._pool.submit(picture_fault, source, self._decode)
            self._waiting.append(self._known[key])
        self._found.append((row, self._known[key]))

    def add_problem(self, row: int, cause: str) -> None:
        """Something else that is wrong with a row."""
        self._found.append((row, cause))

    def problems(self) -> Iterator[tuple[int, str]]:
        """(row, cause) of all that is wrong, a row's first fault only; waits for the pictures."""
        last = -1
        for row, verdict in self._found:
            cause = verdict if isinstance(verdict, str) else verdict.result()
            if cause and row != last:
                last = row
                yield row, cause


def picture_fault(source: ImageSource, decode: bool) -> str | None:
    """Why a run could not show a picture (with the default limits and the default family's grid), or without `decode`
    why its head cannot be read; None when it can."""
    from mmrope_eval.media.image import MediaError, MediaPolicy, image_size, load_image

    try:
        if decode:
            load_image(source, MediaPolicy(), DEFAULT_FAMILY.published)
        else:
            image_size(source)
    except MediaError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a damaged file must not end the check of the others
        return f"its picture cannot be loaded ({type(error).__name__})."
    return None

"""A disk cache of decoded frames, shared by processes, bounded in size, never trusted blindly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.util.files import DRAFT, whole

_MAGIC = b"MMROPE-FRAMES-2\n"
_EARLIER = b"MMROPE-FRAMES-1\n"
"""Whose checksum did not cover the header, so that a damaged time would have been believed."""
_STALE_SECONDS = 3600.0
_log = logging.getLogger(__name__)


class MediaCache:
    """Decoded frames under `directory`, keyed by the caller's fingerprint; least recently used entries go first.

    One file per entry: magic, one JSON line (shape, header, sha256 of both and the pixels), raw uint8 pixels. Files
    appear by rename, so a reader sees a whole entry or none; one that does not match its checksum is dropped and made
    anew.
    """

    def __init__(self, directory: Path, max_bytes: int = 20 * 2**30) -> None:
        self.directory = Path(directory)
        self.max_bytes = max_bytes
        with contextlib.suppress(OSError):  # what is put into it then says so
            self.directory.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> tuple[NDArray[np.uint8], dict[str, Any]] | None:
        """(frames uint8, header) stored under `key`, or None; a damaged entry is removed and counts as missing."""
        path = self._path(key)
        try:
            entry = _read_entry(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
            _log.warning("dropped a damaged cache entry (%s): %s", error, path)
            with contextlib.suppress(OSError):  # a cache of others, that may only be read
                path.unlink(missing_ok=True)
            return None
        if entry is None:
            return None
        # Its age is its rank in eviction. Another process may have evicted it just now: the pixels are here already.
        with contextlib.suppress(OSError):
            os.utime(path)
        return entry

    def put(self, key: str, frames: NDArray[np.uint8], header: dict[str, Any]) -> None:
        """Store an entry; a full or read-only disk costs the caching, not the run."""
        if frames.nbytes > self.max_bytes:
            return
        pixels = np.ascontiguousarray(frames, dtype=np.uint8)
        told = json.loads(json.dumps({"shape": pixels.shape, "header": header}))  # as it will be read
        line = json.dumps({"sha256": _digest(told, pixels), **told}).encode() + b"\n"
        try:
            with whole(self._path(key)) as draft, draft.open("wb") as file:
                file.writelines((_MAGIC, line, pixels.data))
            self._evict()
        except OSError as error:
            _log.warning("could not cache decoded frames in %s: %s", self.directory, error)

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.frames"

    def _evict(self) -> None:
        now = time.time()
        entries = []
        for path in self.directory.iterdir():
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix == ".frames":
                entries.append((stat.st_mtime, stat.st_size, path))
            elif path.suffix == DRAFT and now - stat.st_mtime > _STALE_SECONDS:
                path.unlink(missing_ok=True)  # left by a process that was killed
        excess = sum(size for _, size, _ in entries) - self.max_bytes
        for _, size, path in sorted(entries)[:-1]:  # the newest is the one just written
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


def _digest(told: dict[str, Any], frames: NDArray[np.uint8]) -> str:
    """sha256 of what is said of frames, and of their pixels."""
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update(frames.data)
    return digest.hexdigest()


def _read_entry(path: Path) -> tuple[NDArray[np.uint8], dict[str, Any]] | None:
    """An entry; None for one of an earlier version, which is made anew."""
    with path.open("rb") as file:
        magic = file.readline(len(_MAGIC))
        if magic == _EARLIER:
            return None
        if magic != _MAGIC:
            raise ValueError("unknown format")
        line = json.loads(file.readline())
        if math.prod(line["shape"]) != path.stat().st_size - file.tell():
            raise ValueError("wrong length")
        frames = np.empty(line["shape"], dtype=np.uint8)
        if file.readinto(frames.data.cast("B")) != frames.nbytes or file.read(1):
            raise ValueError("wrong length")
    if _digest({"shape": line["shape"], "header": line["header"]}, frames) != line["sha256"]:
        raise ValueError("wrong checksum")
    return frames, line["header"]

"""The lock of a folder: one process at a time may write into it, into those above it and into those below it."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from mmrope_eval.errors import UserError, cannot
from mmrope_eval.util.console import say

LOCK: Final = ".lock"
DEPTH: Final = 4
"""How far below a run's folder others may lie: a sweep's points are context/task/row."""

GLANCE: Final = 0.1
"""Seconds in which whoever only looks (`mmrope-eval status`) lets a lock go."""

HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
"""What a lock says that another process holds; every other error says that there are no locks here."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a folder of results for this process, and with it every one that it lies in or that lies in it. UserError
    when another process holds one of them, or the folder cannot be written. A killed holder leaves no lock. Where the
    file system has no locks a warning is printed and nothing is held."""
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK
        handle = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise cannot("write", path, error, "make it writable or choose another --output") from error
    with handle, ExitStack() as others:
        if not taken_soon(handle):
            refuse_below(folder)  # whoever writes there holds this one too
            raise UserError(held(folder, handle))
        for higher in locks_above(folder):
            above = others.enter_context(higher.open(encoding="utf-8"))
            if not taken(above, fcntl.LOCK_SH, quiet=True):
                raise UserError(held(higher.parent, above, folder))
        refuse_below(folder)
        try:
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
        except OSError as error:
            raise cannot("write", folder, error, "free some space or choose another --output") from error
        yield


@contextmanager
def read_lock(folder: Path) -> Iterator[None]:
    """Keep others from writing into a folder while it is read, where there is a lock. UserError when one writes now."""
    with ExitStack() as stack:
        path = folder / LOCK
        if path.is_file() and os.access(path, os.R_OK):
            handle = stack.enter_context(path.open(encoding="utf-8"))
            if not taken(handle, fcntl.LOCK_SH, quiet=True):
                raise UserError(held(folder, handle))
        yield


def taken(handle: IO[str], kind: int, *, quiet: bool = False) -> bool:
    """Whether the lock is ours now; also where there are no locks, which is said."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if not quiet:
            say(f"mmrope-eval: {Path(handle.name).parent} is on a file system without locks "
                f"({os.strerror(error.errno or 0)}): nothing keeps a second process from writing there too, so start "
                "one at a time.", file=sys.stderr)  # fmt: skip
    return True


def taken_soon(handle: IO[str]) -> bool:
    """Whether the folder is ours alone, now or when those are gone who only look."""
    for _ in range(3):
        if taken(handle, fcntl.LOCK_EX):
            return True
        time.sleep(GLANCE)
    return False


def held(place: Path, handle: IO[str], asked_for: Path | None = None) -> str:
    """One sentence on a folder that another process writes to."""
    handle.seek(0)
    holder = handle.read().strip() or "unknown"
    beside = "" if asked_for is None or asked_for == place else f", and {asked_for} is not apart from it"
    return (f"Another process (pid {holder}) is writing to {place}{beside}; wait for it, stop it, or choose another "
            "--output.")  # fmt: skip


def locks_above(folder: Path) -> Iterator[Path]:
    """Locks of the folders that a folder lies in, as far as they can be read."""
    for parent in folder.resolve().parents:
        path = parent / LOCK
        if path.is_file() and os.access(path, os.R_OK):
            yield path


def refuse_below(folder: Path) -> None:
    """UserError when another process writes to a folder below this one."""
    for path in locks_below(folder, DEPTH):
        try:
            handle = path.open(encoding="utf-8")
        except OSError:
            continue
        with handle:
            if not taken(handle, fcntl.LOCK_SH, quiet=True):
                raise UserError(held(path.parent, handle, folder))


def locks_below(folder: Path, depth: int) -> Iterator[Path]:
    """The locks in the folders below a folder; links are not followed."""
    try:
        inside = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in inside:
        path = Path(entry.path) / LOCK
        if path.is_file():
            yield path
        if depth > 1:
            yield from locks_below(Path(entry.path), depth - 1)

"""Code out of a checkpoint's folder, run with an end: a chat template is a program and may never stop.

Python cannot be stopped from outside but by an exception put into its thread, which is what a helper thread does here
when the time or the memory of a call is over. It ends loops; a single call into C goes on to its own end.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

SECONDS = 10.0
"""For writing one prompt, which takes less than a thousandth of this."""
CHARACTERS = 1_000_000
"""Of a prompt beyond what its question has."""
MEMORY = 2**30
"""Bytes that a process may grow by while a checkpoint's template is tried."""


class BoundError(Exception):
    """A call took too much; the end of a sentence."""


class _Over(BaseException):
    """Raised in a thread from outside."""


class Bounds:
    """Runs calls, one at a time, none longer than `seconds` nor with more than `memory` bytes more.

    The memory is the whole process's, so it is for times when nothing else runs.
    """

    def __init__(self, seconds: float = SECONDS, memory: int | None = None) -> None:
        self._seconds, self._memory = seconds, memory
        self._lock = threading.Lock()
        self._thread = 0
        self._until: float | None = None
        self._most = 0
        self._reason: str | None = None
        pause = min(0.5, seconds / 5) if memory is None else 0.05
        threading.Thread(target=_guard, args=(weakref.ref(self), pause), name="bounds", daemon=True).start()

    def run(self, work: Callable[[], Result]) -> Result:
        """What `work` gives. Raises `BoundError` where it was stopped, and what it raises."""
        with self._lock:
            self._thread, self._reason = threading.get_ident(), None
            self._most = _resident() + self._memory if self._memory is not None else 0
            self._until = time.monotonic() + self._seconds
        try:
            try:
                return work()
            finally:
                self._end()
        except _Over:
            reason = self._reason
            self._end()  # it may have been that one which was stopped
            raise BoundError(reason) from None

    def _end(self) -> None:
        with self._lock:
            self._until = None
            if self._reason is not None:  # stopped in the moment when it was done
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)

    def check(self) -> None:
        """Stop the call at hand if it is time."""
        with self._lock:
            if self._until is None or self._reason is not None:
                return
            if time.monotonic() > self._until:
                self._reason = f"took more than {self._seconds:g} s"
            elif self._most and _resident() > self._most:
                self._reason = f"took more than {(self._memory or 0) / 2**20:.0f} MiB of memory"
            if self._reason is not None:
                stop = ctypes.py_object(_Over)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), stop)


def _guard(bounds: weakref.ref[Bounds], pause: float) -> None:
    while True:
        time.sleep(pause)
        held = bounds()
        if held is None:
            return
        held.check()
        del held


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0

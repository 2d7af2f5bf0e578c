"""Writing in a thread of its own, in groups: whoever brings something goes on at once, and is told when it is safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

WITHIN: Final = 0.05
"""Seconds that the first of a group waits for others: a disk takes as long for many as for one."""

Item = TypeVar("Item")


class Writer(Generic[Item]):
    """Hands items, in their order, to `write`, many at a time; a context manager, used from one thread. What `write`
    raises is raised by the next call of any method, and nothing is written after it."""

    def __init__(self, write: Callable[[Sequence[Item]], None], *, within: float = WITHIN) -> None:
        self._write, self._within = write, within
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._written: list[Item] = []
        self._unwritten = 0
        """Brought and not yet written, those in hand among them."""
        self._hurry = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="store-answers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Write what is left, also when something else went wrong, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._check()

    def put(self, item: Item) -> None:
        """Bring one item; it is written soon."""
        with self._changed:
            self._check()
            self._waiting.append(item)
            self._unwritten += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything that was brought is written."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while self._unwritten and self._error is None:
                self._changed.wait()
            self._hurry = False
            self._check()

    def written(self) -> Sequence[Item]:
        """What was written since the last call."""
        if not self._written:  # asked after every answer: no lock where there is nothing
            return ()
        with self._changed:
            written, self._written = self._written, []
        return written

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while group := self._next():
            try:
                self._write(group)
            except BaseException as error:  # noqa: BLE001 - raised again where the next item is brought
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._written += group
                self._unwritten -= len(group)
                self._changed.notify_all()

    def _next(self) -> list[Item]:
        """The next group; empty when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(lambda: self._hurry or self._closed, timeout=self._within)
            group, self._waiting = self._waiting, []
            return group

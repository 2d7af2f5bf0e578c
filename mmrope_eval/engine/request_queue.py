"""Preparing requests in the background, a bounded distance ahead of the engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from mmrope_eval.engine.prepare import Loaded, Prepared
from mmrope_eval.messages import Deferred, Failure, Request


class RequestQueue:
    """Pulls requests one at a time, prepares them in threads, hands them over as they get ready.

    At most `ahead` requests are pulled and not yet taken, and none is pulled while the requests that were prepared and
    not released hold `max_bytes` or more. An exception of the iterable ends it; `take` with `wait` raises it after the
    rest.
    """

    def __init__(self, requests: Iterable[Request | Deferred],
                 prepare: Callable[[Request], Prepared | Loaded | Failure], *, ahead: int, max_bytes: int,
                 threads: int) -> None:
        self._source = iter(requests)
        self._prepare = prepare
        self._ahead, self._max_bytes = ahead, max_bytes
        self._changed = threading.Condition()
        self._pulling = threading.Lock()
        self._ready: deque[Prepared | Loaded | Failure] = deque()
        self._working = 0
        self._held = 0
        self._exhausted = False
        self._stopped = False
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._work, name=f"prepare-{i}", daemon=True) for i in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop pulling and wait for the items in hand."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def take(self, *, wait: bool) -> Prepared | Loaded | Failure | None:
        """The next item; None when none is ready, or with `wait` when there will be none."""
        with self._changed:
            while wait and not self._ready and not self._done():
                self._changed.wait()
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            if wait and self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def release(self, item: Prepared | Loaded) -> None:
        """The engine is done with an item: its memory counts no more."""
        with self._changed:
            self._held -= item.nbytes
            self._changed.notify_all()

    def became(self, item: Loaded, prepared: Prepared) -> None:
        """An item that was taken holds other memory now."""
        with self._changed:
            self._held += prepared.nbytes - item.nbytes

    @property
    def finished(self) -> bool:
        """Nothing is ready and nothing will be."""
        with self._changed:
            return not self._ready and self._done() and self._error is None

    def _done(self) -> bool:
        return self._exhausted and self._working == 0

    def _work(self) -> None:
        while self._reserve():
            request = self._pull()
            item = None
            try:
                if request is not None:
                    item = request if isinstance(request, Failure) else self._prepare(request)
            except BaseException as error:  # noqa: BLE001 - raised again where the results are read
                self._error, self._exhausted = error, True
            with self._changed:
                self._working -= 1
                if item is not None:
                    self._ready.append(item)
                    self._held += 0 if isinstance(item, Failure) else item.nbytes
                self._changed.notify_all()

    def _reserve(self) -> bool:
        """Wait for room for one more request; False when there is nothing more to do."""
        with self._changed:
            while not (self._stopped or self._exhausted):
                if self._working + len(self._ready) < self._ahead and self._held < self._max_bytes:
                    self._working += 1
                    return True
                self._changed.wait()
            return False

    def _pull(self) -> Request | Failure | None:
        """The next request, made: one at a time, as a data set may not be read from several threads."""
        with self._pulling:
            if self._exhausted or self._stopped:
                return None
            try:
                return next(self._source).made()
            except StopIteration:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again where the results are read
                self._error = error
            self._exhausted = True
            return None

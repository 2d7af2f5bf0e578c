"""The background stage in front of the engine: bounded, lazy, orderly at its end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import PATIENCE, eventually

from mmrope_eval.engine.prepare import Prepared
from mmrope_eval.engine.run import RequestQueue
from mmrope_eval.messages import Failure, Generation, Request


def request(number: int) -> Request:
    return Request(f"{number}", ("Hello",), Generation(1))


def prepared(request: Request, nbytes: int = 0) -> Prepared:
    facts: Any = SimpleNamespace()
    return Prepared(request, None, None, (), (), request.id, facts, nbytes)


def grows_to(value: list[int], length: int) -> bool:
    """Whether a list gets that long, and then no longer."""
    eventually(lambda: len(value) >= length, f"{length} items")
    time.sleep(0.05)
    return len(value) == length


def counted(seen: list[int], total: int) -> Iterator[Request]:
    for number in range(total):
        seen.append(number)
        yield request(number)


@pytest.mark.parametrize("threads", [1, 4])
def test_everything_arrives_once_and_then_nothing(threads: int) -> None:
    with RequestQueue(counted([], 50), prepared, ahead=5, max_bytes=1, threads=threads) as queue:
        taken = [item for _ in range(50) if (item := queue.take(wait=True))]
        assert sorted(int(item.request.id) for item in taken if isinstance(item, Prepared)) == list(range(50))
        assert queue.take(wait=True) is None
        assert queue.finished


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (1, 4), (3, 4), (8, 2)])
def test_no_more_than_ahead_are_pulled_and_not_taken(threads: int, ahead: int) -> None:
    seen: list[int] = []
    with RequestQueue(counted(seen, 1000), prepared, ahead=ahead, max_bytes=1, threads=threads) as queue:
        assert grows_to(seen, ahead)
        for taken in range(1, 6):
            assert queue.take(wait=True) is not None
            assert grows_to(seen, ahead + taken)


def test_nothing_is_pulled_while_too_much_memory_is_held() -> None:
    seen: list[int] = []
    queue = RequestQueue(counted(seen, 1000), lambda r: prepared(r, 10), ahead=100, max_bytes=25, threads=1)
    with queue:
        assert grows_to(seen, 3), "10 and 20 are below 25, 30 is not"
        first = queue.take(wait=True)
        assert grows_to(seen, 3), "taken by the engine, it is still held"
        assert isinstance(first, Prepared)
        queue.release(first)
        assert grows_to(seen, 4)


def test_one_item_larger_than_the_limit_still_goes_ahead() -> None:
    with RequestQueue(counted([], 3), lambda r: prepared(r, 100), ahead=2, max_bytes=1, threads=2) as queue:
        for _ in range(3):
            item = queue.take(wait=True)
            assert isinstance(item, Prepared)
            queue.release(item)
        assert queue.take(wait=True) is None


def test_preparing_overlaps_and_pulling_does_not() -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE)
    inside = threading.Lock()

    def source() -> Iterator[Request]:
        for number in range(3):
            assert inside.acquire(blocking=False), "two threads were in the iterable at once"
            time.sleep(0.02)
            inside.release()
            yield request(number)

    def prepare(item: Request) -> Prepared:
        barrier.wait()
        return prepared(item)

    with RequestQueue(source(), prepare, ahead=3, max_bytes=1, threads=3) as queue:
        assert all(queue.take(wait=True) for _ in range(3))


def test_an_error_of_the_iterable_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[Request]:
        yield request(0)
        raise LookupError("gone")

    with RequestQueue(source(), prepared, ahead=3, max_bytes=1, threads=2) as queue:
        assert queue.take(wait=True) is not None
        with pytest.raises(LookupError, match="gone"):
            queue.take(wait=True)
        assert queue.finished


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_preparation_ends_it_and_is_raised(threads: int) -> None:
    def prepare(item: Request) -> Prepared:
        if item.id == "2":
            raise LookupError("broken")
        return prepared(item)

    seen: list[int] = []
    endless = counted(seen, sys.maxsize)
    end = time.monotonic() + PATIENCE
    with (
        RequestQueue(endless, prepare, ahead=3, max_bytes=10**9, threads=threads) as queue,
        pytest.raises(LookupError, match="broken"),
    ):
        while time.monotonic() < end:
            assert queue.take(wait=True) is not None
    assert threads > 1 or seen == [0, 1, 2]


def test_leaving_early_stops_the_threads() -> None:
    seen: list[int] = []
    before = set(threading.enumerate())
    with RequestQueue(counted(seen, 1000), prepared, ahead=3, max_bytes=1, threads=4) as queue:
        queue.take(wait=True)
    assert set(threading.enumerate()) <= before
    assert len(seen) <= 4 + 4


def test_failures_take_room_like_any_item_and_no_memory() -> None:
    def refuse(item: Request) -> Failure:
        return Failure(item.id, "media", "no")

    seen: list[int] = []
    with RequestQueue(counted(seen, 10), refuse, ahead=2, max_bytes=1, threads=1) as queue:
        assert grows_to(seen, 2)
        assert sum(isinstance(queue.take(wait=True), Failure) for _ in range(10)) == 10
        assert queue.take(wait=True) is None
        assert queue.finished

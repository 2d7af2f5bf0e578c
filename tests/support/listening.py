"""Replicas that are listened to outside of a stream."""

from __future__ import annotations

from collections.abc import Callable

from waiting import eventually

from mmrope_eval.engine.replicas import Replicas


def listen(replicas: Replicas, until: Callable[[], bool], what: str) -> None:
    """Deal with what they say until something holds; AssertionError with `what` when it never does."""
    def heard() -> bool:
        assert not list(replicas._next())
        return until()

    eventually(heard, what)


def wait_for_all(replicas: Replicas, count: int) -> None:
    """Until so many are ready: a start returns, and a stream begins, with the first."""
    listen(replicas, lambda: replicas.alive == count, f"{count} replicas that are ready")

"""Processor time in place of time on the wall, which a busy machine stretches at will."""

from __future__ import annotations

import resource
from collections.abc import Callable


def own_seconds(work: Callable[[], object]) -> float:
    """Processor seconds that this process takes for `work`, all its threads together."""
    return _seconds(resource.RUSAGE_SELF, work)


def child_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of the processes that `work` starts and waits for."""
    return _seconds(resource.RUSAGE_CHILDREN, work)


def _seconds(who: int, work: Callable[[], object]) -> float:
    before = resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

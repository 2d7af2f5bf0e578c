"""Where a prompt goes through the processor: beside the engine's steps, or between them where both are Python."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.engine import process, settings
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.prepare import SMALL, Loaded, Prepared, Preparer, Rendered
from mmrope_eval.engine.run import RequestQueue
from mmrope_eval.messages import Failure, Generation, Request

TINY: Any = SimpleNamespace(weight_bytes=2**20)
LARGE: Any = SimpleNamespace(weight_bytes=2**30)
REQUEST = Request("s/0", ("Hello",), Generation(1))
FACTS: Any = SimpleNamespace()
PREPARED = Prepared(REQUEST, None, None, (), (), "", FACTS, 10)


@pytest.mark.parametrize(
    ("checkpoint", "options", "cuda", "expected"),
    [
        (TINY, {"workers": False}, False, True),
        (TINY, {"workers": True}, False, False),  # its steps are in another process
        (LARGE, {"workers": False}, False, True),
        (LARGE, {"workers": True}, False, False),
        (TINY, {"workers": False}, True, False),  # its steps leave the cores to others
    ],
)
def test_only_an_engine_inside_the_run_that_steps_on_these_cores_prepares_between_steps(
    checkpoint: Any, options: dict[str, Any], cuda: bool, expected: bool
) -> None:
    machine = settings.Machine(cuda, plugin=True, cores=2)
    assert settings.finishes_late(checkpoint, EngineOptions(**options), machine) == expected


class Halves(Preparer):
    """Both halves, noted."""

    def __init__(self, loaded: Loaded | Failure) -> None:
        self.loaded = loaded

    def load(self, request: Request) -> Loaded | Failure:
        return self.loaded

    def finish(self, loaded: Loaded) -> Prepared | Failure:
        return PREPARED


@pytest.mark.parametrize(
    ("loaded", "late"),
    [
        (Loaded(REQUEST, "k", (), None, SMALL), True),
        (Loaded(REQUEST, "k", (), None, SMALL + 1), False),
        (Loaded(REQUEST, "k", (), Rendered(None, (), 2**30), 2**30), True),  # nothing is left to do
        (Failure("s/0", "media", "no"), True),
    ],
)
def test_what_is_large_is_prepared_in_its_thread(loaded: Loaded | Failure, late: bool) -> None:
    first_half = Halves(loaded).begin(REQUEST)
    assert first_half is (loaded if late else PREPARED)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_memory_is_counted_as_it_is_held(sizes: list[tuple[int, int]]) -> None:
    items = [Loaded(REQUEST, n, (), None, before) for n, (before, _) in enumerate(sizes)]
    given = iter(items)
    with RequestQueue([REQUEST] * len(items), lambda _: next(given), ahead=50, max_bytes=10**9, threads=1) as queue:
        for _, after in sizes:
            item = queue.take(wait=True)
            assert isinstance(item, Loaded)
            prepared = Prepared(REQUEST, None, None, (), (), "", FACTS, after)
            queue.became(item, prepared)
            queue.release(prepared)
    assert queue._held == 0


def test_cores_that_may_be_used_are_those_of_the_process() -> None:
    assert process.usable_cores() >= 1

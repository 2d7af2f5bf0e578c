"""What exists when a block begins is spared by garbage collection in it, and no longer."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from mmrope_eval.run.outcome import settled


@pytest.fixture(autouse=True)
def nothing_spared() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_exists_is_spared_within_the_block_alone() -> None:
    before: list[list[int]] = [[]]
    with settled():
        after: list[list[int]] = [[]]
        seen = {id(live) for live in gc.get_objects()}
        assert id(before) not in seen
        assert id(after) in seen
    assert id(before) in {id(live) for live in gc.get_objects()}


def test_what_comes_later_can_be_spared_too() -> None:
    with settled():
        before: list[list[int]] = [[]]
        gc.freeze()
        assert id(before) not in {id(live) for live in gc.get_objects()}
    assert gc.get_freeze_count() == 0


def test_it_ends_where_the_block_raises() -> None:
    with pytest.raises(ValueError, match="now"), settled():
        raise ValueError("now")
    assert gc.get_freeze_count() == 0

"""What is prepared is kept for those who ask the same again, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.engine import prepare
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.prepare import Rendered, RenderedPrompts, copied
from mmrope_eval.errors import UserError


def rendered(nbytes: int) -> Rendered:
    return Rendered({"bytes": nbytes}, (), nbytes)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), max_size=40), st.integers(0, 100))
def test_it_never_holds_more_than_it_may_and_never_forgets(given: list[tuple[int, int]], most: int) -> None:
    kept = RenderedPrompts(most)
    held: dict[int, Rendered] = {}
    for key, nbytes in given:
        made = rendered(nbytes)
        kept.put(key, made)
        if key not in held and sum(prompt.nbytes for prompt in held.values()) + nbytes <= most:
            held[key] = made
        assert {key: kept.get(key) for key in held} == held
        assert all(kept.get(key) is None for key in range(10) if key not in held)


def test_an_engine_may_add_to_its_copy() -> None:
    tensor = object()
    original = {"type": "multimodal", "mm_kwargs": {"image": [{"pixels": tensor}]}, "prompt_token_ids": [1, 2]}
    mine = copied(original)
    mine["mm_kwargs"]["image"].append("more")
    mine["prompt_token_ids"].append(3)
    mine["arrival"] = 1.0
    assert original == {"type": "multimodal", "mm_kwargs": {"image": [{"pixels": tensor}]}, "prompt_token_ids": [1, 2]}
    assert mine["mm_kwargs"]["image"][0]["pixels"] is tensor


@pytest.mark.parametrize(
    ("free", "engines", "expected"),
    [(8 * 2**30, 1, 2**30), (8 * 2**30, 4, 2**28), (2**50, 1, prepare.MOST), (None, 1, 0)],
)
def test_its_room_is_a_share_of_what_is_free(
    free: int | None, engines: int, expected: int
) -> None:
    assert prepare.room(engines, free) == expected


def test_a_negative_room_is_refused() -> None:
    with pytest.raises(UserError, match="reuse_bytes is -1"):
        EngineOptions(reuse_bytes=-1)

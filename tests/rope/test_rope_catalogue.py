"""The catalogue against the paper (arXiv 2510.23095 v3): a test for every row that once read it otherwise, with what it
says in our words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.rope import Segment, Text, Variant, Vision, load_variant, variant_names
from mmrope_eval.rope.positions import TimedLayout

TABLE_2 = ["vanilla", "mrope", "videorope", "hope", "circlerope", "mhrope", "mrope-i"]
PICTURES = st.builds(lambda h, w: Vision(1, h, w), st.integers(1, 40), st.integers(1, 40))
BLOCKS = st.builds(Vision, st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1.0, 0.5, 3.0]))


def letters(name: str, **changes: Any) -> str:
    """Axes of a head's pairs, fast to slow."""
    return "".join("thw-"[axis] for axis in load_variant(name, **changes).table(128, 8, 1e6).axis[0])


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", variant_names())
def test_absolute_time_is_off_in_every_row_but_qwen2_5_vl(name: str) -> None:
    """Footnote 2: the paper switches Qwen2.5-VL's absolute time off; Qwen2.5-VL's own checkpoints have it."""
    assert load_variant(name).time == {"vanilla": None, "v2pe": None, "qwen2.5-vl": "seconds"}.get(name, "index")


def test_at_two_frames_a_second_the_clock_of_qwen2_5_vl_is_the_paper_s_stride_two() -> None:
    """The 7B model has two positions a second, and a pair of frames lasts one: step 2, where the paper has 1."""
    layout: list[Segment] = [Text(3), Vision(4, 2, 2, step=2.0), Text(1)]
    clock = load_variant("mrope-i", time="seconds").positions(layout)[0]
    assert clock[0, 3::4][:4].tolist() == [3, 5, 7, 9]
    assert load_variant("mrope-i").positions(layout)[0][0, 3::4][:4].tolist() == [3, 4, 5, 6]
    assert np.array_equal(clock, load_variant("mrope-i", temporal_stride=2.0).positions(layout)[0])


# --- modality interval ------------------------------------------------------------------------------------------------


@given(before=st.integers(1, 30), blocks=st.lists(BLOCKS, min_size=1, max_size=4))
@pytest.mark.parametrize("name", ["+modality-interval", "rope-tie"])
def test_text_goes_on_where_vanilla_s_would(name: str, before: int, blocks: list[Vision]) -> None:
    """Section 3.4.1: the interval is enlarged to match vanilla RoPE's, similar to RoPE-Tie."""
    layout: list[Segment] = [Text(before), *(part for block in blocks for part in (block, Text(2)))]
    text = np.repeat([isinstance(part, Text) for part in layout], [part.n for part in layout])
    ours, delta = load_variant(name).positions(layout)
    vanilla, same = load_variant("vanilla").positions(layout)
    assert np.array_equal(ours[:, text], vanilla[:, text]) and delta == same


@given(picture=PICTURES, before=st.integers(1, 30))
def test_rope_tie_stands_as_far_from_the_text_before_as_from_the_text_behind(picture: Vision, before: int) -> None:
    positions, _ = load_variant("rope-tie").positions([Text(before), picture, Text(1)])
    cells, last, following = positions[:, before:-1], positions[:, before - 1], positions[:, -1]
    for axis in (1, 2):
        assert cells[axis].min() - last[axis] == pytest.approx(following[axis] - cells[axis].max())
    assert cells[1, 0] == before + (picture.n - picture.h) / 2
    assert cells[2, 0] == before + (picture.n - picture.w) / 2
    assert set(letters("rope-tie")) == {"h", "w"}, "two axes"


@pytest.mark.parametrize(
    ("share", "first"), [(0, 5.0), (0.5, 5 + 11 / 2), (1, 16.0)], ids=["at once", "in the middle", "at the end"]
)
def test_how_a_block_stands_in_its_gap_is_a_parameter(share: float, first: float) -> None:
    """Rows and columns count from zero in the paper's row, so that only the axis of text has a gap."""
    positions, _ = load_variant("+modality-interval", gap_before=share).positions([Text(5), Vision(1, 3, 4), Text(1)])
    assert positions[0, 5] == first and positions[0, -1] == 17
    assert positions[1:, 5].tolist() == [0, 0] and positions[1:, 16].tolist() == [2, 3]
    shared = load_variant("+3d", resume="tokens", gap_before=share).positions([Text(5), Vision(1, 3, 4), Text(1)])[0]
    assert shared[:, 5].tolist() == [5 + share * 11, 5 + share * 9, 5 + share * 8]


def test_a_room_is_never_shorter_than_its_block() -> None:
    """Two frames of one cell ten positions apart: text does not go on among them."""
    positions, _ = load_variant("+modality-interval", temporal_stride=10).positions([Text(2), Vision(2, 1, 1), Text(1)])
    assert positions[0].tolist() == [0, 1, 2, 12, 13]


# --- frequencies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ilrope", "ilrope-like"])
def test_il_rope_reserves_the_lowest_frequencies_for_time(name: str) -> None:
    """Section 2.3.2: a form of interleaving that keeps the lowest channels for t, so that h and w have none of them."""
    axes = letters(name)
    assert axes.endswith("t" * 16) and set(axes[:48]) == {"h", "w"} and axes.count("h") == axes.count("w")
    assert "pattern" in load_variant(name).summary and "not seen" in load_variant(name).summary
    assert letters(name, pattern="thw*16 t*16") == "thw" * 16 + "t" * 16, "another reading is one parameter away"


def test_il_rope_like_is_none_of_the_rows_that_the_paper_scores_otherwise() -> None:
    """Tables 5 and 8: IL-RoPE-like, Interleave and the interleave ratios have scores of their own."""
    others = [letters("mrope-i", mrope_section=section) for section in ([24, 20, 20], [32, 16, 16], [48, 8, 8])]
    others += [letters(name) for name in ("videorope-like", "interleave-0-32-32", "interleave-12-26-26")]
    assert len({letters("ilrope-like"), *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("name", "ratio"), [("interleave-0-32-32", (0, 32, 32)), ("interleave-12-26-26", (12, 26, 26))]
)
def test_interleave_ratios_of_table_8(name: str, ratio: tuple[int, int, int]) -> None:
    axes = letters(name)
    assert tuple(axes.count(axis) for axis in "thw") == ratio
    assert load_variant(name).position == load_variant("mrope-i").position
    spread = [[i for i, axis in enumerate(axes) if axis == spatial] for spatial in "hw"]
    assert all(pairs[0] < 3 and pairs[-1] > 60 for pairs in spread), "h and w from the fastest to the slowest"


def test_the_spatial_base_is_10_000_where_the_model_s_is_1_000_000() -> None:
    """Section 3.4.1."""
    table, plain = (load_variant(name).table(128, 8, 1e6) for name in ("+spatial-base", "mrope-i"))
    small = load_variant("mrope-i").table(128, 8, 1e4)
    assert np.array_equal(table.axis, plain.axis)
    assert np.array_equal(table.inv_freq, np.where(table.axis > 0, small.inv_freq, plain.inv_freq))
    assert "10,000" in load_variant("+spatial-base").summary and "hand" not in load_variant("+spatial-base").summary


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ilrope", "omnirope"])
def test_il_rope_and_omni_rope_put_text_at_zero_on_rows_and_columns(name: str) -> None:
    """Section 2.4 and Table 1: spatial coordinates are reset for text too, so text alone is not vanilla RoPE's."""
    layout: list[Segment] = [Text(3), Vision(2, 2, 2), Text(2)]
    positions, _ = load_variant(name).positions(layout)
    assert positions[:, :3].tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0]] and not positions[1:, -2:].any()
    upstream = load_variant(f"{name}-upstream")
    assert np.array_equal(upstream.positions([Text(5)])[0], np.tile(np.arange(5), (3, 1)))
    vision = slice(3, 11)
    assert np.array_equal(upstream.positions(layout)[0][:, vision], positions[:, vision])


def test_the_published_ilrope_has_mrope_i_s_frequencies() -> None:
    assert letters("ilrope-upstream") == letters("mrope-i") != letters("ilrope")
    assert letters("omnirope-upstream") == letters("omnirope") == letters("mrope")


# --- video ------------------------------------------------------------------------------------------------------------


def test_all_frames_of_circlerope_share_one_ring() -> None:
    """Section 2.2.2: without an axis of time it collapses all frames onto a single ring."""
    picture, _ = load_variant("circlerope").positions([Text(3), Vision(1, 4, 6), Text(2)])
    video, delta = load_variant("circlerope").positions([Text(3), Vision(5, 4, 6, step=2.0), Text(2)])
    frames = video[:, 3:-2].reshape(3, 5, 24)
    assert all(np.array_equal(frames[:, i], picture[:, 3:-2]) for i in range(5))
    assert np.array_equal(video[:, -2:], picture[:, -2:]), "a video takes the room of a picture"
    assert delta == pytest.approx(picture[0, -1] + 1 - (3 + 5 * 24 + 2))


def test_the_package_moves_the_ring_from_frame_to_frame() -> None:
    video, _ = load_variant("circlerope-upstream").positions([Text(3), Vision(3, 4, 6)])
    frames = video[:, 3:].reshape(3, 3, 24)
    assert np.allclose(frames[:, 1:] - frames[:, :-1], 1.0)
    assert np.array_equal(frames[:, 0], load_variant("circlerope").positions([Text(3), Vision(1, 4, 6)])[0][:, 3:])


def stride(variant: Variant) -> float:
    """Of its layout, which knows time."""
    assert isinstance(variant.position, TimedLayout)
    return variant.position.temporal_stride


def test_a_dynamic_stride_is_evaluated_at_one() -> None:
    """Section D.5.3: trained with the strides of V2PE and HoPE, delta is 1 at inference."""
    assert load_variant("dynamic-stride").fingerprint == load_variant("mrope-i").fingerprint
    assert stride(load_variant("dynamic-stride")) == 1


@pytest.mark.parametrize(("name", "documented"), [("videorope", (2.0,)), ("hope", (1.0, 0.75, 1.5))])
def test_scales_that_are_chosen_at_inference(name: str, documented: tuple[float, ...]) -> None:
    """The first is ours; HoPE's paper has 0.75 for retrieval and 1.5 for understanding."""
    assert stride(load_variant(name)) == documented[0]
    for scale in documented:
        frames = load_variant(name, temporal_stride=scale).positions([Vision(4, 1, 1, step=3.0)])[0]
        assert frames[0].tolist() == [0, scale, 2 * scale, 3 * scale]


def test_table_2_is_told_apart_on_pictures_and_on_video() -> None:
    layouts: list[list[Segment]] = [[Text(3), Vision(1, 4, 5), Text(2)], [Text(3), Vision(4, 2, 3), Text(2)]]
    for layout in layouts:
        variants = [load_variant(name) for name in TABLE_2]
        seen = {(v.positions(layout)[0].tobytes(), v.table(128, 8, 1e6).axis.tobytes()) for v in variants}
        assert len(seen) == len(TABLE_2)

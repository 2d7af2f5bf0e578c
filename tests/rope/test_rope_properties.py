"""What must hold for every variant: text stays text, rotation is relative, and text and vision do not collide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.analysis.measures import text_deviation
from mmrope_eval.rope import Segment, Text, Variant, Vision, load_variant, variant_names
from mmrope_eval.rope.geometry import Geometry
from mmrope_eval.rope.kernels import rotate_, rotate_oracle

HEADS, KV_HEADS, HEAD_DIM = 16, 8, 32
BY_THE_CLOCK = ["mrope-i@seconds", "videorope@seconds", "hope@seconds", "circlerope-upstream@seconds",
                "mmrope@seconds"]  # fmt: skip
"""Designs of every layout with frames as far apart as the data says."""
VARIANTS = [*variant_names(), *BY_THE_CLOCK]


def named(name: str) -> Variant:
    """A shipped variant, or one with ``@`` and its `time`."""
    shipped, _, time = name.partition("@")
    return load_variant(shipped, **({"time": time} if time else {}))


OTHER_TEXT = {"hope", "hope@seconds", "+text-spatial-reset", "+spatial-base", "ilrope", "omnirope"}
"""Those that rotate text alone otherwise than vanilla RoPE."""
texts = st.builds(Text, st.integers(1, 12))
visions = st.builds(
    Vision, st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1.0, 0.5, 2.0, 2.5])
)
layouts = st.lists(st.one_of(texts, visions), min_size=1, max_size=6)


def cos_sin(variant: Variant, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Token-major, as the kernels take it."""
    table = variant.table(head_dim=HEAD_DIM, num_kv_heads=KV_HEADS, rope_theta=1e4)
    cos, sin = table.cos_sin(torch.from_numpy(np.ascontiguousarray(positions)))
    return cos.transpose(0, 1).contiguous(), sin.transpose(0, 1).contiguous()


def queries_and_keys(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(n, h * HEAD_DIM, generator=generator) for h in (HEADS, KV_HEADS))
    return q, k


def scores(variant: Variant, positions: np.ndarray, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """q . k of every pair of tokens and every query head after rotation, (HEADS, n, n)."""
    q, k = rotate_oracle(q, k, *cos_sin(variant, positions))
    q, k = q.view(-1, HEADS, HEAD_DIM), k.view(-1, KV_HEADS, HEAD_DIM).repeat_interleave(HEADS // KV_HEADS, dim=1)
    return torch.einsum("ihd,jhd->hij", q.double(), k.double())


def is_text(layout: list[Segment]) -> np.ndarray:
    return np.concatenate([np.full(s.n, isinstance(s, Text)) for s in layout])


# --- text alone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - OTHER_TEXT))
@given(layout=st.lists(texts, min_size=1, max_size=4))
@settings(max_examples=15)
def test_text_alone_is_rotated_as_by_vanilla_rope(name: str, layout: list[Segment]) -> None:
    """Bit by bit: positions, delta, and the queries and keys after rotation."""
    positions, delta = named(name).positions(layout)
    n = sum(s.n for s in layout)
    assert np.array_equal(positions, np.tile(np.arange(n), (3, 1))) and delta == 0
    pairs = [queries_and_keys(n), queries_and_keys(n)]
    rotate_(*pairs[0], *cos_sin(named(name), positions))
    rotate_(*pairs[1], *cos_sin(load_variant("vanilla"), positions))
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))


def test_which_variants_keep_text_as_it_was() -> None:
    model = Geometry(HEAD_DIM, KV_HEADS, 1e6)
    assert {name for name in VARIANTS if text_deviation(named(name), model)} == OTHER_TEXT


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("hope", {}),
        ("+text-spatial-reset", {}),
        ("+spatial-base", {"spatial_rope_theta": 100.0}),
        ("grape", {"pattern": "thw-"}),
        ("grape", {"log_freq_scale": 1.5}),
    ],
)
def test_a_variant_that_does_not_claim_it_does_rotate_text_otherwise(name: str, overrides: dict[str, Any]) -> None:
    variant = load_variant(name, **overrides)
    ours, vanilla = (cos_sin(v, v.positions([Text(20)])[0]) for v in (variant, load_variant("vanilla")))
    assert not torch.allclose(ours[0], vanilla[0], atol=1e-2)


# --- rotation is relative ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
@given(
    layout=layouts,
    shift=st.tuples(*[st.integers(-300, 300)] * 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=10)
def test_scores_depend_on_position_differences_only(
    name: str, layout: list[Segment], shift: tuple[int, int, int], seed: int
) -> None:
    """Moving all tokens by the same amount along each axis, whatever the amounts, changes no attention score."""
    variant = named(name)
    positions, _ = variant.positions(layout)
    q, k = queries_and_keys(positions.shape[1], seed)
    unshifted = scores(variant, positions, q, k)
    shifted = scores(variant, positions + np.array(shift)[:, None], q, k)
    # float32 angles of a few hundred are off by 3e-5; scores here are of the size of sqrt(HEAD_DIM).
    torch.testing.assert_close(shifted, unshifted, rtol=0, atol=4e-3)


def resets(variant: Variant) -> bool:
    """Whether rows and columns count from zero; only grids can."""
    return getattr(variant.position, "spatial_reset", False)


MOVES_WITH_TEXT = [
    name
    for name in VARIANTS
    if not resets(named(name)) and not named(name).position.text_spatial_reset
]


@pytest.mark.parametrize("name", MOVES_WITH_TEXT)
@given(layout=layouts, prefix=st.integers(1, 50))
@settings(max_examples=10)
def test_a_longer_prompt_before_it_changes_nothing_inside_a_layout(
    name: str, layout: list[Segment], prefix: int
) -> None:
    variant = named(name)
    alone, delta = variant.positions(layout)
    after, delta_after = variant.positions([Text(prefix), *layout])
    np.testing.assert_allclose(after[:, prefix:], alone + prefix, rtol=0, atol=1e-9)
    assert delta_after == pytest.approx(delta, abs=1e-9)


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - set(MOVES_WITH_TEXT)))
def test_spatial_reset_gives_that_up_between_text_and_vision_only(name: str) -> None:
    """Rows and columns count from zero in every image, so their distance to text on h and w grows with the prompt."""
    variant = named(name)
    layout: list[Segment] = [Text(2), Vision(2, 3, 3), Text(2)]
    kept = is_text(layout)
    alone, after = variant.positions(layout)[0], variant.positions([Text(10), *layout])[0][:, 10:]
    moved = after - alone
    assert np.all(moved[0] == 10), "time moves with the prompt"
    for group in (kept, ~kept):
        assert np.all(moved[:, group] == moved[:, group][:, :1]), "within text and within vision nothing changes"
    if not variant.position.text_spatial_reset:
        assert not np.array_equal(moved[:, kept][:, 0], moved[:, ~kept][:, 0])


# --- text and vision do not collide -----------------------------------------------------------------------------------


def triples(positions: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(p) for p in np.round(positions.T, 9)}


@pytest.mark.parametrize("name", VARIANTS)
@given(layout=layouts, generated=st.integers(1, 40))
@settings(max_examples=25)
def test_no_text_token_shares_a_position_with_another_token(name: str, layout: list[Segment], generated: int) -> None:
    """Text, generated text included, has positions of its own, in order; none is a vision token's."""
    variant = named(name)
    positions, delta = variant.positions(layout)
    n, text = positions.shape[1], is_text(layout)
    after = np.tile(n + delta + np.arange(generated), (3, 1))
    line = np.concatenate((positions[:, text], after), axis=1)
    assert np.all(np.diff(line[0]) > 1 - 1e-9), "text moves on by at least one position a token"
    assert not triples(line) & triples(positions[:, ~text])
    if isinstance(layout[-1], Text):
        assert after[0, 0] == pytest.approx(positions[0, -1] + 1)


# Axes on which a vision token may come within half a position of a text token, by each family's definition.
NEAR_TEXT = {
    "diagonal": ("hw", "rows and columns are centred on the text line and reach into the text before and after"),
    "spatial reset": ("hw", "rows and columns count from zero, where the prompt's first tokens are"),
    "circle": ("thw", "a ring around the text line reaches to both sides of its centre on every axis"),
    "packed": ("thw", "a block's cells lie close together, right behind the text before it"),
    "apart": ("", "vision takes an interval of its own on every axis"),
}


def family(variant: Variant) -> str:
    design = variant.position
    if design.layout in ("diagonal", "circle"):
        return design.layout
    packed = getattr(design, "visual_stride", None) is not None
    return "spatial reset" if resets(variant) else "packed" if packed else "apart"


def shared_axes(positions: np.ndarray, text: np.ndarray) -> str:
    """Axes on which some vision token's coordinate lies within half a position of a text token's."""
    near = [np.abs(p[text][:, None] - p[~text][None, :]).min(initial=np.inf) < 0.5 for p in positions]
    return "".join(axis for axis, hit in zip("thw", near, strict=True) if hit)


@pytest.mark.parametrize("name", VARIANTS)
def test_single_coordinates_coincide_where_the_definition_says_so(name: str) -> None:
    variant = named(name)
    layout: list[Segment] = [Text(30), Vision(2, 9, 9), Text(30)]
    positions, _ = variant.positions(layout)
    assert shared_axes(positions, is_text(layout)) == NEAR_TEXT[family(variant)][0]


@pytest.mark.parametrize("name", [n for n in VARIANTS if family(named(n)) != "circle"])
@given(layout=layouts)
@settings(max_examples=25)
def test_on_all_other_axes_they_are_never_equal(name: str, layout: list[Segment]) -> None:
    variant = named(name)
    positions, _ = variant.positions(layout)
    text = is_text(layout)
    allowed = "" if family(variant) == "packed" else NEAR_TEXT[family(variant)][0]
    for axis, p in zip("thw", positions, strict=True):
        if axis not in allowed:
            assert not set(np.round(p[text], 9)) & set(np.round(p[~text], 9))


def test_hope_cannot_tell_some_vision_tokens_from_text() -> None:
    """It does not rotate for time, so a cell on the diagonal of its frame looks like the text token it reaches to."""
    layout: list[Segment] = [Text(10), Vision(1, 5, 5), Text(10)]
    positions, _ = load_variant("hope").positions(layout)
    text, corner = 8, 10
    assert positions[:, text].tolist() == [8, 8, 8] and positions[:, corner].tolist() == [10, 8, 8]
    for name, same in (("hope", True), ("videorope", False)):
        cos, _ = cos_sin(named(name), positions)
        assert torch.equal(cos[text], cos[corner]) is same

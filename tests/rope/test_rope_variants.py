"""What a variant file can say, what each variant of the paper says, and how bad files fail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmrope_eval.rope import (
    LayoutError,
    MediaSpan,
    Segment,
    Text,
    Variant,
    VariantError,
    Vision,
    load_variant,
    segments_from_tokens,
    variant_names,
)
from mmrope_eval.rope.positions import GridLayout

LETTER = {0: "t", 1: "h", 2: "w", -1: "-"}
PUBLISHED = [
    "vanilla",
    "v2pe",
    "mrope",
    "mrope-i",
    "mhrope",
    "videorope",
    "hope",
    "circlerope",
    "ilrope",
    "omnirope",
    "mmrope",
    "grape",
]
UPSTREAM = ["circlerope-upstream", "ilrope-upstream", "omnirope-upstream"]
"""Where the published package differs from the paper."""
TABLE_3 = ["+3d", "+3d+spatial-reset", "+diagonal", "+modality-interval", "+text-spatial-reset", "+spatial-base"]
TABLE_4 = ["videorope-like", "ilrope-like", "multi-head", "interleave"]
OTHERS = ["rope-tie", "interleave-0-32-32", "interleave-12-26-26", "dynamic-stride", "qwen2.5-vl", "qwen3-vl"]


def row(variant: Variant, pairs: int = 64, head: int = 0) -> str:
    axis = variant.table(head_dim=2 * pairs, num_kv_heads=8, rope_theta=1e6).axis
    return "".join(LETTER[a] for a in axis[head])


def test_the_catalogue_is_complete() -> None:
    assert set(variant_names()) == {*PUBLISHED, *UPSTREAM, *TABLE_3, *TABLE_4, *OTHERS}


@pytest.mark.parametrize("name", variant_names())
def test_a_variant_is_a_few_lines_that_survive_a_round_trip(name: str) -> None:
    variant = load_variant(name)
    assert variant.name == name
    assert variant.summary and variant.source
    assert Variant.from_dict(variant.to_dict()) == variant
    assert load_variant(variant.to_dict()) == variant


@pytest.mark.parametrize(
    ("alias", "of"),
    [
        ("+3d", "qwen3-vl"),
        ("+3d+spatial-reset", "mrope-i"),
        ("interleave", "mrope-i"),
        ("dynamic-stride", "mrope-i"),
        ("multi-head", "mhrope"),
    ],
)
def test_rows_that_are_another_variant_by_definition(alias: str, of: str) -> None:
    assert load_variant(alias).fingerprint == load_variant(of).fingerprint


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("vanilla", {}, "t" * 64),
        ("mrope", {}, "t" * 16 + "h" * 24 + "w" * 24),
        ("mrope-i", {}, "thw" * 20 + "tttt"),
        ("mrope-i", {"mrope_section": [48, 8, 8]}, "thw" * 8 + "t" * 40),
        ("videorope", {}, "thw" + "hw" * 22 + "h" + "t" * 16),
        ("hope", {}, "-hw" + "hw" * 22 + "h" + "-" * 16),
        ("mmrope", {}, "tthwhwhw" * 8),
        ("grape", {}, "thw" * 21 + "t"),
        ("ilrope-like", {}, "hw" * 24 + "t" * 16),
        ("ilrope", {"pattern": "thw*16 t*16"}, "thw" * 16 + "t" * 16),
        ("rope-tie", {}, "hw" * 32),
        ("interleave-0-32-32", {}, "hw" * 32),
        ("interleave-12-26-26", {}, "thw" * 12 + "hw" * 14),
        ("grape", {"pattern": "w*10 - t*33 hw*10"}, "w" * 10 + "-" + "t" * 33 + "hw" * 10),
    ],
)
def test_frequency_allocation(name: str, overrides: dict[str, Any], expected: str) -> None:
    assert row(load_variant(name, **overrides)) == expected


def test_mhrope_gives_whole_heads_and_leaves_the_rest_unrotated() -> None:
    variant = load_variant("mhrope", mrope_section=[1, 2, 2])
    assert [row(variant, head=k)[0] for k in range(8)] == list("thhww---")
    cos, sin = variant.table(head_dim=128, num_kv_heads=8, rope_theta=1e6).cos_sin(np.full((3, 5), 9.0))
    assert np.all(cos[5:] == 1) and np.all(sin[5:] == 0)
    assert not np.all(sin[:5] == 0)


@pytest.mark.parametrize("pairs", [16, 32, 64, 128])
@pytest.mark.parametrize("name", ["mrope", "mrope-i", "videorope", "ilrope-like", "interleave-12-26-26"])
def test_a_files_own_section_is_a_ratio(name: str, pairs: int) -> None:
    counts = {c: row(load_variant(name), pairs).count(c) for c in "thw"}
    full = {c: row(load_variant(name), 64).count(c) for c in "thw"}
    # The published slip of one pair does not scale, and half a pair there is not.
    slack = 1 if name in ("videorope", "interleave-12-26-26") else 0
    assert all(abs(counts[c] - full[c] * pairs / 64) <= slack for c in "thw")


def test_spatial_base_changes_the_frequencies_of_two_axes_only() -> None:
    table = load_variant("+spatial-base", spatial_rope_theta=100.0).table(128, 8, 1e6)
    plain = load_variant("mrope-i").table(128, 8, 1e6)
    assert np.array_equal(table.inv_freq[table.axis == 0], plain.inv_freq[plain.axis == 0])
    assert np.all(table.inv_freq[table.axis > 0][1:] > plain.inv_freq[plain.axis > 0][1:])


LAYOUT: list[Segment] = [Text(4), Vision(2, 3, 2), Text(3)]


@pytest.mark.parametrize(
    ("name", "overrides", "time", "height", "width", "resumes"),
    [
        ("vanilla", {}, [4, 9, 15], [4, 9, 15], [4, 9, 15], 16),
        ("v2pe", {"visual_stride": 6}, [3.5, 6.0, 9.0], [3.5, 6.0, 9.0], [3.5, 6.0, 9.0], 10),
        ("mrope", {}, [4, 4, 5], [4, 6, 6], [4, 5, 5], 7),
        ("mrope", {"temporal_stride": 10}, [4, 4, 14], [4, 6, 6], [4, 5, 5], 15),
        ("mrope-i", {}, [4, 4, 5], [0, 2, 2], [0, 1, 1], 7),
        ("mmrope", {"position_scale": [4, 8, 8]}, [4, 4, 8], [4, 20, 20], [4, 12, 12], 21),
        ("videorope", {}, [4, 4, 6], [3, 5, 7], [4, 5, 7], 7),
        ("hope", {"temporal_stride": 0.5}, [4, 4, 4.5], [3, 5, 5.5], [4, 5, 5.5], 5.5),
        ("mrope-i", {"modality_interval": 2}, [6, 6, 7], [0, 2, 2], [0, 1, 1], 11),
    ],
)
def test_position_design(
    name: str, overrides: dict[str, Any], time: list[float], height: list[float], width: list[float], resumes: float
) -> None:
    """First cell, last cell of frame 0 and last cell of frame 1, and the first text token after a 2 x 3 x 2 video."""
    positions, delta = load_variant(name, **overrides).positions(LAYOUT)
    first, end_of_frame, last, after = 4, 9, 15, 16
    for axis, expected in zip(positions, (time, height, width), strict=True):
        assert axis[[first, end_of_frame, last]].tolist() == expected
        assert axis[:4].tolist() == [0, 1, 2, 3]
        assert axis[after] == resumes
    assert delta == resumes + 3 - 19


def test_text_spatial_reset_moves_only_text_to_zero() -> None:
    reset, _ = load_variant("+text-spatial-reset").positions(LAYOUT)
    plain, _ = load_variant("mrope-i").positions(LAYOUT)
    vision = slice(4, 16)
    assert np.array_equal(reset[0], plain[0]) and np.array_equal(reset[:, vision], plain[:, vision])
    assert not reset[1:, :4].any() and not reset[1:, 16:].any()


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [("mrope", 2.5, [0, 2, 5, 7]), ("videorope", 2.5, [0, 5, 10, 15]), ("mmrope", 0.25, [0, 0.25, 0.5, 0.75])],
)
def test_step_and_stride_multiply_and_integer_variants_truncate(name: str, step: float, expected: list[float]) -> None:
    positions, _ = load_variant(name, time="seconds").positions([Text(1), Vision(4, 1, 1, step)])
    assert (positions[0, 1:] - 1).tolist() == expected


@pytest.mark.parametrize("name", [name for name in variant_names() if load_variant(name).time == "index"])
@pytest.mark.parametrize("step", [0.25, 2.5, 40.0])
def test_no_second_enters_where_frames_are_counted(name: str, step: float) -> None:
    """The paper's footnote 2: absolute time is off."""
    variant = load_variant(name)
    timed, delta = variant.positions([Text(1), Vision(4, 2, 3, step), Text(2)])
    still, same = variant.positions([Text(1), Vision(4, 2, 3), Text(2)])
    assert np.array_equal(timed, still) and delta == same


@pytest.mark.parametrize(
    ("name", "stride", "expected"),
    [("mrope-i", 1, [0, 1, 2, 3]), ("mrope-i", 0.5, [0, 0, 1, 1]), ("videorope", 0.5, [0, 0.5, 1, 1.5]),
     ("mrope", 2, [0, 2, 4, 6])],
)  # fmt: skip
def test_the_stride_is_per_index(name: str, stride: float, expected: list[float]) -> None:
    positions, _ = load_variant(name, temporal_stride=stride).positions([Text(1), Vision(4, 1, 1, 1.7)])
    assert (positions[0, 1:] - 1).tolist() == expected


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        *[("circlerope-upstream", {"radius": r, "dff_rate": d}) for r in (10, "auto", "auto-2")
          for d in (False, 0.3, True)],
        ("videorope", {}),
        ("hope", {}),
        ("+diagonal", {"layout": "diagonal"}),
    ],
)
def test_a_video_is_its_frames_moved_along_the_text_line(name: str, overrides: dict[str, Any]) -> None:
    """What we define where the published code crashes: frame 0 equals the picture; frame i is frame 0 moved on."""
    variant = load_variant(name, **overrides, temporal_stride=1.5, time="seconds")
    picture, _ = variant.positions([Text(3), Vision(1, 4, 6)])
    video, _ = variant.positions([Text(3), Vision(5, 4, 6, step=2.0)])
    frames = video[:, 3:].reshape(3, 5, 24)
    step = 3.0
    for i in range(5):
        np.testing.assert_allclose(frames[:, i], picture[:, 3:] + i * step, rtol=0, atol=1e-12)


def test_a_ring_is_equally_far_from_every_text_token() -> None:
    positions, _ = load_variant("circlerope").positions([Text(7), Vision(1, 6, 5), Text(2)])
    text, ring = positions[:, :7].T, positions[:, 7:37].T
    distance = np.linalg.norm(text[:, None] - ring[None], axis=-1)
    np.testing.assert_allclose(distance, np.broadcast_to(distance[:, :1], distance.shape), rtol=1e-12)


@pytest.mark.parametrize(
    "layout",
    [[Text(20), Vision(1024, 16, 16), Text(50)], [s for _ in range(1024) for s in (Text(7), Vision(1, 16, 16))]],
    ids=["one block", "a block per frame"],
)
@pytest.mark.parametrize("name", ["vanilla", "v2pe", "mrope", "mrope-i", "videorope", "circlerope"])
def test_a_thousand_frames_in_milliseconds(name: str, layout: list[Text | Vision]) -> None:
    """Best of seven in processor time, which a busy machine disturbs least; benchmarks/positions.py has the figures."""
    variant = load_variant(name)
    took = []
    for _ in range(7):
        begin = time.process_time()
        variant.positions(layout)
        took.append(time.process_time() - begin)
    assert sum(s.n for s in layout) > 262_000
    assert min(took) < 0.030


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn"])
@pytest.mark.parametrize("name", ["vanilla", "mhrope", "videorope"])
def test_context_scaling_composes_with_any_variant(name: str, scaling: str) -> None:
    plain = load_variant(name).table(128, 8, 1e6)
    scaled = load_variant(name, scaling={"type": scaling, "factor": 4.0}).table(128, 8, 1e6)
    ratio = plain.inv_freq[0] / scaled.inv_freq[0]
    assert np.array_equal(scaled.axis, plain.axis)
    assert ratio[-1] == pytest.approx(4.0, rel=1e-5), "the slowest pair is stretched by the whole factor"
    assert ratio[0] == pytest.approx(4.0 if scaling == "linear" else 1.0, rel=1e-5)
    assert np.all(np.diff(ratio) >= -1e-5)
    assert scaled.attention_factor == pytest.approx(1.1386294 if scaling == "yarn" else 1.0)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [("linear", {}), ("yarn", {"beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 32768})],
)
def test_context_scaling_equals_transformers(kind: str, extra: dict[str, Any]) -> None:
    from transformers import Qwen2Config
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {"rope_type": kind, "factor": 4.0, "rope_theta": 1e6, **extra}
    config = Qwen2Config(hidden_size=1024, num_attention_heads=8, max_position_embeddings=131072)
    config.rope_parameters = parameters
    inv_freq, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    ours = load_variant("vanilla", scaling={"type": kind, "factor": 4.0}).table(128, 8, 1e6)
    np.testing.assert_allclose(ours.inv_freq[0], inv_freq.numpy(), rtol=3e-7)
    assert ours.attention_factor == pytest.approx(factor)


@pytest.mark.parametrize("factor", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("original", [4096, 32768])
def test_yarn_in_vllm_s_dialect_equals_vllm_s_own_class(factor: float, original: int) -> None:
    """vLLM's MRotaryEmbedding takes four times the original context; its class for text takes it as it is."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding
    from vllm.model_executor.layers.rotary_embedding.yarn_scaling_rope import YaRNScalingRotaryEmbedding

    with set_current_vllm_config(VllmConfig()):
        theirs = MRotaryEmbedding(128, 128, original, 1e6, True, torch.float32, [24, 20, 20], True,
                                  scaling_factor=factor)  # fmt: skip
        text = YaRNScalingRotaryEmbedding(128, 128, original, 1e6, True, factor, torch.float32)
    scaling = {"type": "yarn", "factor": factor, "original_max_position": original}
    ours = load_variant("mrope-i", scaling={**scaling, "dialect": "vllm"}).table(128, 8, 1e6)
    plain = load_variant("mrope-i", scaling=scaling).table(128, 8, 1e6)
    np.testing.assert_allclose(ours.inv_freq[0], theirs._compute_inv_freq(factor), rtol=3e-7, atol=0)
    np.testing.assert_allclose(plain.inv_freq[0], text._compute_inv_freq(factor), rtol=3e-7, atol=0)
    assert ours.attention_factor == plain.attention_factor == pytest.approx(theirs.mscale)
    assert np.abs(ours.inv_freq / plain.inv_freq - 1).max() > 0.3, "another model: not a matter of rounding"



BAD: list[tuple[Any, dict[str, Any], str]] = [
    ("mrope-ii", {}, "unknown variant 'mrope-ii' (did you mean 'mrope-i'?)"),
    ("mrope", {"temporal_strid": 2}, "no parameter 'temporal_strid' (did you mean 'temporal_stride'?)"),
    ("mrope", {"temporal_stride": "fast"}, "position.temporal_stride cannot be 'fast'"),
    ("mrope", {"temporal_stride": 0}, "temporal_stride must be positive"),
    ("mrope", {"mrope_section": [16, 24]}, "frequency.mrope_section cannot be [16, 24]"),
    ("mrope", {"mrope_section": [16, -24, 72]}, "mrope_section must be three counts"),
    ("circlerope", {"radius": "large"}, "radius must be a number, 'auto' or 'auto-K'"),
    ("grape", {"pattern": "txw"}, "pattern 'txw' is not made of t, h, w and -"),
    ("vanilla", {"layout": "spiral"}, "position.layout cannot be 'spiral'"),
    ("vanilla", {"scaling": {"type": "yarn", "factor": 0.5}}, "scaling.factor must be at least 1"),
    ("vanilla", {"scaling": {"typo": "yarn"}}, "unknown scaling parameter 'typo' (did you mean 'type'?)"),
    ({"name": "x", "positions": {}, "frequency": {}}, {}, "unknown key 'positions' (did you mean 'position'?)"),
    ("no/such/file.yaml", {}, "no variant file at 'no/such/file.yaml'"),
]


@pytest.mark.parametrize(("spec", "overrides", "sentence"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_variants_fail_at_load(spec: Any, overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VariantError) as error:
        load_variant(spec, **overrides)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "overrides", "heads", "sentence"),
    [
        ("mrope", {"mrope_section": [16, 24, 20]}, 8, "adds up to 60, but the model has 64 rotary pairs"),
        ("mrope-i", {"mrope_section": [12, 10, 10]}, 8, "adds up to 32, but the model has 64 rotary pairs"),
        ("mrope-i", {"mrope_section": [8, 28, 28]}, 8, "cannot be interleaved over 64 pairs"),
        ("mhrope", {}, 4, "assigns 8 KV heads, but the model has 4"),
        ("grape", {"pattern": "t*16 hw*25"}, 8, "adds up to 66"),
    ],
)
def test_variants_that_do_not_fit_the_model(name: str, overrides: dict[str, Any], heads: int, sentence: str) -> None:
    with pytest.raises(VariantError, match=sentence):
        load_variant(name, **overrides).table(head_dim=128, num_kv_heads=heads, rope_theta=1e6)


@pytest.mark.parametrize("content", ["[1, 2]", "position: {layout: grid", "extends: nowhere", "extends: mine"])
def test_bad_files_name_themselves(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(VariantError, match=r"mine|nowhere"):
        load_variant(path)


def test_a_new_variant_is_a_file_of_a_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: mrope-i\nposition: {temporal_stride: 0.5, integer_time: false}\n")
    mine = load_variant(path)
    assert mine.name == "mine"
    assert isinstance(mine.position, GridLayout) and mine.position.spatial_reset
    assert mine.frequency == load_variant("mrope-i").frequency
    assert mine.positions([Vision(3, 1, 1)])[0][0].tolist() == [0, 0.5, 1.0]


PAD, VIDEO_PAD, START, END = 7, 8, 5, 6


@pytest.mark.parametrize(
    ("tokens", "media", "expected"),
    [
        ([1, 2, 3], [], [Text(3)]),
        ([1, START, *[PAD] * 6, END, 1], [MediaSpan(2, 6, 1, 2, 3, 1.0, PAD)], [Text(2), Vision(1, 2, 3), Text(2)]),
        (
            [START, *[VIDEO_PAD] * 8, END],
            [MediaSpan(1, 8, 2, 2, 2, 0.5, VIDEO_PAD)],
            [Text(1), Vision(2, 2, 2, 0.5), Text(1)],
        ),
        (
            [1, START, *[VIDEO_PAD] * 4, END, 9, 9, START, *[VIDEO_PAD] * 4, END],
            [MediaSpan(0, 15, 2, 2, 2, 1.0, VIDEO_PAD)],
            [Text(2), Vision(1, 2, 2), Text(4), Vision(1, 2, 2), Text(1)],
        ),
        ([PAD, PAD], [MediaSpan(1, 1, 1, 1, 1, 1.0, PAD), MediaSpan(0, 1, 1, 1, 1, 1.0, PAD)], [Vision(1, 1, 1)] * 2),
    ],
    ids=["text", "image", "video in one block", "video in timestamped frames", "two images side by side"],
)
def test_segments_from_tokens(tokens: list[int], media: list[MediaSpan], expected: list[Text | Vision]) -> None:
    assert segments_from_tokens(tokens, media) == expected


@pytest.mark.parametrize(
    ("tokens", "media", "sentence"),
    [
        ([1, PAD, PAD], [MediaSpan(1, 2, 1, 1, 3, 1.0, PAD)], "expected one run of 3"),
        ([1, PAD, PAD], [MediaSpan(2, 2, 1, 1, 1, 1.0, PAD)], "inside the prompt"),
        ([PAD, PAD], [MediaSpan(0, 2, 1, 1, 2, 1.0, PAD), MediaSpan(1, 1, 1, 1, 1, 1.0, PAD)], "must not overlap"),
    ],
)
def test_tokens_that_contradict_the_grid_are_refused(tokens: list[int], media: list[MediaSpan], sentence: str) -> None:
    with pytest.raises(LayoutError, match=sentence):
        segments_from_tokens(tokens, media)

"""Positions on their way through vLLM: the integers of both model runners, and cos and sin at the other end."""

from __future__ import annotations

import re
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.engine import vllm_compat, vllm_model
from mmrope_eval.engine.positions import PositionLog, prompt_key, prompt_positions
from mmrope_eval.engine.rotary import SharedRotary, kv_head_rows
from mmrope_eval.errors import UserError
from mmrope_eval.messages import PositionFacts
from mmrope_eval.models.families import FAMILIES
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.rope import MediaSpan, RotaryTable, load_variant, segments_from_tokens, variant_names
from mmrope_eval.rope.encoding import EncodingError, PositionCodec

PAD = 7
SPANS = [MediaSpan(3, 24, 2, 3, 4, 1.3, PAD), MediaSpan(30, 6, 1, 2, 3, 1.0, PAD)]
TOKENS = [1] * 3 + [PAD] * 24 + [1] * 3 + [PAD] * 6 + [1] * 5
TOLERANCE = {64: 1e-9, 32: 2**-12}


def staged(ids: np.ndarray, delta: int, new_tokens: int, bits: int) -> torch.Tensor:
    """What reaches the model for the prompt and then `new_tokens` more, as each model runner of vLLM computes it."""
    n = ids.shape[1]
    if bits == 64:
        from vllm.model_executor.layers.rotary_embedding import MRotaryEmbedding

        out = np.zeros((3, n + new_tokens), dtype=np.int64)
        out[:, :n] = ids
        for i in range(new_tokens):
            context = np.int32(n + i)  # the runner's counter of computed tokens
            MRotaryEmbedding.get_next_input_positions_tensor(
                out=out, out_offset=n + i, mrope_position_delta=vllm_model.as_delta(delta, bits),
                context_len=context, num_new_tokens=1,
            )  # fmt: skip
        return torch.from_numpy(out)
    # Model Runner V2: prompt and delta go through int32 buffers, a kernel adds the delta to an int32 counter.
    prefill = torch.tensor([row.tolist() for row in ids], dtype=torch.int32)
    buffer = np.zeros(1, dtype=np.int32)
    buffer[0] = vllm_model.as_delta(delta, bits)
    counter = torch.arange(n, n + new_tokens, dtype=torch.int32)
    decode = counter + torch.from_numpy(buffer)
    return torch.cat((prefill, decode.expand(3, -1)), dim=1).to(torch.int64)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", variant_names())
def test_prompt_and_generated_positions_survive_both_model_runners(name: str, bits: int) -> None:
    variant, codec = load_variant(name), PositionCodec(bits)
    prompt = prompt_positions(variant, TOKENS, SPANS, codec, max_tokens=50)
    positions, delta = variant.positions(segments_from_tokens(TOKENS, SPANS))
    generated = len(TOKENS) + delta + np.arange(50)
    expected = np.concatenate((positions, np.broadcast_to(generated, (3, 50))), axis=1)
    decoded = codec.decode(staged(prompt.ids, prompt.delta, 50, bits), torch.float64).numpy()
    assert np.abs(decoded - expected).max() <= TOLERANCE[bits]
    assert prompt.facts.delta == delta
    assert prompt.facts.max_position == positions.max()


@pytest.mark.parametrize(("bits", "tokens"), [(32, 458_752 - len(TOKENS)), (64, 2**31)])
def test_generation_that_would_leave_the_range_is_refused_with_the_prompt(bits: int, tokens: int) -> None:
    codec = PositionCodec(bits)
    assert prompt_positions(load_variant("vanilla"), [1] * len(TOKENS), [], codec, max_tokens=1000)
    with pytest.raises(EncodingError, match="outside"):
        prompt_positions(load_variant("vanilla"), [1] * len(TOKENS), [], codec, max_tokens=tokens)


@given(data=st.data())
def test_the_key_of_a_prompt_changes_with_everything_that_positions_depend_on(data: st.DataObject) -> None:
    key = prompt_key(TOKENS, SPANS)
    assert key == prompt_key(tuple(TOKENS), SPANS[::-1])
    place = data.draw(st.integers(0, len(TOKENS) - 1))
    assert key != prompt_key([*TOKENS[:place], 99, *TOKENS[place + 1 :]], SPANS)
    field = data.draw(st.sampled_from(["offset", "length", "t", "h", "w", "step"]))
    changed = {f: getattr(SPANS[0], f) for f in ("offset", "length", "t", "h", "w", "step", "pad_token_id")}
    changed[field] = np.nextafter(changed[field], 9.0) if field == "step" else changed[field] + 1
    assert key != prompt_key(TOKENS, [MediaSpan(**changed), SPANS[1]])


def test_the_log_of_positions_is_bounded_and_drained_once() -> None:
    log = PositionLog(capacity=3)
    for i in range(5):
        log.add(f"{i}", PositionFacts("f", float(i), 0.0))
    log.add("2", PositionFacts("again", 2.0, 0.0))
    assert [(key, name) for key, name, _, _ in log.drain()] == [("3", "f"), ("4", "f"), ("2", "again")]
    assert log.drain() == []


# --- media in a request -------------------------------------------------------------------------------------------


def shape(**changes: Any) -> vllm_model.ModelShape:
    values: dict[str, Any] = dict.fromkeys(vllm_model.ModelShape.__dataclass_fields__, 1)
    return vllm_model.ModelShape(**{**values, "merge_size": 2, "tokens_per_second": 2.0, **changes})


@pytest.mark.parametrize("seconds", [0.7, 1.0, 5 / 6, 1 / 3, 1001 / 12000, 2.845713888888889])
def test_a_video_keeps_its_time_step_to_the_last_digit(seconds: float) -> None:
    rounded = torch.tensor(seconds, dtype=torch.float32)
    data = {"video_grid_thw": SimpleNamespace(data=torch.tensor([6, 8, 4])),
            "second_per_grid_ts": SimpleNamespace(data=rounded)}  # fmt: skip
    position = SimpleNamespace(offset=5, length=48)
    named = SimpleNamespace(modality="video", mm_position=position, data=data,
                            identifier=vllm_model.media_identifier("abc", seconds))  # fmt: skip
    (span,) = vllm_model.media_spans([named], shape())
    assert (span.t, span.h, span.w, span.step) == (6, 4, 2, seconds * 2.0)
    foreign = SimpleNamespace(**{**vars(named), "identifier": "someone-else's"})
    (span,) = vllm_model.media_spans([foreign], shape())
    assert span.step == float(rounded) * 2.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_time_step_that_half_precision_rounded_is_still_exact(dtype: torch.dtype) -> None:
    seconds = 0.4927537037037037
    data = {"video_grid_thw": SimpleNamespace(data=torch.tensor([6, 8, 4])),
            "second_per_grid_ts": SimpleNamespace(data=torch.tensor(seconds, dtype=dtype))}  # fmt: skip
    item = SimpleNamespace(modality="video", mm_position=SimpleNamespace(offset=5, length=48), data=data,
                           identifier=vllm_model.media_identifier("abc", seconds))  # fmt: skip
    (span,) = vllm_model.media_spans([item], shape())
    assert span.step == seconds * 2.0


def test_a_time_step_that_the_processor_did_not_find_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"found 0\.5 seconds per grid, the video was loaded with 0\.6"):
        vllm_model.exact_seconds(vllm_model.media_identifier("abc", 0.6), 0.5)


def test_a_time_step_is_of_no_account_where_a_family_does_not_measure_time() -> None:
    data = {"video_grid_thw": SimpleNamespace(data=torch.tensor([6, 8, 4])),
            "second_per_grid_ts": SimpleNamespace(data=torch.tensor(0.4))}  # fmt: skip
    position = SimpleNamespace(offset=5, length=48)
    item = SimpleNamespace(modality="video", mm_position=position, data=data, identifier="a")
    (span,) = vllm_model.media_spans([item], shape(tokens_per_second=0.0))
    assert span.step == 1.0


# --- stock vLLM ---------------------------------------------------------------------------------------------------

WORD, START, END, IMAGE, VIDEO = range(1, 6)
MEDIA = st.lists(
    st.tuples(st.sampled_from(["image", "video"]), st.integers(0, 4), st.integers(1, 9), st.integers(1, 5),
              st.integers(1, 5), st.integers(1, 40)),
    max_size=4,
)  # fmt: skip
"""Kind, words before it, t, h, w, and seconds per grid in eighths, which float32 holds."""


def written(family: ModelFamily, media: list[tuple[str, int, int, int, int, int]]) -> tuple[list[int], list[Any]]:
    """A prompt as the family's processor writes it, and its features as vLLM schedules them."""
    tokens, features = [WORD], []
    for kind, words, t, h, w, eighths in media:
        t = 1 if kind == "image" else t
        tokens += [WORD] * words
        pad = IMAGE if kind == "image" else VIDEO
        if kind == "video" and family.video.layout == "frames":
            offset, content = len(tokens), ([WORD] * 3 + [START] + [pad] * h * w + [END]) * t
            tokens += content
        else:
            offset, content = len(tokens) + 1, [pad] * t * h * w
            tokens += [START, *content, END]
        data = {f"{kind}_grid_thw": SimpleNamespace(data=torch.tensor([t, 2 * h, 2 * w]))}
        if kind == "video" and family.video.timed:
            data["second_per_grid_ts"] = SimpleNamespace(data=torch.tensor(eighths / 8))
        features.append(SimpleNamespace(modality=kind, data=data, identifier="a",
                                        mm_position=SimpleNamespace(offset=offset, length=len(content))))  # fmt: skip
    return [*tokens, WORD, WORD], features


@given(media=MEDIA)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_stock_variant_has_the_positions_of_stock_vllm(
    family: ModelFamily, media: list[tuple[str, int, int, int, int, int]]
) -> None:
    tokens, features = written(family, media)
    stock = vllm_model.base_model(family)
    seconds = {"tokens_per_second": 2.0} if family.video.timed else {}
    config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2, **seconds), image_token_id=IMAGE,
                             video_token_id=VIDEO, vision_start_token_id=START, vision_end_token_id=END)  # fmt: skip
    model = SimpleNamespace(config=config)
    if hasattr(stock, "iter_mm_grid_thw"):
        model.iter_mm_grid_thw = MethodType(stock.iter_mm_grid_thw, model)
    else:
        model._get_mrope_input_positions = stock._get_mrope_input_positions
    theirs, delta = stock.get_mrope_input_positions(model, tokens, features)
    spans = vllm_model.media_spans(
        features, shape(image_token_id=IMAGE, video_token_id=VIDEO, tokens_per_second=2.0 if seconds else 0.0)
    )
    codec = PositionCodec(64)
    prompt = prompt_positions(load_variant(family.stock_variant), tokens, spans, codec)
    assert np.array_equal(codec.decode(torch.from_numpy(prompt.ids), torch.float64).numpy(), theirs.numpy())
    assert prompt.facts.delta == delta


# --- the rotary module --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heads", "world", "expected"),
    [
        (8, 1, [(0, 8)]),
        (8, 2, [(0, 4), (4, 8)]),
        (4, 4, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        (2, 4, [(0, 1), (0, 1), (1, 2), (1, 2)]),
        (1, 3, [(0, 1), (0, 1), (0, 1)]),
    ],
)
def test_each_rank_gets_the_rows_of_its_kv_heads(heads: int, world: int, expected: list[tuple[int, int]]) -> None:
    rows = [kv_head_rows(heads, rank, world) for rank in range(world)]
    assert [(r.start, r.stop) for r in rows] == expected


@pytest.mark.parametrize("captured", [False, True], ids=["stepped", "captured"])
@pytest.mark.parametrize("full_rows", [False, True])
@pytest.mark.parametrize("bits", [64, 32])
def test_ranks_together_hold_the_table_of_the_whole_model(bits: int, full_rows: bool, captured: bool) -> None:
    codec = PositionCodec(bits)
    for name in ("mhrope", "mrope", "circlerope", "grape"):
        variant = load_variant(name, scaling={"type": "yarn", "factor": 4.0})
        table = variant.table(32, 8, 1e4)
        prompt = prompt_positions(variant, TOKENS, SPANS, codec)
        expected_cos, expected_sin = table.cos_sin(codec.decode(torch.from_numpy(prompt.ids)))
        cos, sin = [], []
        for rank in range(4):
            rows = kv_head_rows(8, rank, 4)
            rotary = SharedRotary(2, 16, 64, codec, full_rows=full_rows, captured=captured)
            rotary.set_table(RotaryTable(table.axis[rows], table.inv_freq[rows], table.attention_factor))
            rotary.fill(torch.from_numpy(prompt.ids))
            cos.append(rotary.cos[: len(TOKENS)])
            sin.append(rotary.sin[: len(TOKENS)])
        torch.testing.assert_close(torch.cat(cos, 1), expected_cos.transpose(0, 1), atol=1e-6, rtol=0)
        torch.testing.assert_close(torch.cat(sin, 1), expected_sin.transpose(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scaling", [None, {"type": "linear", "factor": 2.0}, {"type": "ntk", "factor": 2.0},
                                     {"type": "yarn", "factor": 2.0}])  # fmt: skip
def test_tables_and_positions_do_not_depend_on_the_default_device(scaling: dict[str, Any] | None) -> None:
    """vLLM builds models and sets variants under the GPU's; found on an H100, where no engine started.

    "meta" stands in for it: what is computed there has no values to be read.
    """
    for name in variant_names():
        variant = load_variant(name, scaling=scaling)
        table, prompt = variant.table(32, 8, 1e4), prompt_positions(variant, TOKENS, SPANS, PositionCodec(32))
        rotary = SharedRotary(8, 16, 64, PositionCodec(32), full_rows=True, captured=True)
        with torch.device("meta"):
            again = load_variant(name, scaling=scaling)
            other = again.table(32, 8, 1e4)
            rotary.set_table(other)
            rotary.fill(torch.from_numpy(prompt_positions(again, TOKENS, SPANS, PositionCodec(32)).ids))
        assert np.array_equal(table.inv_freq, other.inv_freq) and np.array_equal(table.axis, other.axis)
        cos, _ = table.cos_sin(PositionCodec(32).decode(torch.from_numpy(prompt.ids)))
        torch.testing.assert_close(rotary.cos[: len(TOKENS)], cos.transpose(0, 1), atol=1e-6, rtol=0)


def test_a_captured_step_sees_the_table_of_now() -> None:
    """A CUDA graph replays the same tensors; here a function over them stands in for it."""
    codec = PositionCodec(32)
    rotary = SharedRotary(8, 16, 64, codec, full_rows=True, captured=True)
    names = ("_axis", "_freq", "_factor", "cos", "sin")
    addresses = [getattr(rotary, name).data_ptr() for name in names]
    for name in ("vanilla", "mhrope", "mrope"):
        table = load_variant(name, scaling={"type": "yarn", "factor": 2.0}).table(32, 8, 1e4)
        rotary.set_table(table)
        rotary.fill(torch.arange(20).expand(3, -1) * torch.tensor([[1], [2], [3]]))
        cos, _ = table.cos_sin((torch.arange(20).expand(3, -1) * torch.tensor([[1], [2], [3]])).float())
        torch.testing.assert_close(rotary.cos[:20], cos.transpose(0, 1), atol=1e-6, rtol=0)
        assert [getattr(rotary, name).data_ptr() for name in names] == addresses


def test_reloading_weights_cannot_touch_the_tables() -> None:
    rotary = SharedRotary(8, 16, 64, PositionCodec(), full_rows=False, captured=False)
    assert not list(rotary.buffers())
    assert not list(rotary.parameters())


# --- vLLM's configuration -----------------------------------------------------------------------------------------


def test_video_pruning_is_refused() -> None:
    multimodal = SimpleNamespace(is_multimodal_pruning_enabled=lambda: True)
    config = SimpleNamespace(model_config=SimpleNamespace(multimodal_config=multimodal))
    with pytest.raises(UserError, match="video pruning"):
        vllm_model.model_shape(config)


@pytest.mark.parametrize(("version_two", "bits"), [(True, 32), (False, 64)])
def test_model_runner_two_gets_positions_of_32_bits(version_two: bool, bits: int) -> None:
    assert vllm_model.position_bits(SimpleNamespace(use_v2_model_runner=version_two)) == bits


@pytest.mark.parametrize(
    ("version", "warns"),
    [("0.31.0", False), ("0.32.1+cpu", False), ("0.31.2.dev3", False), ("0.33.0", True), ("1.0", True),
     ("unknown", True)],
)  # fmt: skip
def test_a_version_outside_the_tested_range_is_named(version: str, warns: bool) -> None:
    warning = vllm_compat.version_warning(version)
    assert (warning is not None) == warns
    if warning:
        assert version in warning
        assert "0.31 to 0.32" in warning


@pytest.mark.parametrize("version", ["0.26.0", "0.28.1", "0.30.2+cu130", "0.9.1"])
def test_a_version_that_misreads_videos_is_refused(version: str) -> None:
    with pytest.raises(UserError, match=f"vLLM {re.escape(version)} is too old: before 0.31 .*; install 0.32"):
        vllm_compat.version_warning(version)

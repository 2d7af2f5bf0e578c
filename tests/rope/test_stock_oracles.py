"""Tables and positions against vLLM's own classes, which nobody here wrote: no weights, no engine.

The families' own classes on random prompts are in test_engine_positions.py, whole engines in test_twin_engines.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.rope import MediaSpan, Variant, load_variant, segments_from_tokens
from mmrope_eval.rope.kernels import rotate_oracle

HEAD_DIM, HEADS, KV_HEADS, THETA, PAD, WORD = 128, 6, 2, 1e6, 7, 1
OPENPANGU = "thwthwthwthwthwthwthwthtwthwthwthwthwthwthwthtwthwthwthwthwthwtt"
ERNIE = {"frequency": {"allocation": "pattern", "pattern": "hw*22 t*20"}}


def own(**definition: Any) -> Variant:
    return Variant.from_dict({"name": "own", **definition})


TABLES: Mapping[str, tuple[Variant, str, tuple[Any, ...]]] = {
    "Qwen2.5-VL": (load_variant("mrope"), "mrope:MRotaryEmbedding", ([16, 24, 24],)),
    "Qwen3-VL": (load_variant("qwen3-vl"), "mrope:MRotaryEmbedding", ([24, 20, 20], True)),
    "ERNIE-4.5-VL": (own(**ERNIE), "ernie45_vl_rope:Ernie4_5_VLRotaryEmbedding", ([22, 22, 20],)),
    "openPangu": (
        own(frequency={"allocation": "pattern", "pattern": OPENPANGU}),
        "mrope_interleaved:MRotaryEmbeddingInterleaved",
        ([24, 20, 20], True),
    ),
}
"""Our variant, vLLM's class, and its sections."""


@pytest.fixture(scope="module")
def vllm_config() -> Iterator[None]:
    from vllm.config import VllmConfig, set_current_vllm_config

    with set_current_vllm_config(VllmConfig()):
        yield


@pytest.mark.parametrize("model", TABLES)
def test_a_table_rotates_as_the_class_that_defines_it(model: str, vllm_config: None) -> None:
    variant, where, sections = TABLES[model]
    module, _, name = where.partition(":")
    cls = getattr(importlib.import_module(f"vllm.model_executor.layers.rotary_embedding.{module}"), name)
    rotary = cls(HEAD_DIM, HEAD_DIM, 4096, THETA, True, torch.float32, *sections)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(200, n * HEAD_DIM, generator=generator) for n in (HEADS, KV_HEADS))
    positions = torch.randint(0, 4096, (3, 200), generator=generator)
    # openPangu's class overrides `forward`, and inherits a `forward_native` that is another model's.
    forward = rotary.forward if "forward" in vars(cls) else rotary.forward_native
    theirs = forward(positions, q.clone(), k.clone())
    table = variant.table(HEAD_DIM, KV_HEADS, THETA)

    def ours(axes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return rotate_oracle(q, k, *(x.transpose(0, 1) for x in table.cos_sin(positions[axes])))

    torch.testing.assert_close(ours([0, 1, 2]), theirs, rtol=0, atol=2e-6)
    assert (ours([1, 2, 0])[0] - theirs[0]).abs().max() > 1, "the axes are told apart"


# --- positions --------------------------------------------------------------------------------------------------------

GRID = {
    "qwen2_vl:Qwen2VLForConditionalGeneration": "grid",
    "qwen2_5_vl:Qwen2_5_VLForConditionalGeneration": "grid",
    "qwen3_vl:Qwen3VLForConditionalGeneration": "grid",
    "qwen3_5:Qwen3_5ForConditionalGeneration": "grid",
    "cosmos3_edge:Cosmos3EdgeForConditionalGeneration": "grid",
    "ernie45_vl:Ernie4_5_VLMoeForConditionalGeneration": "grid",
    "glm4_1v:Glm4vForConditionalGeneration": "grid",
    "keye:KeyeForConditionalGeneration": "grid",
    "keye_vl1_5:KeyeVL1_5ForConditionalGeneration": "grid",
    "cohere_compass:CohereCompassForConditionalGeneration": "grid",
    "bailing_moe_v3_vl:BailingMoeV3VLForConditionalGeneration": "grid",
    "paddleocr_vl:PaddleOCRVLForConditionalGeneration": "grid",
    "openpangu_vl:OpenPanguVLForConditionalGeneration": "grid",
    "minicpmv4_6:MiniCPMV4_6ForConditionalGeneration": "flat",
}
"""vLLM's models whose positions one of our layouts expresses; pictures, as their videos differ in tokens too."""
VARIANTS = {"grid": load_variant("mrope"), "flat": load_variant("vanilla")}
PICTURES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)), max_size=4)
"""Words before a picture, and its height and width in merged cells."""


def written(pictures: list[tuple[int, int, int]]) -> tuple[list[int], list[Any], list[MediaSpan]]:
    """A prompt, its features as vLLM schedules them, and its spans."""
    from vllm.multimodal.inputs import PlaceholderRange

    tokens, features, spans = [WORD], [], []
    for words, h, w in pictures:
        tokens += [WORD] * (words + 1)
        data = {"image_grid_thw": SimpleNamespace(data=torch.tensor([1, 2 * h, 2 * w]))}
        place = PlaceholderRange(offset=len(tokens), length=h * w)
        features.append(SimpleNamespace(modality="image", data=data, identifier="a", mm_position=place))
        spans.append(MediaSpan(len(tokens), h * w, 1, h, w, 1.0, PAD))
        tokens += [PAD] * (h * w)
    return [*tokens, WORD, WORD], features, spans


def stock_positions(where: str) -> Callable[..., tuple[torch.Tensor, int]]:
    """A model class's own function, on no more of a model than the configuration that it reads."""
    module, _, name = where.partition(":")
    cls = getattr(importlib.import_module(f"vllm.model_executor.models.{module}"), name)
    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=2.0)
    config = SimpleNamespace(vision_config=vision, spatial_conv_size=2, temporal_conv_size=1, image_token_id=PAD,
                             video_token_id=8, vision_start_token_id=9, vision_end_token_id=10)  # fmt: skip
    model = SimpleNamespace(config=config)
    for helper in ("iter_mm_grid_thw", "_split_video_grid_thw"):
        if hasattr(cls, helper):
            setattr(model, helper, MethodType(getattr(cls, helper), model))
    if hasattr(cls, "_get_mrope_input_positions"):
        model._get_mrope_input_positions = cls._get_mrope_input_positions
    return lambda tokens, features: cls.get_mrope_input_positions(model, tokens, features)


@pytest.mark.parametrize("where", GRID)
def test_a_layout_has_the_positions_of_models_that_share_it(where: str) -> None:
    theirs, layout = stock_positions(where), VARIANTS[GRID[where]]

    @given(pictures=PICTURES)
    def check(pictures: list[tuple[int, int, int]]) -> None:
        tokens, features, spans = written(pictures)
        positions, delta = layout.positions(segments_from_tokens(tokens, spans))
        stock, stock_delta = theirs(tokens, features)
        assert np.array_equal(positions, stock.numpy())
        assert delta == stock_delta

    check()

"""Qwen2.5-VL (arXiv 2502.13923): what the paper's models start from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmrope_eval.models.config import Count, TextConfig, VisionConfig
from mmrope_eval.models.families.qwen2_vl import (
    FLAT_KEYS,
    FRAME_LIMITS,
    IMAGE_PROCESSORS,
    PROCESSOR_LIMITS,
    VIDEO_PROCESSORS,
    Qwen2VLText,
)
from mmrope_eval.models.family import ModelFamily, VideoRule, VisionGeometry
from mmrope_eval.models.tensors import VISION, Shapes, decoder_tensors, linear, norm

TOKENS_PER_SECOND = 4
"""Where config.json does not say."""


class Qwen2_5VLVision(VisionConfig):  # noqa: N801 - the family's own spelling
    """Window attention and gated MLPs; `out_hidden_size` is the language model's width."""

    depth: Count = 32
    hidden_size: Count = 3584
    num_heads: Count = 16
    patch_size: Count = 14
    spatial_merge_size: Count = 2
    temporal_patch_size: Count = 2
    intermediate_size: Count = 3420
    out_hidden_size: Count = 3584
    window_size: Count = 112
    fullatt_block_indexes: list[int] = [7, 15, 23, 31]
    tokens_per_second: Count = TOKENS_PER_SECOND
    hidden_act: Annotated[str, Field(min_length=1)] = "silu"

    @property
    def inner_width(self) -> int:
        """Channels inside a block's feed-forward layers."""
        return self.intermediate_size

    @property
    def out_width(self) -> int:
        """Channels of what the language model gets."""
        return self.out_hidden_size

    def problem(self, text: TextConfig) -> str | None:
        """Also: a window of attention must hold a merged cell."""
        cell = self.patch_size * self.spatial_merge_size
        if self.window_size < cell:
            return f"window_size {self.window_size} is smaller than the {cell} pixels that one token covers"
        return super().problem(text)


def tensors(text: TextConfig, vision: VisionConfig) -> Shapes:
    """All tensors: a decoder with biases on q, k, v, and an encoder of RMS norms and gated MLPs."""
    assert isinstance(vision, Qwen2_5VLVision)
    width, inner = vision.hidden_size, vision.intermediate_size
    patch = (vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size)
    shapes = decoder_tensors(text, qkv_bias=True, out_bias=False, qk_norm=False)
    shapes[f"{VISION}patch_embed.proj.weight"] = (width, *patch)
    for block in range(vision.depth):
        name = f"{VISION}blocks.{block}"
        shapes |= dict(norm(f"{name}.norm1", width)) | dict(norm(f"{name}.norm2", width))
        shapes |= dict(linear(f"{name}.attn.qkv", 3 * width, width, bias=True))
        shapes |= dict(linear(f"{name}.attn.proj", width, width, bias=True))
        shapes |= dict(linear(f"{name}.mlp.gate_proj", inner, width, bias=True))
        shapes |= dict(linear(f"{name}.mlp.up_proj", inner, width, bias=True))
        shapes |= dict(linear(f"{name}.mlp.down_proj", width, inner, bias=True))
    shapes |= dict(norm(f"{VISION}merger.ln_q", width))
    shapes |= dict(linear(f"{VISION}merger.mlp.0", vision.merged_width, vision.merged_width, bias=True))
    shapes |= dict(linear(f"{VISION}merger.mlp.2", vision.out_hidden_size, vision.merged_width, bias=True))
    return shapes


FAMILY = ModelFamily(
    name="qwen2.5-vl",
    title="Qwen2.5-VL",
    model_type="qwen2_5_vl",
    stock_variant="qwen2.5-vl",
    hf_class="Qwen2_5_VLForConditionalGeneration",
    vllm_class="vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration",
    text=Qwen2VLText,
    vision=Qwen2_5VLVision,
    tensors=tensors,
    published=VisionGeometry(patch_size=14, merge_size=2, temporal_patch_size=2),
    image_processors=(*IMAGE_PROCESSORS, "Qwen2_5_VLImageProcessor", "Qwen2_5_VLImageProcessorFast"),
    video=VideoRule(layout="block", limits="frame", processors=VIDEO_PROCESSORS, frame_limits=FRAME_LIMITS,
                    tokens_per_second=TOKENS_PER_SECOND),
    image_limits=(56 * 56, 16384 * 28 * 28),
    processor_limits=PROCESSOR_LIMITS,
    base="Qwen/Qwen2.5-VL-7B-Instruct",
    also_asked_as=("paper",),
    text_required=FLAT_KEYS,
)  # fmt: skip

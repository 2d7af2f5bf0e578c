"""Qwen2.5-VL (arXiv 2502.13923): what the paper's models start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from mmrope_eval.models.config import Count, TextConfig, VisionConfig, WideVisionConfig
from mmrope_eval.models.families.qwen2_vl import FAMILY as QWEN2_VL
from mmrope_eval.models.families.qwen2_vl import network
from mmrope_eval.models.tensors import Shapes

TOKENS_PER_SECOND = 4
"""Where config.json does not say."""


class Qwen2_5VLVision(WideVisionConfig):  # noqa: N801 - the family's own spelling
    """Window attention and gated MLPs; `out_hidden_size` is the language model's width."""

    depth: Count = 32
    hidden_size: Count = 3584
    num_heads: Count = 16
    patch_size: Count = 14
    spatial_merge_size: Count = 2
    temporal_patch_size: Count = 2
    intermediate_size: Count = 3420
    window_size: Count = 112
    fullatt_block_indexes: list[int] = [7, 15, 23, 31]
    tokens_per_second: Count = TOKENS_PER_SECOND
    hidden_act: Annotated[str, Field(min_length=1)] = "silu"

    def problem(self, text: TextConfig) -> str | None:
        """Also: a window of attention must hold a merged cell."""
        cell = self.patch_size * self.spatial_merge_size
        if self.window_size < cell:
            return f"window_size {self.window_size} is smaller than the {cell} pixels that one token covers"
        return super().problem(text)


def tensors(text: TextConfig, vision: VisionConfig) -> Shapes:
    """All tensors; the encoder has RMS norms and gated MLPs."""
    width, inner = vision.width, vision.inner_width
    mlp = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
    return network(text, vision, mlp, norm_bias=False)


FAMILY = replace(
    QWEN2_VL,
    name="qwen2.5-vl",
    title="Qwen2.5-VL",
    model_type="qwen2_5_vl",
    stock_variant="qwen2.5-vl",
    hf_class="Qwen2_5_VLForConditionalGeneration",
    vllm_class="vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration",
    vision=Qwen2_5VLVision,
    tensors=tensors,
    image_processors=(*QWEN2_VL.image_processors, "Qwen2_5_VLImageProcessor", "Qwen2_5_VLImageProcessorFast"),
    video=replace(QWEN2_VL.video, tokens_per_second=TOKENS_PER_SECOND),
    base="Qwen/Qwen2.5-VL-7B-Instruct",
    also_asked_as=("paper",),
    fused_rounding=True,
)
"""As Qwen2-VL but for these."""

"""Qwen2-VL (arXiv 2409.12191): the base of VideoRoPE's and HoPE's public checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from mmrope_eval.models.config import Count, Epsilon, TextConfig, VisionConfig
from mmrope_eval.models.family import ModelFamily, VideoRule, VisionGeometry
from mmrope_eval.models.tensors import VISION, Shapes, decoder_tensors, encoder_tensors, linear, norm

IMAGE_PROCESSORS = ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil")
VIDEO_PROCESSORS = ("Qwen2VLVideoProcessor", "Qwen3VLVideoProcessor", "Qwen2_5_VLVideoProcessor")
PROCESSOR_LIMITS = (56 * 56, 28 * 28 * 1280)
"""Of Qwen2VLImageProcessor, which all families here use."""
FRAME_LIMITS = (128 * 28 * 28, 768 * 28 * 28)
"""Of the Qwen team's video sampling (qwen-vl-utils, VIDEO_MIN_PIXELS and VIDEO_MAX_PIXELS)."""
FLAT_KEYS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


class Qwen2VLText(TextConfig):
    """The decoder of Qwen2-VL and Qwen2.5-VL, heads an even share of its width; its windows are not evaluated here."""

    vocab_size: Count = 152064
    hidden_size: Count = 8192
    intermediate_size: Count = 29568
    num_hidden_layers: Count = 80
    num_attention_heads: Count = 64
    num_key_value_heads: Count | None = 8
    max_position_embeddings: Count = 32768
    rms_norm_eps: Epsilon = 1e-5
    use_sliding_window: bool | None = False
    sliding_window: int | None = None
    max_window_layers: int | None = 80
    bos_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151645

    def problem(self) -> str | None:
        """Also: attention over all of the prompt, in every layer."""
        if self.use_sliding_window:
            return "use_sliding_window is true, and an engine here gives every layer the whole prompt"
        return super().problem()


class Qwen2VLVision(VisionConfig):
    """`hidden_size` is the language model's width here; the encoder's own is `embed_dim`."""

    depth: Count = 32
    hidden_size: Count = 3584
    num_heads: Count = 16
    patch_size: Count = 14
    spatial_merge_size: Count = 2
    temporal_patch_size: Count = 2
    embed_dim: Count = 1280
    mlp_ratio: Annotated[int, Field(gt=0, lt=2**20)] = 4
    hidden_act: Literal["quick_gelu"] = "quick_gelu"
    """vLLM computes that whatever the key says."""

    @property
    def width(self) -> int:
        """Channels of a patch."""
        return self.embed_dim

    @property
    def inner_width(self) -> int:
        """Channels inside a block's feed-forward layers."""
        return self.embed_dim * self.mlp_ratio

    @property
    def out_width(self) -> int:
        """Channels of what the language model gets."""
        return self.hidden_size


def network(text: TextConfig, vision: VisionConfig, mlp: Mapping[str, tuple[int, int]], *, norm_bias: bool) -> Shapes:
    """All tensors: a decoder with biases on q, k, v, an encoder with feed-forward layers `mlp`, and its merger."""
    shapes = decoder_tensors(text, qkv_bias=True, out_bias=False, qk_norm=False)
    shapes |= encoder_tensors(vision, mlp, norm_bias=norm_bias)
    shapes |= dict(norm(f"{VISION}merger.ln_q", vision.width, bias=norm_bias))
    shapes |= dict(linear(f"{VISION}merger.mlp.0", vision.merged_width, vision.merged_width, bias=True))
    shapes |= dict(linear(f"{VISION}merger.mlp.2", vision.out_width, vision.merged_width, bias=True))
    return shapes


def tensors(text: TextConfig, vision: VisionConfig) -> Shapes:
    """All tensors; the encoder has LayerNorms and two-layer MLPs."""
    width, inner = vision.width, vision.inner_width
    return network(text, vision, {"fc1": (inner, width), "fc2": (width, inner)}, norm_bias=True)


FAMILY = ModelFamily(
    name="qwen2-vl",
    title="Qwen2-VL",
    model_type="qwen2_vl",
    stock_variant="mrope",
    hf_class="Qwen2VLForConditionalGeneration",
    vllm_class="vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration",
    text=Qwen2VLText,
    vision=Qwen2VLVision,
    tensors=tensors,
    published=VisionGeometry(patch_size=14, merge_size=2, temporal_patch_size=2),
    image_processors=IMAGE_PROCESSORS,
    video=VideoRule(layout="block", limits="frame", processors=VIDEO_PROCESSORS, frame_limits=FRAME_LIMITS),
    image_limits=(56 * 56, 16384 * 28 * 28),
    processor_limits=PROCESSOR_LIMITS,
    base="Qwen/Qwen2-VL-7B-Instruct",
    text_required=FLAT_KEYS,
)

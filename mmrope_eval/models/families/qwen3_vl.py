"""Qwen3-VL (arXiv 2511.21631): DeepStack, norms on q and k, timestamps written as text."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from mmrope_eval.models.config import Count, Epsilon, TextConfig, VisionConfig, WideVisionConfig
from mmrope_eval.models.families.qwen2_vl import FRAME_LIMITS, IMAGE_PROCESSORS, PROCESSOR_LIMITS
from mmrope_eval.models.family import ModelFamily, VideoRule, VisionGeometry
from mmrope_eval.models.tensors import VISION, Shapes, decoder_tensors, encoder_tensors, linear, norm


class Qwen3VLText(TextConfig):
    """The decoder; its head size is a number of its own."""

    vocab_size: Count = 151936
    hidden_size: Count = 4096
    intermediate_size: Count = 22016
    num_hidden_layers: Count = 32
    num_attention_heads: Count = 32
    num_key_value_heads: Count | None = 32
    head_dim: Count = 128
    max_position_embeddings: Count = 128000
    attention_bias: bool = False
    rms_norm_eps: Epsilon = 1e-6
    attention_dropout: float = 0.0

    own_head_size: ClassVar[bool] = True


class Qwen3VLVision(WideVisionConfig):
    """Learned positions, and mergers (DeepStack) after some of its blocks."""

    depth: Count = 27
    hidden_size: Count = 1152
    num_heads: Count = 16
    patch_size: Count = 16
    spatial_merge_size: Count = 2
    temporal_patch_size: Count = 2
    intermediate_size: Count = 4304
    num_position_embeddings: Count = 2304
    hidden_act: Annotated[str, Field(min_length=1)] = "gelu_pytorch_tanh"
    deepstack_visual_indexes: list[int] = [8, 16, 24]

    def problem(self, text: TextConfig) -> str | None:
        """Also: DeepStack takes what blocks give that there are, each once, to layers that there are."""
        taken = self.deepstack_visual_indexes
        if len(set(taken)) < len(taken) or any(not 0 <= block < self.depth for block in taken):
            return f"deepstack_visual_indexes {taken} are not different blocks of the {self.depth} (depth) that it has"
        if len(taken) > text.num_hidden_layers:
            return (f"deepstack_visual_indexes {taken} are for more layers than the {text.num_hidden_layers} "
                    "(num_hidden_layers) of the language model")  # fmt: skip
        return super().problem(text)


def tensors(text: TextConfig, vision: VisionConfig) -> Shapes:
    """All tensors, those of the DeepStack mergers included."""
    assert isinstance(text, Qwen3VLText) and isinstance(vision, Qwen3VLVision)
    width, inner, merged = vision.hidden_size, vision.intermediate_size, vision.merged_width
    shapes = decoder_tensors(text, qkv_bias=text.attention_bias, out_bias=text.attention_bias, qk_norm=True)
    shapes[f"{VISION}patch_embed.proj.bias"] = (width,)
    shapes[f"{VISION}pos_embed.weight"] = (vision.num_position_embeddings, width)
    shapes |= encoder_tensors(vision, {"linear_fc1": (inner, width), "linear_fc2": (width, inner)}, norm_bias=True)
    mergers = [("merger", width)]
    # DeepStack's mergers normalise after the merge, the last one before it.
    mergers += [(f"deepstack_merger_list.{i}", merged) for i in range(len(vision.deepstack_visual_indexes))]
    for merger, normed in mergers:
        shapes |= dict(norm(f"{VISION}{merger}.norm", normed, bias=True))
        shapes |= dict(linear(f"{VISION}{merger}.linear_fc1", merged, merged, bias=True))
        shapes |= dict(linear(f"{VISION}{merger}.linear_fc2", vision.out_hidden_size, merged, bias=True))
    return shapes


FAMILY = ModelFamily(
    name="qwen3-vl",
    title="Qwen3-VL",
    model_type="qwen3_vl",
    stock_variant="qwen3-vl",
    hf_class="Qwen3VLForConditionalGeneration",
    vllm_class="vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration",
    text=Qwen3VLText,
    vision=Qwen3VLVision,
    tensors=tensors,
    published=VisionGeometry(patch_size=16, merge_size=2, temporal_patch_size=2),
    image_processors=(*IMAGE_PROCESSORS, "Qwen3VLImageProcessor", "Qwen3VLImageProcessorFast"),
    video=VideoRule(layout="frames", limits="video", frame_limits=FRAME_LIMITS, timestamp="<1234.5 seconds>",
                    processors=("Qwen3VLVideoProcessor", "Qwen2VLVideoProcessor", "Qwen2_5_VLVideoProcessor")),
    image_limits=(65536, 16777216),
    processor_limits=PROCESSOR_LIMITS,
    base="Qwen/Qwen3-VL-8B-Instruct",
    flat_names=False,
)  # fmt: skip

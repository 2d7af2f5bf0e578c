"""Every touch point with vLLM's internals inside of a model, written for 0.31 to 0.32: its class, configuration,
modules and media.

`vllm_compat` has what stands outside of the model: registration, requests and the engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.families import family_of_config
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.models.rope_config import VARIANT_KEY
from mmrope_eval.rope import MediaSpan, Variant, load_variant_beside


def base_model(family: ModelFamily) -> Any:
    """vLLM's own class of a family."""
    module, _, name = family.vllm_class.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class ModelShape:
    """What a model in a worker needs to know, as far as vLLM's configuration decides it."""

    head_dim: int
    rotary_dim: int
    num_kv_heads: int
    """Of the whole model, not of one rank."""
    rope_theta: float
    merge_size: int
    tokens_per_second: float
    image_token_id: int
    video_token_id: int
    rank: int
    """Tensor-parallel rank, of `world`."""
    world: int
    max_tokens: int
    """Most tokens in one step."""
    position_bits: int
    compiled: bool
    captured: bool


def model_shape(vllm_config: Any) -> ModelShape:
    """Read a `VllmConfig`. Raises `UserError` for what a variant cannot be combined with."""
    from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size

    model_config = vllm_config.model_config
    multimodal = model_config.multimodal_config
    if multimodal is not None and multimodal.is_multimodal_pruning_enabled():
        raise UserError("video pruning (EVS) is on, but it rewrites positions after they were computed: start vLLM "
                        "without video_pruning_rate")
    config, text = model_config.hf_config, model_config.hf_text_config
    rope = dict(text.rope_parameters)
    head_dim = int(model_config.get_head_size())
    compilation = vllm_config.compilation_config
    largest_graph = getattr(compilation, "max_cudagraph_capture_size", None) or 0
    vision = config.vision_config
    return ModelShape(
        head_dim=head_dim,
        rotary_dim=int(head_dim * float(rope.get("partial_rotary_factor") or 1.0)),
        num_kv_heads=int(model_config.get_total_num_kv_heads()),
        rope_theta=float(rope["rope_theta"]),
        merge_size=int(vision.spatial_merge_size),
        tokens_per_second=family_of_config(config).tokens_per_second(vision.to_dict()),
        image_token_id=int(config.image_token_id),
        video_token_id=int(config.video_token_id),
        rank=int(get_tensor_model_parallel_rank()),
        world=int(get_tensor_model_parallel_world_size()),
        max_tokens=max(int(vllm_config.scheduler_config.max_num_batched_tokens), int(largest_graph)),
        position_bits=position_bits(vllm_config),
        compiled=int(compilation.mode or 0) != 0,
        captured=_captures_graphs(compilation),
    )


def _captures_graphs(compilation: Any) -> bool:
    mode = getattr(compilation, "cudagraph_mode", None)
    return mode is not None and getattr(mode, "name", str(mode)) != "NONE"


def position_bits(vllm_config: Any) -> int:
    """32 for Model Runner V2, which stages positions as int32 on their way to the device; 64 for V1's int64 buffer."""
    return 32 if vllm_config.use_v2_model_runner else 64


def as_delta(delta: int, bits: int) -> Any:
    """The decode offset in a type that the runner's own arithmetic keeps: V1 adds it to an np.int32."""
    import numpy as np

    return np.int64(delta) if bits == 64 else delta


def attention_modules(model: Any) -> Iterator[Any]:
    """Attention modules of the language layers that this pipeline stage holds."""
    for layer in model.language_model.model.layers:
        if hasattr(layer, "self_attn"):
            yield layer.self_attn


def rotate_vision_in_float32(model: Any) -> None:
    """The vision encoder's own rotation, in float32 as in transformers.

    vLLM rounds its cos and sin to the model's dtype, and on CPU each product too.
    """
    encoder = model.visual
    encoder.rotary_pos_emb.cos_sin_cache = encoder.rotary_pos_emb._compute_cos_sin_cache()
    for block in encoder.blocks:
        block.attn.apply_rotary_emb.enable_fp32_compute = True


def configured_variant(vllm_config: Any) -> Variant:
    """The variant that config.json or hf_overrides ask for, else that of the model type."""
    config = vllm_config.model_config.hf_config
    named = getattr(config, VARIANT_KEY, None) or family_of_config(config).stock_variant
    return load_variant_beside(Path(vllm_config.model_config.model), named)


def reload_weights(model_runner: Any, path: str) -> None:
    """Replace a runner's weights in place; vLLM repacks them, but for an output matrix that is the word embeddings."""
    model_runner.reload_weights(weights_path=path)
    decoder = model_runner.get_model().language_model
    head = getattr(decoder, "lm_head", None)
    if decoder.config.tie_word_embeddings and head is not None:
        head.weight = decoder.model.embed_tokens.weight
        head.quant_method.process_weights_after_loading(head)


def media_spans(features: Iterable[Any], shape: ModelShape) -> list[MediaSpan]:
    """Where images and videos lie in a prompt, from the features of a scheduled request (`MultiModalFeatureSpec`)."""
    return [media_span(f.modality, f.mm_position, f.data, f.identifier, shape) for f in features]


def media_span(modality: str, position: Any, data: Any, identifier: str, shape: ModelShape) -> MediaSpan:
    """Where one item lies in a prompt, from its placeholder and what the processor made of it."""
    import torch

    t, h, w = (int(x) for x in data[f"{modality}_grid_thw"].data.tolist())
    step, pad = 1.0, shape.image_token_id
    if modality == "video":
        pad = shape.video_token_id
        seconds = data.get("second_per_grid_ts")
        if seconds is not None and shape.tokens_per_second:
            error = max(1e-6, torch.finfo(seconds.data.dtype).eps)
            step = exact_seconds(identifier, float(seconds.data), error) * shape.tokens_per_second
    return MediaSpan(position.offset, position.length, t, h // shape.merge_size, w // shape.merge_size, step, pad)


def media_identifier(fingerprint: str, seconds_per_grid: float | None) -> str:
    """How we name an item to vLLM: what it is, and its time step in full (rounding can move a truncated position)."""
    return fingerprint if seconds_per_grid is None else f"{fingerprint}@{seconds_per_grid.hex()}"


def exact_seconds(identifier: str, rounded: float, error: float = 1e-6) -> float:
    """The time step that `media_identifier` put into the name; the processor's where the name is not ours.

    `error` is how far the processor's may be off, relatively: vLLM hands it over in the model's dtype.
    """
    _, separator, digits = identifier.partition("@")
    if not separator:
        return rounded
    exact = float.fromhex(digits)
    if abs(exact - rounded) > error * abs(exact):
        raise ValueError(f"the processor found {rounded} seconds per grid, the video was loaded with {exact}")
    return exact

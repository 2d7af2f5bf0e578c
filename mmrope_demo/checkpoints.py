"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL checkpoints with random weights, built in seconds and offline.

The files are those of a published checkpoint (config, safetensors, tokenizer, chat template, processors), in the same
layout, so that vLLM and transformers load them without knowing. The language is bytes: 256 tokens, then Qwen's special
tokens in their own order. Two builds with the same arguments give identical bytes.

The weights are not initialised as for training. An untrained network with tied embeddings repeats its last token
whatever the positions are, which would hide every RoPE error; here the output matrix is independent of the embeddings
and `sharpness` sets how strongly attention depends on its scores, so a wrong rotation changes the next token.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mmrope_eval.errors import UserError
from mmrope_eval.models.families import BY_NAME
from mmrope_eval.models.family import VisionGeometry

Family = Literal["qwen2.5-vl", "qwen3-vl", "qwen2-vl"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCAB_SIZE = 256 + len(SPECIAL_TOKENS)

CHAT_TEMPLATE = """\
{%- macro render(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}
{%- for item in content -%}
{%- if item.type in ('image', 'image_url') -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif item.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif item.type == 'text' -%}{{ item.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if messages[0].role != 'system' and DEFAULT_SYSTEM -%}
{{ '<|im_start|>system\\n' + DEFAULT_SYSTEM + '<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def token_id(token: str) -> int:
    """Id of one of `SPECIAL_TOKENS` in these checkpoints."""
    return 256 + SPECIAL_TOKENS.index(token)


def build_checkpoint(
    family: Family,
    out: Path,
    *,
    seed: int = 0,
    num_layers: int = 2,
    num_heads: int | None = None,
    num_kv_heads: int = 8,
    head_dim: int = 32,
    vision_heads: int = 2,
    intermediate_size: int = 256,
    rope_theta: float = 100_000.0,
    sharpness: float = 1.5,
    tie_word_embeddings: bool = False,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    max_position_embeddings: int = 32_768,
    mm_rope: str | Mapping[str, Any] | None = None,
    old_names: bool = False,
) -> Path:
    """Write a tiny checkpoint into `out` (created if missing, its files overwritten) and return `out`.

    `num_heads` defaults to 16 for Qwen3-VL (grouped queries), to 8 for the others; `vision_heads` are of
    32 channels. `sharpness` is the standard deviation of attention scores and half that of the next token's logits.
    `mm_rope` becomes that key of config.json.
    `old_names` calls tensors as the published Qwen2-VL and Qwen2.5-VL files do (`model.layers`, `visual`), not as
    transformers does since 4.52 (`model.language_model.layers`, `model.visual`).
    Raises `UserError` for an unknown family or a shape that the family cannot have.
    """
    heads = num_heads or (2 * num_kv_heads if family == "qwen3-vl" else num_kv_heads)
    _check_shape(family, heads, num_kv_heads, head_dim, num_layers)
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 128 if family == "qwen3-vl" else heads * head_dim,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": num_kv_heads,
    }
    text = text_config(sizes, max_position_embeddings, rope_theta)
    config = _with(_CONFIGS[family](text, head_dim, tie_word_embeddings, dtype), family, vision_heads, mm_rope)
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "config.json", config)
    write_tokenizer(out)
    write_processor(family, out)
    _write_weights(config, out, seed=seed, sharpness=sharpness, dtype=dtype, old_names=old_names)
    return out


def _check_shape(family: str, heads: int, num_kv_heads: int, head_dim: int, num_layers: int) -> None:
    if family not in FAMILIES:
        raise UserError(f"unknown checkpoint family '{family}': give one of {', '.join(FAMILIES)}")
    if heads % num_kv_heads or head_dim % 16 or num_layers < 2:
        raise UserError(
            f"a tiny checkpoint cannot have {heads} query heads on {num_kv_heads} KV heads of size {head_dim} in "
            f"{num_layers} layers: heads must divide evenly, the size be a multiple of 16, and there must be two layers"
        )


def text_config(sizes: Mapping[str, int], max_position_embeddings: int, rope_theta: float) -> dict[str, Any]:
    """The language model's keys of config.json; `sizes` are those of its vocabulary, width, layers and heads."""
    return {
        **sizes,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": max_position_embeddings,
        "rope_theta": rope_theta,
        "bos_token_id": token_id("<|endoftext|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "use_cache": True,
    }


def _qwen2_config(text: dict[str, Any], head_dim: int, tied: bool, dtype: str) -> dict[str, Any]:
    """The flat layout of the published Qwen2-VL checkpoints, with their names of the vision encoder's keys."""
    record = BY_NAME["qwen2-vl"]
    spatial = head_dim * 3 // 16
    return {
        "architectures": [record.hf_class],
        "model_type": record.model_type,
        **text,
        **_media_token_ids(),
        "rope_scaling": {"type": "mrope", "mrope_section": [head_dim // 2 - 2 * spatial, spatial, spatial]},
        "sliding_window": text["max_position_embeddings"],
        "max_window_layers": text["num_hidden_layers"],
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "vision_config": {
            "depth": 2,
            "embed_dim": 64,
            "mlp_ratio": 4,
            "num_heads": 2,
            "in_chans": 3,
            "hidden_size": text["hidden_size"],
            **_patches(record.published),
            "spatial_patch_size": record.published.patch_size,
        },
    }


def qwen2_5_config(text: dict[str, Any], head_dim: int, tied: bool, dtype: str) -> dict[str, Any]:
    """The flat layout of the published Qwen2.5-VL checkpoints: text settings at the top level."""
    record = BY_NAME["qwen2.5-vl"]
    spatial = head_dim * 3 // 16
    return {
        "architectures": [record.hf_class],
        "model_type": record.model_type,
        **text,
        **_media_token_ids(),
        "rope_scaling": {"type": "mrope", "mrope_section": [head_dim // 2 - 2 * spatial, spatial, spatial]},
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "vision_config": {
            "model_type": record.model_type,
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "hidden_act": "silu",
            "in_channels": 3,
            **_patches(record.published),
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "out_hidden_size": text["hidden_size"],
        },
    }


def _qwen3_config(text: dict[str, Any], head_dim: int, tied: bool, dtype: str) -> dict[str, Any]:
    """The nested layout of the published Qwen3-VL checkpoints."""
    record = BY_NAME["qwen3-vl"]
    spatial = head_dim * 5 // 32
    section = [head_dim // 2 - 2 * spatial, spatial, spatial]
    return {
        "architectures": [record.hf_class],
        "model_type": record.model_type,
        **_media_token_ids(),
        "tie_word_embeddings": tied,
        "text_config": {
            "model_type": f"{record.model_type}_text",
            **text,
            "head_dim": head_dim,
            "attention_bias": False,
            "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": section},
            "tie_word_embeddings": tied,
            "dtype": dtype,
        },
        "vision_config": {
            "model_type": record.model_type,
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            **_patches(record.published),
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "out_hidden_size": text["hidden_size"],
        },
    }


_CONFIGS = {"qwen2-vl": _qwen2_config, "qwen2.5-vl": qwen2_5_config, "qwen3-vl": _qwen3_config}


def _with(
    config: Mapping[str, Any], family: Family, vision_heads: int, mm_rope: str | Mapping[str, Any] | None
) -> dict[str, Any]:
    """A configuration whose vision encoder has so many heads, with `mm_rope` where it is given."""
    width = "embed_dim" if family == "qwen2-vl" else "hidden_size"
    vision = {**config["vision_config"], "num_heads": vision_heads, width: 32 * vision_heads}
    named = {} if mm_rope is None else {"mm_rope": mm_rope if isinstance(mm_rope, str) else dict(mm_rope)}
    return {**config, "vision_config": vision, **named}


def _patches(geometry: VisionGeometry) -> dict[str, int]:
    return {
        "patch_size": geometry.patch_size,
        "spatial_merge_size": geometry.merge_size,
        "temporal_patch_size": geometry.temporal_patch_size,
    }


def _media_token_ids() -> dict[str, int]:
    return {
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }


def write_tokenizer(out: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json of the byte language."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    tokenizer.save(str(out / "tokenizer.json"))
    _write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
            "clean_up_tokenization_spaces": False,
            "model_max_length": 131_072,
        },
    )
    _write_json(
        out / "generation_config.json",
        {
            "do_sample": False,
            "eos_token_id": [token_id("<|im_end|>"), token_id("<|endoftext|>")],
            "pad_token_id": token_id("<|endoftext|>"),
        },
    )


def write_processor(family: Family, out: Path) -> None:
    """Write the image and video processor settings and the chat template of a family."""
    record, old = BY_NAME[family], family != "qwen3-vl"
    geometry = record.published
    cell = geometry.factor**2
    common = {
        "patch_size": geometry.patch_size,
        "temporal_patch_size": geometry.temporal_patch_size,
        "merge_size": geometry.merge_size,
        "image_mean": [0.48145466, 0.4578275, 0.40821073] if old else [0.5, 0.5, 0.5],
        "image_std": [0.26862954, 0.26130258, 0.27577711] if old else [0.5, 0.5, 0.5],
        "processor_class": record.hf_class.replace("ForConditionalGeneration", "Processor"),
    }
    system = "'You are a helpful assistant.'" if old else "none"
    template = f"{{%- set DEFAULT_SYSTEM = {system} -%}}\n" + CHAT_TEMPLATE
    image = {**common, "image_processor_type": record.image_processors[0]}
    if family == "qwen2-vl":
        # As published: limits as keys of their own, nothing about videos, the template in a JSON file.
        image |= {"min_pixels": 4 * cell, "max_pixels": 16_384 * cell}
        _write_json(out / "preprocessor_config.json", image)
        _write_json(out / "chat_template.json", {"chat_template": template})
        return
    image["size"] = {"shortest_edge": cell, "longest_edge": 16_384 * cell}
    _write_json(out / "preprocessor_config.json", image)
    # Qwen2.5-VL's video budget counts one frame's pixels, Qwen3-VL's those of all frames.
    _write_json(
        out / "video_preprocessor_config.json",
        {
            **common,
            "video_processor_type": record.video.processors[0],
            "cap_pixels_per_frame": False,
            "size": {"shortest_edge": cell, "longest_edge": (16_384 if old else 24_576) * cell},
        },
    )
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")


def _write_weights(
    config: dict[str, Any], out: Path, *, seed: int, sharpness: float, dtype: str, old_names: bool
) -> None:
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import save_file

    hf_config = transformers.AutoConfig.from_pretrained(out, local_files_only=True)
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(hf_config)
    tensors = {}
    for name, parameter in sorted(model.state_dict().items()):
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        mean, std = _distribution(name, tuple(parameter.shape), sharpness)
        # One stream a tensor: adding a layer leaves the others as they were.
        stream = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = mean + std * stream.standard_normal(tuple(parameter.shape), dtype=np.float32)
        if name == "lm_head.weight":
            # Greedy generation stays inside the byte language: no early end, no stray media placeholder.
            values[256:] *= 0.01
        if old_names:
            name = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        tensors[name] = torch.from_numpy(values.astype(np.float32)).to(getattr(torch, dtype))
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def _distribution(name: str, shape: tuple[int, ...], sharpness: float) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's entries, for activations of about unit variance throughout."""
    if name.endswith("lm_head.weight"):
        return 0.0, 2 * sharpness / math.sqrt(shape[1])
    if "embed_tokens" in name or "pos_embed" in name:
        return 0.0, 1.0
    if "q_norm" in name or "k_norm" in name:
        return math.sqrt(sharpness), 0.1
    if len(shape) == 1:
        return (1.0, 0.1) if "norm" in name and name.endswith("weight") else (0.0, 0.3)
    fan_in = math.prod(shape[1:])
    gain = math.sqrt(sharpness) if "q_proj" in name or "k_proj" in name else 1.0
    # Attention averages values away and a residual stream adds up: the outputs of attention are made to count.
    gain = 2.0 if "v_proj" in name or "o_proj" in name else gain
    return 0.0, gain / math.sqrt(fan_in)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

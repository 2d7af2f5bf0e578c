"""The tiny Qwen2.5-VL that the demo trains: its files before training, its parts while it trains, the
arithmetic of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mmrope_demo.checkpoints import qwen2_5_config, text_config, write_processor
from mmrope_demo.training import language
from mmrope_demo.training.recipe import FAMILY, SECTIONS, TIME, Shape, carried_policy
from mmrope_eval.media.policy import MEDIA_KEY
from mmrope_eval.rope import Variant, load_variant

if TYPE_CHECKING:
    from mmrope_eval.reference import ReferenceModel

START = "start.safetensors"
"""What every training of a recipe starts from, beside the checkpoints: the encoder, the connector, the words. It took
more minutes than a variant does, and another machine would not make it bit for bit: with the file, further variants
and seeds join those that were trained before."""


def demo_variant(name: str) -> Variant:
    """A variant as the demo's checkpoints have it."""
    section = {"mrope_section": list(SECTIONS[name])} if name in SECTIONS else {}
    return load_variant(name, **section, **({} if load_variant(name).time is None else {"time": TIME}))


def named_variant(name: str) -> str | dict[str, Any]:
    """The same as config.json says it."""
    variant = demo_variant(name)
    if name in SECTIONS:
        return variant.to_dict()
    return name if variant.time is None else {"name": name, "time": TIME}


def write_shell(out: Path, shape: Shape, words: Sequence[str], variant: str | None = None) -> Path:
    """Write everything of a checkpoint but its weights into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    sizes = {
        "vocab_size": language.vocabulary_size(words),
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_heads,
    }
    config = qwen2_5_config(text_config(sizes, 131_072, shape.rope_theta), shape.head_dim, True, "float32")
    config["vision_config"] |= {
        "hidden_size": shape.vision_hidden_size,
        "intermediate_size": shape.vision_intermediate_size,
        "depth": shape.vision_depth,
        "num_heads": shape.vision_heads,
    }
    config["initializer_range"] = config["vision_config"]["initializer_range"] = shape.initial
    if variant is not None:
        config["mm_rope"] = named_variant(variant)
        config[MEDIA_KEY] = carried_policy()
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_processor(FAMILY, out)
    language.write_language(out, words)
    return out


def new_model(shell: Path, variant: Variant, seed: int) -> ReferenceModel:
    """Random weights from `seed`, in training mode."""
    import transformers

    from mmrope_eval.reference import new_reference

    config = transformers.AutoConfig.from_pretrained(shell, local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return new_reference(config, variant, attention="eager")


def shared_part(reference: ReferenceModel) -> dict[str, torch.Tensor]:
    """Copies of what is no decoder: the vision encoder with its connector, and the word embeddings."""
    state: dict[str, torch.Tensor] = reference.model.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if ".visual." in name or ".embed_tokens." in name}


def save_checkpoint(reference: ReferenceModel, out: Path) -> None:
    """Weights as bfloat16 safetensors beside the shell's files; config.json asks for float32 arithmetic."""
    state: dict[str, Any] = reference.model.state_dict()
    tied = "lm_head.weight"
    tensors = {n: t.detach().to(torch.bfloat16).contiguous() for n, t in state.items() if n != tied}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


@cache
def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 on a GPU and on CPUs with AMX, which multiply in it some eight times as fast; else float32."""
    if torch.device(device).type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False):
        return torch.bfloat16
    return torch.float32


def products(device: torch.device | str = "cpu") -> torch.autocast:
    """A context in which matrix products are of `fast_dtype`; weights, norms, softmax and losses stay float32."""
    dtype = fast_dtype(device)
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def read_start(path: Path, key: str) -> dict[str, torch.Tensor] | None:
    """The tensors of a file written with the same key; None where there is none."""
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        if (file.metadata() or {}).get("key") != key:
            return None
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping


def write_start(path: Path, tensors: Mapping[str, torch.Tensor], key: str) -> None:
    """Write it in float32, unless it is there."""
    if read_start(path, key) is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt", "key": key}
        )

"""A LoRA adapter's folder, read and checked on its own: what it says about itself, and its tensors one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import read_json
from mmrope_eval.models.files import read_header
from mmrope_eval.models.tensors import WRAPPERS, canonical_name
from mmrope_eval.words import shown

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_LORA = re.compile(
    r"(?P<module>.+)\.(?P<kind>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(\.default)?(\.weight)?"
)
# Inside a name: what peft puts between a module and its parameters while it trains them.
_TRAINING = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")
# Keys of adapter_config.json that are honoured here or say nothing about the merged weights. Any other key that is set
# (tokens that switch the adapter on, quantised or block-diagonal variants, a later peft's inventions) is refused.
_UNDERSTOOD = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_core", "modules_to_save",
    "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config",
    "target_modules", "task_type", "use_dora", "use_rslora",
}  # fmt: skip
# All others (PiSSA, OLoRA, LoftQ, CorDA, LoRA-GA) change the base's own weights before training.
_INITIALISATIONS = (None, True, False, "gaussian", "eva", "orthogonal")
_CONVERT = ("python -c \"import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "
            "torch.load('adapter_model.bin', map_location='cpu', weights_only=True).items()}, "
            "'adapter_model.safetensors')\"")


@dataclass(frozen=True)
class Adapter:
    """An adapter folder; `describe` makes one."""

    path: Path
    base: str
    """The base model as adapter_config.json names it: a path or a name on the hub."""
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    """Ends of module names, or one regular expression."""
    config: Mapping[str, Any] = field(repr=False)
    """adapter_config.json, as written."""


@dataclass(frozen=True)
class Parts:
    """An adapter's tensors by the part that they play. Names are transformers' present ones, without wrappers."""

    lora: dict[str, dict[str, Any]]
    """Module -> lora_A, lora_B, ... -> tensor."""
    replaced: dict[str, Any]
    """Parameter -> the trained tensor that takes its place."""
    written: dict[str, str]
    """Module or parameter -> its name as written, for patterns and complaints."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter: its configuration, or its weights and no model's."""
    if (folder / CONFIG).is_file():
        return True
    weights = [path.name for kind in ("*.safetensors", "*.bin") for path in folder.glob(kind)]
    return any(name.startswith("adapter_model.") for name in weights) and not any(
        name.startswith(("model", "pytorch_model")) for name in weights
    )


def describe(folder: Path) -> Adapter:
    """What an adapter says about itself, without reading a tensor.

    Raises `UserError` for a file that is missing, damaged or pickled, and for what cannot be merged.
    """
    where = folder / CONFIG
    if not where.is_file():
        raise UserError(f"the adapter '{folder}' has no {CONFIG}: copy it from where the adapter was trained")
    config = read_json(where)
    if config.get("peft_type") not in (None, "LORA"):
        raise UserError(f"{where}: 'peft_type' is {config['peft_type']!r} and only 'LORA' can be merged here: merge "
                        "the adapter with peft's merge_and_unload() and give the folder that it saves")
    types: dict[str, tuple[type, ...]] = {
        "peft_type": (str,), "base_model_name_or_path": (str,), "r": (int,), "lora_alpha": (int, float),
        "target_modules": (str, list),
    }  # fmt: skip
    for name, kinds in types.items():
        value = config.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool) or not value or value in ("", []):
            what = "is missing" if value is None else f"cannot be {value!r}"
            of = config.get("base_model_name_or_path")
            adapter = f", a LoRA adapter of {shown(of)}, " if isinstance(of, str) and of else " "
            raise UserError(f"{where}{adapter}cannot be merged: '{name}' {what}; write there what it was trained with, "
                            "or merge it with peft's merge_and_unload()")  # fmt: skip
    _check_mergeable(where, config)
    _check_weights(folder)
    targets = config["target_modules"]
    return Adapter(path=folder, base=config["base_model_name_or_path"], rank=config["r"],
                   alpha=float(config["lora_alpha"]),
                   target_modules=(targets,) if isinstance(targets, str) else tuple(map(str, targets)), config=config)


def _check_mergeable(where: Path, config: Mapping[str, Any]) -> None:
    strange = sorted(name for name, value in config.items() if value and name not in _UNDERSTOOD)
    if strange:
        raise UserError(f"{where}: '{strange[0]}' is set, which cannot be merged here: merge the adapter with the peft "
                        "that trained it and give the folder that it saves")
    if config.get("init_lora_weights") not in _INITIALISATIONS:
        raise UserError(f"{where}: 'init_lora_weights' is {config['init_lora_weights']!r}, which changes the base's "
                        "own weights: save the adapter with path_initial_model_for_weight_conversion, which makes a "
                        "plain LoRA of it")


def _check_weights(folder: Path) -> None:
    if (folder / WEIGHTS).is_file():
        return
    if (folder / "adapter_model.bin").is_file():
        raise UserError(f"the adapter '{folder}' has adapter_model.bin, which can run code when it is loaded, and no "
                        f"{WEIGHTS}: convert it in that folder with {_CONVERT}")
    raise UserError(f"the adapter '{folder}' has no {WEIGHTS}: copy it from where the adapter was trained, or remove "
                    f"{CONFIG} if the folder holds a merged checkpoint")


def read_parts(adapter: Adapter) -> Parts:
    """The adapter's tensors, checked and sorted. Raises `UserError` naming the tensor that cannot be used."""
    where, parts = adapter.path / WEIGHTS, Parts({}, {}, {})
    for whole, tensor in _load(where).items():
        name = whole
        while wrapper := next((prefix for prefix in WRAPPERS if name.startswith(prefix)), None):
            name = name.removeprefix(wrapper)
        match = _LORA.fullmatch(name)
        name = match["module"] if match else _TRAINING.sub("", name)
        if not match and not _is_trained(adapter, name):
            raise UserError(f"{where}: tensor '{whole}' is no lora_A or lora_B and belongs to none of "
                            f"'modules_to_save' in {CONFIG}: save the adapter again without what is not part of it")
        # canonical_name knows a part of the network by the dot behind it.
        ours = canonical_name(f"{name}.").removesuffix(".")
        group = parts.lora.setdefault(ours, {}) if match else parts.replaced
        key = match["kind"] if match else ours
        if key in group:
            raise UserError(f"{where}: tensor '{whole}' is there under another name too: save the adapter again")
        group[key] = tensor
        parts.written[ours] = name
    return parts


def _load(where: Path) -> dict[str, Any]:
    from safetensors import safe_open

    header = read_header(where)
    if not header:
        raise UserError(f"{where} holds no tensor: save the adapter again")
    for name, info in header.items():
        if math.prod(info.shape) == 0:
            raise UserError(f"{where}: tensor '{name}' is empty, as DeepSpeed's ZeRO-3 leaves it: set "
                            "stage3_gather_16bit_weights_on_model_save and save the adapter again, or use its "
                            "zero_to_fp32.py")
    with safe_open(where, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in header}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{where}: tensor '{name}' holds nan or infinity: use an earlier save of the training")
    return tensors


def _is_trained(adapter: Adapter, name: str) -> bool:
    """Whether a tensor that is not LoRA's belongs to the adapter: a module trained whole, a bias, resized words."""
    module, _, last = name.rpartition(".")
    words = module.rpartition(".")[2] in ("embed_tokens", "lm_head")
    biases = last == "bias" and adapter.config.get("bias", "none") != "none"
    return words or biases or in_saved_module(adapter, name)


def in_saved_module(adapter: Adapter, name: str) -> bool:
    """Whether a parameter, by its written name, lies in one of `modules_to_save`; these are ends of module names."""
    ends = tuple(adapter.config.get("modules_to_save") or ())
    return any(name[: dot.start()].endswith(ends) for dot in re.finditer(r"\.", name))

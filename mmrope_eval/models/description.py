"""What a checkpoint holds, as plain facts for people and for JSON: nothing is loaded, and nothing is decided here."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final

from mmrope_eval.models.checkpoint import TOKENIZER_FILES, Checkpoint
from mmrope_eval.models.template import heeds, opens_thought, written_question
from mmrope_eval.models.tensors import HEAD, canonical_name, is_buffer
from mmrope_eval.util.row_names import training_run, training_step

_DTYPES: Final = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Floating types of a safetensors header, as config.json calls them."""
_OF_ADAPTERS: Final = ("base", "base_path", "rank", "alpha", "modules_to_save", "use_rslora")


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """The facts of one checkpoint, JSON-able."""
    family, template, path = checkpoint.family, checkpoint.template, checkpoint.path
    return {
        "family": {"name": family.name, "title": family.title, "model_type": family.model_type},
        "fingerprint": checkpoint.fingerprint or None,
        "rope": {
            "theta": checkpoint.rope_theta,
            "rotary_dim": checkpoint.rotary_dim,
            "mrope_section": None if checkpoint.rope.section is None else list(checkpoint.rope.section),
            "scaling": None if checkpoint.rope.scaling is None else dict(checkpoint.rope.scaling),
            "scaling_problem": checkpoint.rope.scaling_problem,
        },
        "network": {
            "layers": checkpoint.num_layers, "heads": checkpoint.num_heads, "kv_heads": checkpoint.num_kv_heads,
            "head_dim": checkpoint.head_dim, "max_position": checkpoint.max_position,
            "token_side": checkpoint.geometry.factor, "tokens_per_second": checkpoint.tokens_per_second,
            "dtype": checkpoint.dtype, "quantisation": checkpoint.quantisation,
        },
        "weights": _weights(checkpoint),
        "tokenizer": _tokenizer(checkpoint),
        "template": {
            "source": template.source,
            "sha256": hashlib.sha256(template.text.encode()).hexdigest(),
            "question": written_question(template, checkpoint.vocabulary.special),
            "opens_thought": opens_thought(template, checkpoint.vocabulary.special),
            "enable_thinking": [told for told in (True, False) if heeds(template, checkpoint.vocabulary.special, told)],
        },
        "ends": {"ids": list(checkpoint.eos_ids), "eos_token": checkpoint.vocabulary.special.get("eos_token")},
        "training": {"step": training_step(path), "run": training_run(path)},
        "adapter": None if checkpoint.adapter is None else {key: checkpoint.adapter.get(key) for key in _OF_ADAPTERS},
        "remarks": [*checkpoint.remarks, *_odd_weights(checkpoint)],
    }


def _weights(checkpoint: Checkpoint) -> dict[str, Any]:
    weights = checkpoint.weights
    # A copy of the word embeddings under the output matrix's name is no further parameter.
    counted = {name: tensor for name, tensor in weights.tensors.items()
               if not is_buffer(name) and not (checkpoint.tied and canonical_name(name) == HEAD)}  # fmt: skip
    return {
        "parameters": sum(math.prod(tensor.shape) for tensor in counted.values()),
        "bytes": checkpoint.weight_bytes,
        "files": [path.name for path in weights.files],
        "unused_files": [path.name for path in weights.others],
        "stored_as": sorted({_DTYPES.get(tensor.dtype, tensor.dtype) for tensor in counted.values()}),
        "tied": checkpoint.tied,
        "own_output_matrix": weights.named(HEAD) is not None,
        "read": bool(checkpoint.fingerprint),
    }


def _tokenizer(checkpoint: Checkpoint) -> dict[str, str]:
    paths = {name: checkpoint.served / name for name in TOKENIZER_FILES}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items() if path.is_file()}


def _odd_weights(checkpoint: Checkpoint) -> list[str]:
    stored = {_DTYPES[tensor.dtype] for tensor in checkpoint.weights.tensors.values() if tensor.dtype in _DTYPES}
    if checkpoint.quantisation is not None or stored == {checkpoint.dtype}:
        return []
    dtypes = ", ".join(sorted(stored))
    return [f"weights are stored as {dtypes}; config.json says {checkpoint.dtype}, in which they run"]

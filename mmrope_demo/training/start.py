"""What every training of a recipe starts from, as a file beside the checkpoints: the encoder, the connector, the words.

It took more minutes than a variant does, and another machine would not make it bit for bit: with the file, further
variants and seeds join those that were trained before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

START = "start.safetensors"


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

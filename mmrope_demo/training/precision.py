"""The arithmetic of a training: bfloat16 products where the processor has units for them, float32 elsewhere."""

from __future__ import annotations

from functools import cache

import torch


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

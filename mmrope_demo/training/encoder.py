"""The vision encoder as it is trained: stock weights, and forward passes that treat a batch of equal pictures at once.

transformers embeds patches by a 3D convolution and attends to one picture after another, which on a CPU takes most of
the time for pictures this small. Neither changes a result; a test compares them.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class LinearPatches(nn.Module):
    """Takes the place of the patch embedding: a convolution whose stride is its kernel is one matrix."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.proj = stock.proj

    def forward(self, patches: Tensor) -> Tensor:
        """(patches, 3 * 2 * 14 * 14) to (patches, hidden)."""
        return functional.linear(patches, self.proj.weight.flatten(1))


class EvenAttention(nn.Module):
    """Takes the place of a block's attention where all pictures have as many patches; keeps its projections."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = stock.qkv, stock.proj, stock.num_heads
        self.rotate = importlib.import_module(type(stock).__module__).apply_rotary_pos_emb_vision

    def forward(
        self, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> Tensor:
        """(patches, hidden) to (patches, hidden); every stretch between two `cu_seqlens` attends to itself alone.

        ValueError where the stretches differ in length.
        """
        lengths = cu_seqlens.diff()
        if (lengths != lengths[0]).any():
            raise ValueError(f"pictures of one batch must be of one size, not of {lengths.unique().tolist()} patches")
        q, k, v = self.qkv(hidden_states).unflatten(1, (3, self.heads, -1)).unbind(1)
        q, k = self.rotate(q, k, *position_embeddings)
        q, k, v = (x.unflatten(0, (len(lengths), -1)).transpose(1, 2) for x in (q, k, v))
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1, dtype=torch.float32).to(v.dtype)
        mixed: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(hidden_states.shape))
        return mixed


def make_even(visual: Any) -> None:
    """Exchange the modules of a Qwen2.5-VL encoder in place. Names and values of its parameters stay."""
    visual.patch_embed = LinearPatches(visual.patch_embed)
    for block in visual.blocks:
        block.attn = EvenAttention(block.attn)

"""Rounding where vLLM rounds, for comparing half-precision answers with the engine's to the letter.

transformers rounds the result of every operation to the model's dtype. vLLM's fused kernels round later: a residual sum
enters the next norm as it is, and is rounded only for the residual stream; attention rounds exp(score - maximum) and
divides by the sum of what was not rounded, as flash attention does. Either is as near to float32 as the other; the
modules here make a transformers model do as vLLM does. In float32 they change nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmrope_eval.errors import UserError
from mmrope_eval.models.families import FAMILIES, family_of_config
from mmrope_eval.reference.modules import Replacement

Rounding = Literal["transformers", "vllm"]


class FusedNorm(Replacement):
    """An RMS norm of sums in float32; its result is in the weights' dtype."""

    def forward(self, total: Tensor) -> Tensor:
        """(..., hidden) to (..., hidden)."""
        total = total.float()
        normed = total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + self.stock.variance_epsilon)
        weight: Tensor = self.stock.weight
        return weight * normed.to(weight.dtype)


class FusedLayer(Replacement):
    """A decoder layer that hands on its residual sum in float32, for the next norm to take as it is."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        self.before_attention = FusedNorm(stock.input_layernorm)
        self.before_mlp = FusedNorm(stock.post_attention_layernorm)

    def forward(self, total: Tensor, **settings: Any) -> Tensor:
        """(b, n, hidden), the first in the model's dtype, to float32 (b, n, hidden)."""
        normed = self.before_attention(total)
        attended, _ = self.stock.self_attn(hidden_states=normed, **settings)
        total = attended.float() + total.to(normed.dtype).float()
        mixed: Tensor = self.stock.mlp(self.before_mlp(total))
        return mixed.float() + total.to(normed.dtype).float()


class PatchProduct(Replacement):
    """The patch embedding as a matrix product instead of a convolution, which adds up in another order."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(patches, values of a patch) to (patches, hidden)."""
        weight: Tensor = self.stock.proj.weight
        return nn.functional.linear(pixels.to(weight.dtype), weight.flatten(1))


class FusedVisionBlock(Replacement):
    """A block of Qwen2.5-VL's vision encoder: only the sum in its middle goes to a norm as it is."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        self.before_mlp = FusedNorm(stock.norm2)

    def forward(self, hidden_states: Tensor, **settings: Any) -> Tensor:
        """(patches, hidden) to (patches, hidden), both in the model's dtype."""
        attended = self.stock.attn(self.stock.norm1(hidden_states), **settings)
        total = attended.float() + hidden_states.float()
        mixed = self.stock.mlp(self.before_mlp(total))
        summed: Tensor = total.to(hidden_states.dtype) + mixed
        return summed


def round_as_vllm(model: Any) -> None:
    """Exchange layers and blocks of a model that has a variant inside. Raises `UserError` for a family whose network
    the modules here are not written for."""
    family = family_of_config(model.config)
    if not family.fused_rounding:
        titles = ", ".join(other.title for other in FAMILIES if other.fused_rounding)
        raise UserError(f"rounding as vLLM does is written for {titles}, not for '{family.model_type}'")
    decoder, encoder = model.model.language_model, model.model.visual
    for index, layer in enumerate(decoder.layers):
        layer.self_attn.attention = "flash"
        decoder.layers[index] = FusedLayer(layer)
    decoder.norm = FusedNorm(decoder.norm)
    encoder.patch_embed = PatchProduct(encoder.patch_embed)
    for index, block in enumerate(encoder.blocks):
        encoder.blocks[index] = FusedVisionBlock(block)

"""The two modules that put a variant into a stock transformers model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmrope_eval.rope import RotaryTable
from mmrope_eval.rope.kernels import rotate_oracle

Attention = Literal["sdpa", "eager"]
"""PyTorch's fused attention, or plain matmul and softmax (faster to train with on a CPU, in bfloat16 above all)."""

Observer = Callable[[int, Tensor, Tensor, Tensor | None], None]
"""Is shown a layer's index, its rotated queries (b, heads, n, d) and keys (b, kv heads, m, d), and the mask."""


class VariantRotary(nn.Module):
    """Takes the place of transformers' rotary module: coordinates in, cos and sin for every KV head out."""

    def __init__(self, table: RotaryTable) -> None:
        super().__init__()
        self.table = table

    @torch.no_grad()
    def forward(self, hidden_states: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 (b * n, num_kv_heads, pairs), of coordinates (3, b, n)."""
        cos, sin = self.table.cos_sin(position_ids.reshape(3, -1))
        return cos.transpose(0, 1).contiguous(), sin.transpose(0, 1).contiguous()


class Replacement(nn.Module):
    """Takes the place of a module of transformers, whose weights it keeps."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.stock = stock


class WideHead(Replacement):
    """Takes the place of the output matrix in a half-precision model: the same weights, logits in float32."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(b, n, hidden) to float32 (b, n, vocabulary)."""
        weight: Tensor = self.stock.weight
        return nn.functional.linear(hidden_states.float(), weight.float())


class VariantAttention(nn.Module):
    """Takes the place of a decoder layer's self-attention and keeps its projections (and, in Qwen3-VL, its norms)."""

    def __init__(self, stock: Any, layer_idx: int, head_dim: int, attention: Attention) -> None:
        super().__init__()
        self.layer_idx, self.head_dim = layer_idx, head_dim
        self.attention: Attention | Literal["flash"] = attention
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = stock.q_proj, stock.k_proj, stock.v_proj, stock.o_proj
        self.q_norm: nn.Module = getattr(stock, "q_norm", nn.Identity())
        self.k_norm: nn.Module = getattr(stock, "k_norm", nn.Identity())
        self.observer: Observer | None = None

    def forward(self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor],
                attention_mask: Tensor | None = None, past_key_values: Any = None, **_: Any) -> tuple[Tensor, None]:
        """(b, n, hidden) to (b, n, hidden); the mask is transformers' (additive, boolean, or None for plain causal)."""
        b, n, _hidden = hidden_states.shape
        split = (b, n, -1, self.head_dim)
        q = self.q_norm(self.q_proj(hidden_states).view(split)).view(b * n, -1)
        k = self.k_norm(self.k_proj(hidden_states).view(split)).view(b * n, -1)
        q, k = rotate_oracle(q, k, *position_embeddings)
        q, k = q.view(split).transpose(1, 2), k.view(split).transpose(1, 2)
        v = self.v_proj(hidden_states).view(split).transpose(1, 2)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        if self.observer is not None:
            self.observer(self.layer_idx, q, k, attention_mask)
        attend = {"sdpa": attend_fused, "eager": attend_plainly, "flash": attend_as_flash}[self.attention]
        mixed = attend(q, k, v, attention_mask)
        return self.o_proj(mixed.transpose(1, 2).reshape(b, n, -1)), None


def attend_fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of queries (b, heads, n, d) to keys and values (b, kv heads, m, d) by PyTorch's fused function."""
    return nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None and q.shape[2] > 1, enable_gqa=q.shape[1] != k.shape[1]
    )


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attend as `attend_fused` does, by matmul and a softmax in float32."""
    weights = attention_weights(q, k, mask).to(q.dtype)
    mixed: Tensor = weights.reshape(q.shape[0], k.shape[1], -1, *weights.shape[2:]) @ v.unsqueeze(2)
    return mixed.reshape(q.shape)


def attend_as_flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attend as `attend_fused` does and round as flash attention rounds: exp(score - maximum), its sum in float32."""
    scores = masked_scores(q.float(), k.float(), mask)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    mixed: Tensor = weights.to(q.dtype).float() @ v.float().unsqueeze(2) / weights.sum(-1, keepdim=True)
    return mixed.to(q.dtype).reshape(q.shape)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """The weights (b, heads, n, m) themselves, in float32; every row adds up to 1."""
    weights: Tensor = masked_scores(q, k, mask).softmax(-1, dtype=torch.float32)
    return weights.reshape(*q.shape[:3], -1)


def masked_scores(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled scores (b, kv heads, group, n, m), minus infinity where a query must not look."""
    b, _, n, d = q.shape
    grouped = q.reshape(b, k.shape[1], -1, n, d)
    scores: Tensor = grouped @ k.unsqueeze(2).transpose(-1, -2) * d**-0.5
    if mask is None and n > 1:
        mask = torch.ones(n, k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - n)[None, None]
    if mask is not None:
        mask = mask.unsqueeze(2)
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores

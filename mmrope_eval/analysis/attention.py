"""How much attention visual tokens get, layer by layer (arXiv 2510.23095, table 5).

Weights are computed explicitly from each layer's own rotated queries and keys; the forward pass itself is unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrope_eval.errors import UserError
from mmrope_eval.reference.model import ReferenceModel
from mmrope_eval.reference.modules import Observer, attention_weights
from mmrope_eval.reference.prompts import Prompt
from mmrope_eval.rope import Vision

CHUNK = 2**26
"""Attention weights held at once (float32)."""


@dataclass(frozen=True)
class VisualAttention:
    """Shares of attention on the visual tokens of one prompt, mean over heads; float64 (layers,), between 0 and 1."""

    text: NDArray[np.float64]
    """Mean over the text tokens after the first visual token."""
    last: NDArray[np.float64]
    """Of the prompt's last token, which predicts the first token of the answer."""
    even_text: float
    even_last: float
    """Shares under even attention: visual tokens among all that the row sees."""


@torch.no_grad()
def visual_attention(reference: ReferenceModel, prompt: Prompt, chunk: int = CHUNK) -> VisualAttention:
    """Measure one prompt under the reference's present variant, with `chunk` attention weights held at once.

    UserError where it holds no image or video.
    """
    segments = prompt.segments
    is_vision = torch.from_numpy(np.repeat([isinstance(s, Vision) for s in segments], [s.n for s in segments]))
    if not is_vision.any():
        raise UserError("a prompt without image or video has no attention on visual tokens: choose another task")
    rows = torch.arange(len(is_vision))[~is_vision & (is_vision.cumsum(0) > 0)]
    shares: dict[int, Tensor] = {}

    def observe(layer: int, q: Tensor, k: Tensor, mask: Tensor | None) -> None:
        shares[layer] = row_shares(q, k, mask, rows.to(q.device), is_vision.to(q.device), chunk).mean(0)

    with observed(reference, observe):
        reference.forward(reference.collate([prompt]), logits_to_keep=1)
    shares_by_layer = torch.stack([shares[layer] for layer in sorted(shares)]).cpu().numpy()
    even = (is_vision.cumsum(0) / torch.arange(1, len(is_vision) + 1))[rows].double().numpy()
    return VisualAttention(shares_by_layer.mean(1), shares_by_layer[:, -1], float(even.mean()), float(even[-1]))


def row_shares(q: Tensor, k: Tensor, mask: Tensor | None, rows: Tensor, columns: Tensor, chunk: int = CHUNK) -> Tensor:
    """The share of attention that each of `rows` (r,) gives to `columns` (m,), true where counted.

    float64 (heads, r), of one sequence without a cache; `mask` as in `VariantAttention`.
    """
    heads, length = q.shape[1], k.shape[2]
    parts = []
    for part in rows.split(max(chunk // (heads * length), 1)):
        visible = torch.arange(length, device=q.device) <= part[:, None] if mask is None else mask[0, 0, part]
        weights = attention_weights(q[:, :, part], k, visible[None, None])
        parts.append(weights[0, :, :, columns].double().sum(-1))
    return torch.cat(parts, dim=1)


@contextmanager
def observed(reference: ReferenceModel, observer: Observer) -> Iterator[None]:
    """Show every layer's queries and keys to `observer` while the block runs."""
    layers = [layer.self_attn for layer in reference.model.model.language_model.layers]
    for layer in layers:
        layer.observer = observer
    try:
        yield
    finally:
        for layer in layers:
            layer.observer = None

"""The rotary table: which axis and which frequency every rotary pair of every KV head uses, in one model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.rope.frequencies import AxisMap, DealtAllocation, FrequencyAllocation
from mmrope_eval.rope.parameters import VariantError
from mmrope_eval.rope.scaling import ContextScaling


@dataclass(frozen=True, eq=False)
class RotaryTable:
    """All that rotation needs to know of a variant.

    Pair `i` of KV head `k` turns by ``p[axis[k, i]] * inv_freq[k, i]`` for a token at `p`; query heads use the row of
    their KV head. Both arrays have shape (num_kv_heads, rotary pairs).
    """

    axis: NDArray[np.int8]
    inv_freq: NDArray[np.float32]
    attention_factor: float = 1.0

    @cached_property
    def distinct_rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of the rows that differ, and for every KV head which of them is its own."""
        key = np.concatenate((self.axis.astype(np.float32), self.inv_freq), axis=1)
        _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
        return first, inverse.reshape(-1)

    def cos_sin(self, positions: Any) -> tuple[Any, Any]:
        """cos and sin, float32 (num_kv_heads, n, pairs), of positions (3, n); torch in, torch out, numpy otherwise.

        Positions become float32 first and the angle is a float32 product, as in the published implementation.
        """
        import torch

        is_torch = isinstance(positions, torch.Tensor)
        p = positions if is_torch else torch.from_numpy(np.asarray(positions, dtype=np.float64))
        p = p.to(torch.float32)
        first, inverse = self.distinct_rows
        axis = torch.from_numpy(self.axis[first].astype(np.int64)).to(p.device)
        inv_freq = torch.from_numpy(np.where(self.axis[first] < 0, 0, self.inv_freq[first])).to(p.device)
        angle = p[axis.clamp(min=0)].permute(0, 2, 1) * inv_freq[:, None, :]
        rows = torch.from_numpy(inverse).to(p.device)
        cos, sin = ((f(angle) * self.attention_factor)[rows] for f in (torch.cos, torch.sin))
        return (cos, sin) if is_torch else (cos.numpy(), sin.numpy())


def axis_map(allocation: FrequencyAllocation, rotary_dim: int, num_kv_heads: int) -> AxisMap:
    """int8 (num_kv_heads, rotary_dim / 2), the axes of one model's pairs. Raises `VariantError` for a misfit."""
    if rotary_dim < 4 or rotary_dim % 2 or num_kv_heads < 1:
        raise VariantError("a rotary table needs an even rotary_dim of at least 4 and at least one KV head, not "
                           f"{rotary_dim} and {num_kv_heads}: check head_dim, partial_rotary_factor and "
                           "num_key_value_heads of the checkpoint's config")
    return allocation.axis_map(rotary_dim // 2, num_kv_heads)


def build_table(allocation: FrequencyAllocation, scaling: ContextScaling, *, rotary_dim: int, num_kv_heads: int,
                rope_theta: float) -> RotaryTable:
    """The table of one model under one allocation and scaling. Raises `VariantError`."""
    axis = axis_map(allocation, rotary_dim, num_kv_heads)
    inv_freq = np.tile(scaling.inv_freq(rope_theta, rotary_dim), (num_kv_heads, 1))
    if isinstance(allocation, DealtAllocation) and allocation.spatial_rope_theta is not None:
        spatial = np.tile(scaling.inv_freq(allocation.spatial_rope_theta, rotary_dim), (num_kv_heads, 1))
        inv_freq = np.where(axis >= 1, spatial, inv_freq)
    if allocation.log_freq_scale != 1.0:
        inv_freq = np.exp(np.log(inv_freq) / np.float32(allocation.log_freq_scale)).astype(np.float32)
    return RotaryTable(axis, np.ascontiguousarray(inv_freq), scaling.cos_sin_factor)

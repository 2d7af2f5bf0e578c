"""The one rotary module that all layers of a language model share: cos and sin once per step, and the rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmrope_eval.rope.encoding import PositionCodec
from mmrope_eval.rope.kernels import CosSinPlan, rotate

if TYPE_CHECKING:
    from mmrope_eval.rope import RotaryTable


def kv_head_rows(num_kv_heads: int, rank: int, size: int) -> slice:
    """Which rows of a table belong to one tensor-parallel rank.

    With more ranks than KV heads, vLLM replicates each head over `size // num_kv_heads` neighbouring ranks.
    """
    if num_kv_heads >= size:
        share = num_kv_heads // size
        return slice(rank * share, (rank + 1) * share)
    head = rank // (size // num_kv_heads)
    return slice(head, head + 1)


class SharedRotary(torch.nn.Module):
    """Holds cos and sin of the step's tokens, float32 (max_tokens, KV heads of this rank, pairs).

    `captured` says that the step may be replayed from a CUDA graph: then every tensor that a table decides is
    overwritten in place and has one row for each KV head, so a replay sees the table of now. `full_rows` keeps the
    buffers' strides fixed, which compiled layers rely on. The tensors are plain attributes, not buffers: vLLM's weight
    reloading must not touch them.
    """

    def __init__(self, rows: int, pairs: int, max_tokens: int, codec: PositionCodec, *, full_rows: bool,
                 captured: bool) -> None:
        super().__init__()
        self.codec = codec
        self._full_rows = full_rows or captured
        self._captured = captured
        self._cos = torch.ones(max_tokens, rows, pairs, dtype=torch.float32)
        self._sin = torch.zeros(max_tokens, rows, pairs, dtype=torch.float32)
        self.cos, self.sin = self._cos, self._sin
        self._plan: CosSinPlan | None = None
        self._axis = torch.zeros(rows * pairs, dtype=torch.int64, device=self._cos.device)
        self._freq = torch.zeros(rows * pairs, dtype=torch.float32, device=self._cos.device)
        self._factor = torch.ones((), dtype=torch.float32, device=self._cos.device)
        self._reset = torch.zeros((), dtype=torch.int64, device=self._cos.device)
        self._may_reset = captured

    def set_table(self, table: RotaryTable, *, text_spatial_reset: bool = False) -> None:
        """Use this table, already cut down to the KV heads of this rank, from the next step on.

        Under `text_spatial_reset` generated tokens, known by their mark, sit at zero on the spatial axes.
        """
        self._reset.fill_(int(text_spatial_reset))
        self._may_reset = self._captured or text_spatial_reset
        plan = CosSinPlan.build(table.axis, table.inv_freq, table.attention_factor, self._cos.device)
        if self._captured:
            axis = plan.pair_axis.unflatten(0, (-1, plan.pairs))[plan.row_of]
            freq = plan.pair_freq.unflatten(0, (-1, plan.pairs))[plan.row_of]
            self._axis.copy_(axis.flatten())
            self._freq.copy_(freq.flatten())
            self._factor.fill_(plan.attention_factor)
            return
        self._plan = plan
        rows = self._cos.shape[1]
        shared = plan.distinct == 1 and not self._full_rows
        self.cos = self._cos[:, :1].expand(-1, rows, -1) if shared else self._cos
        self.sin = self._sin[:, :1].expand(-1, rows, -1) if shared else self._sin

    def fill(self, encoded: torch.Tensor) -> None:
        """Decode the step's positions, int32 or int64 (3, n), and compute cos and sin of its first n tokens."""
        n = encoded.shape[-1]
        positions = self.codec.decode(encoded)
        if self._may_reset:
            marks = self.codec.marks(encoded) & self._reset
            positions[0] -= marks[0] * 2.0**-self.codec.fraction_bits
            positions[1:] *= 1 - marks[1:]
        cos, sin = self.cos[:n], self.sin[:n]
        if self._captured:
            angle = positions.t().index_select(1, self._axis).mul_(self._freq).unflatten(1, cos.shape[1:])
            torch.mul(angle.cos(), self._factor, out=cos)
            torch.mul(angle.sin(), self._factor, out=sin)
        elif self._plan is not None:
            self._plan.fill(positions, cos, sin)

    def forward(self, positions: torch.Tensor, query: torch.Tensor,
                key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotate by the cos and sin of this step; `positions` was read by `fill`. Arguments may be overwritten."""
        n = query.shape[0]
        return rotate(query, key, self.cos[:n], self.sin[:n])

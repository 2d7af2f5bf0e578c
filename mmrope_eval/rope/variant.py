"""A variant is data: a position design, a frequency allocation and a context scaling; its rotary table
says which axis and which frequency every rotary pair of every KV head uses, in one model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.rope.frequencies import AxisMap, DealtAllocation, FrequencyAllocation, SingleAllocation
from mmrope_eval.rope.parameters import VariantError
from mmrope_eval.rope.positions import FlatLayout, Floats, PositionDesign, positions
from mmrope_eval.rope.scaling import ContextScaling, NoScaling
from mmrope_eval.rope.sections import SECTIONS, WORDS, read_definition
from mmrope_eval.rope.segments import Segment


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


@dataclass(frozen=True)
class Variant:
    """A multimodal RoPE: everything that decides positions and frequencies, and nothing else."""

    name: str
    position: PositionDesign = field(default_factory=FlatLayout)
    frequency: FrequencyAllocation = field(default_factory=SingleAllocation)
    scaling: ContextScaling = field(default_factory=NoScaling)
    summary: str = ""
    source: str = ""

    def positions(self, segments: Iterable[Segment]) -> tuple[Floats, float]:
        """float64 (3, n) coordinates in the order t, h, w, and delta: the next token sits at n + delta on all axes."""
        return positions(self.position, segments)

    def table(self, head_dim: int, num_kv_heads: int, rope_theta: float, *,
              rotary_dim: int | None = None) -> RotaryTable:
        """The rotary table for one model; `rotary_dim` < `head_dim` leaves the other channels alone (partial rotary).

        Raises `VariantError` where the variant does not fit the model: sections that do not add up, too few KV heads.
        """
        return build_table(self.frequency, self.scaling, rotary_dim=rotary_dim or head_dim, num_kv_heads=num_kv_heads,
                           rope_theta=rope_theta)

    def check_fit(self, rotary_dim: int, num_kv_heads: int) -> None:
        """Raises the `VariantError` that `table` would, without the table, which needs torch."""
        axis_map(self.frequency, rotary_dim, num_kv_heads)

    @property
    def time(self) -> str | None:
        """What frames are counted in, ``index`` or ``seconds``; None for a layout that knows no frames."""
        return getattr(self.position, "time", None)

    def to_dict(self) -> dict[str, Any]:
        """The full definition, JSON-able, with the parameters that are read; `from_dict` reads it back."""
        words = {key: getattr(self, key) for key in WORDS}
        return {**words, **{section.name: getattr(self, section.name).model_dump(mode="json") for section in SECTIONS}}

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any]) -> Variant:
        """Read a definition: a YAML file's content, `to_dict`'s, or the flat one of version 0.2's manifests.

        Raises `VariantError` naming the bad key.
        """
        return cls(**read_definition(definition))

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides a rotation; the name, the summary and the source are words only."""
        flat = {section.name: section.flat(getattr(self, section.name)) for section in SECTIONS}
        return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()

    @property
    def timeless_fingerprint(self) -> str:
        """The fingerprint without `time`, which decides nothing where no clock is read: on text and pictures, and on
        the videos of families that carry no seconds. It is what versions without `time` called the fingerprint."""
        if self.time is None:
            return self.fingerprint
        return replace(self, position=self.position.model_copy(update={"time": "seconds"})).fingerprint

"""The numbers of a model that its rotary table depends on, and whose they are where nobody names a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mmrope_eval.rope.parameters import VariantError
from mmrope_eval.rope.variant import RotaryTable, Variant


@dataclass(frozen=True)
class Geometry:
    """The numbers of a model that its rotary table depends on."""

    head_dim: int
    num_kv_heads: int
    rope_theta: float
    rotary_dim: int | None = None

    def table(self, variant: Variant) -> RotaryTable:
        """The variant's table for this model. Raises `VariantError` where it does not fit."""
        return variant.table(self.head_dim, self.num_kv_heads, self.rope_theta, rotary_dim=self.rotary_dim)


DEFAULT_GEOMETRY: Final = Geometry(head_dim=128, num_kv_heads=4, rope_theta=1e6)
"""Qwen2.5-VL-7B's, and so that of the paper's models, which have the same language model."""


def fit_heads(variant: Variant, geometry: Geometry) -> Geometry:
    """The geometry, with more KV heads where the variant hands out whole heads and more than there are."""
    try:
        geometry.table(variant)
    except VariantError:
        frequency = variant.frequency
        if frequency.allocation != "heads" or sum(frequency.mrope_section) <= geometry.num_kv_heads:
            raise
        return replace(geometry, num_kv_heads=sum(frequency.mrope_section))
    return geometry

"""The science: positions, rotary tables, their encoding and kernels, by numpy, torch, pydantic and yaml alone.

The kernels, their layers and the encoding of positions can be imported where there is no pydantic.

v = load_variant("mrope-i", temporal_stride=1.0)
positions, delta = v.positions([Text(12), Vision(t=1, h=9, w=7), Text(20)])
cos, sin = v.table(head_dim=128, num_kv_heads=8, rope_theta=1e6).cos_sin(positions)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrope_eval.rope.frequencies import FrequencyAllocation
    from mmrope_eval.rope.parameters import VariantError
    from mmrope_eval.rope.positions import PositionDesign
    from mmrope_eval.rope.read_variant import (
        beside,
        changed_parameters,
        described,
        load_variant,
        load_variant_beside,
        split_model_arguments,
        variant_aliases,
        variant_name,
        variant_names,
        variants_dir,
    )
    from mmrope_eval.rope.scaling import ContextScaling
    from mmrope_eval.rope.segments import LayoutError, MediaSpan, Segment, Text, Vision, segments_from_tokens
    from mmrope_eval.rope.variant import RotaryTable, Variant

__all__ = [
    "ContextScaling", "FrequencyAllocation", "LayoutError", "MediaSpan", "PositionDesign", "RotaryTable", "Segment",
    "Text", "Variant", "VariantError", "Vision", "beside", "changed_parameters", "described", "load_variant",
    "load_variant_beside", "segments_from_tokens", "split_model_arguments", "variant_aliases", "variant_name",
    "variant_names", "variants_dir",
]  # fmt: skip

_HOMES = {
    "frequencies": ("FrequencyAllocation",),
    "parameters": ("VariantError",),
    "positions": ("PositionDesign",),
    "read_variant": ("beside", "changed_parameters", "described", "load_variant", "load_variant_beside",
                     "split_model_arguments", "variant_aliases", "variant_name", "variant_names", "variants_dir"),
    "scaling": ("ContextScaling",),
    "segments": ("LayoutError", "MediaSpan", "Segment", "Text", "Vision", "segments_from_tokens"),
    "variant": ("RotaryTable", "Variant"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, from its module when it is first used: the kernels need torch alone, and no pydantic."""
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'mmrope_eval.rope' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

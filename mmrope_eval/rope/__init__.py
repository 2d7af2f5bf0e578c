"""The science: positions, rotary tables, their encoding and kernels. Imports numpy, torch and pydantic only.

v = load_variant("mrope-i", temporal_stride=1.0)
positions, delta = v.positions([Text(12), Vision(t=1, h=9, w=7), Text(20)])
cos, sin = v.table(head_dim=128, num_kv_heads=8, rope_theta=1e6).cos_sin(positions)
"""

from mmrope_eval.rope.frequencies import FrequencyAllocation
from mmrope_eval.rope.parameters import VariantError
from mmrope_eval.rope.positions import PositionDesign
from mmrope_eval.rope.read_variant import (
    beside,
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
from mmrope_eval.rope.table import RotaryTable
from mmrope_eval.rope.variant import Variant

__all__ = [
    "ContextScaling",
    "FrequencyAllocation",
    "LayoutError",
    "MediaSpan",
    "PositionDesign",
    "RotaryTable",
    "Segment",
    "Text",
    "Variant",
    "VariantError",
    "Vision",
    "beside",
    "load_variant",
    "load_variant_beside",
    "segments_from_tokens",
    "split_model_arguments",
    "variant_aliases",
    "variant_name",
    "variant_names",
    "variants_dir",
]

"""A variant inside Hugging Face transformers: the oracle of the engine, and what trains the demo checkpoints.

Two modules of a stock Qwen2-VL, Qwen2.5-VL or Qwen3-VL model are exchanged, on the instance and nowhere else: its
rotary module, by one that turns coordinates (3, batch, n) into the variant's cos and sin for every KV head, and every
decoder layer's self-attention, by one that keeps the layer's own projections and rotates with those. Coordinates always
come from `Variant.positions`; transformers' own are never used (after a video they can be wrong, but Qwen3-VL's).
Everything else, the vision encoder included, is transformers'.

Plain and differentiable: no kernel, no encoding of positions as integers, no paging. What the engine does cleverly is
compared with what this does simply.
"""

from mmrope_eval.reference.model import Batch, ReferenceModel, Score, load_reference, new_reference
from mmrope_eval.reference.modules import (
    Attention,
    VariantAttention,
    VariantRotary,
    attend_as_flash,
    attend_fused,
    attend_plainly,
)
from mmrope_eval.reference.prompts import Prompt, text_prompt
from mmrope_eval.reference.rounding import Rounding

__all__ = ["Attention", "Batch", "Prompt", "ReferenceModel", "Rounding", "Score", "VariantAttention", "VariantRotary",
           "attend_as_flash", "attend_fused", "attend_plainly", "load_reference", "new_reference", "text_prompt"]

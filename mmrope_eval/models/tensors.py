"""Names and shapes of the tensors that a network needs, in transformers' present naming.

`model.language_model.`, `model.visual.` and `lm_head.`; what older transformers and other tools wrote is translated by
`canonical_name`. The shapes are those of one layer after another, so that a missing, empty or foreign tensor can be
named before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmrope_eval.models.config import TextConfig, VisionConfig

Shapes = dict[str, tuple[int, ...]]

DECODER = "model.language_model."
VISION = "model.visual."
HEAD = "lm_head.weight"
EMBEDDING = f"{DECODER}embed_tokens.weight"

# In order; the first prefix that fits is replaced. A Qwen2-VL of transformers 4.45 has `model.layers` and `visual`, one
# of 4.52 and later `model.language_model` and `model.visual`; vLLM's own dumps have `language_model.model`.
_PREFIXES = (
    ("model.language_model.", DECODER), ("model.visual.", VISION), ("visual.", VISION),
    ("language_model.model.", DECODER), ("language_model.lm_head.", "lm_head."), ("lm_head.", "lm_head."),
    ("model.", DECODER),
)

WRAPPERS = ("module.", "_orig_mod.", "base_model.model.", "base_model.", "_fsdp_wrapped_module.", "_forward_module.")
"""Prefixes of what wraps a model while it is trained: DDP, torch.compile, peft, FSDP, DeepSpeed."""


def canonical_name(name: str) -> str:
    """A tensor's name in transformers' present naming; a name of no known generation is returned as it is."""
    for prefix, ours in _PREFIXES:
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name


def shape_words(shape: tuple[int, ...] | None) -> str:
    """A tensor's shape for messages; None: there is no such tensor."""
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a scalar"


def is_buffer(name: str) -> bool:
    """Whether a tensor is one that every network computes for itself, kept by some writers."""
    return name.endswith(("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", "rotary_emb.cos_cached",
                          "rotary_emb.sin_cached"))  # fmt: skip


def linear(name: str, out: int, width: int, *, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A linear layer's weight (out, width) and, if it has one, its bias (out,)."""
    yield f"{name}.weight", (out, width)
    if bias:
        yield f"{name}.bias", (out,)


def norm(name: str, width: int, *, bias: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A norm's weight (width,), and a LayerNorm's bias."""
    yield f"{name}.weight", (width,)
    if bias:
        yield f"{name}.bias", (width,)


def decoder_tensors(text: TextConfig, *, qkv_bias: bool, out_bias: bool, qk_norm: bool) -> Shapes:
    """The language model, embeddings and output matrix included."""
    width, queries, keys = text.hidden_size, text.num_attention_heads * text.head_size, text.kv_heads * text.head_size
    shapes: Shapes = {EMBEDDING: (text.vocab_size, width)}
    for layer in range(text.num_hidden_layers):
        name = f"{DECODER}layers.{layer}"
        shapes |= dict(linear(f"{name}.self_attn.q_proj", queries, width, bias=qkv_bias))
        shapes |= dict(linear(f"{name}.self_attn.k_proj", keys, width, bias=qkv_bias))
        shapes |= dict(linear(f"{name}.self_attn.v_proj", keys, width, bias=qkv_bias))
        shapes |= dict(linear(f"{name}.self_attn.o_proj", width, queries, bias=out_bias))
        if qk_norm:
            shapes |= dict(norm(f"{name}.self_attn.q_norm", text.head_size))
            shapes |= dict(norm(f"{name}.self_attn.k_norm", text.head_size))
        shapes |= dict(linear(f"{name}.mlp.gate_proj", text.intermediate_size, width, bias=False))
        shapes |= dict(linear(f"{name}.mlp.up_proj", text.intermediate_size, width, bias=False))
        shapes |= dict(linear(f"{name}.mlp.down_proj", width, text.intermediate_size, bias=False))
        shapes |= dict(norm(f"{name}.input_layernorm", width)) | dict(norm(f"{name}.post_attention_layernorm", width))
    shapes |= dict(norm(f"{DECODER}norm", width))
    shapes[HEAD] = (text.vocab_size, width)
    return shapes


def encoder_tensors(vision: VisionConfig, mlp: Mapping[str, tuple[int, int]], *, norm_bias: bool) -> Shapes:
    """A vision encoder's patch embedding and blocks: two norms, attention, and `mlp`, layer -> (out, width)."""
    width = vision.width
    patch = (vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size)
    shapes: Shapes = {f"{VISION}patch_embed.proj.weight": (width, *patch)}
    layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    layers |= {f"mlp.{name}": sides for name, sides in mlp.items()}
    for block in range(vision.depth):
        name = f"{VISION}blocks.{block}"
        for number in (1, 2):
            shapes |= dict(norm(f"{name}.norm{number}", width, bias=norm_bias))
        for layer, (out, inside) in layers.items():
            shapes |= dict(linear(f"{name}.{layer}", out, inside, bias=True))
    return shapes

"""The tensors that a config.json implies are those of transformers' own network, name by name and shape by shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from pydantic_core import PydanticUndefined

from mmrope_eval.models.config import TextConfig, parse_part, text_part
from mmrope_eval.models.families import FAMILIES, family_of
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.models.tensors import HEAD, Shapes, canonical_name

Config = Mapping[str, Any]

SMALL_TEXT = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 4,
              "num_key_value_heads": 2, "max_position_embeddings": 512}  # fmt: skip


def flat(model_type: str, vision: Config, **text: Any) -> dict[str, Any]:
    return {"model_type": model_type, **SMALL_TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            **text, "vision_config": dict(vision)}  # fmt: skip


def nested(model_type: str, vision: Config, tied: bool = False, **text: Any) -> dict[str, Any]:
    inner = {"model_type": f"{model_type}_text", **SMALL_TEXT, **text}
    return {"model_type": model_type, "tie_word_embeddings": tied, "text_config": inner, "vision_config": dict(vision)}


OLD = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 4, "mlp_ratio": 4}
MIDDLE = {"depth": 2, "hidden_size": 32, "intermediate_size": 40, "num_heads": 4, "out_hidden_size": 64}
NEW = {"depth": 3, "hidden_size": 32, "intermediate_size": 40, "num_heads": 4, "out_hidden_size": 64,
       "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 2]}  # fmt: skip

SMALL = {
    "qwen2": flat("qwen2_vl", OLD),
    "qwen2-tied": flat("qwen2_vl", OLD, tie_word_embeddings=True),
    "qwen2-nested": nested("qwen2_vl", OLD),
    "qwen2-ratio": flat("qwen2_vl", {**OLD, "mlp_ratio": 2, "depth": 5, "hidden_act": "quick_gelu"}),
    "qwen2-patches": flat("qwen2_vl", {**OLD, "patch_size": 8, "temporal_patch_size": 1, "spatial_merge_size": 3}),
    "qwen2.5": flat("qwen2_5_vl", MIDDLE),
    "qwen2.5-tied": flat("qwen2_5_vl", MIDDLE, tie_word_embeddings=True),
    "qwen2.5-nested-tied": nested("qwen2_5_vl", MIDDLE, tied=True),
    "qwen2.5-one-kv-head": flat("qwen2_5_vl", MIDDLE, num_key_value_heads=1),
    "qwen2.5-as-many-kv-heads": nested("qwen2_5_vl", MIDDLE, num_key_value_heads=None),
    "qwen2.5-deep": flat("qwen2_5_vl", {**MIDDLE, "depth": 7}, num_hidden_layers=11),
    "qwen2.5-patches": flat("qwen2_5_vl", {**MIDDLE, "patch_size": 10, "in_channels": 1, "spatial_merge_size": 4}),
    "qwen3": nested("qwen3_vl", NEW, head_dim=16),
    "qwen3-tied": nested("qwen3_vl", NEW, tied=True, head_dim=16),
    "qwen3-attention-bias": nested("qwen3_vl", NEW, head_dim=16, attention_bias=True),
    "qwen3-wide-heads": nested("qwen3_vl", NEW, head_dim=48),
    "qwen3-head-of-128-unsaid": nested("qwen3_vl", NEW),
    "qwen3-no-deepstack": nested("qwen3_vl", {**NEW, "deepstack_visual_indexes": []}, head_dim=16),
    "qwen3-one-deepstack": nested("qwen3_vl", {**NEW, "deepstack_visual_indexes": [1]}, head_dim=16),
    "qwen3-merge-3": nested("qwen3_vl", {**NEW, "spatial_merge_size": 3}, head_dim=16, num_key_value_heads=4),
}

BIG_EYE = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
TALL_EYE = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "patch_size": 14,
            "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2}  # fmt: skip
SECTION = {"type": "mrope", "mrope_section": [16, 24, 24]}

# As the hub has them; what does not bear on shapes is left out.
PUBLISHED = {
    "Qwen2-VL-2B": {
        "model_type": "qwen2_vl", "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
        "num_hidden_layers": 28, "num_key_value_heads": 2, "tie_word_embeddings": True, "vocab_size": 151936,
        "rope_scaling": SECTION, "vision_config": {**TALL_EYE, "hidden_size": 1536},
    },
    "Qwen2-VL-7B": {
        "model_type": "qwen2_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "tie_word_embeddings": False, "vocab_size": 152064,
        "rope_scaling": SECTION, "vision_config": {**TALL_EYE, "hidden_size": 3584},
    },
    "Qwen2.5-VL-3B": {
        "model_type": "qwen2_5_vl", "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
        "num_hidden_layers": 36, "num_key_value_heads": 2, "tie_word_embeddings": True, "vocab_size": 151936,
        "rope_scaling": SECTION, "vision_config": {**BIG_EYE, "out_hidden_size": 2048},
    },
    "Qwen2.5-VL-7B": {
        "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "tie_word_embeddings": False, "vocab_size": 152064,
        "rope_scaling": SECTION, "vision_config": {**BIG_EYE, "out_hidden_size": 3584},
    },
    "Qwen3-VL-4B": {
        "model_type": "qwen3_vl", "tie_word_embeddings": True,
        "text_config": {"attention_bias": False, "head_dim": 128, "hidden_size": 2560, "intermediate_size": 9728,
                        "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
                        "vocab_size": 151936},
        "vision_config": {"deepstack_visual_indexes": [5, 11, 17], "depth": 24, "hidden_size": 1024,
                          "intermediate_size": 4096, "num_heads": 16, "num_position_embeddings": 2304,
                          "out_hidden_size": 2560, "patch_size": 16},
    },
    "Qwen3-VL-8B": {
        "model_type": "qwen3_vl", "tie_word_embeddings": False,
        "text_config": {"attention_bias": False, "head_dim": 128, "hidden_size": 4096, "intermediate_size": 12288,
                        "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
                        "vocab_size": 151936},
        "vision_config": {"deepstack_visual_indexes": [8, 16, 24], "depth": 27, "hidden_size": 1152,
                          "intermediate_size": 4304, "num_heads": 16, "num_position_embeddings": 2304,
                          "out_hidden_size": 4096, "patch_size": 16},
    },
}  # fmt: skip


def of_transformers(config: Config) -> tuple[Shapes, set[str]]:
    """All tensors of transformers' network, made without memory, and those that its files leave out where tied."""
    family = family_of(config["model_type"], "here")
    with torch.device("meta"):
        model = getattr(transformers, family.hf_class)(transformers.AutoConfig.for_model(**config))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return shapes, set(model.all_tied_weights_keys)


def of_ours(config: Config) -> Shapes:
    family = family_of(config["model_type"], "here")
    text = parse_part(family.text, text_part(config), "here")
    vision = parse_part(family.vision, config["vision_config"], "here")
    assert text.problem() is None
    assert vision.problem(text) is None
    return family.tensors(text, vision)


@pytest.mark.parametrize("config", [*SMALL.values(), *PUBLISHED.values()], ids=[*SMALL, *PUBLISHED])
def test_names_and_shapes_are_those_of_transformers(config: dict[str, Any]) -> None:
    theirs, tied = of_transformers(config)
    assert of_ours(config) == theirs
    assert tied <= {HEAD}, "a tied output matrix is the one tensor that files may leave out"
    assert all(canonical_name(name) == name for name in theirs)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_absent_key_means_what_transformers_takes(family: ModelFamily) -> None:
    whole = getattr(transformers, family.hf_class).config_class
    for ours, theirs in (
        (family.text, whole.sub_configs["text_config"]()),
        (family.vision, whole.sub_configs["vision_config"]()),
    ):
        compared = 0
        for name, field in ours.model_fields.items():
            assert field.default is not PydanticUndefined, f"{name} has no default"
            if name == "head_dim" and issubclass(ours, TextConfig) and not ours.own_head_size:
                assert not hasattr(theirs, name), "these families know no such key"
                continue
            wanted = getattr(theirs, name, None)
            assert wanted is not None or field.default is None, name
            assert field.default == (list(wanted) if isinstance(wanted, tuple) else wanted), name
            compared += 1
        assert compared >= 7


def test_a_layer_more_is_as_many_tensors_more() -> None:
    base = SMALL["qwen2.5"]
    layers = [len(of_ours({**base, "num_hidden_layers": n})) for n in (2, 3, 4)]
    assert layers[2] - layers[1] == layers[1] - layers[0] == 12


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("model.layers.0.mlp.up_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight"),
        ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
        ("model.norm.weight", "model.language_model.norm.weight"),
        ("visual.merger.mlp.0.bias", "model.visual.merger.mlp.0.bias"),
        (
            "language_model.model.layers.1.self_attn.q_norm.weight",
            "model.language_model.layers.1.self_attn.q_norm.weight",
        ),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("model.visual.pos_embed.weight", "model.visual.pos_embed.weight"),
        ("transformer.wte.weight", "transformer.wte.weight"),
        ("module.model.layers.0.mlp.up_proj.weight", "module.model.layers.0.mlp.up_proj.weight"),
    ],
)
def test_names_of_every_generation_become_the_present_ones(written: str, canonical: str) -> None:
    assert canonical_name(written) == canonical
    assert canonical_name(canonical) == canonical


@pytest.mark.parametrize(
    ("family", "change", "named"),
    [
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen2.5", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("qwen2.5", {"num_attention_heads": 6, "num_key_value_heads": 2}, "hidden_size"),
        ("qwen2.5", {"head_dim": 32}, "head_dim"),
        ("qwen2.5", {"num_attention_heads": 64, "num_key_value_heads": 2}, "head_dim"),
        ("qwen2.5", {"num_attention_heads": 128, "num_key_value_heads": 2}, "num_attention_heads"),
        ("qwen3", {"head_dim": 15}, "head_dim"),
        ("qwen2.5", {"hidden_size": 128}, "hidden_size"),
        ("qwen2", {"hidden_size": 128}, "hidden_size"),
        ("qwen2.5", {"vision": {"num_heads": 3}}, "num_heads"),
        ("qwen2.5", {"vision": {"num_heads": 16}}, "num_heads"),
        ("qwen2.5", {"vision": {"window_size": 27}}, "window_size"),
        ("qwen3", {"vision": {"deepstack_visual_indexes": [0, 3]}}, "deepstack_visual_indexes"),
        ("qwen3", {"vision": {"deepstack_visual_indexes": [-1]}}, "deepstack_visual_indexes"),
        ("qwen3", {"vision": {"deepstack_visual_indexes": [1, 1]}}, "deepstack_visual_indexes"),
        ("qwen3", {"vision": {"deepstack_visual_indexes": [0, 1, 2]}}, "deepstack_visual_indexes"),
    ],
)
def test_numbers_that_make_no_network_are_named(family: str, change: dict[str, Any], named: str) -> None:
    config = SMALL[family]
    kind = family_of(config["model_type"], "here")
    change = dict(change)
    eye = {**config["vision_config"], **change.pop("vision", {})}
    text: TextConfig = parse_part(kind.text, {**text_part(config), **change}, "here")
    problem = text.problem() or parse_part(kind.vision, eye, "here").problem(text)
    assert problem is not None
    assert named in problem

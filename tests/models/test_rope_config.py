"""What a config.json says about rotation, as anybody writes it: which variant follows, or which question is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.errors import UserError
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.rope_config import RopeConfig
from mmrope_eval.models.variant_choice import VariantChoice, named_in_path, resolve_variant
from mmrope_eval.rope import Variant, VariantError, load_variant, variant_names

OLD, NEW = "qwen2.5-vl", "qwen3-vl"
Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A checkpoint with keys at the top of config.json and, where `text` is given, in a text_config of its own."""

    def folder(
        family: str, top: dict[str, Any], text: dict[str, Any] | None = None, name: str = "ck", **vision: Any
    ) -> Path:
        made = copies.copy(copies.tiny(family), tmp_path / name)

        def change(config: dict[str, Any]) -> None:
            if text is not None and "text_config" not in config:
                inner = {k: v for k, v in config.items() if k not in ("vision_config", "architectures", "mm_rope")}
                config["text_config"] = {**inner, "model_type": f"{config['model_type']}_text"}
            for part, keys in (
                (config, top),
                (config.get("text_config", {}), text or {}),
                (config["vision_config"], vision),
            ):
                for key, value in keys.items():
                    part.pop(key, None)
                    if value is not None:
                        part[key] = value

        copies.edit(made / "config.json", change)
        return made

    return folder


def chosen(folder: Path, requested: str | None = None, **overrides: Any) -> VariantChoice:
    return resolve_variant(read_checkpoint(folder), requested, overrides)


def refusal(folder: Path, requested: str | None = None, **overrides: Any) -> str:
    with pytest.raises(UserError) as caught:
        chosen(folder, requested, **overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "config.json" in sentence or folder.name in sentence
    return sentence


# ------------------------------------------------------------------------------------------------ keys that name one


@pytest.mark.parametrize(
    ("top", "text", "variant", "key"),
    [
        ({"mm_rope": "hope"}, None, load_variant("hope"), "mm_rope"),
        ({}, {"mm_rope": "hope"}, load_variant("hope"), "mm_rope of text_config"),
        ({"mm_rope": "hope"}, {"mm_rope": "hope"}, load_variant("hope"), "mm_rope"),
        ({"mm_rope": "hope"}, {"mm_rope": {"name": "hope"}}, load_variant("hope"), "mm_rope"),
        ({"mm_rope": "HoPE"}, {"mm_rope": "hope"}, load_variant("hope"), "mm_rope"),
        ({"mm_rope": "MRoPE-I"}, None, load_variant("mrope-i"), "mm_rope"),
        ({"mm_rope": "VideoRoPE"}, None, load_variant("videorope"), "mm_rope"),
        ({"mm_rope": "CIRCLEROPE"}, None, load_variant("circlerope"), "mm_rope"),
        ({"mm_rope": {"name": "v2pe", "visual_stride": 4.0}}, None, load_variant("v2pe", visual_stride=4.0), "mm_rope"),
        ({"circle_rope": {"alpha": 0.5, "radius": 10, "method": "circle", "move_to_origin": True}}, None,
         load_variant({"name": "circlerope", "alpha": 0.5, "radius": 10, "method": "circle", "move_to_origin": True}),
         "circle_rope"),
        ({"circle_rope": {"alpha": 0.5, "radius": 10, "AGE_mode": None}}, None,
         load_variant({"name": "circlerope", "alpha": 0.5, "radius": 10, "move_to_origin": False}), "circle_rope"),
        ({}, {"circle_rope": {"alpha": 0.5, "radius": 10}},
         load_variant({"name": "circlerope", "alpha": 0.5, "radius": 10, "move_to_origin": False}),
         "circle_rope of text_config"),
        ({"rope_pos_id_version": "default", "rope_pos_id_stride": 64}, None, load_variant("vanilla"),
         "rope_pos_id_version"),
        ({"rope_pos_id_version": "default"}, None, load_variant("vanilla"), "rope_pos_id_version"),
        ({"rope_pos_id_version": "v2pe_fix", "rope_pos_id_stride": 64}, None, load_variant("v2pe", visual_stride=64.0),
         "rope_pos_id_version"),
        ({"rope_pos_id_version": "v2pe_rnd", "rope_pos_id_stride": 16}, None, load_variant("v2pe", visual_stride=16.0),
         "rope_pos_id_version"),
        # Ours decides, so a stranger beside it asks nothing.
        ({"mm_rope": "mrope-interleave"}, None, load_variant("qwen3-vl"), "mm_rope"),
        ({"mm_rope": "vanilla_rope"}, None, load_variant("vanilla"), "mm_rope"),
        ({"mm_rope": {"name": "mrope-interleave", "dim": 16, "base": 100000}}, None, load_variant("qwen3-vl"),
         "mm_rope"),
        ({"mm_rope": {"name": "hope", "num_key_value_heads": 1}}, None, load_variant("hope"), "mm_rope"),
        ({"mm_rope": "hope", "which_rope": "hope"}, None, load_variant("hope"), "mm_rope"),
        ({"mm_rope": "circlerope", "architectures": ["Qwen2_5_VLForConditionalGeneration_CircleRoPE"]}, None,
         load_variant("circlerope"), "mm_rope"),
    ],
)  # fmt: skip
def test_a_key_that_names_a_variant_decides(
    make: Make, top: dict[str, Any], text: dict[str, Any] | None, variant: Variant, key: str
) -> None:
    choice = chosen(make(OLD, top, text))
    assert choice.variant.fingerprint == variant.fingerprint
    assert choice.how == f"config.json ({key})"
    assert not choice.assumed


@pytest.mark.parametrize(("family", "stock"), [(OLD, "qwen2.5-vl"), (NEW, "qwen3-vl"), ("qwen2-vl", "mrope")])
def test_without_a_key_the_model_type_decides_and_that_is_said(make: Make, family: str, stock: str) -> None:
    choice = chosen(make(family, {}))
    assert choice.assumed
    assert choice.how.startswith("model type (")
    assert choice.variant.fingerprint == load_variant(stock).fingerprint or "mrope_section" in choice.how


@given(name=st.sampled_from(sorted(variant_names())), upper=st.integers(0, 2**12))
def test_names_are_read_in_any_case(name: str, upper: int) -> None:
    spelled = "".join(c.upper() if upper >> i & 1 else c for i, c in enumerate(name))
    assert load_variant(spelled).fingerprint == load_variant(name).fingerprint


QUESTIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any], str]] = {
    "two-variants": (OLD, {"mm_rope": "hope"}, {"mm_rope": "mrope"}, {}, "names two variants: 'hope' at mm_rope of"),
    "two-parameters": (OLD, {"mm_rope": {"name": "v2pe", "visual_stride": 2.0}}, {"mm_rope": "v2pe"}, {}, "names two"),
    "two-keys": (OLD, {"mm_rope": "hope", "circle_rope": {"radius": 10, "alpha": 0.5}}, None, {}, "names two"),
    "circle-with-other-numbers": (
        OLD, {"mm_rope": "circlerope", "circle_rope": {"radius": 3, "alpha": 0.1}}, None, {}, "names two variants"
    ),
    "another-head": (
        OLD, {"mm_rope": {"name": "mrope-interleave", "dim": 128}}, None, {},
        "whose head_dim is 128, and this one's is 16",
    ),
    "another-base": (
        OLD, {"mm_rope": {"name": "hope", "base": 10}}, None, {}, "whose rope_theta is 10, and this one's is 100000"
    ),
    "another-number-of-heads": (
        OLD, {}, {"mm_rope": {"name": "mhrope", "num_key_value_heads": 4}}, {}, "mm_rope of text_config is for a model"
    ),
    "no-number": (OLD, {"mm_rope": {"name": "hope", "dim": "wide"}}, None, {}, "dim must be a positive whole number"),
    "number": (OLD, {"mm_rope": 3}, None, {}, "mm_rope of the top: it must be a variant's name or a mapping, not 3"),
    "list": (OLD, {"mm_rope": ["hope"]}, None, {}, r"must be a variant's name or a mapping, not \['hope'\]"),
    "true": (OLD, {}, {"mm_rope": True}, {}, "mm_rope of text_config: it must be a variant's name"),
    "circle-by-layers": (OLD, {"circle_rope": {"radius": 10, "AGE_mode": "strategy_4"}}, None, {},
                         "circle_rope.*AGE_mode 'strategy_4'"),
    "circle-by-another-key": (OLD, {"circle_rope": {"radius": 10, "spin": 1}}, None, {}, "circle_rope of the top:"),
    "circle-as-text": (OLD, {"circle_rope": "circle"}, None, {}, "circle_rope of the top: it must be a mapping"),
    "v2pe-without-stride": (OLD, {"rope_pos_id_version": "v2pe_fix"}, None, {}, "needs rope_pos_id_stride.*--variant"),
    "v2pe-stride-as-text": (OLD, {"rope_pos_id_version": "v2pe_fix", "rope_pos_id_stride": "64"}, None, {}, "needs "
                                                                                                            "rope_pos_id"),
    "v2pe-stride-infinite": (OLD, {"rope_pos_id_version": "v2pe_fix", "rope_pos_id_stride": 1e999}, None, {}, "needs "
                                                                                                              "rope_pos_id"),
    "v2pe-unknown": (OLD, {"rope_pos_id_version": "v3pe"}, None, {}, "'v3pe' is none of default"),
    "stride-alone": (OLD, {"rope_pos_id_stride": 64}, None, {}, "'rope_pos_id_stride': 64 at the top"),
    "which-rope": (OLD, {"which_rope": "videorope", "scale_factor": 2.0}, None, {}, "'which_rope':"),
    "which-rope-nested": (OLD, {}, {"which_rope": "m_rope"}, {}, "'which_rope': 'm_rope' at text_config"),
    "which-rope-new-family": (NEW, {}, {"which_rope": "mhrope"}, {}, "'which_rope': 'mhrope' at"),
    "rope-type-of-somebody": (OLD, {"use_3d_rope": True}, None, {}, "'use_3d_rope': True"),
    "a-switch-that-is-off": (OLD, {"use_3d_rope": False}, None, {}, "'use_3d_rope': False"),
    "mixed-case": (OLD, {"myRoPEMode": 1}, None, {}, "'myRoPEMode': 1"),
    "rotary": (OLD, {"rotary_emb_base": 1}, None, {}, "'rotary_emb_base'"),
    "in-the-encoder": (OLD, {}, None, {"rope_scale": 2}, "'rope_scale': 2 at vision_config"),
    "section-at-the-top": (OLD, {"mrope_section": [4, 2, 2]}, None, {}, "'mrope_section'"),
    "interleaved-at-the-top": (OLD, {"mrope_interleaved": True}, None, {}, "'mrope_interleaved': True at the top"),
    "in-the-parameters": (
        OLD, {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3], "spatial_reset": True}}, None, {},
        "'spatial_reset': True at rope_scaling of the top"
    ),
    "named-in-the-parameters": (
        OLD, {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3], "mm_rope": "hope"}}, None, {},
        r"'mm_rope': 'hope' at rope_scaling of the top.*--variant hope"
    ),
    "circle-class": (OLD, {"architectures": ["Qwen2_5_VLForConditionalGeneration_CircleRoPE"]}, None, {}, "class "
                                                                                                          "'Qwen2_5.*Circle"),
    "class-as-text": (OLD, {"architectures": "MyModel"}, None, {}, "names the class 'MyModel'"),
    "two-classes": (
        OLD, {"architectures": ["Qwen2_5_VLForConditionalGeneration", "Mine"]}, None, {}, "names the class 'Mine'"
    ),
    "interleaved-in-the-old": (
        OLD, {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3], "mrope_interleaved": True}}, None, {},
        "mrope_interleaved: true at rope_scaling.*--variant qwen3-vl.*--variant qwen2.5-vl"
    ),
    "chunked-in-the-new": (
        NEW, {}, {"rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": False}}, {},
        "mrope_interleaved: false.*--variant mrope.*--variant qwen3-vl"
    ),
    "interleaved-as-text": (
        OLD, {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3], "mrope_interleaved": "no"}}, None, {},
        "mrope_interleaved at rope_scaling of the top must be true or false, not 'no'"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("family", "top", "text", "vision", "sentence"), QUESTIONS.values(), ids=QUESTIONS)
def test_what_is_not_clear_is_asked_and_answered_with_variant(
    make: Make, family: str, top: dict[str, Any], text: dict[str, Any] | None, vision: dict[str, Any], sentence: str
) -> None:
    folder = make(family, top, text, **vision)
    message = refusal(folder)
    assert re.search(sentence, message), message
    assert message.endswith("say which variant it was trained with, --variant NAME")
    choice = chosen(folder, "hope")
    assert (choice.variant.fingerprint, choice.how) == (load_variant("hope").fingerprint, "--variant")


@pytest.mark.parametrize(
    "spec", ["hopee", "", "no/such.yaml", {"name": "hope", "speed": 1}, {"name": 4}, {},
             {"name": "v2pe", "visual_stride": "a"},
             {"position": {"layout": "none"}}, {"name": "hope", "dim": "x"}, "x\ny"],
)  # fmt: skip
def test_a_variant_that_there_is_not_is_refused_with_its_key(make: Make, spec: Any) -> None:
    message = refusal(make(OLD, {"mm_rope": spec}))
    assert "mm_rope" in message
    assert "--variant" in message


@pytest.mark.parametrize(
    ("family", "top", "text", "vision"),
    [
        (OLD, {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3], "mrope_interleaved": False}}, None, {}),
        (
            NEW,
            {},
            {"rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}},
            {},
        ),
        (OLD, {"properties": 1, "property": "x", "European": 2, "which_rope": None}, None, {}),
        (OLD, {}, None, {"rope_theta": 10000.0}),
        (OLD, {}, None, {"rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0}}),
        (OLD, {"architectures": ["MMRopeQwen2_5_VLForConditionalGeneration"]}, None, {}),
        (OLD, {"architectures": None}, None, {}),
        (OLD, {"auto_map": {"AutoModel": "modeling_x.X"}}, None, {}),
        (OLD, {"mm_rope": None}, {"mm_rope": None}, {}),
    ],
)
def test_what_says_nothing_new_asks_nothing(
    make: Make, family: str, top: dict[str, Any], text: dict[str, Any] | None, vision: dict[str, Any]
) -> None:
    assert chosen(make(family, top, text, **vision)).assumed


def test_the_command_line_decides_over_everything(make: Make) -> None:
    folder = make(OLD, {"mm_rope": "hope"})
    assert chosen(folder, "v2pe").variant.fingerprint == load_variant("v2pe").fingerprint
    assert (
        chosen(folder, None, temporal_stride=0.5).variant.fingerprint
        == load_variant("hope", temporal_stride=0.5).fingerprint
    )
    with pytest.raises(VariantError):
        chosen(folder, "nothing")


def test_a_section_of_its_own_belongs_to_the_stock_variant_only(make: Make) -> None:
    scaling = {"type": "mrope", "mrope_section": [4, 2, 2]}
    choice = chosen(make(OLD, {"rope_scaling": scaling}))
    assert choice.variant.fingerprint == load_variant("qwen2.5-vl", mrope_section=[4, 2, 2]).fingerprint
    assert "mrope_section [4, 2, 2] of config.json" in choice.how
    named = chosen(make(OLD, {"rope_scaling": scaling, "mm_rope": "hope"}, name="named"))
    assert named.variant.fingerprint == load_variant("hope").fingerprint


@pytest.mark.parametrize("section", [[1, 2], [2, 3, 3.0], "236", [2, -3, 9], [True, 3, 3], {"t": 2}])
def test_a_section_that_is_none_is_refused(make: Make, section: Any) -> None:
    assert "mrope_section must be three counts" in refusal(
        make(OLD, {"rope_scaling": {"type": "mrope", "mrope_section": section}})
    )


# ----------------------------------------------------------------------------------------------------------- numbers


def rope(folder: Path) -> RopeConfig:
    return read_checkpoint(folder).rope


@pytest.mark.parametrize(
    ("family", "top", "text"),
    [
        (OLD, {"rope_theta": 777.0}, None),
        (OLD, {"rope_theta": 777}, None),
        (OLD, {"rope_theta": 777.0}, {"rope_theta": 777.0}),
        (OLD, {"rope_theta": None}, {"rope_theta": 777.0}),
        (OLD, {"rope_theta": 777.0}, {"rope_theta": None}),
        (OLD, {"rope_theta": None, "rope_scaling": None},
         {"rope_theta": None, "rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 777.0}}),
        (NEW, {}, {"rope_theta": None, "rope_parameters": {"rope_theta": 777.0, "rope_type": "default"}}),
        (NEW, {"rope_theta": 777.0}, {"rope_theta": None}),
    ],
)  # fmt: skip
def test_the_base_is_found_wherever_a_writer_puts_it(
    make: Make, family: str, top: dict[str, Any], text: dict[str, Any] | None
) -> None:
    assert rope(make(family, top, text)).theta == 777.0


@pytest.mark.parametrize(
    ("top", "text", "sentence"),
    [
        ({"rope_theta": 777.0}, {"rope_theta": 50.0}, "two copies of rope_theta that disagree: 777.0 at the top and "
                                                      "50.0 at text"),
        ({"rope_parameters": {"rope_theta": 5.0}}, None, "two copies of rope_theta.*rope_parameters of the top"),
        ({}, {"rope_parameters": {"rope_theta": 5.0}}, "two copies of rope_theta.*rope_parameters of text_config"),
        ({"rope_scaling": {"rope_theta": 5.0}}, None, "two copies of rope_theta.*rope_scaling of the top"),
        ({"rope_theta": None}, None, "has no rope_theta"),
        ({"rope_theta": "1000000"}, None, "rope_theta must be a number above one, not '1000000'"),
        ({"rope_theta": True}, None, "must be a number above one"),
        ({"rope_theta": 0}, None, "must be a number above one"),
        ({"rope_theta": 1}, None, "must be a number above one"),
        ({"rope_theta": -1e6}, None, "must be a number above one"),
        ({"rope_theta": float("inf")}, None, "must be a number above one"),
        ({"rope_theta": float("nan")}, None, "must be a number above one"),
        ({"rope_theta": 10**400}, None, "must be a number above one"),
        ({"rope_theta": [1e6]}, None, "must be a number above one"),
        ({"partial_rotary_factor": 0.5, "rope_parameters": {"partial_rotary_factor": 0.25}}, None,
         "partial_rotary_factor that dis"),
        ({"partial_rotary_factor": 0.5}, {"partial_rotary_factor": 1.0}, "two copies of partial_rotary_factor"),
        ({"partial_rotary_factor": 0}, None, "share between 0 and 1"),
        ({"partial_rotary_factor": 1.5}, None, "share between 0 and 1"),
        ({"partial_rotary_factor": "half"}, None, "share between 0 and 1"),
        ({"partial_rotary_factor": 0.07}, None, "rotates 1, which are no pairs"),
        ({"partial_rotary_factor": 1e-300}, None, "rotates 0, which are no pairs"),
        ({"rope_scaling": "yarn"}, None, "rope_scaling of the top must be a mapping, not 'yarn'"),
        ({"rope_scaling": ["yarn"]}, None, "rope_scaling of the top must be a mapping"),
        ({}, {"rope_parameters": 4}, "rope_parameters of text_config must be a mapping"),
        ({"rope_scaling": {"mrope_section": [2, 3, 3]}}, {"rope_scaling": {"mrope_section": [4, 2, 2]}}, "copies of"),
    ],
)  # fmt: skip
def test_numbers_that_disagree_or_cannot_be_are_refused(
    make: Make, top: dict[str, Any], text: dict[str, Any] | None, sentence: str
) -> None:
    message = refusal(make(OLD, top, text))
    assert re.search(sentence, message), message


def test_a_part_of_a_head_may_rotate(make: Make) -> None:
    assert rope(make(OLD, {})).rotary_dim == 16
    assert rope(make(OLD, {"partial_rotary_factor": 0.5}, name="half")).rotary_dim == 8


# --------------------------------------------------------------------------------------------------- context scaling

YARN = {"factor": 4.0, "original_max_position_embeddings": 8192, "mrope_section": [2, 3, 3]}


@pytest.mark.parametrize(
    ("top", "text", "scaling"),
    [
        ({"rope_scaling": {"type": "yarn", **YARN}}, None,
         {"type": "yarn", "factor": 4.0, "original_max_position": 8192}),
        ({"rope_scaling": {"rope_type": "yarn", **YARN}}, None,
         {"type": "yarn", "factor": 4.0, "original_max_position": 8192}),
        ({"rope_scaling": {"type": "yarn", "rope_type": "yarn", **YARN, "beta_fast": 16, "beta_slow": 2,
                           "attention_factor": 1.5}}, None,
         {"type": "yarn", "factor": 4.0, "original_max_position": 8192, "beta_fast": 16.0, "beta_slow": 2.0,
          "attention_factor": 1.5}),
        ({"rope_scaling": {"type": "yarn", **YARN}}, {"rope_scaling": {"rope_type": "yarn", **YARN}},
         {"type": "yarn", "factor": 4.0, "original_max_position": 8192}),
        ({"rope_scaling": None},
         {"rope_scaling": None, "rope_parameters": {"rope_type": "yarn", **YARN, "rope_theta": 100000.0}},
         {"type": "yarn", "factor": 4.0, "original_max_position": 8192}),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, None,
         {"type": "yarn", "factor": 2.0, "original_max_position": 32768}),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, None, {"type": "linear", "factor": 2.0}),
        ({"rope_scaling": {"rope_type": "ntk", "factor": 2.0}}, None, {"type": "ntk", "factor": 2.0}),
        ({"rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]}}, None, None),
        ({"rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]}}, None, None),
        ({"rope_scaling": {"mrope_section": [2, 3, 3]}}, None, None),
        ({"rope_scaling": {}}, None, None),
        ({"rope_scaling": None}, None, None),
    ],
)  # fmt: skip
def test_context_scaling_is_read_in_every_spelling(
    make: Make, top: dict[str, Any], text: dict[str, Any] | None, scaling: dict[str, Any] | None
) -> None:
    folder = make(OLD, {**top, "mm_rope": "hope"}, text)
    choice = chosen(folder)
    wanted = load_variant("hope") if scaling is None else load_variant("hope", scaling=scaling)
    assert choice.variant.fingerprint == wanted.fingerprint
    assert ("scaling of config.json" in choice.how) == (scaling is not None)
    linear: Any = {"type": "linear", "factor": 3.0}
    scaled_choice = chosen(folder, None, scaling=linear)
    assert scaled_choice.variant.fingerprint == load_variant("hope", scaling=linear).fingerprint


@pytest.mark.parametrize(
    ("top", "text", "sentence"),
    [
        ({"rope_scaling": {"type": "yarn", "rope_type": "default", **YARN}}, None, "contradicts"),
        ({"rope_scaling": {"type": "mrope", "rope_type": "yarn", **YARN}}, None, "contradicts itself"),
        ({"rope_scaling": {"type": "yarn", **YARN}}, {"rope_scaling": {"type": "mrope"}}, "contradicts itself"),
        ({"rope_scaling": {"type": "linear", "rope_type": "ntk", "factor": 2}}, None, "contradicts itself"),
        ({"rope_scaling": {"type": "yarn", **YARN}}, {"rope_scaling": {"type": "yarn", **YARN, "factor": 2.0}},
         "copies of factor"),
        ({"rope_scaling": {"type": "yarn", **YARN}},
         {"rope_scaling": {"type": "yarn", **YARN, "original_max_position_embeddings": 9}},
         "copies of original_max_position_embeddings"),
        ({"rope_scaling": {"type": "yarn", "mrope_section": [2, 3, 3]}}, None, "yarn scaling without a factor"),
        ({"rope_scaling": {"type": "linear"}}, None, "linear scaling without a factor"),
        ({"rope_scaling": {"type": "yarn", **YARN, "factor": "4"}}, None, "factor of its yarn scaling must be a"),
        ({"rope_scaling": {"type": "yarn", **YARN, "factor": True}}, None, "must be a number, not True"),
        ({"rope_scaling": {"type": "yarn", **YARN, "factor": float("inf")}}, None, "must be a number, not inf"),
        ({"rope_scaling": {"type": "yarn", **YARN, "factor": 10**400}}, None, "must be a number, not 1000"),
        ({"rope_scaling": {"type": "yarn", **YARN, "beta_fast": []}}, None, "beta_fast of its yarn scaling must be a"),
        ({"rope_scaling": {"type": "yarn", **YARN, "original_max_position_embeddings": float("inf")}}, None, "number"),
        ({"rope_scaling": {"type": "yarn", **YARN, "mscale": 1.0}}, None, "'mscale' of its yarn scaling is not known"),
        ({"rope_scaling": {"type": "yarn", **YARN, "truncate": False}}, None, "'truncate' of its yarn scaling is not"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, None, "'dynamic' scaling changes.*--set scaling="),
        ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1], "long_factor": [1]}}, None, "'longrope' is"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}}, None, "'llama3' is not"),
        ({"rope_scaling": {"rope_type": "mhrope", "mrope_section": [2, 3, 3]}}, None, "'mhrope' is a"),
        ({"rope_scaling": {"rope_type": "MRoPE-I"}}, None, "is a variant.*--variant mrope-i"),
        ({"rope_scaling": {"rope_type": "yaRN", **YARN}}, None, "'yaRN' is not known: linear, ntk, yarn are"),
        ({"rope_scaling": {"rope_type": 4}}, None, "rope_type in rope_scaling of the top must be a kind of context "
                                                   "scaling by name"),
        ({"rope_scaling": {"type": None}}, None, "must be a kind of context scaling by name, not None"),
        ({"rope_scaling": {"rope_type": ["yarn"]}}, None, "must be a kind of context scaling by name"),
        ({"rope_scaling": {"rope_type": "x\ny"}}, None, "is not known"),
        ({"rope_scaling": {"rope_type": "no.yaml"}}, None, "'no.yaml' is not known"),
    ],
)  # fmt: skip
def test_scaling_that_is_not_obeyed_is_refused_unless_the_command_line_gives_another(
    make: Make, top: dict[str, Any], text: dict[str, Any] | None, sentence: str
) -> None:
    folder = make(OLD, {**top, "mm_rope": "hope"}, text)
    message = refusal(folder)
    assert re.search(sentence, message), message
    none = chosen(folder, None, scaling={"type": "none"})
    assert none.variant.fingerprint == load_variant("hope").fingerprint
    assert re.search(sentence, refusal(folder, "v2pe")), "another variant does not help"


@pytest.mark.parametrize("factor", [0, -1, 0.5, 1e-300])
def test_a_factor_that_stretches_nothing_is_refused(make: Make, factor: float) -> None:
    folder = make(OLD, {"rope_scaling": {"type": "yarn", **YARN, "factor": factor}})
    with pytest.raises((UserError, VariantError)) as caught:
        chosen(folder)
    assert "factor" in str(caught.value)


# ------------------------------------------------------------------------------------------------------ folder names


@pytest.mark.parametrize(
    ("path", "stock", "variant"),
    [
        ("runs/hope", "mrope", "hope"),
        ("runs/HoPE-7b", "mrope", "hope"),
        ("runs/qwen2.5-vl-7b-VideoRoPE", "mrope", "videorope"),
        ("runs/7b_mrope_i", "mrope", "mrope-i"),
        ("runs/7b mrope-i", "mrope", "mrope-i"),
        ("runs/mrope-i-seed1", "mrope", "mrope-i"),
        ("runs/circlerope.v2", "mrope", "circlerope"),
        ("runs/hope/checkpoint-500", "mrope", "hope"),
        ("runs/hope/global_step500", "mrope", "hope"),
        ("runs/hope/step-5/hf", "mrope", "hope"),
        ("runs/hope/checkpoint-500/merged", "mrope", "hope"),
        ("cache/models--me--Qwen2.5-VL-hope/snapshots/0123abcd", "mrope", "hope"),
        ("runs/mrope", "qwen3-vl", "mrope"),
        ("runs/vanilla-rope", "mrope", "vanilla"),
        ("runs/mrope", "mrope", None),
        ("runs/qwen2.5-vl", "mrope", None),
        ("runs/Qwen3-VL-8B", "qwen3-vl", None),
        ("runs/qwen3-vl", "mrope", None),
        ("runs/distilled-from-Qwen2-VL-7B", "qwen3-vl", None),
        ("runs/qwen2_5_vl-to-3", "qwen3-vl", None),
        ("runs/hopeful", "mrope", None),
        ("runs/no-hopes", "mrope", None),
        ("runs/exp17", "mrope", None),
        ("hope/exp17", "mrope", None),
        ("hope/exp17/checkpoint-5", "mrope", None),
        ("runs/checkpoint-500", "mrope", None),
        ("checkpoint-500", "mrope", None),
        ("cache/models--hope--Qwen2.5-VL/snapshots/0123abcd", "mrope", None),
    ],
)
def test_a_folder_that_is_called_like_a_variant_is_noticed(path: str, stock: str, variant: str | None) -> None:
    naming = named_in_path(Path("/data") / path, stock)
    assert (naming and naming[1]) == variant


def test_a_folder_s_name_is_a_question_only_where_nothing_else_answers(make: Make) -> None:
    folder = make(OLD, {}, name="run-HoPE")
    message = refusal(folder)
    assert re.search(r"is called 'run-HoPE': say --variant hope .*--assume-stock", message)
    assert resolve_variant(read_checkpoint(folder), None, assume_stock=True).variant.name == "qwen2.5-vl"
    assert chosen(folder, "mrope").how == "--variant"
    assert chosen(make(OLD, {"mm_rope": "mrope"}, name="other-HoPE")).how == "config.json (mm_rope)"

"""Variants under the names that others give them, and the published package's way to write one down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from copied_product import copy_product, said_by

from mmrope_eval.rope import (
    Variant,
    VariantError,
    load_variant,
    split_model_arguments,
    variant_aliases,
    variant_name,
    variant_names,
)

PACKAGE_NAMES = ["vanilla-rope", "mrope", "mrope-interleave", "mhrope", "videorope", "hope", "circlerope", "v2pe",
                 "ilrope", "omnirope", "mmrope", "grape"]  # fmt: skip
"""JJJYmmm/Multimodal-RoPEs cd413b9, SUPPORT_MM_ROPES."""


@pytest.mark.parametrize("name", PACKAGE_NAMES)
def test_every_name_of_the_published_package_is_known(name: str) -> None:
    assert load_variant(name).name == {"vanilla-rope": "vanilla", "mrope-interleave": "qwen3-vl"}.get(name, name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("HoPE", "hope"), ("MRoPE-I", "mrope-i"), ("MRoPE_Interleave", "qwen3-vl"), ("CircleRoPE", "circlerope"),
        ("Circle-RoPE", "circlerope"), ("circle_rope", "circlerope"), ("Vanilla", "vanilla"),
        ("VANILLA_ROPE", "vanilla"),
        ("qwen2_5_vl", "qwen2.5-vl"), ("Qwen3-VL", "qwen3-vl"), ("+Text_Spatial-Reset", "+text-spatial-reset"),
        ("interleave", "interleave"), ("V2PE", "v2pe"),
    ],
)  # fmt: skip
def test_letter_case_and_underscores_do_not_matter(written: str, meant: str) -> None:
    assert variant_name(written) == meant
    assert load_variant(written) == load_variant(meant) == load_variant({"name": written})
    assert load_variant({"extends": written, "name": "x"}).fingerprint == load_variant(meant).fingerprint


def test_the_packages_mrope_interleave_resets_nothing() -> None:
    assert load_variant("mrope-interleave").fingerprint == load_variant("mrope-i", spatial_reset=False).fingerprint


def test_an_alias_is_no_part_of_the_variant() -> None:
    aliases = variant_aliases()
    assert aliases["mrope-interleave"] == "qwen3-vl" and not set(aliases) & set(variant_names())
    assert all("aliases" not in load_variant(name).to_dict() for name in aliases)
    with pytest.raises(VariantError, match="unknown key 'aliases'"):
        Variant.from_dict({"name": "x", "aliases": ["y"]})


def test_a_file_of_ones_own_may_have_aliases(tmp_path: Path) -> None:
    product = copy_product(tmp_path)
    variants = product / "configs/variants"
    variants.mkdir(parents=True)
    mine = variants / "mine.yaml"
    mine.write_text("position: {layout: grid}\naliases: [My_Own, other]\n")
    assert load_variant(mine).name == "mine"
    (variants / "other.yaml").write_text("position: {layout: circle}\n")
    loaded = "from mmrope_eval.rope import load_variant as load; print(load('my-own').name, load('other').name)"
    assert said_by(product, loaded) == ["mine other"], "a name goes before an alias"
    (variants / "third.yaml").write_text("extends: mine\naliases: [MY-OWN]\n")
    assert said_by(product, loaded)[-1].endswith(
        "VariantError: variants 'mine' and 'third' both have the alias 'MY-OWN'")


@pytest.mark.parametrize(
    ("written", "hint"),
    [("MRoPE-Interleaved", "mrope-interleave"), ("VanillaRope", "vanilla-rope"), ("HOPEE", "hope"),
     ("Mrope_II", "mrope-i")],
)  # fmt: skip
def test_unknown_names_are_compared_with_all_known_ones(written: str, hint: str) -> None:
    with pytest.raises(VariantError) as error:
        load_variant(written)
    assert f"unknown variant '{written}' (did you mean '{hint}'?); known: +3d," in str(error.value)
    assert variant_name(written) is None


def test_the_packages_arguments_are_told_apart() -> None:
    written = {"name": "mrope-interleave", "dim": 128, "base": 5_000_000, "spatial_reset": True, "temporal_stride": 1}
    variant, model = split_model_arguments(written)
    assert model == {"head_dim": 128, "rope_theta": 5_000_000}
    assert load_variant(variant) == load_variant("qwen3-vl", spatial_reset=True, temporal_stride=1)
    assert "dim" in written, "the caller's mapping stays as it is"
    heads = {"name": "mhrope", "base": 1e6, "num_key_value_heads": 8, "mrope_section": [2, 3, 3]}
    assert split_model_arguments(heads) == (
        {"name": "mhrope", "mrope_section": [2, 3, 3]}, {"rope_theta": 1e6, "num_kv_heads": 8}
    )  # fmt: skip
    definition = load_variant("hope").to_dict()
    assert split_model_arguments(definition) == (definition, {})


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"name": "mrope", "dim": 128.0}, "variant 'mrope': dim must be a positive whole number, not 128.0"),
        ({"name": "mrope", "dim": True}, "dim must be a positive whole number, not True"),
        ({"name": "mrope", "base": "1e6"}, "variant 'mrope': base must be a positive number, not '1e6'"),
        ({"name": "mrope", "base": float("nan")}, "base must be a positive number, not nan"),
        ({"name": "hope", "dim": 128, "temporal_stride_lst": [1.0]}, "no parameter 'temporal_stride_lst' (did you "),
        ({"name": "grape", "dim": 128, "grape_mode": "mixed"}, "no parameter 'grape_mode'"),
        ({**load_variant("hope").to_dict(), "dim": 128}, "unknown key 'dim'"),
    ],
)  # fmt: skip
def test_other_arguments_are_refused(mapping: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VariantError) as error:
        load_variant(split_model_arguments(mapping)[0])
    assert sentence in str(error.value)


def test_model_arguments_are_refused_where_nobody_compares_them() -> None:
    with pytest.raises(VariantError, match="has no parameter 'dim'"):
        load_variant({"name": "mrope", "dim": 128})

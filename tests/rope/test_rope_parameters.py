"""Every parameter of a layout, an allocation or a scaling matters, every other is refused, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.rope import Segment, Text, Variant, VariantError, Vision, load_variant, variant_names
from mmrope_eval.rope.sections import SECTIONS, SectionKind

LAYOUT: list[Segment] = [Text(5), Vision(3, 4, 6, 0.7), Text(3), Vision(1, 3, 2), Text(2)]
KINDS = [pytest.param(section, tag, id=f"{section.name} {tag}") for section in SECTIONS for tag in section.classes]
NEEDED: dict[str, dict[str, Any]] = {
    **{tag: {"mrope_section": [6, 5, 5]} for tag in ("chunked", "interleaved", "alternating")},
    "heads": {"mrope_section": [1, 1, 2]},
    "pattern": {"pattern": "t*4 hw*6"},
}
"""What an allocation cannot do without, for 16 pairs and 4 KV heads."""
OTHER: dict[str, Any] = {
    "modality_interval": 2, "text_spatial_reset": True, "visual_stride": 4.0, "temporal_stride": 1.5,
    "integer_time": True, "spatial_reset": True, "position_scale": [1.0, 2.0, 2.0], "alpha": 1, "radius": "auto",
    "dff_rate": 0.5, "method": "no_circle", "move_to_origin": False, "move_to_positive": "auto",
    "no_rotation": "t", "log_freq_scale": 1.5, "spatial_rope_theta": 100, "exact": True, "mrope_section": [2, 1, 1],
    "pattern": "hw*8", "factor": 4.0, "original_max_position": 1024, "beta_fast": 8, "beta_slow": 4,
    "attention_factor": 2.0, "time": "index", "resume": "tokens", "gap_before": 0.25, "dialect": "vllm",
}  # fmt: skip
"""Another value than the default for every parameter."""
COMPANION: dict[str, dict[str, Any]] = {"gap_before": {"resume": "tokens"}, "dialect": {"original_max_position": 64}}
"""What another value of a parameter acts on: by default there is no gap, and 16 pairs turn too slowly for 32,768."""
NEVER_READ = {("heads", "exact")}
"""Set with the counts and never by hand: counts of heads are always exact."""


def made(section: SectionKind, tag: str, **parameters: Any) -> Variant:
    """A variant that is plain but for one section."""
    return Variant.from_dict({section.name: {section.tag: tag, **NEEDED.get(tag, {}), **parameters}})


def effect(variant: Variant, pairs: int = 16) -> list[bytes] | str:
    """All that a variant decides for one layout and one model."""
    positions, delta = variant.positions(LAYOUT)
    try:
        table = variant.table(2 * pairs, 4, 1e4)
    except VariantError as error:
        return str(error)
    return [positions.tobytes(), np.float64(delta).tobytes(), table.axis.tobytes(), table.inv_freq.tobytes(),
            np.float64(table.attention_factor).tobytes()]  # fmt: skip


@pytest.mark.parametrize(("section", "tag"), KINDS)
def test_every_parameter_matters(section: SectionKind, tag: str) -> None:
    stretched = {"factor": 2.0} if tag == "yarn" else {}
    for name in section.classes[tag].model_fields.keys() - {section.tag}:
        if (tag, name) in NEVER_READ:
            continue
        needed = {**stretched, **COMPANION.get(name, {})}
        plain = made(section, tag, **needed)
        changed = made(section, tag, **{**needed, name: OTHER[name]})
        # A ratio shows on a model of another size than its counts.
        pairs = 32 if name == "exact" else 16
        assert effect(plain, pairs) != effect(changed, pairs), name
        assert plain.fingerprint != changed.fingerprint, name


@pytest.mark.parametrize(("section", "tag"), KINDS)
def test_every_parameter_of_another_kind_is_refused(section: SectionKind, tag: str, tmp_path: Path) -> None:
    foreign = section.fields.keys() - section.classes[tag].model_fields.keys()
    assert foreign or tag == "yarn"
    for name in foreign:
        content: dict[str, Any] = {section.name: {section.tag: tag, **NEEDED.get(tag, {}), name: OTHER[name]}}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content))
        specs: tuple[dict[str, Any] | Path, ...] = (content, path)
        for spec in specs:
            with pytest.raises(VariantError) as error:
                load_variant(spec)
            assert f"{section.name}.{name} is not read by {section.tag} '{tag}'" in str(error.value)
            assert str(error.value).endswith("): leave it out")


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("v2pe", {"temporal_stride": 0.5}, "position.temporal_stride is not read by layout 'flat' "
                                           "(grid, diagonal and circle read it): leave it out"),
        ("mrope", {"visual_stride": 4.0}, "position.visual_stride is not read by layout 'grid' (flat reads it)"),
        ("mrope", {"radius": 5}, "position.radius is not read by layout 'grid'"),
        ("vanilla", {"spatial_reset": True}, "position.spatial_reset is not read by layout 'flat'"),
        ("videorope", {"spatial_reset": False}, "position.spatial_reset is not read by layout 'diagonal'"),
        ("mhrope", {"pattern": "thw"}, "frequency.pattern is not read by allocation 'heads'"),
        ("vanilla", {"mrope_section": [16, 24, 24]}, "frequency.mrope_section is not read by allocation 'single'"),
        ("circlerope", {"position_scale": [1, 1, 1]}, "position.position_scale is not read by layout 'circle'"),
        ("vanilla", {"spatial_rope_theta": 1e4}, "frequency.spatial_rope_theta is not read by allocation 'single'"),
        ("mrope", {"scaling": {"factor": 1.0}}, "scaling.factor is not read by type 'none'"),
        ("mrope", {"scaling": {"type": "ntk", "beta_fast": 32}}, "scaling.beta_fast is not read by type 'ntk'"),
        ("mrope", {"layout": "diagonal", "spatial_reset": True}, "position.spatial_reset is not read by"),
        ("vanilla", {"no_rotation": "h"}, "no_rotation names h, to which this allocation deals no pair (it has t)"),
        ("mmrope", {"pattern": "th", "no_rotation": "w"}, "no_rotation names w"),
        ("mrope-i", {"no_rotation": "tt"}, "no_rotation may name t, h and w, each once"),
        ("grape", {"no_rotation": "hw", "spatial_rope_theta": 50}, "is the base of h and w pairs, and none rotates"),
        ("mhrope", {"exact": True}, "frequency.exact is not read by allocation 'heads', whose counts never scale"),
        ({"extends": "mhrope", "frequency": {"exact": True}}, {}, "frequency.exact is not read by allocation 'heads'"),
        ({"name": "v2pe", "temporal_stride": 0.5}, {}, "position.temporal_stride is not read by"),
    ],
)  # fmt: skip
def test_what_nothing_reads_is_refused_by_name(name: Any, overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VariantError) as error:
        load_variant(name, **overrides)
    assert sentence in str(error.value) and "\n" not in str(error.value)


# --- another kind starts anew -----------------------------------------------------------------------------------------


def test_another_layout_or_allocation_inherits_nothing_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: +text-spatial-reset\nposition: {layout: diagonal}\nfrequency: {allocation: single}\n")
    assert load_variant(path).position == load_variant("videorope", temporal_stride=1.0).position
    assert load_variant(path).time == "index", "which clock a checkpoint was trained with is no matter of its layout"
    assert load_variant(path).frequency == load_variant("vanilla").frequency
    given_ = load_variant("mrope-i", layout="diagonal", allocation="pattern", pattern="tthw", temporal_stride=2)
    assert given_.position.model_dump(exclude_defaults=True) == {"temporal_stride": 2, "time": "index"}
    assert load_variant("qwen2.5-vl", layout="circle").time == load_variant({"position": {"layout": "grid"}}).time
    assert load_variant("qwen2.5-vl", layout="circle").time == "seconds"
    assert load_variant("mrope", layout="flat").time is None
    assert given_.frequency.model_dump(exclude_defaults=True) == {"pattern": "tthw", "exact": True}
    assert load_variant("mrope-i", layout="grid").position == load_variant("mrope-i").position
    assert not hasattr(load_variant("grape").frequency, "mrope_section")


def test_scaling_is_inherited_unless_its_type_changes(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text(
        "extends: mrope\nscaling: {type: yarn, factor: 4.0, beta_fast: 16}\n"
    )
    for text, expected in (
        ("{factor: 2.0}", {"type": "yarn", "factor": 2.0, "beta_fast": 16}),
        ("{type: linear, factor: 2.0}", {"type": "linear", "factor": 2.0}),
    ):
        (tmp_path / "child.yaml").write_text(f"extends: {tmp_path}/parent.yaml\nscaling: {text}\n")
        assert load_variant(tmp_path / "child.yaml").scaling == load_variant("mrope", scaling=expected).scaling


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_flat_record_with_another_scaling_is_read() -> None:
    linear = {"type": "linear", "factor": 4.0}
    file = Path(__file__).resolve().parents[1] / "cases" / "variant_fingerprints.json"
    recorded = json.loads(file.read_text())["records"]
    record = {**recorded["v2pe"], "scaling": linear}
    assert Variant.from_dict(record) == load_variant("v2pe", scaling=linear)


@pytest.mark.parametrize("name", variant_names())
def test_a_new_record_holds_what_is_read(name: str) -> None:
    variant = load_variant(name)
    for section in SECTIONS:
        part = getattr(variant, section.name)
        assert variant.to_dict()[section.name].keys() == type(part).model_fields.keys()


# --- strict types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("mrope", {"temporal_stride": True}, "position.temporal_stride cannot be True; it takes a finite number"),
        ("mrope", {"temporal_stride": "1"}, "position.temporal_stride cannot be '1'; it takes a finite number"),
        ("mrope", {"temporal_stride": float("nan")}, "position.temporal_stride cannot be nan"),
        ("mrope", {"temporal_stride": float("inf")}, "position.temporal_stride cannot be inf"),
        ("mrope", {"temporal_stride": 16**9999}, "position.temporal_stride cannot be a number of thousands of digits"),
        ("mrope", {"position_scale": [1, 2, float("nan")]}, "position.position_scale cannot be [1, 2, nan]"),
        ("mrope", {"position_scale": [1, 2, 0]}, "position.position_scale must be positive, not [1, 2, 0]"),
        ("mrope", {"integer_time": 1}, "position.integer_time cannot be 1; it takes true or false"),
        ("mrope", {"mrope_section": [16, 24, 24.0]}, "frequency.mrope_section cannot be [16, 24, 24.0]"),
        ("mrope", {"mrope_section": [16, 24, True]}, "frequency.mrope_section cannot be [16, 24, True]"),
        ("mrope", {"mrope_section": "abc"}, "frequency.mrope_section cannot be 'abc'"),
        ("mrope", {"no_rotation": None}, "frequency.no_rotation cannot be None; it takes text"),
        ("mrope", {"layout": [1]}, "position.layout cannot be [1]; it is one of flat, grid, diagonal, circle"),
        ("mrope", {"layout": "Grid"}, "position.layout cannot be 'Grid'; it is one of flat, grid, diagonal, circle "
                                      "(did you mean 'grid'?)"),
        ("mrope", {"allocation": "heads"}, "allocation 'heads' needs frequency.mrope_section, for example [2"),
        ("mrope", {"allocation": "pattern"}, "allocation 'pattern' needs frequency.pattern, for example tthwhwhw"),
        ("grape", {"pattern": "t*0"}, "frequency.pattern 't*0' is not made of t, h, w and -"),
        ("circlerope", {"radius": "auto-0"}, "radius must be a number, 'auto' or 'auto-K', above zero, not 'auto-0'"),
        ("circlerope", {"radius": "auto-²"}, "radius must be a number, 'auto' or 'auto-K'"),
        ("circlerope", {"method": "ring"}, "position.method cannot be 'ring'; it takes 'circle' or 'no_circle'"),
        ("mrope", {"time": "clock"}, "position.time cannot be 'clock'; it takes 'index' or 'seconds'"),
        ("mrope", {"time": True}, "position.time cannot be True; it takes 'index' or 'seconds'"),
        ("vanilla", {"time": "index"}, "position.time is not read by layout 'flat' (grid, diagonal and circle"),
        ("mrope", {"resume": "vanilla"}, "position.resume cannot be 'vanilla'; it takes 'extent' or 'tokens'"),
        ("mrope", {"gap_before": 0}, "gap_before shares out what 'resume: tokens' leaves over, and 'resume: extent' "
                                     "leaves nothing: leave it out"),
        ("rope-tie", {"gap_before": 1.5}, "position.gap_before must lie between 0 and 1, not 1.5"),
        ("circlerope", {"temporal_stride": -1}, "position.temporal_stride must not be negative, not -1"),
        ("videorope", {"temporal_stride": 0}, "position.temporal_stride must be positive, not 0"),
        ("mrope", {"scaling": {"type": "yarn", "dialect": "vLLM"}}, "scaling.dialect cannot be 'vLLM'; it takes "
                                                                    "'transformers' or 'vllm'"),
        ("mrope", {"scaling": {"type": "ntk", "dialect": "vllm"}}, "scaling.dialect is not read by type 'ntk' (yarn"),
        ("mrope", {"scaling": 3}, "scaling must be a mapping, not 3"),
        ("mrope", {"scaling": {"type": "yarn", "beta_fast": 1}}, "scaling.beta_fast must exceed beta_slow, not 1 and"),
        ("mrope", {"scaling": {"type": "yarn", "original_max_position": 8192.0}}, "cannot be 8192.0; it takes a whole"),
        ({"position": 3}, {}, "a variant without a name: position must be a mapping, not 3"),
        ({"position": {3: 1}}, {}, "a variant without a name: position has the key 3: keys are text"),
        ({"position": {}, 3: 1}, {}, "a variant without a name has an unknown key 3"),
        ({"variant": "mrope-i"}, {}, "a variant without a name has an unknown key 'variant': the key of its name is "
                                     "'name'"),
        ({"position": {}, "type": "hope"}, {}, "has an unknown key 'type': the key of its name is 'name'"),
        ({"extend": "mrope"}, {}, "a variant without a name has an unknown key 'extend' (did you mean 'extends'?)"),
        ({"name": "x", "position": {}, "sumary": "?"}, {}, "variant 'x' has an unknown key 'sumary' (did you mean"),
        ({"name": None, "position": {}}, {}, "a variant's name must be text on one line, not None"),
        ({"name": "two\nlines", "position": {}}, {}, "a variant's name must be text on one line, not 'two\\nlines'"),
        ({"summary": 3}, {}, "summary must be text, not 3"),
        ({"extends": 7}, {}, "extends must be a variant's name or the path of a YAML file, not 7"),
        ({"name": "mrope", 3: 1}, {}, "variant 'mrope' has no parameter 3"),
        (7, {}, "a variant is a name, the path of a YAML file or a mapping, not 7"),
        ("x" * 5000 + ".yaml", {}, "no variant file at"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_odd_values_are_told_in_one_sentence(name: Any, overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VariantError) as error:
        load_variant(name, **overrides)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_numbers_stay_as_they_were_written() -> None:
    """A fingerprint tells 2 from 2.0, as it always did."""
    assert load_variant("mrope", temporal_stride=2).to_dict()["position"]["temporal_stride"].__class__ is int
    assert load_variant("circlerope", dff_rate=True).to_dict()["position"]["dff_rate"] is True


@pytest.mark.parametrize("length", [1, 2, 3, 1500])
def test_a_circle_of_files_is_told(tmp_path: Path, length: int) -> None:
    for i in range(length):
        (tmp_path / f"v{i}.yaml").write_text(f"extends: {tmp_path}/v{(i + 1) % length}.yaml\n")
    with pytest.raises(VariantError, match="variant 'v0' extends itself"):
        load_variant(tmp_path / "v0.yaml")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"[1, 2]", b"", b"3", b"a: [", b"? [1]\n: 2", b"x: !!int ''", b"x: !!timestamp a", b"x: !!bool a",
     b"x: 2001-99-99", b"[" * 5000, b"x: !!python/object:os.system {}", b"name: 3", b"name: null", b"position: [1]",
     b"aliases: 3", b"aliases: [3]", b"position: {temporal_stride: .inf, layout: grid}", b"extends: [a]",
     b"position: &a {layout: *a}", b"position: {layout: circle, alpha: .nan}", b"\x00"],
)  # fmt: skip
def test_odd_files_are_told_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(VariantError) as error:
        load_variant(path)
    assert "\n" not in str(error.value)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
                    st.dates(), st.sampled_from(["auto", "thw", "t*2 hw*3", "grid", "mrope", "none"]))  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(scalars, inner, max_size=3))
)


def sections(section: SectionKind) -> st.SearchStrategy[Any]:
    """A section near to a good one: known parameters with odd values, and sometimes something else altogether."""
    names = st.one_of(st.sampled_from(sorted(section.fields)), scalars)
    odd = st.dictionaries(names, values, max_size=4)
    tagged = st.builds(lambda tag, rest: {**rest, section.tag: tag}, st.sampled_from(sorted(section.classes)), odd)
    return st.one_of(tagged, tagged, odd, values)


by_name: dict[str, st.SearchStrategy[Any]] = {section.name: sections(section) for section in SECTIONS}
definitions = st.fixed_dictionaries(
    {}, optional={**by_name, "name": st.one_of(st.just("x"), values),
                  "extends": st.one_of(st.sampled_from(variant_names()), values), "summary": values,
                  "temporal_stride": values, "mrope_section": values, "layout": values, "odd": values})  # fmt: skip


def read_or_told(spec: Any) -> None:
    try:
        variant = load_variant(spec)
    except VariantError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
        return
    assert Variant.from_dict(variant.to_dict()).fingerprint == variant.fingerprint
    assert np.isfinite(variant.positions([Text(2)])[0]).all()


@given(definition=definitions)
@settings(max_examples=400, deadline=None)
def test_any_mapping_is_a_variant_or_a_sentence(definition: dict[str, Any]) -> None:
    read_or_told(definition)


@given(content=st.one_of(st.binary(max_size=60), values.map(lambda v: yaml.safe_dump(v).encode()),
                         definitions.map(lambda v: yaml.safe_dump(v).encode())))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_file_is_a_variant_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.yaml"
    path.write_bytes(content)
    read_or_told(path)

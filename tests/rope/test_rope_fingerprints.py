"""Answers on disk are found again: what a fingerprint was, what it is now, and how the old meaning is said today.

Version 0.3 and before knew the clock only (`time: seconds`), and some names meant another design than the paper's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmrope_eval.report.candidates import describe
from mmrope_eval.report.definitions import variant_key
from mmrope_eval.rope import Variant, VariantError, load_variant, variant_names
from mmrope_eval.rope.sections import SECTIONS

RECORDED = json.loads((Path(__file__).resolve().parents[1] / "cases" / "variant_fingerprints.json").read_text())
BEFORE: dict[str, str] = RECORDED["shipped"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "variants.md"

NOW = {
    "+3d": "51e77b0d3e72", "+3d+spatial-reset": "74e48c2ecd4c", "+diagonal": "821c01484f21",
    "+modality-interval": "5fca88524ce6", "+spatial-base": "4976b276d808", "+text-spatial-reset": "8cce1c50ea70",
    "circlerope": "df3a23414afa", "grape": "1ccf708b430e", "hope": "cb0c9b535aca", "ilrope": "b63743b5ba94",
    "ilrope-like": "96271da9afb8", "interleave": "74e48c2ecd4c", "mhrope": "470f4972f4da", "mmrope": "4b86786ed4e5",
    "mrope": "415de38ab44d", "mrope-i": "74e48c2ecd4c", "multi-head": "470f4972f4da", "omnirope": "f52851d1cb67",
    "qwen3-vl": "51e77b0d3e72", "videorope": "06299ed8f1d9", "videorope-like": "2746285c9909",
}  # fmt: skip
"""Of every shipped variant whose fingerprint is another than version 0.3's, the first twelve digits."""
OTHERWISE: dict[str, Any] = {
    "+modality-interval": ("mrope-i", {"modality_interval": 16}),
    "circlerope": ("circlerope-upstream", {}),
    "ilrope": ("ilrope-upstream", {}),
    "omnirope": ("omnirope-upstream", {}),
    "ilrope-like": ({"extends": "mrope-i", "frequency": {"allocation": "pattern", "pattern": "t*16 hw*24"}}, {}),
}
"""What version 0.3 meant by names that mean another design now, besides the clock."""


def as_before(name: str, **changes: Any) -> Variant:
    """What version 0.3 meant by a name and changed parameters."""
    spec, meant = OTHERWISE.get(name, (name, {}))
    clock = {} if load_variant(spec).time is None else {"time": "seconds"}
    return load_variant(spec, **{**meant, **clock, **changes})


def test_which_fingerprints_changed_and_which_did_not() -> None:
    changed = {name for name in BEFORE if load_variant(name).fingerprint != BEFORE[name]}
    assert changed == set(NOW) and set(BEFORE) - changed == {"vanilla", "v2pe", "qwen2.5-vl"}
    assert {name: load_variant(name).fingerprint[:12] for name in NOW} == NOW


@pytest.mark.parametrize("name", BEFORE)
def test_the_old_meaning_has_the_old_fingerprint(name: str) -> None:
    assert as_before(name).fingerprint == BEFORE[name]


@pytest.mark.parametrize("name", sorted(set(BEFORE) - set(OTHERWISE)))
def test_without_a_clock_nothing_changed(name: str) -> None:
    """Answers about pictures, and of families whose videos carry no seconds, are kept."""
    assert load_variant(name).timeless_fingerprint == BEFORE[name]


def test_the_page_lists_every_change() -> None:
    """docs/variants.md: name, digits before, digits now, why, and how the old meaning is said."""
    rows = re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{12})` \| `([0-9a-f]{12})` \| ([^|]+) \| `([^`]+)` \|$",
                      PAGE.read_text(encoding="utf-8"), re.MULTILINE)  # fmt: skip
    assert [row[0] for row in rows] == sorted(NOW)
    for name, before, now, why, spelled in rows:
        assert (BEFORE[name][:12], NOW[name]) == (before, now)
        assert ("time" in why) and (("design" in why) == (name in OTHERWISE)), (name, why)
        words = json.loads(spelled)
        assert load_variant(words).fingerprint == BEFORE[name], spelled


OTHERWISE_FILED = {("grape", "thw-"), ("grape", "t*16 hw*24"), ("ilrope-like", "hw*24 t*16")}
"""Patterns given by hand to the two variants whose files once inherited a section: the same as `mmrope` with that
pattern and its layout, and now with its fingerprint."""


@pytest.mark.parametrize("case", RECORDED["overridden"], ids=lambda case: f"{case['variant']} {case['set']}")
def test_fingerprints_of_changed_variants_never_change(case: dict[str, Any]) -> None:
    variant = as_before(case["variant"], **case["set"])
    filed_otherwise = (case["variant"], case["set"].get("pattern")) in OTHERWISE_FILED
    assert (variant.fingerprint == case["fingerprint"]) is not filed_otherwise
    assert Variant.from_dict(json.loads(json.dumps(variant.to_dict()))).fingerprint == variant.fingerprint


@pytest.mark.parametrize("name", RECORDED["records"])
def test_flat_records_are_read_without_what_was_never_read(name: str) -> None:
    record = RECORDED["records"][name]
    words = {"name": name, "summary": record["summary"], "source": record["source"]}
    meant = Variant.from_dict({**as_before(name).to_dict(), **words})
    assert Variant.from_dict(record) == meant == load_variant(record)
    assert Variant.from_dict(record).fingerprint == BEFORE[name]
    foreign = {**record, "position": {**record["position"]}}
    unread = next(field for field, tags in SECTIONS[0].fields.items()
                  if field in record["position"] and record["position"]["layout"] not in tags)  # fmt: skip
    foreign["position"][unread] = OTHER[unread]
    assert Variant.from_dict(foreign) == meant
    with pytest.raises(VariantError, match="typo"):
        Variant.from_dict({**record, "position": {**record["position"], "typo": 1}})
    with pytest.raises(VariantError, match="is not read by"):
        load_variant(record, **{unread: OTHER[unread]})


OTHER = {"visual_stride": 4.0, "temporal_stride": 1.5, "spatial_reset": True, "position_scale": [1.0, 2.0, 2.0],
         "integer_time": True, "alpha": 1}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(RECORDED["records"]) - {"circlerope"}))
def test_tables_match_records_of_either_form(name: str) -> None:
    """A row is filled up to `time`, whichever way a record says it; what differs is said."""
    old, variant = RECORDED["records"][name], load_variant(name)
    clock = "" if variant.time is None else "time=seconds"
    changed = as_before(name, modality_interval=3.0)
    flat = {**old, "position": {**old["position"], "modality_interval": 3.0}}
    definitions = (old, variant.to_dict(), as_before(name).to_dict())
    assert len({variant_key(Variant.from_dict(mapping), time=False) for mapping in definitions}) == 1
    assert variant_key(Variant.from_dict(old)) == variant_key(as_before(name))
    assert variant_key(Variant.from_dict(flat)) == variant_key(changed) != variant_key(Variant.from_dict(old))
    cases = [(old, [clock]), (variant.to_dict(), [""]), (flat, ["modality_interval=3.0", clock]),
             (changed.to_dict(), ["modality_interval=3.0", clock])]  # fmt: skip
    for definition, changes in cases:
        record = SimpleNamespace(manifest=SimpleNamespace(time=None))
        cell: Any = SimpleNamespace(variant=name, recorded=Variant.from_dict(definition), manifest={}, record=record)
        differences = sorted(describe(cell).partition(" with ")[2].split(", "))
        assert differences == sorted(filter(None, changes)) or (differences == [""] and not any(changes))


def test_names_are_as_they_were() -> None:
    assert set(BEFORE) <= set(variant_names())

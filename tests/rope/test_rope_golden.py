"""Positions and rotary tables equal the published implementation's (tests/golden/README.md tells their origin)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrope_eval.rope import Text, Variant, Vision, load_variant

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
OUR_NAME = {"mrope-interleave": "mrope-i", "vanilla-rope": "vanilla", "ilrope": "ilrope-upstream",
            "omnirope": "omnirope-upstream", "circlerope": "circlerope-upstream"}  # fmt: skip
"""Of those whose name is ours for another design; where paper and package differ, ours is the paper's."""
FRACTIONAL = {"v2pe", "circlerope"}
"""By the package's names."""


def ours(variant: str, params: dict[str, Any]) -> Variant:
    """The published parameters in our names (DESIGN, section 3): two differ, and MM-RoPE reads no section there."""
    unread = {"num_key_value_heads", *(["mrope_section"] if variant == "mmrope" else [])}
    renamed = {k: v for k, v in params.items() if k not in unread}
    if "temporal_stride_lst" in renamed:
        (renamed["temporal_stride"],) = renamed.pop("temporal_stride_lst")
    return load_variant(OUR_NAME.get(variant, variant), **renamed)


def position_cases() -> list[Any]:
    lines = (GOLDEN / "positions.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    return [pytest.param(case, id=f"{i:02d}-{case['variant']}") for i, case in enumerate(cases)]


def table_cases() -> list[Any]:
    with np.load(GOLDEN / "rotary.npz") as data:
        return [pytest.param(case, id=case["key"]) for case in json.loads(str(data["meta"]))]


@pytest.mark.parametrize("case", position_cases())
def test_positions_and_delta(case: dict[str, Any]) -> None:
    layout = [Text(s[1]) if s[0] == "text" else Vision(*s[1:]) for s in case["segments"]]
    positions, delta = ours(case["variant"], case["params"]).positions(layout)
    tolerance = 1e-4 if case["variant"] in FRACTIONAL else 0.0
    assert positions.dtype == np.float64
    np.testing.assert_allclose(positions, np.array(case["positions"]), rtol=0, atol=tolerance)
    assert delta == pytest.approx(case["delta"], rel=0, abs=tolerance)


@pytest.mark.parametrize("case", table_cases())
def test_cos_and_sin(case: dict[str, Any]) -> None:
    heads = case["num_key_value_heads"]
    table = ours(case["variant"], case["params"]).table(
        head_dim=case["head_dim"], num_kv_heads=heads, rope_theta=case["rope_theta"]
    )
    with np.load(GOLDEN / "rotary.npz") as data:
        positions, *golden = (data[f"{case['key']}_{part}"] for part in ("pos", "cos", "sin"))
    angle = positions[table.axis.clip(0)].transpose(0, 2, 1) * table.inv_freq[:, None, :]
    angle = np.where(table.axis[:, None, :] < 0, 0.0, np.abs(angle))
    assert angle.max() > 2**16, "the golden positions reach angles where range reduction matters"
    # Beyond 1e4 radians the golden value itself carries the rounding of its float32 angle.
    tolerance = np.where(angle < 1e4, 2e-6, np.spacing(angle.astype(np.float32)) + 2e-6)
    for got, want in zip(table.cos_sin(positions), golden, strict=True):
        assert got.dtype == np.float32
        assert got.shape == (heads, positions.shape[1], case["head_dim"] // 2)
        assert np.all(np.abs(got - np.broadcast_to(want, got.shape)) <= tolerance)


def test_every_published_variant_is_covered() -> None:
    named = {OUR_NAME.get(p.values[0]["variant"], p.values[0]["variant"]) for p in position_cases()}
    assert named == {
        "vanilla",
        "v2pe",
        "mrope",
        "mrope-i",
        "mhrope",
        "videorope",
        "hope",
        "circlerope-upstream",
        "ilrope-upstream",
        "omnirope-upstream",
        "mmrope",
    }

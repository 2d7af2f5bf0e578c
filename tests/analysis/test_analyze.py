"""What `analyze` measures without a model: hand-worked cases, closed forms, and the paper's own verdicts."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.analysis.measures import Analysis, analyze, decay, growth
from mmrope_eval.analysis.table1 import COLUMNS, PRINTED, interval, marks
from mmrope_eval.analysis.tables import (
    DEFAULT_LAYOUT,
    DEFAULT_VARIANTS,
    FURTHEST,
    half_distance,
    make_report,
    parse_layout,
)
from mmrope_eval.cli import main
from mmrope_eval.errors import UserError
from mmrope_eval.rope import Segment, Text, Variant, VariantError, Vision, load_variant, variant_names
from mmrope_eval.rope.geometry import DEFAULT_GEOMETRY, Geometry

EIGHT_HEADS = dataclasses.replace(DEFAULT_GEOMETRY, num_kv_heads=8)
EVERY_OTHER_PAIR = Geometry(head_dim=16, num_kv_heads=8, rope_theta=256)
"""Eight pairs with wavelengths 2 pi, 4 pi, 8 pi ...: two in each of the four bands."""

ROOT_HALF = 10 / math.sqrt(2)


def analysed(name: str, parts: str = DEFAULT_LAYOUT, /, **overrides: Any) -> Analysis:
    return analyze(load_variant(name, **overrides), parse_layout(parts), EIGHT_HEADS)


@pytest.mark.parametrize(
    ("name", "overrides", "block", "advance"),
    [
        ("vanilla", {}, Vision(1, 2, 3), 6),
        ("vanilla", {}, Vision(4, 2, 3), 24),
        ("v2pe", {}, Vision(1, 2, 3), 16),
        ("v2pe", {}, Vision(9, 20, 30), 16),
        ("v2pe", {"visual_stride": 2.5}, Vision(1, 2, 3), 3),  # text resumes at an integer
        ("mrope", {}, Vision(1, 2, 3), 3),
        ("mrope", {}, Vision(3, 2, 2, 2.0), 3),  # frames at 0, 1, 2, whatever the clock says
        ("qwen2.5-vl", {}, Vision(3, 2, 2, 2.0), 5),  # 0, 2, 4
        ("qwen2.5-vl", {}, Vision(3, 2, 2, 1.5), 4),  # 0, 1.5, 3 cut to 0, 1, 3
        ("grape", {"time": "seconds"}, Vision(4, 2, 2, 1.5), 5.5),  # 0, 1.5, 3, 4.5: fractions are kept
        ("mrope-i", {}, Vision(1, 2, 3), 3),
        ("mrope-i", {"modality_interval": 16}, Vision(1, 2, 3), 16 + 3 + 16),
        ("+modality-interval", {}, Vision(1, 40, 30), 1200),  # as vanilla's
        ("+modality-interval", {}, Vision(1, 9, 7), 63),
        ("rope-tie", {}, Vision(4, 2, 3), 24),
        ("videorope", {}, Vision(1, 9, 7), 1),
        ("videorope", {}, Vision(3, 9, 7), 5),
        ("hope", {}, Vision(3, 9, 7), 3),
        ("hope", {"temporal_stride": 0.75}, Vision(3, 9, 7), 2.5),
        ("circlerope", {}, Vision(1, 1, 1), ROOT_HALF + 1),  # one cell at the ring's angle 0: (0, 10, -10) / sqrt 2
        ("circlerope", {}, Vision(4, 1, 1, 2.0), ROOT_HALF + 1),  # one ring for all frames
        ("circlerope-upstream", {}, Vision(4, 1, 1, 2.0), ROOT_HALF + 3 + 1),
        ("circlerope-upstream", {"time": "seconds"}, Vision(4, 1, 1, 2.0), ROOT_HALF + 6 + 1),
    ],
)
def test_growth_by_hand(name: str, overrides: dict[str, Any], block: Vision, advance: float) -> None:
    block_growth = growth(load_variant(name, **overrides), block)
    assert block_growth.advance == pytest.approx(advance, abs=1e-9)
    assert block_growth.per_token == pytest.approx(advance / block.n)


def test_extent_by_hand() -> None:
    assert growth(load_variant("mrope-i"), Vision(3, 4, 5, 2.0)).extent == (2, 3, 4)
    assert growth(load_variant("mrope-i", time="seconds"), Vision(3, 4, 5, 2.0)).extent == (4, 3, 4)
    # Rows -1..1 and columns -2..2 around frames at 0, 2, 4.
    assert growth(load_variant("videorope"), Vision(3, 4, 5)).extent == (4, 7, 8)


BLOCKS = st.builds(
    Vision, st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.5, 1.0, 1.5, 2.0])
)
SEGMENTS = st.lists(st.one_of(BLOCKS, st.builds(Text, st.integers(0, 9))), max_size=4)


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(variant_names()), before=SEGMENTS, block=BLOCKS)
def test_growth_is_what_the_next_text_token_moves_by(name: str, before: list[Segment], block: Vision) -> None:
    variant = load_variant(name)
    without = variant.positions([*before, Text(1)])[0][0, -1]
    behind = variant.positions([*before, block, Text(1)])[0][0, -1]
    assert behind - without == pytest.approx(growth(variant, block).advance, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "overrides", "layout", "shared", "doubled", "same_id", "not_past"),
    [
        # Text at 0 1 2 and 12 13, vision at 3..11.
        ("vanilla", {}, "text:3 image:3x3 text:2", 0, 0, (0, None, None), (0, None, None)),
        # Vision at t 3, h and w 3..5; text goes on at 6.
        ("mrope", {}, "text:3 image:3x3 text:4", 0, 0, (0, 0, 0), (0, 0, 0)),
        # The same with h and w 0..2, where the first three text tokens are too, at another t.
        ("mrope-i", {}, "text:3 image:3x3 text:4", 0, 0, (0, 3, 3), (0, 0, 0)),
        # Vision at t 3, h and w 2..4; text at 0 1 2 and 4 5 6 7: 2 and 4 are taken, 4 is not past.
        ("videorope", {}, "text:3 image:3x3 text:4", 0, 0, (0, 2, 2), (0, 1, 1)),
        # t does not rotate, so text at 2 and 4 shares its place with a corner of the image.
        ("hope", {}, "text:3 image:3x3 text:4", 2, 0, (None, 2, 2), (None, 1, 1)),
        # The next frame's square lies one further along both axes: 2 x 2 cells of each meet.
        ("hope", {}, "text:1 video:2x3x3", 1, 8, (None, 1, 1), (None, 0, 0)),
        # Half a position a frame, truncated: two frames at t 0.
        ("mrope", {"temporal_stride": 0.5}, "text:1 video:2x1x2", 0, 4, (0, 0, 0), (0, 0, 0)),
        # Text has no coordinate on h and w: all of it lies before the last row and column.
        ("+text-spatial-reset", {}, "text:2 image:2x2 text:2", 0, 0, (0, 4, 4), (0, 2, 2)),
    ],
)
def test_overlap_by_hand(
    name: str, overrides: dict[str, Any], layout: str, shared: int, doubled: int, same_id: Any, not_past: Any
) -> None:
    overlap = analysed(name, layout, **overrides).overlap
    assert (overlap.shared, overlap.doubled, overlap.same_id, overlap.not_past) == (shared, doubled, same_id, not_past)


@pytest.mark.parametrize(
    ("name", "layout", "rank", "needed"),
    [
        ("vanilla", "image:3x4", 1, 2),
        ("vanilla", "image:1x4", 1, 1),
        ("mrope", "image:3x4", 2, 2),
        ("mrope", "video:2x3x4", 3, 3),
        ("videorope", "video:2x3x4", 3, 3),
        ("hope", "image:3x4", 2, 2),
        ("hope", "video:2x3x4", 2, 3),
        ("circlerope", "video:2x3x4", 2, 3),
        ("circlerope", "image:3x4", 2, 2),
        ("circlerope-upstream", "video:2x3x4", 3, 3),
        ("hope", "image:3x4 video:2x3x4", 2, 3),
    ],
)
def test_structure_by_hand(name: str, layout: str, rank: int, needed: int) -> None:
    structure = analysed(name, layout).structure
    assert (structure.rank, structure.needed) == (rank, needed)


def test_spectrum_by_hand() -> None:
    """mrope gives eight pairs to t, h, w as 2, 3, 3; wavelengths double from pair to pair."""
    spectra = analyze(load_variant("mrope"), parse_layout(DEFAULT_LAYOUT), EVERY_OTHER_PAIR).spectra
    assert [s.pairs for s in spectra] == [16, 24, 24]  # on eight KV heads
    assert [s.share for s in spectra] == [0.25, 0.375, 0.375]
    turns = 2 * math.pi
    assert [s.shortest for s in spectra] == pytest.approx([turns, turns * 4, turns * 32])
    assert [s.longest for s in spectra] == pytest.approx([turns * 2, turns * 16, turns * 128])
    assert [s.bands for s in spectra] == [(1, 0, 0, 0), (0, 1, 0.5, 0), (0, 0, 0.5, 1)]
    uneven = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(4)
    assert [s.entropy for s in spectra] == pytest.approx([0, uneven, uneven])
    assert [s.gap for s in spectra] == pytest.approx([6 / 7, 3 / 7, 5 / 7])


@pytest.mark.parametrize("name", variant_names())
def test_every_pair_is_counted_once(name: str) -> None:
    analysis = analysed(name)
    idle = float((analysis.table.axis < 0).mean())
    assert sum(s.share for s in analysis.spectra) == pytest.approx(1 - idle)
    for band in range(4):
        assert sum(s.bands[band] for s in analysis.spectra) <= 1 + 1e-12
    for s in analysis.spectra:
        assert 0 <= s.gap <= 1
        assert s.entropy is None or 0 <= s.entropy <= 1 + 1e-12
        assert (s.pairs == 0) == (s.shortest is None) == (s.longest is None)


def test_vanilla_decays_by_its_closed_form() -> None:
    distances = np.array([0, 1, 2, 7, 100, 5000.5, 30000])
    theta, dim = 1e6, 128
    expected = [sum(math.cos(d * theta ** (-2 * i / dim)) for i in range(dim // 2)) / (dim // 2) for d in distances]
    curves = decay(DEFAULT_GEOMETRY.table(load_variant("vanilla")), distances)
    assert set(curves) == {"t", "text"}
    assert curves["t"] == pytest.approx(expected, abs=1e-4)  # frequencies are float32
    assert curves["text"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", variant_names())
def test_decay_is_what_rotation_does(name: str) -> None:
    """Equal vectors with the same length in every pair, rotated by the table's own cos and sin."""
    table = EIGHT_HEADS.table(load_variant(name))
    distances = np.array([0.0, 1.0, 3.0, 10.5, 300.0])
    curves = decay(table, distances)
    for axis, letter in enumerate("thw"):
        mine = table.axis == axis
        if not mine.any():
            assert letter not in curves
            continue
        positions = np.zeros((3, len(distances)))
        positions[axis] = distances
        cos, sin = table.cos_sin(positions)
        x, y = np.cos(0.3), np.sin(0.3)
        dots = (x * (x * cos - y * sin) + y * (y * cos + x * sin)).transpose(1, 0, 2)[:, mine].mean(axis=1)
        assert curves[letter] == pytest.approx(dots, abs=1e-4)
    cos, _ = table.cos_sin(np.tile(distances, (3, 1)))
    assert curves["text"] == pytest.approx(cos.mean(axis=(0, 2)), abs=1e-4)
    assert all(curve[0] == 1 and np.abs(curve).max() <= 1 for curve in curves.values())


def test_whole_heads_decay_like_vanilla() -> None:
    distances = np.arange(FURTHEST, dtype=np.float64)
    vanilla = decay(EIGHT_HEADS.table(load_variant("vanilla")), distances)["t"]
    for curve in decay(EIGHT_HEADS.table(load_variant("mhrope")), distances).values():
        assert curve == pytest.approx(vanilla)


def test_half_distance() -> None:
    assert half_distance(np.array([1, 0.5, 0.6, 0.49, 0.7]), np.array([0, 1, 2, 3, 4.0])) == 3
    assert half_distance(np.array([1, 0.5]), np.array([0, 1.0])) is None


def test_chunks_put_time_on_fast_pairs() -> None:
    """What the paper holds against MRoPE: along t, attention decays within a few positions; MRoPE-I repairs it."""
    distances = np.arange(FURTHEST, dtype=np.float64)
    half = {
        name: half_distance(decay(EIGHT_HEADS.table(load_variant(name)), distances)["t"], distances)
        for name in ("vanilla", "mrope", "mrope-i")
    }
    assert half["mrope"] == 3
    assert half["mrope-i"] is not None and half["vanilla"] is not None
    assert half["mrope-i"] > 20 * 3


CLAIMS = [
    # coherence, full spectrum, text prior: as arXiv 2510.23095 argues for each, in the order of its Table 2.
    ("vanilla", False, True, True),  # one dimension for three
    ("v2pe", False, True, True),
    ("mrope", True, False, True),  # t on the fastest pairs only
    ("videorope", False, False, True),  # the diagonal reaches into later text
    ("hope", False, False, False),  # the same, and pairs that no longer turn with text
    ("circlerope", False, False, True),  # all frames collapse onto one ring
    ("circlerope-upstream", True, False, True),
    ("ilrope", False, False, False),  # text has no coordinate on rows and columns
    ("omnirope", False, False, False),
    ("mhrope", True, True, True),
    ("mrope-i", True, True, True),
    ("qwen3-vl", True, True, True),
    # Ablations of Tables 3 and 4: what each row breaks.
    ("+diagonal", False, True, True),
    ("+text-spatial-reset", False, True, False),
    ("+spatial-base", True, False, False),
    ("videorope-like", True, False, True),
    ("ilrope-like", True, False, True),
]


@pytest.mark.parametrize(("name", "coherent", "full", "text"), CLAIMS)
def test_guidelines_agree_with_the_paper(name: str, coherent: bool, full: bool, text: bool) -> None:
    analysis = analysed(name)
    assert (analysis.coherent, analysis.full_spectrum, analysis.keeps_text) == (coherent, full, text)


@pytest.mark.parametrize(
    ("name", "overrides", "coherent", "full", "text"),
    [
        ("mrope-i", {"temporal_stride": 0.25}, False, True, True),  # frames of the default video at t 0 0 1 1
        ("mrope-i", {"mrope_section": [48, 8, 8]}, True, False, True),  # Table 6
        ("mrope-i", {"no_rotation": "w"}, False, False, False),
        ("mrope-i", {"scaling": {"type": "linear", "factor": 4.0}}, True, True, False),
        ("videorope", {"layout": "grid"}, True, False, True),
        ("grape", {"log_freq_scale": 1.5}, True, False, False),
    ],
)
def test_a_verdict_follows_the_parameters(
    name: str, overrides: dict[str, Any], coherent: bool, full: bool, text: bool
) -> None:
    analysis = analysed(name, "text:12 image:9x7 text:20 video:16x6x8@2 text:20", **overrides)
    assert (analysis.coherent, analysis.full_spectrum, analysis.keeps_text) == (coherent, full, text)


# --- the paper's Table 1 ----------------------------------------------------------------------------------------------

TABLE_1 = {
    # 3D structure, modality interval, range, granularity, compatible with text-only RoPE: as printed in v3.
    "vanilla": (False, True, None, None, True),
    "v2pe": (False, True, None, None, True),
    "rope-tie": (True, False, True, False, True),
    "mrope": (True, True, False, False, True),
    "circlerope": (True, False, False, False, True),
    "videorope": (True, False, False, False, True),
    "ilrope": (True, True, False, False, False),
    "omnirope": (True, True, False, False, False),
    "mhrope": (True, True, True, True, True),
    "mrope-i": (True, True, True, False, True),
}


@pytest.mark.parametrize("layout", [DEFAULT_LAYOUT, "text:3 image:40x30 text:5", "text:40 video:3x12x16 text:9"])
@pytest.mark.parametrize("name", TABLE_1)
def test_table_1_is_as_printed(name: str, layout: str) -> None:
    row_marks = marks(analysed(name, layout))
    assert tuple(getattr(row_marks, column) for column in COLUMNS) == TABLE_1[name]
    assert row_marks.spelled == PRINTED[name] and PRINTED.keys() == TABLE_1.keys()


@pytest.mark.parametrize(
    ("name", "overrides", "spelled"),
    [
        # What each mark hangs on, changed alone.
        ("ilrope-upstream", {}, "yyyny"),  # the package's: MRoPE-I's frequencies, text as in vanilla RoPE
        ("omnirope-upstream", {}, "yynny"),
        ("mrope-i", {"text_spatial_reset": True}, "yyynn"),
        ("mrope-i", {"modality_interval": 1}, "ynyny"),
        ("mrope-i", {"modality_interval": 0.25}, "ynyny"),
        ("+modality-interval", {}, "ynyny"),
        ("+diagonal", {}, "ynyny"),
        ("mhrope", {"mrope_section": [4, 4, 0]}, "nyyyy"),  # columns do not rotate
        ("mrope-i", {"no_rotation": "w"}, "nyynn"),
        ("mrope-i", {"temporal_stride": 0.5}, "yyyny"),
        ("interleave-12-26-26", {}, "yynny"),  # t has no slow pair
        ("interleave-0-32-32", {}, "ynyny"),  # and here none at all: nothing parts a picture from the text before it
    ],
)
def test_a_mark_follows_the_parameters(name: str, overrides: dict[str, Any], spelled: str) -> None:
    assert marks(analysed(name, **overrides)).spelled == spelled


@pytest.mark.parametrize(
    ("name", "before", "after", "spare"),
    [
        ("vanilla", 1, 1, 0),
        ("v2pe", 16 / 63, 1, 16 / 63 - 1),
        ("mrope", 1, 1, 0),  # rows end one before the text; frames and columns earlier
        ("mrope-i", 1, 9, 0),  # rows and columns do not move with the text, time does
        ("videorope", -3, -3, -8),  # four rows above and below the diagonal
        ("rope-tie", (63 - 9) / 2 + 1, (63 - 9) / 2 + 1, 54),
    ],
)
def test_intervals_by_hand(name: str, before: float, after: float, spare: float) -> None:
    """A picture of 9 x 7."""
    table = EIGHT_HEADS.table(load_variant(name)).axis
    rotating = [axis for axis in range(3) if (table == axis).any()]
    gaps = interval(load_variant(name), Vision(1, 9, 7), rotating)
    assert (gaps.before, gaps.after, gaps.spare) == pytest.approx((before, after, spare))


def test_the_command_knows_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "table1", "+3d", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["table1"]["rows"]
    assert [row["variant"] for row in rows] == [*TABLE_1, "+3d"]
    assert all(row["marks"] == row["printed"] for row in rows[:-1]) and rows[-1]["printed"] is None
    assert main(["analyze", "mrope-i", "mhrope", "--set", "text_spatial_reset=true"]) == 0
    assert capsys.readouterr().out.count("differs: text") == 2


@pytest.mark.parametrize("name", DEFAULT_VARIANTS)
def test_a_verdict_does_not_know_names(name: str) -> None:
    variant = load_variant(name)
    alias = Variant.from_dict({**variant.to_dict(), "name": "other", "summary": "", "source": ""})
    segments = parse_layout(DEFAULT_LAYOUT)
    ours, theirs = analyze(variant, segments, EIGHT_HEADS), analyze(alias, segments, EIGHT_HEADS)
    for verdict in ("coherent", "full_spectrum", "keeps_text", "overlap", "growth", "spectra"):
        assert getattr(ours, verdict) == getattr(theirs, verdict)


def test_text_that_differs_is_measured() -> None:
    assert analysed("mrope").text_deviation == 0
    factor = 1.25
    stretched = analysed("mrope", scaling={"type": "yarn", "factor": 4.0, "attention_factor": factor})
    assert stretched.text_deviation >= factor - 1  # at position 0 every cosine is the factor instead of 1


def test_layouts() -> None:
    parts = parse_layout(" text:12 image:9x7  image:1x9x7 video:4x2x3 video:4x2x3@0.5 ")
    assert parts == (Text(12), Vision(1, 9, 7), Vision(1, 9, 7), Vision(4, 2, 3), Vision(4, 2, 3, 0.5))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("text:3 picture:2x2", "picture:2x2"),
        ("text:x image:2x2", "text:x"),
        ("image:2x2x2", "image:2x2x2"),
        ("image:0x2", "image:0x2"),
        ("video:2x2", "video:2x2"),
        ("video:2x2x2@-1", "video:2x2x2@-1"),
        ("text:12", "no image and no video"),
        ("", "no image and no video"),
    ],
)
def test_bad_layouts_are_named(text: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        parse_layout(text)


def test_too_few_heads_are_said_or_refused() -> None:
    report = make_report(["mhrope"])
    assert report.notes == ("mhrope assigns 8 KV heads, the model has 4: analysed with 8.",)
    with pytest.raises(VariantError, match="8 KV heads"):
        make_report(["mhrope"], fixed_heads=True)
    with pytest.raises(VariantError, match="adds up"):
        make_report(["mrope"], overrides={"mrope_section": [1, 2, 3]})
    assert make_report(["mhrope"], overrides={"mrope_section": [1, 2, 1]}).notes == ()


SMALL = ["analyze", "mrope-i", "v2pe", "circlerope", "--layout", "text:2 video:2x2x3 text:2"]


def test_text_and_markdown_hold_the_same_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    text = capsys.readouterr().out
    assert main([*SMALL, "--format", "markdown"]) == 0
    markdown = capsys.readouterr().out
    assert "+8.071" not in text  # a ring of six cells, not of one
    for line in ("layout: text:2 video:2x2x3 text:2", "model: head_dim 128, 4 KV heads, rope_theta 1e+06"):
        assert line in text
        assert line in markdown
    cells = [line.split("|")[1].strip() for line in markdown.splitlines() if line.startswith("| ")]
    assert cells.count("v2pe") == 1 + 1 + 1 + 1 + 3 + 2
    assert text.count("\nv2pe ") == cells.count("v2pe")


def test_json_and_csv_hold_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["geometry"] == {"head_dim": 128, "num_kv_heads": 4, "rope_theta": 1e6, "rotary_dim": None}
    assert [row["coherent"] for row in report["guidelines"]["rows"]] == [True, False, False]
    assert [row["marks"] for row in report["table1"]["rows"]] == ["yyyny", "ny--y", "ynnny"]
    assert main([*SMALL, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    table = {(r["section"], r["variant"], r["item"], r["quantity"]): r["value"] for r in rows}
    assert len(table) == len(rows)
    for row in report["table1"]["rows"]:
        assert table["table1", row["variant"], "", "marks"] == row["marks"]
    for section, keys in (("growth", ("variant", "block")), ("decay", ("variant", "axis"))):
        for row in report[section]["rows"]:
            for quantity in set(row) - set(keys):
                value = table[section, row["variant"], row[keys[1]], quantity]
                assert (float(value) if value else None) == row[quantity]


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    assert main(["analyze"]) == 0 and main(["analyze", "table1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    without_model, _, _ = page.partition("## Attention on visual tokens")
    excerpts = [line for block in without_model.split("```")[1::2] for line in block.strip().splitlines()]
    assert len(excerpts) > 20
    assert [line for line in excerpts if line not in printed] == []


def test_options_shape_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--head-dim", "64", "--kv-heads", "2", "--theta", "10000", "--set", "temporal_stride=2"]
    assert main(["analyze", "mrope", *options, "--layout", "video:3x1x1", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["geometry"] == {"head_dim": 64, "num_kv_heads": 2, "rope_theta": 1e4, "rotary_dim": 64}
    assert [row["pairs"] for row in report["spectrum"]["rows"]] == [16, 24, 24]
    assert report["growth"]["rows"][0]["advance"] == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mropei"], "did you mean"),
        (["mrope,hope", "mrope"], "named twice"),
        (["mrope", "--layout", "text:3"], "no image and no video"),
        (["mrope", "--limit", "3"], "--limit is not read for an analysis without --tasks"),
        (["mrope", "--tasks", "chartqa"], "give --model"),
        (["mrope", "--tasks", "chartqa", "--model", "x", "--theta", "10"], "--theta is not read for attention"),
        (["mhrope", "--kv-heads", "4"], "mrope_section"),
        (["mrope", "--model", "/nowhere"], "/nowhere"),
        (["mrope", "--section", "growht"], "did you mean 'growth'? The tables are guidelines, table1, growth, overlap"),
        (["mrope", "--section", "growth", "--tasks", "chartqa", "--model", "x"], "--section is not read for"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json"])
def test_sections_are_chosen_by_name(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*options: str) -> str:
        assert main(["analyze", "mrope", "--format", form, *options]) == 0
        return capsys.readouterr().out

    chosen, whole = printed("--section", "decay,growth"), printed()
    assert chosen == printed("--section", "growth", "--section", "decay"), "in their own order"
    if form == "json":
        left_out = {"guidelines", "table1", "overlap", "spectrum"}
        assert json.loads(chosen) == {key: value for key, value in json.loads(whole).items() if key not in left_out}
    else:
        assert set(chosen.splitlines()) < set(whole.splitlines()) and len(chosen) < len(whole) / 2


def test_figures_are_vector_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "mrope", "hope", "mhrope", "--figures", str(tmp_path / "new")]) == 0
    written = capsys.readouterr().err.split()
    assert sorted(Path(p).name for p in written) == sorted(
        f"{name}.{suffix}" for name in ("positions", "frequencies", "decay") for suffix in ("pdf", "png")
    )
    for path in map(Path, written):
        content = path.read_bytes()
        if path.suffix == ".pdf":
            assert content.startswith(b"%PDF") and b"/Subtype /Image" not in content
        else:
            assert content.startswith(b"\x89PNG") and len(content) > 5000

"""Chance levels, against guessing itself."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.scorer.chance import chance_level, expected_iou
from mmrope_eval.scorer.score import span_iou

FOUR = {"answer": "B", "options": ["a cat", "a dog", "a cow", "a hen"]}
TWO = {"answer": "A", "options": "Is it? A. yes\nB. no"}


@pytest.mark.parametrize(
    ("average", "targets", "expected"),
    [
        ("micro", [FOUR], 0.25),
        ("micro", [FOUR, TWO], 0.375),
        ("micro", [FOUR, None], 0.125),  # a row that cannot be read is wrong
        ("micro", [{"answer": "red"}], 0.0),
        ("micro", [{"answer": "2000", "options": None}], 0.0),
        ("micro", [{"box": [0, 0, 9, 9]}], 0.0),
        ("macro", [{**FOUR, "group": "x"}, {**FOUR, "group": "x"}, {**TWO, "group": "y"}], 0.375),
        ("circular", [{**FOUR, "group": "7"}, {**FOUR, "group": "7"}, {**TWO, "group": "8"}], (1 / 16 + 1 / 2) / 2),
        ("mmmu", [{**FOUR, "group": "Art"}, {"answer": "5", "options": "[]", "group": "Art"}], 0.125),
    ],
)
def test_chance(average: str, targets: list[Any], expected: float) -> None:
    assert chance_level(average, targets, [None] * len(targets)) == pytest.approx(expected)


@pytest.mark.parametrize("average", ["micro", "macro", "circular"])
def test_chance_is_what_guessing_scores(average: str) -> None:
    rng = Random(1)
    targets = [{"answer": "A", "options": ["w", "x", "y", "z"][: rng.randint(2, 4)], "group": str(rng.randint(0, 3))}
               for _ in range(8)]  # fmt: skip

    def guess() -> float:
        values = [float(rng.randrange(len(target["options"])) == 0) for target in targets]
        return AGGREGATES[average]([Item.of(v, t) for v, t in zip(values, targets, strict=True)]).value

    expected = chance_level(average, targets, [None] * len(targets))
    assert sum(guess() for _ in range(6000)) / 6000 == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize(("start", "end", "duration"), [(2.0, 7.5, 30.0), (0.0, 30.0, 30.0), (10.0, 10.4, 12.0)])
def test_a_guessed_span_overlaps_as_expected(start: float, end: float, duration: float) -> None:
    rng = Random(0)
    drawn = (sorted((rng.uniform(0, duration), rng.uniform(0, duration))) for _ in range(20_000))
    mean = sum(span_iou((low, high), (start, end)) for low, high in drawn) / 20_000
    assert expected_iou(start, end, duration) == pytest.approx(mean, abs=0.006)


def test_a_span_in_a_video_of_unknown_length_has_no_chance_level() -> None:
    assert math.isnan(chance_level("micro", [{"span": [1.0, 2.0]}], [None]))
    assert math.isnan(chance_level("micro", [], []))


def test_the_page_on_tables_says_where_chance_is_from() -> None:
    """It is computed, also where answers are mixed, overlap or must be right under every rotation."""
    root = Path(__file__).resolve().parents[2]
    page = " ".join((root / "docs" / "tables.md").read_text().split())
    (paragraph,) = re.findall(r"`chance` is .*?random span\.", page)
    assert "computed from them and not declared" in paragraph and "as each task declares" not in page
    with (root / "results" / "demo" / "table2.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["row"] == "mrope-i"]
    names = ("RealWorldQA", "MMBench", "Charades-STA", "Overall")
    shown = {row["column"]: round(float(row["chance"]), 2) for row in rows if row["column"] in names}
    assert shown == {"RealWorldQA": 26.91, "MMBench": 5.86, "Charades-STA": 15.84, "Overall": 12.36}

"""The benchmark behind docs/calibration.md: it repeats itself, and what the page promises holds where drawn anew."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from loaded_scripts import load_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("benchmarks/calibration.py")


def rows(part: str) -> list[list[str]]:
    """The lines of a part's first table on the page, without its heading."""
    page = (ROOT / "docs" / "calibration.md").read_text()
    inside = page.partition(f"<!-- {part} -->")[2].partition("<!-- end -->")[0].strip()
    lines = [line for line in inside.partition("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_line_is_drawn_from_a_seed_of_its_own(bench: ModuleType) -> None:
    world = bench.World(20, 7, 0.1, 0.3)
    assert bench.covered(world, 30) == bench.covered(world, 30)
    assert world.seed != bench.World(20, 7, 0.3, 0.3).seed


@pytest.mark.parametrize(("kind", "groups", "level", "each"), [
    ("right or wrong", 1, 0.3, 7), ("graded", 1, 0.8, 4), ("circular", 1, 0.5, 4), ("macro", 7, 0.5, 1)])
def test_intervals_contain_the_truth_as_often_as_they_say(
    bench: ModuleType, kind: str, groups: int, level: float, each: int
) -> None:
    """300 rounds: 95 is sure to 3.8 points (three standard errors), and 60 clusters are enough."""
    icc = 0.1 if each > 1 and kind != "circular" else 0.0
    clusters = 63 if kind == "macro" else 60
    assert 91 <= bench.covered(bench.World(clusters, each, icc, level, kind, groups), 300) <= 99.5


def test_intervals_that_are_too_short_are_found_out(bench: ModuleType) -> None:
    """The mutant counts every question as independent."""
    world = bench.World(60, 15, 0.3, 0.5)

    def alone(layout: object, values: object) -> tuple[float, float]:
        return bench.printed(bench.Layout.of(range(len(values))), values)  # type: ignore[arg-type, no-any-return]

    assert bench.covered(world, 200, alone) < 75


def test_honest_checks_of_two_trainings_a_side_hardly_ever_fail(bench: ModuleType) -> None:
    """A training changes two points; 300 checks: 5 % are sure to 3.8 points."""
    fails, single, overall, column = bench.judged(bench.Trained(2, 2.0), 300)
    assert fails <= 8.8
    assert single >= 15, "where one training a side is taken for the design"
    assert overall >= 91 and column >= 91


# -- the page -----------------------------------------------------------------------------------------------------

def test_the_page_has_every_line(bench: ModuleType) -> None:
    assert len(rows("scores")) * len(bench.TOGETHER) == len(bench.SCORES)
    assert len(rows("tests")) == len(bench.TESTS) and len(rows("trainings")) == len(bench.TRAININGS)


def test_on_the_page_no_test_and_no_check_over_trainings_cries_wolf() -> None:
    """2,000 rounds: 5 % are sure to 1.5 points."""
    for row in rows("tests"):
        assert float(row[3]) <= 6.5 and float(row[4]) <= 6.5, row
    for row in rows("trainings"):
        assert float(row[3]) <= 5.0, row
        assert "collapses" in row[0] or min(map(float, row[5:])) >= 93, row


def test_the_command_of_the_page_is_the_benchmark_s() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text()
    text = (ROOT / "benchmarks" / "calibration.py").read_text()
    (command,) = re.findall(r"^    python (benchmarks/calibration\.py [^#\n]*)", page, re.MULTILINE)
    for option in re.findall(r"--\w+", command):
        assert f'"{option}"' in text

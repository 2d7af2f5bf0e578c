"""The table on the screen."""

from __future__ import annotations

import pytest
from table_entries import entry

from mmrope_eval.run.results import table

ROWS = {
    "vanilla": {"a": entry("A", 12.345), "b": entry("B", None)},
    "mrope-i": {"a": entry("A", 50.0, failed=2)},
}


def test_rows_are_variants_and_columns_tasks() -> None:
    words = [line.split() for line in table(ROWS).splitlines()]
    assert words[:2] == [["A", "B"], ["acc", "acc"]]
    assert words[3:] == [["vanilla", "12.35", "—"], ["mrope-i", "50.00*", "—"], ["n", "7", "7"]]


@pytest.mark.parametrize("tasks", [11, 24])
def test_many_tasks_go_down_the_page(tasks: int) -> None:
    rows = {name: {f"t{i}": entry(f"T{i}", i / 3) for i in range(tasks)} for name in ROWS}
    lines = table(rows).splitlines()
    assert lines[0].split() == ["vanilla", "mrope-i", "n"]
    assert lines[-1].split() == [f"T{tasks - 1},", "acc", *[f"{(tasks - 1) / 3:.2f}"] * 2, "7"]
    assert max(map(len, lines)) < 80

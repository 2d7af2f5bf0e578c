"""MMBench CN, and the mean of it and the English one: columns that are shown only where runs fill them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_files import write_cell
from table_runs import scores

from mmrope_eval.errors import UserError
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.task.registry import Registry


def every() -> dict[str, list[float]]:
    """All of the suite, right in every second sample but ChartQA, of which none is."""
    return {spec.name: [0, 0] if spec.name == "chartqa" else [1, 0] for spec in Registry().select(["table2"])}


def overall(folder: Path, **options: Any) -> Table:
    return build(load_definition("overall"), [load_run(folder)], Options(**options))


@pytest.mark.parametrize(("tasks", "shown"), [
    ({}, ["MMBench"]),
    ({"mmbench_cn": [1, 1]}, ["MMBench", "MMBench CN", "MMBench avg"]),
])
@pytest.mark.parametrize("options", [{}, {"partial": True}, {"trim": False}])
def test_mmbench_cn_and_the_mean_of_both_are_shown_where_they_are(
    tmp_path: Path, tasks: dict[str, list[float]], shown: list[str], options: dict[str, bool]
) -> None:
    write_cell(tmp_path / "run", "mrope", {**every(), **tasks})
    table = overall(tmp_path, **options)
    assert [column for column in table.columns if column.startswith("MMBench")] == shown
    assert scores(table)["mrope", "Image"] == pytest.approx(500 / 11, abs=1e-6), "CN is in no average"
    assert [table.definition.categories[column] for column in shown] == ["Image"] * len(shown)
    assert [table.labels[column] for column in shown] == shown and not {*table.hidden} & {"MMBench CN", "MMBench avg"}
    if tasks:
        assert scores(table)["mrope", "MMBench avg"] == 75


@pytest.mark.parametrize("partial", [False, True])
def test_the_mean_of_both_is_of_both(tmp_path: Path, partial: bool) -> None:
    write_cell(tmp_path / "both", "mrope", {"mmbench": [1, 0], "mmbench_cn": [1, 1]})
    write_cell(tmp_path / "one", "hope", {"mmbench": [1, 1]})
    table = overall(tmp_path, partial=partial)
    assert scores(table)["mrope", "MMBench avg"] == 75 and scores(table)["hope", "MMBench avg"] is None
    assert table.labels["MMBench avg"] == "MMBench avg"


def test_if_known_names_columns(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("rows: [mrope]\ncolumns: [ChartQA]\nif_known: [DocVQA]\n")
    with pytest.raises(UserError, match="if_known names 'DocVQA', which is none of its columns"):
        load_definition(str(tmp_path / "t.yaml"))

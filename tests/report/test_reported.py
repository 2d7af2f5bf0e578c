"""The paper's numbers: all of them, with their averages; beside ours; and as what a run is checked against."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from paper_runs import AVERAGES, OPTIONAL, TASKS, change_variant, every_column
from report_files import COLUMNS, write_cell

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.published import Published, load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.notes import footnotes, remarks
from mmrope_eval.util.paths import project_dir

PLACES = [folder / "shared" / "huang2025_v3.yaml" for folder in Path(__file__).resolve().parents]
FACTS = next((path for path in PLACES if path.is_file()), None)
"""The collection that results/reported/huang2025.yaml was made from; it is no part of the repository."""
VARIANTS = ("vanilla", "mrope", "videorope", "hope", "circlerope", "mhrope", "mrope-i")
FULL = ("overall", "families-4b", "families-8b")


@pytest.fixture(scope="module")
def paper() -> Published:
    return load_published()


# ------------------------------------------------------------------------------------------------------ every number


def test_every_cell_of_the_paper_is_there_with_its_source(paper: Published) -> None:
    columns = [column for name in ("Image", "Video", "Grounding") for column in AVERAGES[name]]
    assert len(columns) == 25
    counts = {}
    for name in FULL:
        cells = paper.tables[name].cells
        assert tuple(cells) == VARIANTS and all({*columns} <= {*row} for row in cells.values())
        counts[name] = sum(column in columns for row in cells.values() for column in row)
    assert counts == {"overall": 175, "families-4b": 175, "families-8b": 175}
    small = {name: sum(map(len, table.cells.values())) for name, table in paper.tables.items()
             if name not in (*FULL, "families")}
    assert small == {"position": 42, "frequency": 16, "yarn": 8, "attention": 16, "ratio": 20, "stride": 28}
    assert {source for table in paper.tables.values() for row in table.cells.values()
            for _, source in row.values()} == {"P"}
    numbers = [table.number for table in paper.tables.values()]
    assert sorted(numbers) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]  # type: ignore[type-var]
    assert {table.model for table in paper.tables.values() if "families" not in table.name} == {
        "Qwen2.5-VL's ViT and connector with Qwen2.5-7B"}


def test_printed_averages_are_the_means_of_their_cells_but_for_the_deviations(paper: Published) -> None:
    deviations = []
    for table in paper.tables.values():
        for row, cells in table.cells.items():
            for average, parts in table.averages.items():
                if average not in cells or parts is None or any(part not in cells for part in parts):
                    continue
                mean = sum(cells[part][0] for part in parts) / len(parts)
                assert cells[average][0] == pytest.approx(mean, abs=0.01), (table.name, row, average)
                if round(mean + 1e-9, 2) != cells[average][0] and abs(mean - cells[average][0]) > 0.005 + 1e-9:
                    deviations.append({"table": table.name, "row": row, "column": average, "printed": cells[average][0],
                                       "mean": round(mean, 3)})
    full_deviations = [deviation for deviation in deviations if deviation["table"] in FULL]
    assert full_deviations == list(paper.deviations) and len(full_deviations) == 1
    counted = sum(average in cells for name in FULL for cells in paper.tables[name].cells.values()
                  for average in ("Image", "Video", "Grounding"))
    assert counted == 63


def test_table_3_holds_the_averages_of_tables_10_and_11(paper: Published) -> None:
    three = paper.tables["families"]
    for group, name in (("4B", "families-4b"), ("8B", "families-8b")):
        for row, cells in paper.tables[name].cells.items():
            for average in ("Image", "Video", "Grounding"):
                assert three.cells[row][f"{group} {average}"] == cells[average]


def test_rows_of_one_model_agree_from_table_to_table(paper: Published) -> None:
    pairs = {"vanilla": ("position", "vanilla"), "mrope-i": ("position", "+3d+spatial-reset"),
             "mhrope": ("frequency", "multi-head")}
    for row, (table, label) in pairs.items():
        for column in ("Video", "Grounding"):
            assert paper.tables["overall"].cells[row][column] == paper.tables[table].cells[label][column]
    assert paper.tables["frequency"].cells["interleave"] == paper.tables["ratio"].cells["24:20:20"]
    assert paper.tables["stride"].cells["1"]["Video"] == paper.tables["overall"].cells["mrope-i"]["Video"]


def test_the_images_of_the_ablations_are_over_columns_that_nobody_knows(paper: Published) -> None:
    for name in ("position", "frequency", "ratio"):
        assert paper.tables[name].averages["Image"] is None
    earlier = load_published("huang2025-v2").tables["overall"]
    assert {row: cells["Image"][0] for row, cells in earlier.cells.items()} == {
        "vanilla": 65.69, "mrope-i": 66.65, "mhrope": 66.40} and earlier.averages == {"Image": None}


@pytest.mark.skipif(FACTS is None, reason="the collection is no part of the repository")
def test_the_file_is_what_was_collected_from_the_paper(paper: Published) -> None:
    assert FACTS is not None
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))

    def values(name: str) -> dict[str, dict[str, float]]:
        return {row: {column: value for column, (value, _) in cells.items()}
                for row, cells in paper.tables[name].cells.items()}

    for name, key in zip(FULL, ("table2", "table10_qwen3_vl_4b", "table11_qwen3_vl_8b"), strict=True):
        assert values(name) == facts[key]
    for name, key, columns in (
        ("position", "table4_position", ["Image", "Grounding", "Video", "DocVQA", "InfoVQA", "ChartQA"]),
        ("frequency", "table5_frequency", ["Image", "Video", "Grounding", "Overall"]),
        ("yarn", "table6_yarn_256k", ["LVBench", "MLVU"]),
        ("attention", "table7_visual_attention", [f"Layer {layer}" for layer in (4, 12, 20, 28)]),
        ("ratio", "table8_ratio", ["Image", "Video", "Grounding", "Overall"]),
        ("stride", "table9_stride", ["MVBench", "STAR", "VideoMME", "LVBench", "MLVU", "Charades-STA", "Video"]),
    ):
        assert values(name) == {row: dict(zip(columns, cells, strict=True)) for row, cells in facts[key].items()}


# -------------------------------------------------------------------------------------------------------- beside ours


def without_blink() -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(part for part in parts if part not in OPTIONAL) for name, parts in AVERAGES.items()}


@pytest.mark.parametrize(("row", "eleven", "ten"), [
    ("vanilla", 62.17, 64.78), ("mrope-i", 63.79, 65.77), ("mhrope", 62.92, 64.93),
])
def test_an_average_is_compared_with_the_same_columns_only(
    row: str, eleven: float, ten: float, paper: Published
) -> None:
    overall = paper.tables["overall"]
    printed, other = overall.beside(row, "Image", AVERAGES), overall.beside(row, "Image", without_blink())
    assert printed is not None and (printed.value, printed.source, printed.comparable) == (eleven, "P", True)
    assert other is not None and (round(other.value + 1e-9, 2), other.source) == (ten, "R")
    assert overall.beside(row, "Image", {"Image": ("MMMU", "Unheard of")}).comparable is False  # type: ignore[union-attr]


def test_an_overall_that_was_not_printed_is_the_mean_of_the_printed_averages(paper: Published) -> None:
    overall = paper.tables["overall"].beside("mrope-i", "Overall", AVERAGES)
    assert overall is not None and overall.source == "R"
    assert overall.value == pytest.approx((63.79 + 52.36 + 75.85) / 3)
    unknown = paper.tables["frequency"].beside("interleave", "Overall", AVERAGES)
    assert unknown is not None and (unknown.value, unknown.comparable) == (64.95, False)


def table(name: str, folder: Path, **options: Any) -> Table:
    return build(load_definition(name), [load_run(folder)], Options(reported=load_published(), **options))


def kinds(built_table: Table) -> set[str]:
    return {note.kind for note in footnotes(built_table)}


def test_reported_scores_stand_beside_ours(tmp_path: Path) -> None:
    every_column(tmp_path, "mrope-i")
    built_table = table("overall", tmp_path)
    cell = built_table.cell("mrope-i", "Image")
    assert (cell["reported"], cell["source"], cell["difference"]) == (63.79, "P", pytest.approx(50 - 63.79))
    assert all(not np.isnan(built_table.cell("mrope-i", column)["difference"]) for column in built_table.columns)
    assert built_table.labels["Image"] == "Image avg (11)" and "partial" not in kinds(built_table)
    assert any("(P = printed in the paper; R = recomputed here" in remark for remark in remarks(built_table))


def test_a_run_without_blink_has_ten_columns_by_name_and_is_compared_over_ten(tmp_path: Path) -> None:
    every_column(tmp_path, "mrope-i", leave=("BLINK",))
    built_table = table("overall", tmp_path)
    assert "BLINK" not in built_table.columns and built_table.labels["Image"] == "Image avg (10)"
    cell = built_table.cell("mrope-i", "Image")
    assert (round(cell["reported"], 3), cell["source"]) == (65.765, "R") and cell["score"] == 50
    assert {"partial", "recomputed"} <= kinds(built_table)


def test_where_one_row_has_blink_the_others_are_not_averaged_without_it(tmp_path: Path) -> None:
    every_column(tmp_path / "a", "mrope-i")
    every_column(tmp_path / "b", "mrope", leave=("BLINK",))
    built_table = table("overall", tmp_path)
    assert built_table.labels["Image"] == "Image avg (11)" and built_table.cell("mrope-i", "Image")["score"] == 50
    assert np.isnan(built_table.cell("mrope", "Image")["score"]) and built_table.cell("mrope", "Video")["score"] == 50


def test_a_part_is_compared_with_the_same_part(tmp_path: Path) -> None:
    every_column(tmp_path, "vanilla", leave=("AI2D", "BLINK"))
    cell = table("overall", tmp_path, partial=True).cell("vanilla", "Image")
    cells = load_published().tables["overall"].cells["vanilla"]
    mean = sum(cells[column][0] for column in AVERAGES["Image"] if column not in ("AI2D", "BLINK")) / 9
    assert cell["reported"] == pytest.approx(mean) and cell["difference"] == pytest.approx(50 - mean)


def test_nothing_is_subtracted_from_an_average_that_nobody_knows(tmp_path: Path) -> None:
    every_column(tmp_path, "+3d")
    built_table = table("position", tmp_path)
    image, video = (built_table.cell("+3d", column) for column in ("Image", "Video"))
    assert image["reported"] == 65.87 and np.isnan(image["difference"])
    assert (video["reported"], video["difference"]) == (51.29, pytest.approx(50 - 51.29))
    assert "incomparable" in kinds(built_table)


def test_a_row_of_another_table_finds_its_numbers(tmp_path: Path) -> None:
    folder = every_column(tmp_path, "mrope-i")
    change_variant(folder, temporal_stride=2.0)
    built_table = table("overall", tmp_path)
    assert built_table.rows == ("mrope-i with temporal_stride=2.0",)
    assert built_table.cell(built_table.rows[0], "MLVU")["reported"] == 63.11 and np.isnan(
        built_table.cell(built_table.rows[0], "MMMU")["reported"])


# --------------------------------------------------------------------------------------------------- check against it


@functools.cache
def answers(score: float, n: int) -> tuple[float, ...]:
    """n samples whose mean is exactly the score: right ones, wrong ones, and one in between."""
    right = score / 100 * n
    return (*([1.0] * int(right)), right - int(right), *([0.0] * (n - int(right) - 1)))


def as_reported(folder: Path, table: str, row: str, *, lower: Mapping[str, float] | None = None,
                sizes: Mapping[str, int] | None = None, variant: str = "", **kwargs: Any) -> Path:
    """A run whose every benchmark scores what the paper reports, or so many points less."""
    cells = load_published().tables[table].cells[row]
    tasks = {}
    for column, (value, _) in cells.items():
        if column in TASKS:
            n = (sizes or {}).get(column, 400)
            tasks[TASKS[column]] = list(answers(value - (lower or {}).get(column, 0.0), n))
    expected = {"expected": None}
    return write_cell(folder, variant or row, tasks, changes=expected, **kwargs)


def check(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = cli.main(["check", *map(str, argv), "--against", "huang2025"])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_a_run_that_equals_every_reported_cell_has_no_miss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in VARIANTS:
        as_reported(tmp_path / "run" / row, "overall", row)
    code, text = check(capsys, tmp_path / "run", "--strict", "--require-all", "--tolerance", "0.01")
    assert code == 0 and text.startswith("Passed: 203 cells: 0 worse, "), "7 rows of 25 columns, 3 averages and Overall"
    assert "lower in these" not in text and "Missing" not in text and "Better" not in text


def test_one_point_less_in_one_large_column_is_said_and_caught_if_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    run = as_reported(tmp_path / "run", "overall", "mrope-i", lower={"RefCOCO val": 1.0}, sizes={"RefCOCO val": 10_834})
    code, text = check(capsys, run)
    assert code == 0 and "Cannot tell, lower in these samples:\n  RefCOCO val of mrope-i: 80.94 -> 79.94 (-1.00" in text
    code, text = check(capsys, run, "--strict")
    assert code == 1 and text.startswith("Failed: 29 cells: 0 worse, ") and " cannot tell, 1 lower.\n" in text


def test_a_table_shows_no_difference_from_a_run_that_equals_it(tmp_path: Path) -> None:
    as_reported(tmp_path, "overall", "hope")
    built_table = table("overall", tmp_path)
    assert max(abs(built_table.cell("hope", column)["difference"]) for column in built_table.columns) < 0.005


def test_without_blink_the_check_is_over_ten_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_reported(tmp_path / "whole", "overall", "mrope-i")
    cells = load_published().tables["overall"].cells["mrope-i"]
    tasks = {TASKS[column]: list(answers(value, 400)) for column, (value, _) in cells.items()
             if column in TASKS and column != "BLINK"}
    run = write_cell(tmp_path / "run", "mrope-i", tasks, changes={"expected": None})
    code, text = check(capsys, run, "--strict", "--tolerance", "0.01")
    assert code == 0 and text.startswith("Not failed: 28 cells: 0 worse, ") and ", but 1 of 29 cells is missing" in text
    assert "BLINK of mrope-i: the run did not evaluate it (baseline 44.08)." in text
    assert "Image (10 columns) of mrope-i: 65.7" in text


def test_an_ablation_is_checked_where_its_columns_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = {TASKS[column]: list(answers(value, 400)) for column, value in (
        ("DocVQA", 82.33), ("InfoVQA", 57.24), ("ChartQA", 61.44))}
    run = write_cell(tmp_path / "run", "+3d", tasks, changes={"expected": None})
    code, text = check(capsys, run)
    assert code == 0 and text.startswith(
        "Nothing could be told: 3 cells: 0 worse, 0 not worse by 2 points, 3 cannot tell, but 2 of 5 cells are missing")
    assert "Image of +3d was not compared: nobody outside knows over which columns it is." in text


def test_a_changed_design_is_not_held_to_the_row_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_cell(tmp_path / "run", "mrope-i", {"chartqa": [1, 0], "mvbench": [1, 0]}, changes={"expected": None})
    change_variant(run, temporal_stride=2.0)
    text = check(capsys, run)[1]
    assert "MVBench of mrope-i: 55.70 -> 50.00" in text and "ChartQA" not in text, "the table of strides has it"
    change_variant(run, temporal_stride=3.0)
    assert "reports nothing for mrope-i with temporal_stride=3.0" in check(capsys, run)[1]


def test_another_model_is_checked_against_its_own_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = as_reported(tmp_path / "run", "families-8b", "mrope-i")
    code, text = check(capsys, run, "--strict", "--table", "families-8b", "--tolerance", "0.01")
    assert code == 0 and text.startswith("Passed: 29 cells: 0 worse, ")
    assert "are of Qwen3-VL-8B-Instruct" in text
    assert "of Qwen2.5-VL's ViT and connector with Qwen2.5-7B" in check(capsys, run)[1]
    assert "has no table 'families-9b'; choose one of overall, families-4b" in check(
        capsys, run, "--table", "families-9b")[1]


@pytest.mark.parametrize("name", ["yarn", "attention"])
def test_what_is_no_run_s_is_not_compared_with_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_cell(tmp_path / "run", "mrope", {"lvbench": [1, 0]}, changes={"expected": None})
    assert "LVBench of mrope: 39.22 -> 50.00" in check(capsys, run)[1], "not 41.5 at 256K"
    assert "it has no rows of runs" in check(capsys, run, "--table", name)[1]


def test_how_the_run_was_asked_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_cell(tmp_path / "run", "mrope", {"chartqa": [1, 0]}, changes={"expected": None})
    assert "This run was not asked as protocol paper has it: not recorded: pictures of at most" in check(capsys, run)[1]


# ----------------------------------------------------------------------------------------------------- files of others


@pytest.mark.parametrize(("change", "words"), [
    (lambda text: text.replace("MMMU: 50.56", "MMMU: {source: P}"), "MMMU: a reported score needs a value"),
    (lambda text: text.replace("MMMU: 50.56", "MMMU: 505.6"), "needs a value from 0 to 100, not 505.6"),
    (lambda text: text.replace("MMMU: 50.56", "MMMU: .nan"), "needs a value from 0 to 100, not nan"),
    (lambda text: text.replace("  source: P\n", "", 1), "needs a source out of P, not None"),
    (lambda text: text.replace("MMMU: 50.56", "MMMU: {value: 50.56, source: D}"), "needs a source out of P, not 'D'"),
    (lambda text: text.replace("4B: families-4b", "4B: families-5b"), "group 4B is of the table families-5b"),
    (lambda text: text.replace("averages: {Video: *video}", "averages: [Video]"), "averages is a mapping of lists"),
    (lambda text: text.replace("mrope: {LVBench: 41.5, MLVU: 62.9}", "mrope: 41.5"), "a row is a mapping of columns"),
    (lambda text: "paper: none\n", "holds no tables"),
    (lambda text: "- 1\n", "must hold a YAML mapping"),
])
def test_a_bad_file_of_scores_is_one_sentence(change: Callable[[str], str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(change((project_dir("results") / "reported" / "huang2025.yaml").read_text()))
    with pytest.raises(UserError, match=words) as raised:
        load_published(str(path))
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


def test_an_unknown_publication_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no reported scores 'x'; choose one of huang2025, huang2025-v2"):
        load_published("x")


@pytest.mark.parametrize(("column", "at_least"), [
    ("MMMU", 20), ("MMStar", 19), ("OCRBench", 21), ("RealWorldQA", 17), ("VideoMME", 21), ("MVBench", 21),
    ("ChartQA", 19), ("LVBench", 15), ("AI2D", 16),
])
def test_printed_scores_are_counts_of_our_splits(column: str, at_least: int, paper: Published) -> None:
    # docs/paper.md: a mean of right answers over n questions is k / n, and two digits tell n where n is small.
    n = COLUMNS[TASKS[column]][4]
    scores = [paper.tables[name].cells[row][column][0] for name in FULL for row in VARIANTS]
    fits = [any(abs(100 * k / n - score) <= 0.00501 for k in (int(score * n / 100), int(score * n / 100) + 1))
            for score in scores]
    assert sum(fits) >= at_least and n < 5000

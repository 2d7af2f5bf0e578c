"""Training steps in reports: what a record says of them, which step fills a table, and scores over steps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from report_files import COLUMNS, write_cell
from table_runs import TASKS, definition, filled, scores

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.report.published import load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.steps.steps import load_steps
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.notes import remarks
from mmrope_eval.report.table.page import chance_of


def train(folder: Path, run: str, variant: str, steps: Mapping[int | None, list[float]], **options: Any) -> None:
    """Cells of a training: their scores in MVBench by step; None is a checkpoint that does not say its step."""
    for step, values in steps.items():
        model = f"{run}/checkpoint-{step}" if step is not None else f"{run}/final"
        write_cell(folder / model, variant, {**TASKS, "mvbench": values}, model=model, **options)


Trainings = Mapping[str, Mapping[int | None, list[float]]]
GOOD, HALF, BAD = [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]


# -------------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize(("model", "recorded", "step", "training"), [
    ("a/checkpoint-100", None, 100, "/models/a"),  # a run from before steps were recorded
    ("a/global_step7", None, 7, "/models/a"),
    ("mrope-i", None, None, None),
    ("a/checkpoint-100", {"step": 200, "run": "/elsewhere/b"}, 200, "/elsewhere/b"),
    ("a/checkpoint-100", {"step": None, "run": None}, None, None),
    ("final", {"step": 5, "run": "/runs/c"}, 5, "/runs/c"),
])
def test_a_cell_knows_its_step_and_training(
    model: str, recorded: Mapping[str, Any] | None, step: int | None, training: str | None, tmp_path: Path
) -> None:
    run = load_run(write_cell(tmp_path / "x", "hope", TASKS, model=model, checkpoint=recorded))
    assert (run.cells[0].step, run.cells[0].run) == (step, training)
    for frame in (run.scores, run.samples):
        assert frame["step"].dropna().unique().tolist() == ([] if step is None else [step])
        assert frame["training_run"].dropna().unique().tolist() == ([] if training is None else [training])


def test_a_snapshot_in_the_hubs_cache_is_called_after_its_repository(tmp_path: Path) -> None:
    model = f"hub/models--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/{'a' * 40}"
    assert load_run(write_cell(tmp_path / "x", "mrope", TASKS, model=model)).cells[0].model == "Qwen2.5-VL-3B-Instruct"


# --------------------------------------------------------------------------------------------------------- the table


REFUSED: dict[str, tuple[Trainings, dict[str, Any], str]] = {
    "steps of one training": (
        {"A": {100: BAD, 200: HALF, 1000: GOOD}}, {},
        "hope: training steps are not seeds, and its runs are steps 100, 200 and 1000 of /models/A; show one of them "
        "with --step 1000, the last with --step last or a line for each with --step all."),
    "their mean": (
        {"A": {100: BAD, 200: HALF}}, {"seeds": "mean"},
        "hope: --seeds mean averages different trainings at one step only, and its runs are steps 100 and 200 of "
        "/models/A; show one of them with --step 200,"),
    "other steps of other trainings": (
        {"A": {100: BAD}, "B": {200: HALF}}, {"seeds": "mean"},
        "its runs are step 100 of /models/A and step 200 of /models/B; show one of them with --step 200"),
    "the suggestion is a step that all have": (
        {"A": {100: BAD, 200: HALF}, "B": {100: GOOD}}, {}, "show one of them with --step 100,"),
    "last steps that differ": (
        {"A": {100: BAD, 300: GOOD}, "B": {100: HALF, 200: HALF}}, {"seeds": "mean", "step": "last"},
        "its runs are step 300 of /models/A and step 200 of /models/B; show a line for each with --step all."),
    "a checkpoint without a step": (
        {"A": {100: BAD}, "B": {None: GOOD}}, {"seeds": "mean"},
        "its runs are step 100 of /models/A and final without a step; show one of them with --step 100 or a line for "
        "each with --step all."),
    "a step that nobody has": (
        {"A": {100: BAD, 200: GOOD}, "B": {None: GOOD}}, {"step": 150},
        "--step 150: none of the runs is of this training step, there are steps 100 and 200 of /models/A."),
    "a step where there are none": (
        {"B": {None: GOOD}}, {"step": 150}, "their checkpoints' folders name none; leave --step out."),
    "two trainings of one step are seeds": (
        {"A": {100: BAD}, "B": {100: GOOD}}, {"step": 100}, "or take their mean with --seeds mean."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_steps_are_no_seeds(case: str, tmp_path: Path) -> None:
    runs, options, words = REFUSED[case]
    for run, steps in runs.items():
        train(tmp_path, run, "hope", steps)
    with pytest.raises(UserError) as raised:
        filled(tmp_path, "hope", **options)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_benchmarks_of_one_row_must_be_of_one_step(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "hope", {"chartqa": [1]}, model="A/checkpoint-1")
    write_cell(tmp_path / "b", "hope", {"mvbench": [1]}, model="A/checkpoint-2")
    with pytest.raises(UserError, match="hope: training steps are not seeds, and its runs are steps 1 and 2 of"):
        filled(tmp_path, "hope")


CHOSEN: dict[str, tuple[Trainings, dict[str, Any], dict[str, float], list[str]]] = {
    "a step": ({"A": {100: BAD, 200: GOOD}}, {"step": 100}, {"hope": 0}, ["Training step 100 in every row."]),
    "the last by number": ({"A": {200: BAD, 1000: GOOD}}, {"step": "last"}, {"hope": 100},
                           ["Training step 1000 in every row."]),
    "each step": ({"A": {1000: GOOD, 200: HALF}}, {"step": "all"}, {"hope @ 200": 50, "hope @ 1000": 100}, []),
    "each step, averaged over seeds": (
        {"A": {1: BAD, 2: HALF}, "B": {1: HALF, 2: GOOD}}, {"step": "all", "seeds": "mean"},
        {"hope @ 1": 25, "hope @ 2": 75}, []),
    "one step is no choice": ({"A": {7: HALF}}, {}, {"hope": 50}, ["Training step 7 in every row."]),
    "equal steps are averaged": ({"A": {7: HALF}, "B": {7: GOOD}}, {"seeds": "mean"}, {"hope": 75},
                                 ["Training step 7 in every row."]),
    "no steps are averaged": ({"A": {None: HALF}, "B": {None: GOOD}}, {"seeds": "mean"}, {"hope": 75}, []),
    "what has no step stays": ({"A": {None: HALF}}, {"step": "last"}, {"hope": 50}, []),
    "what has no step keeps its label": ({"A": {None: HALF, 5: BAD}}, {"step": "all"}, {"hope": 50, "hope @ 5": 0}, []),
    "what has no step gives way to the step that was named": (
        {"A": {1: BAD}, "B": {None: GOOD}}, {"step": 1}, {"hope": 0},
        ["Training step 1 in every row.", "Not shown, without step 1: final without a step."]),
    "a training without the step": ({"A": {1: BAD, 2: HALF}, "B": {1: GOOD}}, {"step": 2}, {"hope": 50},
                                    ["Training step 2 in every row.",
                                     "Not shown, without step 2: step 1 of /models/B."]),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_a_step_is_chosen(case: str, tmp_path: Path) -> None:
    runs, options, expected, expected_remarks = CHOSEN[case]
    for run, steps in runs.items():
        train(tmp_path, run, "hope", steps)
    table = filled(tmp_path, "hope", **options)
    assert {row: value for (row, column), value in scores(table).items() if column == "Video"} == expected
    assert list(table.extra_remarks) == expected_remarks and set(expected_remarks) <= set(remarks(table))


def two_rows(folder: Path, **options: Any) -> Table:
    train(folder, "A", "hope", {1: BAD, 2: HALF})
    train(folder, "B", "mrope", {1: HALF})
    write_cell(folder / "vanilla", "vanilla", TASKS)
    return build(definition("hope", "mrope", "vanilla"), [load_run(folder)], Options(**options))


def test_rows_of_different_steps_are_told_apart(tmp_path: Path) -> None:
    assert two_rows(tmp_path, step="last").extra_remarks == ("Training steps: hope 2, mrope 1, vanilla not known.",)


def test_the_baseline_may_be_one_step(tmp_path: Path) -> None:
    table = two_rows(tmp_path, step="all", baseline="hope @ 1")
    assert table.rows == ("hope @ 1", "hope @ 2", "mrope @ 1", "vanilla")
    assert table.cell("hope @ 2", "Video")["delta"] == 50
    again = [load_run(tmp_path)]
    rows = definition("hope", "mrope", "vanilla")
    assert build(rows, again, Options(step="all", baseline="mrope")).baseline == "mrope @ 1"
    with pytest.raises(UserError, match="--baseline hope has several steps; choose one of hope @ 1, hope @ 2"):
        build(rows, again, Options(step="all", baseline="hope"))


def test_every_step_stands_beside_the_reported_score_of_its_row(tmp_path: Path) -> None:
    train(tmp_path, "A", "mrope-i", {1: BAD, 2: HALF})
    table = filled(tmp_path, step="all", reported=load_published())
    reported_by_row = {
        row: table.cell(row, "Overall")["reported"] for row in table.rows if row.startswith("interleave")}
    assert set(reported_by_row) == {"interleave @ 1", "interleave @ 2"} and len(set(reported_by_row.values())) == 1


def test_extra_rows_have_steps_too(tmp_path: Path) -> None:
    train(tmp_path, "A", "hope", {1: BAD, 2: HALF})
    assert filled(tmp_path, "mrope", step="all", every_variant=True).rows == ("mrope", "hope @ 1", "hope @ 2")


@pytest.mark.parametrize(("argument", "code"), [("2", 0), ("last", 0), ("all", 0), ("first", 2), ("-1", 2)])
def test_the_option_takes_a_step_or_a_word(
    argument: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "A", "hope", {1: BAD, 2: HALF})
    command = ["table", "2", str(tmp_path), "--partial", f"--step={argument}"]
    if code:
        with pytest.raises(SystemExit):
            cli.main(command)
        assert "argument --step: must be " in capsys.readouterr().err
        return
    assert cli.main(command) == 0
    assert ("hope @ 2" in capsys.readouterr().out) == (argument == "all")


# ------------------------------------------------------------------------------------------------------- the comparison


@pytest.mark.parametrize(("a", "b", "sentence"), [
    ("A/checkpoint-1000", "A/checkpoint-2000",
     "hope: the same training (/models/A), A at step 1000 and B at step 2000: not two trainings"),
    ("A/checkpoint-1000", "B/checkpoint-2000", None),
    ("A/checkpoint-1000", "A/checkpoint-1000", None),
    ("mrope", "hope", None),
])
def test_steps_of_one_training_are_not_compared_as_trainings(
    a: str, b: str, sentence: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(write_cell(tmp_path / name, "hope", TASKS, model=model)) for name, model in (("a", a), ("b", b))]
    assert cli.main(["compare", *paths]) == 0
    text = capsys.readouterr().out
    assert ("the same training" in text) == (sentence is not None) and (sentence or "") in text
    assert cli.main(["compare", *paths, "--json"]) == 0
    trainings = json.loads(capsys.readouterr().out)["one_training"]
    assert trainings == ([{"run": "/models/A", "steps": [1000, 2000], "cells": ["hope"]}] if sentence else [])


# ---------------------------------------------------------------------------------------------------- scores over steps


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds of hope, one of mrope, all benchmarks; one checkpoint that is no step."""
    for run, variant, steps in (("hope-0", "hope", (10, 2)), ("hope-1", "hope", (2, 10)), ("m", "mrope", (2,))):
        for step in steps:
            tasks = {task: [1.0] * step + [0.0] * (20 - step) for task in COLUMNS}
            write_cell(tmp_path / run / str(step), variant, tasks, model=f"{run}/checkpoint-{step}")
    write_cell(tmp_path / "final", "hope", TASKS, model="final")
    return tmp_path


def test_every_training_is_a_curve_of_averages(runs: Path) -> None:
    steps = load_steps([load_run(runs)])
    assert [(curve.label, curve.steps, curve.training) for curve in steps.curves] == [
        ("hope-0", (2, 10), "/models/hope-0"), ("hope-1", (2, 10), "/models/hope-1"), ("m, mrope", (2,), "/models/m")]
    assert steps.table.columns == ("Overall", "Image", "Video", "Grounding")
    assert [(step, round(score, 9)) for step, score in steps.points(steps.curves[0], "Video")] == [(2, 10), (10, 50)]
    assert chance_of(steps.table, "Grounding") == 0 and steps.table.cells["rank"].isna().all()
    assert "Not shown, as they are no step of a training: final." in remarks(steps.table)


LABELS = {
    "one training": ([("A", "hope")], ["hope"]),
    "seeds": ([("A", "hope"), ("B", "hope")], ["A", "B"]),
    "two variants of one training": ([("A", "hope"), ("A", "mrope")], ["hope", "mrope"]),
    "variants in the trainings' names": ([("x-hope", "hope"), ("mrope", "mrope")], ["x-hope", "mrope"]),
    "trainings and variants": ([("A", "hope"), ("B", "mrope")], ["A, hope", "B, mrope"]),
    "names that repeat": ([("p/A", "hope"), ("q/A", "hope")], ["p-A", "q-A"]),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_curve_is_named_by_what_differs(case: str, tmp_path: Path) -> None:
    trainings, expected = LABELS[case]
    for number, (run, variant) in enumerate(trainings):
        write_cell(tmp_path / str(number), variant, {"chartqa": [1]}, model=f"{run}/checkpoint-1")
    assert [curve.label for curve in load_steps([load_run(tmp_path)], ["ChartQA"]).curves] == expected


@pytest.mark.parametrize(("columns", "shown"), [
    (["ChartQA", "mvbench", "REFCOCO VAL"], ("ChartQA", "MVBench", "RefCOCO val")),
    (["image", "Image"], ("Image",)), (["MMMU"], ("MMMU",)),
])
def test_columns_are_averages_benchmarks_or_tasks(columns: list[str], shown: tuple[str, ...], runs: Path) -> None:
    assert load_steps([load_run(runs)], columns).table.columns == shown


def one_step_twice(path: Path) -> None:
    """Two runs of one checkpoint that scored otherwise."""
    train(path / "x", "A", "hope", {1: BAD})
    train(path / "y", "A", "hope", {1: GOOD})


UNKNOWN: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "no steps": (lambda path: write_cell(path / "a", "hope", TASKS, model="mine"), {},
                 "None of these runs' checkpoints (mine) is a step of a training: evaluate folders called"),
    "a misspelt column": (lambda path: train(path, "A", "hope", {1: BAD}), {"columns": ["chrtqa"]},
                          "no average, benchmark or task 'chrtqa'; did you mean 'ChartQA'?"),
    "an unknown column": (lambda path: train(path, "A", "hope", {1: BAD}), {"columns": ["zzz"]},
                          "'zzz'; choose from Image, Video, Grounding, Overall, MMBench avg, ChartQA, DocVQA"),
    "too few benchmarks": (lambda path: train(path, "A", "hope", {1: BAD}), {},
                           "No step has every benchmark of Overall, Image, Video and Grounding: average those that "
                           "every step has with --partial, or name columns out of ChartQA, DocVQA, MVBench, RefCOCO"),
    "one step twice": (one_step_twice, {"columns": ["MVBench"]},
                       "hope @ 1, MVBench: 2 runs have different results of this step: "),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_cannot_be_shown_is_one_sentence(case: str, tmp_path: Path) -> None:
    make, options, words = UNKNOWN[case]
    make(tmp_path)
    with pytest.raises(UserError) as raised:
        load_steps([load_run(tmp_path)], **options)
    assert words in str(raised.value)


def test_partial_averages_what_every_step_has(tmp_path: Path) -> None:
    train(tmp_path, "A", "hope", {1: BAD, 2: HALF})
    write_cell(tmp_path / "A" / "3", "hope", {"mvbench": GOOD, "chartqa": [1]}, model="A/checkpoint-3")
    steps = load_steps([load_run(tmp_path)], partial=True)
    assert steps.table.columns == ("Overall", "Image", "Video")
    assert steps.points(steps.curves[0], "Video") == [(1, 0), (2, 50), (3, 100)]
    assert steps.points(steps.curves[0], "Image") == [(1, 75), (2, 75), (3, 100)], "of ChartQA alone"


def test_the_command_prints_and_draws(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [tmp_path / "figures" / name for name in ("a.png", "b.png", "c.pdf")]
    for picture in pictures:
        assert cli.main(["steps", str(runs), "--figure", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert "| hope-0 @ 2 " in out and f"figure: {pictures[0]}" in err
    assert pictures[0].read_bytes() == pictures[1].read_bytes(), "the same scores, the same bytes"
    assert pictures[0].read_bytes().startswith(b"\x89PNG") and pictures[2].read_bytes().startswith(b"%PDF")
    assert cli.main(["steps", str(runs), "--format", "csv", "--columns", "Overall,chartqa"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["curve"], row["training_run"], row["variant"], row["step"], row["column"], row["score"])
            for row in rows[:2]] == [("hope-0", "/models/hope-0", "hope", "2", "Overall", "10.0"),
                                     ("hope-0", "/models/hope-0", "hope", "2", "ChartQA", "10.0")]
    assert cli.main(["steps", str(runs), "--format", "json", "--model", "checkpoint-10"]) == 0
    assert {cell["step"] for cell in json.loads(capsys.readouterr().out)["cells"]} == {10}


def test_one_step_of_one_benchmark_is_a_figure_too(tmp_path: Path) -> None:
    train(tmp_path, "A", "hope", {5: HALF})
    assert cli.main(["steps", str(tmp_path / "A"), "--columns", "mvbench", "--figure", str(tmp_path / "x.png")]) == 0


@pytest.mark.parametrize(("name", "words"), [
    ("x.svg", "name a file that ends in .png or .pdf"), ("final/scores.json/x.png", "cannot be written"),
])
def test_a_figure_that_cannot_be_written_is_one_line(
    name: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["steps", str(runs), "--figure", str(runs / name)]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1

"""Which run fills which cell, averages, differences, ranks, intervals, and what is said about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_files import COLUMNS, sample, write_cell
from table_runs import TASKS, definition, filled, note, scores

from mmrope_eval.errors import UserError
from mmrope_eval.report.compare.intervals import ScoreInterval, average_spread
from mmrope_eval.report.compare.precision import Layout, score_interval
from mmrope_eval.report.definitions import load_definition, variant_key
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, build, with_ranks
from mmrope_eval.report.table.notes import footnotes, remarks
from mmrope_eval.rope import load_variant
from mmrope_eval.util.paths import project_dir

# ---------------------------------------------------------------------------------------------- which run, which row


def test_a_run_fills_the_row_of_its_definition_whatever_its_name(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "mhrope", TASKS)
    write_cell(tmp_path / "b", "mrope-i", {**TASKS, "mvbench": [1, 1]})
    table = build(definition(), [load_run(tmp_path)], Options(trim=False))
    score_by_cell = scores(table)
    assert score_by_cell["multi-head", "Overall"] == 60 and score_by_cell["interleave", "Video"] == 100
    assert score_by_cell["videorope-like", "Overall"] is None and score_by_cell["ilrope-like", "Image"] is None
    assert [footnote.text for footnote in footnotes(table) if footnote.kind == "same-design"] == [
        "multi-head: from the run of mhrope, the same design", "interleave: from the run of mrope-i, the same design"]
    assert table.cell("interleave", "Overall")["variants"] == ("mrope-i",)


def test_a_changed_parameter_is_another_design(tmp_path: Path) -> None:
    folder = write_cell(tmp_path / "a", "mrope-i", TASKS)
    change_variant(folder, temporal_stride=2.0)
    write_cell(tmp_path / "b", "hope", TASKS)
    table = filled(tmp_path, "mrope-i", "hope")
    assert {score for (row, _), score in scores(table).items() if row == "mrope-i"} == {None}
    assert table.left_out == ("mrope-i with temporal_stride=2.0",)
    assert "mrope-i with temporal_stride=2.0 (--all adds them)" in remarks(table)[-1]
    extra = filled(tmp_path, "mrope-i", "hope", every_variant=True)
    assert extra.rows == ("mrope-i", "hope", "mrope-i with temporal_stride=2.0") and not extra.left_out
    assert scores(extra)["mrope-i with temporal_stride=2.0", "Overall"] == 60


def change_variant(folder: Path, **changes: Any) -> None:
    scores, manifest = (json.loads((folder / f"{name}.json").read_text()) for name in ("scores", "manifest"))
    changed = load_variant(manifest["variant"]["definition"]["name"], **changes)
    manifest["variant"] |= {"definition": changed.to_dict(), "fingerprint": changed.fingerprint}
    scores["variant"]["fingerprint"] = changed.fingerprint
    for name, content in (("scores", scores), ("manifest", manifest)):
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("first", "second", "same"), [
    (load_variant("mrope-i"), load_variant("interleave"), True),
    (load_variant("mrope-i"), load_variant("+3d+spatial-reset"), True),
    (load_variant("mrope-i"), load_variant("qwen3-vl"), False),
    (load_variant("mrope-i"), load_variant("mrope-i", mrope_section=[6, 5, 5]), True),
    (load_variant("mrope-i"), load_variant("mrope-i", mrope_section=[12, 2, 2]), False),
    (load_variant("mrope-i", temporal_stride=1), load_variant("mrope-i"), True),
    (load_variant("mrope-i"), load_variant("mrope-i", scaling={"type": "yarn", "factor": 4.0}), False),
    (load_variant("mhrope"), load_variant("mhrope", mrope_section=[1, 1, 2]), True),
    (load_variant("mrope"), load_variant("mrope-i"), False),
    (load_variant("mrope-i"), load_variant("mrope-i", time="seconds"), False),
    (load_variant("ilrope-like"), load_variant("ilrope-like", pattern="hw*6 t*4"), True),
    (load_variant("ilrope-like"), load_variant("ilrope-like", pattern="hw*4 t*8"), False),
    (load_variant("interleave-12-26-26"), load_variant("mrope-i", allocation="pattern", pattern="thw*3 hw*3 h"), False),
    (load_variant("interleave-0-32-32"), load_variant("mrope-i", allocation="pattern", pattern="hw*8"), True),
])
def test_definitions_are_compared_by_what_they_decide(first: Any, second: Any, same: bool) -> None:
    assert (variant_key(first) == variant_key(second)) is same


def test_heads_dealt_otherwise_are_said(tmp_path: Path) -> None:
    change_variant(write_cell(tmp_path / "a", "mhrope", TASKS), mrope_section=[1, 1, 2])
    table = filled(tmp_path, "mhrope")
    assert scores(table)["mhrope", "Overall"] == 60
    assert note(table, "heads").text.startswith("mhrope: KV heads dealt 1:1:2 to time, height and width (2:3:3")


def test_a_row_is_filled_up_to_time_with_a_word(tmp_path: Path) -> None:
    """Qwen2.5-VL's clock moves a video's frames; a training by it is no other design."""
    change_variant(write_cell(tmp_path / "a", "mrope-i", TASKS), time="seconds")
    write_cell(tmp_path / "b", "hope", TASKS)
    table = filled(tmp_path, "hope", "mrope-i")
    assert scores(table)["mrope-i", "Overall"] == 60 and not table.left_out
    footnote = note(table, "time")
    assert footnote.places == {("mrope-i", None)}
    assert footnote.text == ("frames of videos as far apart as the clock says (time: seconds), in the table's "
                             "definition counted (time: index): mrope-i")


def test_pictures_have_no_time(tmp_path: Path) -> None:
    change_variant(write_cell(tmp_path / "a", "mrope-i", {"ai2d": [1, 0]}), time="seconds")
    table = filled(tmp_path, "mrope-i")
    assert table.rows == ("mrope-i",) and not [note for note in footnotes(table) if note.kind == "time"]


def test_what_equals_a_row_goes_before_what_equals_it_up_to_time(tmp_path: Path) -> None:
    change_variant(write_cell(tmp_path / "a", "mrope-i", TASKS, model="clock"), time="seconds")
    write_cell(tmp_path / "b", "mrope-i", {name: [0.0] for name in TASKS}, model="paper")
    table = filled(tmp_path, "mrope-i")
    assert table.cell("mrope-i", "Overall")["models"] == ("paper",)
    assert table.left_out == ("mrope-i with time=seconds",) and not [n for n in footnotes(table) if n.kind == "time"]
    both = filled(tmp_path, "mrope-i", every_variant=True)
    assert both.rows == ("mrope-i", "mrope-i with time=seconds") and scores(both)[both.rows[1], "Overall"] == 60


@pytest.mark.parametrize(("checkpoint", "recorded", "words"), [
    ({"family": "qwen3-vl"}, None, 0), ({"family": "qwen2-vl"}, None, 0), ({"family": "qwen2.5-vl"}, None, 1),
    ({}, None, 1), ({"family": "qwen4-vl"}, "index", 0), ({"family": "qwen4-vl"}, "seconds", 1),
])
def test_where_videos_carry_no_seconds_time_is_of_no_account(
    tmp_path: Path, checkpoint: dict[str, Any], recorded: str | None, words: int
) -> None:
    folder = write_cell(tmp_path / "a", "mrope-i", TASKS, checkpoint=checkpoint)
    change_variant(folder, time="seconds")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "time": recorded}))
    write_cell(tmp_path / "b", "mrope-i", {"ai2d": [1, 0]}, checkpoint=checkpoint, model="other")
    table = filled(tmp_path, "mrope-i")
    assert [footnote.kind for footnote in footnotes(table)].count("time") == 0
    assert scores(table)["mrope-i", "Overall"] == (None if words else 60), "what is exact leaves the rest out"
    alone = build(definition("mrope-i"), [load_run(tmp_path / "a")], Options())
    assert [footnote.kind for footnote in footnotes(alone)].count("time") == words
    missing = build(definition("hope"), [load_run(tmp_path / "a")], Options())
    assert missing.rows == (("mrope-i with time=seconds",) if words else ("mrope-i",))


def test_rows_of_one_design_are_told_apart_by_name(tmp_path: Path) -> None:
    """Trained with strides drawn at random, evaluated at one."""
    write_cell(tmp_path / "a", "mrope-i", {"mvbench": [1, 0]}, model="plain")
    write_cell(tmp_path / "b", "dynamic-stride", {"mvbench": [1, 1]}, model="drawn")
    table = build(load_definition("stride"), [load_run(tmp_path)], Options(partial=True, trim=False))
    models_by_row = {row: table.cell(row, "MVBench")["models"] for row in table.rows}
    assert models_by_row == {"1": ("plain",), "dynamic": ("drawn",), "0.5": (), "2": ()}


def test_the_table_of_ratios_knows_them_on_small_models(tmp_path: Path) -> None:
    change_variant(write_cell(tmp_path / "a", "mrope-i", TASKS), mrope_section=[12, 2, 2])
    table = build(load_definition("ratio"), [load_run(tmp_path)], Options(partial=True, trim=False))
    assert scores(table)["48:8:8", "Overall"] == 60 and scores(table)["24:20:20", "Overall"] is None


def test_tasks_of_one_variant_may_come_from_several_runs(tmp_path: Path) -> None:
    half = {name: TASKS[name] for name in ("chartqa", "docvqa")}
    write_cell(tmp_path / "image", "hope", half)
    write_cell(tmp_path / "rest", "hope", {name: TASKS[name] for name in TASKS if name not in half})
    runs = [load_run(tmp_path / "image"), load_run(tmp_path / "rest"), load_run(tmp_path / "image")]
    assert scores(build(definition("hope"), runs, Options()))["hope", "Overall"] == 60


def test_several_runs_of_a_cell_are_never_chosen_from(tmp_path: Path) -> None:
    for seed, value in enumerate((1, 0)):
        write_cell(tmp_path / f"seed{seed}", "hope", {**TASKS, "mvbench": [1, value]}, model=f"hope-{seed}")
    with pytest.raises(UserError, match=r"hope, ChartQA: 2 runs have this cell: .*seed0 \(hope-0\); .*--seeds mean"):
        filled(tmp_path, "hope")
    table = filled(tmp_path, "hope", seeds="mean")
    assert scores(table)["hope", "Video"] == 75 and table.cell("hope", "Video")["runs"] == 2
    assert note(table, "mean").text == (
        "hope: mean of 2 runs (hope-0, hope-1), from the lowest to the highest training Image 50.00 to 50.00, "
        "Video 50.00 to 100.00, Grounding 80.00 to 80.00, Overall 60.00 to 76.67")
    assert scores(filled(tmp_path, "hope", models=("*-1",)))["hope", "Video"] == 50
    with pytest.raises(UserError, match="--model no matches none of the runs' checkpoints: hope-0, hope-1"):
        filled(tmp_path, "hope", models=("no",))


def test_a_copy_of_a_run_is_the_same_run(tmp_path: Path) -> None:
    write_cell(tmp_path / "one", "hope", TASKS)
    write_cell(tmp_path / "copy", "hope", TASKS)
    assert scores(filled(tmp_path, "hope"))["hope", "Overall"] == 60


# --------------------------------------------------------------------------------------------------- the arithmetic


def test_overall_is_the_mean_of_the_categories_not_of_the_benchmarks(tmp_path: Path) -> None:
    write_cell(tmp_path, "hope", TASKS)
    assert scores(filled(tmp_path, "hope")) == {
        ("hope", "Image"): 50, ("hope", "Video"): 50, ("hope", "Grounding"): 80, ("hope", "Overall"): 60}


def test_an_average_that_lacks_a_benchmark_is_unknown_unless_asked_for(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "hope", {name: TASKS[name] for name in TASKS if name != "docvqa"})
    write_cell(tmp_path / "b", "mrope", TASKS)
    score_by_cell = scores(filled(tmp_path, "hope", "mrope", "vanilla"))
    assert score_by_cell["hope", "Image"] is None and score_by_cell["hope", "Overall"] is None
    assert score_by_cell["mrope", "Image"] == 50
    table = filled(tmp_path, "hope", "mrope", "vanilla", partial=True)
    assert scores(table)["hope", "Image"] == 75 == scores(table)["mrope", "Image"], "over what both have"
    assert scores(table)["vanilla", "Image"] is None, "a row without a run does not count"
    assert note(table, "partial").places == {(None, "Image"), (None, "Overall")}
    assert "Image 1 of 2 (without DocVQA)" in note(table, "partial").text


def test_differences_from_the_baseline(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "mrope-i", TASKS)
    write_cell(tmp_path / "b", "hope", {**TASKS, "mvbench": [0, 0]})
    for name in ("interleave", "mrope-i"):
        table = build(definition("interleave", "hope"), [load_run(tmp_path)], Options(baseline=name))
        assert table.baseline == "interleave"
        assert table.cell("hope", "Video")["delta"] == -50 and np.isnan(table.cell("interleave", "Video")["delta"])
    with pytest.raises(UserError, match=r"--baseline vanilla is no row of this table; choose one of interleave, hope"):
        build(definition("interleave", "hope"), [load_run(tmp_path)], Options(baseline="vanilla"))


@pytest.mark.parametrize(("values", "ranks"), [
    ([1, 2, 3], [None, 2, 1]),
    ([3, 3, 2], [1, 1, None]),
    ([1, 2, 2, 3], [None, 2, 2, 1]),
    ([5, 5, 5], [None, None, None]),
    ([5], [None]),
    ([50.001, 50.004, 10], [1, 1, None]),
    ([50.001, 50.006, 10], [2, 1, None]),
    ([None, 3, 1], [None, 1, None]),
    ([None, 3, 1, 2], [None, 1, None, 2]),
    ([None, None], [None, None]),
])
def test_ranks_follow_what_is_shown(values: list[float | None], ranks: list[int | None]) -> None:
    frame = pd.DataFrame({"column": "x", "row": range(len(values)), "score": pd.Series(values, dtype="float64")})
    column_ranks = with_ranks(frame)["rank"]
    assert [None if pd.isna(rank) else int(rank) for rank in column_ranks] == ranks


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_the_best_is_the_highest_shown_and_the_second_the_next(values: list[float]) -> None:
    shown = [round(value, 2) for value in values]
    ranks = with_ranks(pd.DataFrame({"column": "x", "score": values}))["rank"].tolist()
    best = {score for score, rank in zip(shown, ranks, strict=True) if rank is not pd.NA and rank == 1}
    second = {score for score, rank in zip(shown, ranks, strict=True) if rank is not pd.NA and rank == 2}
    assert best == ({max(shown)} if len(set(shown)) > 1 else set())
    lone = len(shown) > 2 and len(set(shown)) > 1 and shown.count(max(shown)) == 1
    assert second == ({max(score for score in shown if score < max(shown))} if lone else set())


# ---------------------------------------------------------------------------------------------------------- intervals


def test_a_benchmark_has_the_interval_of_its_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = [float(draw) for draw in rng.random(60) < 0.7]
    write_cell(tmp_path, "hope", {**TASKS, "mvbench": values})
    cell = filled(tmp_path, "hope", columns=("MVBench",), level=0.9).cell("hope", "MVBench")
    # Neighbours share a picture; MVBench is a mean of groups, and these samples name none.
    layout = Layout.of([str(i // 2) for i in range(60)], "micro")
    expected = score_interval(layout, np.array(values), level=0.9)
    assert (cell["low"], cell["high"]) == (pytest.approx(100 * expected.low), pytest.approx(100 * expected.high))
    assert cell["low"] < cell["score"] < cell["high"]


def test_the_interval_of_an_average_counts_shared_pictures() -> None:
    def part(*clusters: str, way: float = 1.0) -> ScoreInterval:
        return ScoreInterval(50, 40, 70, dict.fromkeys(clusters, way))

    alone = average_spread([part("a", "b"), part("c", "d")])
    assert (alone.low, alone.score, alone.high) == pytest.approx((50 - 10 / 2**0.5, 50, 50 + 20 / 2**0.5))
    together = average_spread([part("a", "b"), part("a", "b")])
    assert (together.low, together.high) == pytest.approx((40, 70)), "the same pictures teach nothing new"
    half = average_spread([part("a", "b"), part("b", "c")])
    assert alone.high < half.high < together.high
    against = average_spread([part("a", "b"), part("a", "b", way=-1.0)])
    assert against.high == pytest.approx(50), "where one is right the other is wrong: the mean is certain"
    assert average_spread([alone, alone]).influence.keys() == {"a", "b", "c", "d"}


def test_averages_have_intervals_where_their_benchmarks_have(tmp_path: Path) -> None:
    write_cell(tmp_path, "hope", {**TASKS, "mvbench": [1.0]})
    table = filled(tmp_path, "hope", level=0.95)
    assert table.cell("hope", "Image")["low"] < 50 < table.cell("hope", "Image")["high"]
    several = filled(tmp_path, "hope")
    assert np.isnan(several.cell("hope", "Image")["low"])


# -------------------------------------------------------------------------------------------------------------- notes


def test_every_incomplete_failed_or_truncated_cell_has_its_note(tmp_path: Path) -> None:
    lines = [sample("docvqa", 0, 1), sample("docvqa", 1, 0, failure={"stage": "media", "cause": "no"}),
             sample("docvqa", 2, 0, truncated=True)]
    write_cell(tmp_path / "a", "hope", {**TASKS, "docvqa": lines}, limit=3)
    write_cell(tmp_path / "b", "mrope", {**TASKS, "docvqa": [1, 0, 0]}, limit=3)
    table = filled(tmp_path, "hope", "mrope", columns=("ChartQA", "DocVQA", "Image", "Video"))
    assert note(table, "failed").text == "with failed samples, counted wrong: DocVQA (hope 1 of 3)"
    assert note(table, "failed").places == {("hope", "DocVQA"), ("hope", "Image")}
    assert note(table, "truncated").text == "with answers cut off at the token limit: DocVQA (hope 1 of 3)"
    assert note(table, "incomplete").text == (
        "part of the benchmark only: in every row ChartQA 4 of 2,500, DocVQA 3 of 5,349, MVBench 2 of 4,000")
    assert ("mrope", "Image") in note(table, "incomplete").places


def test_a_complete_run_has_no_note(tmp_path: Path) -> None:
    write_cell(tmp_path, "hope", TASKS, changes={"expected": 2})
    assert footnotes(filled(tmp_path, "hope")) == []


def test_a_limited_run_that_did_not_record_the_whole_is_noted(tmp_path: Path) -> None:
    write_cell(tmp_path, "hope", TASKS, changes={"expected": None}, limit=5)
    assert "Video" in {column for _, column in note(filled(tmp_path, "hope"), "incomplete").places}
    assert "MVBench the first 2" in note(filled(tmp_path, "hope"), "incomplete").text


@pytest.mark.parametrize(("change", "words"), [
    ({"prompt_hash": "other"}, "prompts"), ({"data_fingerprint": "other"}, "data"), ({"scorer_version": 2}, "scorers"),
])
def test_rows_that_rest_on_other_questions_are_marked(change: Mapping[str, Any], words: str, tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "hope", TASKS)
    write_cell(tmp_path / "b", "mrope", TASKS, changes=change)
    table = filled(tmp_path, "hope", "mrope", columns=("ChartQA", "Video"))
    assert note(table, "unlike").text == (
        f"the rows are not comparable, they differ in: ChartQA ({words}), MVBench ({words})")
    assert note(table, "unlike").places == {(None, "ChartQA"), (None, "Video")}


# ------------------------------------------------------------------------------------------------- definitions, scores


@pytest.mark.parametrize("name", ["overall", "position", "frequency", "ratio", "stride", "families", "families-4b"])
def test_the_papers_tables_name_what_exists(name: str) -> None:
    table = load_definition(name)
    column_names = {column for column, *_ in COLUMNS.values()}
    assert set(table.benchmarks_in_order) <= column_names
    assert len(table.benchmarks["Overall"]) == 25
    assert set(table.columns) <= column_names | set(table.averages)
    rows = [(row.key, row.variant.name if row.variant else row.label) for row in table.rows]
    assert len(rows) == len(set(rows)), "two rows of one design and name could not be told apart"


def edited(path: Path, change: Callable[[str], str], source: Path) -> str:
    path.write_text(change(source.read_text()))
    return str(path)


@pytest.mark.parametrize(("change", "words"), [
    (lambda text: text.replace("[videorope-like", "[videorope-lke"), "row 'videorope-lke': unknown variant"),
    (lambda text: text.replace("videorope-like", "interleave"), "rows must be a list of different names"),
    (lambda text: text + "layout: sideways\n", "'layout' must be 'across' or 'down', not 'sideways'"),
    (lambda text: text.replace("columns: [", "columns: []\nother: ["), "unknown key 'other', the keys are like, "),
    (lambda text: text.replace("[videorope-like", "[{label: x, varant: hope}"),
     "rows, entry [0-9]+: unknown key 'varant', did you mean 'variant'"),
    (lambda text: "- 1", "must hold a YAML mapping"),
])
def test_a_bad_table_is_one_sentence(change: Callable[[str], str], words: str, tmp_path: Path) -> None:
    name = edited(tmp_path / "x.yaml", change, project_dir("configs") / "tables" / "frequency.yaml")
    with pytest.raises(UserError, match=words) as raised:
        load_definition(name)
    assert str(tmp_path) in str(raised.value)

"""load_run: what a finished run's files become, and what is said when they are not a run's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report_files import sample, write_cell

import mmrope_eval
from mmrope_eval.errors import UserError
from mmrope_eval.report.runs import SAMPLE_COLUMNS, SCORE_COLUMNS, load_run
from mmrope_eval.rope import load_variant
from mmrope_eval.util.row_names import RecordedRow, recorded_labels


@pytest.fixture
def run(tmp_path: Path) -> Path:
    lines = [
        sample("chartqa", 0, 1.0, prediction="a\u2028b"),
        sample("chartqa", 1, 0.0, media=[{"fingerprint": "one"}, {"fingerprint": "two"}]),
        sample("chartqa", 2, 0.0, media=[], failure={"stage": "engine", "cause": "no"}, prediction=None),
        sample("chartqa", 3, 0.5, truncated=True),
    ]
    write_cell(tmp_path / "mrope", "mrope", {"chartqa": lines, "ai2d": [1, 0]})
    write_cell(tmp_path / "mrope-i", "mrope-i", {"chartqa": [1, 1]}, limit=2)
    return tmp_path


def test_a_folder_of_cells_becomes_one_frame_of_scores(run: Path) -> None:
    scores = load_run(run).scores
    assert list(scores.columns) == list(SCORE_COLUMNS)
    assert scores.set_index(["variant", "task"])["score"].to_dict() == {
        ("mrope", "chartqa"): 37.5, ("mrope", "ai2d"): 50.0, ("mrope-i", "chartqa"): 100.0
    }
    row = scores.iloc[0]
    assert (row["model"], row["column"], row["category"], row["metric"], row["chance"], row["expected"]) == (
        "tiny", "ChartQA", "image", "relaxed", 0.0, 2500)
    assert (row["n"], row["failed"], row["truncated"], row["unparsed"]) == (4, 1, 1, 0)
    assert (row["scorer_version"], row["prompt_hash"], row["data_fingerprint"]) == (1, "prompt-chartqa", "data-chartqa")
    assert scores["limited"].tolist() == [False, False, True]
    assert row["variant_fingerprint"] == load_variant("mrope").fingerprint


def test_samples_name_what_they_share_and_hold_every_metric(run: Path) -> None:
    samples = load_run(run / "mrope").samples
    assert list(samples.columns) == [*SAMPLE_COLUMNS, "score_relaxed", "score_accuracy"]
    assert len(samples) == 6, "a line separator inside an answer is no end of a line"
    chart = samples[samples.task == "chartqa"].set_index("id")
    assert chart["score"].tolist() == [1.0, 0.0, 0.0, 0.5]
    assert chart["score_accuracy"].isna().all()
    assert chart["failed"].tolist() == [False, False, True, False]
    assert chart["truncated"].tolist() == [False, False, False, True]
    assert chart.loc["chartqa/0", "group"] == "chartqa-picture-0"
    assert chart.loc["chartqa/2", "group"] == "chartqa/2", "without media a sample stands alone"
    assert len(str(chart.loc["chartqa/1", "group"])) == 64, "two pictures make one group"
    assert chart.loc["chartqa/0", "prompt_tokens"] == 100 and chart.loc["chartqa/0", "max_position"] == 99.0
    assert samples[samples.task == "ai2d"]["group"].nunique() == 1


def test_runs_of_older_versions_load_with_gaps(run: Path) -> None:
    path = run / "mrope" / "scores.json"
    scores = json.loads(path.read_text())
    for name in ("expected", "chance", "prompt_hash", "average", "scorer_version"):
        del scores["tasks"]["chartqa"][name]
    path.write_text(json.dumps(scores))
    row = load_run(run).scores.iloc[0]
    assert row["score"] == 37.5
    assert row[["expected", "chance", "prompt_hash", "average", "scorer_version"]].isna().all()


def test_a_stopped_cell_is_named(run: Path) -> None:
    (run / "hope").mkdir()
    (run / "hope" / "responses.sqlite").touch()
    assert load_run(run).unfinished == (run / "hope",)
    assert len(load_run(run).cells) == 2


@pytest.mark.parametrize(("name", "content", "words"), [
    ("", None, "holds no scores.json"),
    ("responses.sqlite", "", "did not finish"),
    ("scores.json", "{", "cannot be read"),
    ("scores.json", "[]", "is not a record of a run"),
    ("scores.json", "{}", "is not the scores of a run"),
    ("scores.json", json.dumps({"checkpoint": {"path": "a"}, "variant": {"name": "b"}, "tasks": {}}), "manifest.json"),
])
def test_what_is_no_run_is_said_in_one_sentence(name: str, content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as raised:
        load_run(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_damaged_samples_are_named_by_line(run: Path) -> None:
    path = run / "mrope" / "samples" / "chartqa.jsonl"
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(UserError, match=r"chartqa.jsonl line 5 is damaged"):
        load_run(run)


def test_the_package_offers_it_without_waiting_for_pandas(run: Path) -> None:
    assert mmrope_eval.load_run is load_run
    assert "load_run" in dir(mmrope_eval)
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        _ = mmrope_eval.load_runs
    code = "import sys, mmrope_eval; print([m for m in ('pandas', 'numpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_run_is_shown_in_three_lines_and_as_a_table(run: Path) -> None:
    loaded_run = load_run(run)
    assert repr(loaded_run) == (f"Run({run}: 2 rows x 2 tasks: mrope, mrope-i\n    tasks: chartqa, ai2d\n"
                           "    8 samples under --limit, 1 failed)")  # fmt: skip
    shown = loaded_run._repr_html_()
    assert shown.count("<tr") == 4 and "37.50" in shown and "—" in shown
    assert shown.index("ChartQA") < shown.index("AI2D") and shown.index("mrope<") < shown.index("mrope-i<")
    assert repr(load_run(run / "mrope")) == (
        f"Run({run / 'mrope'}: 1 row x 2 tasks: mrope\n    tasks: chartqa, ai2d\n    6 samples, 1 failed)")


def test_a_run_of_many_rows_with_lost_ones_is_three_lines_still(tmp_path: Path) -> None:
    for number in range(12):
        write_cell(tmp_path / f"row{number:02}", "mrope", {"chartqa": [1, 0]}, model=f"m{number}")
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "responses.sqlite").touch()
    lines = repr(load_run(tmp_path)).splitlines()
    assert len(lines) == 3 and lines[0].endswith("row06, row07 and 4 more")
    assert lines[2] == "    24 samples, none failed, rows without scores: 1 not finished)"


def test_two_checkpoints_of_one_variant_have_a_name_each(tmp_path: Path) -> None:
    """What their run recorded; the folder below the run where two runs used one name."""
    for place, model in (("a", "A"), ("b", "B")):
        write_cell(tmp_path / place, "mrope", {"chartqa": [1, 0]}, model=model)
    loaded_run = load_run(tmp_path)
    assert loaded_run.labels == ("a", "b")
    assert loaded_run.scores["label"].tolist() == ["a", "b"]
    wide = loaded_run.samples.pivot(index=["task", "id"], columns="label", values="score")
    assert wide.columns.tolist() == ["a", "b"] and len(wide) == 2


@pytest.mark.parametrize(("recorded", "below", "names"), [
    (["mrope", "hope"], ["x", "y"], ["mrope", "hope"]),
    (["mrope", "mrope"], ["few/mrope", "paper/mrope"], ["few/mrope", "paper/mrope"]),
    (["", "mrope"], ["", "old"], ["hope", "mrope"]),
    (["", "hope"], ["old", "hope"], ["old", "hope"]),
    (["mrope--seed-0", "mrope--seed-1"], ["seed-0/a", "seed-1/a"], ["mrope--seed-0", "mrope--seed-1"]),
])  # fmt: skip
def test_rows_on_disk_are_called_as_their_run_called_them(
    recorded: list[str], below: list[str], names: list[str]
) -> None:
    rows = [RecordedRow(Path("out", place), "hope", label) for label, place in zip(recorded, below, strict=True)]
    assert recorded_labels(rows, Path("out")) == names

"""More than 5 % unread answers are said where the number stands: run, table, check, compare and sweep."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_files import samples_with, write_cell
from table_entries import entry
from table_runs import TASKS as TABLE_TASKS
from table_runs import filled, note

from mmrope_eval import cli
from mmrope_eval.report.sweep.read import SweepResult
from mmrope_eval.report.sweep.text import report
from mmrope_eval.report.table.notes import footnotes
from mmrope_eval.report.table.render import render
from mmrope_eval.run.results import remarks, table
from mmrope_eval.util.unread import MARK, PER_CENT, remedy, too_many

CUT = ("likely cut off at the answer limit: --max-tokens N raises it, --thinking for checkpoints that write thoughts "
       "first")  # fmt: skip
WORDING = "the wording (--prompts) or the checkpoint may not be the right one: look at samples/"
SAYS = f"{MARK} more than 5 % of the answers are unread and count as wrong"


@pytest.mark.parametrize(("unread", "answered", "many"), [
    (0, 0, False), (0, 100, False), (1, 20, False), (1, 19, True), (5, 100, False), (6, 100, True), (7, 140, False),
    (125, 2500, False), (126, 2500, True), (1, 1, True),
])  # fmt: skip
def test_exactly_five_per_cent_pass(unread: int, answered: int, many: bool) -> None:
    assert too_many(unread, answered) is many


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_share_decides_whatever_the_size(unread: int, answered: int) -> None:
    assert too_many(unread, answered) == (unread * 20 > answered) == (unread > PER_CENT / 100 * answered + 1e-9)


@pytest.mark.parametrize(("unread", "truncated", "cause"), [
    (10, 10, CUT), (10, 5, CUT), (10, 4, WORDING), (10, 0, WORDING), (1, 1, CUT),
])  # fmt: skip
def test_the_likely_cause_is_named(unread: int, truncated: int, cause: str) -> None:
    assert remedy(unread, truncated) == cause


# -- run --------------------------------------------------------------------------------------------------------


def test_the_table_on_the_screen_marks_the_number() -> None:
    rows = {"half": {"a": entry("A", 50.0, unread=1), "b": entry("B", 60.0)},
            "hope": {"a": entry("A", 40.0, failed=3, unread=2, n_truncated=2), "b": entry("B", 70.0, n=40, unread=2)}}
    body = [line.split() for line in table(rows).splitlines()][3:5]
    assert body == [["half", f"50.00{MARK}", "60.00"], ["hope", f"40.00*{MARK}", "70.00"]]
    assert remarks(rows)[-2:] == [f"{SAYS}: A 1 of 7 (half); {WORDING}", f"{SAYS}: A 2 of 4 (hope); {CUT}"]


def test_one_row_needs_no_name_and_many_columns_are_counted() -> None:
    assert remarks({"half": {"a": entry("A", 1.0, unread=7)}})[-1] == f"{SAYS}: A 7 of 7; {WORDING}"
    many = {f"t{i}": entry(f"T{i}", 1.0, unread=7) for i in range(24)}
    assert remarks({"half": many})[-1].endswith(f"T7 7 of 7 and 16 more; {WORDING}")


def test_few_unread_answers_are_no_alarm() -> None:
    rows = {"half": {"a": entry("A", 50.0, n=100, unread=5)}}
    assert MARK not in table(rows) and not any(MARK in line for line in remarks(rows))


# -- table ------------------------------------------------------------------------------------------------------


def cell(folder: Path, variant: str, *, unread: int = 0, failed: int = 0,
         limits: tuple[int, int] | None = None) -> Path:
    """Four benchmarks; chartqa (4 samples) with unread answers, and a limit and the task's own."""
    chart = samples_with("chartqa", TABLE_TASKS["chartqa"], failed=failed, unread=unread)
    write_cell(folder, variant, {**TABLE_TASKS, "chartqa": chart})
    if limits is not None:
        manifest = json.loads((folder / "manifest.json").read_text())
        task = {"generation": {"max_tokens": limits[0]}, "own_max_tokens": limits[1]}
        manifest["tasks"] = {"chartqa": task}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_table_footnotes_the_cell_and_its_averages(tmp_path: Path) -> None:
    cell(tmp_path / "a", "mrope-i", unread=2, failed=1)
    cell(tmp_path / "b", "hope")
    table = filled(tmp_path, "mrope-i", "hope", columns=("ChartQA", "DocVQA", "Overall"))
    unread = note(table, "unread")
    assert unread.text.startswith(SAYS.removeprefix(f"{MARK} "))
    assert unread.text.endswith("(--max-tokens, --thinking): ChartQA (mrope-i 2 of 3)")
    assert unread.places == {("mrope-i", "ChartQA"), ("mrope-i", "Overall")}
    for form, text in (("markdown", "5 % of the answers are unread"), ("latex", r"5 \% of the answers are unread"),
                       ("html", "5 % of the answers are unread")):  # fmt: skip
        assert text in render(table, form)


def test_a_table_without_many_says_nothing(tmp_path: Path) -> None:
    cell(tmp_path / "a", "hope")
    assert not {"unread", "answer-limit"} & {footnote.kind for footnote in footnotes(filled(tmp_path, "hope"))}


def test_a_table_footnotes_limits_that_are_not_the_tasks_own(tmp_path: Path) -> None:
    cell(tmp_path / "a", "mrope-i", limits=(512, 32))
    cell(tmp_path / "b", "hope", limits=(32, 32))
    table = filled(tmp_path, "mrope-i", "hope", columns=("ChartQA", "DocVQA"))
    limit = note(table, "answer-limit")
    assert limit.text == ("tokens that an answer could have, other than the task's own limit: 512 instead of 32 "
                          "(ChartQA of mrope-i)")  # fmt: skip
    assert limit.places == {("mrope-i", "ChartQA")}
    assert note(table, "unlike").text.endswith("ChartQA (limits)")


def test_the_same_other_limit_in_every_row_is_no_difference(tmp_path: Path) -> None:
    for name in ("mrope-i", "hope"):
        cell(tmp_path / name, name, limits=(32768, 32))
    table = filled(tmp_path, "mrope-i", "hope", columns=("ChartQA",))
    assert note(table, "answer-limit").text.endswith("32,768 instead of 32 (ChartQA)")
    assert "unlike" not in {footnote.kind for footnote in footnotes(table)}


# -- check and compare ------------------------------------------------------------------------------------------


def two(folder: Path, **counts: int) -> tuple[str, str]:
    values = {"chartqa": [1, 0] * 50, "docvqa": [1, 0] * 50}
    write_cell(folder / "base", "mrope-i", values)
    write_cell(folder / "run", "mrope-i", {**values, "chartqa": samples_with("chartqa", values["chartqa"], **counts)})
    return str(folder / "run"), str(folder / "base")


def test_check_says_it_in_the_cells_line_in_junit_and_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, base = two(tmp_path, unread=9, cut=9)
    files = ["--junit", str(tmp_path / "junit.xml"), "--summary", str(tmp_path / "summary.md")]
    assert cli.main(["check", run, "--against", base, *files]) == 0
    sentence = f"{MARK} in this run 9 of 100 answers are unread ({CUT})."
    lines = [line.split(" of mrope-i: ") for line in capsys.readouterr().out.splitlines() if " of mrope-i: " in line]
    assert {name.strip(): sentence in rest for name, rest in lines} == {
        "ChartQA": True, "DocVQA": False, "Image": False, "Overall": False,
    }  # fmt: skip
    cases = ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    skipped = {case.get("name"): case.find("skipped") for case in cases}
    messages = {name: "" if element is None else element.attrib["message"] for name, element in skipped.items()}
    assert {name: sentence in message for name, message in messages.items()} == {"ChartQA": True, "DocVQA": False}
    summary = (tmp_path / "summary.md").read_text()
    assert f"50.00{MARK} |" in summary and f"- {MARK} ChartQA of mrope-i: in this run 9 of 100 answers are" in summary


def test_check_says_it_of_the_baseline_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, base = two(tmp_path, unread=6)
    assert cli.main(["check", base, "--against", run]) == 0
    assert f"{MARK} in the baseline 6 of 100 answers are unread ({WORDING})." in capsys.readouterr().out


def test_check_against_reported_scores_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = two(tmp_path, unread=9)
    argv = ["check", run, "--against", "results/reported/huang2025.yaml", "--allow-different", "data"]
    assert cli.main(argv) in (0, 1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "ChartQA of mrope-i: " in line]
    assert [f"{MARK} of ChartQA 9 of 100 answers are unread" in line for line in lines] == [True]


@pytest.mark.parametrize("unread", [0, 5])
def test_few_are_left_unsaid(unread: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, base = two(tmp_path, unread=unread)
    assert cli.main(["check", run, "--against", base]) == 0
    assert cli.main(["compare", base, run]) == 0
    assert MARK not in capsys.readouterr().out


def test_compare_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, base = two(tmp_path, unread=9)
    assert cli.main(["compare", base, run]) == 0
    assert f"{MARK} ChartQA of mrope-i in B: 9 of 100 answers are unread ({WORDING})." in capsys.readouterr().out
    assert cli.main(["compare", base, run, "--json"]) == 0
    unread = [comparison["unread"] for comparison in json.loads(capsys.readouterr().out)["comparisons"]]
    assert unread == [["", f"9 of 100 answers are unread ({WORDING})"], ["", ""]]


def test_check_refuses_other_answer_limits_unless_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, base = (str(cell(tmp_path / name, "hope", limits=(limit, 32))) for name, limit in (("a", 512), ("b", 32)))
    assert cli.main(["check", run, "--against", base]) == 2
    assert "(different limits of ChartQA); evaluate both alike, or pass --allow-different limits." in (
        capsys.readouterr().err)
    assert cli.main(["check", run, "--against", base, "--allow-different", "limits"]) == 0
    assert "Different limits, as allowed: ChartQA." in capsys.readouterr().out


# -- sweep ------------------------------------------------------------------------------------------------------


def points(*unread: int, truncated: int = 0, failed: int = 0) -> SweepResult:
    """A context for each number of unread answers, of 20, and one that was not measured."""
    head = {"model": "m", "variant": "mrope", "label": "mrope", "scaling": "none", "scaled": "none",
            "column": "LVBench", "task": "lvbench", "chance": 25.0, "frames": 8, "factor": 1.0,
            "metric": "accuracy"}
    done = [{**head, "context": 1024 * (i + 1), "status": "done", "cause": None, "score": 10.0 * i, "n": 20,
             "failed": failed, "unparsed": count, "truncated": truncated} for i, count in enumerate(unread)]
    lost = {**head, "context": 1 << 20, "status": "memory", "cause": "too large"}
    return SweepResult("Test", 1024, pd.DataFrame([*done, lost]), pd.DataFrame())


def test_a_sweep_marks_its_points_and_says_why() -> None:
    text = report(points(0, 12, 20, truncated=20))
    line = next(line.split() for line in text.splitlines() if line.startswith("mrope"))
    assert line == ["mrope", "none", "0.0", f"10.0{MARK}", f"20.0{MARK}", "—", "memory"]
    assert f"{SAYS}: LVBench 32 of 40 in the points so marked (2K, 3K); {CUT}" in text.splitlines()


def test_a_sweep_with_few_counts_them_and_failed_samples_gave_no_answer() -> None:
    text = report(points(0, 1))
    assert MARK not in text and "unread and counted wrong: LVBench 1 of 20 (2K)" in text.splitlines()
    failed = "* failed and counted wrong: LVBench 10 of 40 (1K, 2K); see failures.jsonl of the points"
    assert failed in report(points(0, 1, failed=5)).splitlines()
    assert f"{SAYS}: LVBench 1 of 15 in the points so marked (2K); {WORDING}" in report(points(0, 1, failed=5))

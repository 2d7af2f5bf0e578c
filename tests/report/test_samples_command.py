"""`mmrope-eval samples`: which samples are shown, in which order, and what of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_files import sample, write_cell

from mmrope_eval import cli
from mmrope_eval.report.samples_command import LINES, field

ASKED = {"prompt": "Which bar is highest?", "prediction": "The red\nbar \x1b[2J", "parsed": "red",
         "target": {"answer": ["blue"]}}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    lines = [
        sample("chartqa", 0, 1.0), sample("chartqa", 1, 0.0, **ASKED),
        sample("chartqa", 2, 0.0, failure={"stage": "media", "cause": "no such file"}, prediction=None, parsed=None),
        sample("chartqa", 3, 0.5, truncated=True, parsed=None),
    ]
    write_cell(tmp_path / "mrope", "mrope", {"chartqa": lines, "ai2d": [1, 0]})
    write_cell(tmp_path / "hope", "hope", {"chartqa": [0, 1, 1, 1]})
    return tmp_path


def heads(out: str) -> list[str]:
    return [" ".join(line.split()[1:3]) for line in out.splitlines() if line.startswith("--- ")]


@pytest.mark.parametrize(("words", "expected", "last"), [
    ([], ["hope chartqa/0", "mrope chartqa/0", "hope chartqa/1", "mrope chartqa/1", "hope chartqa/2"],
     "5 of 10 samples"),
    (["--wrong"], ["hope chartqa/0", "mrope chartqa/1", "mrope chartqa/2", "mrope chartqa/3", "mrope ai2d/1"],
     "5 of 5 wrong samples"),
    (["--wrong", "--n", "2"], ["hope chartqa/0", "mrope chartqa/1"], "2 of 5 wrong samples"),
    (["--wrong", "--task", "ai2d"], ["mrope ai2d/1"], "1 of 1 wrong samples"),
    (["--row", "hope", "--n", "1"], ["hope chartqa/0"], "1 of 4 samples"),
    (["--row", "hope", "--wrong", "--task", "chartqa"], ["hope chartqa/0"], "1 of 1 wrong samples"),
])  # fmt: skip
def test_samples_are_chosen_by_row_task_and_outcome(
    run: Path, words: list[str], expected: list[str], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["samples", str(run), *words]) == 0
    out = capsys.readouterr().out
    assert heads(out) == expected
    assert out.splitlines()[-1] == f"{last} in {run}"


def test_a_sample_is_question_response_parsed_and_target(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["samples", str(run), "--row", "mrope", "--wrong", "--task", "chartqa"]) == 0
    shown = [block.splitlines() for block in capsys.readouterr().out.split("--- ")[1:]]
    assert shown[0][1:6] == ["question  Which bar is highest?", "response  The red", "          bar \\u001b[2J",
                             "parsed    red", 'target    {"answer": ["blue"]}']  # fmt: skip
    assert "failed    media: no such file" in shown[1] and not any(line.startswith("response") for line in shown[1])
    assert any(line.endswith("[cut off at the token limit]") for line in shown[2])
    assert "parsed    nothing that the scorer can read" in shown[2]


@pytest.mark.parametrize(("words", "message"), [
    (["--row", "nope"], "--row nope: {run} has no such row; choose one of hope, mrope."),
    (["--task", "mmmu"], "--task mmmu: it was not asked; choose one of chartqa, ai2d."),
    (["--row", "hope", "--task", "ai2d"], "--task ai2d: it was not asked; choose one of chartqa."),
])  # fmt: skip
def test_what_is_not_there_is_refused(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["samples", str(run), *words]) == 2
    assert capsys.readouterr().err == f"mmrope-eval: error: {message.format(run=run)}\n"


def test_a_long_field_is_cut_to_its_lines_and_says_so() -> None:
    lines = list(field("response", "\n".join(f"line {number}" for number in range(40))))
    assert len(lines) == LINES and lines[0] == "response  line 0"
    assert lines[-1] == "          [29 more lines]"
    assert list(field("target", "")) == ["target"]
    assert max(map(len, field("response", "word " * 300))) <= 110

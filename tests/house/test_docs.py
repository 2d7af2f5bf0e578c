"""The pages that show commands and code: what they show runs, and prints what they say."""

from __future__ import annotations

import doctest
import random
import re
import shlex
from pathlib import Path

import pytest
from report_files import sample, write_cell

from mmrope_eval import cli

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/mine: three variants, three tasks, 40 questions about 20 pictures each."""
    rng = random.Random(1)
    for variant, better in (("vanilla", 0.0), ("mrope", 0.02), ("mrope-i", 0.1)):
        tasks = {task: [sample(task, i, float(rng.random() < share + better)) for i in range(40)]
                 for task, share in (("chartqa", 0.55), ("mvbench", 0.45), ("refcoco_val", 0.7))}
        if variant == "vanilla":
            tasks["chartqa"][0] = sample("chartqa", 0, 0.0, failure={"stage": "media", "cause": "no"}, prediction=None)
        write_cell(tmp_path / "runs" / "mine" / variant, variant, tasks)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_session_prints_what_the_page_says(run: Path) -> None:
    flags = doctest.NORMALIZE_WHITESPACE
    failures, tried = doctest.testfile(str(DOCS / "python-api.md"), module_relative=False, optionflags=flags)
    assert tried > 10 and failures == 0


@pytest.mark.parametrize("page", ["quickstart.md", "tables.md"])
def test_every_command_on_the_page_is_understood(page: str) -> None:
    lines = re.findall(r"^    ((?:python evaluate\.py|mmrope-eval) [^#\n]*)", (DOCS / page).read_text(), re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        words = shlex.split(line)
        argv = ["run", *words[2:]] if words[0] == "python" else words[1:]
        assert cli.parse(argv)


def test_the_table_of_your_own_is_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = re.search(r"^    title: .*?\n\n", (DOCS / "tables.md").read_text(), re.MULTILINE | re.DOTALL)
    assert text is not None
    (run / "path" / "to").mkdir(parents=True)
    (run / "path" / "to" / "mine.yaml").write_text("extends: hope\nposition: {temporal_stride: 3.0}\n")
    (run / "my.yaml").write_text(re.sub("^    ", "", text[0], flags=re.MULTILINE))
    assert cli.main(["table", "my.yaml", "runs/mine", "--partial"]) == 0
    printed = capsys.readouterr().out
    assert "Two designs on charts and video" in printed and "| Charts avg" in printed
    assert "half stride" in printed and "path/to/mine.yaml" in printed

"""--dry-run: what would be asked, said without an engine and without a file in the output."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
import yaml
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.cli.run import configured
from mmrope_eval.run.dry_run import duration, table
from mmrope_eval.run.run import run
from mmrope_eval.study.study import run_study

ROOT = Path(__file__).resolve().parents[2]
N = 3
SAMPLES = {"refcoco_val": 2 * N, "chartqa": N}
"""Each object of RefCOCO has two expressions."""
ALL = 2 * sum(SAMPLES.values())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dry")
    build_checkpoint("qwen2.5-vl", root / "a")
    suite_mirror.build(root / "mirror", n=N)
    return root


@pytest.fixture
def argv(place: Path, tmp_path: Path) -> list[str]:
    return ["--model", str(place / "a"), "--variant", "mrope,mrope-i", "--tasks", "refcoco_val,chartqa", "--data-root",
            str(place / "mirror"), "--output", str(tmp_path / "out")]  # fmt: skip


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def told(argv: list[str], out: Path, capsys: pytest.CaptureFixture[str], command: str = "run") -> list[str]:
    """What a dry run prints. It writes nothing."""
    before = files(out)
    capsys.readouterr()
    assert cli.main([command, *argv, "--dry-run"]) == 0
    assert files(out) == before and (before or not out.exists())
    return capsys.readouterr().out.splitlines()


def cells(lines: list[str]) -> dict[tuple[str, str], list[str]]:
    """By row and task: samples, kept, to ask, data."""
    rows = [line.split() for line in lines[2:] if re.search(r"(present|missing|broken)$", line)]
    return {(row[0], row[1]): row[2:] for row in rows}


def test_a_new_run_would_ask_everything(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(argv, tmp_path / "out", capsys)
    assert lines[0] == f"dry run: 2 rows, 2 tasks, {ALL} samples, of which 0 are kept and {ALL} would be asked"
    assert cells(lines) == {(row, task): [str(n), "0", str(n), "present"] for row in ("mrope", "mrope-i")
                            for task, n in SAMPLES.items()}  # fmt: skip
    assert re.fullmatch(r"data: [\d.]+ kB on disk, in 2 folders, with what other tasks use of them", lines[-2])


@pytest.mark.parametrize("more", [[], ["--limit", "2"], ["--fresh"], ["--max-tokens", "7"],
                                  ["--tasks", "charades_sta"]])  # fmt: skip
def test_what_it_says_would_be_asked_is_what_is_asked(
    argv: list[str], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(configured(cli.parse(["run", *argv, "--limit", "1"])), FakeStart({"delay": 0.01}))
    lines = told([*argv, *more], tmp_path / "out", capsys)
    start = FakeStart()
    run(configured(cli.parse(["run", *argv, *more])), start)
    assert f"and {len(start.asked)} would be asked" in lines[0]
    assert sum(int(values[2]) for values in cells(lines).values()) == len(start.asked) > 0


def test_a_finished_run_would_ask_nothing_and_takes_no_time(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(configured(cli.parse(["run", *argv])), FakeStart({"delay": 0.01}))
    lines = told(argv, tmp_path / "out", capsys)
    assert lines[0].endswith(f"{ALL} samples, of which {ALL} are kept and 0 would be asked")
    assert not [line for line in lines if line.startswith("time:")]


def test_time_is_told_where_it_was_measured(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "time: unknown, as no earlier command asked anything here; --limit N asks a few and measures it" in told(
        argv, tmp_path / "out", capsys)
    run(configured(cli.parse(["run", *argv, "--limit", "2"])), FakeStart({"delay": 0.05}))
    (line,) = [line for line in told(argv, tmp_path / "out", capsys) if line.startswith("time:")]
    estimate = re.fullmatch(r"time: about \d+ s for 10 samples, at the ([\d.]+) s of one when earlier commands asked 8 "
                            r"here \(CPU .*\); starts of engines come on top", line)  # fmt: skip
    assert estimate is not None and 0.05 <= float(estimate[1]) < 0.5


def test_data_that_are_not_here_are_said_and_the_rest_is_planned(
    argv: list[str], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(place / "mirror", mirror)
    shutil.rmtree(next(mirror.glob("*/ChartQA")))
    lines = told([*argv, "--data-root", str(mirror)], tmp_path / "out", capsys)
    assert lines[0].endswith("2 tasks, about 5,012 samples, of which 0 are kept and about 5,012 would be asked")
    assert cells(lines)["mrope", "chartqa"] == ["about", "2,500", "0", "about", "2,500", "missing"]
    assert cells(lines)["mrope", "refcoco_val"] == ["6", "0", "6", "present"]
    (line,) = [line for line in lines if line.startswith("chartqa: its data are not here")]
    assert "hf download" in line
    assert "to fetch: 1 data set, about " in "\n".join(lines)
    few = told([*argv[:2], "--variant", "mrope", "--tasks", "chartqa", "--data-root", str(mirror), "--limit", "1",
                "--output", str(tmp_path / "out")], tmp_path / "out", capsys)  # fmt: skip
    assert few[0] == ("dry run: 1 row, 1 task, about 1 sample, of which 0 are kept and about 1 would be asked")


def test_of_a_task_whose_file_gives_no_number_that_is_said(
    argv: list[str], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "tasks" / "chartqa.yaml").read_text()
    for pattern, word in ((" +expected: .*", ""), ("task: .*", "task: mine"), ("column: .*", "column: Mine"),
                          ("dataset_path: .*", "dataset_path: no/where")):  # fmt: skip
        text = re.sub(pattern, word, text, count=1)
    (tmp_path / "mine.yaml").write_text(text)
    lines = told([*argv, "--tasks", str(tmp_path / "mine.yaml")], tmp_path / "out", capsys)
    assert lines[0].endswith("would be asked, without those of mine, whose number is not known here")
    assert cells(lines)["mrope", "mine"] == ["?", "0", "?", "missing"]


def test_a_checkpoint_that_cannot_be_evaluated_is_said(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    lines = told([*argv, "--model", str(broken)], tmp_path / "out", capsys)
    assert lines[0].startswith("dry run: 4 rows, 2 tasks")
    assert sum("cannot be evaluated: " in line for line in lines) == 2


def test_bad_input_is_bad_input(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *argv, "--limit", "0", "--dry-run"]) == 2
    assert "--limit 0" in capsys.readouterr().err


def test_a_study_says_it_of_all_its_runs(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content: dict[str, Any] = {"output": str(tmp_path / "out"), "data_root": str(place / "mirror"), "limit": 2,
                               "checkpoints": [str(place / "a")], "variants": ["mrope"],
                               "runs": [{"tasks": ["refcoco_val"]}, {"tasks": ["chartqa"]},
                                        {"tasks": ["chartqa"], "name": "few", "limit": 1}]}  # fmt: skip
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content))
    lines = told([str(file)], tmp_path / "out", capsys, "study")
    assert lines[0] == "dry run: 3 rows, 2 tasks, 5 samples, of which 0 are kept and 5 would be asked"
    run_study(file, start_engine=FakeStart())
    assert "of which 5 are kept and 0" in told([str(file)], tmp_path / "out", capsys, "study")[0]
    file.write_text(yaml.safe_dump({**content, "runs": [{"tasks": ["chartqa"]}, {"tasks": ["chartqa"]}]}))
    assert cli.main(["study", str(file), "--dry-run"]) == 2
    assert "two runs ask mrope for chartqa" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (59.4, "59 s"), (90, "1.5 min"), (7200, "2.0 h"),
                                                (200_000, "2.3 days")])  # fmt: skip
def test_a_time_has_the_largest_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_stand_to_the_right() -> None:
    lines = list(table(("row", "n"), [("a", "1,000"), ("long", "?")]))
    assert lines == ["row        n", "a      1,000", "long       ?"]
    assert list(table(("row", "n"), [])) == ["row    n"]

"""How far a run is: the file that it writes, and what `status` makes of it and of outputs without one."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from suite_fakes import FakeStart
from waiting import eventually

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.progress import PROGRESS, ProgressFile, RowProgress, RowWatch, Tally
from mmrope_eval.run.status import SILENT, read_status


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    root = tmp_path_factory.mktemp("status")
    config = RunConfig(models=(str(build_checkpoint("qwen2.5-vl", root / "ck")),), tasks=("refcoco_val",),
                       output=root / "out", variants=("mrope", "mrope-i"),
                       data_root=suite_mirror.build(root / "mirror", n=3))
    running.run(config, FakeStart({"fail": frozenset({"refcoco_val/0"})}))
    return config


def record(output: Path, **changes: Any) -> None:
    """A progress.json of a run that has just written it."""
    row = {"label": "mrope", "folder": "mrope", "tasks": ["chartqa"], "state": "running", "total": 10, "done": 4,
           "failed": 1, "cause": ""}
    content = {"format": 1, "writer": "mmrope-eval", "pid": 77, "host": "elsewhere", "updated": time.time(),
               "state": "running", "pace": 2.0, "left": 6, "left_s": 3.0, "rows": [row]}
    output.mkdir(exist_ok=True)
    (output / PROGRESS).write_text(json.dumps({**content, **changes}))


class TestTheTally:
    @pytest.mark.parametrize(("seconds", "answers", "pace", "left"), [
        (10.0, 5, 0.4, 50.0), (10.0, 1, None, None), (0.0, 0, None, None), (4.0, 9, 2.0, 8.0)])
    def test_time_left_is_that_of_all_rows_at_the_pace_so_far(
        self, tmp_path: Path, seconds: float, answers: int, pace: float | None, left: float | None
    ) -> None:
        clock = iter([0.0, seconds])
        rows = [RowProgress("a", tmp_path / "a", ("t",)), RowProgress("b", tmp_path / "b", ("t",), total=12, done=2)]
        tally = Tally(rows, lambda: next(clock, seconds))
        RowWatch(tally, rows[0]).begin(answers + 6, 0, 0)
        for _ in range(answers):
            RowWatch(tally, rows[0]).advance(failed=False, asked=True)
        record = tally.record(tmp_path)
        assert record["left"] == 16 and record["pace"] == pace
        assert record["left_s"] == (None if left is None else pytest.approx(16 / pace if pace else 0))

    def test_what_was_not_asked_says_nothing_of_the_pace(self, tmp_path: Path) -> None:
        row = RowProgress("a", tmp_path, ("t",))
        tally = Tally([row])
        for _ in range(5):
            RowWatch(tally, row).advance(failed=True, asked=False)
        assert tally.record(tmp_path)["pace"] is None and (row.done, row.failed) == (5, 5)


def begun(folder: Path) -> Tally:
    """Of a run whose first row has its turn."""
    row = RowProgress("a", folder / "a", ("t",))
    tally = Tally([row])
    RowWatch(tally, row).begin(2, 1, 0)
    return tally


class TestTheFile:
    def test_is_written_while_the_run_goes_and_says_how_it_ended(self, tmp_path: Path) -> None:
        row = RowProgress("a", tmp_path / "a", ("t",), total=2)
        tally = Tally([row])
        with ProgressFile(tmp_path, tally, every=0.02):
            time.sleep(0.1)
            assert not (tmp_path / PROGRESS).exists(), "a command that is refused changes nothing"
            RowWatch(tally, row).begin(2, 1, 0)
            eventually((tmp_path / PROGRESS).exists, "the file")
            assert json.loads((tmp_path / PROGRESS).read_text())["rows"][0]["state"] == "running"
        assert json.loads((tmp_path / PROGRESS).read_text())["state"] == "ended"
        assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]

    def test_a_run_that_was_stopped_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), ProgressFile(tmp_path, begun(tmp_path)):
            raise KeyboardInterrupt
        assert json.loads((tmp_path / PROGRESS).read_text())["state"] == "stopped"

    def test_one_that_cannot_be_written_is_no_reason_to_fail(self, tmp_path: Path) -> None:
        (tmp_path / PROGRESS).mkdir()
        (tmp_path / PROGRESS / "inside").touch()
        with ProgressFile(tmp_path, begun(tmp_path)):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]

    def test_somebody_elses_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / PROGRESS).write_text('{"mine": 1}')
        with ProgressFile(tmp_path, begun(tmp_path)):
            pass
        assert (tmp_path / PROGRESS).read_text() == '{"mine": 1}'


class TestStatus:
    def test_of_a_finished_run(self, finished: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["status", str(finished.output)]) == 0
        printed = capsys.readouterr().out
        assert "no process is at it" in printed and "12/12 samples, 2 failed" in printed and "2/2 rows done" in printed
        assert cli.main(["status", str(finished.output), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert [(row["label"], row["state"], row["done"], row["failed"]) for row in report["rows"]] == [
            ("mrope", "done", 6, 1), ("mrope-i", "done", 6, 1)]

    def test_of_an_output_without_progress_json_comes_from_its_records(
        self, finished: RunConfig, tmp_path: Path
    ) -> None:
        import shutil

        with_file = read_status(finished.output)
        shutil.copytree(finished.output, tmp_path / "old")
        (tmp_path / "old" / PROGRESS).unlink()
        status = read_status(tmp_path / "old")
        assert status.rows == with_file.rows and status.running is False and status.pace is None
        (tmp_path / "old" / "mrope" / "scores.json").unlink()
        assert read_status(tmp_path / "old").rows[0].state == "unfinished"

    def test_of_a_running_one_by_its_lock(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        record(tmp_path, host=os.uname().nodename)
        with (tmp_path / ".lock").open("w") as lock:
            lock.write("4711")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            status = read_status(tmp_path)
            assert (status.running, status.pid, status.rows[0].state, status.left_s) == (True, 4711, "running", 3.0)
            assert cli.main(["status", str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        assert "a process is at it (pid 4711" in printed
        assert "4/10 samples, 1 failed, 2.0 samples/s, 0:03 left" in printed
        killed = read_status(tmp_path)
        assert (killed.running, killed.rows[0].state, killed.left_s) == (False, "unfinished", None)

    @pytest.mark.parametrize(("age", "running"), [(1.0, None), (SILENT + 1, False)])
    def test_on_another_machine_a_sign_of_life_counts(self, tmp_path: Path, age: float, running: bool | None) -> None:
        record(tmp_path, updated=1000.0)
        status = read_status(tmp_path, now=1000.0 + age)
        assert (status.running, status.host, status.pid, status.last_sign_s) == (running, "elsewhere", 77, age)

    def test_failed_rows_are_shown_with_their_causes_and_nothing_reaches_the_terminal_raw(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        row = {"label": "a\x1b[2J", "folder": "a\x1b[2J", "tasks": [], "state": "failed", "total": 5, "done": 0,
               "failed": 0, "cause": "no \x1b]0;weights\x07"}
        record(tmp_path, rows=[row], host="h\x1b[1m")
        for extra in ([], ["--json"]):
            assert cli.main(["status", str(tmp_path), *extra]) == 0
            printed = capsys.readouterr().out
            assert "weights" in printed and "\x1b" not in printed and "\x07" not in printed

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"writer": "mmrope-eval"}', "[" * 100_000, '{"pace": NaN}'])
    def test_a_damaged_file_is_as_good_as_none(self, finished: RunConfig, tmp_path: Path, content: str) -> None:
        import shutil

        shutil.copytree(finished.output, tmp_path / "out")
        (tmp_path / "out" / PROGRESS).write_text(content)
        assert [row.state for row in read_status(tmp_path / "out").rows] == ["done", "done"]

    def test_of_what_is_no_output_is_one_sentence(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(UserError, match="holds no results"):
            read_status(tmp_path)
        assert cli.main(["status", str(tmp_path / "none")]) == 2
        assert "is not a folder: give the --output" in capsys.readouterr().err

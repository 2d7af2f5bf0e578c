"""Kill -9 at random moments: nothing is lost, nothing comes twice, and the end is that of an undisturbed run.

With a stand-in engine (starts in no time, so that nearly all kills hit the answering) and with the real one.
`benchmarks/crash.py` does the same with ten kills of the real one.
"""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from loaded_scripts import load_script
from suite_fakes import FakeEngine, FakeStart
from warm_runs import WarmRun, warm_runs

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.lmms.loader import quiet_lmms_eval
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.run import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def crash() -> Any:
    return load_script("benchmarks/crash.py")


DELAY = 0.02
"""Seconds an answer, of which a run has 320."""


class Fork:
    """A run in a forked child, which finds everything imported; its clock starts when its engine does."""

    def __init__(self, config: RunConfig) -> None:
        fork = multiprocessing.get_context("fork")
        self.answering = fork.Event()
        self.process = fork.Process(target=self.whole, args=(config,))
        self.process.start()

    def whole(self, config: RunConfig) -> None:
        if run(config, self.start).broken:
            sys.exit(1)

    def start(self, checkpoint: Checkpoint, variant: Variant, options: EngineOptions) -> FakeEngine:
        self.answering.set()
        return FakeEngine(checkpoint, variant, delay=DELAY)

    def wait(self, timeout: float | None = None) -> int:
        while not self.answering.wait(0.01) and self.process.is_alive():
            pass
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("run", timeout or 0)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def configure(checkpoint: Path, mirror: Path, output: Path) -> RunConfig:
    return RunConfig((str(checkpoint),), suite_mirror.TASKS, output, ("mrope", "hope"), data_root=mirror)


def test_ten_kills_of_a_run(crash: Any, checkpoint: Path, tmp_path: Path) -> None:
    mirror = suite_mirror.build(tmp_path / "mirror", n=40)
    quiet_lmms_eval()
    whole = Fork(configure(checkpoint, mirror, tmp_path / "whole"))
    stored: list[int] = []

    def look(_: str) -> None:
        stored.append(sum(len(crash.answers(path)) for path in tmp_path.glob("killed-*/*/responses.sqlite")))

    def start(number: int) -> Fork:
        return Fork(configure(checkpoint, mirror, tmp_path / f"killed-{number}"))

    moments, runs = crash.disturb(start, 10, random.Random(7), 320 * DELAY / 6, look)
    assert whole.wait() == 0
    assert len(moments) == 10
    assert stored == sorted(stored), "no kill undoes what was stored"
    assert len({count % 320 for count in stored}) >= 4, "kills hit the answering, not only the start"
    for number in range(runs):
        assert crash.differences(tmp_path / "whole", tmp_path / f"killed-{number}") == []


def test_the_comparison_sees_what_it_should(crash: Any, checkpoint: Path, tmp_path: Path) -> None:
    mirror = suite_mirror.build(tmp_path / "mirror", n=2)
    for name in ("a", "b"):
        run(configure(checkpoint, mirror, tmp_path / name), FakeStart())
    assert crash.differences(tmp_path / "a", tmp_path / "b") == []
    with sqlite3.connect(tmp_path / "b" / "mrope" / "responses.sqlite") as connection:
        connection.execute("DELETE FROM responses WHERE sample = 'chartqa/1'")
        connection.execute("UPDATE responses SET payload = '{}' WHERE sample = 'chartqa/0'")
    (tmp_path / "b" / "hope" / "scores.json").write_text("{}")
    (tmp_path / "b" / "hope" / "samples" / "chartqa.jsonl").unlink()
    assert [line.split(":")[0] for line in crash.differences(tmp_path / "a", tmp_path / "b")] == [
        "lost", "another answer", "lost", "another file"]


def test_three_kills_of_the_real_engine(crash: Any, checkpoint: Path, tmp_path: Path) -> None:
    """While it starts or answers; what has imported nothing yet has nothing to lose."""
    mirror = suite_mirror.build(tmp_path / "mirror", n=6)

    def given(output: str) -> list[str]:
        return ["run", "--model", str(checkpoint), "--variant", "mrope-i,hope", "--tasks",
                ",".join(suite_mirror.TASKS), "--data-root", str(mirror), "--output", str(tmp_path / output),
                "--max-model-len", "1024", "--max-pixels", "50176", "--video-tokens", "64"]  # fmt: skip

    with warm_runs(tmp_path) as parent:
        began = time.perf_counter()
        assert WarmRun(parent, given("whole")).wait() == 0
        window = time.perf_counter() - began
        moments, runs = crash.disturb(
            lambda n: WarmRun(parent, given(f"killed-{n}")), 3, random.Random(3), window, lambda _: None
        )
    assert len(moments) == 3
    for number in range(runs):
        assert crash.differences(tmp_path / "whole", tmp_path / f"killed-{number}") == []


def test_kills_of_a_run_and_of_its_engine_s_process(tmp_path: Path) -> None:
    """`benchmarks/fault_kills.py`, which does the same with the real engine and with more kills.

    With this seed both come in the first half of an undisturbed run, so that later, faster runs are hit too.
    """
    tally = load_script("benchmarks/fault_kills.py").attack("stand-in", 2, 132, tmp_path)
    assert tally.right, tally.table()
    assert len(tally.kills) == 2 and {target for target, _, _, _ in tally.kills} == {"run", "core"}


def test_what_is_left_over_of_a_run_is_found_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = load_script("benchmarks/fault_kills.py")
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    run = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert run.wait() == 0
    monkeypatch.setattr(kills, "PROMPT", 1.0)
    tally = kills.Found()
    kills.left_over(run.pid, tally)
    assert len(tally.wrong) == 1 and tally.wrong[0].startswith("left over: ") and "sleep(600)" in tally.wrong[0]
    assert not tally.right and kills.members(run.pid) == {}

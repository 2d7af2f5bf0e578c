"""The campaign of attacks: a small fixed part of it, and that a fault is counted for what it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("MMROPE_CACHE", "")
    before = set(sys.modules)
    import faults

    yield faults
    for name in set(sys.modules) - before:
        if name.startswith("fault"):
            del sys.modules[name]


def test_odd_answers_are_scored_by_every_scorer(faults: ModuleType, tmp_path: Path) -> None:
    from mmrope_eval.scorer.all import SCORERS

    tried, wrong = faults.responses(0.02, 7, tmp_path)
    assert (tried, list(wrong)) == (200 * len(SCORERS), [])


@pytest.mark.parametrize(("fault", "kind"), [
    ("run-3: lost: ('0f', 'docvqa/3')", "lost"),
    ("left over: VLLM::Worker", "lost"),
    ("hung: run-1 did not end 30 s after SIGKILL", "hangs"),
    ("video.webm 12: hang: ", "hangs"),
    ("run-2 ended with exit code 1 after SIGINT: Traceback", "lost"),
    ("choice: KeyError: 'x': mmmu/1: 'A'", "tracebacks"),
    ("bits 5: traceback: TypeError: no", "tracebacks"),
    ("12: star.n: table 2 CASE: silent", "silent"),
    ("bits 5: changed without a word: ", "silent"),
    ("picture.png 3: unsteady: ", "silent"),
])
def test_a_fault_is_counted_for_what_it_is(faults: ModuleType, fault: str, kind: str) -> None:
    assert faults.kind_of(fault) == kind


def test_one_fault_fails_the_campaign(faults: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sound, bad = faults.Result("media", 300, (), 9.0), faults.Result("stores", 300, ("bits 5: traceback: no",), 60.0)
    assert faults.report([sound]) == 0
    assert faults.report([sound, bad], tmp_path / "found.json") == 1
    out = capsys.readouterr().out
    assert "stores: bits 5: traceback: no" in out and (tmp_path / "found.json").is_file()
    (line,) = [line.split() for line in out.splitlines() if line.startswith("stores ")]
    assert line == ["stores", "300", "299", "0", "1", "0", "0", "60"]

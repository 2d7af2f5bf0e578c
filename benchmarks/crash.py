"""Kill a run with SIGKILL at random moments, start it again each time, and compare with a run left alone.

    python benchmarks/crash.py [--kills 10] [--seed 0] [--scratch DIR]

Time: about ten minutes on two shared cores.

The run is real: `mmrope-eval run` on a tiny checkpoint and a small world, through the real engine, two variants and
three tasks. Moments are drawn evenly over what an undisturbed run takes, so some kills hit the imports, some the
engine's start and some the answering.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

TASKS = "refcoco_val,chartqa,charades_sta"
"""One of each category."""


def checkpoint_and_world(scratch: Path) -> tuple[Path, Path]:
    """A tiny checkpoint with random weights, and miniatures of `TASKS` to ask it about."""
    from mmrope_demo.checkpoints import build_checkpoint
    from mmrope_synth import build_world

    return (build_checkpoint("qwen2.5-vl", scratch / "checkpoint"),
            build_world(scratch / "data", n=24, columns=TASKS.split(",")))


def main() -> int:
    """Run the experiment; exit code 1 when an answer was lost, came twice, or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, default=None, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        model, data = checkpoint_and_world(scratch)

        def start(output: Path) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "mmrope_eval", "run", "--model", str(model), "--variant", "mrope-i,hope",
                       "--tasks", TASKS, "--data-root", str(data), "--output", str(output), "--max-pixels", "100352",
                       "--video-tokens", "128", "--max-model-len", "2048"]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        began = time.perf_counter()
        check(start(scratch / "whole").wait())
        whole = time.perf_counter() - began
        print(f"undisturbed: {whole:.1f} s")
        moments, runs = disturb(
            lambda number: start(scratch / f"killed-{number}"), args.kills, random.Random(args.seed), whole, print
        )
        wrong = [line for n in range(runs) for line in differences(scratch / "whole", scratch / f"killed-{n}")]
    print(f"{runs} runs, killed {len(moments)} times after {', '.join(f'{moment:.1f}' for moment in moments)} s")
    print("\n".join(wrong) if wrong else "every answer is there once, and all files are those of the undisturbed run")
    return 1 if wrong else 0


class Attempt(Protocol):
    """One start of a run, as subprocess.Popen has it."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; subprocess.TimeoutExpired when it still runs after `timeout` seconds."""

    def kill(self) -> None:
        """SIGKILL."""


RUNS_A_KILL = 10
"""More runs than this for every kill, and something else is wrong."""


def disturb(
    start: Callable[[int], Attempt], kills: int, rng: random.Random, window: float, say: Callable[[str], object]
) -> tuple[list[float], int]:
    """Start run 0 and kill it after a random time within `window` seconds, again and again; then let it finish.

    A run that ends by itself is done, and the next one is begun, so that every kill hits a run at work. Returns the
    moments of the `kills` kills and the number of runs.
    """
    moments: list[float] = []
    number = 0
    while len(moments) < kills:
        attempt, moment = start(number), rng.uniform(0, window)
        try:
            check(attempt.wait(moment))
            number += 1
            if number > RUNS_A_KILL * kills:
                raise RuntimeError(f"{number} runs ended before they could be killed: does a run answer anything?")
        except subprocess.TimeoutExpired:
            attempt.kill()
            attempt.wait()
            moments.append(moment)
            say(f"kill {len(moments)} after {moment:.1f} s, of run {number + 1}")
    check(start(number).wait())
    return moments, number + 1


def check(code: int) -> None:
    """SystemExit unless a run that was left alone went well."""
    if code != 0:
        raise SystemExit(f"a run failed by itself with exit code {code}")


def differences(whole: Path, killed: Path) -> list[str]:
    """What a killed run got wrong, compared with the whole one: answers lost, doubled or different, other files."""
    wrong = []
    for path in sorted(whole.rglob("responses.sqlite")):
        expected, actual = answers(path), answers(killed / path.relative_to(whole))
        wrong += [f"lost: {key}" for key in expected if key not in actual]
        wrong += [f"too much: {key}" for key in actual if key not in expected]
        wrong += [f"another answer: {key}" for key in expected if actual.get(key, expected[key]) != expected[key]]
    for path in sorted([*whole.rglob("scores.json"), *whole.rglob("samples/*.jsonl")]):
        other = killed / path.relative_to(whole)
        if not other.is_file():
            wrong.append(f"lost: {path.relative_to(whole)}")
        elif other.read_bytes() != path.read_bytes():
            wrong.append(f"another file: {path.relative_to(whole)}")
    return wrong


def answers(path: Path) -> dict[tuple[str, str], object]:
    """Text and status by (identity, sample); a sample stored twice under one identity would raise ValueError."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT identity, sample, status, payload FROM responses").fetchall()
    answer_by_key: dict[tuple[str, str], object] = {
        (identity, sample): (status, json.loads(payload)) for identity, sample, status, payload in rows
    }
    if len(answer_by_key) != len(rows) or len({sample for _, sample in answer_by_key}) != len(rows):
        raise ValueError(f"{path}: {len(rows)} rows for {len(answer_by_key)} answers")
    return answer_by_key


if __name__ == "__main__":
    sys.exit(main())

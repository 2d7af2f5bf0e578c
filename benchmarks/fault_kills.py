"""End a run, its engine or its engine's workers at random moments, and look for what was lost, left over or hung.

    python benchmarks/fault_kills.py [--engine stand-in|process|workers] [--kills 20] [--seed 0] [--scratch DIR]

Time: about ten minutes on two shared cores.

stand-in: the whole suite with an engine of one process that answers at once, seconds a start; process: vLLM inside the
run's process; workers: vLLM in processes of its own. Each attempt starts `mmrope-eval run` on a tiny checkpoint and a
small world, waits for a moment drawn evenly over what an undisturbed run takes, and sends SIGKILL, SIGTERM or SIGINT to
the run or to one of its engine's processes. A run that was hit itself must end at once with the right exit code and
leave no process behind; one whose engine was hit must go on and finish. Started again until it is done, it must have
the answers and the files of the undisturbed run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from crash import TASKS, checkpoint_and_world, differences
from tabulate import tabulate

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}
"""Exit codes of a run that was hit itself; the second of one that was still importing."""
TARGETS = {"stand-in": ("run", "core"), "process": ("run",), "workers": ("run", "core", "worker")}
PROMPT = 30.0
"""Seconds for a run that was hit to end, and for its processes to be gone."""
TRIES = 4
"""Starts after the last kill in which a run must be done: a sample may be tried again by the next one."""


def main() -> int:
    """Attack, print; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=list(TARGETS), default="stand-in")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, default=None, help="where to work (default: a temporary folder)")
    parser.add_argument("--answer", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer is not None:
        return stand_in_run(args.answer)
    with tempfile.TemporaryDirectory() as temporary:
        tally = attack(args.engine, args.kills, args.seed, args.scratch or Path(temporary))
    print(tally.table())
    return 0 if tally.right else 1


@dataclass
class Found:
    """What an attack came to."""

    kills: list[tuple[str, str, float, float]] = field(default_factory=list)
    """Target, signal, seconds after the start, and seconds until the run had ended."""
    runs: int = 0
    deaths: int = 0
    """Of engines, as the runs counted them."""
    wrong: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Nothing was lost, doubled, changed, left over or hung."""
        return not self.wrong

    def table(self) -> str:
        """In words."""
        rows = []
        for target, name in sorted({(target, name) for target, name, _, _ in self.kills}):
            ends = [end for t, n, _, end in self.kills if (t, n) == (target, name)]
            rows.append([target, name, len(ends), f"{max(ends):.1f}"])
        head = tabulate(rows, ["hit", "with", "times", "slowest end, s"], tablefmt="simple")
        text = "\n".join(self.wrong) or "nothing was lost, doubled, changed or left over, and nothing hung"
        return f"{head}\n{len(self.kills)} kills in {self.runs} runs, {self.deaths} engines replaced\n{text}"


@dataclass(frozen=True)
class Attack:
    """How a kind of run is started."""

    engine: str
    model: Path
    data: Path

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        """A run in a session of its own."""
        given = ["--model", str(self.model), "--variant", "mrope-i,hope", "--tasks", TASKS, "--data-root",
                 str(self.data), "--output", str(output), "--max-pixels", "100352", "--video-tokens", "128",
                 "--max-model-len", "2048", *(["--workers"] if self.engine == "workers" else [])]  # fmt: skip
        stand_in = [str(Path(__file__).resolve()), "--answer"]
        head = stand_in if self.engine == "stand-in" else ["-m", "mmrope_eval", "run"]
        output.parent.mkdir(parents=True, exist_ok=True)
        with (output.parent / f"{output.name}.said").open("ab") as log:
            return subprocess.Popen([sys.executable, *head, *given], stdout=log, stderr=log, start_new_session=True)


def attack(engine: str, kills: int, seed: int, scratch: Path) -> Found:
    """So many kills of runs with one of the kinds of engines."""
    kind = Attack(engine, *checkpoint_and_world(scratch))
    rng, tally = random.Random(seed), Found()
    # What a shell starts in the background ignores Ctrl-C, and so would the runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    if kind.start(scratch / "whole").wait() != 0:
        raise SystemExit(f"an undisturbed run failed: see {scratch / 'whole.said'}")
    window = time.monotonic() - began
    number = 0
    while len(tally.kills) < kills:
        before = len(tally.wrong)
        if strike(kind, scratch / f"run-{number}", rng, window, tally):
            number += 1
        for line in tally.wrong[before:]:  # a long campaign says it at once
            print(line, file=sys.stderr, flush=True)
        if number > 10 * kills:
            raise SystemExit(f"{number} runs ended before they could be hit")
    complete(kind.start, scratch, number, window, tally)
    for run in range(tally.runs):
        tally.deaths += sum(map(deaths, (scratch / f"run-{run}").rglob("manifest.json")))
    return tally


def complete(
    start: Callable[[Path], subprocess.Popen[bytes]], scratch: Path, number: int, window: float, tally: Found
) -> None:
    """Start the last run until it is done, and compare all of them with the undisturbed one."""
    for _ in range(TRIES):
        if finish(start(scratch / f"run-{number}"), window, tally) == 0:
            break
    else:
        tally.wrong.append(f"run-{number} was not done after {TRIES} more starts")
    tally.runs = number + 1
    for run in range(tally.runs):
        tally.wrong += [f"run-{run}: {line}" for line in differences(scratch / "whole", scratch / f"run-{run}")]


def strike(kind: Attack, output: Path, rng: random.Random, window: float, tally: Found) -> bool:
    """Start a run and hit it or its engine; whether it is done, with all that was asked."""
    target, number, moment = rng.choice(TARGETS[kind.engine]), rng.choice(SIGNALS), rng.uniform(0, window)
    began = time.monotonic()
    attempt = kind.start(output)
    victim = None
    while attempt.poll() is None and victim is None:
        time.sleep(0.01)
        if time.monotonic() - began >= moment:
            victim = find(attempt.pid, target)
    if victim is None:
        return finish(attempt, window, tally) == 0
    hit = time.monotonic()
    name = signal.Signals(number).name
    with_suppressed(os.kill, victim, number)
    if target != "run":
        code = finish(attempt, window, tally)
        tally.kills.append((target, name, hit - began, time.monotonic() - hit))
        return code == 0
    try:
        code = attempt.wait(PROMPT)
    except subprocess.TimeoutExpired:
        tally.wrong.append(f"hung: {output.name} did not end {PROMPT:g} s after {name}")
        attempt.kill()
        code = attempt.wait()
    tally.kills.append((target, name, hit - began, time.monotonic() - hit))
    left_over(attempt.pid, tally)
    if code not in (0, *ENDS[number]):
        tally.wrong.append(f"{output.name} ended with exit code {code} after {name}")
    return code == 0


def finish(attempt: subprocess.Popen[bytes], window: float, tally: Found) -> int:
    """Wait for a run to end by itself; its exit code."""
    patience = 5 * window + 4 * PROMPT
    try:
        code = attempt.wait(patience)
    except subprocess.TimeoutExpired:
        tally.wrong.append(f"hung: a run did not end within {patience:.0f} s")
        attempt.kill()
        code = attempt.wait()
    left_over(attempt.pid, tally)
    if code not in (0, 1):
        tally.wrong.append(f"a run ended by itself with exit code {code}")
    return code


def left_over(session: int, tally: Found) -> None:
    """Note what still runs of a session whose run has ended, and end it."""
    deadline = time.monotonic() + PROMPT
    while (alive := members(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid, line in alive.items():
        tally.wrong.append(f"left over: {line}")
        with_suppressed(os.kill, pid, signal.SIGKILL)
    while alive and members(session):
        time.sleep(0.1)


def find(session: int, target: str) -> int | None:
    """The process of a session that is meant."""
    if target == "run":
        return session
    names = {"core": ("EngineCore", "spawn_main"), "worker": ("VLLM::Worker",)}[target]
    return next((pid for pid, line in sorted(members(session).items()) if any(name in line for name in names)), None)


def members(session: int) -> dict[int, str]:
    """Command lines of the living processes of a session, by id."""
    line_by_pid = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, process_session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(process_session) == session and state not in "ZX":
                line_by_pid[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
        except (OSError, ValueError):
            continue
    return line_by_pid


def deaths(path: Path) -> int:
    """Engines that died, by a row's record."""
    return sum(session["deaths"] for session in json.loads(path.read_text())["sessions"])


def with_suppressed(function: Any, *given: Any) -> None:
    """A call about a process that may be gone."""
    try:
        function(*given)
    except OSError:
        return


# --- the stand-in -------------------------------------------------------------------------------------------------


def stand_in_run(given: Sequence[str]) -> int:
    """`mmrope-eval run` with the stand-in."""
    from mmrope_eval import cli
    from mmrope_eval.cli.run import configured
    from mmrope_eval.run.run import run

    try:
        result = run(configured(cli.parse(["run", *given])), StandIn)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sentence = cli.bad_input(error)
        if sentence is None:
            raise
        print(f"stand-in: error: {sentence}", file=sys.stderr)
        return 2
    return 1 if result.failed or result.broken or result.failed_tasks else 0


def serve(connection: Connection) -> None:
    """The stand-in's process: an answer to each question, which depends on all that a real one depends on."""
    from mmrope_eval.engine.process import leave_with_parent

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    leave_with_parent()
    while True:
        name, seed = connection.recv()
        time.sleep(0.02)
        box = [(seed >> shift) % 50 for shift in (0, 8, 16, 24)]
        connection.send((name, f"[{box[0]}, {box[1]}, {box[0] + box[2]}, {box[1] + box[3]}] from {box[0]} to {box[2]}"))


class StandIn:
    """An engine of one process, behind the suite's interface."""

    deaths = 0

    def __init__(self, checkpoint: Any, variant: Any, options: Any) -> None:
        from mmrope_eval.engine import process

        self.checkpoint, self.variant = checkpoint, variant
        self._ours, theirs = multiprocessing.get_context("spawn").Pipe()
        with process.environment({process.LEAVE_WITH_PARENT: "1"}):
            self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
            self._process.start()
        theirs.close()

    def stream(self, requests: Iterable[Any]) -> Generator[Any, None, None]:
        """Answers, eight in flight."""
        from mmrope_eval.messages import EngineDiedError, Failure

        flying: dict[str, Any] = {}
        waiting = iter(requests)
        try:
            while True:
                while len(flying) < 8 and (item := next(waiting, None)) is not None:
                    request = item.made()
                    if isinstance(request, Failure):
                        yield request
                        continue
                    flying[request.id] = request
                    self._ours.send((request.id, self._seed(request)))
                if not flying:
                    return
                name, text = self._ours.recv()
                yield self._response(flying.pop(name), text)
        except (EOFError, OSError) as error:
            raise EngineDiedError("the stand-in's process ended", list(flying)) from error

    def _seed(self, request: Any) -> int:
        import hashlib

        asked = f"{request.id}|{request.content[-1]}|{self.variant.fingerprint}|{self.checkpoint.fingerprint}"
        return int.from_bytes(hashlib.sha256(asked.encode()).digest()[:8], "little")

    def _response(self, request: Any, text: str) -> Any:
        from mmrope_eval.messages import MediaFacts, Response

        facts = MediaFacts("image", "f", (96, 64), (84, 56), (1, 4, 6), 6)
        media = tuple(dataclasses.replace(facts) for part in request.content if not isinstance(part, str))
        return Response(request.id, text, tuple(text.encode()), "stop", 7, media)

    def switch(self, *, variant: Any = None, checkpoint: Any = None, policy: Any = None) -> None:
        """Another variant or checkpoint."""
        self.variant, self.checkpoint = variant or self.variant, checkpoint or self.checkpoint

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._ours.close()


if __name__ == "__main__":
    sys.exit(main())

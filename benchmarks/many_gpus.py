"""A driver with 64 replicas, planned on one machine: what it costs, and whether it keeps them busy.

    python benchmarks/many_gpus.py [--replicas 64] [--questions 100000] [--rate 8] [--seed 0]

Time: about ten minutes on two shared cores.

Everything of a run is real, plans, driver, messages, store and scores, but the engines: one process plays all of them,
over a pipe each, as replicas of 64 answers in a step and 64 prepared, with service times that are drawn (log-normal,
sigma 0.5) so that a replica answers `--rate` questions a second while it is full. Printed: the driver's processor time
while it asks, as a share of a core and a question; and how much of the time, before the last minute, replicas had free
places in their steps, and nothing to do at all, while questions were waiting.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import multiprocessing
import os
import queue
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

STEP = 64
"""Requests that a replica works on at a time; as many are prepared."""
SIGMA = 0.5
LAST = 60.0
"""Seconds at the end in which replicas may run out of work."""


def main() -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=8.0, help="questions a second and replica (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        summary = simulate(args.scratch or Path(temporary), args.replicas, args.questions, args.rate, args.seed)
    print(json.dumps(summary, indent=2))
    return 0


def simulate(scratch: Path, replicas: int, questions: int, rate: float, seed: int) -> dict[str, Any]:
    """One run with simulated replicas."""
    from many_samples import TASK, mirror

    from mmrope_demo.checkpoints import build_checkpoint
    from mmrope_eval.engine.options import EngineOptions
    from mmrope_eval.engine.replica import Birth, Setting
    from mmrope_eval.engine.replicas import Replicas
    from mmrope_eval.media.policy import MediaPolicy
    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.run.engines import running_code
    from mmrope_eval.run.run import run
    from mmrope_eval.util.console import say

    os.environ["MMROPE_CACHE"] = str(scratch / "cache")
    shutil.rmtree(scratch / "run", ignore_errors=True)
    data = mirror(scratch / "data", questions)
    checkpoint = build_checkpoint("qwen2.5-vl", scratch / "checkpoint")
    launch = Simulated(replicas, rate, seed)
    driver: list[Timed] = []

    def start(checkpoint: Any, variant: Any, options: EngineOptions) -> Any:
        setting = Setting(checkpoint, variant, options.policy or MediaPolicy())
        birth = Birth(setting, EngineOptions(), running_code, never)
        driver.append(Timed(Replicas.start(launch, birth, partial(say, file=sys.stderr))))
        return driver[-1]

    run(RunConfig((str(checkpoint),), (TASK,), scratch / "run", ("mrope",), data_root=data), start)
    idle = launch.report()
    (session,) = json.loads((scratch / "run" / "manifest.json").read_text())["sessions"]
    answered = sum(1 for _ in (scratch / "run" / "samples" / f"{TASK}.jsonl").open())
    return {"replicas": replicas, "questions": answered, "seconds": round(driver[0].wall, 1),
            "driver, share of a core": round(driver[0].cpu / driver[0].wall, 3),
            "driver, ms a question": round(1000 * driver[0].cpu / answered, 3),
            "generation": session["generation"], **idle}  # fmt: skip


def never(*_: Any) -> Any:
    raise AssertionError("simulated engines are not started")


class Timed:
    """Replicas, with the processor time of this process while they are asked."""

    def __init__(self, replicas: Any) -> None:
        self.replicas = replicas
        self.wall = self.cpu = 0.0

    @property
    def deaths(self) -> int:
        return int(self.replicas.deaths)

    def stream(self, requests: Any) -> Any:
        began, busy = time.perf_counter(), time.process_time()
        yield from self.replicas.stream(requests)
        self.wall, self.cpu = time.perf_counter() - began, time.process_time() - busy

    def switch(self, **to: Any) -> None:
        raise AssertionError

    def close(self) -> None:
        self.replicas.close()


# --- the driver's side of simulated replicas ------------------------------------------------------------------------


class Simulated:
    """Starts simulated replicas: their process, with the first of them."""

    def __init__(self, count: int, rate: float, seed: int) -> None:
        self.count = count
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(count)]
        self._ends = [ours for ours, _ in pairs]
        self._report, theirs = context.Pipe()
        self._process = context.Process(target=play, args=([far for _, far in pairs], theirs, rate, seed), daemon=True)
        self._process.start()
        for _, far in pairs:
            far.close()

    def places(self) -> Sequence[Any]:
        from mmrope_eval.engine.links import Place

        return [Place(f"replica {n}") for n in range(self.count)]

    def start(self, place: Any, birth: Any, post: Any) -> Any:
        return SimulatedLink(self._ends.pop(), birth, post)

    def report(self) -> Any:
        """What the replicas' process has seen."""
        summary = self._report.recv()
        self._process.join()
        return summary


class SimulatedLink:
    """As `ProcessLink`, without a process of its own."""

    def __init__(self, connection: Connection, birth: Any, post: Any) -> None:
        self._connection, self._post = connection, post
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.send(("born", birth.identify()))
        for work in (self._receive, self._transmit):
            threading.Thread(target=work, daemon=True).start()

    def send(self, message: Any) -> None:
        self._outbox.put(message)

    def end(self) -> None:
        self._outbox.put(None)

    def _receive(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._post(self._connection.recv())

    def _transmit(self) -> None:
        while True:
            message = self._outbox.get()
            self._connection.send(message)
            if message is None:
                return


# --- the replicas' process ------------------------------------------------------------------------------------------


@dataclass
class Replica:
    """One simulated replica: what it works on, what waits in it, and how long it had too little."""

    connection: Connection
    waiting: deque[str] = field(default_factory=deque)
    running: int = 0
    stream: int = 0
    closing: bool = False
    done: list[str] = field(default_factory=list)
    told: float = 0.0
    slack: list[tuple[float, float, float]] = field(default_factory=list)
    """(from, to, share of the step that was free)."""
    since: float = 0.0


def play(connections: list[Connection], report: Connection, rate: float, seed: int) -> None:
    """Be all replicas until the driver ends them, then tell how busy they were."""
    rng = random.Random(seed)
    mean = STEP / rate
    replicas = {connection: Replica(connection) for connection in connections}
    finished: list[tuple[float, int, Connection, str]] = []
    began, number = time.monotonic(), 0
    open_ones = set(connections)
    while open_ones:
        pause = max(0.0, min(finished[0][0] - time.monotonic(), 0.02)) if finished else 0.02
        for ready in wait(list(open_ones), timeout=pause):
            assert isinstance(ready, Connection)
            if not take(replicas[ready], ready.recv()):
                open_ones.discard(ready)
        now = time.monotonic()
        while finished and finished[0][0] <= now:
            _, _, where, name = heapq.heappop(finished)
            note(replicas[where], now)
            replicas[where].running -= 1
            replicas[where].done.append(name)
        for replica in replicas.values():
            while replica.waiting and replica.running < STEP:
                note(replica, now)
                number += 1
                service = mean * math.exp(rng.gauss(-SIGMA**2 / 2, SIGMA))
                heapq.heappush(finished, (now + service, number, replica.connection, replica.waiting.popleft()))
                replica.running += 1
            tell(replica, now)
    report.send(busy(list(replicas.values()), began))


def take(replica: Replica, message: Any) -> bool:
    """A message of the driver's; False for its last."""
    from mmrope_eval.engine.replica import Ask, Close, Ready

    if isinstance(message, tuple):
        replica.connection.send(Ready(message[1], 2 * STEP))
    elif isinstance(message, Ask):
        note(replica, time.monotonic())
        replica.stream = message.stream
        replica.waiting.extend(name for name, _, _ in message.items)
    elif isinstance(message, Close):
        note(replica, time.monotonic())
        replica.closing = True
    return message is not None


def tell(replica: Replica, now: float) -> None:
    """Answers, with the pauses of `Outbox`."""
    from mmrope_eval.engine.replica import PAUSE
    from mmrope_eval.messages import MediaFacts, PositionFacts, Response

    if replica.done and now - replica.told > PAUSE:
        facts = (MediaFacts("image", "f" * 64, (1024, 768), (1008, 756), (1, 54, 72), 972),)
        positions = PositionFacts("0" * 64, 80.0, -900.0)
        replica.connection.send(tuple(
            Response(name, "the answer is 17", (785, 4226, 374, 220, 16, 22, 151645), "stop", 1000, facts, positions,
                     tuple(range(1000))) for name in replica.done))  # fmt: skip
        replica.done, replica.told = [], now
    if replica.closing and not replica.done and replica.stream:
        replica.closing, replica.stream = False, 0


def note(replica: Replica, now: float) -> None:
    """Write down how full a replica was until now, from its first request on."""
    if replica.stream and not replica.closing:
        share = max(0.0, 1 - replica.running / STEP) if not replica.waiting else 0.0
        replica.slack.append((replica.since or now, now, share))
    replica.since = now


def busy(replicas: list[Replica], began: float) -> dict[str, Any]:
    """How much of the time before the last minute replicas had free places, and nothing to do."""
    end = max((to for replica in replicas for _, to, _ in replica.slack), default=began) - LAST
    free, idle = [], []
    for replica in replicas:
        spans = [(start, min(to, end), share) for start, to, share in replica.slack if start < end]
        total = sum(to - start for start, to, _ in spans) or 1.0
        free.append(sum((to - start) * share for start, to, share in spans) / total)
        idle.append(sum(to - start for start, to, share in spans if share == 1.0) / total)
    return {"free places, worst replica": round(max(free), 4), "free places, mean": round(sum(free) / len(free), 4),
            "idle, worst replica": round(max(idle), 4)}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

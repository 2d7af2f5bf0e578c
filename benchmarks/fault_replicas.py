"""Kill replicas, and the run that drives them, with SIGKILL at random moments; look for what was lost, left or changed.

    python benchmarks/fault_replicas.py [--backend processes|ray] [--replicas-killed 10] [--runs-killed 3] [--seed 0]
                                        [--rows 400] [--scratch DIR]

Time: about half an hour on two shared cores.

Each attempt starts `mmrope-eval run --replicas 2` on a checkpoint with random weights under two variants, waits for a
moment drawn evenly over what an undisturbed one takes, and kills one of its replicas (with Ray the actor's process, or
the engine's below it) or the run itself. A run whose replica was killed must go on and finish; one that was killed
leaves no process behind and is started again. In the end all answers and files must be those of a run with one engine.
Ray's cluster is started here: two nodes of one CPU each on this machine.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crash import differences
from fault_kills import PROMPT, Found, complete, finish, left_over, members, with_suppressed

COLUMNS = "chartqa,refcoco_val"

MARK = "MMROPE_EVAL_FAULTS"
"""Set in the processes of a cluster that was started here."""


def main() -> int:
    """Attack, print; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["processes", "ray"], default="processes")
    parser.add_argument("--replicas-killed", type=int, default=10)
    parser.add_argument("--runs-killed", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=400, help="of each column (default: %(default)s, 2,300 questions)")
    parser.add_argument("--scratch", type=Path, default=None, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    targets = ["replica"] * args.replicas_killed + ["run"] * args.runs_killed
    rng.shuffle(targets)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        if args.backend == "processes":
            tally = attack(scratch, args.rows, targets, rng, None)
        else:
            with two_nodes() as address:
                tally = attack(scratch, args.rows, targets, rng, address)
    print(tally.table())
    return 0 if tally.right else 1


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a cluster that ends with this script."""
    from ray.cluster_utils import Cluster

    os.environ |= {MARK: str(os.getpid()), "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    del os.environ[MARK]
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


@dataclass(frozen=True)
class Attack:
    """How runs are started."""

    model: Path
    data: Path
    address: str | None
    """Of a Ray cluster."""

    def start(self, output: Path, replicas: bool = True) -> subprocess.Popen[bytes]:
        """A run in a session of its own."""
        ray = ["--backend", "ray", "--ray-address", self.address] if self.address is not None else []
        given = ["--model", str(self.model), "--variant", "mrope-i,hope", "--tasks", COLUMNS, "--data-root",
                 str(self.data), "--output", str(output), "--max-pixels", "100352", "--video-tokens", "128",
                 "--max-model-len", "2048", *(["--replicas", "2", *ray] if replicas else [])]  # fmt: skip
        output.parent.mkdir(parents=True, exist_ok=True)
        with (output.parent / f"{output.name}.said").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "mmrope_eval", "run", *given], stdout=log, stderr=log,
                                    start_new_session=True)  # fmt: skip

    def replicas(self, session: int) -> list[int]:
        """Processes of a run's replicas."""
        if self.address is None:
            return [pid for pid, line in sorted(members(session).items()) if "spawn_main" in line]
        return actors()


def attack(scratch: Path, rows: int, targets: list[str], rng: random.Random, address: str | None) -> Found:
    """Kill what `targets` names, one after another."""
    from mmrope_demo.checkpoints import build_checkpoint

    world = [sys.executable, "-m", "mmrope_eval", "demo", "data", "--out", str(scratch / "data"), "--n", str(rows)]
    subprocess.run([*world, "--columns", COLUMNS], check=True, stdout=subprocess.DEVNULL)
    kind = Attack(build_checkpoint("qwen2.5-vl", scratch / "checkpoint"), scratch / "data", address)
    if kind.start(scratch / "whole", replicas=False).wait() != 0:
        raise SystemExit(f"an undisturbed run failed: see {scratch / 'whole.said'}")
    began = time.monotonic()
    if kind.start(scratch / "undisturbed").wait() != 0:
        raise SystemExit(f"an undisturbed run failed: see {scratch / 'undisturbed.said'}")
    window = time.monotonic() - began
    print(f"undisturbed: {window:.0f} s", flush=True)
    tally = Found(wrong=[f"undisturbed: {line}" for line in differences(scratch / "whole", scratch / "undisturbed")])
    number, waiting = 0, list(targets)
    while waiting and number < 10 * len(targets):
        before = len(tally.wrong)
        hit, done = strike(kind, scratch / f"run-{number}", waiting[0], rng.uniform(0, window), tally)
        waiting = waiting[hit:]
        number += done
        print(*tally.kills[-1] if hit else ["missed"], *tally.wrong[before:], flush=True)
    tally.wrong += [f"never hit: {target}" for target in waiting]
    complete(kind.start, scratch, number, window, tally)
    for run in range(tally.runs):
        log = (scratch / f"run-{run}.said").read_text(errors="replace")
        flying = [int(count) for count in re.findall(r"died with (\d+) samples in flight", log)]
        tally.deaths += len(flying)
        print(f"run-{run}: replicas died with {flying} samples in flight", flush=True)
    return tally


def strike(kind: Attack, output: Path, target: str, moment: float, tally: Found) -> tuple[bool, bool]:
    """Start a run and hit it or a replica; whether something was hit, and whether the run is done with all."""
    attempt, began, victims = kind.start(output), time.monotonic(), list[int]()
    while attempt.poll() is None and not victims:
        time.sleep(0.01)
        if time.monotonic() - began >= moment:
            victims = [attempt.pid] if target == "run" else kind.replicas(attempt.pid)
    hit = time.monotonic()
    if victims:
        # The moment is random; of all processes the one whose turn it is by the clock's digits is hit.
        with_suppressed(os.kill, victims[int(hit * 1000) % len(victims)], signal.SIGKILL)
    if victims and target == "run":
        attempt.wait()
        left_over(attempt.pid, tally)
        code = -9
    else:
        code = finish(attempt, 60.0, tally)
        if code != 0:
            tally.wrong.append(f"{output.name} ended with exit code {code} after a replica was killed")
    if victims:
        tally.kills.append((target, "SIGKILL", hit - began, time.monotonic() - hit))
    if kind.address is not None:
        actors_left(tally)
    return bool(victims), code == 0


def actors_left(tally: Found) -> None:
    """Note actors that outlive their run."""
    deadline = time.monotonic() + PROMPT
    while (alive := actors()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in alive:
        tally.wrong.append(f"left over: process {pid} of an actor")
        with_suppressed(os.kill, pid, signal.SIGKILL)


def actors() -> list[int]:
    """Processes of actors, and of engines below them, in the cluster that was started here."""
    mark = f"{MARK}={os.getpid()}".encode()
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text()
            ours = "ray::Host" in line or "spawn_main" in line
            if ours and mark in (folder / "environ").read_bytes() and " Z " not in (folder / "stat").read_text():
                pids.append(int(folder.name))
        except OSError:
            continue
    return sorted(pids)


if __name__ == "__main__":
    sys.exit(main())

"""Two replicas against one: samples a second on Table 2's suite, and whether the answers are the same.

    python benchmarks/replicas.py [--model checkpoints/mrope] [--n 200] [--rounds 3] [--scratch DIR]

Time: about half an hour on two shared cores.

The small world with N questions a column, asked by the whole command: once by one replica, everything pinned to one
core, once by two replicas with a core each, in turns. A replica prepares, computes and reads its media itself; the
driver runs on the same cores. The rate is of the time in which samples are asked, without the engines' start. One run
that is not measured comes first: it plans, converts tables and decodes videos, which later ones find on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measure; a line a round, the ratio at the end; 1 when answers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "checkpoints" / "mrope")
    parser.add_argument("--n", type=int, default=200, help="questions a column (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    ratios, equal = [], True
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        from mmrope_demo.run import ensure_world

        world = ensure_world(scratch / "world", args.n)
        ask(args.model, world, scratch / "first", 2, cores)
        for turn in range(args.rounds):
            rate_of_one = ask(args.model, world, scratch / f"one-{turn}", 1, cores[:1])
            rate_of_two = ask(args.model, world, scratch / f"two-{turn}", 2, cores)
            same = files(scratch / f"one-{turn}") == files(scratch / f"two-{turn}")
            equal &= same
            ratios.append(rate_of_two / rate_of_one)
            print(f"one replica on one core {rate_of_one:.1f}/s, two on two {rate_of_two:.1f}/s: "
                  f"{ratios[-1]:.2f} times; {'the same files' if same else 'OTHER ANSWERS'}", flush=True)  # fmt: skip
    print(f"median {statistics.median(ratios):.2f}")
    return 0 if equal else 1


def ask(model: Path, world: Path, output: Path, replicas: int, cores: list[int]) -> float:
    """Samples a second of one command that may use these cores."""
    command = [sys.executable, "-m", "mmrope_eval", "run", "--model", str(model), "--tasks", "table2", "--data-root",
               str(world), "--output", str(output), "--replicas", str(replicas), "--max-model-len", "4096"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if done.returncode:
        raise SystemExit(f"a run failed by itself:\n{done.stderr[-3000:]}")
    (session,) = json.loads((output / "manifest.json").read_text())["sessions"]
    return float(session["asked"] / session["generation"])


def files(folder: Path) -> dict[str, bytes]:
    """What must be the same, byte for byte."""
    paths = [folder / "scores.json", *folder.glob("samples/*.jsonl")]
    return {path.name: path.read_bytes() for path in paths}


if __name__ == "__main__":
    sys.exit(main())

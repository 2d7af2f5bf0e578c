"""How a run grows with its samples: time, memory and the size of its store, answered and resumed.

    python benchmarks/many_samples.py [--samples 1000 10000 100000] [--scratch DIR]

Time: about ten minutes on two shared cores.

The whole suite, with a stand-in for the engine that answers at once: what remains is planning, storing and scoring. One
task (InfoVQA) has so many questions about tiny pictures, each another. Every run is a process of its own, so that its
peak memory is its own; importing lmms-eval, which planning needs and resuming does not, is most of the first one's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TASK = "infovqa"


def main() -> int:
    """Measure; prints one line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--one", type=Path, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one_run(*args.one)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        print(f"{'samples':>9} {'run':9} {'asked':>7} {'wall s':>7} {'cpu s':>7} {'peak MB':>8} {'store MB':>9}")
        for count in args.samples:
            for measurement in measured(scratch / str(count), count):
                print(f"{count:>9,} {measurement['run']:9} {measurement['asked']:>7,} {measurement['wall']:>7.1f} "
                      f"{measurement['cpu']:>7.1f} {measurement['peak']:>8.0f} {measurement['store']:>9.1f}",
                      flush=True)  # fmt: skip
    return 0


def measured(folder: Path, count: int) -> list[dict[str, float | str]]:
    """The measurements of a first run and of the same command again, on so many samples."""
    from mmrope_demo.checkpoints import build_checkpoint

    shutil.rmtree(folder, ignore_errors=True)
    data = mirror(folder / "data", count)
    checkpoint = build_checkpoint("qwen2.5-vl", folder / "checkpoint")
    environment = {**os.environ, "MMROPE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1",
                   "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}  # fmt: skip
    measurements = []
    for name in ("answered", "resumed"):
        command = [sys.executable, __file__, "--one", str(checkpoint), str(data), str(folder / "run")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"a run failed by itself: {done.stderr}")
        store = (folder / "run" / "responses.sqlite").stat().st_size / 1e6
        measurements.append({"run": name, **json.loads(done.stdout.splitlines()[-1]), "store": store})
    return measurements


def one_run(checkpoint: Path, data: Path, output: Path) -> int:
    """One run, and what it took, as a line of JSON."""
    from suite_fakes import FakeStart

    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.run.run import run

    began = time.perf_counter()
    asked = run(RunConfig((str(checkpoint),), (TASK,), output, ("mrope",), data_root=data), FakeStart()).asked
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"asked": asked, "wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime,
                      "peak": peak()}))  # fmt: skip
    return 0


def peak() -> float:
    """The most memory that this process held, in units of 1024 KiB.

    `ru_maxrss` begins with what the process held that started this one, which has just made all the pictures.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def mirror(folder: Path, count: int) -> Path:
    """A mirror of the task with so many rows, each with a picture and a question of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mmrope_synth import build_world

    build_world(folder, n=16, columns=(TASK,))
    path = next(folder.rglob("InfographicVQA/*.parquet"))
    table = pq.read_table(path)
    rows = table.to_pylist()
    (field,) = [name for name, value in rows[0].items() if isinstance(value, dict) and "bytes" in value]
    many = [{**rows[i % len(rows)], field: {"bytes": png(i), "path": None},
             "question": f"{rows[i % len(rows)]['question']} ({i})"} for i in range(count)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(many, table.schema), path)
    return folder


def png(number: int, side: int = 28) -> bytes:
    """A picture of one colour, another for every number."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes((number >> shift) & 255 for shift in (0, 8, 16)) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(row * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


if __name__ == "__main__":
    sys.exit(main())

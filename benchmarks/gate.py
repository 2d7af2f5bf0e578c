"""Does the gate catch a wrong table, and does it leave honest runs alone? On the demo's trained checkpoints.

    python benchmarks/gate.py [--n 24] [--honest 10] [--model mrope-i] [--swapped mrope,vanilla]

Time: about ten minutes on two shared cores.

The baseline is one run of a checkpoint on all 25 columns. Honest runs start an engine of their own each, with other
batch sizes, and ask everything anew: `mmrope-eval check` must pass. Then the same weights run under another variant's
table, as a mistake would have it: `check` must fail.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mmrope_demo.run import checkpoints, demo_config, ensure_world
from mmrope_eval import cli
from mmrope_eval.run.run import run


def main() -> int:
    """Run, check, print; 1 where a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=24, help="rows a column (default: %(default)s)")
    parser.add_argument("--honest", type=int, default=10)
    parser.add_argument("--model", default="mrope-i")
    parser.add_argument("--swapped", default="mrope,vanilla")
    args = parser.parse_args()
    rows: list[list[object]] = []
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        data = ensure_world(Path(scratch) / "world", args.n)

        def evaluate(name: str, variants: tuple[str, ...] = (), **options: Any) -> Path:
            output = Path(scratch) / name / "results"
            config = demo_config(checkpoints(None, [args.model]), data, output, None)
            changed = dataclasses.replace(config.options, **options)
            run(dataclasses.replace(config, variants=variants, options=changed))
            return output

        def verdict(name: str, output: Path, expected: int) -> None:
            nonlocal wrong
            stdout = io.StringIO()
            with contextlib.redirect_stdout(stdout):
                code = cli.main(["check", str(output), "--against", str(baseline)])
            wrong += code != expected
            rows.append([name, code, expected, stdout.getvalue().strip().splitlines()[-1]])

        baseline = evaluate("baseline")
        for i in range(args.honest):
            verdict(f"honest {i + 1}", evaluate(f"honest-{i}", max_num_seqs=4 + 6 * i), 0)
        for variant in args.swapped.split(","):
            verdict(f"table of {variant}", evaluate(f"as-{variant}", (variant,)), 1)
    print(tabulate(rows, headers=["run", "exit code", "expected", "said"], tablefmt="github"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

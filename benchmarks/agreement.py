"""How often the engine's answers equal the reference's, on the demo's trained checkpoints and all 24 columns.

    python benchmarks/agreement.py [--n 6] [--variant vanilla,mrope-i] [--dtype float32,bfloat16]

Both decode greedily from the same weights in the same dtype. In float32 every answer must be equal. In bfloat16 engine
and transformers round at different places, and these models often rank neighbouring numbers alike (they were taught
that a near miss is nearly right): at least 99 of 100 answers must be equal, or part at a token that the reference
itself prefers by less than NEAR.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from mmrope_eval.demo.agreement import differences
from mmrope_eval.demo.run import checkpoints, demo_config, ensure_world
from mmrope_eval.suite.run import run

LEAST = {"float32": 1.0, "bfloat16": 0.99}
NEAR = {"float32": 0.0, "bfloat16": 0.07}
"""Nats. Logits between 8 and 16 are multiples of 1/16 in bfloat16: one such step, and equal ones."""


def main() -> int:
    """Measure and print; 1 where too few answers agree."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=6, help="rows a column (default: %(default)s)")
    parser.add_argument("--variant", default="vanilla,mrope-i")
    parser.add_argument("--dtype", default="float32,bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = checkpoints(None, args.variant.split(","))
    rows, short = [], False
    with tempfile.TemporaryDirectory() as scratch:
        data = ensure_world(Path(scratch) / "world", args.n)
        for dtype in args.dtype.split(","):
            config = demo_config(models, data, Path(scratch) / dtype / "results", None)
            options = dataclasses.replace(config.options, dtype=dtype)
            result = run(dataclasses.replace(config, options=options))
            for folder, model in zip(sorted(result.folders.values()), sorted(models), strict=True):
                compared, found = differences(
                    model, folder, data, config.tasks, limit=None, dtype=getattr(torch, dtype)
                )
                apart = [one for one in found if one.margin > NEAR[dtype]]
                short |= len(apart) > (1 - LEAST[dtype]) * compared
                share = [f"{100 * (1 - len(some) / compared):.2f} %" for some in (found, apart)]
                rows.append([dtype, model.name, compared, *share])
                for one in found:
                    print(f"{dtype} {model.name} {one.task} {one.id}: engine {one.engine!r}, reference "
                          f"{one.reference!r}, preferred by {one.margin:.3f}", file=sys.stderr)  # fmt: skip
    print(tabulate(rows, headers=["dtype", "checkpoint", "questions", "equal", "or nearly tied"], tablefmt="github"))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())

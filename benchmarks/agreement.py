"""How often the engine's answers equal the reference's, on the demo's trained checkpoints and all 24 columns.

    python benchmarks/agreement.py [--n 6] [--variant vanilla,mrope-i] [--setting float32,bfloat16,bfloat16+float32]

Both decode greedily from the same weights in the same dtype; the last setting is bfloat16 with the output matrix in
float32. In float32 every answer must be equal. In bfloat16 engine and transformers round at different places, and these
models often rank neighbouring numbers alike (they were taught that a near miss is nearly right): wherever the two part,
the reference must prefer its own token by less than NEAR.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from mmrope_eval.demo.agreement import Agreement, compare
from mmrope_eval.demo.run import checkpoints, demo_config, ensure_world
from mmrope_eval.suite.run import run

NEAR = {"float32": 0.0, "bfloat16": 0.07, "bfloat16+float32": 0.04}
"""Nats. Logits between 8 and 16 are multiples of 1/16 in bfloat16: one such step, and equal ones."""
HEADERS = ["setting", "checkpoint", "questions", "equal answers", "equal tokens", "equal scores", "largest margin"]


def main() -> int:
    """Measure and print; 1 where two answers part at a token that was no near tie."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=6, help="rows a column (default: %(default)s)")
    parser.add_argument("--variant", default="vanilla,mrope-i")
    parser.add_argument("--setting", default=",".join(NEAR))
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = checkpoints(None, args.variant.split(","))
    rows, far = [], False
    with tempfile.TemporaryDirectory() as scratch:
        data = ensure_world(Path(scratch) / "world", args.n)
        for setting in args.setting.split(","):
            dtype, _, head = setting.partition("+")
            config = demo_config(models, data, Path(scratch) / setting / "results", None)
            options = dataclasses.replace(config.options, dtype=dtype, head_dtype=head or "auto")
            result = run(dataclasses.replace(config, options=options))
            for folder, model in zip(sorted(result.folders.values()), sorted(models), strict=True):
                found = compare(
                    model, folder, data, config.tasks, limit=None, dtype=getattr(torch, dtype), wide_head=bool(head)
                )
                rows.append(row(setting, model.name, found))
                far |= any(one.margin > NEAR[setting] for one in found.different)
                for one in found.different:
                    print(f"{setting} {model.name} {one.task} {one.id}: engine {one.engine!r}, reference "
                          f"{one.reference!r}, preferred by {one.margin:.3f}", file=sys.stderr)  # fmt: skip
    print(tabulate(rows, headers=HEADERS, tablefmt="github"))
    return 1 if far else 0


def row(setting: str, name: str, found: Agreement) -> list[str]:
    """One line of the table."""
    parted = len(found.different)
    equal = (
        1 - parted / found.questions,
        found.same_tokens / found.tokens,
        1 - sum(not one.same_score for one in found.different) / found.questions,
    )
    margin = max((one.margin for one in found.different), default=0.0)
    return [setting, name, str(found.questions), *(f"{100 * share:.1f} %" for share in equal), f"{margin:.4f}"]


if __name__ == "__main__":
    sys.exit(main())

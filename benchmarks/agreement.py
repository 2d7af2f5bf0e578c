"""How often the engine's answers equal the reference's, on the demo's trained checkpoints and all 25 columns.

    python benchmarks/agreement.py [--n 6] [--variant vanilla,mrope-i]

Time: several minutes on two shared cores.

Both decode greedily from the same weights in the same dtype. In half precision vLLM and transformers round at different
places, and these models often rank neighbouring numbers alike (they were taught that a near miss is nearly right). So
bfloat16 is compared in several ways: with a reference that rounds where vLLM does, one question at a time or as many as
the engine takes (the sums of a larger matrix product are added up in another order), with the output matrix in float32
on both sides, and as both are. Exit code 1 where fewer tokens are equal than a setting asks for.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from mmrope_demo.agreement import Agreement, compare
from mmrope_demo.run import checkpoints, demo_config, ensure_world
from mmrope_eval.reference import Rounding
from mmrope_eval.run.run import run


class Setting(NamedTuple):
    """How both sides compute, and the least share of equal tokens."""

    least: float
    dtype: str = "bfloat16"
    head_dtype: str = "auto"
    rounding: Rounding = "transformers"
    together: int | None = None
    """Most questions in one step of the engine; None: as many as it likes."""


SETTINGS = {
    "float32": Setting(1.0, dtype="float32"),
    "bfloat16, reference rounds as vLLM, output matrix in float32, one at a time": Setting(
        0.995, head_dtype="float32", rounding="vllm", together=1
    ),
    "bfloat16, reference rounds as vLLM, one at a time": Setting(0.99, rounding="vllm", together=1),
    "bfloat16, reference rounds as vLLM": Setting(0.98, rounding="vllm"),
    "bfloat16, output matrix in float32": Setting(0.97, head_dtype="float32"),
    "bfloat16": Setting(0.95),
}
HEADERS = ["setting", "checkpoint", "questions", "equal answers", "equal tokens", "equal scores", "largest margin"]


def main() -> int:
    """Measure and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=6, help="rows a column (default: %(default)s)")
    parser.add_argument("--variant", default="vanilla,mrope-i")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = checkpoints(None, args.variant.split(","))
    rows, short = [], False
    with tempfile.TemporaryDirectory() as scratch:
        data = ensure_world(Path(scratch) / "world", args.n)
        for name, setting in SETTINGS.items():
            asked = f"{setting.dtype}-{setting.head_dtype}-{setting.together}"
            config = demo_config(models, data, Path(scratch) / asked / "results", None)
            options = dataclasses.replace(
                config.options,
                dtype=setting.dtype,
                head_dtype=setting.head_dtype,
                max_num_seqs=setting.together,
                enable_prefix_caching=setting.together is None,
            )
            result = run(dataclasses.replace(config, options=options))
            for folder, model in zip(sorted(result.folders.values()), sorted(models), strict=True):
                agreement = compare(
                    model,
                    folder,
                    data,
                    config.tasks,
                    limit=None,
                    dtype=getattr(torch, setting.dtype),
                    wide_head=setting.head_dtype == "float32",
                    rounding=setting.rounding,
                )
                rows.append(row(name, model.name, agreement))
                short |= agreement.same_tokens < setting.least * agreement.tokens
                for difference in agreement.different:
                    print(
                        f"{name}: {model.name} {difference.task} {difference.id}: engine {difference.engine!r}, "
                        f"reference {difference.reference!r}, preferred by {difference.margin:.4f}",
                        file=sys.stderr,
                    )
    print(tabulate(rows, headers=HEADERS, tablefmt="github"))
    return 1 if short else 0


def row(setting: str, model: str, agreement: Agreement) -> list[str]:
    """One line of the table."""
    parted = len(agreement.different)
    equal = (
        1 - parted / agreement.questions,
        agreement.same_tokens / agreement.tokens,
        1 - sum(not difference.same_score for difference in agreement.different) / agreement.questions,
    )
    margin = max((difference.margin for difference in agreement.different), default=0.0)
    return [setting, model, str(agreement.questions), *(f"{100 * share:.1f} %" for share in equal), f"{margin:.4f}"]


if __name__ == "__main__":
    sys.exit(main())

"""What a switch costs beside a start: one engine, its table swapped, then its weights too.

    python benchmarks/switch.py [--rounds N] [--family NAME]

Time: about a minute on two shared cores.

Wall-clock seconds on tiny random checkpoints; the first start of a process also imports vLLM. The last column is what
matters on a busy machine: the ratio to the start, taken side by side in one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

from mmrope_demo.checkpoints import FAMILIES, build_checkpoint
from mmrope_eval.engine.live import EngineOptions, LiveEngine
from mmrope_eval.messages import Generation, Request
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.rope import load_variant


def main() -> int:
    """Measure and print; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--family", choices=FAMILIES, default="qwen2.5-vl")
    args = parser.parse_args()
    question = [Request("q", ("What stands here?",), Generation(max_tokens=4))]
    with tempfile.TemporaryDirectory() as scratch:
        folders = [build_checkpoint(args.family, Path(scratch) / str(seed), seed=seed) for seed in (0, 1)]
        first, second = map(read_checkpoint, folders)
        variants = [load_variant("mrope-i"), load_variant("mhrope")]
        began = time.perf_counter()
        engine = LiveEngine.start(first, variants[0], EngineOptions(max_model_len=512))
        list(engine.stream(question))
        start = time.perf_counter() - began
        with engine:
            tables, both = [], []
            for i in range(args.rounds):
                began = time.perf_counter()
                engine.switch(variant=variants[(i + 1) % 2])
                tables.append(time.perf_counter() - began)
                list(engine.stream(question))
                began = time.perf_counter()
                engine.switch(variant=variants[i % 2], checkpoint=(second, first)[i % 2])
                both.append(time.perf_counter() - began)
                list(engine.stream(question))
    rows = [("start, first answer included", start), ("switch: table", statistics.median(tables)),
            ("switch: table and weights", statistics.median(both))]
    body = [(what, f"{seconds:.4f}", f"{start / seconds:.0f}x") for what, seconds in rows]
    print(tabulate(body, ["", "seconds (median)", "start is"], disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Whole engines on a tiny checkpoint: eager, compiled with CUDA graphs, and on two GPUs, against transformers.

Every engine goes through the same variants by `switch`, the first one again at the end. Everything is float32. Runs as
a process of its own, which can be ended when it takes too long: `python benchmarks/gpu_engine.py FAMILY WAY FILE`
writes its lines to FILE. It wants the project's whole environment and takes requests and reference from tests/.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from gpu_lines import Clock, Line, skipped, verdict

PART = "engine"
ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("qwen2.5-vl", "qwen3-vl")
"""One rotates inside a packed projection, the other behind norms."""
WAYS = ("compiled", "eager", "2 GPUs")
"""In the order in which they matter: the first is what runs on a GPU unless something else is asked for."""
STEPS = ("mrope", "vanilla", "mhrope", "circlerope", "mrope")
"""One row of cos and sin and many, whole and fractional positions, and back."""
NEEDED = ("vllm", "transformers", "pydantic", "av", "PIL", "pytest")
BOUND = {"cpu": 1e-4, "cuda": 5e-3}
"""Largest difference of log-probabilities. On a GPU it allows for attention kernels that multiply in less than float32;
other variants differ by a hundred times as much."""
APART = 0.05
LEAST_SECONDS = 45.0
"""With less time left no engine is started."""


def check(device: str, clock: Clock, families: Sequence[str] = FAMILIES, ways: Sequence[str] = WAYS,
          needed: Sequence[str] = NEEDED) -> Iterator[Line]:  # fmt: skip
    """All lines: one way after the other, each for all families."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        yield skipped(PART, "all of it", f"not installed: {', '.join(missing)}")
        return
    gpus = gpu_count() if device == "cuda" else 0
    for way in ways:
        for family in families:
            what = f"{family}, {way}"
            if way == "2 GPUs" and gpus < 2:
                yield skipped(PART, what, f"{gpus} GPU{'' if gpus == 1 else 's'} here")
            elif clock.left < LEAST_SECONDS:
                yield skipped(PART, what, f"less than {LEAST_SECONDS:.0f} seconds are left (--seconds)")
            else:
                yield from in_a_process(family, way, device, clock.left)


def gpu_count() -> int:
    """How many GPUs there are."""
    import torch

    return torch.cuda.device_count()


def in_a_process(family: str, way: str, device: str, seconds: float) -> list[Line]:
    """The lines of one engine, or one line that says how its process ended."""
    what = f"{family}, {way}"
    with tempfile.TemporaryDirectory() as scratch:
        out, log = Path(scratch) / "lines.json", Path(scratch) / "log"
        command = [sys.executable, str(Path(__file__)), family, way, device, str(out)]
        places = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        # Triton multiplies float32 in TensorFloat32 unless it is told otherwise.
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "TRITON_F32_DEFAULT": "ieee"}
        variables.pop("TRITON_INTERPRET", None)
        with log.open("w") as stream:
            try:
                subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=variables, timeout=seconds)
            except subprocess.TimeoutExpired:
                return [skipped(PART, what, f"the {seconds:.0f} seconds that were left are used up (--seconds)")]
        if out.exists():
            return [Line(**line) for line in json.loads(out.read_text())]
        cause = cause_of(log.read_text(errors="replace"))
        return [verdict(PART, what, False, f"the engine's process ended early: {cause[:300]}")]


def cause_of(log: str) -> str:
    """The first exception that a log names, else its last line: vLLM's last words only point to what came before."""
    named = re.search(r"^(?:\(.*?\) )?(?:ERROR .*?\] )?(\w+(?:\.\w+)*(?:Error|Exception): .*)", log, re.MULTILINE)
    return named[1] if named else (log.strip().splitlines() or ["it said nothing"])[-1]


def measured(family: str, way: str, device: str) -> list[Line]:
    """One engine through all steps, compared with the reference and with itself."""
    import numpy as np
    from parity_harness import POLICY, build_requests, compare, one_thread, tiny_checkpoint, variant_of

    from mmrope_eval.engine.live import EngineOptions, LiveEngine
    from mmrope_eval.messages import Failure
    from mmrope_eval.models.checkpoint import read_checkpoint
    from mmrope_eval.reference import load_reference

    options = EngineOptions(max_model_len=1024, dtype="float32", kv_cache_gib=0.25, policy=POLICY, max_num_seqs=8,
                            gpu_memory_utilization=0.4, enforce_eager=way == "eager",
                            tensor_parallel_size=2 if way == "2 GPUs" else 1)  # fmt: skip
    what, comparisons, scores = f"{family}, {way}", [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        requests = build_requests(folder)
        checkpoint = tiny_checkpoint(cast("Any", family), folder / family)
        reference = load_reference(checkpoint, variant_of(STEPS[0]))
        with one_thread():
            prompts = {request.id: reference.prepare_request(request, POLICY) for request in requests}
        with LiveEngine.start(read_checkpoint(checkpoint), variant_of(STEPS[0]), options) as engine:
            graphs = engine._shape.captured
            for name in STEPS:
                variant = variant_of(name)
                engine.switch(variant=variant)
                reference.set_variant(variant)
                answers: dict[str, Any] = {answer.id: answer for answer in engine.stream(requests)}
                lost = [answer for answer in answers.values() if isinstance(answer, Failure)]
                if lost:
                    return [verdict(PART, what, False, f"{name}, {lost[0].id}: {lost[0].cause}")]
                with one_thread():
                    comparisons += [compare(family, name, reference, prompts[kind], answers[kind]) for kind in prompts]
                scores.append(np.concatenate([answers[kind].prompt_logprobs for kind in prompts]))
    return lines_of(what, comparisons, scores, device, graphs=graphs, wanted=device == "cuda" and way != "eager")


def lines_of(
    what: str, comparisons: Sequence[Any], scores: Sequence[Any], device: str, *, graphs: bool, wanted: bool
) -> list[Line]:
    """What `measured` came to.

    `comparisons` are `parity_harness.Comparison`s, `scores` the log-probabilities of all prompts step by step; `graphs`
    says whether CUDA graphs were captured, `wanted` whether they should be.
    """
    import numpy as np

    bound = BOUND[device]
    # numpy's maxima keep what is not a number.
    error = float(np.max([[c.prompt_error, c.generated_error] for c in comparisons]))
    same = all(c.same_prompt and c.position_error <= 2**-12 for c in comparisons)
    first, last = scores[0], scores[-1]
    back = float(np.abs(first - last).max())
    least = float(np.min([np.abs(a - b).max() for a, b in pairwise(scores)]))
    captured = "with CUDA graphs" if graphs else "without CUDA graphs"
    return [
        verdict(PART, f"{what}: against transformers", error <= bound and same and graphs >= wanted,
                f"{len(comparisons)} comparisons {captured}, worst {error:.1e} of {bound:.0e} allowed"
                + ("" if same else "; prompts or positions differ"), error=error, graphs=float(graphs)),
        verdict(PART, f"{what}: switch of variant", back <= bound and least > APART,
                f"the way back differs by {back:.1e}, every switch by {least:.2f} or more", back=back, least=least),
    ]  # fmt: skip


def main() -> int:
    """The child: write the lines of one engine."""
    from dataclasses import asdict

    family, way, device, out = sys.argv[1:]
    lines = measured(family, way, device)
    Path(out).write_text(json.dumps([asdict(line) for line in lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

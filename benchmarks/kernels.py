"""Rotation of queries and keys: ours against vLLM's native MRoPE and against plainer ways, side by side.

    python benchmarks/kernels.py [--threads N] [--rounds N]

Time: more than two minutes on two shared cores.

One row is one forward step of a model with LAYERS layers: ours fills cos and sin once and rotates in every layer;
"per layer" computes cos and sin in every layer; vLLM's MRotaryEmbedding.forward_native looks them up in every layer.
The candidates take turns in every round and the best round of each counts, so that a busy machine hits all alike.
Ratios above 1 mean that ours takes less time. On a CUDA machine the same table is measured there.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mmrope_eval.rope import RotaryTable, load_variant
from mmrope_eval.rope.kernels import CosSinPlan, rotate_, rotate_oracle

LAYERS = 8
THETA = 1e6


@dataclass(frozen=True)
class Shape:
    name: str
    tokens: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype = torch.float32


SHAPES = [
    Shape("tiny, decode 1", 1, 8, 8, 32),
    Shape("tiny, decode 64", 64, 8, 8, 32),
    Shape("tiny, prefill 2048", 2048, 8, 8, 32),
    Shape("7B-like, decode 16", 16, 28, 4, 128),
    Shape("7B-like, prefill 2048", 2048, 28, 4, 128),
    Shape("7B-like, decode 16, bf16", 16, 28, 4, 128, torch.bfloat16),
    Shape("7B-like, prefill 2048, bf16", 2048, 28, 4, 128, torch.bfloat16),
]

Step = Callable[[], None]


def candidates(shape: Shape, device: str) -> dict[str, Step]:
    """Name -> one forward step's worth of rotation on the same packed projection."""
    widths = [shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.kv_heads * shape.head_dim]
    packed = torch.randn(shape.tokens, sum(widths), device=device).to(shape.dtype)
    q, k = packed[:, : widths[0]], packed[:, widths[0] : widths[0] + widths[1]]
    positions = torch.randint(0, 4000, (3, shape.tokens), device=device)
    single = load_variant("mrope").table(shape.head_dim, shape.kv_heads, THETA)
    # Whole heads for each axis; on few KV heads one of them does not rotate.
    share = max(shape.kv_heads // 4, 1)
    many = load_variant("mhrope", mrope_section=[share, share, share]).table(shape.head_dim, shape.kv_heads, THETA)
    steps = {
        "one table": _ours(q, k, positions, single, shared=True),
        "one table, full rows": _ours(q, k, positions, single, shared=False),
        "mhrope": _ours(q, k, positions, many, shared=False),
        "oracle": _once_per_step(q, k, positions, single),
        "per layer": _per_layer(q, k, positions, single),
    }
    vllm = _vllm(q, k, positions, shape, single)
    return steps if vllm is None else {**steps, "vLLM native": vllm}


def _ours(q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, table: RotaryTable, *, shared: bool) -> Step:
    rows, pairs = table.axis.shape
    plan = CosSinPlan.build(table.axis, table.inv_freq, table.attention_factor, q.device)
    cos, sin = (torch.empty(q.shape[0], 1 if shared else rows, pairs, device=q.device) for _ in range(2))
    cos, sin = (cos.expand(-1, rows, -1), sin.expand(-1, rows, -1)) if shared else (cos, sin)

    def step() -> None:
        plan.fill(positions.float(), cos, sin)
        for _ in range(LAYERS):
            rotate_(q, k, cos, sin)

    return step


def _once_per_step(q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, table: RotaryTable) -> Step:
    def step() -> None:
        cos, sin = (x.transpose(0, 1) for x in table.cos_sin(positions))
        for _ in range(LAYERS):
            rotate_oracle(q, k, cos, sin)

    return step


def _per_layer(q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, table: RotaryTable) -> Step:
    def step() -> None:
        for _ in range(LAYERS):
            cos, sin = (x.transpose(0, 1) for x in table.cos_sin(positions))
            rotate_oracle(q, k, cos, sin)

    return step


def _vllm(q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, shape: Shape, table: RotaryTable) -> Step | None:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        from vllm.config import VllmConfig, set_current_vllm_config
        from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding
    except ImportError:
        return None
    logging.disable(logging.WARNING)
    section = [int((table.axis[0] == axis).sum()) for axis in range(3)]
    with set_current_vllm_config(VllmConfig()):
        module = MRotaryEmbedding(shape.head_dim, shape.head_dim, 8192, THETA, True, shape.dtype, section).to(q.device)

    def step() -> None:
        for _ in range(LAYERS):
            module.forward_native(positions, q, k)

    return step


def best_times(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Seconds of each candidate's best round; a round repeats short steps to about 10 ms."""
    repeats = {}
    for name, step in steps.items():
        step()
        repeats[name] = max(1, int(0.01 / (_timed(step, 1) + 1e-9)))
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            best[name] = min(best[name], _timed(step, repeats[name]))
    return best


def _timed(step: Step, repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{device}, {args.threads} threads, torch {torch.__version__}; microseconds per layer, then ratios to ours")
    print(
        f"{'':28}{'one table':>10}{'mhrope':>8}{'full rows':>10}{'oracle':>8}{'per layer':>10}{'vLLM':>8}"
        f" |{'oracle':>7}{'per layer':>10}{'vLLM':>6}{'vLLM/mhrope':>12}"
    )
    with torch.inference_mode():
        for shape in SHAPES:
            took = {name: 1e6 * t / LAYERS for name, t in best_times(candidates(shape, device), args.rounds).items()}
            ours, mhrope, vllm = took["one table"], took["mhrope"], took.get("vLLM native", float("nan"))
            print(
                f"{shape.name:28}{ours:10.0f}{mhrope:8.0f}{took['one table, full rows']:10.0f}{took['oracle']:8.0f}"
                f"{took['per layer']:10.0f}{vllm:8.0f} |{took['oracle'] / ours:6.2f}x{took['per layer'] / ours:9.2f}x"
                f"{vllm / ours:5.2f}x{vllm / mhrope:11.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""What a compiled layer does around its rotation on a GPU: kernels that run and microseconds, ours beside vLLM's.

The piece is what stands between the projection and attention: split, norms where a model has them, rotation. It is
compiled for any number of tokens, as vLLM compiles it. The projection itself is left out: a matrix product that takes
many times as long would hide what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu_cases import SHAPES, Given, Shape, Table, given
from gpu_correct import head_norm
from gpu_lines import Line, skipped
from gpu_speed import best_times, vllm_module

from mmrope_eval.rope.kernels import rotate

PART = "layers"
Piece = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Layer:
    """A model's shape, the variant it was trained with, and whether q and k pass norms before they are rotated."""

    shape: Shape
    variant: str
    normed: bool

    @property
    def interleaved(self) -> bool:
        return self.variant == "qwen3-vl"


LAYERS = (Layer(SHAPES[0], "mrope", normed=False), Layer(SHAPES[2], "mrope", normed=False),
          Layer(SHAPES[3], "qwen3-vl", normed=True))  # fmt: skip
TOKENS = (8192, 256, 16)
"""Of one compiled graph in turn, as an engine's steps are."""


def measure(tables: list[Table], device: str) -> Iterator[Line]:
    """All lines. Only a GPU's are worth having."""
    if device != "cuda":
        yield skipped(PART, "all of it", "there is no CUDA device")
        return
    for layer in LAYERS:
        table = next(table for table in tables if layer.variant in table.names)
        yield from compared(layer, TOKENS, table, device)


def compared(layer: Layer, tokens: Sequence[int], table: Table, device: str, rounds: int = 10) -> Iterator[Line]:
    """Ours and vLLM's on one model, in turns, the most tokens first."""
    case = given(layer.shape, table, max(tokens), torch.bfloat16, device)
    torch.compiler.reset()
    pieces: dict[str, Piece] = {}
    for name, make in {"ours": ours, "vLLM's": stock}.items():
        packed = case.packed[:]
        torch._dynamo.mark_dynamic(packed, 0)
        try:
            piece = torch.compile(make(layer, case, table), fullgraph=True)
            piece(packed)
        except Exception as error:  # noqa: BLE001 - a compiler, or another package's module, may fail in any way
            yield skipped(PART, f"{layer.shape.model}: {name}", f"{type(error).__name__}: {error}")
        else:
            pieces[name] = piece
    for count in tokens:
        packed = case.packed[:count]
        steps = {name: partial(piece, packed) for name, piece in pieces.items()}
        names = {name: kernels(step, device) for name, step in steps.items()}
        took = best_times(steps, device, rounds)
        for name, seconds in took.items():
            words = f"{len(names[name])} kernels, {seconds * 1e6:.2f} us, {seconds / took['ours']:.2f} times ours"
            numbers = {"kernels": len(names[name]), "us": seconds * 1e6}
            what = f"{layer.shape.model}, {count} tokens: {name}"
            yield Line(PART, what, "measured", f"{words}: {', '.join(names[name])}"[:400], numbers)


def ours(layer: Layer, case: Given, table: Table) -> Piece:
    """The call of our attention layers: cos and sin of the step lie in a buffer for the most tokens there can be."""
    cos, sin = (torch.cat((t, t)) for t in (case.cos, case.sin))
    norms = weights(layer, case)

    def piece(packed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = split(packed, layer, norms)
        return *rotate(q, k, cos[: q.shape[0]], sin[: q.shape[0]]), v

    return piece


def stock(layer: Layer, case: Given, table: Table) -> Piece:
    """What vLLM's own classes compile: the native form of its rotary module, which looks cos and sin up itself."""
    module = vllm_module(case, layer.shape, table, interleaved=layer.interleaved)
    positions = torch.randint(0, 4000, (3, 2 * case.q.shape[0]), device=case.q.device)
    norms = weights(layer, case)
    forward: Any = module.forward_native

    def piece(packed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = split(packed, layer, norms)
        return *forward(positions[:, : q.shape[0]], q, k), v

    return piece


def weights(layer: Layer, case: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the norms of q and k."""
    q, k = (torch.rand(layer.shape.head_dim, device=case.q.device).to(case.q.dtype) for _ in range(2))
    return q, k


def split(packed: torch.Tensor, layer: Layer, norms: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """q, k and v of a packed projection, q and k behind their norms where there are some."""
    q, k, v = packed.split(list(layer.shape.widths), dim=-1)
    if layer.normed:
        heads = (t.unflatten(1, (-1, layer.shape.head_dim)) for t in (q, k))
        q, k = ((head_norm(t) * w).flatten(1) for t, w in zip(heads, norms, strict=True))
    return q, k, v


def kernels(step: Callable[[], object], device: str) -> list[str]:
    """The names of the kernels, copies and fills that one call runs on the GPU, after it has been compiled."""
    if device != "cuda":
        return []
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    return [event.name for event in seen.events() if event.device_type == DeviceType.CUDA]

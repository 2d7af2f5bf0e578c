"""How fast a layer is rotated: microseconds, and bytes a second next to a device copy, ours and others' side by side.

Bytes are counted, not measured. `least_bytes` is what any rotation has to move: q and k read and written once, and the
three positions of a token. Ours also reads cos and sin, which are made once a step for all layers; `own_bytes` has
them. Gigabytes a second are `own_bytes` for ours and `least_bytes` for the others, so that theirs are what they come to
and not what they move.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from gpu_cases import SHAPES, THETA, Given, Shape, Table, given
from gpu_correct import in_place, operator
from gpu_lines import Line, skipped

PART = "speed"
CASES = tuple((shape, tokens) for shape in (SHAPES[0], SHAPES[3], SHAPES[2]) for tokens in (8192, 256, 1))
"""A model and the tokens of its step: a prefill that no cache holds, and decode steps."""
COPY = "device copy"
OURS = "ours, in place"
Step = Callable[[], object]


def least_bytes(shape: Shape, item: int) -> int:
    """Bytes a token of one layer that any rotation moves; `item` bytes hold one channel."""
    return 2 * 2 * shape.pairs * (shape.heads + shape.kv_heads) * item + 3 * 8


def own_bytes(shape: Shape, item: int, *, shared_row: bool) -> int:
    """Bytes a token of one layer that our kernel moves, with a row of cos and sin for each KV head or one for all."""
    rows = 1 if shared_row else shape.kv_heads
    return 2 * 2 * shape.pairs * (shape.heads + shape.kv_heads) * item + 2 * 4 * shape.pairs * rows


@dataclass(frozen=True)
class Candidate:
    """One way of rotating, and the bytes that are counted for it."""

    step: Step
    bytes: int


def measure(tables: list[Table], device: str) -> Iterator[Line]:
    """All lines of speed. Only a GPU's are worth having: elsewhere one line says that there are none."""
    if device != "cuda":
        yield skipped(PART, "all of it", "there is no CUDA device")
        return
    single = next(table for table in tables if "mrope" in table.names)
    for shape, tokens in CASES:
        yield from compared(shape, tokens, single, device)


def compared(shape: Shape, tokens: int, table: Table, device: str, rounds: int = 10) -> Iterator[Line]:
    """All candidates on one shape, in turns. The first line is the copy's."""
    what = f"{shape.model}, {tokens} tokens"
    case = given(shape, table, tokens, torch.bfloat16, device)
    ready: dict[str, Candidate] = {}
    for name, make in {**_ours(case, shape), **_others(case, shape, table)}.items():
        try:
            candidate = make()
            candidate.step()
        except Exception as error:  # noqa: BLE001 - another package's kernel may fail in any way
            yield skipped(PART, f"{what}: {name}", f"{type(error).__name__}: {error}")
        else:
            ready[name] = candidate
    took = best_times({name: candidate.step for name, candidate in ready.items()}, device, rounds)
    for name, seconds in took.items():
        moved = ready[name].bytes
        rate = moved / seconds / 1e9
        share = rate / (ready[COPY].bytes / took[COPY] / 1e9)
        ratio = seconds / took[OURS]
        words = f"{seconds * 1e6:.2f} us, {rate:.0f} GB/s, {share:.0%} of a copy, {ratio:.2f} times ours"
        numbers = {"us": seconds * 1e6, "bytes": moved, "gb_s": rate, "of_copy": share, "to_ours": ratio}
        yield Line(PART, f"{what}: {name}", "measured", words, numbers)


Makers = Mapping[str, Callable[[], Candidate]]


def _ours(case: Given, shape: Shape) -> Makers:
    tokens, item = case.q.shape[0], case.q.element_size()
    full = Given(case.packed, case.q, case.k, case.cos.contiguous(), case.sin.contiguous())
    counted = {shared: tokens * own_bytes(shape, item, shared_row=shared) for shared in (False, True)}
    source = torch.empty(max(counted[False] // 2, 1), dtype=torch.uint8, device=case.q.device)
    target = torch.empty_like(source)
    one_row = Given(case.packed, case.q, case.k, *(t[:, :1].contiguous().expand(t.shape) for t in (case.cos, case.sin)))
    return {
        COPY: lambda: Candidate(lambda: target.copy_(source), 2 * source.numel()),
        OURS: lambda: Candidate(lambda: in_place(full), counted[False]),
        "ours, in place, one row for all heads": lambda: Candidate(lambda: in_place(one_row), counted[True]),
        "ours, operator of compiled layers": lambda: Candidate(lambda: operator(full), counted[False]),
    }


def _others(case: Given, shape: Shape, table: Table) -> Makers:
    least = case.q.shape[0] * least_bytes(shape, case.q.element_size())
    positions = torch.randint(0, 4000, (3, case.q.shape[0]), device=case.q.device)

    def vllm(path: str, *, compiled: bool = False) -> Callable[[], Candidate]:
        def make() -> Candidate:
            module = vllm_module(case, shape, table)
            forward = getattr(module, path)
            forward = torch.compile(forward, dynamic=False) if compiled else forward
            return Candidate(lambda: forward(positions, case.q, case.k), least)

        return make

    return {
        "vLLM's native MRotaryEmbedding": vllm("forward_native"),
        "vLLM's native MRotaryEmbedding, compiled": vllm("forward_native", compiled=True),
        "vLLM's Triton kernel": vllm("forward_cuda"),
        "Liger's kernel": lambda: Candidate(_liger(case, shape, table), least),
        "transformers' function": lambda: Candidate(_transformers(case, shape), least),
    }


def vllm_module(case: Given, shape: Shape, table: Table, *, interleaved: bool = False) -> torch.nn.Module:
    """vLLM's own rotary module for a table of one row; `interleaved` is how its class for Qwen3-VL deals axes out."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding

    logging.disable(logging.WARNING)
    try:
        with set_current_vllm_config(VllmConfig()):
            module: torch.nn.Module = MRotaryEmbedding(
                shape.head_dim, 2 * shape.pairs, 8192, THETA, True, case.q.dtype, section(table), interleaved
            )
    finally:
        logging.disable(logging.NOTSET)
    return module.to(case.q.device)


def section(table: Table) -> list[int]:
    """How many pairs each axis has."""
    return [int((table.axis[0] == axis).sum()) for axis in range(3)]


def _liger(case: Given, shape: Shape, table: Table) -> Step:
    from liger_kernel.transformers.qwen2vl_mrope import liger_multimodal_rotary_pos_emb

    # It has a batch, wants q and k as (batch, heads, tokens, channels), and cos and sin of all three axes.
    cos, sin = (torch.cat((t[:, 0], t[:, 0]), dim=-1).expand(3, 1, -1, -1).contiguous() for t in (case.cos, case.sin))

    def step() -> object:
        q, k = (x.unflatten(1, (-1, shape.head_dim)).transpose(0, 1)[None] for x in (case.q, case.k))
        return liger_multimodal_rotary_pos_emb(q, k, cos, sin, section(table))

    return step


def _transformers(case: Given, shape: Shape) -> Step:
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

    cos, sin = (torch.cat((t[:, 0], t[:, 0]), dim=-1)[None].to(case.q.dtype) for t in (case.cos, case.sin))
    q, k = (x.unflatten(1, (-1, shape.head_dim)).transpose(0, 1)[None] for x in (case.q, case.k))
    return lambda: apply_rotary_pos_emb(q, k, cos, sin)


def best_times(steps: Mapping[str, Step], device: str, rounds: int) -> dict[str, float]:
    """Seconds of each step in its best round; they take turns, so that a busy machine hits all alike."""
    timers = {name: timer(step, device) for name, step in steps.items()}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, stopwatch in timers.items():
            best[name] = min(best[name], stopwatch())
    return best


def timer(step: Step, device: str, repeats: int = 20) -> Callable[[], float]:
    """A function that times `step`, in seconds: on a GPU as part of a CUDA graph, where launching costs least."""
    if device != "cuda":

        def on_the_clock() -> float:
            began = time.perf_counter()
            step()
            return time.perf_counter() - began

        return on_the_clock
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    run, repeats = _captured(step, repeats)

    def by_events() -> float:
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / repeats

    by_events()
    return by_events


def _captured(step: Step, repeats: int) -> tuple[Step, int]:
    """`repeats` steps as one graph, or as they are where a step cannot be captured."""
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(graph):
            for _ in range(repeats):
                step()
    except RuntimeError:
        torch.cuda.synchronize()
        return lambda: [step() for _ in range(repeats)], repeats
    return graph.replay, repeats

"""Every kernel of the rotation against plain torch: all tables, models, dtypes, numbers of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gpu_cases import SHAPES, Given, Shape, Table, given, positions_of
from gpu_lines import Line, skipped, verdict

from mmrope_eval.engine.rotary import SharedRotary, kv_head_rows
from mmrope_eval.rope.encoding import PositionCodec
from mmrope_eval.rope.kernels import CosSinPlan, rotate, rotate_, rotate_oracle, rotate_packed

PART = "correctness"
HALF_A_UNIT = 0.51
"""Largest error in units of the storage type: computed in float32 and rounded once."""
FLOAT32 = 4e-6
"""What float32 arithmetic on values of about 4 may add, whether or not products are fused into sums."""

Rotate = Callable[[Given], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Scope:
    """What is tried; the default may take two minutes on a GPU, most of them compiling."""

    shapes: Sequence[Shape] = SHAPES
    dtypes: Sequence[torch.dtype] = (torch.bfloat16, torch.float16, torch.float32)
    tokens: Sequence[int] = (1, 2, 37, 256, 1500)
    """Decode with a row of its own for every KV head and with a shared one; prefill in programs of one token and of
    several."""
    compiled: bool = True
    units: Mapping[torch.dtype, float] | None = None
    """Other bounds than HALF_A_UNIT."""


def in_place(case: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """What eager layers call."""
    rotate_(case.q, case.k, case.cos, case.sin)
    return case.q, case.k


def triton_in_place(case: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """The Triton kernel, on whatever device; on CPU through its interpreter."""
    from mmrope_eval.rope.triton_kernels import rotate_triton_

    rotate_triton_(case.q, case.k, case.cos, case.sin)
    return case.q, case.k


def triton_out_of_place(case: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """The same into tensors of their own."""
    from mmrope_eval.rope.triton_kernels import rotate_triton

    return rotate_triton(case.q, case.k, case.cos, case.sin)


def operator(case: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """What compiled layers call on a packed projection."""
    rotated: tuple[torch.Tensor, torch.Tensor] = rotate_packed(case.q, case.k, case.cos, case.sin)
    return rotated


WAYS: Mapping[str, Rotate] = {"in place": in_place, "operator": operator, "Triton in place": triton_in_place,
                              "Triton out of place": triton_out_of_place}  # fmt: skip


def check(tables: Sequence[Table], device: str, scope: Scope) -> Iterator[Line]:
    """All lines of correctness."""
    yield fills_are_accurate(tables, device)
    yield slices_of_ranks(tables, device)
    yield formula_of_transformers(tables, device)
    for shape in scope.shapes:
        for dtype in scope.dtypes:
            yield rotations(shape, dtype, tables, device, scope)
    if scope.compiled:
        for normed in (False, True):
            yield compiled_layers(normed, tables, device)


def rotations(shape: Shape, dtype: torch.dtype, tables: Sequence[Table], device: str, scope: Scope,
              ways: Mapping[str, Rotate] = WAYS) -> Line:  # fmt: skip
    """One model in one dtype: every way, table and number of tokens."""
    worst, where, tried, touched = 0.0, "", 0, []
    for table in tables:
        for tokens in scope.tokens:
            case = given(shape, table, tokens, dtype, device)
            want = rotate_oracle(case.q.float(), case.k.float(), case.cos, case.sin)
            for name, way in ways.items():
                mine = case.again()
                error = max(map(units, way(mine), want))
                tried += 1
                if not same_elsewhere(case, mine, shape, in_place=name.endswith("in place")):
                    touched.append(f"{name}, {table.names[0]}, {tokens} tokens")
                if error > worst:
                    worst, where = error, f"{name}, {table.names[0]}, {tokens} tokens"
    bound = (scope.units or {}).get(dtype, HALF_A_UNIT)
    words = f"{tried} rotations, worst {worst:.2f} units of {_name(dtype)}{f' ({where})' if where else ''}"
    if touched:
        words += f"; something else was changed by {touched[0]} and {len(touched) - 1} more"
    return verdict(PART, f"rotation, {shape.model}, {_name(dtype)}", worst <= bound and not touched, words,
                   rotations=tried, units=worst)  # fmt: skip


def units(got: torch.Tensor, want: torch.Tensor) -> float:
    """Largest error in units in the last place of what was stored, beyond what float32 arithmetic may add.

    Infinite where something is not a number, which no maximum then loses.
    """
    if bool(torch.isnan(got).any()):
        return float("inf")
    eps = torch.finfo(got.dtype).eps
    excess = ((got.double() - want.double()).abs() - FLOAT32).clamp(min=0) / (eps * want.double().abs() + 1e-30)
    return float(excess.max())


def same_elsewhere(before: Given, after: Given, shape: Shape, *, in_place: bool) -> bool:
    """v is as it was, and so are channels that do not rotate; q and k too where the way is not in place."""
    q, k, _ = shape.widths
    kept = [(before.packed[:, q + k :], after.packed[:, q + k :])]
    for old, new, width in ((before.q, after.q, q), (before.k, after.k, k)):
        heads = [x.unflatten(1, (width // shape.head_dim, shape.head_dim)) for x in (old, new)]
        kept.append((heads[0], heads[1]) if not in_place else tuple(x[..., 2 * shape.pairs :] for x in heads))
    return all(torch.equal(old, new) for old, new in kept)


def fills_are_accurate(tables: Sequence[Table], device: str, kind: type[SharedRotary] = SharedRotary) -> Line:
    """cos and sin of the plan and of the engine's captured fill against numpy in float64, at positions up to 262,144.

    The angle is a float32 product, as the published implementations have it.
    """
    worst, where, tokens = 0.0, "", 512
    positions = positions_of(tokens, torch.Generator().manual_seed(0))
    encoded = torch.from_numpy(PositionCodec().encode(positions.numpy().astype(np.float64))).to(device)
    for table in tables:
        angle = (positions.numpy()[np.maximum(table.axis, 0)].transpose(2, 0, 1) * table.inv_freq).astype(np.float64)
        angle = np.where(table.axis < 0, 0, angle)
        want = [f(angle) * table.attention_factor for f in (np.cos, np.sin)]
        rows, pairs = table.axis.shape
        plan = [torch.empty(tokens, rows, pairs, device=device) for _ in range(2)]
        CosSinPlan.build(table.axis, table.inv_freq, table.attention_factor, device).fill(positions.to(device), *plan)
        with torch.device(device):
            rotary = kind(rows, pairs, tokens, PositionCodec(), full_rows=True, captured=True)
        rotary.set_table(cast("Any", table))
        rotary.fill(encoded)
        for name, tensors in (("plan", plan), ("captured", [rotary.cos, rotary.sin])):
            error = float(np.max([np.abs(x.cpu().numpy() - w).max() for x, w in zip(tensors, want, strict=True)]))
            if not error <= worst:  # not a number is neither
                worst, where = error, f"{name}, {table.names[0]}"
    return verdict(PART, "cos and sin, float32, against float64", worst <= 1.2e-7,
                   f"{len(tables)} tables, worst {worst:.1e} ({where})", error=worst)  # fmt: skip


def slices_of_ranks(
    tables: Sequence[Table], device: str, rows_of: Callable[[int, int, int], slice] = kv_head_rows
) -> Line:
    """What each tensor-parallel rank rotates, put together, is what one device rotates. One device is enough for it."""
    bad, tried = [], 0
    for table in tables:
        shape = Shape("all ranks", 32, table.axis.shape[0])
        case = given(shape, table, 21, torch.float32, device)
        whole = operator(case)
        for world in (2, 4, 8, 16):
            share = max(shape.kv_heads // world, 1), shape.heads // world
            for rank in range(world):
                rows = rows_of(shape.kv_heads, rank, world)
                heads = slice(rank * share[1] * shape.head_dim, (rank + 1) * share[1] * shape.head_dim)
                keys = slice(rows.start * shape.head_dim, rows.stop * shape.head_dim)
                mine = rotate_packed(case.q[:, heads], case.k[:, keys], case.cos[:, rows], case.sin[:, rows])
                same = all(torch.allclose(m, w, rtol=0, atol=FLOAT32)
                           for m, w in zip(mine, (whole[0][:, heads], whole[1][:, keys]), strict=True))  # fmt: skip
                tried += 1
                bad += [] if same else [f"{table.names[0]}, rank {rank} of {world}"]
    words = f"{tried} slices" + (f", {len(bad)} differ: {bad[0]}" if bad else "")
    return verdict(PART, "slices of 2 to 16 tensor-parallel ranks", not bad, words, slices=tried, differing=len(bad))


def formula_of_transformers(tables: Sequence[Table], device: str) -> Line:
    """Our operator against the function of transformers' own model, in float32."""
    what = "transformers' own rotation, float32"
    try:
        from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb
    except ImportError as error:
        return skipped(PART, what, f"transformers cannot be imported ({error})")
    shape, worst = SHAPES[3], 0.0
    for table in (t for t in tables if t.distinct == 1):
        case = given(shape, table, 64, torch.float32, device)
        cos, sin = (torch.cat((t[:, 0], t[:, 0]), dim=-1)[None] for t in (case.cos, case.sin))
        heads = [x.unflatten(1, (-1, shape.head_dim)).transpose(0, 1)[None] for x in (case.q, case.k)]
        theirs = [x[0].transpose(0, 1).flatten(1) for x in apply_rotary_pos_emb(*heads, cos, sin)]
        errors = [float((a - b).abs().max()) for a, b in zip(operator(case), theirs, strict=True)]
        worst = float(np.max([worst, *errors]))
    return verdict(PART, what, worst <= FLOAT32, f"worst difference {worst:.1e}", error=worst)


def compiled_layers(normed: bool, tables: Sequence[Table], device: str) -> Line:
    """A layer's projection, norms and rotation as torch.compile makes them, against the same run as it stands."""
    shape = SHAPES[3 if normed else 0]
    what = f"compiled layer, {'norm and rotation in one kernel' if normed else 'packed projection'}, bfloat16"
    table = max(tables, key=lambda t: t.distinct)
    case = given(shape, table, 64, torch.bfloat16, device)
    cos, sin = (t.contiguous() for t in (case.cos, case.sin))

    def layer(packed: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, _ = (packed * 1.0).split(list(shape.widths), dim=-1)
        if normed:
            q, k = (head_norm(x.unflatten(1, (-1, shape.head_dim))).flatten(1) for x in (q, k))
        return rotate(q, k, cos, sin)

    try:
        got = torch.compile(layer, fullgraph=True, dynamic=False)(case.packed, cos, sin)
    except Exception as problem:  # noqa: BLE001 - whatever a compiler says, it does not run here
        return verdict(PART, what, False, f"does not compile: {' '.join(str(problem).split())[:200]}")
    want = layer(case.packed, cos, sin)
    error = float(np.max([float((a.float() - b.float()).abs().max()) for a, b in zip(got, want, strict=True)]))
    # Inductor keeps the norm's result in float32 where eager layers round it first.
    bound = 4 * torch.finfo(torch.bfloat16).eps * max(float(w.abs().max()) for w in want)
    return verdict(PART, what, error <= bound, f"largest difference {error:.1e} of {bound:.1e} allowed", error=error)


def head_norm(x: torch.Tensor) -> torch.Tensor:
    """Root mean square norm over the last axis, in float32 as vLLM's native form has it; without a weight."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

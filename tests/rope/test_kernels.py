"""Every way of rotating q and k gives the same numbers, in place, for every table; cos and sin are accurate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmrope_eval.rope import load_variant
from mmrope_eval.rope.kernels import CosSinPlan, rotate, rotate_, rotate_oracle, rotate_packed

Rotate = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], Any]


@dataclass(frozen=True)
class Case:
    """One shape: `rows` says whether KV heads share a row of cos and sin, and how."""

    n: int
    heads: int
    kv_heads: int
    head_dim: int
    pairs: int
    dtype: str = "float32"
    layout: str = "packed"  # or "separate" or "strided"
    rows: str = "own"  # or "equal" or "expanded"

    @property
    def id(self) -> str:
        return "-".join(str(v) for v in asdict(self).values())


CASES = [
    Case(5, 4, 4, 32, 16),
    Case(1, 28, 4, 128, 64, "bfloat16", "packed", "expanded"),
    Case(7, 12, 2, 128, 64, "float16", "separate"),
    Case(7, 12, 2, 128, 64, "float32", "packed", "expanded"),
    Case(9, 8, 8, 80, 40, "float32", "strided"),
    Case(3, 6, 3, 48, 12, "bfloat16", "packed", "own"),
    Case(3, 6, 3, 48, 12, "float32", "separate", "equal"),
    Case(4, 2, 1, 20, 3, "float32", "packed", "expanded"),
    Case(2, 16, 8, 128, 32, "float16", "strided", "expanded"),
    Case(0, 4, 2, 32, 16),
    Case(200, 8, 4, 32, 16, "bfloat16", "packed", "own"),
    Case(131, 4, 2, 24, 8, "float32", "strided", "own"),
    # More tokens than get a program of their own, and 16 query heads a KV head.
    Case(1029, 4, 2, 24, 8, "float16", "packed", "own"),
    Case(1025, 16, 1, 20, 6, "bfloat16", "packed", "expanded"),
]
# More tokens than one block of the CPU path holds, and not a multiple of it.
LONG = [Case(3001, 14, 2, 64, 32, d, "packed", r) for d in ("float32", "bfloat16") for r in ("own", "expanded")]


def make(case: Case, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """The buffer that q and k are views of, then q, k, cos, sin."""
    generator = torch.Generator().manual_seed(case.n + case.head_dim)
    dtype = getattr(torch, case.dtype)
    q_size, k_size = case.heads * case.head_dim, case.kv_heads * case.head_dim
    gap = {"packed": 0, "separate": 5, "strided": 3}[case.layout]
    buffer = torch.randn(case.n, q_size + 2 * k_size + gap, generator=generator).to(dtype).to(device)
    q, k = buffer[:, :q_size], buffer[:, q_size + gap : q_size + gap + k_size]
    if case.layout == "separate":
        q, k = q.contiguous(), k.contiguous()
    rows = case.kv_heads if case.rows == "own" else 1
    angle = torch.randn(case.n, rows, case.pairs, generator=generator) * 50
    angle[:, :, case.pairs // 2] = 0.0  # a pair that does not rotate
    cos, sin = (f(angle).expand(-1, case.kv_heads, -1).to(device) for f in (torch.cos, torch.sin))
    if case.rows == "equal":
        cos, sin = cos.contiguous(), sin.contiguous()
    return buffer, q, k, cos, sin


def truth(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Multiplication by a complex number, one head at a time, in float64."""
    pairs, rows, heads = cos.shape[2], cos.shape[1], x.shape[1] // head_dim
    out = x.double().clone()
    for head in range(heads):
        turn = torch.complex(cos.double(), sin.double())[:, head // (heads // rows)]
        at = head * head_dim
        first, second = slice(at, at + pairs), slice(at + pairs, at + 2 * pairs)
        turned = torch.complex(x[:, first].double(), x[:, second].double()) * turn
        out[:, first], out[:, second] = turned.real, turned.imag
    return out


def worst(case: Case, rotate: Rotate, device: str = "cpu") -> dict[str, float]:
    """Largest error of q and k in units of the storage type's precision, and whether anything else was touched."""
    buffer, q, k, cos, sin = make(case, device)
    expected = [truth(x, cos, sin, case.head_dim) for x in (q, k)]
    before, kept = buffer.clone(), [x.clone() for x in (q, k)]
    rotate(q, k, cos, sin)
    eps = torch.finfo(q.dtype).eps
    error, untouched = 0.0, True
    for x, want, old in zip((q, k), expected, kept, strict=True):
        # 2e-6 allows for float32 arithmetic on values of about 4.
        excess = ((x.double() - want).abs() - 2e-6).clamp(min=0) / (eps * want.abs() + 1e-30)
        error = max(error, float(excess.max()) if excess.numel() else 0.0)
        heads = [t.reshape(case.n, x.shape[1] // case.head_dim, case.head_dim) for t in (x, old)]
        untouched &= torch.equal(heads[0][..., 2 * case.pairs :], heads[1][..., 2 * case.pairs :])
    if case.layout == "separate":
        untouched &= torch.equal(buffer, before)
    else:
        moved = torch.zeros(buffer.shape[1], dtype=torch.bool)
        moved[: q.shape[1]] = True
        start = k.storage_offset()
        moved[start : start + k.shape[1]] = True
        untouched &= torch.equal(buffer[:, ~moved], before[:, ~moved])
    return {"error": error, "untouched": float(untouched)}


def via_oracle(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    new_q, new_k = rotate_oracle(q, k, cos, sin)
    q.copy_(new_q)
    k.copy_(new_k)


def via_operator(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    copy_into(q, k, rotate_packed(q, k, cos, sin))


def copy_into(q: torch.Tensor, k: torch.Tensor, rotated: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert all(x.is_contiguous() for x in rotated)
    q.copy_(rotated[0])
    k.copy_(rotated[1])


@pytest.mark.parametrize("way", [rotate_, rotate, via_oracle, via_operator], ids=lambda way: way.__name__)
@pytest.mark.parametrize("case", CASES + LONG, ids=lambda c: c.id)
def test_rotation_is_complex_multiplication(case: Case, way: Rotate) -> None:
    """Half a unit in the last place: computed in float32 and rounded once, whatever the storage type."""
    result = worst(case, way)
    assert result["untouched"], "channels beyond the rotary ones, v, and gaps stay as they are"
    assert result["error"] <= 0.51


@pytest.mark.parametrize("way", [rotate_, rotate], ids=lambda way: way.__name__)
def test_eager_layers_rotate_in_place(way: Rotate) -> None:
    _, q, k, cos, sin = make(CASES[0])
    expected = rotate_oracle(q, k, cos, sin)
    way(q, k, cos, sin)
    torch.testing.assert_close((q, k), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[8]], ids=lambda c: c.id)
def test_the_operator_is_what_it_tells_torch_to_be(case: Case) -> None:
    """Its fake agrees with it in shapes, strides and dtypes, and it changes no argument."""
    given = make(case)
    before = [tensor.clone() for tensor in given]
    torch.library.opcheck(rotate_packed, given[1:], test_utils="test_faketensor")
    rotate_packed(*given[1:])
    assert all(torch.equal(tensor, old) for tensor, old in zip(given, before, strict=True))


@pytest.mark.parametrize(
    ("case", "packed", "dynamic"),
    [(CASES[0], True, True), (CASES[1], True, False), (CASES[5], True, True), (CASES[1], False, False),
     (CASES[5], False, True)],
    ids=lambda value: value.id if isinstance(value, Case) else str(value),
)  # fmt: skip
def test_inside_a_compiled_layer(case: Case, packed: bool, dynamic: bool) -> None:
    """As a layer calls it: q and k are split from a projection, rotated and used, in one graph."""
    _, q, k, cos, sin = make(case)
    cos, sin = cos.contiguous(), sin.contiguous()
    sizes = [q.shape[1], k.shape[1]]

    def layer(whole: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, rest = (whole * 1.0).split([*sizes, whole.shape[1] - sum(sizes)], dim=-1)
        q, k = (q, k) if packed else (q * 1.0, k * 1.0)
        return *rotate(q, k, cos, sin), rest

    torch.compiler.reset()
    whole = torch.cat((q, k, q[:, :3]), dim=1)
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic)
    rtol = 2 * torch.finfo(q.dtype).eps
    for _ in range(2):
        *got, rest = compiled(whole, cos, sin)
        torch.testing.assert_close(tuple(got), rotate_oracle(q, k, cos, sin), rtol=rtol, atol=2e-6)
        assert torch.equal(rest, q[:, :3])
        # Another length, through the same graph where it is for any.
        whole, q, k, cos, sin = (x.repeat(2, *[1] * (x.dim() - 1)) for x in (whole, q, k, cos, sin))


def test_rotating_in_place_is_not_for_compiled_layers() -> None:
    _, q, k, cos, sin = make(CASES[0])
    torch.compiler.reset()
    with pytest.raises(Exception, match=r"call mmrope_eval\.rope\.kernels\.rotate, which can"):
        torch.compile(rotate_, fullgraph=True)(q, k, cos, sin)


def test_the_oracle_is_differentiable() -> None:
    _, q, k, cos, sin = make(Case(3, 4, 2, 8, 3, layout="separate"))
    inputs = (q.double().requires_grad_(), k.double().requires_grad_())
    out_q, out_k = rotate_oracle(*inputs, cos, sin)
    weight_q, weight_k = torch.randn_like(out_q), torch.randn_like(out_k)
    grads = torch.autograd.grad((out_q * weight_q).sum() + (out_k * weight_k).sum(), inputs)
    # The gradient of a rotation is the rotation the other way.
    back = rotate_oracle(weight_q, weight_k, cos, -sin)
    for grad, want in zip(grads, back, strict=True):
        torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda q, k, c, s: (q, k, c[:4], s[:4]), "must agree in tokens"),
        (lambda q, k, c, s: (q[:4], k, c, s), "must agree in tokens"),
        (lambda q, k, c, s: (q, k, c, s[:, :1]), "cos and sin in shape"),
        (lambda q, k, c, s: (q.half(), k, c, s), "q and k in dtype"),
        (lambda q, k, c, s: (q[:, 1:], k, c, s), "127 query and 64 key channels"),
        (lambda q, k, c, s: (q, k, c[:, :1].expand(5, 3, 16), s[:, :1].expand(5, 3, 16)), "3 KV heads"),
        (lambda q, k, c, s: (q, k, c.repeat(1, 1, 2), s.repeat(1, 1, 2)), "64 rotary channels each"),
    ],
)
def test_tensors_that_do_not_belong_together(change: Callable[..., Any], sentence: str) -> None:
    _, q, k, cos, sin = make(Case(5, 4, 2, 32, 16))
    for way in (rotate_, rotate, rotate_oracle):
        with pytest.raises(ValueError, match=sentence):
            way(*change(q, k, cos, sin))


@pytest.mark.parametrize("which", range(4))
def test_channels_must_be_contiguous(which: int) -> None:
    tensors = list(make(Case(5, 4, 2, 32, 16))[1:])
    tensors[which] = tensors[which].transpose(0, -1).contiguous().transpose(0, -1)
    with pytest.raises(ValueError, match="contiguous channels"):
        rotate_(*tensors)


# --- Triton -----------------------------------------------------------------------------------------------------------


def interpret_all() -> None:
    """Run every case through Triton's interpreter, which a process must choose before it imports Triton."""
    from mmrope_eval.rope.triton_kernels import rotate_triton, rotate_triton_

    def out_of_place(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
        before = q.clone(), k.clone()
        rotated = rotate_triton(q, k, cos, sin)
        assert torch.equal(q, before[0]) and torch.equal(k, before[1])
        copy_into(q, k, rotated)

    ways = {"in place": rotate_triton_, "out of place": out_of_place}
    print(json.dumps({name: {case.id: worst(case, way) for case in CASES} for name, way in ways.items()}))


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict[str, dict[str, float]]]:
    pytest.importorskip("triton")
    this_file = Path(__file__).resolve()
    done = subprocess.run(
        [sys.executable, "-c", f"import {this_file.stem}; {this_file.stem}.interpret_all()"],
        env={**os.environ, "TRITON_INTERPRET": "1",
             "PYTHONPATH": os.pathsep.join([str(this_file.parent), *sys.path[1:]])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("way", ["in place", "out of place"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_the_triton_kernel_interpreted(
    case: Case, way: str, interpreted: dict[str, dict[str, dict[str, float]]]
) -> None:
    """The kernel's own code on CPU tensors. The interpreter cuts bfloat16 off where hardware rounds: up to one unit."""
    assert interpreted[way][case.id]["untouched"]
    assert interpreted[way][case.id]["error"] <= (1.01 if case.dtype == "bfloat16" else 0.51)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES + LONG, ids=lambda c: c.id)
@pytest.mark.parametrize("way", [rotate_, via_operator], ids=lambda way: way.__name__)
def test_the_triton_kernel_on_cuda(case: Case, way: Rotate) -> None:
    result = worst(case, way, "cuda")
    assert result["untouched"] and result["error"] <= 0.51


def test_rotation_on_cpu_needs_no_triton() -> None:
    code = "import sys; sys.modules['triton'] = None; import test_kernels as t; assert t.worst(t.CASES[0], t.rotate_)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


# --- cos and sin ------------------------------------------------------------------------------------------------------

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("limit", [2**12, 2**18, 2**20])
@pytest.mark.parametrize("fractional", [False, True])
def test_cos_and_sin_are_accurate_at_large_positions(limit: int, fractional: bool, device: str) -> None:
    """Given the float32 angle, which is what the published implementations compute, to the last bits of float32."""
    table = load_variant("mrope-i").table(head_dim=128, num_kv_heads=2, rope_theta=1e6)
    random = np.random.default_rng(0)
    positions = random.uniform(-1000, limit, (3, 4096)) if fractional else random.integers(0, limit, (3, 4096))
    positions[:, 0] = limit
    p = positions.astype(np.float32)
    cos, sin = (torch.empty(4096, 2, 64, device=device) for _ in range(2))
    CosSinPlan.build(table.axis, table.inv_freq, device=device).fill(torch.from_numpy(p).to(device), cos, sin)
    angle = p[table.axis].transpose(2, 0, 1) * table.inv_freq
    assert angle.dtype == np.float32 and angle.max() == limit, "the fastest pair turns by the position itself"
    assert np.abs(cos.cpu().numpy() - np.cos(angle.astype(np.float64))).max() < 1e-7
    assert np.abs(sin.cpu().numpy() - np.sin(angle.astype(np.float64))).max() < 1e-7


@pytest.mark.parametrize("name", ["vanilla", "mrope-i", "mhrope", "hope", "+spatial-base"])
def test_filling_equals_the_table(name: str) -> None:
    scaling = {"type": "yarn", "factor": 4.0}
    table = load_variant(name, scaling=scaling).table(head_dim=64, num_kv_heads=8, rope_theta=1e6)
    positions = torch.from_numpy(np.random.default_rng(0).uniform(-9, 5000, (3, 100))).float()
    base = [torch.full((120, 8, 32), 7.0) for _ in range(2)]
    cos, sin = (b[:100] for b in base)
    CosSinPlan.build(table.axis, table.inv_freq, table.attention_factor, positions.device).fill(positions, cos, sin)
    want_cos, want_sin = table.cos_sin(positions)
    assert table.attention_factor != 1.0
    assert torch.equal(cos, want_cos.transpose(0, 1)) and torch.equal(sin, want_sin.transpose(0, 1))
    assert all(torch.all(b[100:] == 7.0) for b in base), "a buffer longer than the step keeps its tail"


@pytest.mark.parametrize(("name", "distinct"), [("vanilla", 1), ("mrope-i", 1), ("mhrope", 3)])
def test_equal_rows_are_computed_once(name: str, distinct: int) -> None:
    table = load_variant(name).table(head_dim=64, num_kv_heads=8, rope_theta=1e6)
    plan = CosSinPlan.build(table.axis, table.inv_freq)
    assert plan.distinct == distinct
    base = torch.empty(10, 1, 32)
    shared = base.expand(-1, 8, -1)
    positions = torch.arange(30.0).view(3, 10)
    if distinct == 1:
        plan.fill(positions, shared, torch.empty(10, 8, 32))
        assert torch.equal(base[:, 0], table.cos_sin(positions)[0][3])
    else:
        with pytest.raises(ValueError, match="3 distinct rows cannot be written into one shared row"):
            plan.fill(positions, shared, torch.empty(10, 8, 32))


def test_filling_nothing_is_allowed() -> None:
    table = load_variant("mhrope").table(head_dim=64, num_kv_heads=8, rope_theta=1e6)
    empty = torch.empty(0, 8, 32)
    CosSinPlan.build(table.axis, table.inv_freq).fill(torch.empty(3, 0), empty, empty)

"""What compilers make of the rotation: Inductor's kernels and buffers, Triton's machine code. Nothing runs on a GPU.

Counted for the projection, norms and rotation of one attention layer of published models.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from generated_code import generated

from mmrope_eval.engine.rotary import SharedRotary
from mmrope_eval.rope import load_variant
from mmrope_eval.rope.encoding import PositionCodec

TOKENS, HIDDEN, HEAD_DIM = 64, 96, 128


@dataclass(frozen=True)
class Layer:
    """The sizes of one model; `normed` says that norms stand between projection and rotation."""

    model: str
    heads: int
    kv_heads: int
    normed: bool

    @property
    def widths(self) -> list[int]:
        return [self.heads * HEAD_DIM, self.kv_heads * HEAD_DIM, self.kv_heads * HEAD_DIM]


LAYERS = [
    Layer("Qwen2.5-VL-7B", 28, 4, normed=False),
    Layer("Qwen2.5-VL-72B on 8 GPUs", 8, 1, normed=False),
    Layer("Qwen3-VL-8B", 32, 8, normed=True),
]


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The norm of one head, in float32 as in vLLM."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight


def attention_input(layer: Layer) -> tuple[Callable[..., tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]:
    """What a decoder layer computes before attention, and arguments in bfloat16; the rotary module is ours."""
    rotary = SharedRotary(layer.kv_heads, HEAD_DIM // 2, 2 * TOKENS, PositionCodec(), full_rows=True, captured=True)
    rotary.set_table(load_variant("mrope").table(HEAD_DIM, layer.kv_heads, 1e6))
    rotary.fill(torch.arange(TOKENS).expand(3, -1))

    def run(x: torch.Tensor, weight: torch.Tensor, *norms: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = torch.nn.functional.linear(x, weight).split(layer.widths, dim=-1)
        if layer.normed:
            q, k = (norm(t.view(t.shape[0], -1, HEAD_DIM), w).view(t.shape) for t, w in zip((q, k), norms, strict=True))
        return *rotary(x.new_empty(0), q, k), v

    generator = torch.Generator().manual_seed(0)
    shapes = ((TOKENS, HIDDEN), (sum(layer.widths), HIDDEN), (HEAD_DIM,), (HEAD_DIM,))
    arguments = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    torch._dynamo.mark_dynamic(arguments[0], 0)  # as vLLM compiles: for any number of tokens
    return run, tuple(arguments)


def buffers(code: str, width: int | None = None) -> int:
    """How many tensors the module allocates, in all or as wide as the whole projection."""
    shape = "" if width is None else rf"\(\w+, {width}\)"
    return len(re.findall(rf"= empty_strided_cpu\({shape}", code))


@pytest.mark.parametrize("triton", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("layer", [x for x in LAYERS if not x.normed], ids=lambda x: x.model)
def test_a_packed_projection_is_rotated_by_one_operator_that_reads_it_in_place(layer: Layer, triton: bool) -> None:
    """No kernel and no buffer of Inductor's own but the projection: q and k go in as views of it, v is not touched."""
    run, arguments = attention_input(layer)
    code = generated(run, *arguments, triton=triton)
    width, (q, k, _) = sum(layer.widths), layer.widths
    (call,) = re.findall(r"torch\.ops\.mmrope_eval\.rotate_packed\.default\((.*)\)", code)
    views = [rf"reinterpret_tensor\(buf0, \(\w+, {w}\), \({width}, 1\), {o}\)" for w, o in ((q, 0), (k, q), (k, q + k))]
    assert re.match(", ".join(views[:2]), call), call
    assert re.search(rf"return \(.*{views[2]}", code), "v is a view of the projection"
    assert (buffers(code), buffers(code, width)) == (1, 1)
    assert "@triton.jit" not in code and "cpp_fused" not in code


@pytest.mark.parametrize("layer", [x for x in LAYERS if x.normed], ids=lambda x: x.model)
def test_a_norm_and_the_rotation_after_it_are_one_kernel(layer: Layer) -> None:
    """One for q and one for k: each reads the projection and writes the rotated tensor, with no other buffer."""
    run, arguments = attention_input(layer)
    code = generated(run, *arguments, triton=True)
    kernels = re.split(r"^def (?=triton_\w+\()", code, flags=re.MULTILINE)[1:]
    assert len(kernels) == 2
    assert all(name.startswith(("triton_red_", "triton_per_")) for name in kernels), "a norm's sum is in each"
    assert [len(re.findall(r"tl\.store\(", kernel)) for kernel in kernels] == [1, 1]
    assert (buffers(code), buffers(code, sum(layer.widths))) == (3, 1)
    assert "rotate_packed" not in code


# --- machine code of the Triton kernel --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    """How `rotate_triton` compiles the kernel for one model: query heads a KV head, tokens a program, warps."""

    name: str
    group: int
    tokens: int
    warps: int


LAUNCHES = [
    Launch("7B, prefill", 7, 8, 4),
    Launch("7B, decode", 7, 1, 1),
    Launch("Qwen3-VL-8B, prefill", 4, 8, 4),
    Launch("72B, decode", 8, 1, 1),
    Launch("235B, prefill", 16, 4, 4),
]


@pytest.mark.parametrize(
    ("n", "padded", "group", "tokens"),
    [(1, 64, 7, 1), (1024, 64, 7, 1), (1025, 64, 7, 8), (8192, 64, 4, 8), (8192, 64, 16, 4), (8192, 16, 1, 32),
     (8192, 512, 40, 1)],
)  # fmt: skip
def test_tokens_of_a_program(n: int, padded: int, group: int, tokens: int) -> None:
    pytest.importorskip("triton")
    from mmrope_eval.rope.triton_kernels import tokens_of_a_program

    assert tokens_of_a_program(n, padded, group) == tokens


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("launch", LAUNCHES, ids=lambda launch: launch.name)
def test_the_triton_kernel_compiles_to_machine_code(
    launch: Launch, dtype: str, architecture: int, tmp_path: Path
) -> None:
    """For Ampere and Hopper, with no such GPU here.

    Memory is read and written in words of at least 32 bits, every load is under way before the first store, and no
    register spills.
    """
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mmrope_eval.rope.triton_kernels import _rotate_kernel as kernel

    constants = {"GROUP": launch.group, "HEAD_DIM": 128, "PAIRS": 64, "PAIRS_PADDED": 64, "REST_PADDED": 0,
                 "TOKENS": launch.tokens}  # fmt: skip
    tensors = dict.fromkeys(("q", "k", "q_out", "k_out"), f"*{dtype}") | {"cos": "*fp32", "sin": "*fp32"}
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else tensors.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name not in constants and name != "n"
        },
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": launch.warps})
    words = re.findall(r"(ld|st)\.global(?:\.v(\d))?\.b(\d+)", compiled.asm["ptx"])
    assert {kind for kind, _, _ in words} == {"ld", "st"}
    assert min(int(count or 1) * int(bits) for _, count, bits in words) >= 32
    # cos and sin, and two halves of each head and of the KV head.
    accesses = re.findall(r"\b(LDG|STG)\b", disassembled(triton, compiled.asm["cubin"], tmp_path, "nvdisasm", "-c"))
    halves = 2 * (launch.group + 1)
    assert len(accesses) % (2 * halves + 2) == 0, accesses
    assert accesses == ["LDG"] * (accesses.count("LDG")) + ["STG"] * accesses.count("STG")
    usage = disassembled(triton, compiled.asm["cubin"], tmp_path, "cuobjdump", "-res-usage")
    registers = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert registers is not None, usage
    assert int(registers[1]) <= 128 and int(registers[2]) == 0


def disassembled(triton: object, cubin: bytes, folder: Path, tool: str, option: str) -> str:
    """What one of the disassemblers that Triton brings says of machine code."""
    program = shutil.which(tool, path=str(Path(triton.__path__[0], "backends", "nvidia", "bin")))  # type: ignore[attr-defined]
    assert program, f"this Triton brings no {tool}"
    file = folder / "kernel.cubin"
    file.write_bytes(cubin)
    return subprocess.run([program, option, str(file)], check=True, capture_output=True, text=True).stdout

"""Rotation on CUDA, for eager and for compiled layers. Imported only where it runs: elsewhere Triton may be missing.

One launch: q, k, cos and sin are read once, and rotated q and k are written once, in place or to tensors of their own.
Nothing else of a packed projection is touched. Arithmetic is float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# Elements of one (tokens, pairs) tile: four registers each for cos, sin and both halves at 128 threads.
_TILE = 512
# Elements of all tiles of q that a program holds at once: beyond it registers would spill.
_TILES = 4096
# Up to this many tokens every token gets its own programs: fewer and larger ones would leave multiprocessors idle.
_FEW_TOKENS = 1024


# n changes with every step: specialising on it would compile again in the middle of serving.
@triton.jit(do_not_specialize=["n"])  # type: ignore[untyped-decorator, unused-ignore]
def _rotate_kernel(  # type: ignore[no-untyped-def]
    q, k, q_out, k_out, cos, sin, n,
    q_stride, k_stride, q_out_stride, k_out_stride, cos_stride, cos_row_stride, sin_stride, sin_row_stride,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAIRS: tl.constexpr,
    PAIRS_PADDED: tl.constexpr,
    REST_PADDED: tl.constexpr,
    TOKENS: tl.constexpr,
):  # fmt: skip
    """Program (i, j) turns KV head j, and the GROUP query heads that share it, of TOKENS tokens.

    REST_PADDED, a power of two or 0, is room for the channels of a head that do not rotate and are to be copied.
    """
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(1)
    pair = tl.arange(0, PAIRS_PADDED)[None, :]
    inside = (token < n)[:, None]
    mask = inside & (pair < PAIRS)
    # Offsets in 64 bits: 2**18 tokens of 8,192 channels pass 2**31.
    token = token.to(tl.int64)[:, None]
    c = tl.load(cos + token * cos_stride + row * cos_row_stride + pair, mask=mask, other=0.0)
    s = tl.load(sin + token * sin_stride + row * sin_row_stride + pair, mask=mask, other=0.0)
    q_head = q + token * q_stride + row * (GROUP * HEAD_DIM)
    k_head = k + token * k_stride + row * HEAD_DIM
    q_to = q_out + token * q_out_stride + row * (GROUP * HEAD_DIM)
    k_to = k_out + token * k_out_stride + row * HEAD_DIM
    # Every load comes before the first store. No load may pass a store that could be to the same address, so that
    # otherwise a thread would wait for memory once for each head.
    firsts, seconds = (tl.load(k_head + pair, mask=mask),), (tl.load(k_head + PAIRS + pair, mask=mask),)
    for h in tl.static_range(GROUP):
        head = q_head + h * HEAD_DIM + pair
        firsts += (tl.load(head, mask=mask),)  # type: ignore[assignment]
        seconds += (tl.load(head + PAIRS, mask=mask),)  # type: ignore[assignment]
    _store_turned(k_to + pair, firsts[0], seconds[0], c, s, mask, PAIRS)
    for h in tl.static_range(GROUP):
        _store_turned(q_to + h * HEAD_DIM + pair, firsts[h + 1], seconds[h + 1], c, s, mask, PAIRS)
    if REST_PADDED > 0:
        rest = 2 * PAIRS + tl.arange(0, REST_PADDED)[None, :]
        kept = inside & (rest < HEAD_DIM)
        _copy_heads(k_to + rest, k_head + rest, kept, 1, HEAD_DIM)
        _copy_heads(q_to + rest, q_head + rest, kept, GROUP, HEAD_DIM)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _copy_heads(to, source, mask, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr):  # type: ignore[no-untyped-def]
    for h in tl.static_range(HEADS):
        tl.store(to + h * HEAD_DIM, tl.load(source + h * HEAD_DIM, mask=mask), mask=mask)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _store_turned(to, first, second, cos, sin, mask, PAIRS: tl.constexpr):  # type: ignore[no-untyped-def]
    a = first.to(tl.float32)
    b = second.to(tl.float32)
    tl.store(to, (a * cos - b * sin).to(first.dtype), mask=mask)
    tl.store(to + PAIRS, (b * cos + a * sin).to(first.dtype), mask=mask)


def rotate_triton_(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """`kernels.rotate_` for tensors on one CUDA device. The caller has checked shapes and strides."""
    _launch(q, k, cos, sin, q, k)


def rotate_triton(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate as `rotate_triton_` does, into new, contiguous tensors (q', k'); q and k stay as they are."""
    q_out, k_out = q.new_empty(q.shape), k.new_empty(k.shape)
    _launch(q, k, cos, sin, q_out, k_out)
    return q_out, k_out


def _launch(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, q_out: torch.Tensor,
            k_out: torch.Tensor) -> None:
    n, rows, pairs = cos.shape
    if n == 0:
        return
    head_dim, group = k.shape[1] // rows, q.shape[1] // k.shape[1]
    rest = head_dim - 2 * pairs if q_out is not q else 0
    padded = triton.next_power_of_2(pairs)
    tokens = tokens_of_a_program(n, padded, group)
    _rotate_kernel[(triton.cdiv(n, tokens), rows)](
        q, k, q_out, k_out, cos, sin, n,
        q.stride(0), k.stride(0), q_out.stride(0), k_out.stride(0), *cos.stride()[:2], *sin.stride()[:2],
        GROUP=group,
        HEAD_DIM=head_dim,
        PAIRS=pairs,
        PAIRS_PADDED=padded,
        REST_PADDED=triton.next_power_of_2(rest) if rest else 0,
        TOKENS=tokens,
        num_warps=1 if tokens == 1 else 4,
    )  # fmt: skip


def tokens_of_a_program(n: int, padded: int, group: int) -> int:
    """How many of n tokens one program turns, with `padded` pairs a head and `group` query heads a KV head."""
    if n <= _FEW_TOKENS:
        return 1
    return max(1, min(_TILE // padded, _TILES // (padded * int(triton.next_power_of_2(group)))))

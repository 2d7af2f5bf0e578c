"""The Triton kernel of `gpu_fill.fill_in_one_kernel`. Imported only where it runs, within the minutes of `gpu.py`."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n"])  # type: ignore[untyped-decorator]
def fill_kernel(  # type: ignore[no-untyped-def]
    encoded, axis, freq, factor, reset, cos, sin, n,
    axis_stride, token_stride, out_stride, row_stride,
    LOWEST: tl.constexpr,
    INTEGER_BITS: tl.constexpr,
    FRACTION: tl.constexpr,
    WIDE: tl.constexpr,
    PAIRS: tl.constexpr,
    PADDED: tl.constexpr,
    TOKENS: tl.constexpr,
):  # fmt: skip
    """Program (i, j) fills row j, that of one KV head, of TOKENS tokens."""
    token = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)).to(tl.int64)[:, None]
    row = tl.program_id(1)
    pair = tl.arange(0, PADDED)[None, :]
    pair_mask = pair < PAIRS
    mask = (token < n) & pair_mask
    which = tl.load(axis + row * PAIRS + pair, mask=pair_mask, other=0)
    shifted = tl.load(encoded + which * axis_stride + token * token_stride, mask=mask, other=0) - LOWEST
    whole = (shifted & ((1 << INTEGER_BITS) - 1)) + LOWEST
    fraction = shifted >> INTEGER_BITS
    if WIDE:
        position = (fraction.to(tl.float64) * FRACTION + whole.to(tl.float64)).to(tl.float32)
    else:
        position = fraction.to(tl.float32) * FRACTION + whole.to(tl.float32)
    # A generated token that is marked sits at zero on the spatial axes, and its mark is no part of its time.
    mark = (fraction & 1 & tl.load(reset)).to(tl.float32)
    position = tl.where(which == 0, position - mark * FRACTION, position * (1.0 - mark))
    angle = position * tl.load(freq + row * PAIRS + pair, mask=pair_mask, other=0.0)
    scale = tl.load(factor)
    to = token * out_stride + row * row_stride + pair
    tl.store(cos + to, tl.cos(angle) * scale, mask=mask)
    tl.store(sin + to, tl.sin(angle) * scale, mask=mask)

"""Rotating queries and keys in place, and filling cos and sin once per forward step.

One kernel serves every table: each KV head has its own row of cos and sin (MHRoPE), pairs
that do not rotate have cos 1 and sin 0, channels beyond the rotary ones are left alone
(partial rotary), and query heads use the row of their KV head (GQA).  Pairing is NeoX's:
pair i is channels i and i + pairs of a head.

- CUDA: a Triton kernel (`triton_kernels`), one pass over q and k.
- elsewhere: a few in-place torch operations over blocks of tokens that stay in the cache.

Layers call `rotate`, the same while torch.compile traces and where nothing is compiled:

- eager: `kernels.rotate_`, in place; on CUDA the Triton kernel.
- compiled, q and k still inside their packed projection (Qwen2-VL, Qwen2.5-VL): one operator that Inductor does not
  look into, on CUDA the same Triton kernel. It reads q and k where they lie and writes them once. In place, Inductor
  would copy the whole projection four times, v included. The operator is looked up when a layer runs: a compiled graph
  that vLLM kept on disk never holds an older kernel.
- compiled, q and k tensors of their own (Qwen3-VL, whose norms made them): the plain formula, out of place. Inductor
  makes one kernel of norm and rotation, so that the rotation itself costs no pass over memory.

Kernels, buffers and bytes are in docs/fidelity.md; `tests/rope/test_generated_code.py` counts them.

Precision: arithmetic is float32 whatever q and k are stored in, and the result is rounded
once.  transformers instead casts cos and sin to the activations' dtype and rounds after each
multiplication; in float32 the two agree to the last bits, in bfloat16 and float16 ours is the
more accurate one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

# Bytes of float32 activations handled at a time per thread on CPU: temporaries stay in the
# second-level cache and are never large enough for the allocator to return them to the system.
_BLOCK_BYTES = 1 << 19


def rotate_(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotate queries and keys in place.

    Args:
        q: (n, num_heads * head_dim), float32, bfloat16 or float16; rows may be views of a packed qkv projection (any
            row stride, channels contiguous).
        k: (n, num_kv_heads * head_dim), likewise, of q's dtype.
        cos: float32 (n, num_kv_heads, pairs), with 2 * pairs <= head_dim and pairs contiguous. A table whose KV heads
            are all alike may pass ``cos[:, :1].expand(...)`` (row stride 0), which is read once per token.
        sin: like cos.

    Raises:
        ValueError: shapes or dtypes that do not belong together, or channels that are not contiguous.
        RuntimeError: while torch.compile traces, where this would be copied over the whole projection several times.
    """
    if torch.compiler.is_compiling():
        raise RuntimeError("rotate_ cannot be compiled: call mmrope_eval.rope.kernels.rotate, which can")
    head_dim = check_together(q, k, cos, sin)
    if q.is_cuda:
        from mmrope_eval.rope.triton_kernels import rotate_triton_

        rotate_triton_(q, k, cos, sin)
    elif q.shape[0]:
        _rotate_blocks_(q, k, cos, sin, head_dim)


def rotate_oracle(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor,
                  sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `rotate_` does, out of place, differentiable and as plain as it can be written: (q', k')."""
    head_dim = _head_dim(q, k, cos, sin)
    rows, pairs = cos.shape[1:]

    def rotated(x: torch.Tensor) -> torch.Tensor:
        # All heads in one dimension, as norms have them: Inductor makes one kernel of a norm and this.
        heads = x.unflatten(1, (-1, head_dim))
        c, s = (t.repeat_interleave(heads.shape[1] // rows, dim=1) for t in (cos, sin))
        first, second = heads[..., :pairs].float(), heads[..., pairs : 2 * pairs].float()
        turned = torch.cat((first * c - second * s, second * c + first * s), dim=-1).to(x.dtype)
        whole = torch.cat((turned, heads[..., 2 * pairs :]), dim=-1) if 2 * pairs < head_dim else turned
        return whole.flatten(1)

    return rotated(q), rotated(k)


@dataclass(frozen=True, eq=False)
class CosSinPlan:
    """A table made ready for one device: built once, then `fill` once per forward step.

    Rows of the table that are equal are computed once.
    """

    pair_axis: torch.Tensor
    """int64 (distinct * pairs,): which of the three coordinates a pair reads."""
    pair_freq: torch.Tensor
    """float32 (distinct * pairs,): its inverse frequency, 0 where the pair does not rotate."""
    row_of: torch.Tensor
    """int64 (num_kv_heads,): the distinct row of every KV head."""
    pairs: int
    attention_factor: float

    @classmethod
    def build(cls, axis: NDArray[np.int8], inv_freq: NDArray[np.float32], attention_factor: float = 1.0,
              device: torch.device | str = "cpu") -> CosSinPlan:
        """From a table's axis (t 0, h 1, w 2, none -1) and inv_freq, both (num_kv_heads, pairs)."""
        key = np.concatenate((axis.astype(np.float32), inv_freq), axis=1)
        _, first, row_of = np.unique(key, axis=0, return_index=True, return_inverse=True)
        chosen = axis[first].astype(np.int64).reshape(-1)
        freq = np.where(chosen < 0, np.float32(0), inv_freq[first].reshape(-1).astype(np.float32))
        return cls(
            pair_axis=torch.from_numpy(np.maximum(chosen, 0)).to(device),
            pair_freq=torch.from_numpy(freq).to(device),
            row_of=torch.from_numpy(row_of.reshape(-1).astype(np.int64)).to(device),
            pairs=axis.shape[1],
            attention_factor=float(attention_factor),
        )

    @property
    def distinct(self) -> int:
        """How many different rows the table has; 1 means that all KV heads are alike."""
        return self.pair_freq.shape[0] // self.pairs

    def fill(self, positions: torch.Tensor, out_cos: torch.Tensor, out_sin: torch.Tensor) -> None:
        """Write cos and sin of decoded positions float32 (3, n) into float32 (n, num_kv_heads, pairs) buffers.

        The angle is ``float32(position) * inv_freq`` rounded to float32, as the published implementations compute it,
        and cos and sin are of that angle. torch's own functions are used on every device: they reduce large arguments
        exactly (positions of 2**18 and more at inv_freq 1), which the hardware's fast sine does not, and filling is
        done once per step, so a kernel of our own would gain nothing that can be measured.

        Buffers with row stride 0 (``base.expand(-1, num_kv_heads, -1)``) are written once when all rows are alike.

        Raises:
            ValueError: row-stride-0 buffers for a table with more than one distinct row.
        """
        angle = positions.to(torch.float32).t().index_select(1, self.pair_axis).mul_(self.pair_freq)
        angle = angle.view(positions.shape[1], self.distinct, self.pairs)
        for function, out in ((torch.cos, out_cos), (torch.sin, out_sin)):
            values = function(angle)
            if self.attention_factor != 1.0:
                values.mul_(self.attention_factor)
            if self.distinct == 1:
                (out[:, :1] if out.stride(1) == 0 else out).copy_(values)
            elif out.stride(1) == 0:
                raise ValueError(f"a table with {self.distinct} distinct rows cannot be written into one shared row: "
                                 "give cos and sin buffers with a row for every KV head")
            else:
                torch.index_select(values, 1, self.row_of, out=out)


def check_together(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> int:
    """head_dim of four tensors that belong together and have contiguous channels. Raises ValueError for others."""
    head_dim = _head_dim(q, k, cos, sin)
    if any(t.stride(-1) != 1 and t.shape[-1] > 1 for t in (q, k, cos, sin)):
        raise ValueError("q, k, cos and sin must have contiguous channels: call .contiguous() on the one that has not")
    return head_dim


def _head_dim(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> int:
    n, rows, pairs = cos.shape
    head_dim = k.shape[1] // rows
    if sin.shape != cos.shape or q.shape[0] != n or k.shape[0] != n or q.dtype != k.dtype:
        raise ValueError(f"q {tuple(q.shape)} {q.dtype}, k {tuple(k.shape)} {k.dtype}, cos {tuple(cos.shape)} and sin "
                         f"{tuple(sin.shape)} must agree in tokens, q and k in dtype, cos and sin in shape: slice all "
                         "four alike")
    if k.shape[1] != rows * head_dim or head_dim < 2 * pairs or head_dim == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} query and {k.shape[1]} key channels cannot be heads of {rows} KV heads with "
                         f"{2 * pairs} rotary channels each: build the table with this model's head_dim and "
                         "num_key_value_heads")
    return head_dim


def _rotate_blocks_(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, head_dim: int) -> None:
    """The CPU path. Its cost is the number of torch calls for few tokens and memory traffic for many."""
    n, rows, pairs = cos.shape
    if cos.stride(1) == 0 and sin.stride(1) == 0:
        rows = 1
    joined = rows == 1 and _joined(q, k)
    tensors = (joined,) if isinstance(joined, torch.Tensor) else (q, k)
    block = _BLOCK_BYTES * torch.get_num_threads() // (4 * q.shape[1])
    block = n if n <= block else max(block, 1)
    row_stride = cos.stride(1), sin.stride(1)
    for start in range(0, n, block):
        size = min(block, n - start)
        shape = (size, rows, 1, pairs)
        c, s = (
            t.as_strided(shape, (t.stride(0), stride, 0, 1), t.storage_offset() + start * t.stride(0))
            for t, stride in zip((cos, sin), row_stride, strict=True)
        )
        for x in tensors:
            heads = (size, rows, x.shape[1] // (rows * head_dim))
            strides = (x.stride(0), x.shape[1] // rows, head_dim, 1)
            offset = x.storage_offset() + start * x.stride(0)
            if x.dtype == torch.float32:
                first = x.as_strided((*heads, pairs), strides, offset)
                _turn_(first, x.as_strided((*heads, pairs), strides, offset + pairs), c, s)
            else:
                narrow = x.as_strided((*heads, 2 * pairs), strides, offset)
                wide = narrow.float()
                _turn_(wide[..., :pairs], wide[..., pairs:], c, s)
                narrow.copy_(wide)


def _turn_(first: torch.Tensor, second: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    product = first * sin
    first.mul_(cos).addcmul_(second, sin, value=-1)
    torch.addcmul(product, second, cos, out=second)


def _joined(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor | None:
    """q and k as one tensor where they are neighbours in a packed projection, which halves the number of calls."""
    same = q.stride(0) == k.stride(0) and k.storage_offset() == q.storage_offset() + q.shape[1]
    if not same or q.untyped_storage().data_ptr() != k.untyped_storage().data_ptr():
        return None
    return q.as_strided((q.shape[0], q.shape[1] + k.shape[1]), q.stride(), q.storage_offset())


def rotate(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotated queries and keys. Arguments and errors as those of `rotate_`.

    q and k may be overwritten: use what is returned. Under torch.compile the row stride of cos and sin must not change
    between calls of one compiled graph: give them full rows where tables of both kinds may follow each other.
    """
    if not torch.compiler.is_compiling():
        rotate_(q, k, cos, sin)
        return q, k
    check_together(q, k, cos, sin)
    if q.stride(0) == q.shape[1] and k.stride(0) == k.shape[1]:
        return rotate_oracle(q, k, cos, sin)
    rotated: tuple[torch.Tensor, torch.Tensor] = rotate_packed(q, k, cos, sin)
    return rotated


@torch.library.custom_op("mmrope_eval::rotate_packed", mutates_args=())
def rotate_packed(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor,
                  sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(q', k'), contiguous, of q and k in any row stride. The operator of compiled layers; it checks nothing."""
    if q.is_cuda:
        from mmrope_eval.rope.triton_kernels import rotate_triton

        return rotate_triton(q, k, cos, sin)
    q_out, k_out = q.new_empty(q.shape).copy_(q), k.new_empty(k.shape).copy_(k)
    rotate_(q_out, k_out, cos, sin)
    return q_out, k_out


@rotate_packed.register_fake
def _shapes(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor,
            sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape)

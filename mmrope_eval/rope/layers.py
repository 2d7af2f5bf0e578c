"""Rotation as a model's layers call it: the same call while torch.compile traces and where nothing is compiled.

- eager: `kernels.rotate_`, in place; on CUDA the Triton kernel.
- compiled, q and k still inside their packed projection (Qwen2-VL, Qwen2.5-VL): one operator that Inductor does not
  look into, on CUDA the same Triton kernel. It reads q and k where they lie and writes them once. In place, Inductor
  would copy the whole projection four times, v included. The operator is looked up when a layer runs: a compiled graph
  that vLLM kept on disk never holds an older kernel.
- compiled, q and k tensors of their own (Qwen3-VL, whose norms made them): the plain formula, out of place. Inductor
  makes one kernel of norm and rotation, so that the rotation itself costs no pass over memory.

Kernels, buffers and bytes are in docs/fidelity.md; `tests/rope/test_generated_code.py` counts them.
"""

from __future__ import annotations

import torch

from mmrope_eval.rope.kernels import check_together, rotate_, rotate_oracle


def rotate(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotated queries and keys. Arguments and errors as those of `kernels.rotate_`.

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

"""Entry point of `vllm.general_plugins`: vLLM calls it in every process that it starts."""

from __future__ import annotations


def register() -> None:
    """Make our architectures known to this process's vLLM; imports no model code.

    A process of a live engine's own also learns to end with the one that started it.
    """
    from mmrope_eval.engine import process, vllm_compat

    process.leave_with_parent()
    vllm_compat.register_architectures()

"""Entry point of `vllm.general_plugins`: vLLM calls it in every process that it starts."""

from __future__ import annotations

import importlib.metadata


def register() -> None:
    """Make our architectures known to this process's vLLM; imports no model code.

    A process of a live engine's own also learns to end with the one that started it.
    """
    from mmrope_eval.engine import process, vllm_compat

    process.leave_with_parent()
    vllm_compat.register_architectures()


def installed() -> bool:
    """Whether vLLM's processes will find `register`: this package is installed, and not only on Python's path."""
    return any(entry.value == f"{__name__}:register"
               for entry in importlib.metadata.entry_points(group="vllm.general_plugins"))  # fmt: skip

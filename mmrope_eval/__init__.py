"""Evaluate multimodal rotary position embeddings: one engine, every variant, scores you can defend.

run = mmrope_eval.load_run("runs/mine")   # run.scores, run.samples: pandas frames
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrope_eval.report.runs import Cell, Run, load_run

__version__ = "0.3.0"
__all__ = ["Cell", "Run", "__version__", "load_run"]


def __getattr__(name: str) -> Any:
    """`load_run` and its types, imported when first used: `import mmrope_eval` itself must not wait for pandas."""
    if name in ("Cell", "Run", "load_run"):
        from mmrope_eval.report import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'mmrope_eval' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

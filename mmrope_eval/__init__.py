"""Evaluate multimodal rotary position embeddings: one engine, every variant, scores you can defend.

run = mmrope_eval.run(model="CKPT", tasks="grounding", output="runs/mine")   # what evaluate.py does
run = mmrope_eval.load_run("runs/mine")   # run.scores, run.samples: pandas frames
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from mmrope_eval.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from mmrope_eval.engine.backend import StartEngine
    from mmrope_eval.report.runs import Cell, Run, load_run

__all__ = ["Cell", "Run", "__version__", "load_run", "run"]


def __getattr__(name: str) -> Any:
    """`load_run` and its types, imported when first used: `import mmrope_eval` itself must not wait for pandas."""
    if name in ("Cell", "Run", "load_run"):
        from mmrope_eval.report import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'mmrope_eval' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


def _evaluate(config: str | Path | None = None, *, start_engine: StartEngine | None = None, **keys: Any) -> Run:
    """Evaluate, as `mmrope-eval run` does, and load the results.

    `keys` are those of a YAML file (docs/configuration.md): `model="CKPT", tasks="grounding", limit=200`. `config` is
    the path of such a file; keys beside it go before it. What was answered before in `output` is kept. `start_engine`
    replaces the live engine, in tests. Raises `UserError` for bad input, before anything starts, and
    `TooManyFailuresError` where `max_failures` is exceeded.
    """
    from pathlib import Path

    from mmrope_eval.report.runs import load_run
    from mmrope_eval.run.config import read_config
    from mmrope_eval.run.run import compare_second, run

    settings = read_config(keys, None if config is None else Path(config))
    compare_second(settings, run(settings, start_engine))
    return load_run(settings.output)


class _Room(ModuleType):
    """The room `mmrope_eval.run`, which is also a function: the importer gives a room's name to its module."""

    __call__ = staticmethod(_evaluate)


if TYPE_CHECKING:
    run = _evaluate
else:
    from mmrope_eval import run

    run.__class__ = _Room

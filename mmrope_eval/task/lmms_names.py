"""Functions of ours that task files name where lmms-eval looks for functions: their modules, now and in version 0.3."""

from __future__ import annotations

from typing import Final

HOOKS: Final = "mmrope_eval.task.lmms_hooks"
LMMS_METRICS: Final = "mmrope_eval.lmms.metrics"
ROWS: Final = "mmrope_eval.data.rows"
SUBSETS: Final = "mmrope_eval.lmms.subsets"

MOVED: Final = {
    "mmrope_eval.suite.metrics": LMMS_METRICS,
    "mmrope_eval.suite.protocol": HOOKS,
    "mmrope_eval.suite.rows": ROWS,
    "mmrope_eval.suite.subsets": SUBSETS,
}
"""Modules that task files of version 0.3 name, and where they are now."""


def current_name(function: str) -> str:
    """A function by its present name."""
    module, _, name = function.rpartition(".")
    return f"{MOVED.get(module, module)}.{name}"


def first_name(function: str) -> str:
    """A function by the name that it had in version 0.3, so that a file which says the same has the same hash."""
    module, _, name = function.rpartition(".")
    return f"{next((old for old, new in MOVED.items() if new == module), module)}.{name}"

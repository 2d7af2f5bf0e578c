"""Names of version 0.3 that users' task files hold (`!function mmrope_eval.suite.metrics.mean`); they go with 0.5.

Each module hands on what stood in it, to our own loader of functions as to lmms-eval's, and says where it is now.
"""

from __future__ import annotations

import warnings

from mmrope_eval.task.yaml_text import MOVED


def warn(module: str) -> None:
    """FutureWarning for a module that is imported by its old name, shown even where lmms-eval, which silences all
    warnings of its process when it is imported, came first."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", FutureWarning)
        warnings.warn(f"{module} is {MOVED[module]} now: write that in the task file; the old name goes with version "
                      "0.5", FutureWarning, stacklevel=3)  # fmt: skip

"""The scorers as lmms-eval metrics, by their old name."""

from __future__ import annotations

from typing import Any

from mmrope_eval.lmms import metrics
from mmrope_eval.suite import warn

warn(__name__)


def __getattr__(name: str) -> Any:
    return getattr(metrics, name)

"""Under what a response is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrope_eval.task.sample import Sample, keys


def identity(sample: Sample, context: Mapping[str, Any]) -> str:
    """Of one sample."""
    return keys([sample], context)[sample.id].identity

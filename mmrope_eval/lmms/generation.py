"""lmms-eval's `generation_kwargs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrope_eval.messages import Generation


def read_generation(kwargs: Mapping[str, Any]) -> Generation:
    """lmms-eval's `generation_kwargs` as ours. What the task declares is what the engine gets."""
    temperature = float(kwargs.get("temperature") or 0.0) if kwargs.get("do_sample", True) else 0.0
    until = kwargs.get("until") or ()
    return Generation(max_tokens=int(kwargs["max_new_tokens"]), temperature=temperature,
                      stop=(until,) if isinstance(until, str) else tuple(until))

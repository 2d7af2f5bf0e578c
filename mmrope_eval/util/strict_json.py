"""Values that files hold as text: JSON, held to what the standard says, and lists as Python writes them."""

from __future__ import annotations

import ast
import json
import math
from typing import Any

from mmrope_eval.words import shortened


def strict_json(text: str | bytes) -> Any:
    """The value of a JSON text. ValueError for what is none, and for NaN, a number too large to be any (1e999) or a key
    that stands twice; RecursionError where its brackets are nested too deeply."""
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_without_repeats)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Readers differ in which of two values of one key they take."""
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:at]))
        raise ValueError(f"the key '{shortened(twice, 60)}' stands twice")
    return members


def written(text: str) -> Any:
    """What a text that begins with a bracket writes as Python does: a list, or a tuple of several; None for others."""
    if not text.lstrip().startswith("["):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None

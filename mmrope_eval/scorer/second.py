"""Another harness' number from the same responses: what it is given, and what comes back, whichever harness it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Doc = Mapping[str, Any]


class SecondError(Exception):
    """The other harness' scoring failed, or it has nothing for the column; one sentence."""


@dataclass(frozen=True)
class SecondItem:
    """A dataset row, and the response to it. Pictures are never looked at; grounding needs their size, from a PIL
    image, `{"bytes": ...}`, `{"path": ...}` or `{"width": ..., "height": ...}`."""

    doc: Doc
    response: str
    group: str | None = None
    """The task of a family of them that the row belongs to; their numbers are averaged (lmms-eval's MVBench)."""
    target: Mapping[str, Any] | None = None
    """What our scorer was given (`task.template.build_target`); VLMEvalKit's table of options is made of it."""
    failed: bool = False
    """Whether there is no response at all; `response` is empty then."""


@dataclass(frozen=True)
class SecondResult:
    """The other harness' number on a 0-100 scale, and what to know about it."""

    value: float
    samples: tuple[float | None, ...]
    """Each sample's part of it in [0, 1]; None for one that the other harness was not asked about."""
    task: str
    metric: str
    note: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else belongs into the record, by name."""

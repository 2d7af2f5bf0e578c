"""Prepared prompts for whoever asks the same again: other variants and checkpoints over the same data.

What a processor makes of pictures, videos and text does not depend on positions or weights, so it is kept, in memory,
from one row to the next. The first that fit are kept and nothing is thrown out for others: a row asks everything once,
in the same order as the row before.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

from mmrope_eval.messages import MediaFacts

SHARE: Final = 8
"""The part of the memory that is free when an engine starts: one in so many."""

MOST: Final = 16 * 2**30
"""Bytes, however much is free."""


@dataclass(frozen=True)
class Rendered:
    """What vLLM's renderer made of a prompt, and what was done to its media."""

    engine_input: Any
    media: tuple[MediaFacts, ...]
    nbytes: int
    """Of the media's tensors."""
    thought_open: bool = False
    """As in `Response`."""


class RenderedPrompts:
    """A bounded memory of rendered prompts; safe for concurrent use. With `max_bytes` of 0 it keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Rendered] = {}
        self._held = 0

    def get(self, key: Hashable) -> Rendered | None:
        """What was made of the same before; the caller must not change it."""
        return self._kept.get(key)

    def put(self, key: Hashable, made: Rendered) -> None:
        """Keep it, if there is room."""
        with self._lock:
            if key not in self._kept and self._held + made.nbytes <= self._max_bytes:
                self._kept[key] = made
                self._held += made.nbytes


def room(engines: int, free: int | None) -> int:
    """Bytes for one of so many engines that share a machine with so many bytes of free memory; None: nobody knows."""
    return min(MOST, (free or 0) // (SHARE * engines))


def copied(value: Any) -> Any:
    """An engine input, or a part of it, of its own over the same tensors: the engine adds to what it is given."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value

"""From a tokenised prompt to the integers that vLLM carries as its positions, and a record of them.

Computed twice for every request: where it is prepared, so that a position out of range fails that request and not the
engine, and in the worker that runs the model. The worker's record goes into the response; the two must agree.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.messages import PositionFacts
from mmrope_eval.rope import MediaSpan, Variant, segments_from_tokens
from mmrope_eval.rope.encoding import PositionCodec


@dataclass(frozen=True)
class PromptPositions:
    """Encoded positions of one prompt: `ids` int64 (3, n), and the offset at which generation goes on."""

    ids: NDArray[np.int64]
    delta: int
    facts: PositionFacts


def prompt_positions(variant: Variant, token_ids: Sequence[int], media: Sequence[MediaSpan], codec: PositionCodec,
                     max_tokens: int = 0) -> PromptPositions:
    """Positions of a prompt and of up to `max_tokens` generated tokens after it.

    Raises `LayoutError` where tokens and media do not fit each other, `EncodingError` for a position out of range.
    """
    n = len(token_ids)
    values, delta = variant.positions(segments_from_tokens(token_ids, media))
    marked = variant.position.text_spatial_reset
    ids = codec.encode(values, spare_mark=marked)
    encoded_delta = codec.encode_delta(delta, min_context=n, max_context=n + max_tokens, mark=marked)
    digest = hashlib.sha256(np.ascontiguousarray(ids).tobytes())
    digest.update(str(encoded_delta).encode())
    facts = PositionFacts(digest.hexdigest(), float(values.max(initial=0.0)), float(delta))
    return PromptPositions(ids, encoded_delta, facts)


def prompt_key(token_ids: Sequence[int], media: Sequence[MediaSpan]) -> str:
    """What a prompt's positions depend on besides the variant, hashed: both sides can compute it."""
    digest = hashlib.sha256(np.asarray(token_ids, dtype=np.int64).tobytes())
    for span in sorted(media, key=lambda s: s.offset):
        digest.update(f"{span.offset} {span.length} {span.t} {span.h} {span.w} {span.step.hex()}\n".encode())
    return digest.hexdigest()


class PositionLog:
    """The worker's record of the positions it used, drained by the engine's owner; the oldest go first when full."""

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._capacity = capacity
        self._records: OrderedDict[str, PositionFacts] = OrderedDict()

    def add(self, key: str, facts: PositionFacts) -> None:
        """Remember what was used for one prompt."""
        self._records[key] = facts
        self._records.move_to_end(key)
        while len(self._records) > self._capacity:
            self._records.popitem(last=False)

    def drain(self) -> list[tuple[str, str, float, float]]:
        """All records since the last call as (key, fingerprint, max_position, delta), plain values for the wire."""
        drained = [(k, f.fingerprint, f.max_position, f.delta) for k, f in self._records.items()]
        self._records.clear()
        return drained

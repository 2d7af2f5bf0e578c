"""The token layout of a prompt: runs of text and vision grids, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class LayoutError(ValueError):
    """The tokens and the media grids of a prompt do not describe the same layout."""


@dataclass(frozen=True, slots=True)
class Text:
    """A run of `n` text tokens (special tokens included)."""

    n: int


@dataclass(frozen=True, slots=True)
class Vision:
    """One vision block of `t * h * w` tokens, in merged grid cells (after the 2x2 spatial merge).

    `step` is the temporal step of one grid cell in position units: Qwen2.5-VL's seconds per grid times its tokens per
    second; 1 where time is not measured. Only variants with `time: seconds` read it (see `PositionDesign`).
    """

    t: int
    h: int
    w: int
    step: float = 1.0

    @property
    def n(self) -> int:
        """Number of tokens in the block."""
        return self.t * self.h * self.w


Segment = Text | Vision


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """Where one image or video lies in the token sequence; `t, h, w` is its merged grid.

    `offset` and `length` bound its placeholder, which may hold text too: Qwen3-VL writes a timestamp, vision_start and
    vision_end around every frame.
    """

    offset: int
    length: int
    t: int
    h: int
    w: int
    step: float
    pad_token_id: int


def segments_from_tokens(token_ids: Sequence[int], media: Sequence[MediaSpan]) -> list[Segment]:
    """The layout of a tokenised prompt.

    A span whose pad tokens form one run of `t * h * w` is one block (Qwen2.5-VL); `t` runs of `h * w` are `t` blocks
    of one frame each (Qwen3-VL's timestamp format). Anything else raises `LayoutError`.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    segments: list[Segment] = []
    cursor = 0
    for number, span in enumerate(sorted(media, key=lambda s: s.offset), start=1):
        start, stop = span.offset, span.offset + span.length
        if start < cursor or stop > len(ids):
            raise LayoutError(f"media item {number} spans tokens {start} to {stop} of a prompt of {len(ids)}, after "
                              f"one that ends at {cursor}: spans must be inside the prompt and must not overlap")
        runs = _pad_runs(ids[start:stop] == span.pad_token_id)
        for first, length, block in _blocks(runs, span, number):
            begin = start + first
            if begin > cursor:
                segments.append(Text(begin - cursor))
            segments.append(block)
            cursor = begin + length
    if cursor < len(ids):
        segments.append(Text(len(ids) - cursor))
    return segments


def _pad_runs(is_pad: np.ndarray) -> list[tuple[int, int]]:
    """(start, length) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_pad, [False])).astype(np.int8)))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _blocks(runs: list[tuple[int, int]], span: MediaSpan, number: int) -> list[tuple[int, int, Vision]]:
    lengths = [length for _, length in runs]
    if lengths == [span.t * span.h * span.w]:
        return [(runs[0][0], runs[0][1], Vision(span.t, span.h, span.w, span.step))]
    if lengths == [span.h * span.w] * span.t:
        return [(first, length, Vision(1, span.h, span.w, span.step)) for first, length in runs]
    raise LayoutError(f"media item {number} has a grid of {span.t} x {span.h} x {span.w} cells, but its pad tokens "
                      f"come in runs of {lengths[:8]}: expected one run of {span.t * span.h * span.w} or {span.t} runs "
                      f"of {span.h * span.w}")

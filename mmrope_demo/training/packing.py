"""Groups of questions as batches: one row a picture or video, its questions as branches that do not see each other.

Every branch continues from the end of the vision block: it has the positions and sees the tokens that it would have as
the only question. What a row learns is therefore what the same questions asked one by one would teach, at the price of
one vision block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrope_demo.checkpoints import token_id
from mmrope_demo.training.lessons import Group
from mmrope_eval.rope import Text, Variant, Vision

MOST_QUESTIONS = 6
"""Of a group in one row."""
LONGEST = 168
"""Tokens of a row, beyond which no further question is added."""
STEP = 24
"""Lengths of batches are multiples of it."""
WINDOW = 1024
"""Groups among which rows of similar length are looked for."""


@dataclass(frozen=True)
class Row:
    """One group as tokens; `n` with the vision block, the branches one after another."""

    group: int
    tokens: npt.NDArray[np.int64]
    branch: npt.NDArray[np.int16]
    """0 for what all branches share, then 1, 2, ..."""
    offset: npt.NDArray[np.int32]
    """Index of each token in a sequence of what is shared and its own branch alone."""
    labels: npt.NDArray[np.int64]
    """The next token where it is part of an answer, else -1."""
    scaled: npt.NDArray[np.bool_]
    """Where the label lies on a scale."""


def make_row(index: int, group: Group, *, video: bool) -> Row:
    """A group's first questions as one row."""
    pad = token_id("<|video_pad|>" if video else "<|image_pad|>")
    shared = [*group.before, *[pad] * (group.t * group.h * group.w)]
    tokens, labels, scaled = list(shared), [-1] * len(shared), [False] * len(shared)
    branch, offset = [0] * len(shared), list(range(len(shared)))
    for number, (asked, answer, on_scale) in enumerate(group.questions[:MOST_QUESTIONS], 1):
        turn = [*asked, *answer[:-1]]
        if number > 1 and len(tokens) + len(turn) > LONGEST:
            break
        tokens += turn
        labels += [-1] * (len(asked) - 1) + list(answer)
        scaled += [False] * (len(asked) - 1) + [on_scale] * (len(answer) - 1) + [False]
        branch += [number] * len(turn)
        offset += range(len(shared), len(shared) + len(turn))
    return Row(
        index,
        np.array(tokens, np.int64),
        np.array(branch, np.int16),
        np.array(offset, np.int32),
        np.array(labels, np.int64),
        np.array(scaled, np.bool_),
    )


@dataclass(frozen=True)
class Packed:
    """Rows of one kind, padded to the longest."""

    groups: tuple[int, ...]
    tokens: npt.NDArray[np.int64]
    """(b, n)"""
    labels: npt.NDArray[np.int64]
    """(b, n), -1 where nothing is learnt"""
    scaled: npt.NDArray[np.bool_]
    offset: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]
    """(b, 1, n, n), True where a row may look."""


def pack(rows: Sequence[Row], tokens: int = 0) -> Packed:
    """Rows as one batch, filled up with empty rows to about `tokens` tokens.

    So batches have few different shapes: for each new one, the libraries below build their kernels anew.
    """
    n = padded_length(max(len(row.tokens) for row in rows))
    b = max(len(rows), tokens // n)

    def padded(name: str, fill: int) -> npt.NDArray[np.int64]:
        out = np.full((b, n), fill, np.int64)
        for i, row in enumerate(rows):
            values = getattr(row, name)
            out[i, : len(values)] = values
        return out

    branch = padded("branch", -1)
    alike = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    mask = alike & np.tri(n, dtype=np.bool_)[None]
    return Packed(
        groups=tuple(row.group for row in rows),
        tokens=padded("tokens", token_id("<|endoftext|>")),
        labels=padded("labels", -1),
        scaled=padded("scaled", 0).astype(np.bool_),
        offset=padded("offset", 0).astype(np.int32),
        mask=mask[:, None],
    )


def padded_length(n: int) -> int:
    """The length to which rows of `n` tokens are padded."""
    return -(-n // STEP) * STEP


class Positions:
    """Coordinates of packed batches under one variant; layouts that come again are not computed again."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._known: dict[tuple[int, int, int, int, float], npt.NDArray[np.float64]] = {}

    def of(self, batch: Packed, groups: Sequence[Group]) -> npt.NDArray[np.float64]:
        """(3, b, n)"""
        out = np.zeros((3, *batch.tokens.shape))
        for i, group in enumerate(batch.groups):
            out[:, i] = self._layout(groups[group])[:, batch.offset[i]]
        return out

    def _layout(self, group: Group) -> npt.NDArray[np.float64]:
        key = (len(group.before), group.t, group.h, group.w, group.step)
        if key not in self._known:
            vision = Vision(group.t, group.h, group.w, group.step)
            self._known[key] = self._variant.positions([Text(len(group.before)), vision, Text(96)])[0]
        return self._known[key]


def epoch(rows: Sequence[Row], tokens: int, seed: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Batches of row numbers for one pass over all rows: similar lengths together, at most `tokens` padded tokens.

    The same seed gives the same batches in the same order.
    """
    rng = np.random.default_rng(list(seed))
    order = rng.permutation(len(rows))
    batches: list[tuple[int, ...]] = []
    for start in range(0, len(order), WINDOW):
        window = sorted(order[start : start + WINDOW].tolist(), key=lambda i: len(rows[i].tokens))
        batch: list[int] = []
        for i in window:
            if batch and (len(batch) + 1) * padded_length(len(rows[i].tokens)) > tokens:
                batches.append(tuple(batch))
                batch = []
            batch.append(i)
        batches.append(tuple(batch))
    for i in rng.permutation(len(batches)):
        yield batches[i]

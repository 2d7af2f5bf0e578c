"""Pictures that the vision encoder learns to see with: all that the small world is drawn with, placed at random.

There is no question, no language model and no rotary variant here, so the encoder can favour none. Every patch is told
what covers it most: a figure, a plate or a text; its colour, the box of the whole, its characters, how it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mmrope_demo.training.recipe import GEOMETRY
from mmrope_synth.charts import text_mask
from mmrope_synth.core import Pixels, between, chance, pick
from mmrope_synth.documents import CITIES, ITEMS, MONTHS, NAMES, PAPER, SHOPS, WORDS
from mmrope_synth.lettering import INK, letters
from mmrope_synth.scenes import (
    COLORS,
    PEOPLE,
    POSES,
    SHAPES,
    backdrop,
    extent,
    finish,
    paint,
    random_background,
    stamp,
)  # fmt: skip

PRIMER_VERSION: Final = 3
"""Raise it when the same seed gives another picture."""

FIGURES: Final = (*SHAPES, *PEOPLE, *POSES)
KINDS: Final = ("nothing", *FIGURES, "plate", "text")
LETTERS: Final = "ABCDEFGH"
TEXTS: Final = tuple(
    dict.fromkeys([*ITEMS, *NAMES, *CITIES, *MONTHS, *WORDS, *SHOPS, *LETTERS, *(str(n) for n in range(101))])
)
GLYPHS: Final = "".join(sorted({glyph for text in TEXTS for glyph in text}))
DIAMETERS: Final = ((0.14, 0.24), (0.27, 0.38))
"""Of figures, as shares of the picture's side: around those of the small world's scenes."""
SCALE: Final = float(GEOMETRY.factor)
"""Pixels by which boxes and motions are divided."""
PATCH: Final = GEOMETRY.patch_size
LEAST: Final = 0.12
"""Share of a patch that something must cover to be what the patch shows."""

Box = tuple[float, float, float, float]
Canvas = npt.NDArray[np.float32]
Drawing = Callable[[Canvas, int], None]
"""Draws something onto the frame with that index."""


@dataclass(frozen=True)
class Item:
    """Something in a picture: its box before it moves, and its motion over a frame pair in pixels."""

    kind: str
    color: str | None
    words: str | None
    box: Box
    motion: tuple[int, int]


@dataclass(frozen=True)
class Targets:
    """What every patch is taught; arrays over patches, in the encoder's own order."""

    kind: npt.NDArray[np.int64]
    color: npt.NDArray[np.int64]
    """-1 where it does not matter"""
    words: npt.NDArray[np.int64]
    """Index in TEXTS of the text that a patch shows a part of, else -1."""
    glyphs: npt.NDArray[np.float32]
    """(patches, 2, characters): 1 for a character whose middle lies in the left or right half of the patch"""
    box: npt.NDArray[np.float32]
    """(patches, 4): left, top, right, bottom relative to the patch's middle, over `SCALE`"""
    motion: npt.NDArray[np.float32]
    """(patches, 2), over `SCALE`"""


def primer(rng: Random, side: int) -> tuple[Pixels, list[Item]]:
    """A frame pair (2, side, side, 3) and what is in it; in a small one, as videos have, figures may move."""
    moving = side < 100
    background = random_background(rng) if chance(rng, 0.7) else PAPER
    frames = [backdrop(background, side, side).copy() for _ in range(2)]
    items: list[Item] = []
    for _ in range(between(rng, (1, 4) if moving else (2, 7))):
        what = pick(rng, ("figure", "figure", "figure", "text", "text", "text", "plate"))
        for _ in range(8):
            if what == "figure":
                item, draw = _figure(rng, side, moving)
            elif what == "plate":
                item, draw = _plate(rng, side)
            else:
                item, draw = _text(rng, side, background.light[0] > 128)
            if all(_apart(item.box, other.box) for other in items):
                items.append(item)
                for index, frame in enumerate(frames):
                    draw(frame, index)
                break
    noise, seed = pick(rng, (0.0, 2.0, 4.0)), rng.getrandbits(31)
    return np.stack([finish(frame, noise, seed) for frame in frames]), items


def _figure(rng: Random, side: int, moving: bool) -> tuple[Item, Drawing]:
    noun, color = pick(rng, (*SHAPES, *SHAPES, *PEOPLE, *PEOPLE, *POSES)), pick(rng, tuple(COLORS))
    low, high = pick(rng, DIAMETERS)
    diameter = between(rng, (max(6, round(low * side)), round(high * side * (1.3 if moving else 1.0))))
    x, y = between(rng, (0, side - diameter)), between(rng, (0, side - diameter))
    motion = (between(rng, (-6, 6)), between(rng, (-6, 6))) if moving and chance(rng, 0.5) else (0, 0)
    left, top, width, height = extent(noun, diameter)
    box = (float(x + left), float(y + top), float(x + left + width), float(y + top + height))

    def draw(frame: Canvas, index: int) -> None:
        paint(frame, noun, color, x + index * motion[0], y + index * motion[1], diameter, False)

    return Item(noun, color, None, box, motion), draw


def _plate(rng: Random, side: int) -> tuple[Item, Drawing]:
    color = pick(rng, tuple(COLORS))
    width, height = between(rng, (side // PATCH, side // 2)), between(rng, (side // PATCH, side * 3 // 4))
    x, y = between(rng, (0, side - width)), between(rng, (0, side - height))

    def draw(frame: Canvas, _index: int) -> None:
        frame[y : y + height, x : x + width] = COLORS[color]

    return Item("plate", color, None, (float(x), float(y), float(x + width), float(y + height)), (0, 0)), draw


def _text(rng: Random, side: int, bright: bool) -> tuple[Item, Drawing]:
    words, height = pick(rng, TEXTS), between(rng, (15, 34) if side > 100 else (14, 26))
    if chance(rng, 0.15):
        mask = text_mask(words, float(between(rng, (8, 11))))
    else:
        mask = np.max(letters(words, height, 0, pick(rng, (0.0, 0.0, 0.25)), 0), axis=0)
    tall, wide = mask.shape
    if wide > side - 2:
        mask, words = np.max(letters("7", height, 0, 0.0, 0), axis=0), "7"
        tall, wide = mask.shape
    x, y = between(rng, (0, side - wide)), between(rng, (0, side - tall))
    ink = INK if bright else (245, 245, 245)
    plate = pick(rng, tuple(COLORS)) if chance(rng, 0.4) else None
    if plate is not None:
        ink = INK if plate in ("yellow", "orange") else (255, 255, 255)

    def draw(frame: Canvas, _index: int) -> None:
        if plate is not None:
            frame[max(0, y - 4) : y + tall + 4, max(0, x - 4) : x + wide + 4] = COLORS[plate]
        stamp(frame, mask, ink, x, y)

    return Item("text", plate, words, (float(x), float(y), float(x + wide), float(y + tall)), (0, 0)), draw


def _apart(a: Box, b: Box, gap: float = 3.0) -> bool:
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def targets(items: Sequence[Item], side: int) -> Targets:
    """What each patch of a picture is taught, patches ordered by merged cells as the encoder has them."""
    across = side // PATCH
    middle = (np.arange(across) + 0.5) * PATCH
    shape = (across, across)
    kind, color, words = np.zeros(shape, np.int64), np.full(shape, -1), np.full(shape, -1)
    glyphs = np.zeros((*shape, 2, len(GLYPHS)), np.float32)
    box, motion = np.zeros((*shape, 4), np.float32), np.zeros((*shape, 2), np.float32)
    most = np.full(shape, LEAST * PATCH * PATCH)
    for item in items:
        x1, y1, x2, y2 = item.box
        wide = np.clip(np.minimum(middle + PATCH / 2, x2) - np.maximum(middle - PATCH / 2, x1), 0, None)
        tall = np.clip(np.minimum(middle + PATCH / 2, y2) - np.maximum(middle - PATCH / 2, y1), 0, None)
        area = tall[:, None] * wide[None, :]
        covered = area > most
        most[covered] = area[covered]
        kind[covered] = KINDS.index(item.kind)
        color[covered] = -1 if item.color is None else list(COLORS).index(item.color)
        words[covered] = -1 if item.words is None else TEXTS.index(item.words)
        if item.words is not None:
            _spell(glyphs, item.words, item.box, covered)
        edges = np.stack(np.broadcast_arrays(x1 - middle[None, :], y1 - middle[:, None], x2 - middle[None, :],
                                             y2 - middle[:, None]), axis=-1)  # fmt: skip
        box[covered] = edges[covered] / SCALE
        motion[covered] = np.array(item.motion) / SCALE
    return Targets(*(_by_cells(values) for values in (kind, color, words, glyphs, box, motion)))


def _spell(glyphs: npt.NDArray[np.float32], words: str, box: Box, covered: npt.NDArray[np.bool_]) -> None:
    """Mark where each character's middle is, in every row of patches that the text covers."""
    x1, _, x2, _ = box
    for i, glyph in enumerate(words):
        half = int((x1 + (i + 0.5) / len(words) * (x2 - x1)) // (PATCH / 2))
        rows = covered[:, half // 2]
        glyphs[rows, half // 2, half % 2, GLYPHS.index(glyph)] = 1.0


def _by_cells(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(rows, columns, ...) to (patches, ...), the four patches of a merged cell next to each other."""
    rows, columns = values.shape[:2]
    cells = values.reshape(rows // 2, 2, columns // 2, 2, *values.shape[2:])
    return np.ascontiguousarray(cells.swapaxes(1, 2)).reshape(rows * columns, *values.shape[2:])

"""Words in a picture: how they are bent, coloured and placed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mmrope_synth.scenes import COLORS

INK: Final = (25, 25, 25)


@dataclass(frozen=True)
class Text:
    """Words in a picture: middle in pixels, font height in pixels, and how they are bent."""

    words: str
    x: float
    y: float
    height: int
    ink: tuple[int, int, int] = INK
    turn: int = 0
    """Degrees, anticlockwise."""
    slant: float = 0.0
    wobble: int = 0
    """By how many pixels letters jump up and down, as in handwriting."""
    rainbow: bool = False
    """Every letter in a colour of its own."""


@lru_cache(maxsize=16384)
def letters(words: str, height: int, turn: int, slant: float, wobble: int) -> tuple[npt.NDArray[np.float32], ...]:
    """One mask a letter, all of the size of the whole text, in [0, 1]; Pillow's built-in font."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(height)
    total = round(font.getlength(words))
    width, tall = total + height, round(height * 1.7)
    masks = []
    for i, letter in enumerate(words):
        layer = Image.new("L", (width, tall))
        jump = (0, wobble, -wobble, wobble // 2)[(i + len(words)) % 4]
        x = height // 2 + font.getlength(words[:i])
        ImageDraw.Draw(layer).text((x, tall / 2 + jump), letter, 255, font, anchor="lm")
        if slant:
            layer = layer.transform(layer.size, Image.Transform.AFFINE, (1, slant, -slant * tall / 2, 0, 1, 0))
        if turn:
            layer = layer.rotate(turn, Image.Resampling.BICUBIC, expand=True)
        masks.append((np.asarray(layer) / 255).astype(np.float32))
    cover = np.max(masks, axis=0)
    rows, columns = np.flatnonzero(cover.max(1) > 0.05), np.flatnonzero(cover.max(0) > 0.05)
    ink = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return tuple(mask[ink] for mask in masks)


def write(canvas: npt.NDArray[np.float32], text: Text) -> None:
    """Draw one text onto a float canvas, moved inside where it would cross an edge."""
    masks = letters(text.words, text.height, text.turn, text.slant, text.wobble)
    height, width = masks[0].shape
    if height > canvas.shape[0] or width > canvas.shape[1]:
        raise ValueError(f"the text {text.words!r} of height {text.height} does not fit into the picture.")
    left = min(max(0, round(text.x - width / 2)), canvas.shape[1] - width)
    top = min(max(0, round(text.y - height / 2)), canvas.shape[0] - height)
    view = canvas[top : top + height, left : left + width]
    inks = list(COLORS.values()) if text.rainbow else [text.ink]
    layers = masks if text.rainbow else (np.max(masks, axis=0),)
    for i, layer in enumerate(layers):
        view += layer[..., None] * (np.asarray(inks[i % len(inks)], np.float32) - view)

"""A page of samples of every column, to look at."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmrope_synth.columns import COLUMNS
from mmrope_synth.core import LETTERS, Difficulty
from mmrope_synth.sample import Sample
from mmrope_synth.writer import distinct_rows, eval_samples

if TYPE_CHECKING:
    from PIL.Image import Image

CELL: Final = (336, 290)
"""Width and height of one sample in pixels."""
MEDIUM: Final = 150
"""Height of its picture or film strip."""
PER_COLUMN: Final = 4


def contact_sheet(
    out_png: Path, *, seed: int = 0, columns: Sequence[str] | None = None, difficulty: Difficulty | None = None
) -> Path:
    """Draw four evaluation samples of every column with question, options and answer into one PNG file.

    Boxes are outlined; of a video four frames are shown with their times. Returns `out_png`.
    """
    from PIL import Image

    names, knobs = tuple(columns or COLUMNS), difficulty or Difficulty()
    width, height = CELL
    sheet = Image.new("RGB", (width * PER_COLUMN, height * len(names)), "white")
    for line, name in enumerate(names):
        groups = islice(eval_samples(name, seed, knobs), PER_COLUMN)
        for place, samples in enumerate(groups):
            sheet.paste(_cell(distinct_rows(samples)[-1]), (place * width, line * height))
    out_png.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out_png)
    return out_png


def _cell(sample: Sample) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    cell = Image.new("RGB", CELL, "white")
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(13)
    pen.rectangle((0, 0, CELL[0] - 1, CELL[1] - 1), outline=(200, 200, 200))
    pen.text((6, 3), f"{sample.column}: {sample.kind}", (0, 90, 160), font)
    left = 6
    for picture, note in _pictures(sample):
        size = MEDIUM if sample.clip is None else 78
        cell.paste(picture.resize((size, size), Image.Resampling.NEAREST), (left, 22))
        pen.text((left, 24 + size), note, (120, 120, 120), font)
        left += size + 4
    top = 22 + (MEDIUM if sample.clip is None else 78) + 18
    for text in _texts(sample):
        for row in _wrapped(text, CELL[0] - 12, font):
            pen.text((6, top), row, (0, 0, 0), font)
            top += 15
    pen.text((6, CELL[1] - 19), f"answer: {sample.answer}", (0, 120, 0), font)
    return cell


def _pictures(sample: Sample) -> list[tuple[Image, str]]:
    from PIL import Image, ImageDraw

    if sample.clip is not None:
        chosen = np.linspace(0, len(sample.clip) - 1, 6)[1:5].round().astype(int)
        return [(Image.fromarray(sample.clip.frame(int(i))), f"{sample.clip.times[int(i)]:.1f} s") for i in chosen]
    pictures = []
    for pixels in sample.images.values():
        picture = Image.fromarray(pixels)
        if sample.box is not None:
            left, top, right, bottom = sample.box
            ImageDraw.Draw(picture).rectangle((left - 1, top - 1, right, bottom), outline=(255, 0, 255))
        pictures.append((picture, ""))
    return pictures


def _texts(sample: Sample) -> list[str]:
    """Question and options, from whichever fields the data set has for them."""
    row = sample.row
    if "expression" in row:
        return [" / ".join(row["answer"])]
    if "caption" in row:
        return [row["caption"]]
    options: Any = row.get("candidates") or row.get("options") or [
        choice if isinstance(choice, str) else choice["choice"] for choice in row.get("choices", [])
    ]
    options = ast.literal_eval(options) if isinstance(options, str) else options
    options = options or [row[letter] for letter in "ABCD" if row.get(letter, "nan") != "nan"]
    if sample.column in ("videomme", "mlvu"):
        return [*row["question"].split("\n")[:1], "   ".join(options)]
    listed = "   ".join(f"{letter} {option}" for letter, option in zip(LETTERS, options, strict=False))
    return [*row["question"].split("\n"), listed] if listed else row["question"].split("\n")


def _wrapped(text: str, width: int, font: Any) -> list[str]:
    rows = [""]
    for word in text.split(" "):
        longer = f"{rows[-1]} {word}".strip()
        if font.getlength(longer) > width and rows[-1]:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows

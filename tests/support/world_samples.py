"""Samples of the small world for its tests, and what tells them apart."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from mmrope_synth import COLUMNS, Difficulty, Sample
from mmrope_synth.core import Side, generator

KNOBS = Difficulty()


def samples_of(column: str, groups: int, seed: int = 0, side: Side = "eval") -> list[Sample]:
    """The samples of the first pictures or videos of a column."""
    draws = (COLUMNS[column](generator(seed, side, column, i), KNOBS, side, i) for i in range(groups))
    return [sample for samples in draws for sample in samples]


def options_of(sample: Sample) -> list[str]:
    """The options as the data set's fields or the question text hold them."""
    row = sample.row
    if sample.column == "mmmu":
        return list(ast.literal_eval(row["options"]))
    if sample.column == "mmbench":
        return [row[letter] for letter in "ABCD" if row[letter] != "nan"]
    if sample.column == "videomme":
        assert [option[:3] for option in row["options"]] == ["A. ", "B. ", "C. ", "D. "][: len(row["options"])]
        return [option[3:] for option in row["options"]]
    if sample.column == "star":
        assert [choice["choice_id"] for choice in row["choices"]] == list(range(len(row["choices"])))
        return [choice["choice"] for choice in row["choices"]]
    if sample.column in ("lvbench", "mlvu"):
        return re.findall(r"^\([A-H]\) (.+)$", row["question"], re.MULTILINE)
    if sample.column == "mmstar":
        return re.findall(r"[A-D]: ([^,]+)", row["question"].partition("Options: ")[2])
    return list(row.get("candidates") or row.get("options") or row["choices"])


def media_hash(sample: Sample) -> str:
    digest = hashlib.sha256()
    if sample.clip is not None:
        digest.update(repr(sample.clip.times).encode())
        digest.update(sample.clip.frames([0, len(sample.clip) // 3, len(sample.clip) // 2]).tobytes())
        digest.update(repr([(a.name, a.keys, a.shown) for a in sample.clip.actors]).encode())
        return digest.hexdigest()
    for name in sorted(sample.images):
        digest.update(sample.images[name].tobytes())
    return digest.hexdigest()


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a row from all others of its column."""
    fields = ("idx", "question_id", "questionId", "video", "caption", "question", "expression", "image_id", "answer")
    return tuple(str(row.get(field)) for field in fields)

"""Test vectors: exact positions and rotary tables of every shipped variant, to check a trainer's code against.

`python -m mmrope_eval.rope.vectors FILE` writes them; docs/vectors/positions.json is such a file, and docs/training.md
says how it is read. Its format is meant to be read with nothing but a JSON parser.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mmrope_eval.rope.geometry import DEFAULT_GEOMETRY
from mmrope_eval.rope.read_variant import load_variant, variant_names
from mmrope_eval.rope.segments import Segment, Text, Vision
from mmrope_eval.rope.variant import Variant

FORMAT: Final = 1
GEOMETRY: Final = replace(DEFAULT_GEOMETRY, num_kv_heads=8)
"""The file has one model for all variants, so one with the eight KV heads that MHRoPE deals out."""
PAIRS: Final = (0, 1, 2, 3, 15, 16, 31, 40, 62, 63)
"""Rotary pairs whose frequency is given."""

LAYOUTS: Final[Mapping[str, Sequence[Segment]]] = {
    "text": (Text(6),),
    "picture": (Text(5), Vision(1, 4, 6), Text(4)),
    "two pictures": (Text(3), Vision(1, 2, 3), Text(2), Vision(1, 5, 2), Text(3)),
    "video as one block": (Text(4), Vision(3, 2, 3, step=1.5), Text(3)),
    "video as frame blocks": (Text(7), Vision(1, 2, 4), Text(5), Vision(1, 2, 4), Text(5), Vision(1, 2, 4), Text(3)),
}
"""Parts of a prompt in merged grid cells. Qwen2.5-VL's videos are one block with a step in time, which variants with
`time: seconds` read; Qwen3-VL writes a timestamp as text before every frame, which is a block of its own."""


def vectors() -> dict[str, Any]:
    """The whole file's content."""
    return {
        "format": FORMAT,
        "made_by": "python -m mmrope_eval.rope.vectors, from mmrope_eval's own position function and rotary table",
        "read": "docs/training.md of mmrope-eval",
        "model": {name: getattr(GEOMETRY, name) for name in ("head_dim", "num_kv_heads", "rope_theta")},
        "layouts": {name: [_part(segment) for segment in layout] for name, layout in LAYOUTS.items()},
        "variants": {name: _variant(load_variant(name)) for name in variant_names()},
    }


def layout_of(parts: Sequence[Mapping[str, Any]]) -> list[Segment]:
    """A layout of the file as this package has it."""
    return [Text(part["n"]) if part["kind"] == "text" else Vision(part["t"], part["h"], part["w"], part["step"])
            for part in parts]  # fmt: skip


def _part(segment: Segment) -> dict[str, Any]:
    if isinstance(segment, Text):
        return {"kind": "text", "n": segment.n}
    return {"kind": "vision", "t": segment.t, "h": segment.h, "w": segment.w, "step": _plain(segment.step)}


def _variant(variant: Variant) -> dict[str, Any]:
    table = GEOMETRY.table(variant)
    return {
        "fingerprint": variant.fingerprint,
        "time": variant.time,
        "positions": {name: _positions(variant, layout) for name, layout in LAYOUTS.items()},
        "axis": ["".join("thw-"[axis] for axis in row) for row in table.axis],
        "inv_freq": {str(pair): _plain(table.inv_freq[0, pair]) for pair in PAIRS},
        "attention_factor": _plain(table.attention_factor),
    }


def _positions(variant: Variant, layout: Sequence[Segment]) -> dict[str, Any]:
    coordinates, delta = variant.positions(layout)
    rows = {axis: [_plain(value) for value in row] for axis, row in zip("thw", coordinates, strict=True)}
    return {**rows, "delta": _plain(delta)}


def _plain(value: Any) -> int | float:
    """A number that JSON holds exactly; a whole one without its point."""
    number = float(value)
    return int(number) if number.is_integer() else number


def as_json(content: Mapping[str, Any]) -> str:
    """The file's text: mappings over several lines, every list and part of a layout on one, so that a difference is a
    line."""
    return _text(content, "\n") + "\n"


def _text(value: Any, newline: str) -> str:
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    inner = newline + " "
    lines = [f"{json.dumps(key, ensure_ascii=False)}: {_text(item, inner)}" for key, item in value.items()]
    return "{" + inner + f",{inner}".join(lines) + newline + "}" if lines else "{}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(as_json(vectors()), encoding="utf-8")

"""One sentence for whatever a YAML file cannot mean, and the place where it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mmrope_eval.errors import UserError
from mmrope_eval.util.config import read_mapping, read_yaml, typed


def _even(value: int) -> int:
    if value % 2:
        raise ValueError(f"must be even, not {value}")
    return value


class Frames(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    cells: Annotated[int, Field(gt=0, description="tokens of a side")]
    pairs: Annotated[int, AfterValidator(_even)] = 0


class Plan(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    title: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(gt=0)] | str | None = None
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    layout: Literal["across", "down"] = "across"
    frames: Frames | None = None
    runs: Annotated[list[Frames], Field(min_length=1)] = [Frames(cells=1)]
    names: list[str] = []
    limits: dict[str, Frames] = {}
    expected: dict[Literal["samples", "objects"], int] = {}


@pytest.mark.parametrize(("content", "sentence"), [
    ({}, "key 'title' is missing"),
    ({"titel": "x"}, "unknown key 'titel', did you mean 'title'?"),
    ({"title": "x", "colour": "red"}, "unknown key 'colour', the keys are title, limit, share, layout, frames, "),
    ({"title": "x", 3: "red"}, "unknown key '3', the keys are title"),
    ({"title": 3}, "'title' must be text, not 3: put it in quotes"),
    ({"title": ["x"]}, "'title' must be text, not ['x']"),
    ({"title": ""}, "'title' is empty: it takes text"),
    ({"title": "x", "limit": 0}, "'limit' must be above 0 or text, not 0"),
    ({"title": "x", "limit": 1.5}, "'limit' must be a whole number or text, not 1.5"),
    ({"title": "x", "share": 2.0}, "'share' must be at most 1, not 2.0"),
    ({"title": "x", "share": float("nan")}, "'share' must be a finite number, not nan"),
    ({"title": "x", "layout": "sideways"}, "'layout' must be 'across' or 'down', not 'sideways'"),
    ({"title": "x", "frames": 5}, "'frames' must be a mapping, not 5"),
    ({"title": "x", "frames": {}}, "key 'frames.cells' is missing: tokens of a side"),
    ({"title": "x", "frames": {"cels": 1}}, "unknown key 'frames.cels', did you mean 'cells'?"),
    ({"title": "x", "frames": {"cells": 1, "pairs": 3}}, "'frames.pairs' must be even, not 3"),
    ({"title": "x", "runs": []}, "'runs' is empty: it takes at least one entry"),
    ({"title": "x", "runs": [{"cells": 1}, {"cells": 0}]}, "runs, entry 2: 'cells' must be above 0, not 0"),
    ({"title": "x", "runs": [{"cels": 1}]}, "runs, entry 1: unknown key 'cels', did you mean 'cells'?"),
    ({"title": "x", "names": ["a", 3]}, "names, entry 2 must be text, not 3: put it in quotes"),
    ({"title": "x", "limits": {"star": {"cells": "many"}}}, "'limits.star.cells' must be a whole number, not 'many'"),
    ({"title": "x", "expected": {"sample": 3}}, "unknown key 'expected.sample', did you mean 'samples'?"),
    ([], "must be a mapping, not []"),
    ({"title": "x", "share": "{half}"}, "'share' must be a number, not '{half}'"),
], ids=str)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(content: Any, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        typed(Plan, content, "Plan x.yaml", " (docs/plan.md)")
    text = str(raised.value)
    assert text.startswith(f"Plan x.yaml: {sentence}") and text.endswith(" (docs/plan.md).") and "\n" not in text


def test_a_misspelt_key_is_said_before_what_it_leaves_missing() -> None:
    with pytest.raises(UserError, match=r"unknown key 'cels', did you mean 'cells'\?$"):
        typed(Frames, {"pairs": 1, "cels": 2}, "x.yaml")


@pytest.mark.parametrize(("text", "sentence"), [
    ("a: [", "cannot be read as YAML: .* in line 2"),
    ("a: 1\na: 2", "cannot be read as YAML: the key 'a' stands twice in line 2"),
    ("a: 2001-13-41", "cannot be read as YAML: month must be in 1..12"),
    ("a: !!python/name:os.system", "cannot be read as YAML: could not determine a constructor"),
    ("- 1", "must hold a YAML mapping"),
    ("3: x", "must hold a YAML mapping"),
    ("", "must hold a YAML mapping"),
])
def test_a_file_that_is_no_mapping_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} {sentence}") as raised:
        read_mapping(path)
    assert "\n" not in str(raised.value)


def test_a_folder_and_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_yaml(tmp_path / "x.yaml")

"""How one benchmark's rows are made from VLMEvalKit's table of it: `metadata: lmudata:` of a task file.

Every value is a Jinja expression over the table's columns (texts; none where a cell is empty) and these names:
`letters`, the options as a mapping of letter to text; `picture(n)`, the row's n-th picture; `size(n)`, its width and
height; `literal(text)`, a list written as text; `texts(text)`, the same with strings, and a plain text as a list of
one; `xywh(corners, size)`, a box.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmrope_eval.errors import UserError
from mmrope_eval.util.config import read_mapping, typed
from mmrope_eval.util.strict_json import written

Evaluate = Callable[[str, Mapping[str, Any]], Any]
"""A Jinja expression and its names -> its value; ValueError when it has none."""


class Recipe(BaseModel):
    """From a table's columns to the hub's fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: tuple[str, ...] = Field(min_length=1)
    """The tables' names without `.tsv`, the first one there is taken."""
    fields: Mapping[str, str]
    """Field of the hub's table -> expression."""
    types: Mapping[str, Any] = {}
    """Field -> its type in the hub's table where that is not `string`."""
    where: Mapping[str, Any] = {}
    """Expression -> the value it must have: the rows that are of the task's split."""
    names: Mapping[str, str] = {}
    """Further names for expressions, each from its own."""
    checks: Mapping[str, str] = {}
    """A clause on a row -> the expression that holds unless the clause is true of it."""
    config: str | None = None
    """Which of the data set's configurations a row is of, where there are several."""
    join: str | None = None
    """A field of lists: rows that are equal but for it become one row, with all their lists in one."""
    folder: str = ""
    """Where VLMEvalKit keeps the pictures below `images`, where that is not the table's name."""
    others: Mapping[str, str] = {}
    """Tables that look like this one and are not -> what they are."""
    md5: str | None = None
    """Of the table that VLMEvalKit publishes."""
    outdated: Mapping[str, str] = {}
    """md5 of earlier uploads -> what is wrong with them."""

    @model_validator(mode="after")
    def _names_its_fields(self) -> Recipe:
        stray = sorted({*self.types, *filter(None, [self.join])} - self.fields.keys())
        if stray:
            raise ValueError(f"'{stray[0]}' is none of its fields")
        return self

    def kinds(self) -> dict[str, Any]:
        """Every field with its type, in order."""
        return {name: self.types.get(name, "string") for name in self.fields}


def read_recipe(raw: Mapping[str, Any], task_file: Path) -> Recipe:
    """A task file's recipe; `include` names a file beside it that holds what is shared (the task file wins).

    UserError names the file and the key.
    """
    content, where = dict(raw), f"Task file {task_file}, metadata lmudata"
    if "include" in content:
        try:
            content = {**read_mapping(task_file.parent / str(content.pop("include"))), **content}
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    recipe = typed(Recipe, content, where, " (see tasks/README.md)")
    return recipe.model_copy(update={"folder": recipe.folder or recipe.tables[0]})


@dataclass(frozen=True)
class Shown:
    """The number-th picture of a row, counted from 1, before it is read."""

    number: int


def columns_and_options(fields: Mapping[str, str | None]) -> dict[str, Any]:
    """A record's columns as names, and `letters`, its options, as VLMEvalKit's prompts find them."""
    letters = {letter: fields[letter] for letter in string.ascii_uppercase if fields.get(letter) is not None}
    return {**fields, "letters": letters}


def literal(text: str | None) -> list[Any]:
    """A list that is written as text. ValueError when it is none."""
    value = written(str(text))
    if not isinstance(value, list):
        raise ValueError(f"'{str(text)[:40]}' is no list")
    return value


def texts(text: str) -> list[str]:
    """Strings of a list that is written as text; another text is the only one, as VLMEvalKit's scorers read it."""
    try:
        return [str(item) for item in literal(text)]
    except ValueError:
        return [text]


def xywh(corners: Sequence[float], size: tuple[int, int]) -> list[float]:
    """[x, y, width, height] in pixels from [x1, y1, x2, y2] in pixels, or in parts of the picture's width and height.

    Parts are written with six digits: to two decimals, COCO's own precision, the pixels are the annotation's again.
    """
    if len(corners) != 4:
        raise ValueError(f"a box has four numbers, not {len(corners)}")
    x1, y1, x2, y2 = map(float, corners)
    if max(map(abs, (x1, y1, x2, y2))) <= 1.5:
        x1, y1, x2, y2 = x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]
    return [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]


FUNCTIONS: Final[Mapping[str, Any]] = {"literal": literal, "texts": texts, "xywh": xywh, "picture": Shown}
"""What every expression may call; `size` belongs to a row."""

"""Text as CSV and markdown hold it, whatever a name is: in a spreadsheet text and numbers, never a formula; in GitHub's
markdown every mark as the character that it is, in tables, lists and running text."""

from __future__ import annotations

import re
from typing import Any, Final

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mmrope_eval.words import visible

_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@")
_MARKS: Final = re.compile(
    r"""
      \\(?=[!-/:-@\[-`{-~]|$)    # a backslash that would take the next character's meaning: of a pipe, a cell's end
    | [|*`<~]                    # a cell's end, emphasis, code, HTML, a line through
    | (?<![^\W_])_ | _(?![^\W_]) # emphasis, which does not begin or end inside a word
    | \](?=[(\[])                # a link or a picture
    | &(?=\#?\w+;)               # a character by its name
    """,
    re.VERBOSE,
)


def csv_text(frame: pd.DataFrame) -> str:
    """The frame without its index; numbers unrounded, unknown empty."""
    texts = {name: frame[name].map(guard) for name in frame.columns if not is_numeric_dtype(frame[name])}
    guarded = frame.assign(**texts).rename(columns=guard)
    return str(guarded.to_csv(index=False, lineterminator="\n"))


def guard(value: Any) -> Any:
    """A cell: text that would begin a formula gets an apostrophe, which spreadsheets do not show.

    A line's end inside text becomes its escape, as not every reader takes it for text. The rest stays as it is.
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(_BEGINS_A_FORMULA) else text


def escape(text: str) -> str:
    """The text on one line, with every mark of markdown as the character that it is."""
    return _MARKS.sub(lambda match: f"\\{match[0]}", text.replace("\n", " "))


def code(text: str) -> str:
    """The text as a span of code: between more backticks than stand together in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    inner = f" {text} " if text.startswith("`") or text.endswith("`") else text
    return f"{fence}{inner}{fence}"

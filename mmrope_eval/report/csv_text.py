"""Frames as CSV that a spreadsheet reads as text and numbers, never as a formula."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mmrope_eval.words import visible

_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@")


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

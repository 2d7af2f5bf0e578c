"""Frames as CSV that a spreadsheet reads as text and numbers, never as a formula."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
from pandas.api.types import is_numeric_dtype

_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_text(frame: pd.DataFrame) -> str:
    """The frame without its index; numbers unrounded, unknown empty."""
    texts = {name: frame[name].map(guard) for name in frame.columns if not is_numeric_dtype(frame[name])}
    guarded = frame.assign(**texts).rename(columns=guard)
    return str(guarded.to_csv(index=False, lineterminator="\n"))


def guard(value: Any) -> Any:
    """A cell: text that would begin a formula gets an apostrophe, which spreadsheets do not show; the rest as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_BEGINS_A_FORMULA) else value

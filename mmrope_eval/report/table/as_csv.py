"""CSV: one line per row and column, unrounded; lists are joined by semicolons, unknown is empty."""

from __future__ import annotations

from mmrope_eval.report.csv_text import csv_text
from mmrope_eval.report.table.page import Page, records


def write(page: Page, standalone: bool) -> str:
    """Write the page as lines of CSV; `standalone` changes nothing."""
    frame = records(page)
    for name in frame.columns:
        if frame[name].map(lambda value: isinstance(value, tuple)).any():
            frame[name] = frame[name].map(";".join)
    return csv_text(frame)

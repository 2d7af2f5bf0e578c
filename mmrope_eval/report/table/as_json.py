"""JSON: everything, unrounded: definition, cells, footnotes and remarks; unknown is null."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from mmrope_eval.report.table.page import Page, records


def write(page: Page, standalone: bool) -> str:
    """Write the page as one JSON object; `standalone` changes nothing."""
    table = page.table
    cells = [{str(name): plain(value) for name, value in line.items()} for line in records(page).to_dict("records")]
    content = {
        "table": table.definition.name, "title": table.definition.title, "source": table.definition.source,
        "rows": table.rows, "columns": table.columns, "averages": table.averages, "baseline": table.baseline,
        "level": table.options.level,
        "reported": table.options.reported.name if table.options.reported else None,
        "cells": cells,
        "notes": [{"mark": letter, "kind": note.kind, "text": note.text,
                   "places": [list(place) for place in sorted(note.places, key=str)]}
                  for letter, note in page.footnotes],
        "remarks": page.remarks,
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    if value is None or pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value

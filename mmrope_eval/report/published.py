"""Published scores as a frame, from results/reported/*.yaml: every one with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.report.definitions import home, read_yaml

DEFAULT: Final = "huang2025"


@dataclass(frozen=True)
class Published:
    """A publication's scores."""

    name: str
    paper: str
    sources: Mapping[str, str]
    """A source's letter -> what it is."""
    cells: pd.DataFrame
    """Columns table, row, column (str), value (0-100), source (a letter of `sources`)."""

    def table(self, name: str) -> pd.DataFrame:
        """The cells of one table ("table2"): indexed by row and column, with value and source."""
        found = self.cells[self.cells["table"] == name]
        return found.set_index(["row", "column"])[["value", "source"]]


def load_published(name: str = DEFAULT) -> Published:
    """Published scores by name (a file of results/reported) or by path. UserError when the file is missing or bad."""
    folder = home() / "results" / "reported"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
        raise UserError(f"There are no reported scores '{name}'; choose one of {known}, or the path of a YAML file.")
    content = read_yaml(path)
    sources = {str(key): str(text) for key, text in (content.get("sources") or {}).items()}
    tables = {name: part["cells"] for name, part in content.items() if isinstance(part, Mapping) and "cells" in part}
    rows = [
        {"table": str(table), "row": str(row), "column": str(column),
         **read_cell(cell, sources, f"{path}, {table}, {row}, {column}")}
        for table, by_row in tables.items()
        for row, by_column in by_row.items()
        for column, cell in by_column.items()
    ]
    if not rows:
        raise UserError(f"{path} holds no tables with cells.")
    return Published(path.stem, str(content.get("paper", path.stem)), sources, pd.DataFrame(rows))


def read_cell(cell: Any, sources: Mapping[str, str], where: str) -> dict[str, Any]:
    """{value, source}, checked: a number from 0 to 100 from a source that the file names."""
    found, source = (cell.get("value"), cell.get("source")) if isinstance(cell, Mapping) else (None, None)
    number = float(found) if isinstance(found, int | float) and not isinstance(found, bool) else math.nan
    if not 0 <= number <= 100:
        raise UserError(f"{where}: a reported score needs a value from 0 to 100, not {found!r}.")
    if source not in sources:
        raise UserError(f"{where}: a reported score needs a source out of {', '.join(sources)}, not {source!r}.")
    return {"value": number, "source": str(source)}

"""Scores that someone published, from results/reported/*.yaml: every one with its source, every average with the
columns that it is over, as far as anybody knows them; and which of them stands beside which cell of ours."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.report.definitions import Row, TableDefinition, load_averages, load_definition, make_up, numbers
from mmrope_eval.rope import load_variant, variant_names
from mmrope_eval.util.config import read_mapping
from mmrope_eval.util.paths import project_dir

DEFAULT: Final = "huang2025"
RECOMPUTED: Final = "R"
"""The source of a number that nobody printed."""
RECOMPUTED_WORDS: Final = "recomputed here from the printed numbers of the same table"


@dataclass(frozen=True)
class PublishedNumber:
    """A published number for one cell of ours."""

    value: float
    source: str
    """A letter of `Published.sources`."""
    comparable: bool = True
    """Whether it is over the columns that ours is over."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of a publication."""

    name: str
    number: int | None
    model: str
    """Which models its rows are of; empty where the file does not say."""
    averages: Mapping[str, tuple[str, ...] | None]
    """Average -> the columns that it is over; None where nobody outside knows them."""
    cells: Mapping[str, Mapping[str, tuple[float, str]]] = field(repr=False)
    """row -> column -> (value 0 to 100, source)"""

    def beside(self, row: str, column: str, averages: Mapping[str, tuple[str, ...]]) -> PublishedNumber | None:
        """The number to set beside ours, whose averages are over `averages`; None where there is none.

        An average over other columns than ours is recomputed over ours where all of them are there. Else it is what
        was printed, and not comparable.
        """
        printed = self.cells.get(row, {}).get(column)
        ours = make_up(column, averages)
        if printed is not None and make_up(column, self.averages) == ours:
            return PublishedNumber(*printed)
        if column in averages and (mean := self.recomputed(row, column, averages)) is not None:
            return PublishedNumber(mean, RECOMPUTED)
        return None if printed is None else PublishedNumber(*printed, comparable=False)

    def recomputed(self, row: str, column: str, averages: Mapping[str, tuple[str, ...]]) -> float | None:
        """The mean of a row's own numbers over `averages`; None where one of them is missing.

        A printed average over the same columns stands for them.
        """
        printed = self.cells.get(row, {}).get(column)
        if printed is not None and make_up(column, self.averages) == make_up(column, averages):
            return printed[0]
        parts = [self.recomputed(row, part, averages) for part in averages.get(column, ())]
        numbers = [part for part in parts if part is not None]
        return fmean(numbers) if numbers and len(numbers) == len(parts) else None


@dataclass(frozen=True)
class Published:
    """A publication's scores."""

    name: str
    paper: str
    sources: Mapping[str, str]
    """A source's letter -> what it is."""
    tables: Mapping[str, PublishedTable]
    deviations: tuple[Mapping[str, Any], ...] = ()
    """Printed averages that are not the mean of their printed cells."""
    protocol: str | None = None
    """The protocol (configs/protocols) that the scores were measured under, as far as it is known."""


def load_published(name: str = DEFAULT) -> Published:
    """Published scores by name (a file of results/reported) or by path. UserError when the file is missing or bad."""
    folder = project_dir("results") / "reported"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UserError(f"There are no reported scores '{name}'; choose one of {names}, or the path of a YAML file.")
    content = read_mapping(path)
    sources = {str(key): str(text) for key, text in (content.get("sources") or {}).items()}
    tables: dict[str, PublishedTable] = {}
    for key, part in content.items():
        if isinstance(part, Mapping) and isinstance(part.get("cells"), Mapping):
            tables[str(key)] = read_table(str(key), part, sources, tables, f"{path}, {key}")
    if not any(table.cells for table in tables.values()):
        raise UserError(f"{path} holds no tables with cells.")
    protocol = content.get("protocol")
    return Published(path.stem, str(content.get("paper", path.stem)), {**sources, RECOMPUTED: RECOMPUTED_WORDS}, tables,
                     tuple(content.get("deviations") or ()), None if protocol is None else str(protocol))


def read_table(name: str, content: Mapping[str, Any], sources: Mapping[str, str],
               earlier: Mapping[str, PublishedTable], where: str) -> PublishedTable:
    """One table. Without `averages` they are those of this project's tables; with `groups` those of other tables."""
    cells: dict[str, dict[str, tuple[float, str]]] = {}
    averages: dict[str, tuple[str, ...] | None] = {}
    for group, table in (content.get("groups") or {}).items():
        if table not in earlier:
            raise UserError(f"{where}: group {group} is of the table {table}, which does not stand before it.")
        averages |= {f"{group} {average}": None if parts is None else tuple(f"{group} {part}" for part in parts)
                     for average, parts in earlier[table].averages.items()}
        for row, by_column in earlier[table].cells.items():
            cells.setdefault(row, {}).update({f"{group} {column}": cell for column, cell in by_column.items()})
    if not averages:
        averages = read_averages(content.get("averages"), where)
    for row, by_column in content["cells"].items():
        if not isinstance(by_column, Mapping):
            raise UserError(f"{where}, {row}: a row is a mapping of columns, not {by_column!r}.")
        cells.setdefault(str(row), {}).update({
            str(column): read_cell(cell, content.get("source"), sources, f"{where}, {row}, {column}")
            for column, cell in by_column.items()})
    number = content.get("number")
    return PublishedTable(name, number if isinstance(number, int) else None, str(content.get("model", "")), averages,
                          cells)


def read_averages(content: Any, where: str) -> dict[str, tuple[str, ...] | None]:
    """`averages` of a table: lists of columns, or null."""
    if content is None:
        return dict(load_averages().over)
    if not isinstance(content, Mapping) or not all(part is None or isinstance(part, list) for part in content.values()):
        raise UserError(f"{where}: averages is a mapping of lists of columns, or of null where nobody knows them.")
    return {str(key): None if part is None else tuple(map(str, part)) for key, part in content.items()}


def read_cell(cell: Any, default: Any, sources: Mapping[str, str], where: str) -> tuple[float, str]:
    """(value, source), checked: a number from 0 to 100 from a source that the file names."""
    value, source = (cell.get("value"), cell.get("source", default)) if isinstance(cell, Mapping) else (cell, default)
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 <= number <= 100:
        raise UserError(f"{where}: a reported score needs a value from 0 to 100, not {value!r}.")
    if source not in sources:
        raise UserError(f"{where}: a reported score needs a source out of {', '.join(sources)}, not {source!r}.")
    return number, str(source)


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table, and the variant that it is of; None where that is not known."""

    table: PublishedTable
    row: Row


@functools.cache
def rows_of(table: str) -> Mapping[str, Row] | None:
    """The rows of the project's table of this name, by label; of none, if it has no such table, and None where that is
    not filled by finished runs."""
    if table not in numbers():
        return {}
    definition = load_definition(table)
    return {row.label: row for row in definition.rows} if definition.takes == "runs" else None


def published_rows(published: Published) -> list[PublishedRow]:
    """All rows that finished runs may be held against, table by table: as the project's table of that name has them,
    else the variant that is called so."""
    names = variant_names()
    return [PublishedRow(table, rows.get(label) or Row(label, load_variant(label) if label in names else None))
            for name, table in published.tables.items() if (rows := rows_of(name)) is not None
            for label in table.cells]


def same_models(published: Published, table: PublishedTable) -> bool:
    """Whether a table is about the models that the publication's first table is about."""
    return table.model == next(iter(published.tables.values())).model


def places_of(published: Published, definition: TableDefinition, row: Row,
              base: str) -> list[tuple[PublishedTable, str]]:
    """Where a row's numbers may be: in the published table of this name, row `base`; then in rows of the same design in
    tables about the publication's main models."""
    same_table = published.tables.get(definition.name)
    places = [] if same_table is None else [(same_table, base)]
    if row.key is None or definition.takes != "runs" or definition.groups:
        return places
    if same_table and not same_models(published, same_table):
        return places
    return places + [(alike.table, alike.row.label) for alike in published_rows(published)
                     if alike.row.key == row.key and same_models(published, alike.table)
                     and alike.table is not same_table]


def beside(places: Sequence[tuple[PublishedTable, str]], column: str,
           averages: Mapping[str, tuple[str, ...]]) -> PublishedNumber | None:
    """The number for a cell: what its own table has, else the first that can be compared."""
    numbers = [table.beside(row, column, averages) for table, row in places]
    first = numbers[0] if numbers else None
    return first or next((number for number in numbers if number is not None and number.comparable), None)

"""Which published number stands beside which cell of ours."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmrope_eval.report.definitions import Row, TableDefinition, load_definition, numbers
from mmrope_eval.report.published import Published, PublishedNumber, PublishedTable
from mmrope_eval.rope import load_variant, variant_names


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table, and the variant that it is of; None where that is not known."""

    table: PublishedTable
    row: Row


@functools.cache
def known_rows(table: str) -> Mapping[str, Row]:
    """The rows of a table of the project that finished runs fill, by label; none of another."""
    definition = load_definition(table) if table in numbers() else None
    return {} if definition is None or definition.takes != "runs" else {row.label: row for row in definition.rows}


def takes_runs(table: str) -> bool:
    """Whether finished runs fill a table; so they do one that is none of the project's."""
    return table not in numbers() or load_definition(table).takes == "runs"


def published_rows(published: Published) -> list[PublishedRow]:
    """All rows that finished runs may be held against, table by table."""
    return [PublishedRow(table, row_of(name, label)) for name, table in published.tables.items() if takes_runs(name)
            for label in table.cells]


def row_of(table: str, label: str) -> Row:
    """A published row: as the project's table of that name has it, else the variant that is called so."""
    named = known_rows(table).get(label)
    return named or (Row(label, load_variant(label)) if label in variant_names() else Row(label))


def same_models(published: Published, table: PublishedTable) -> bool:
    """Whether a table is about the models that the publication's first table is about."""
    return table.model == next(iter(published.tables.values())).model


def places_of(
    published: Published, definition: TableDefinition, row: Row, base: str
) -> list[tuple[PublishedTable, str]]:
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

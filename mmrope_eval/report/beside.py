"""Which published number stands beside which cell of ours."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmrope_eval.report.definitions import Row, TableDefinition, load_definition, numbers
from mmrope_eval.report.published import Beside, Published, PublishedTable
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


def published_rows(published: Published) -> Iterator[PublishedRow]:
    """All rows that finished runs may be held against, table by table."""
    for name, table in published.tables.items():
        if not takes_runs(name):
            continue
        for label in table.cells:
            named = Row(label, load_variant(label)) if label in variant_names() else Row(label)
            yield PublishedRow(table, known_rows(name).get(label, named))


def same_models(published: Published, table: PublishedTable) -> bool:
    """Whether a table is about the models that the publication's first table is about."""
    return table.model == next(iter(published.tables.values())).model


def beside(published: Published, definition: TableDefinition, row: Row, base: str, column: str,
           averages: Mapping[str, tuple[str, ...]]) -> Beside | None:
    """The number for a cell: of the published table of this name, row `base`; else of a row of the same design in a
    table about the publication's main models."""
    own = published.tables.get(definition.name)
    found = own.beside(base, column, averages) if own is not None else None
    if found is not None or row.key is None or definition.takes != "runs" or definition.groups:
        return found
    if own is not None and not same_models(published, own):
        return None
    for one in published_rows(published):
        if one.row.key == row.key and same_models(published, one.table):
            found = one.table.beside(one.row.label, column, averages)
            if found is not None and found.comparable:
                return found
    return None

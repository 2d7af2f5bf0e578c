"""A filled table as plain texts, before any format: every format writes the same page in its own way.

People read rounded numbers; formats for machines take the unrounded ones of `Page.table`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmrope_eval.report.table.build import DIGITS, Table
from mmrope_eval.report.table.notes import Note, Place, footnotes, remarks


@dataclass(frozen=True)
class PageCell:
    """One cell in words."""

    score: str
    rank: int | None = None
    """1 for the best of its column, 2 for the second."""
    mark: str = ""
    """The letters of its footnotes: `a,c`."""
    rest: str = ""
    """What the options ask for besides the score: ` (+1.20) [50.10, 61.00]`."""


@dataclass(frozen=True)
class Heading:
    """A row's or column's name, with the letters of its footnotes."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Page:
    """A table before it is written. A line holds one cell a column."""

    table: Table
    title: str
    """With where the table comes from."""
    columns: tuple[Heading, ...]
    categories: tuple[str, ...]
    """Of each column."""
    lines: tuple[tuple[Heading, tuple[PageCell, ...]], ...]
    chance: tuple[PageCell, ...] | None
    """The chance level of each column, where it is shown."""
    footnotes: tuple[tuple[str, Note], ...]
    """(letter, footnote)"""
    remarks: tuple[str, ...]
    down: bool
    """Whether benchmarks go down the page, a line each."""
    crowded: bool
    """Whether cells hold more than their score."""
    notes_left_out: int = 0
    """Footnotes and remarks that were not wanted."""


def page_of(table: Table, *, with_notes: bool = True) -> Page:
    """Every text of a table, the footnotes lettered; or neither letters, footnotes nor remarks, but their number."""
    cells, labels, scored, crowded = table.by_place, table.labels, table.known, table.options.crowded
    categories = table.definition.categories
    found, remarked = tuple(footnotes(table)), tuple(remarks(table))
    notes = tuple(zip(string.ascii_lowercase, found if with_notes else (), strict=False))
    marks = marks_of(table, notes, scored)
    lines = tuple((Heading(row, marks.get((row, None), "")),
                   tuple(page_cell(cells[row, column], marks.get((row, column), ""),
                                   reported=table.options.reported is not None) for column in table.columns))
                  for row in table.rows)
    source = f" ({table.definition.source})" if table.definition.source else ""
    return Page(
        table, f"{table.definition.title}{source}",
        tuple(Heading(labels[column], marks.get((None, column), "")) for column in table.columns),
        tuple(categories[column] for column in table.columns), lines,
        tuple(PageCell(number(chance_of(table, column))) for column in table.columns) if table.options.chance else None,
        notes, remarked if with_notes else (), table.definition.layout == "down", crowded,
        0 if with_notes else len(found) + len(remarked),
    )


def marks_of(table: Table, notes: tuple[tuple[str, Note], ...],
             scored: frozenset[tuple[str, str]]) -> Mapping[Place, str]:
    """Where the letters stand; one that is true of every known cell of a column or row moves to its heading."""
    marks: dict[Place, str] = {}
    for letter, note in notes:
        for place in sorted(gathered(table, note.places, scored), key=str):
            marks[place] = f"{marks[place]},{letter}" if place in marks else letter
    return marks


def gathered(table: Table, places: frozenset[Place], scored: frozenset[tuple[str, str]]) -> set[Place]:
    """Places with whole columns and whole rows replaced by their headings; `known` are the cells with a score."""
    rest = set(places)
    for column in table.columns:
        in_column: set[Place] = {pair for pair in scored if pair[1] == column}
        if in_column and in_column <= rest:
            rest = (rest - in_column) | {(None, column)}
    for row in table.rows:
        in_row: set[Place] = {pair for pair in scored if pair[0] == row}
        if len(in_row) > 1 and in_row <= rest:
            rest = (rest - in_row) | {(row, None)}
    return rest


def number(value: float, *, sign: bool = False) -> str:
    """Two digits with a real minus; an em dash where unknown."""
    if math.isnan(value):
        return "—"
    value = round(value, DIGITS) + 0.0  # no minus before a zero
    text = f"{value:+.{DIGITS}f}" if sign else f"{value:.{DIGITS}f}"
    return text.replace("-", "−")


def page_cell(values: Mapping[str, Any], mark: str, *, reported: bool) -> PageCell:
    """One cell from its line of `Table.cells`."""
    names = ("score", "rank", "delta", "low", "high", "reported", "difference")
    numbers = {name: math.nan if pd.isna(values[name]) else float(values[name]) for name in names}
    rest = "" if math.isnan(numbers["delta"]) else f" ({number(numbers['delta'], sign=True)})"
    if not math.isnan(numbers["low"]):
        rest += f" [{number(numbers['low'])}, {number(numbers['high'])}]"
    if reported:
        rest += f" / {number(numbers['reported'])}"
        if not math.isnan(numbers["difference"]):
            rest += f" ({number(numbers['difference'], sign=True)})"
    rank = None if math.isnan(numbers["rank"]) else int(numbers["rank"])
    return PageCell(number(numbers["score"]), rank, mark, rest)


def chance_of(table: Table, column: str) -> float:
    """A column's chance level, where the rows that know it agree; else not a number."""
    levels = table.cells[table.cells["column"] == column]["chance"].dropna().unique()
    return float(levels[0]) if len(levels) == 1 else math.nan


def records(page: Page) -> pd.DataFrame:
    """`Table.cells` with the kinds of each cell's footnotes."""
    cells = page.table.cells
    kinds = [tuple(note.kind for _, note in page.footnotes
                   if note.places & {(row, column), (row, None), (None, column)})
             for row, column in zip(cells["row"], cells["column"], strict=True)]
    return cells.assign(notes=pd.Series(kinds, index=cells.index, dtype="object"))

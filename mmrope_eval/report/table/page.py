"""A filled table as plain texts, before any format: every format writes the same page in its own way; and what the
formats for people share: the page as a frame of texts with the marks of one format, in the frame of a template.

People read rounded numbers; formats for machines take the unrounded ones of `Page.table`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmrope_eval.report.table.build import CHANCE, DIGITS, Table
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
    crowded: bool
    """Whether cells hold more than their score."""
    notes_left_out: int = 0
    """Footnotes and remarks that were not wanted."""


def page_of(table: Table, *, with_notes: bool = True) -> Page:
    """Every text of a table, the footnotes lettered; or neither letters, footnotes nor remarks, but their number."""
    cells, labels, scored, categories = table.by_place, table.labels, table.known, table.definition.categories
    noted, remarked = tuple(footnotes(table)), tuple(remarks(table))
    notes = tuple(zip(string.ascii_lowercase, noted if with_notes else (), strict=False))
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
        notes, remarked if with_notes else (), table.options.crowded, 0 if with_notes else len(noted) + len(remarked),
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
    """Places with whole columns and whole rows replaced by their headings; `scored` are the cells with a score."""
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


@dataclass(frozen=True)
class Style:
    """How one format writes what tables need."""

    escape: Callable[[str], str]
    best: str
    """A template, `**{}**`."""
    second: str
    mark: Callable[[str], str]
    """A footnote's letters, raised."""


@dataclass(frozen=True)
class Styled:
    """A page's texts in one format."""

    frame: pd.DataFrame
    """Variants by columns, or turned: then its index has two levels, categories and names."""
    title: str
    notes: tuple[tuple[str, str], ...]
    """(letter, text) of the footnotes; the letter is not raised."""
    remarks: tuple[str, ...]

    @property
    def note_lines(self) -> list[tuple[str, str]]:
        """(mark, text) of footnotes, then of remarks, which have no mark."""
        return [*self.notes, *(("", remark) for remark in self.remarks)]


def styled(page: Page, style: Style) -> Styled:
    """A page's texts, escaped and marked."""
    chance = page.chance or ()
    cells = [*chance, *(cell for _, line in page.lines for cell in line)]
    headings = [*page.columns, *(heading for heading, _ in page.lines)]
    plain = [page.title, *(note.text for _, note in page.footnotes), *page.remarks, *page.categories,
             *(heading.text for heading in headings), *(text for cell in cells for text in (cell.score, cell.rest))]
    escaped = {text: style.escape(text) for text in dict.fromkeys(plain)}
    letters = dict.fromkeys([*(heading.mark for heading in headings), *(cell.mark for cell in cells)])
    marks = {mark: style.mark(mark) for mark in letters if mark}

    def heading_text(heading: Heading) -> str:
        return escaped[heading.text] + marks.get(heading.mark, "")

    def cell_text(cell: PageCell) -> str:
        score = escaped[cell.score]
        if cell.rank is not None:
            score = (style.best if cell.rank == 1 else style.second).format(score)
        return score + marks.get(cell.mark, "") + escaped[cell.rest]

    lines = {heading_text(heading): [cell_text(cell) for cell in line] for heading, line in page.lines}
    if page.chance is not None:
        lines = {CHANCE: [cell_text(cell) for cell in page.chance], **lines}
    names = [heading_text(heading) for heading in page.columns]
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=names)
    if page.table.definition.layout == "down":
        frame = frame.T
        frame.index = pd.MultiIndex.from_arrays([[escaped[category] for category in page.categories], names])
    notes = tuple((letter, escaped[note.text]) for letter, note in page.footnotes)
    return Styled(frame, escaped[page.title], notes, tuple(escaped[remark] for remark in page.remarks))


def fill(template: str, **values: object) -> str:
    """A template filled; its marks are << >> and <% %>, since LaTeX has braces of its own."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(block_start_string="<%", block_end_string="%>", variable_start_string="<<",
                              variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
                              undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(**values)

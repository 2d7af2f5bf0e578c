"""A filled table as markdown, LaTeX, HTML, CSV or JSON. People read rounded numbers; machines get unrounded ones."""

from __future__ import annotations

import html
import json
import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from mmrope_eval.report import markdown_text
from mmrope_eval.report.csv_text import csv_text
from mmrope_eval.report.table.build import CHANCE, DIGITS, Table
from mmrope_eval.report.table.notes import Note, Place, footnotes, remarks

FORMATS: Final = ("markdown", "latex", "csv", "html", "json")

_LATEX_SPECIAL: Final = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---", "−": "$-$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", **{one: f"\\{one}" for one in "&%$#_{}"},
}


@dataclass(frozen=True)
class Style:
    """How one format writes what tables need."""

    escape: Callable[[str], str]
    best: str
    second: str
    mark: Callable[[str], str]


def latex_escape(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_LATEX_SPECIAL.get(one, one) for one in text).replace("--", "-{}-").replace("-{}--", "---")


def superscript(letters: str) -> str:
    """Letters as small raised ones; markdown has no other way that survives every renderer."""
    return letters.translate(str.maketrans(string.ascii_lowercase, "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ𐞥ʳˢᵗᵘᵛʷˣʸᶻ"))


STYLES: Final = {
    "markdown": Style(markdown_text.escape, "**{}**", "<ins>{}</ins>", superscript),
    "latex": Style(latex_escape, r"\textbf{{{}}}", r"\underline{{{}}}", r"\textsuperscript{{{}}}".format),
    "html": Style(html.escape, "<b>{}</b>", "<u>{}</u>", "<sup>{}</sup>".format),
}


@dataclass(frozen=True)
class Marked:
    """Footnotes with their letters, and where the letters stand."""

    notes: tuple[tuple[str, Note], ...]
    letters: dict[Place, str]

    @classmethod
    def of(cls, table: Table) -> Marked:
        """Letter the footnotes; one that is true of every known cell of a column or row moves to its heading."""
        notes = tuple(zip(string.ascii_lowercase, footnotes(table), strict=False))
        letters: dict[Place, str] = {}
        for letter, note in notes:
            for place in sorted(gathered(table, note.places), key=str):
                letters[place] = f"{letters[place]},{letter}" if place in letters else letter
        return cls(notes, letters)


def gathered(table: Table, places: frozenset[Place]) -> set[Place]:
    """Places with whole columns and whole rows replaced by their headings."""
    known = table.cells[table.cells["score"].notna()]
    pairs = set(zip(known["row"], known["column"], strict=True))
    rest = set(places)
    for column in table.columns:
        whole: set[Place] = {pair for pair in pairs if pair[1] == column}
        if whole and whole <= rest:
            rest = (rest - whole) | {(None, column)}
    for row in table.rows:
        mine: set[Place] = {pair for pair in pairs if pair[0] == row}
        if len(mine) > 1 and mine <= rest:
            rest = (rest - mine) | {(row, None)}
    return rest


def number(value: float, *, sign: bool = False) -> str:
    """Two digits with a real minus; an em dash where unknown."""
    if math.isnan(value):
        return "—"
    value = round(value, DIGITS) + 0.0  # no minus before a zero
    text = f"{value:+.{DIGITS}f}" if sign else f"{value:.{DIGITS}f}"
    return text.replace("-", "−")


def cell_text(table: Table, row: str, column: str, marked: Marked, style: Style) -> str:
    """One cell: score, and what else the options ask for."""
    cell = table.cell(row, column)
    score = style.escape(number(cell["score"]))
    if not pd.isna(cell["rank"]):
        score = (style.best if cell["rank"] == 1 else style.second).format(score)
    letters = marked.letters.get((row, column))
    text = score + (style.mark(letters) if letters else "")
    if not pd.isna(cell["delta"]):
        text += f" ({style.escape(number(cell['delta'], sign=True))})"
    if not pd.isna(cell["low"]):
        text += f" [{style.escape(number(cell['low']))}, {style.escape(number(cell['high']))}]"
    if table.options.reported is not None:
        text += f" / {style.escape(number(cell['reported']))}"
        if not pd.isna(cell["difference"]):
            text += f" ({style.escape(number(cell['difference'], sign=True))})"
    return text


def heading(name: str, place: Place, marked: Marked, style: Style) -> str:
    """A row's or column's name with its marks."""
    letters = marked.letters.get(place)
    return style.escape(name) + (style.mark(letters) if letters else "")


def wide(table: Table, marked: Marked, style: Style) -> pd.DataFrame:
    """The table as people read it: variants by columns, or turned, with a line of chance levels."""
    lines = {heading(row, (row, None), marked, style): [cell_text(table, row, column, marked, style)
                                                        for column in table.columns] for row in table.rows}
    if table.options.chance:
        levels = [chance_of(table, column) for column in table.columns]
        lines = {CHANCE: [style.escape(number(level)) for level in levels], **lines}
    definition = table.definition
    names = [heading(table.label(column), (None, column), marked, style) for column in table.columns]
    found = pd.DataFrame.from_dict(lines, orient="index", columns=names)
    if definition.layout == "across":
        return found
    found = found.T
    categories = [style.escape(definition.category(column)) for column in table.columns]
    found.index = pd.MultiIndex.from_arrays([categories, names])
    return found


def chance_of(table: Table, column: str) -> float:
    """A column's chance level, where the rows that know it agree."""
    levels = table.cells[table.cells["column"] == column]["chance"].dropna().unique()
    return float(levels[0]) if len(levels) == 1 else float("nan")


def render(table: Table, form: str, *, standalone: bool = False) -> str:
    """The table in one of FORMATS; `standalone` makes LaTeX a document of its own."""
    marked = Marked.of(table)
    if form == "json":
        return as_json(table, marked)
    if form == "csv":
        return as_csv(table, marked)
    if form == "markdown":
        return as_markdown(table, marked)
    from mmrope_eval.report.table import page

    return page.latex(table, marked, standalone) if form == "latex" else page.html_page(table, marked)


def as_markdown(table: Table, marked: Marked) -> str:
    """A pipe table, its footnotes and remarks."""
    style = STYLES["markdown"]
    frame = wide(table, marked, style)
    if isinstance(frame.index, pd.MultiIndex):
        categories, names = (list(frame.index.get_level_values(level)) for level in (0, 1))
        before = ["", *categories]
        frame.index = pd.Index([one if one != last else "" for one, last in zip(categories, before, strict=False)])
        frame.insert(0, "", names)
    side = "left" if table.options.crowded else "right"
    align = ["left" if name == "" else side for name in ["", *frame.columns]]
    body = frame.to_markdown(tablefmt="pipe", colalign=align, disable_numparse=True)
    notes = [f"- {style.mark(letter)} {style.escape(note.text)}" for letter, note in marked.notes]
    said = [f"- {style.escape(remark)}" for remark in remarks(table)]
    head = f"**{style.escape(title(table))}**"
    return "\n".join([head, "", str(body), "", *notes, *said])


def title(table: Table) -> str:
    """The table's title and where it comes from."""
    source = f" ({table.definition.source})" if table.definition.source else ""
    return f"{table.definition.title}{source}"


def records(table: Table, marked: Marked) -> pd.DataFrame:
    """`Table.cells` with the kinds of each cell's footnotes."""
    kinds = [
        tuple(note.kind for _, note in marked.notes
              if note.places & {(row, column), (row, None), (None, column)})
        for row, column in zip(table.cells["row"], table.cells["column"], strict=True)
    ]
    return table.cells.assign(notes=pd.Series(kinds, index=table.cells.index, dtype="object"))


def as_csv(table: Table, marked: Marked) -> str:
    """One line per row and column, unrounded; lists are joined by semicolons, unknown is empty."""
    frame = records(table, marked)
    for name in frame.columns:
        if frame[name].map(lambda one: isinstance(one, tuple)).any():
            frame[name] = frame[name].map(";".join)
    return csv_text(frame)


def as_json(table: Table, marked: Marked) -> str:
    """Everything: definition, cells, footnotes and remarks; unknown is null."""
    cells = [{str(key): plain(value) for key, value in row.items()}
             for row in records(table, marked).to_dict("records")]
    content = {
        "table": table.definition.name, "title": table.definition.title, "source": table.definition.source,
        "rows": table.rows, "columns": table.columns, "averages": table.averages, "baseline": table.baseline,
        "level": table.options.level,
        "reported": table.options.reported.name if table.options.reported else None,
        "cells": cells,
        "notes": [{"mark": letter, "kind": note.kind, "text": note.text,
                   "places": [list(place) for place in sorted(note.places, key=str)]}
                  for letter, note in marked.notes],
        "remarks": remarks(table),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    if value is None or pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def align_of(table: Table, frame: pd.DataFrame) -> str:
    """LaTeX's letters for the frame's columns: numbers flush right, cells that begin with a number flush left."""
    return "l" * frame.index.nlevels + ("l" if table.options.crowded else "r") * frame.shape[1]


def note_lines(table: Table, marked: Marked, style: Style) -> Sequence[tuple[str, str]]:
    """(mark, text) of footnotes, then of remarks, which have no mark."""
    noted = [(letter, style.escape(note.text)) for letter, note in marked.notes]
    return [*noted, *(("", style.escape(remark)) for remark in remarks(table))]

"""What the formats for people share: a page as a frame of texts, written with the marks of one format, in the
frame of a template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, StrictUndefined

from mmrope_eval.report.table.build import CHANCE
from mmrope_eval.report.table.page import Heading, Page, PageCell


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
    if page.down:
        frame = frame.T
        frame.index = pd.MultiIndex.from_arrays([[escaped[category] for category in page.categories], names])
    notes = tuple((letter, escaped[note.text]) for letter, note in page.footnotes)
    return Styled(frame, escaped[page.title], notes, tuple(escaped[remark] for remark in page.remarks))


def fill(template: str, **values: object) -> str:
    """A template filled; its marks are << >> and <% %>, since LaTeX has braces of its own."""
    environment = Environment(block_start_string="<%", block_end_string="%>", variable_start_string="<<",
                              variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
                              undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(**values)

"""Titled tables with notes, printed as text, markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from mmrope_eval.report.csv_text import guard
from mmrope_eval.report.markdown_text import escape

Row = dict[str, Any]
UNKNOWN = "—"


@dataclass(frozen=True)
class Section:
    """One table: raw values for machines, and a function that makes a raw row readable."""

    name: str
    title: str
    rows: Sequence[Row]
    show: Callable[[Row], Row]
    keys: tuple[str, ...]
    """Columns that name a row."""
    notes: tuple[str, ...] = ()


def render(sections: Sequence[Section], form: str, header: Sequence[str], about: Mapping[str, Any]) -> str:
    """All sections in one of the formats text, markdown, csv, json; `about` is JSON's counterpart of the header."""
    if form == "json":
        content = {**about, **{s.name: {"notes": list(s.notes), "rows": list(s.rows)} for s in sections}}
        return json.dumps(content, indent=2, ensure_ascii=False)
    return as_csv(sections) if form == "csv" else as_text(sections, header, markdown=form == "markdown")


def as_text(sections: Sequence[Section], header: Sequence[str], *, markdown: bool) -> str:
    """Tables for reading. Numbers are written already: tabulate must not read them again."""
    lines = [f"{line}  " if markdown else line for line in header]
    for section in sections:
        shown = [section.show(row) for row in section.rows]
        names = list(shown[0])
        align = ["left" if isinstance(shown[0][name], str) and not _numeric(shown, name) else "right" for name in names]
        rows = [[escape(cell) if markdown and isinstance(cell, str) else cell for cell in row.values()]
                for row in shown]  # fmt: skip
        table = tabulate(rows, headers=names, tablefmt="github" if markdown else "simple", colalign=align,
                         disable_numparse=True)
        lines += ["", f"### {section.title}" if markdown else section.title, "", table, ""]
        lines += [f"- {note}" if markdown else f"  {note}" for note in section.notes]
    return "\n".join(lines).rstrip()


def as_csv(sections: Iterable[Section]) -> str:
    """One long table: section, the row's name, quantity, value; an unknown is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["section", "variant", "item", "quantity", "value"])
    for section in sections:
        for row in section.rows:
            variant, *others = (row[key] for key in section.keys)
            for name, value in row.items():
                if name not in section.keys:
                    cells = (section.name, variant, " ".join(map(str, others)), name, value)
                    writer.writerow(map(guard, cells))
    return out.getvalue().rstrip("\n")


def _numeric(rows: Sequence[Row], name: str) -> bool:
    cells = [str(row[name]) for row in rows]
    return any(c[-1:].isdigit() for c in cells) and all(c == UNKNOWN or c.strip("+-")[:1].isdigit() for c in cells)


def yes_or_no(verdict: bool, why_not: str = "") -> str:
    """A verdict in words."""
    return "yes" if verdict else f"no ({why_not})" if why_not else "no"


def dash(value: float | None, form: str = "") -> str:
    """A number in the given format; an unknown is an em dash."""
    return UNKNOWN if value is None else format(value, form)


def percent(share: float | None, digits: int = 0) -> str:
    """A share of one as a percentage without its sign."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f}"

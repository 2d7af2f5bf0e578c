"""The register of a table's formats. A format is a module with a function `write` (see `Writer`), and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Format:
    """Where a format is written."""

    module: str
    """The full name of its module, imported when a table is written."""
    standalone: bool = False
    """Whether it can write a document of its own."""


FORMATS: Final[Mapping[str, Format]] = MappingProxyType({
    "markdown": Format("mmrope_eval.report.table.as_markdown"),
    "latex": Format("mmrope_eval.report.table.as_latex", standalone=True),
    "csv": Format("mmrope_eval.report.table.as_csv"),
    "html": Format("mmrope_eval.report.table.as_html"),
    "json": Format("mmrope_eval.report.table.as_json"),
})
"""By the names that `--format` takes."""

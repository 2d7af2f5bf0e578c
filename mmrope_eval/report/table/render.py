"""A filled table in one of the formats of the register."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from mmrope_eval.report.formats import FORMATS, Format
from mmrope_eval.report.table.build import Table
from mmrope_eval.report.table.page import Page, page_of


class Writer(Protocol):
    """The module of a format."""

    def write(self, page: Page, standalone: bool) -> str:
        """The table as text; `standalone` is true only where the register says that the format can be so."""


def render(table: Table, form: str, *, standalone: bool = False, formats: Mapping[str, Format] = FORMATS) -> str:
    """The table in the format of this name (see `written`)."""
    return written(page_of(table), form, standalone=standalone, formats=formats)


def written(page: Page, form: str, *, standalone: bool = False, formats: Mapping[str, Format] = FORMATS) -> str:
    """The page in the format of this name; `standalone` makes a document of its own. KeyError for another name,
    ValueError for `standalone` where the format has no documents."""
    chosen = formats[form]
    if standalone and not chosen.standalone:
        raise ValueError(f"{form} has no documents of its own")
    writer = cast("Writer", importlib.import_module(chosen.module))
    return writer.write(page, standalone)

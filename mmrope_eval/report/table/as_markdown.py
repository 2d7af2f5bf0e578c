"""A pipe table of markdown, its footnotes and remarks."""

from __future__ import annotations

import string
from typing import Final

import pandas as pd

from mmrope_eval.report.markdown_text import escape
from mmrope_eval.report.table.page import Page, Style, styled


def superscript(letters: str) -> str:
    """Letters as small raised ones; markdown has no other way that survives every renderer."""
    return letters.translate(str.maketrans(string.ascii_lowercase, "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ𐞥ʳˢᵗᵘᵛʷˣʸᶻ"))


STYLE: Final = Style(escape, "**{}**", "<ins>{}</ins>", superscript)


def write(page: Page, standalone: bool) -> str:
    """Write the page as a table of markdown; `standalone` changes nothing."""
    content = styled(page, STYLE)
    frame = content.frame
    if page.table.definition.layout == "down":
        categories, names = (list(frame.index.get_level_values(level)) for level in (0, 1))
        before = ["", *categories]
        frame.index = pd.Index([category if category != last else "" for category, last in zip(categories, before,
                                                                                                strict=False)])
        frame.insert(0, "", names)
    side = "left" if page.crowded else "right"
    align = ["left" if name == "" else side for name in ["", *frame.columns]]
    body = frame.to_markdown(tablefmt="pipe", colalign=align, disable_numparse=True)
    notes = [f"- {superscript(letter)} {text}" for letter, text in content.notes]
    remarks = [f"- {remark}" for remark in content.remarks]
    return "\n".join([f"**{content.title}**", "", str(body), "", *notes, *remarks])

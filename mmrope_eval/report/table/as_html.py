"""An HTML page through pandas' Styler."""

from __future__ import annotations

import html
from typing import Final

from mmrope_eval.report.table.page import Page, Style, fill, styled

HTML: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title><< caption >></title></head>
<body>
<< table >>
<div style="font-size: small">
<% for mark, text in notes -%>
<p><% if mark %><sup><< mark >></sup> <% endif %><< text >></p>
<% endfor -%>
</div>
</body>
</html>
"""

STYLE: Final = Style(html.escape, "<b>{}</b>", "<u>{}</u>", "<sup>{}</sup>".format)


def write(page: Page, standalone: bool) -> str:
    """A page with the table and its notes; never `standalone`, which it is already."""
    content = styled(page, STYLE)
    side = "left" if page.crowded else "right"
    styler = content.frame.style.set_caption(content.title).set_table_styles([
        {"selector": "", "props": "border-collapse: collapse; border-bottom: 1px solid"},
        {"selector": "td", "props": "padding: 0.1em 0.6em; white-space: nowrap; font-variant-numeric: tabular-nums"},
        {"selector": "th", "props": "padding: 0.1em 0.6em; white-space: nowrap; text-align: left; vertical-align: top"},
        {"selector": "td, th.col_heading", "props": f"text-align: {side}"},
        {"selector": "sup", "props": "line-height: 0"},
        {"selector": "tbody tr:first-child > *, tbody tr:has(th.level1):has(th.level0) > *",
         "props": "border-top: 1px solid"},
        {"selector": "tbody tr:hover", "props": "background: #f2f2f2"},
    ])
    return fill(HTML, caption=content.title, table=styler.to_html(), notes=content.note_lines)

"""LaTeX and HTML through pandas' Styler; the frame around the table is a jinja2 template."""

from __future__ import annotations

import re
from typing import Final

from jinja2 import Environment, StrictUndefined

from mmrope_eval.report.table.build import Table
from mmrope_eval.report.table.latex_letters import advice, fonts_for, foreign_letters
from mmrope_eval.report.table.render import STYLES, Marked, align_of, note_lines, title, wide

LATEX: Final = r"""
<%- if advice -%>
% << advice >>
<% endif -%>
<% if standalone -%>
\documentclass{article}
<% if advice -%>
\ifdefined\pdftexversion\errmessage{Compile this with lualatex or xelatex}\fi
\usepackage{fontspec}
% the first of these fonts that is there; with none of them the letters are missing
\def\tryfont#1{\ifdefined\fontfound\else\IfFontExistsTF{#1}{\setmainfont{#1}\def\fontfound{}}{}\fi}
<% for font in fonts -%>
\tryfont{<< font >>}
<% endfor -%>
<% else -%>
\usepackage[utf8]{inputenc}
<% endif -%>
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=1.5cm]{geometry}
\begin{document}
<% else -%>
% needs \usepackage{booktabs} and \usepackage{graphicx}
<% endif -%>
\begin{table}[t]
\centering
\caption{<< caption >>}
\label{tab:<< label >>}
% as wide as it is, but no wider than the text
\resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{%
<< tabular >>}
\par\smallskip
\begin{minipage}{\linewidth}
\footnotesize
<% for mark, text in notes -%>
<% if mark %>\textsuperscript{<< mark >>}~<% endif %><< text >>\par
<% endfor -%>
\end{minipage}
\end{table}
<% if standalone -%>
\end{document}
<% endif -%>
"""

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


def fill(template: str, **values: object) -> str:
    """A template filled; its marks are << >> and <% %>, since LaTeX has braces of its own."""
    environment = Environment(block_start_string="<%", block_end_string="%>", variable_start_string="<<",
                              variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
                              undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(**values)


def latex(table: Table, marked: Marked, standalone: bool) -> str:
    """A table environment with booktabs' rules, or a whole document."""
    style = STYLES["latex"]
    frame = wide(table, marked, style)
    grouped = frame.index.nlevels > 1
    tabular = frame.style.to_latex(hrules=True, column_format=align_of(table, frame), multirow_align="naive",
                                   clines="skip-last;data" if grouped else None)
    # pandas rules off groups with \\cline, which booktabs' spacing does not suit, and once too often.
    tabular = re.sub(r"\\cline\{[\d-]+\}\s*\\bottomrule", r"\\bottomrule", tabular)
    tabular = re.sub(r"\\cline\{[\d-]+\}", r"\\midrule", tabular)
    content = {"caption": style.escape(title(table)), "tabular": tabular.strip(),
               "notes": note_lines(table, marked, style)}
    letters = foreign_letters(f"{content['caption']}{tabular}{content['notes']}")
    return fill(LATEX, standalone=standalone, label=table.definition.name, advice=advice(letters) if letters else "",
                fonts=fonts_for(letters), **content)


def html_page(table: Table, marked: Marked) -> str:
    """A page with the table and its notes."""
    style = STYLES["html"]
    frame = wide(table, marked, style)
    caption, side = style.escape(title(table)), "left" if table.options.crowded else "right"
    styler = frame.style.set_caption(caption).set_table_styles([
        {"selector": "", "props": "border-collapse: collapse; border-bottom: 1px solid"},
        {"selector": "td", "props": "padding: 0.1em 0.6em; white-space: nowrap; font-variant-numeric: tabular-nums"},
        {"selector": "th", "props": "padding: 0.1em 0.6em; white-space: nowrap; text-align: left; vertical-align: top"},
        {"selector": "td, th.col_heading", "props": f"text-align: {side}"},
        {"selector": "sup", "props": "line-height: 0"},
        {"selector": "tbody tr:first-child > *, tbody tr:has(th.level1):has(th.level0) > *",
         "props": "border-top: 1px solid"},
        {"selector": "tbody tr:hover", "props": "background: #f2f2f2"},
    ])
    return fill(HTML, caption=caption, table=styler.to_html(), notes=note_lines(table, marked, style))

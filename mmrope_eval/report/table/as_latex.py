"""LaTeX through pandas' Styler: a table environment with booktabs' rules, or a whole document; and
the letters that pdflatex does not know."""

from __future__ import annotations

import re
from typing import Final

from mmrope_eval.report.table.page import Page, Style, fill, styled

_SPECIAL: Final = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---", "−": "$-$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}

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
<% if notes -%>
\par\smallskip
\begin{minipage}{\linewidth}
\footnotesize
<% for mark, text in notes -%>
<% if mark %>\textsuperscript{<< mark >>}~<% endif %><< text >>\par
<% endfor -%>
\end{minipage}
<% endif -%>
\end{table}
<% if standalone -%>
\end{document}
<% endif -%>
"""


def latex_escape(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text).replace("--", "-{}-").replace("-{}--", "---")


STYLE: Final = Style(latex_escape, r"\textbf{{{}}}", r"\underline{{{}}}", r"\textsuperscript{{{}}}".format)


def write(page: Page, standalone: bool) -> str:
    """A table environment, or a whole document."""
    content = styled(page, STYLE)
    frame = content.frame
    # Numbers flush right, cells that begin with a number flush left.
    align = "l" * frame.index.nlevels + ("l" if page.crowded else "r") * frame.shape[1]
    tabular = frame.style.to_latex(hrules=True, column_format=align, multirow_align="naive",
                                   clines="skip-last;data" if page.table.definition.layout == "down" else None)
    # pandas rules off groups with \\cline, which booktabs' spacing does not suit, and once too often.
    tabular = re.sub(r"\\cline\{[\d-]+\}\s*\\bottomrule", r"\\bottomrule", tabular)
    tabular = re.sub(r"\\cline\{[\d-]+\}", r"\\midrule", tabular)
    notes = content.note_lines
    letters = foreign_letters(f"{content.title}{tabular}{notes}")
    return fill(LATEX, standalone=standalone, label=page.table.definition.name, caption=content.title,
                tabular=tabular.strip(), notes=notes, advice=advice(letters) if letters else "",
                fonts=fonts_for(letters))


_UNKNOWN: Final = frozenset("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")
"""Of Latin-1 and Latin Extended-A, in the encoding that LaTeX begins with: found by compiling each (TeX Live 2022)."""
_KNOWN_MARKS: Final = frozenset("–—‘’“”…†‡•€™")
_WIDE: Final = (0x2E80, 0xFFEF)
"""Between these lie the letters of Chinese, Japanese and Korean."""
WIDE_FONTS: Final = ("Noto Serif CJK SC", "Source Han Serif SC", "Noto Sans CJK SC", "HaranoAjiMincho-Regular",
                     "FandolSong-Regular")  # fmt: skip
OTHER_FONTS: Final = ("CMU Serif", "Noto Serif", "FreeSerif", "DejaVu Serif")


def foreign_letters(text: str) -> str:
    """The characters of a text that pdflatex does not know, each once."""
    return "".join(dict.fromkeys(letter for letter in text if not letter.isascii() and letter not in _KNOWN_MARKS
                                 and (letter in _UNKNOWN or not "\xa0" <= letter <= "\u017f")))


def fonts_for(letters: str) -> tuple[str, ...]:
    """Fonts that have such letters; a document takes the first that is there."""
    wide = any(_WIDE[0] <= ord(letter) <= _WIDE[1] or ord(letter) >= 0x20000 for letter in letters)
    return WIDE_FONTS if wide else OTHER_FONTS


def advice(letters: str) -> str:
    """What to say of them."""
    shown = letters if len(letters) <= 12 else f"{letters[:12]}..."
    return f"pdflatex does not know {shown}: compile this with lualatex or xelatex"

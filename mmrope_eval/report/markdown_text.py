"""Text as markdown shows it, whatever a name holds: GitHub's markdown, in tables, lists and running text."""

from __future__ import annotations

import re
from typing import Final

_MARKS: Final = re.compile(
    r"""
      \\(?=[!-/:-@\[-`{-~]|$)    # a backslash that would take the next character's meaning: of a pipe, a cell's end
    | [|*`<~]                    # a cell's end, emphasis, code, HTML, a line through
    | (?<![^\W_])_ | _(?![^\W_]) # emphasis, which does not begin or end inside a word
    | \](?=[(\[])                # a link or a picture
    | &(?=\#?\w+;)               # a character by its name
    """,
    re.VERBOSE,
)


def escape(text: str) -> str:
    """The text on one line, with every mark of markdown as the character that it is."""
    return _MARKS.sub(lambda match: f"\\{match[0]}", text.replace("\n", " "))


def code(text: str) -> str:
    """The text as a span of code: between more backticks than stand together in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    inner = f" {text} " if text.startswith("`") or text.endswith("`") else text
    return f"{fence}{inner}{fence}"

"""Text from files and arguments, made fit for a line that a person reads, and the nearest name for a did-you-mean."""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]"
)
"""What acts on a terminal or cannot be written: controls (escape sequences begin with one), marks that turn the
direction of writing or break a line, halves of surrogate pairs, and what is not seen at all, with which two names
look like one. The joiners stay, without which Persian and Hindi are not spelled right."""
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str, keep: str = "") -> str:
    """The text with every character that acts instead of being read as its escape: a line's end as `\\n`.

    Characters of `keep` stay. The escapes are JSON's, so JSON stays the JSON that it was.
    """
    def escape(match: re.Match[str]) -> str:
        units = match[0].encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
        return match[0] if match[0] in keep else _SHORT.get(match[0], "".join(f"\\u{unit}" for unit in units))

    return _HIDDEN.sub(escape, text)


def flat(value: object, most: int | None = None) -> str:
    """What an exception or a text says on one line, each run of white space a blank; its first `most` characters."""
    return " ".join(str(value).split())[:most]


def shortened(text: str, most: int) -> str:
    """The text on one line, visible and cut to `most` characters; three dots stand for what was cut."""
    # Cut first: nobody waits for escapes in a text of megabytes of which a line is shown.
    line = visible(flat(text[: 8 * most]))
    return line if len(line) <= most and len(text) <= 8 * most else f"{line[: most - 3]}..."


def shown(value: object) -> str:
    """A value as a sentence can hold it: on one line and short, whatever a file made of it."""
    brief = reprlib.Repr()
    brief.maxlevel, brief.maxstring, brief.maxother = 3, 200, 200
    try:
        return visible(flat(brief.repr(value)))
    except ValueError:  # Python prints no integer of more than 4300 digits
        return "a number of thousands of digits"


def nearest(name: str, names: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Of names the one that is closest in any letter case, or None where none is close."""
    spelled = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), list(spelled), n=1, cutoff=cutoff)
    return spelled[close[0]] if close else None


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 row, 2,000 rows."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ended(text: str) -> str:
    """The sentence with a full stop, where it does not end by itself."""
    return text if text.endswith(("?", ".")) else f"{text}."


def one_line(name: str) -> str:
    """A name of a foreign file: a tensor's, a file's."""
    return name if name.isprintable() else repr(name)


def mended(path: Path, otherwise: str) -> str:
    """What helps where a file cannot be read: if the system forbids it, a new copy would be no better."""
    return "make it readable" if path.exists() and not os.access(path, os.R_OK) else otherwise


def first_few(names: Sequence[str], count: int = 3) -> str:
    """The first few of many names, and how many there are."""
    listed = ", ".join(one_line(name) for name in names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more ({len(names)} in all)"


def size_text(size: int) -> str:
    """A size in the largest unit that leaves a number of at least one."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"

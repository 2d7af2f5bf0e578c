"""Which letters pdflatex does not know, and what a document needs that has them."""

from __future__ import annotations

from typing import Final

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
    return "".join(dict.fromkeys(letter for letter in text if not _known(letter)))


def _known(letter: str) -> bool:
    return letter.isascii() or (("\xa0" <= letter <= "\u017f" and letter not in _UNKNOWN) or letter in _KNOWN_MARKS)


def fonts_for(letters: str) -> tuple[str, ...]:
    """Fonts that have such letters; a document takes the first that is there."""
    wide = any(_WIDE[0] <= ord(letter) <= _WIDE[1] or ord(letter) >= 0x20000 for letter in letters)
    return WIDE_FONTS if wide else OTHER_FONTS


def advice(letters: str) -> str:
    """What to say of them."""
    shown = letters if len(letters) <= 12 else f"{letters[:12]}..."
    return f"pdflatex does not know {shown}: compile this with lualatex or xelatex"

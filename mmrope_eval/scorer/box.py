"""The box that a response gives: the first four numbers which it writes as one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from mmrope_eval.scorer.answer_part import MINUS, answer_part, final_contents, without_html

Box = tuple[float, float, float, float]

NUMBER: Final = r"[-+]?(?:\d{1,9}(?:\.\d{1,12})?|\.\d{1,12})"
_VALUE: Final = rf"\"?({NUMBER})(?:\s?(?:px|pixels?|%)(?![\w]))?\"?(?:\s?(?:px|pixels?)(?![\w]))?"
_EDGE_BEFORE, _EDGE_AFTER = r"(?<![\w.+-])", r"(?![\w.]*\w)"
_COMMA: Final = r"\s{0,9}(?:[,;|/](?:\s?and\b)?|\band\b)\s{0,9}"
_POINTS: Final = r"\s{0,9}[)\]>]\s{0,9}(?:[,;]|[-–—→]>?|\b(?:and|to|bis|à|和|到|至)\b|至|到|和)?\s{0,9}[(\[<]\s{0,9}"
_LIST: Final = re.compile(
    rf"{_EDGE_BEFORE}{_VALUE}{_COMMA}{_VALUE}(?:{_COMMA}|{_POINTS}){_VALUE}{_COMMA}{_VALUE}{_EDGE_AFTER}"
    rf"|[\[(<{{]\s{{0,9}}{_VALUE}\s{{1,9}}{_VALUE}\s{{1,9}}{_VALUE}\s{{1,9}}{_VALUE}\s{{0,9}}[\])>}}]"
)
# Four numbers and nothing else in a line or behind a word that announces them: "100 200 300 400".
_BARE: Final = re.compile(
    rf"(?m)(?:^|[:=>]|\b(?:is|are|at|box|bbox"
    rf"|coordinates)\b)[^\S\n]{{0,9}}{_VALUE}\s{{1,9}}{_VALUE}\s{{1,9}}{_VALUE}\s{{1,9}}{_VALUE}"
    r"[^\S\n]{0,9}(?:[.,;]?$|<|[.,;]\s(?!\s{0,9}\d))"
)
_POINT: Final = (
    rf"[(\[<{{]\s{{0,9}}(?:\"?x\d?\"?\s?[:=]\s?)?{_VALUE}\s{{0,9}}[,;\s]\s{{0,9}}"
    rf"(?:\"?y\d?\"?\s?[:=]\s?)?{_VALUE}\s{{0,9}}[)\]>}}]"
)
_PAIR: Final = rf"(?:{_POINT}|{_VALUE}{_COMMA}{_VALUE}{_EDGE_AFTER})"
_FIRST_CORNER: Final = (
    r"(?:(?:top|upper)[\s_-]?left|left[\s_-]?(?:top|upper)|(?:first|start(?:ing)?) (?:corner|point)|左上角?"
    r"|\btl\b|oben links|links oben|(?:corner|point) ?1\b|starting (?:at|from))"
)
_LAST_CORNER: Final = (
    r"(?:(?:bottom|lower)[\s_-]?right|right[\s_-]?(?:bottom|lower)|(?:second|end(?:ing)?"
    r"|opposite) (?:corner|point)|右下角?|\bbr\b|unten rechts|rechts unten|(?:corner|point) ?2\b|ending (?:at|in))"
)
_CORNERS: Final = re.compile(
    rf"{_FIRST_CORNER}[^\d\[({{]{{0,60}}{_PAIR}[^\d]{{0,80}}?{_LAST_CORNER}[^\d\[({{]{{0,60}}{_PAIR}"
    # Two points, said to be a box's: "from (100, 200) to (300, 400)".
    rf"|{_POINT}\s{{0,9}}[,;]?\s{{0,9}}(?:and|to|through|bis|à|和|到|至|→|->|-|–|—|&|\|)?\s{{0,9}}(?:the\s)?(?:point\s)?"
    rf"(?:{_LAST_CORNER}\s{{0,3}}(?:corner)?\s?(?:at|is|:)?\s?)?{_POINT}"
    rf"|{_POINT}\s{{0,3}}\(?(?:(?:is|as|for|being)\s(?:the"
    rf"|its)\s)?{_FIRST_CORNER}[^\d\[({{]{{0,60}}{_POINT}\s{{0,3}}\(?(?:(?:is|as|for|being)\s(?:the"
    rf"|its)\s)?{_LAST_CORNER}",
    re.IGNORECASE,
)
_SWAPPED: Final = re.compile(
    rf"{_LAST_CORNER}[^\d\[({{]{{0,60}}{_PAIR}[^\d]{{0,80}}?{_FIRST_CORNER}[^\d\[({{]{{0,60}}{_PAIR}", re.IGNORECASE
)
_RANGE: Final = rf"[^\d\n]{{0,20}}?{_VALUE}\s?(?:-|–|—|~|to|and|到|至|→|->)\s?(?:[xy]\s?=\s?)?{_VALUE}"
_RANGES: Final = re.compile(rf"\bx\b{_RANGE}[^\d]{{0,20}}?\by\b{_RANGE}", re.IGNORECASE)
_ORDER: Final = {
    **dict.fromkeys((_LIST, _BARE, _CORNERS), (0, 1, 2, 3)), _SWAPPED: (2, 3, 0, 1), _RANGES: (0, 2, 1, 3),
}  # fmt: skip
"""Where x1, y1, x2, y2 stand among a form's four numbers."""
_KEYS: Final = tuple(names.split() for names in (
    "x1 y1 x2 y2", "xmin ymin xmax ymax", "x0 y0 x1 y1", "left top right bottom", "xleft ytop xright ybottom",
    "minx miny maxx maxy", "startx starty endx endy", "topleftx toplefty bottomrightx bottomrighty",
    "xtopleft ytopleft xbottomright ybottomright",
))  # fmt: skip
_KEYED: Final = re.compile(
    rf"(?<![A-Za-z\d_-])([A-Za-z]{{1,12}}(?:[_-]?[A-Za-z\d]{{1,8}}){{0,3}})[\"']?\s?(?:(?:coordinate|edge"
    rf"|side|value)\s?)?(?:[:=]|\bis\b|\s)\s{{0,9}}{_VALUE}"
)
_QUOTES: Final = str.maketrans("'“”、", '""",')
_SUBSCRIPTS: Final = str.maketrans("₀₁₂", "012")


def first_box(response: str) -> Box | None:
    """The first four numbers written as a box, in the order x1, y1, x2, y2.

    `[x1, y1, x2, y2]`, bare `x1,y1,x2,y2` or `x1 y1 x2 y2`, `(x1,y1),(x2,y2)`, corners in words ("top-left (x1, y1),
    bottom-right (x2, y2)"), and numbers under keys (`x1`, `xmin`, `left` ...), quoted or not. Only the first one
    counts, wherever it stands: a spray of boxes is worth what its first box is worth. What a response marks as its
    answer (`<answer>`, a box token, `\\boxed{}`) is read before the rest. Width and height are not a second corner.
    """
    text = _plain(answer_part(response))
    return next((box for part in ("\n".join(final_contents(text)), text) for box in _boxes(part)), None)


def _plain(text: str) -> str:
    """ASCII digits, minus and quotes, no emphasis: what number patterns run on."""
    text = unicodedata.normalize("NFKC", text.translate(_SUBSCRIPTS)).translate(MINUS)
    text = without_html(text).translate(_QUOTES)
    text = re.sub(r"\b([xyXY]) (min|max|[12])\b", r"\1\2", text)
    text = re.sub(r"\(x_?1,\s?y_?1\)", " top-left ", re.sub(r"\(x_?2,\s?y_?2\)", " bottom-right ", text))
    return re.sub(r"\*{1,3}|`{1,3}|\$|\\[()\[\],;! ]|__", " ", text) if re.search(r"[*`$\\]|__", text) else text


def _boxes(text: str) -> Iterator[Box]:
    """The earliest box of each form, the earliest first."""
    located: list[tuple[int, Box]] = []
    for pattern, order in _ORDER.items():
        match = pattern.search(text)
        if match is not None:
            numbers = [float(group) for group in match.groups() if group is not None]
            x1, y1, x2, y2 = (numbers[place] for place in order)
            located.append((match.start(), (x1, y1, x2, y2)))
    keyed = _keyed(text)
    if keyed is not None:
        located.append(keyed)
    yield from (box for _, box in sorted(located))


def _keyed(text: str) -> tuple[int, Box] | None:
    """The first four numbers that stand under the four keys of one naming, and where; keys may come in any order."""
    numbers: dict[str, tuple[int, float]] = {}
    for match in _KEYED.finditer(text):
        numbers.setdefault(re.sub("[_-]", "", match.group(1).lower()), (match.start(), float(match.group(2))))
    for keys in _KEYS:
        if all(key in numbers for key in keys):
            x1, y1, x2, y2 = (numbers[key][1] for key in keys)
            return min(numbers[key][0] for key in keys), (x1, y1, x2, y2)
    return None

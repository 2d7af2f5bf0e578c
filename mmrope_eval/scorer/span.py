"""The span of time that a response gives: the first two times which it writes as one."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mmrope_eval.scorer.answer_part import answer_part, final_contents, without_html

Span = tuple[float, float]

_QUOTES: Final = str.maketrans("'“”‐‑", '"""--')
EXAMPLE: Final = (24.3, 30.4)
"""The span that the task's prompt shows as an example ("The event happens in the 24.3 - 30.4 seconds")."""

_SECOND: Final = r"(?:seconds?|secs?\.?|s|秒鐘|秒钟|秒|sekunden|secondes?|segundos?|초)"
_MINUTE: Final = r"(?:minutes?|mins?\.?|m|分鐘|分钟|分|minuten|minutos?|분)"
_HOUR: Final = r"(?:hours?|hrs?|h|小时|小時|時間|시간)"
_SCALES: Final = ((_HOUR, 3600), (_MINUTE, 60))
_NUM: Final = r"\d{1,9}(?:\.\d{1,6})?"
_CLOCK: Final = r"\d{1,3}:\d{1,2}(?::\d{1,2})?(?:\.\d{1,6})?"
_AND: Final = r"(?:\s?,)?\s?(?:and\s|und\s|et\s|y\s)?"
_PARTS: Final = (
    rf"(?:\d{{1,3}}\s?-?{_HOUR}{_AND})?(?<![A-Za-z0-9_.])\d{{1,4}}(?:\.\d{{1,3}})?\s?-?{_MINUTE}(?![a-z])"
    rf"(?:{_AND}{_NUM}\s?-?{_SECOND}(?![a-z]))?"
)
_ORDINAL: Final = r"(?:st|nd|rd|th)"
_TIME: Final = rf"({_PARTS}|{_CLOCK}|{_NUM})"
_UNIT: Final = (
    rf"(?:{_ORDINAL}\b)?(?:\s?-?(?:{_SECOND}(?![a-z])|{_MINUTE}(?![a-z])))?(?:\s?(?:mark|marks|point"
    rf"|of the video|into the video|in|左右|处|處)(?![a-z]))?"
)
_PREFIX: Final = (
    r"(?:(?:the|about|around|approximately|roughly|exactly|timestamp|time|second|seconds|approx\.?|ca\.|circa|at|t"
    r"|minute|frame|第|约|約|~|≈|=|:|\(|\[|\")\s?){0,4}"
)
_JOIN: Final = (
    r"(?:[-–—]{1,2}>?|―|‒|−|~|〜|→|⇒|➔|➜|↔|⟶|➝|➞|=>|\.\.\.?|…|up until\b|to\b|until\b|till\b|\"?til\b|through\b|thru\b"
    r"|up to\b|bis\b|jusqu'à\b|à\b|hasta\b|a\b|(?:and|before) (?:end|stop|finish)\w* at|到|至|直到|から|부터|에서|<->"
    r"|><|>\s<|/(?=\s))"
)
_LAST: Final = r"(?![A-Za-z0-9_:]{0,20}\d)(?!\.\d)"
_START: Final = r"(?<![A-Za-z0-9_.:])(?<!\d,)"
_BEGINS: Final = (
    r"(?:(?:start|begin|onset|from|commenc|initiat)\w*|(?:开始|起始|起点|開始|시작)(?:时间|時間|于|時刻)?"
    r"|starting|debut|début|inicio|anfang)"
)
_ENDS: Final = (
    r"(?:(?:end|stop|finish|conclud|complet|ceas|terminat|offset|until)\w*|lasts? (?:until|till|to)\b|to\b"
    r"|(?:结束|終了|停止|结尾|終わ|끝|종료)(?:时间|時間|于)?|fin\b|ende)"
)
_NEAR: Final = r"[^\d\n]{0,40}"
_PATTERNS: Final = (
    re.compile(rf"{_START}{_TIME}{_UNIT}[\])\"]?\s{{0,9}}{_JOIN}\s{{0,9}}{_PREFIX}{_TIME}{_LAST}", re.IGNORECASE),
    re.compile(rf"[\[(<{{]\s{{0,9}}\"?{_TIME}\"?{_UNIT}\s?\"?[,;\s]\s{{0,9}}\"?{_TIME}{_LAST}", re.IGNORECASE),
    re.compile(
        rf"(?:\b(?:between|zwischen|entre)|在|介于)\s?{_PREFIX}{_TIME}{_UNIT},?\s{{0,9}}(?:and|und|et|y|e|to|和|与|與"
        rf"|-)\s{{0,9}}{_PREFIX}{_TIME}{_LAST}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?<![A-Za-z]){_BEGINS}\b{_NEAR}{_START}{_TIME}{_UNIT}[^\d]{{0,60}}?(?<![A-Za-z]){_ENDS}{_NEAR}{_START}{_TIME}{_LAST}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?:开始|起始|開始|시작)[^\d\n]{{0,20}}{_TIME}{_UNIT}[^\d]{{0,40}}?(?:结束|終了|停止|终止|종료"
        rf"|끝)[^\d\n]{{0,20}}{_TIME}{_LAST}"
    ),
    re.compile(rf"{_START}{_TIME}{_UNIT}\s?(?:开始|持续|一直|起)?[,，]?\s?(?:持续|一直|延续)?(?:到|至)\s?第?\s?{_TIME}{_LAST}"),
    re.compile(rf"{_START}{_TIME}{_UNIT}\s?(?:开始|開始)[^\d\n]{{0,20}}{_TIME}{_UNIT}\s?(?:结束|停止|终止|終了)"),
    re.compile(rf"{_START}{_TIME}{_UNIT}\s?(?:から|부터|에서)\s?{_TIME}{_UNIT}\s?(?:まで|까지)"),
    re.compile(
        rf"{_START}{_TIME}{_UNIT}\s?\(?(?:start|begin)\w*\)?[^\d\n]{{0,30}}{_START}{_TIME}{_UNIT}\s?\(?(?:end"
        rf"|stop|finish)\w*",
        re.IGNORECASE,
    ),
)
# "happens in the 12.3, 15.6 seconds", "the answer is 12.3, 15.6".
_SAID: Final = (
    re.compile(
        rf"\b(?:in|during|within|at|is|are)\s(?:the\s)?{_TIME}{_UNIT}\s?(?:,|;|and\b|&"
        rf"|\s)\s?{_TIME}\s?{_SECOND}(?![a-z])",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?:answer|span|timestamps?|segment|interval) (?:is|are)\s{_TIME}{_UNIT}\s?[,;]\s?{_TIME}{_UNIT}\.?$",
        re.IGNORECASE,
    ),
    re.compile(rf"\bat\s{_TIME}{_UNIT},? and (?:it )?(?:ends|stops|finishes|concludes|is over)\b{_NEAR}{_TIME}{_LAST}",
               re.IGNORECASE),
)
# Two times and nothing else, on one line or one a line.
_BARE: Final = re.compile(
    rf"(?:[A-Za-z ]{{0,40}}:)?[\s|]{{0,9}}\"?{_TIME}{_UNIT}\"?\s{{0,9}}(?:[,;|&]|and\b"
    rf"|\s)\s{{0,9}}\"?{_TIME}{_UNIT}\"?[\s|]{{0,9}}\.?",
    re.IGNORECASE,
)


def to_seconds(text: str) -> float:
    """Seconds of `12.5`, `mm:ss`, `mm:ss.f`, `hh:mm:ss`, or "1 minute 2 seconds"."""
    seconds = 0.0
    if ":" in text:
        for part in text.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds
    for number, unit in re.findall(rf"({_NUM})\s?-?({_HOUR}|{_MINUTE}|{_SECOND})?", text, re.IGNORECASE):
        scale = next((scale for word, scale in _SCALES if re.fullmatch(word, unit, re.IGNORECASE)), 1)
        seconds += float(number) * scale
    return seconds


def first_span(response: str) -> Span | None:
    """The first span of time in a response: "12.3 - 45.6", "from 0:12 to 0:45", "[3, 9]", "starts at 3 ... ends at 9".

    Also minutes and seconds in words, ordinals, arrows, Chinese, and a bare pair that is the whole answer. The two ends
    come back in the order in which they are written. The prompt's own example (`EXAMPLE`) is an echo, not the answer,
    where another span follows. What a response marks as its answer is read before the rest.
    """
    text = _plain(answer_part(response))
    spans = map(_spans, ("\n".join(final_contents(text)), text))
    return next((span for span in spans if span is not None), None)


def _plain(text: str) -> str:
    """ASCII digits and quotes, no emphasis or code marks: what number patterns run on."""
    text = re.sub(r"(\d{1,3})\s?['’′]\s?(\d{1,2}(?:\.\d{1,3})?)\s?(?:[\"”″]|['’′]{2})", r"\1:\2", text)
    text = unicodedata.normalize("NFKC", without_html(text)).translate(_QUOTES)
    text = re.sub(r"(:\d\d),(?=\d{3}(?!\d))", r"\1.", text)  # as subtitle files write fractions
    text = re.sub(r"\\(?:to|rightarrow)\b", "→", text)
    text = re.sub(r"```(?:json)?|\*{1,3}|`|\$|__|\\(?:text|mathrm)\s?\{", "", text)
    return re.sub(r"(?<=\d)[ \t]{2,}|[ \t]{2,}(?=\d)", " ", text)


def _spans(text: str) -> Span | None:
    """The first span; the one after the prompt's example where there is one."""
    matches = [match for match in (pattern.search(text) for pattern in (*_PATTERNS, *_SAID)) if match is not None]
    if not matches:
        bare = _BARE.fullmatch(text.strip()) if len(text) < 400 else None
        return None if bare is None else _ends(bare)
    match = min(matches, key=lambda m: m.start())
    span = _ends(match)
    if span == EXAMPLE:
        rest = re.sub(rf"^{_UNIT}[\s.,;]*", "", text[match.end() :])
        return _spans(rest) or span
    return span


def _ends(match: re.Match[str]) -> Span:
    """The two times; a minute said once at the end counts for both ("1 - 2 minutes")."""
    first, last = match.group(1), match.group(2)
    minutes = re.fullmatch(rf"[\d.]+\s?-?{_MINUTE}", last, re.IGNORECASE)
    between = match.string[match.end(1) : match.start(2)]
    if minutes and re.fullmatch(_NUM, first) and not re.match(rf"\s?-?{_SECOND}(?![a-z])", between, re.IGNORECASE):
        return (60 * float(first), to_seconds(last))
    return (to_seconds(first), to_seconds(last))

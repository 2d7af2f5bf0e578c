"""Where the keys of a JSON object stand in its text, for changing one and leaving every other byte."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One key of a JSON object, by offsets into the text."""

    key: str
    before: int
    """Where the white space before the key begins."""
    start: int
    """Where the key begins."""
    value: int
    end: int


def members(text: str, start: int) -> list[Member]:
    """The keys of the JSON object that begins at `start`; the text is known to be JSON."""
    decoder, listed, before = json.JSONDecoder(), [], start + 1
    while text[at := past_space(text, before)] != "}":
        key, colon = decoder.raw_decode(text, at)
        value = past_space(text, past_space(text, colon) + 1)
        _, end = decoder.raw_decode(text, value)
        listed.append(Member(key, before, at, value, end))
        comma = past_space(text, end)
        before = comma + (text[comma] == ",")
    return listed


def past_space(text: str, at: int) -> int:
    """The first offset from `at` on that is no white space."""
    space = re.compile(r"\s*").match(text, at)
    assert space is not None
    return space.end()


def without(text: str, listed: list[Member], index: int) -> str:
    """The text without one of an object's members, and without the comma that parts it from another."""
    if index > 0:
        return text[: listed[index - 1].end] + text[listed[index].end :]
    until = listed[1].start if len(listed) > 1 else listed[0].end
    return text[: listed[0].start] + text[until:]

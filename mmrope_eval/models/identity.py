"""What of config.json is a checkpoint's identity, where saying more exactly what it meant all along changes nothing;
and where the keys of a JSON object stand in its text, for changing one and leaving every other byte.

Versions up to 0.3 knew the clock only: "mrope-i" was what {"name": "mrope-i", "time": "seconds"} is now. Answers are
kept when a checkpoint that was trained so says it; how its positions are made is part of their identity by the variant.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from mmrope_eval.models.rope_config import VARIANT_KEY

_CALLED_BEFORE: Final = {name: name.removesuffix("-upstream") for name in
                         ("circlerope-upstream", "ilrope-upstream", "omnirope-upstream")}  # fmt: skip
"""Names of today -> those that meant the same, by the clock, up to 0.3."""


def as_identified(text: str) -> str:
    """config.json's text, without `time: seconds` in the variant that it names, as version 0.3 wrote it."""
    start = past_space(text, 0)
    if text[start : start + 1] != "{":
        return text
    top = members(text, start)
    nested = [inner for member in top if member.key == "text_config" and text[member.value] == "{"
              for inner in members(text, member.value)]  # fmt: skip
    # From the last key on, so that offsets stay right.
    for member in sorted((*top, *nested), key=lambda member: member.value, reverse=True):
        if member.key == VARIANT_KEY:
            text = text[: member.value] + _plain(text[member.value : member.end]) + text[member.end :]
    return text


def _plain(value: str) -> str:
    """A variant as config.json has it, without `time: seconds`."""
    read = json.loads(value)
    if not isinstance(read, dict):
        return value
    if read.keys() == {"name", "time"} and read["time"] == "seconds":
        return json.dumps(_CALLED_BEFORE.get(str(read["name"]), read["name"]))
    value_members = members(value, 0)
    for index, member in enumerate(value_members):
        inside = json.loads(value[member.value : member.end])
        if member.key == "time" and inside == "seconds":
            return without(value, value_members, index)
        if member.key == "position" and isinstance(inside, dict) and inside.get("time") == "seconds":
            position_members = members(value, member.value)
            return without(value, position_members, [part.key for part in position_members].index("time"))
    return value


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

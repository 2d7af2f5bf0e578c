"""What of config.json is a checkpoint's identity, where saying more exactly what it meant all along changes nothing.

Versions up to 0.3 knew the clock only: "mrope-i" was what {"name": "mrope-i", "time": "seconds"} is now. Answers are
kept when a checkpoint that was trained so says it; how its positions are made is part of their identity by the variant.
"""

from __future__ import annotations

import json
from typing import Final

from mmrope_eval.models.json_text import members, past_space, without
from mmrope_eval.models.rope_config import VARIANT_KEY

_CALLED_BEFORE: Final = {name: name.removesuffix("-upstream") for name in
                         ("circlerope-upstream", "ilrope-upstream", "omnirope-upstream")}  # fmt: skip
"""Names of today -> those that meant the same, by the clock, up to 0.3."""


def as_identified(text: str) -> str:
    """config.json's text, without `time: seconds` in the variant that it names, as version 0.3 wrote it."""
    start = past_space(text, 0)
    if text[start : start + 1] != "{":
        return text
    # From the last key on, so that offsets stay right.
    for member in reversed(members(text, start)):
        value = text[member.value : member.end]
        if member.key == "text_config" and value.startswith("{"):
            for inner in reversed(members(text, member.value)):
                if inner.key == VARIANT_KEY:
                    text = text[: inner.value] + _plain(text[inner.value : inner.end]) + text[inner.end :]
        elif member.key == VARIANT_KEY:
            text = text[: member.value] + _plain(value) + text[member.end :]
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

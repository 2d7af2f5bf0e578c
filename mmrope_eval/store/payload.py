"""An outcome as a row of a store holds it: JSON with every field checked on the way back, and a checksum of the row."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any, Final

from pydantic import TypeAdapter

from mmrope_eval.messages import Failure, MediaFacts, PositionFacts, Response, no_answer

NOT_KEPT: Final = ("prompt_token_ids", "prompt_logprobs", "logprobs", "trace")
"""What nobody reads later."""


def to_payload(result: Response | Failure) -> dict[str, Any]:
    """A JSON-able form of an outcome, without what nobody reads later (prompt ids, log-probabilities, traces)."""
    payload = {name: value for name, value in vars(result).items() if name not in NOT_KEPT}
    payload["media"] = [dict(vars(facts)) for facts in result.media]
    if isinstance(result, Response):
        payload["positions"] = dict(vars(result.positions)) if result.positions else None
    if not payload.get("thought_open"):  # as versions without the field wrote it
        payload.pop("thought_open", None)
    return payload


def encode(result: Response | Failure) -> str:
    """The text of a row."""
    text = json.dumps(to_payload(result), ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair, of an odd file name, has no UTF-8


def decode(status: str, text: str, *, strict: bool = False) -> Response | Failure:
    """The inverse of `encode`. ValueError for text that is not such an outcome; with `strict` also for fields that
    this version does not know, which are left out otherwise."""
    if strict and (unknown := unknown_fields(status, json.loads(text))):
        raise ValueError(f"unknown field '{unknown[0]}'")
    result = _adapter(Failure if status == "failed" else Response).validate_json(text, strict=True)
    problem = no_answer(result.token_ids, result.finish_reason) if isinstance(result, Response) else None
    # One with a problem was kept by version 0.2, which scored it.
    return result if problem is None else Failure(result.id, "engine", problem, result.media)


def unknown_fields(status: str, payload: Any) -> list[str]:
    """Names in a payload that the outcome's type does not have."""
    if not isinstance(payload, dict):
        return []
    names = [name for name in payload if name not in _names(Failure if status == "failed" else Response)]
    media, positions = payload.get("media"), payload.get("positions")
    for facts in media if isinstance(media, list) else []:
        names += [name for name in facts if name not in _names(MediaFacts)] if isinstance(facts, dict) else []
    names += [name for name in positions if name not in _names(PositionFacts)] if isinstance(positions, dict) else []
    return names


def checksum(*row: str | int | None) -> bytes:
    """What tells a damaged row from a sound one: 16 bytes over all its other fields."""
    fields = ["-" if field is None else str(field) for field in row]
    text = "".join(f"{len(field)}:{field}" for field in fields)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@functools.cache
def _adapter(kind: type[Response | Failure]) -> TypeAdapter[Response | Failure]:
    return TypeAdapter(kind)


@functools.cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))

"""The seal of a run: sha256 sums in the record that is written last, over itself and the files that belong to it.

A flipped bit in a count, a fingerprint or a chance level makes another number that is as plausible as the right one.
No range finds it, and nothing can be recomputed without the data; the seal does. Records of versions 0.2 and 0.3 have
none, and are checked by what can be recomputed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

SEAL: Final = "sha256"


def sealed(record: Mapping[str, Any], name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The record with its seal: the sums of `files`, and under its own file's `name` the sum of itself."""
    bare = {key: value for key, value in record.items() if key != SEAL}
    return {**bare, SEAL: {**files, name: _sum_of_self(bare, files)}}


def seal_holds(record: Mapping[str, Any], name: str) -> bool:
    """Whether a record that has a seal is the one that was sealed."""
    sums = record[SEAL]
    others = {key: value for key, value in sums.items() if key != name}
    bare = {key: value for key, value in record.items() if key != SEAL}
    return bool(sums.get(name) == _sum_of_self(bare, others))


def sum_of(chunks: Iterable[bytes]) -> str:
    """sha256 of a content."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _sum_of_self(bare: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Over the content, not its bytes: a file cannot hold its own sum."""
    text = json.dumps({**bare, SEAL: files}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

"""What makes two results comparable: one list, for the footnotes of tables, for `compare` and for `check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "prompts": ("prompt_hash",),
    "scorers": ("scorer", "scorer_version", "task_version", "metric", "average"),
    "data": ("data_fingerprint",),
    "limits": ("max_tokens",),
    "decoding": ("temperature",),
})
"""A kind of difference, and what shows it: columns of `Run.scores`. The fingerprint of the data is over all questions
that were asked, so another number of them is other data. A new kind needs one line here and nothing else."""


def differing(results: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The kinds in which rows of `Run.scores` are not all alike.

    None is unknown, and what is unknown of one result and known of another is not known to be alike.
    """
    return tuple(kind for kind, names in KINDS.items()
                 if any(len({result[name] for result in results}) > 1 for name in names))

"""Which rows a limit takes: a sample over the benchmark's own groups, or the first ones.

Benchmarks are not shuffled: MLVU's first 50 rows are one of its seven tasks, Video-MME's first 900 its short videos. A
sample depends on the data alone, never on time or machine, and a larger one contains a smaller one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from mmrope_eval.errors import UserError


@dataclass(frozen=True)
class Limit:
    """How many samples of each task are asked, and which."""

    count: int
    how: Literal["sample", "first"] = "sample"

    def __str__(self) -> str:
        return str(self.count) if self.how == "sample" else f"first:{self.count}"


def read_limit(text: str | None, word: str | None = None) -> Limit | None:
    """`N` or `first:N` as a Limit; None stays None. UserError for anything else, of which `word` is what was typed."""
    if text is None:
        return None
    match = re.fullmatch(r"(first:)?([0-9]{1,9})", text.strip())
    if match is None or int(match.group(2)) == 0:
        raise UserError(f"--limit {text if word is None else word}: give a number of samples, as 200, or first:200 for "
                        "the first 200 rows.")
    return Limit(int(match.group(2)), "first" if match.group(1) else "sample")


def recorded_limit(value: object) -> Limit | None:
    """A limit as manifest.json holds it; a number is what versions up to 0.3 wrote, who took the first rows.

    UserError for anything else.
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Limit(value, "first")
    return read_limit(str(value))


def choose(limit: Limit | None, task: str, groups: Sequence[Hashable],
           units: Sequence[Hashable] | None = None) -> list[int]:
    """The rows to ask, in their order.

    `groups` holds every row's group. `units` says which rows count only together (MMBench's rotations of one
    question); they are taken whole, and no more rows than the limit, but at least one unit. Every group gives its
    first row before any gives a second, and then in proportion to its size.
    """
    if limit is None or limit.count >= len(groups):
        return list(range(len(groups)))
    if limit.how == "first":
        return list(range(limit.count))
    members: dict[Hashable, list[int]] = {}
    for row in range(len(groups)):
        members.setdefault(units[row] if units is not None else row, []).append(row)
    chosen: list[int] = []
    for unit in _order(task, {unit: groups[rows[0]] for unit, rows in members.items()}):
        if chosen and len(chosen) + len(members[unit]) > limit.count:
            break
        chosen += members[unit]
    return sorted(chosen)


def _order(task: str, group_of: dict[Hashable, Hashable]) -> list[Hashable]:
    """All units so that every beginning of the list is a sample of them."""
    # Numbers that shuffle: the same for a place in a task everywhere and always.
    drawn = {unit: hashlib.sha256(f"{task}/{place}".encode()).digest() for place, unit in enumerate(group_of)}
    by_group: dict[Hashable, list[Hashable]] = {}
    for unit in sorted(group_of, key=lambda unit: drawn[unit]):
        by_group.setdefault(group_of[unit], []).append(unit)
    keys = {unit: (0.0 if rank == 0 else (rank + 0.5) / len(units), drawn[unit])
            for units in by_group.values() for rank, unit in enumerate(units)}  # fmt: skip
    return sorted(group_of, key=lambda unit: keys[unit])

"""The lines that benchmarks/gpu.py reports: what they say, their table, their JSON, and the time they may take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["passed", "failed", "measured", "skipped"]
STATES: tuple[State, ...] = ("passed", "failed", "measured", "skipped")
FORMAT = 1


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    part: str
    what: str
    state: State
    said: str
    """A result in words, or why there is none."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What `said` is made of, for programs."""


def verdict(part: str, what: str, good: bool, words: str, **numbers: float) -> Line:
    """A line of correctness."""
    return Line(part, what, "passed" if good else "failed", words, numbers)


def skipped(part: str, what: str, why: str) -> Line:
    """A line that says why there is no result. A word about the cause fits one line."""
    return Line(part, what, "skipped", " ".join(why.split())[:300])


@dataclass
class Clock:
    """Until when everything has to be done."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)


def while_there_is_time(part: str, clock: Clock, lines: Iterator[Line]) -> Iterator[Line]:
    """Lines as they are made; after the time is up one more, which says so."""
    for line in lines:
        yield line
        if clock.left <= 0:
            yield skipped(part, "what is left of it", f"the {clock.seconds:.0f} seconds are used up (--seconds)")
            return


def table(lines: Sequence[Line]) -> str:
    """All lines under each other, in columns."""
    rows = [("part", "what", "state", "result"), *((line.part, line.what, line.state, line.said) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    texts = ["  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3])).rstrip()
             for row in rows]  # fmt: skip
    rule = "  ".join("-" * width for width in (*widths, max(len(row[3]) for row in rows)))
    return "\n".join((texts[0], rule, *texts[1:]))


def as_json(machine: Mapping[str, str], lines: Sequence[Line], seconds: float) -> dict[str, Any]:
    """The file's content."""
    counts = {state: sum(line.state == state for line in lines) for state in STATES}
    return {"format": FORMAT, "machine": dict(machine), "seconds": round(seconds, 1), "counts": counts,
            "lines": [asdict(line) for line in lines]}  # fmt: skip


def exit_code(lines: Sequence[Line]) -> int:
    """1 where something is wrong."""
    return int(any(line.state == "failed" for line in lines))

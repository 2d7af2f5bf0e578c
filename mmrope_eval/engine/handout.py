"""Which replica is asked what: work in neighbourly units, given out as replicas ask for it, and what their deaths tell.

Whatever shows the same picture or video stays on one replica, next to each other. A replica is kept busy with a queue
of its own; towards the end queues get shorter, so that the last ones end together. What was in flight when a replica
died is asked again, alone on its replica and after everything else: what two replicas died of while they had nothing
else to do is given up.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

LONGEST_UNIT: Final = 32
"""Requests that show the same and are kept together: of thousands about one video all replicas have some."""

FATAL: Final = 2
"""Replicas that must have died on a request alone before it is given up."""


class Item(Protocol):
    """A request, made or not."""

    @property
    def id(self) -> str:
        """Its name, unique in a stream."""


Asked = TypeVar("Asked", bound=Item)


class Handout(Generic[Asked]):
    """The requests of one stream, between a driver and its replicas; replicas go by any number."""

    def __init__(self, items: Iterable[Asked]) -> None:
        self._units: collections.deque[list[Asked]] = collections.deque(units(items))
        self._waiting = sum(map(len, self._units))
        self._suspects: collections.deque[Asked] = collections.deque()
        self._flying: dict[int, dict[str, Asked]] = {}
        self._alone: dict[int, str] = {}
        """The suspect that a replica works on, and on nothing else."""
        self._fatal: collections.Counter[str] = collections.Counter()
        """By request: replicas that died on it alone."""

    @property
    def done(self) -> bool:
        """Whether everything has its outcome."""
        return not (self._waiting or self._suspects or any(self._flying.values()))

    @property
    def unanswered(self) -> int:
        """Requests without an outcome."""
        return self._waiting + len(self._suspects) + sum(map(len, self._flying.values()))

    def in_flight(self, replica: int) -> Sequence[str]:
        """What a replica has been given and not answered."""
        return list(self._flying.get(replica, ()))

    def give(self, replica: int, capacity: int, replicas: int) -> list[Asked]:
        """What a replica gets now; perhaps nothing.

        `capacity` is how many requests it should have at hand, `replicas` how many there are to share what is left.
        """
        flying = self._flying.setdefault(replica, {})
        if replica in self._alone:
            return []
        share = -(-(self._waiting + len(flying)) // (2 * replicas))
        room = min(capacity, max(1, share)) - len(flying)
        given: list[Asked] = []
        while self._units and len(given) < room:
            unit = self._units.popleft()
            given += unit
            self._waiting -= len(unit)
        if not given and not flying and not self._units and self._suspects:
            suspect = self._suspects.popleft()
            self._alone[replica] = suspect.id
            given = [suspect]
        flying.update((item.id, item) for item in given)
        return given

    def answered(self, replica: int, name: str) -> bool:
        """Note an outcome; False for one that this replica was not asked for, or has given before."""
        if self._alone.get(replica) == name:
            del self._alone[replica]
        return self._flying.get(replica, {}).pop(name, None) is not None

    def died(self, replica: int) -> Asked | None:
        """Note a replica's death. What it had is asked again, but for what is returned: that is to blame."""
        lost = self._flying.pop(replica, {})
        alone = self._alone.pop(replica, None)
        if alone is not None:
            self._fatal[alone] += 1
            if self._fatal[alone] >= FATAL:
                return lost[alone]
        self._suspects.extend(lost.values())
        return None

    def returned(self, replica: int) -> None:
        """Take back what a replica has and will not answer, through no fault of any request."""
        lost = list(self._flying.pop(replica, {}).values())
        alone = self._alone.pop(replica, None)
        if alone is not None:
            self._suspects.extend(lost)
        elif lost:
            self._units.extendleft(reversed(list(units(lost))))
            self._waiting += len(lost)


def units(items: Iterable[Asked]) -> Iterator[list[Asked]]:
    """Neighbours that show the same, at most `LONGEST_UNIT` together; what shows nothing is a unit of its own."""
    for (shown, _), group in itertools.groupby(_numbered(items), key=lambda one: one[0]):
        run = [item for _, item in group]
        size = LONGEST_UNIT if shown else 1
        yield from (run[start : start + size] for start in range(0, len(run), size))


def _numbered(items: Iterable[Asked]) -> Iterator[tuple[tuple[str, int], Asked]]:
    for number, item in enumerate(items):
        shown = getattr(item, "together", "")
        yield (shown, 0 if shown else number), item

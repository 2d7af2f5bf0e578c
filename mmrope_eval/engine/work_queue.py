"""Which replica is asked what: work in neighbourly units, given out as replicas ask for it, and what their deaths tell.

Whatever shows the same picture or video stays on one replica, next to each other. A replica is kept busy with a queue
of its own; towards the end queues get shorter, so that the last ones end together. What weighs something, videos, is
shared out by weight: whoever asks first does not get them all, which come first, while others have pictures only. In a
later stream a replica first gets what it has been shown before, which it may still have prepared. What was in flight
when a replica died is asked again, alone on its replica and after everything else: what two replicas died of while
they had nothing else to do is given up.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

LONGEST_UNIT: Final = 32
"""Requests that show the same and are kept together: of thousands about one video all replicas have some."""

FATAL: Final = 2
"""Replicas that must have died on a request alone before it is given up."""


class Item(Protocol):
    """A request, made or not."""

    @property
    def id(self) -> str:
        """The request's name, unique in a stream."""


Asked = TypeVar("Asked", bound=Item)


class WorkQueue(Generic[Asked]):
    """The requests of one stream, between a driver and its replicas; replicas go by any number.

    `homes` says which of them has been shown what before (by `together`), and is kept up to date.
    """

    def __init__(self, items: Iterable[Asked], homes: dict[str, int] | None = None) -> None:
        self._homes = {} if homes is None else homes
        self._units: dict[int | None, Lanes[Asked]] = collections.defaultdict(Lanes)
        """By the replica that has been shown the same, None for what nobody has been shown; each in its order."""
        self._waiting = self._weight = 0
        for unit in units(items):
            self._await(unit, self._units[self._homes.get(shown(unit[0]))].append)
        self._suspects: collections.deque[Asked] = collections.deque()
        self._flying: dict[int, dict[str, Asked]] = {}
        self._loads: collections.Counter[int] = collections.Counter()
        """By replica: the weight of what it has been given and not answered."""
        self._alone: dict[int, str] = {}
        """The suspect that a replica works on, and on nothing else."""
        self._fatal: collections.Counter[str] = collections.Counter()
        """By request: replicas that died on it alone."""

    @property
    def done(self) -> bool:
        """Whether everything has its outcome."""
        return not (self._waiting or self._suspects or any(self._flying.values()))

    def in_flight(self, replica: int) -> Sequence[str]:
        """What a replica has been given and not answered."""
        return list(self._flying.get(replica, ()))

    def give(self, replica: int, capacity: int, replicas: int) -> list[Asked]:
        """What a replica gets now; perhaps nothing.

        `capacity` is how many requests it should have at hand, half of them for a step and half prepared; `replicas`
        how many there are to share what is left. Towards the end nothing waits in a replica that another could begin,
        and of the weight of all that has no outcome a replica has at most its share, or one unit.
        """
        flying = self._flying.setdefault(replica, {})
        if replica in self._alone:
            return []
        half = max(1, capacity // 2)
        most = capacity if self._waiting > replicas * half else half
        room = min(most - len(flying), max(1, -(-self._waiting // replicas)))
        given: list[Asked] = []
        while self._waiting and len(given) < room:
            unit = self._next(replica, replicas)
            if not unit:
                break
            given += unit
        if not given and not flying and not self._waiting and self._suspects:
            suspect = self._suspects.popleft()
            self._alone[replica] = suspect.id
            self._loads[replica] += weight(suspect)
            given = [suspect]
        flying.update((item.id, item) for item in given)
        return given

    def answered(self, replica: int, name: str) -> bool:
        """Note an outcome; False for one that this replica was not asked for, or has given before."""
        if self._alone.get(replica) == name:
            del self._alone[replica]
        item = self._flying.get(replica, {}).pop(name, None)
        if item is None:
            return False
        self._loads[replica] -= weight(item)
        return True

    def died(self, replica: int) -> Asked | None:
        """Note a replica's death. What it had is asked again, but for what is returned: that is to blame."""
        lost = self._flying.pop(replica, {})
        del self._loads[replica]
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
        del self._loads[replica]
        alone = self._alone.pop(replica, None)
        if alone is not None:
            self._suspects.extend(lost)
        else:
            for unit in reversed(list(units(lost))):
                self._await(unit, self._units[None].appendleft)

    def _await(self, unit: list[Asked], put: Callable[[list[Asked]], None]) -> None:
        put(unit)
        self._waiting += len(unit)
        self._weight += sum(map(weight, unit))

    def _next(self, replica: int, replicas: int) -> list[Asked]:
        """The next unit for a replica: what it has been shown, else what nobody has, else of whoever has most left.

        Nothing where all that waits would be more than its share of the weight.
        """
        load = self._loads[replica]
        most = (self._weight + self._loads.total()) / replicas - load if load else math.inf
        for home in self._preferred(replica):
            unit = self._units[home].popleft(most)
            if unit:
                moved = sum(map(weight, unit))
                self._waiting -= len(unit)
                self._weight -= moved
                self._loads[replica] += moved
                if shown(unit[0]):
                    self._homes[shown(unit[0])] = replica
                return unit
        return []

    def _preferred(self, replica: int) -> Iterator[int | None]:
        """Whose units a replica is given first."""
        yield from (home for home in (replica, None) if self._units.get(home))
        others = [home for home in self._units if home not in (replica, None)]
        yield from sorted(others, key=lambda home: -len(self._units[home]))


class Lanes(Generic[Asked]):
    """Units in their order, of which those with weight can be left waiting."""

    def __init__(self) -> None:
        self._heavy: collections.deque[tuple[int, list[Asked]]] = collections.deque()
        self._light: collections.deque[tuple[int, list[Asked]]] = collections.deque()
        self._first = self._last = 0

    def __len__(self) -> int:
        return len(self._heavy) + len(self._light)

    def append(self, unit: list[Asked]) -> None:
        """Put an item behind all others."""
        self._last += 1
        self._lane(unit).append((self._last, unit))

    def appendleft(self, unit: list[Asked]) -> None:
        """Put an item before all others."""
        self._first -= 1
        self._lane(unit).appendleft((self._first, unit))

    def popleft(self, most: float) -> list[Asked]:
        """Take the first unit that weighs nothing, or not more than `most`; nothing where there is none."""
        fits = self._heavy and sum(map(weight, self._heavy[0][1])) <= most
        lanes = [lane for lane in (self._light, self._heavy if fits else None) if lane]
        return min(lanes, key=lambda lane: lane[0][0]).popleft()[1] if lanes else []

    def _lane(self, unit: list[Asked]) -> collections.deque[tuple[int, list[Asked]]]:
        return self._heavy if any(map(weight, unit)) else self._light


def units(items: Iterable[Asked]) -> Iterator[list[Asked]]:
    """Neighbours that show the same, at most `LONGEST_UNIT` together; what shows nothing is a unit of its own."""
    for what, group in itertools.groupby(items, key=shown):
        run = list(group)
        size = LONGEST_UNIT if what else 1
        yield from (run[start : start + size] for start in range(0, len(run), size))


def shown(item: Item) -> str:
    """What a request shows, by any name; "" for nothing."""
    return str(getattr(item, "together", ""))


def weight(item: Item) -> int:
    """What answering a request costs above others, in any unit; 0 for nothing."""
    return int(getattr(item, "weight", 0))

"""Many engines behind the interface of one: replicas answer, the driver hands out work and gets every answer.

A replica that dies costs what it was doing, which others do again; another one is started in its place. The driver is
the only one who knows what was asked, so its death costs what was not stored, and nothing else.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from mmrope_eval.engine.limits import PATIENCE
from mmrope_eval.engine.links import Launch, Link, Lost, Place
from mmrope_eval.engine.replica import (
    Alive,
    Answers,
    Birth,
    Broken,
    Close,
    Closed,
    Ready,
    Setting,
    Settle,
    Settled,
    message_of,
)
from mmrope_eval.engine.work_queue import WorkQueue
from mmrope_eval.errors import UserError, sentence
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Request, Response

UNLUCKY: Final = 3
"""Deaths of a place's replicas, with no answer between, after which none is started there any more."""

TICK: Final = 1.0
"""Seconds between two looks at replicas that say nothing."""

Item = Request | Deferred


@dataclass
class Replica:
    """One place, and what runs there now."""

    place: Place
    number: int = 0
    """Of the replica, new with each start."""
    link: Link | None = None
    ready: bool = False
    setting: Setting | None = None
    """What it runs, or was last told to."""
    unsettled: int = 0
    """Settings that it was told and has not confirmed."""
    capacity: int = 0
    sources: dict[int, Any] = field(default_factory=dict)
    """Those it has, by number."""
    stream: int = 0
    """The stream that it is open for."""
    heard: float = 0.0
    """When it last said something."""
    unlucky: int = 0
    """Deaths since the last answer."""

    @property
    def working(self) -> bool:
        """Whether it can be asked."""
        return self.ready and self.unsettled == 0

    @property
    def gone(self) -> bool:
        """Whether none is started here any more."""
        return self.link is None


class Replicas:
    """Engines on several places; use `Replicas.start`, and `close` or a `with` block at the end. One stream at a time.

    `say` is told, in a sentence, what its user should know: deaths, places that are given up. A replica that gives no
    sign of life for `silence` seconds is ended: its machine is gone, or it is stuck where no thread can run.
    """

    def __init__(self, launch: Launch, birth: Birth, say: Callable[[str], None], silence: float = PATIENCE) -> None:
        self._launch, self._birth, self._say, self._silence = launch, birth, say, silence
        self._identity = birth.identify()
        self._inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._replicas = [Replica(place) for place in launch.places()]
        self._by_number: dict[int, Replica] = {}
        self._numbers = 0
        self._streams = 0
        self._homes: dict[str, int] = {}
        """Which replica has been shown what."""
        self._work: WorkQueue[Item] = WorkQueue(())
        self._refusal: Exception | None = None
        """Why the last place was given up, where its engine said so."""
        self.deaths = 0

    @classmethod
    def start(cls, launch: Launch, birth: Birth, say: Callable[[str], None], silence: float = PATIENCE) -> Self:
        """Start a replica on every place and return when the first is ready; the others join when they are.

        Raises what the engines raise where none can be started: `UserError`, `VariantError`, `EngineStartError`; and
        `EngineDiedError` where they were killed.
        """
        found = cls(launch, birth, say, silence)
        try:
            for one in found._replicas:
                found._begin(one)
            while not any(one.ready for one in found._replicas):
                list(found._next())
        except BaseException:
            found.close()
            raise
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all replicas; a second call does nothing."""
        for one in self._replicas:
            if one.link is not None:
                one.link.end()
                one.link, one.ready = None, False

    @property
    def alive(self) -> int:
        """Replicas that are ready to work."""
        return sum(one.working for one in self._replicas)

    def switch(self, **to: Any) -> None:
        """Go on with another `variant`, `checkpoint` or `policy` (see `LiveEngine.switch`), once one replica does.

        Raises what it raises where it refuses; all replicas should be closed then.
        """
        setting = replace(self._birth.setting, **{name: value for name, value in to.items() if value is not None})
        self._birth = replace(self._birth, setting=setting)
        self._refusal = None
        for one in self._replicas:
            self._settle(one)
        while not self.alive:
            list(self._next())
            if self._refusal is not None:
                raise self._refusal

    def stream(self, requests: Iterable[Item]) -> Generator[Response | Failure, None, None]:
        """Answer requests in any order, each as soon as it is finished. Raises `EngineDiedError` when no place is left.

        All requests are pulled at once: they should be light (`Deferred`). Closing the iterator drops what is
        unfinished.
        """
        self._streams += 1
        self._work = WorkQueue(requests, self._homes)
        try:
            while not self._work.done:
                self._feed()
                yield from self._next()
        finally:
            self._end_stream(drop=not self._work.done)
            self._work = WorkQueue(())

    # --- work -------------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Give every replica what it has room for."""
        sharing = sum(not one.gone for one in self._replicas)
        for one in self._replicas:
            if one.working and one.link is not None:
                given = self._work.give(one.number, one.capacity, sharing)
                if given:
                    one.stream = self._streams
                    one.link.send(message_of(self._streams, given, one.sources))

    def _end_stream(self, *, drop: bool) -> None:
        """Close what is open, without waiting: a replica comes to its next message when it is done with it."""
        for one in self._replicas:
            if one.ready and one.link is not None and one.stream == self._streams:
                one.link.send(Close(self._streams, drop))

    def _next(self) -> Iterator[Response | Failure]:
        """Wait for the next messages, and deal with all that there are."""
        try:
            messages = [self._inbox.get(timeout=TICK)]
        except queue.Empty:
            messages = []
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        for number, message in messages:
            one = self._by_number.get(number)
            if one is not None:
                one.heard = time.monotonic()
                yield from self._take(one, message)
        yield from self._look()

    def _take(self, one: Replica, message: Any) -> Iterator[Response | Failure]:
        """Deal with one message."""
        if isinstance(message, Answers):
            one.unlucky = 0
            yield from (found for found in message.results if self._work.answered(one.number, found.id))
        elif isinstance(message, Ready):
            yield from self._joined(one, message)
        elif isinstance(message, Settled):
            one.unsettled -= 1
            if message.error is not None:
                self._unsettled(one, message.error)
        elif isinstance(message, Broken):
            if message.started or isinstance(message.error, EngineDiedError):
                yield from self._died(one, sentence(message.error))
            else:
                self._refused(one, message.error)
        elif isinstance(message, Lost):
            yield from self._died(one, message.cause)
        else:
            assert isinstance(message, Alive | Closed), message

    def _look(self) -> Iterator[Response | Failure]:
        """End replicas that have said nothing for too long. EngineDiedError when no place is left."""
        now = time.monotonic()
        for one in self._replicas:
            if one.link is not None and now - one.heard > self._silence:
                yield from self._died(one, f"it gave no sign of life for {self._silence:.0f} s, so it was ended")
        if all(one.gone for one in self._replicas):
            if self._refusal is not None:
                raise self._refusal
            raise EngineDiedError("no replica is left", ())

    # --- replicas ---------------------------------------------------------------------------------------------------

    def _begin(self, one: Replica) -> None:
        """Start a replica on a place."""
        self._numbers += 1
        number = self._numbers
        one.number, one.ready, one.unsettled = number, False, 0
        one.setting, one.sources, one.stream, one.heard = self._birth.setting, {}, 0, time.monotonic()
        self._by_number[number] = one
        try:
            one.link = self._launch.start(one.place, self._birth, lambda message: self._inbox.put((number, message)))
        except OSError as error:
            self._by_number.pop(number)
            one.link, self._refusal = None, UserError(f"{one.place.name} cannot be started: {sentence(error)}")

    def _settle(self, one: Replica) -> None:
        """Have a replica run what all shall run; one that still starts is told when it is ready."""
        if one.ready and one.link is not None and one.setting is not self._birth.setting:
            one.setting, one.unsettled = self._birth.setting, one.unsettled + 1
            one.link.send(Settle(self._birth.setting))

    def _joined(self, one: Replica, message: Ready) -> Iterator[Response | Failure]:
        if message.identity != self._identity:
            theirs = message.identity
            other = ", ".join(f"{name} {theirs.get(name)} instead of {ours}" for name, ours in self._identity.items()
                              if theirs.get(name) != ours)  # fmt: skip
            self._refused(one, UserError(f"{one.place.name} runs other code than this process ({other}): its answers "
                                         "would not be the same; install the same on all machines"))  # fmt: skip
            return
        one.ready, one.capacity = True, message.capacity
        self._settle(one)
        yield from ()

    def _refused(self, one: Replica, error: Exception) -> None:
        """Give a place up whose engine cannot be, through no death."""
        self._refusal = error
        self._work.returned(one.number)
        self._retire(one)
        if any(not other.gone for other in self._replicas):
            self._say(f"{one.place.name} is left out: {sentence(error)}")

    def _unsettled(self, one: Replica, error: Exception) -> None:
        """A running engine could not take a setting: one that starts with it perhaps can, where others did."""
        self._retire(one)
        one.unlucky += 1
        if self.alive and one.unlucky < UNLUCKY:
            self._begin(one)
        else:
            self._refusal = error

    def _died(self, one: Replica, cause: str) -> Iterator[Response | Failure]:
        """Note a death, and start another replica in its place."""
        self.deaths += 1
        one.unlucky += 1
        in_flight = len(self._work.in_flight(one.number))
        blamed = self._work.died(one.number)
        self._retire(one)
        again = one.unlucky < UNLUCKY or blamed is not None
        then = "another one is started" if again else f"the {one.unlucky}th without an answer: none is started any more"
        self._say(f"{one.place.name} died with {in_flight} samples in flight: {cause}; {then}.")
        if blamed is not None:
            one.unlucky = 0
            yield Failure(blamed.id, "engine", f"two engines died while they worked on it and on nothing else: {cause}")
        if again:
            self._refusal = None
            self._begin(one)

    def _retire(self, one: Replica) -> None:
        self._by_number.pop(one.number, None)
        if one.link is not None:
            one.link.end()
        one.link, one.ready, one.unsettled = None, False, 0

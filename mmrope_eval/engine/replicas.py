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

from mmrope_eval.engine.backend import Driver
from mmrope_eval.engine.links import Launch, Link, Lost, Place
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replica import Alive, Birth, Broken, Close, Ready, Setting, Settled, message_of
from mmrope_eval.engine.watch import PATIENCE
from mmrope_eval.engine.work_queue import WorkQueue
from mmrope_eval.errors import UserError, sentence
from mmrope_eval.media.policy import MediaPolicy, checkpoint_policy
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Request, Response
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant

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
    """None: none is started here any more."""
    ready: bool = False
    setting: Setting | None = None
    """What it runs, or was last told to."""
    unsettled: int = 0
    """Settings that it was told and has not confirmed."""
    capacity: int = 0
    sources: dict[int, Any] = field(default_factory=dict)
    """The sources that it has, by number."""
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


class Replicas:
    """Engines on several places; use `Replicas.start`, and `close` at the end. One stream at a time.

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
        replicas = cls(launch, birth, say, silence)
        try:
            for replica in replicas._replicas:
                replicas._begin(replica)
            while not any(replica.ready for replica in replicas._replicas):
                list(replicas._next())
        except BaseException:
            replicas.close()
            raise
        return replicas

    def close(self) -> None:
        """End all replicas; a second call does nothing."""
        for replica in self._replicas:
            if replica.link is not None:
                replica.link.end()
                replica.link, replica.ready = None, False

    @property
    def alive(self) -> int:
        """Replicas that are ready to work."""
        return sum(replica.working for replica in self._replicas)

    def switch(self, *, variant: Variant | None = None, checkpoint: Checkpoint | None = None,
               policy: MediaPolicy | None = None) -> None:
        """Go on with another `variant`, `checkpoint` or `policy` (see `LiveEngine.switch`), once one replica does.

        Raises what it raises where it refuses; all replicas should be closed then.
        """
        now = self._birth.setting
        setting = Setting(checkpoint or now.checkpoint, variant or now.variant, policy or now.policy)
        self._birth = replace(self._birth, setting=setting)
        self._refusal = None
        for replica in self._replicas:
            self._settle(replica)
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

    def _feed(self) -> None:
        sharing = sum(replica.link is not None for replica in self._replicas)
        for replica in self._replicas:
            if replica.working and replica.link is not None:
                given = self._work.give(replica.number, replica.capacity, sharing)
                if given:
                    replica.stream = self._streams
                    replica.link.send(message_of(self._streams, given, replica.sources))

    def _end_stream(self, *, drop: bool) -> None:
        """Close what is open, without waiting: a replica comes to its next message when it is done with it."""
        for replica in self._replicas:
            if replica.ready and replica.link is not None and replica.stream == self._streams:
                replica.link.send(Close(self._streams, drop))

    def _next(self) -> Iterator[Response | Failure]:
        """Wait for the next messages, and deal with all that there are."""
        try:
            messages = [self._inbox.get(timeout=TICK)]
        except queue.Empty:
            messages = []
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        for number, message in messages:
            replica = self._by_number.get(number)
            if replica is not None:
                replica.heard = time.monotonic()
                yield from self._take(replica, message)
        yield from self._look()

    def _take(self, replica: Replica, message: Any) -> Iterator[Response | Failure]:
        if isinstance(message, tuple):
            replica.unlucky = 0
            yield from (result for result in message if self._work.answered(replica.number, result.id))
        elif isinstance(message, Ready):
            yield from self._joined(replica, message)
        elif isinstance(message, Settled):
            replica.unsettled -= 1
            if message.error is not None:
                self._unsettled(replica, message.error)
        elif isinstance(message, Broken):
            if message.started or isinstance(message.error, EngineDiedError):
                yield from self._died(replica, sentence(message.error))
            else:
                self._refused(replica, message.error)
        elif isinstance(message, Lost):
            yield from self._died(replica, message.cause)
        else:
            assert isinstance(message, Alive), message

    def _look(self) -> Iterator[Response | Failure]:
        """End replicas that have said nothing for too long. EngineDiedError when no place is left."""
        now = time.monotonic()
        for replica in self._replicas:
            if replica.link is not None and now - replica.heard > self._silence:
                yield from self._died(replica, f"it gave no sign of life for {self._silence:.0f} s, so it was ended")
        if all(replica.link is None for replica in self._replicas):
            if self._refusal is not None:
                raise self._refusal
            raise EngineDiedError("no replica is left", ())

    def _begin(self, replica: Replica) -> None:
        self._numbers += 1
        number = self._numbers
        replica.number, replica.ready, replica.unsettled = number, False, 0
        replica.setting, replica.sources, replica.stream = self._birth.setting, {}, 0
        replica.heard = time.monotonic()
        self._by_number[number] = replica
        try:
            replica.link = self._launch.start(replica.place, self._birth,
                                              lambda message: self._inbox.put((number, message)))  # fmt: skip
        except OSError as error:
            self._by_number.pop(number)
            replica.link, self._refusal = None, UserError(f"{replica.place.name} cannot be started: {sentence(error)}")

    def _settle(self, replica: Replica) -> None:
        """Have a replica run what all shall run; one that still starts is told when it is ready."""
        if replica.ready and replica.link is not None and replica.setting is not self._birth.setting:
            replica.setting, replica.unsettled = self._birth.setting, replica.unsettled + 1
            replica.link.send(self._birth.setting)

    def _joined(self, replica: Replica, message: Ready) -> Iterator[Response | Failure]:
        if message.identity != self._identity:
            theirs = message.identity
            other = ", ".join(f"{name} {theirs.get(name)} instead of {ours}" for name, ours in self._identity.items()
                              if theirs.get(name) != ours)  # fmt: skip
            self._refused(replica, UserError(f"{replica.place.name} runs other code than this process ({other}): its "
                                             "answers would not be the same; install the same on all machines"))
            return
        replica.ready, replica.capacity = True, message.capacity
        self._settle(replica)
        yield from ()

    def _refused(self, replica: Replica, error: Exception) -> None:
        """Give a place up whose engine cannot be, through no death."""
        self._refusal = error
        self._work.returned(replica.number)
        self._retire(replica)
        if any(other.link is not None for other in self._replicas):
            self._say(f"{replica.place.name} is left out: {sentence(error)}")

    def _unsettled(self, replica: Replica, error: Exception) -> None:
        """A running engine could not take a setting: one that starts with it perhaps can, where others did."""
        self._retire(replica)
        replica.unlucky += 1
        if self.alive and replica.unlucky < UNLUCKY:
            self._begin(replica)
        else:
            self._refusal = error

    def _died(self, replica: Replica, cause: str) -> Iterator[Response | Failure]:
        """Note a death, and start another replica in its place."""
        self.deaths += 1
        replica.unlucky += 1
        in_flight = len(self._work.in_flight(replica.number))
        blamed = self._work.died(replica.number)
        self._retire(replica)
        again = replica.unlucky < UNLUCKY or blamed is not None
        last = f"the {replica.unlucky}th without an answer: none is started any more"
        then = "another one is started" if again else last
        self._say(f"{replica.place.name} died with {in_flight} samples in flight: {cause}; {then}.")
        if blamed is not None:
            replica.unlucky = 0
            yield Failure(blamed.id, "engine", f"two engines died while they worked on it and on nothing else: {cause}")
        if again:
            self._refusal = None
            self._begin(replica)

    def _retire(self, replica: Replica) -> None:
        self._by_number.pop(replica.number, None)
        if replica.link is not None:
            replica.link.end()
        replica.link, replica.ready, replica.unsettled = None, False, 0


def start_replicas(launch: Launch, checkpoint: Checkpoint, variant: Variant, options: EngineOptions,
                   driver: Driver) -> Replicas:
    """Live engines on all places of a launch. Raises as `Replicas.start`, and what `launch.places` raises."""
    from mmrope_eval.engine.live import LiveEngine

    setting = Setting(checkpoint, variant, options.policy or checkpoint_policy(checkpoint, {})[0])
    sharing = replace(options, replicas=len(launch.places()))
    return Replicas.start(launch, Birth(setting, sharing, driver.identify, LiveEngine.start), driver.say)

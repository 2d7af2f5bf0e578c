"""A replica: a live engine in a process of its own, which answers messages.

It makes its requests itself, media and all; what comes in and goes out is light. One thread puts what comes in into a
queue, one steps the engine, one sends what is answered, many answers at a time.
"""

from __future__ import annotations

import itertools
import math
import pickle
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from mmrope_eval.engine.backend import Engine, Identify
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import sentence
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Request, Response
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant

PAUSE: Final = 0.05
"""Seconds between two messages with answers: one message costs as much as dozens of answers."""

HEARTBEAT: Final = 2.0
"""Seconds between two signs of life."""

@dataclass(frozen=True)
class Setting:
    """What an engine runs; as a message: go on with this one."""

    checkpoint: Checkpoint
    variant: Variant
    policy: MediaPolicy


class ServedEngine(Engine, Protocol):
    """What a replica needs of a live engine."""

    @property
    def capacity(self) -> int:
        """Requests that it makes use of at a time."""

    def stream(self, requests: Iterable[Request | Deferred],
               interrupt: Callable[[], None] | None = None) -> Generator[Response | Failure, None, None]:
        """Answer requests as they come, as `LiveEngine.stream` does."""


StartServed = Callable[[Checkpoint, Variant, EngineOptions], ServedEngine]
"""Starts an engine, as `backend.StartEngine` does; can be pickled."""


@dataclass(frozen=True)
class Birth:
    """All that a replica must know to start."""

    setting: Setting
    options: EngineOptions
    identify: Identify
    start: StartServed

    def engine(self) -> ServedEngine:
        """Start the engine."""
        options = replace(self.options, policy=self.setting.policy)
        return self.start(self.setting.checkpoint, self.setting.variant, options)


@dataclass(frozen=True)
class Ask:
    """Requests to answer, in a stream of this number; streams are numbered upwards from 1."""

    stream: int
    items: tuple[tuple[str, int, Any], ...]
    """(id, number of its source, what that makes it of); of a request that is made already 0 and the request."""
    sources: Mapping[int, Callable[[Any], Request | Failure]]
    """Sources that this replica has not had."""


@dataclass(frozen=True)
class Close:
    """End a stream: answer what was asked and take no more, or `drop` what is unfinished."""

    stream: int
    drop: bool


@dataclass(frozen=True)
class Ready:
    """Says that the engine runs."""

    identity: Mapping[str, Any]
    capacity: int
    """Requests that it should have at hand: those in a step, and as many prepared."""


@dataclass(frozen=True)
class Settled:
    """The engine runs another setting, or could not take it."""

    error: Exception | None = None


@dataclass(frozen=True)
class Broken:
    """The replica cannot go on, and ends: its engine died, could not be started, or raised."""

    error: Exception
    started: bool


@dataclass(frozen=True)
class Alive:
    """Says that the replica lives."""


class Channel(Protocol):
    """Both directions between a replica and its driver."""

    def recv(self) -> Any:
        """The next message; EOFError or OSError when there will be none."""

    def send(self, message: Any) -> None:
        """Give a message; OSError when nobody takes it."""


def serve(channel: Channel, birth: Birth) -> None:
    """Start an engine and answer until the channel is closed."""
    outbox = Outbox(channel)
    with outbox:
        started = False
        try:
            with closing(birth.engine()) as engine:
                started = True
                outbox.put(Ready(birth.identify(), engine.capacity))
                Serving(channel, outbox, engine).run()
        except Exception as error:  # noqa: BLE001 - whatever it was, the driver decides what becomes of it
            outbox.put(Broken(portable(error), started))


class Serving:
    """A replica's work once its engine runs: settings and streams in the order in which they come."""

    def __init__(self, channel: Channel, outbox: Outbox, engine: ServedEngine) -> None:
        self._channel, self._outbox, self._engine = channel, outbox, engine
        self._inbox: queue.SimpleQueue[Setting | int | None] = queue.SimpleQueue()
        """Settings, numbers of streams, and None at the end."""
        self._asked: dict[int, queue.SimpleQueue[Ask | None]] = {}
        """What each stream is asked, None at its end."""
        self._over: float = 0
        """Streams up to this number have ended, or shall."""
        self._sources: dict[int, Callable[[Any], Request | Failure]] = {}
        self._unread: Exception | None = None
        """Why a message could not be read."""

    def run(self) -> None:
        """Answer until the channel is closed. Raises what a message that cannot be read raises."""
        threading.Thread(target=self._receive, name="replica-inbox", daemon=True).start()
        while (message := self._inbox.get()) is not None:
            if isinstance(message, Setting):
                self._outbox.put(Settled(self._settle(message)))
            else:
                self._answer(message)
        if self._unread is not None:
            raise self._unread

    def _receive(self) -> None:
        try:
            while True:
                message = self._channel.recv()
                if isinstance(message, Setting):
                    self._inbox.put(message)
                elif message.stream > self._over:
                    self._pass_on(message)
        except (EOFError, OSError):  # the driver is gone, or done
            pass
        except Exception as error:  # noqa: BLE001 - whatever a task's own classes raise when they are read
            self._unread = error
        self._over = math.inf
        for asked in list(self._asked.values()):
            asked.put(None)
        self._inbox.put(None)

    def _pass_on(self, message: Ask | Close) -> None:
        if message.stream not in self._asked:
            self._asked[message.stream] = queue.SimpleQueue()
            self._inbox.put(message.stream)
        if isinstance(message, Ask):
            self._asked[message.stream].put(message)
            return
        if message.drop:
            self._over = message.stream
        self._asked[message.stream].put(None)

    def _settle(self, setting: Setting) -> Exception | None:
        try:
            self._engine.switch(variant=setting.variant, checkpoint=setting.checkpoint, policy=setting.policy)
        except EngineDiedError:
            raise
        except Exception as error:  # noqa: BLE001 - refused; the driver knows what then
            return portable(error)
        return None

    def _answer(self, number: int) -> None:
        asked = self._asked[number]
        # Where the engine ends the stream, a thread that pulls may be waiting for what is never asked.
        stream = self._engine.stream(self._requests(number, asked), interrupt=lambda: asked.put(None))
        with closing(stream):
            for result in stream:
                self._outbox.put(result)
                if self._over >= number:
                    break
        self._over = max(self._over, number)
        del self._asked[number]

    def _requests(self, number: int, asked: queue.SimpleQueue[Ask | None]) -> Iterator[Request | Deferred]:
        """What is asked, as it comes; the engine pulls from threads of its own, one at a time."""
        while (message := asked.get()) is not None:
            self._sources.update(message.sources)
            for name, source, what in message.items:
                if self._over >= number:
                    return
                yield Deferred(name, self._sources[source], what) if source else what


class Outbox:
    """Sends messages from a thread of its own: answers in groups, and a sign of life when there is nothing to say."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="replica-outbox", daemon=True)

    def put(self, message: Any) -> None:
        """Send a message, or an outcome, soon."""
        self._queue.put(message)

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send the answers that are left."""
        self._queue.put(None)
        self._thread.join(timeout=5 * HEARTBEAT)

    def _work(self) -> None:
        ended = False
        with suppress(OSError):
            while not ended:
                try:
                    waiting = [self._queue.get(timeout=HEARTBEAT)]
                except queue.Empty:
                    self._channel.send(Alive())
                    continue
                while not self._queue.empty():
                    waiting.append(self._queue.get())
                ended = waiting[-1] is None
                for message in grouped([message for message in waiting if message is not None]):
                    self._channel.send(message)
                if not ended:
                    time.sleep(PAUSE)


def grouped(messages: Sequence[Any]) -> Iterator[Any]:
    """The messages in their order, outcomes that follow each other in one tuple."""
    for outcomes, group in itertools.groupby(messages, key=lambda message: isinstance(message, Response | Failure)):
        run = tuple(group)
        yield from (run,) if outcomes else run


def portable(error: Exception) -> Exception:
    """An exception that another process can have: itself where it can be pickled and read again, else its words."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - exceptions of libraries take what arguments they like
        return RuntimeError(sentence(error))
    return error if type(copy) is type(error) and str(copy) == str(error) else RuntimeError(sentence(error))


def message_of(stream: int, items: Sequence[Request | Deferred], sent: dict[int, Any]) -> Ask:
    """The message that asks for these; `sent` are the sources that the replica has, by number, and gets what is new."""
    numbers = {id(source): number for number, source in sent.items()}
    entries, new = [], {}
    for item in items:
        if isinstance(item, Request):
            entries.append((item.id, 0, item))
            continue
        number = numbers.get(id(item.source))
        if number is None:
            number = len(sent) + 1
            numbers[id(item.source)] = number
            sent[number] = new[number] = item.source
        entries.append((item.id, number, item.what))
    return Ask(stream, tuple(entries), new)

"""How a driver reaches its replicas: messages to processes of this machine, and word of their end.

A link posts what its replica says into the driver's inbox, from a thread of its own, and sends from another, so that a
replica that does not listen holds up nobody.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

from mmrope_eval.engine import process
from mmrope_eval.engine.replica import Birth, Broken, serve
from mmrope_eval.errors import UserError, sentence


@dataclass(frozen=True)
class Lost:
    """Says that a replica is gone."""

    cause: str
    """As the end of a sentence."""


class Link(Protocol):
    """How the driver talks to one replica and ends it."""

    def send(self, message: Any) -> None:
        """Send the replica a message soon; never waits and never fails."""

    def end(self) -> None:
        """End the replica now; never fails, and nothing is posted after it."""


Post = Callable[[Any], None]
"""Takes what a replica says, and `Lost` at last."""


@dataclass(frozen=True)
class Place:
    """What of a machine one replica has."""

    name: str
    """For people: "replica 1 (GPU 0)"."""
    cores: tuple[int, ...] = ()
    """Logical processors; empty: all."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its process."""


class Launch(Protocol):
    """Starts replicas of one kind."""

    def places(self) -> Sequence[Place]:
        """Where replicas run, one each."""

    def start(self, place: Place, birth: Birth, post: Post) -> Link:
        """Start one. OSError when that cannot be done."""


GRACE = 10.0
"""Seconds for a process to end that has closed its connection."""

QUIET = "ignore:resource_tracker"
"""Python's helper that looks after shared memory complains of what a killed process leaves, though it cleans it up."""


class ProcessLink:
    """A replica in a process of this machine."""

    def __init__(self, place: Place, birth: Birth | bytes, post: Post, *, unread: bool = False) -> None:
        """Start it. `unread`: birth and messages are bytes as pickle writes them, for who only passes them on."""
        self._post, self._unread = post, unread
        self._ended = threading.Event()
        self._joining = threading.Lock()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_replica, args=(theirs, birth))
        variables = {**place.variables, process.LEAVE_WITH_PARENT: "1", "PYTHONWARNINGS": QUIET}
        with process.environment(variables), _cores(place.cores):
            self._process.start()
        theirs.close()
        for work in (self._receive, self._transmit):
            threading.Thread(target=work, name=f"{place.name}-{work.__name__}", daemon=True).start()

    def send(self, message: Any) -> None:
        """Give the process a message."""
        self._outbox.put(message)

    def end(self) -> None:
        """Kill the process; its own processes end with it."""
        self._ended.set()
        self._outbox.put(None)
        with suppress(OSError, ValueError):
            self._process.kill()
        self._join(None)

    def _receive(self) -> None:
        try:
            while True:
                self._tell(self._connection.recv_bytes() if self._unread else self._connection.recv())
        except (EOFError, OSError):
            self._join(GRACE)
            self._tell(Lost(ending(self._process.exitcode)))
        except Exception as error:  # noqa: BLE001 - a message that cannot be read: another version of what it is made of
            self._tell(Lost(f"what it said cannot be read ({type(error).__name__}: {error})"))
        finally:
            self._connection.close()

    def _join(self, seconds: float | None) -> None:
        """Wait for the end; of two threads that wait for one process, one is not told."""
        with self._joining:
            self._process.join(seconds)

    def _tell(self, message: Any) -> None:
        if not self._ended.is_set():
            self._post(message)

    def _transmit(self) -> None:
        with suppress(OSError, ValueError):
            send = self._connection.send_bytes if self._unread else self._connection.send
            while (message := self._outbox.get()) is not None:
                send(message)


def ending(code: int | None) -> str:
    """How a process ended, as the end of a sentence."""
    if code is None:
        return "it closed its connection and did not end"
    return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"


@contextmanager
def _cores(cores: Sequence[int]) -> Iterator[None]:
    """What is started inside computes on these cores; a mask is a thread's own and is inherited."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _replica(connection: Connection, birth: Birth | bytes) -> None:
    process.leave_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    try:
        read = pickle.loads(birth) if isinstance(birth, bytes) else birth
    except Exception as error:  # noqa: BLE001 - whatever another version of a class raises when it is read
        connection.send(Broken(UserError(f"what it shall run cannot be read there ({sentence(error)}): install the "
                                         "same packages on every machine"), started=False))  # fmt: skip
    else:
        serve(connection, read)
    # Threads that still read media, or a library's, must not keep it.
    os._exit(0)

"""Replicas as actors of a Ray cluster that runs already: each has GPUs, or a share of the CPUs, of some node.

The driver talks to an actor in one call at a time, from a thread of its own: calls stay in order, none is lost between
others, and what Ray raises comes where it can be told. All that an actor asks for is on one node, as a resource of one
actor always is, so tensor parallelism needs no placement group; in one, vLLM would hand its ranks to Ray.
"""

from __future__ import annotations

import os
import pickle
import platform
import queue
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mmrope_eval.engine.backend import Driver
from mmrope_eval.engine.links import Link, Lost, Place, Post, ProcessLink
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.process import environment
from mmrope_eval.engine.replica import Birth, Broken, ServedEngine, StartServed
from mmrope_eval.engine.replicas import Replicas, start_replicas
from mmrope_eval.errors import MachinesError, UserError, plain
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant

ABANDONED: Final = 120.0
"""Seconds without a call after which an actor ends itself: the driver calls ten times a second, and Ray may leave an
actor alone whose node it takes for dead."""

POLL: Final = 0.1
"""Seconds that a call to an actor waits for something to bring back; what is said meanwhile waits as long."""

ROOM: Final = 120.0
"""Seconds for Ray to find a node with room for an actor."""

REACH: Final = 5.0
"""Seconds to reach a cluster's port: Ray itself tries for minutes."""

START: Final = "ray start --head --include-dashboard=false --disable-usage-stats"
"""The command that starts a cluster of one node."""


def require(options: EngineOptions) -> None:
    """MachinesError where this process cannot join the cluster."""
    connect(options.ray_address)


def start(checkpoint: Checkpoint, variant: Variant, options: EngineOptions, driver: Driver) -> Replicas:
    """The backend. Raises as `Replicas.start`, and `MachinesError` for a cluster that has no room or is not there."""
    return start_replicas(RayActors(options), checkpoint, variant, options, driver)


class RayActors:
    """One actor a replica, over the nodes of a cluster. MachinesError where none can be reached."""

    def __init__(self, options: EngineOptions) -> None:
        connect(options.ray_address)
        self._layout = layout(nodes(), options.replicas, options.tensor_parallel_size)

    def places(self) -> Sequence[Place]:
        """One for each actor; Ray chooses the node when it starts."""
        return [Place(f"replica {number}") for number in range(1, self._layout.count + 1)]

    def start(self, place: Place, birth: Birth, post: Post) -> Link:
        """Start an actor, when there is room for it."""
        options = replace(birth.options, replicas=self._layout.together)
        return ActorLink(place, replace(birth, options=options, start=StartThere(birth.start)), post, self._layout)


@dataclass(frozen=True)
class Node:
    """What a node has in all."""

    gpus: int
    cpus: int


@dataclass(frozen=True)
class Layout:
    """How replicas share a cluster."""

    count: int
    gpus: int
    """Of each replica."""
    cpus: int
    together: int
    """Replicas on a node at most, as far as can be known before."""


def layout(cluster: Sequence[Node], wanted: int | str | None, ranks_each: int) -> Layout:
    """How many replicas, and what of a node each has. MachinesError where they do not fit, with how many would."""
    gpus = [node.gpus // ranks_each for node in cluster]
    if any(node.gpus for node in cluster):
        count = sum(gpus) if wanted == "auto" else int(wanted or 1)
        if not 1 <= count <= sum(gpus):
            raise MachinesError(f"--replicas {wanted}: {count} replicas of {ranks_each} GPUs each do not fit on the "
                                f"cluster, whose nodes have {', '.join(str(node.gpus) for node in cluster)} GPUs; give "
                                f"at most {sum(gpus)}")  # fmt: skip
        cpus = min(node.cpus // room for node, room in zip(cluster, gpus, strict=True) if room)
        return Layout(count, ranks_each, cpus, max(gpus))
    able = [node.cpus for node in cluster if node.cpus >= ranks_each]
    count = len(able) if wanted == "auto" else int(wanted or 1)
    most = sum(cpus // ranks_each for cpus in able)
    if not 1 <= count <= most:
        raise MachinesError(f"--replicas {wanted}: {count} replicas of {ranks_each} CPUs each do not fit on the "
                            f"cluster, whose nodes have {', '.join(str(node.cpus) for node in cluster)} CPUs and no "
                            f"GPU; give at most {most}")  # fmt: skip
    if wanted == "auto":
        return Layout(count, 0, min(able), 1)
    share = next(size for size in range(max(able), 0, -1) if sum(cpus // size for cpus in able) >= count)
    return Layout(count, 0, share, -(-count // len(able)))


def nodes() -> list[Node]:
    """The nodes that are alive."""
    import ray

    each = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(has.get("GPU", 0)), int(has.get("CPU", 0))) for has in each]


def connect(address: str | None) -> None:
    """Make this process a driver of a running cluster, once. MachinesError with the command that starts one."""
    ray = require_ray()
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    named = f"--ray-address {address}" if address != "auto" else "without --ray-address"
    if "://" in address:
        raise MachinesError(f"{named}: start the command on a node of the cluster, and give HOST:PORT of its head; "
                            "Ray's client protocol is not used here")  # fmt: skip
    if address != "auto":
        _reach(address, named)
    if ray.is_initialized():
        return
    try:
        with _own_signals():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise MachinesError(f"{named}: no Ray cluster can be joined ({plain(str(error))}): start one with '{START}', "
                            "and on every further machine 'ray start --address HOST:PORT'") from error  # fmt: skip


def require_ray() -> Any:
    """The package. MachinesError with the command that installs it."""
    # Read when Ray is first imported. Otherwise it prints what it has to say of dead actors to standard output.
    try:
        with environment({"RAY_DEDUP_LOGS_SKIP_REGEX": ".", "RAY_USAGE_STATS_ENABLED": "0"}):
            import ray
    except ImportError as error:
        raise MachinesError(f"Ray cannot be imported here ({plain(str(error))}): install the extra "
                            "'ray' on all machines: pip install 'mmrope-eval[ray]'") from error  # fmt: skip
    return ray


def _reach(address: str, named: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 2**16):
        raise MachinesError(f"{named}: that is not HOST:PORT, as in 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()
    except OSError as error:
        raise MachinesError(f"{named}: no Ray cluster answers there ({plain(str(error))}): start one on {host} with "
                            f"'{START} --port {port}', or correct the address") from error  # fmt: skip


@contextmanager
def _own_signals() -> Iterator[None]:
    """SIGTERM means what it meant before: Ray would have it raise SystemExit, which vLLM's and our code may catch."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


class ActorLink:
    """A replica behind an actor."""

    def __init__(self, place: Place, birth: Birth, post: Post, shares: Layout) -> None:
        import ray

        self._post, self._shares = post, shares
        self._ended = threading.Event()
        self._outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._where = ""
        actor = ray.remote(Host).options(num_cpus=shares.cpus, num_gpus=shares.gpus, max_restarts=0, max_task_retries=0,
                                         scheduling_strategy="SPREAD")
        self._actor = actor.remote(place, pickle.dumps(birth))
        threading.Thread(target=self._work, name=f"{place.name}-calls", daemon=True).start()

    def send(self, message: Any) -> None:
        """Give the actor a message, in its next call."""
        self._outbox.put(pickle.dumps(message))

    def end(self) -> None:
        """Kill the actor; its processes end with it."""
        import ray

        self._ended.set()
        with suppress(Exception):  # whatever Ray says of an actor that is gone, or of a cluster
            ray.kill(self._actor, no_restart=True)

    def _work(self) -> None:
        try:
            if not self._found_room():
                return
            while not self._ended.is_set():
                for message in self._exchange():
                    self._tell(message if isinstance(message, Lost) else pickle.loads(message))
                    if isinstance(message, Lost):
                        return
        except Exception as error:  # noqa: BLE001 - Ray's, or a message's that cannot be read
            self._tell(ending(error, self._where))

    def _found_room(self) -> bool:
        """Wait until Ray has started the actor; False where it has not found a node for too long."""
        import ray

        deadline = time.monotonic() + ROOM
        calls = [self._actor.where.remote()]
        while not ray.wait(calls, timeout=1.0)[0]:
            if self._ended.is_set():
                return False
            if time.monotonic() > deadline:
                self._tell(Broken(UserError(no_room(self._shares, ray.available_resources())), started=False))
                return False
        self._where = ray.get(calls[0])
        return True

    def _exchange(self) -> list[Any]:
        import ray

        messages = []
        while not self._outbox.empty():
            messages.append(self._outbox.get())
        answers: list[Any] = ray.get(self._actor.exchange.remote(messages, POLL))
        return answers

    def _tell(self, message: Any) -> None:
        if not self._ended.is_set():
            self._post(message)


def no_room(shares: Layout, free: Mapping[str, float]) -> str:
    """Why an actor does not start, in a sentence."""
    wanted = " and ".join(f"{count} {name}" for name, count in (("GPUs", shares.gpus), ("CPUs", shares.cpus)) if count)
    left = ", ".join(f"{free.get(name, 0):g} {name}" for name in ("GPU", "CPU"))
    return (f"the cluster had no node with {wanted} free for {ROOM:.0f} s (free in all: {left}): other work holds "
            "them; wait for it, or give fewer --replicas")  # fmt: skip


def ending(error: Exception, where: str) -> Lost | Broken:
    """What became of an actor, from what Ray raised: an end, or a node that cannot run one."""
    text = str(error)
    on = f" on {where}" if where else ""
    missing = re.search(r"(ModuleNotFoundError|ImportError): (.*)", text)
    if missing and not where:
        return Broken(UserError(f"a node of the cluster cannot import what a replica needs ({plain(missing[2])}): "
                                "install the same version of mmrope-eval on every node"), started=False)  # fmt: skip
    reason = re.search(r"[Tt]he actor (?:is dead|died) because (.*?)(?:\. |\.?\n|\.?$)", text)
    if reason:
        return Lost(f"its actor{on} died because {plain(reason[1])}")
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    return Lost(f"its actor{on} cannot be reached ({type(error).__name__}: {plain(lines[-1])})")


class Host:
    """The actor: starts a replica's process on its node, and passes on what both sides say, without reading it.

    The engine is in a process of the actor's, as without Ray: its heartbeat comes through while it computes, Ray is not
    loaded beside vLLM, and it ends with the actor however that ended (`process.leave_with_parent`).
    """

    def __init__(self, place: Place, birth: bytes, abandoned: float = ABANDONED) -> None:
        """Start the replica's process; `birth` is a pickled `Birth`."""
        self._said: queue.SimpleQueue[bytes | Lost] = queue.SimpleQueue()
        self._link = ProcessLink(place, birth, self._said.put, unread=True)
        self._called = time.monotonic()
        threading.Thread(target=self._watch, args=(abandoned,), name="abandoned", daemon=True).start()

    def _watch(self, abandoned: float) -> None:
        """End this process, and so the replica's, when the driver calls no more."""
        while time.monotonic() - self._called < abandoned:
            time.sleep(min(abandoned / 4, 1.0))
        os._exit(1)

    def where(self) -> str:
        """The node, in words."""
        return f"{platform.node()}, process {os.getpid()}"

    def exchange(self, messages: Sequence[bytes], wait: float) -> list[bytes | Lost]:
        """Give the replica messages; what it said since the last call, or within `wait` seconds from now."""
        self._called = time.monotonic()
        for message in messages:
            self._link.send(message)
        deadline = time.monotonic() + wait
        try:
            posted = [self._said.get(timeout=max(0.0, deadline - time.monotonic()))]
        except queue.Empty:
            return []
        while not self._said.empty():
            posted.append(self._said.get())
        return posted


@dataclass(frozen=True)
class StartThere:
    """Starts an engine on a node, if that has what the driver has."""

    start: StartServed

    def __call__(self, checkpoint: Checkpoint, variant: Variant, options: EngineOptions) -> ServedEngine:
        """The engine. UserError where the checkpoint or the data are not at their place on this node."""
        wanted = {"the checkpoint": checkpoint.path, "what is served of it": checkpoint.served}
        if options.data_root is not None:
            wanted["the data"] = options.data_root
        for what, path in wanted.items():
            if not Path(path).is_dir():
                raise UserError(f"node {platform.node()} has no folder {path} ({what}): put it on a file system that "
                                "all nodes mount at the same place, or copy it there")  # fmt: skip
        if options.log is not None and not options.log.parent.is_dir():
            options = replace(options, log=None)  # on a disk of the driver's own: Ray's log of the node has the errors
        return self.start(checkpoint, variant, options)

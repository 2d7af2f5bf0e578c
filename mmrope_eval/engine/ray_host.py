"""What a Ray actor does for a replica: starts its process on the actor's node, and passes on what both sides say.

The engine is in a process of the actor's, as without Ray: its heartbeat comes through while it computes, Ray is not
loaded beside vLLM, and it ends with the actor however that ended (`process.leave_with_parent`). Messages are bytes that
the actor does not read. Nothing here needs Ray.
"""

from __future__ import annotations

import os
import platform
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mmrope_eval.engine.links import Lost, Place, ProcessLink
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replica import ServedEngine, StartServed
from mmrope_eval.errors import UserError
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant

ABANDONED: Final = 120.0
"""Seconds without a call after which an actor ends itself: the driver calls ten times a second, and Ray may leave an
actor alone whose node it takes for dead."""


class Host:
    """The actor."""

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
            said = [self._said.get(timeout=max(0.0, deadline - time.monotonic()))]
        except queue.Empty:
            return []
        while not self._said.empty():
            said.append(self._said.get())
        return said


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

"""Engines for the processes of tests/engine/test_replicas.py: they answer at once, and misbehave where told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waiting import eventually

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replica import ServedEngine, StartServed
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import Deferred, Failure, Generation, Request, Response


@dataclass(frozen=True)
class Named:
    """A checkpoint, or a variant."""

    name: str


@dataclass(frozen=True)
class Orders(MediaPolicy):
    """What engines do, in place of a media policy's limits.

    Every process has the same, so places are told apart by a variable.

    Pickled as it is, so that a replica has it whenever it is started.
    """

    delay: float = 0.0
    kills: str = ""
    """Requests with this in their ids end the process."""
    stops: str = ""
    """A request with this in its id stops the process, as SIGSTOP does, if `marker` is not there yet."""
    marker: str = ""
    refuses: str = ""
    """A start on the place with this number raises so."""
    dies_at: str = ""
    """A start on the place with this number ends the process; "*" on every one."""
    waits_at: str = ""
    """A start on this place takes until `marker` is there."""
    rejects: str = ""
    """A variant that a running engine does not take."""


def start(checkpoint: Any, variant: Any, options: EngineOptions) -> Stub:
    """Start an engine."""
    orders = ordered(options)
    place = os.environ["PLACE"]
    if orders.dies_at in (place, "*"):
        os._exit(7)
    if orders.refuses == place:
        raise UserError("this checkpoint cannot be.")
    if orders.waits_at == place:
        eventually(Path(orders.marker).exists, "the marker")
    return Stub(checkpoint, variant, orders)


def ordered(options: EngineOptions) -> Orders:
    """The orders that stand in place of the options' policy."""
    assert isinstance(options.policy, Orders)
    return options.policy


class Stub:
    """Answers every request with the name of its variant, several at a time, the last first."""

    capacity = 4

    deaths = 0

    def __init__(self, checkpoint: Any, variant: Any, orders: Orders) -> None:
        self.checkpoint, self.variant, self.orders = checkpoint, variant, orders

    def stream(
        self, requests: Iterable[Request | Deferred], interrupt: Callable[[], None] | None = None
    ) -> Generator[Response | Failure, None, None]:
        window: list[Request] = []
        for item in requests:
            made = item.made()
            if isinstance(made, Failure):
                yield made
                continue
            self.misbehave(made.id)
            window.append(made)
            yield self.answer(window.pop())

    def misbehave(self, name: str) -> None:
        orders = self.orders
        if orders.kills and orders.kills in name:
            os._exit(9)
        if orders.stops and orders.stops in name and not Path(orders.marker).exists():
            Path(orders.marker).touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    def answer(self, request: Request) -> Response:
        time.sleep(self.orders.delay)
        text = f"{self.variant.name} {self.checkpoint.name} at {os.environ['PLACE']}"
        return Response(request.id, text, (os.getpid(),), "stop", 1)

    def switch(self, *, variant: Any = None, checkpoint: Any = None, policy: Any = None) -> None:
        if variant is not None and variant.name == self.orders.rejects:
            raise UserError(f"the engine cannot take {variant.name}.")
        self.variant, self.checkpoint = variant or self.variant, checkpoint or self.checkpoint
        self.orders = policy or self.orders

    def close(self) -> None:
        pass


def start_with_gpus(checkpoint: Any, variant: Any, options: EngineOptions) -> Stub:
    """Start an engine that says which GPUs it sees."""
    return Seeing(checkpoint, variant, ordered(options))


class Seeing(Stub):
    """Answers with its GPUs too."""

    def answer(self, request: Request) -> Response:
        response = super().answer(request)
        return replace(response, text=f"{response.text} on GPU {os.environ['CUDA_VISIBLE_DEVICES']}")



if TYPE_CHECKING:  # what replicas serve
    SERVED: type[ServedEngine] = Stub
    STARTS: tuple[StartServed, ...] = (start, start_with_gpus)


def ours() -> Mapping[str, Any]:
    """What answers."""
    return {"code": "1"}


def of_the_process() -> Mapping[str, Any]:
    """What answers, of which every process has its own."""
    return {"code": str(os.getpid())}


def read(what: str) -> Request | Failure:
    """A request, or a failure, from what is light."""
    if what.endswith("unreadable"):
        return Failure(what, "media", "it cannot be read.")
    return Request(what, (what,), Generation(1))


class Explosive:
    """Reads nothing: it cannot be unpickled."""

    def __call__(self, what: str) -> Request | Failure:
        raise AssertionError

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return explode, ("the task's own class is not here",)


def explode(why: str) -> None:
    raise ModuleNotFoundError(why)

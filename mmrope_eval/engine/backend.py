"""The seam between what asks and what answers: an engine in this process, replicas on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from mmrope_eval.messages import Deferred, Failure, Request, Response

if TYPE_CHECKING:
    from mmrope_eval.media.policy import MediaPolicy
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant


class Engine(Protocol):
    """What a run needs of a live engine."""

    @property
    def deaths(self) -> int:
        """Engines inside it that died until now, and were replaced without a word to its user."""

    def stream(self, requests: Iterable[Request | Deferred]) -> Generator[Response | Failure, None, None]:
        """Answers in any order, requests pulled as needed; closing it drops what is unfinished."""

    def switch(
        self, *, variant: Variant | None = None, checkpoint: Checkpoint | None = None, policy: MediaPolicy | None = None
    ) -> Any:
        """Go on with another variant, checkpoint or media policy."""

    def close(self) -> None:
        """Free everything."""


StartEngine = Callable[["Checkpoint", "Variant", "MediaPolicy"], Engine]

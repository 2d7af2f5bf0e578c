"""The real engine of a run or a sweep, and what engines elsewhere are compared with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mmrope_eval.run.manifest import versions
from mmrope_eval.store.answer_code import answer_code
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.engine.backend import Engine
    from mmrope_eval.engine.options import EngineOptions
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant


def start_engine(checkpoint: Checkpoint, variant: Variant, options: EngineOptions) -> Engine:
    """Start the engine that options ask for; what it has to say goes to the screen."""
    from mmrope_eval.engine import backends

    return backends.start_engine(checkpoint, variant, options, running_code, warn)


def require(options: EngineOptions) -> None:
    """MachinesError where the machines that shall run engines cannot be reached."""
    if options.backend != "processes":
        from mmrope_eval.engine import backends

        backends.require(options)


def running_code() -> dict[str, str | None]:
    """What of this process decides how a question is answered."""
    return {**versions(), "code": answer_code().version}


def warn(sentence: str) -> None:
    """Say what an engine has to say."""
    say(sentence, file=sys.stderr)

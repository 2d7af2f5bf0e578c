"""The engines of a run or a sweep, and what engines elsewhere are compared with."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmrope_eval.engine.backend import Driver, Engine, StartEngine, require_machines, start_on_backend
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.run.manifest import versions
from mmrope_eval.store.answer_code import answer_code
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant


def start_engine(checkpoint: Checkpoint, variant: Variant, options: EngineOptions) -> Engine:
    """Start the engine that options ask for; what it has to say goes to the screen."""
    return start_on_backend(checkpoint, variant, options, Driver(running_code, partial(say, file=sys.stderr)))


def reached(options: EngineOptions, log: Path | None, start: StartEngine | None = None) -> StartEngine:
    """What starts the engines of a command: their words go to a log, and they may end this process where they are stuck
    in it. `start` replaces `start_engine`. MachinesError at once where the machines cannot be reached."""
    require_machines(options)
    begin = start or start_engine
    return lambda checkpoint, variant, wanted: begin(checkpoint, variant, replace(wanted, log=log, may_leave=True))


def running_code() -> dict[str, str | None]:
    """What of this process decides how a question is answered."""
    return {**versions(), "code": answer_code().version}

"""`mmrope-eval run` with an engine of the test's own."""

from __future__ import annotations

from mmrope_eval.cli import command_line
from mmrope_eval.cli.run import configured, evaluate
from mmrope_eval.engine.backend import StartEngine


def run_command(start: StartEngine, *options: str) -> int:
    """The exit code of `mmrope-eval run` with these options, on engines that `start` starts."""
    return command_line.ended(lambda: evaluate(configured(command_line.parse(["run", *options])), start))

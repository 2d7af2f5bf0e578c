"""`mmrope-eval study`: all runs of a file, in the order that changes weights least often, on one engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval.engine.backend import StartEngine
from mmrope_eval.run.prepared import prepare
from mmrope_eval.run.run import RunResult, run_all
from mmrope_eval.study.file import read_study, run_configs
from mmrope_eval.util.console import say
from mmrope_eval.util.environment import cache_at
from mmrope_eval.words import counted


def run_study(file: Path, flags: Mapping[str, Any] | None = None, start_engine: StartEngine | None = None,
              command: Sequence[str] = ()) -> list[RunResult]:
    """Evaluate a study; a result for each of its runs. UserError for bad input, before anything starts. `flags`: keys
    that go before the file's. A row that fails, for --max-failures too, is a failed row, and the others go on.
    `start_engine` replaces the live engine in tests."""
    path = Path(file)
    study = read_study(path, flags)
    output = Path(study.output or "")
    with cache_at(study.cache_dir):
        runs = [prepare(config) for config in run_configs(study, path, command)]
        say(f"study {path}: {counted(len(runs), 'run')} below {output}", file=sys.stderr)
        return run_all(runs, output, start_engine, go_on=True)

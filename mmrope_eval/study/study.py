"""`mmrope-eval study`: all runs of a file, in the order that changes weights least often, on one engine."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from mmrope_eval.engine.backend import StartEngine
from mmrope_eval.errors import UserError
from mmrope_eval.run.config import RunConfig, engine_options
from mmrope_eval.run.execute import MaxFailures
from mmrope_eval.run.prepared import prepare
from mmrope_eval.run.run import RunResult, report, run_all
from mmrope_eval.study.file import Study, read_study, refuse_twice, run_configs
from mmrope_eval.util.console import say

NOWHERE = Path()
"""The output of a command line that names none."""


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    base = RunConfig(
        models=(), tasks=(), output=args.output or NOWHERE, data_root=args.data_root,
        tasks_dirs=tuple(args.tasks_dir), max_failures=MaxFailures(args.max_failures), seed=args.seed[0],
        seeds=args.seed if len(args.seed) > 1 else (),
        fresh=args.fresh, options=engine_options(args), command=tuple(sys.argv),
        log_file=args.log_file, verbose=args.verbose,
    )  # fmt: skip
    results = run_study(args.file, base)
    for result in results:
        report(result)
    return max(result.code for result in results)


def run_study(file: Path, base: RunConfig | None = None, start_engine: StartEngine | None = None) -> list[RunResult]:
    """Evaluate a study; a result for each of its runs. UserError for bad input, before anything starts.

    `base`: the output, data, engine and tolerated failures, where they go before the file's. A row that fails, for
    --max-failures too, is a failed row, and the others go on. `start_engine` replaces the live engine in tests.
    """
    path = Path(file)
    study = read_study(path)
    base = base or RunConfig(models=(), tasks=(), output=NOWHERE)
    given = base.seeds or ((base.seed,) if base.seed else ())
    if given:
        if "seeds" in study.model_fields_set:
            raise UserError(f"study {path} has `seeds`: leave --seed out")
        study = study.model_copy(update={"seeds": [*given]})
        refuse_twice(study, path)
    base = dataclasses.replace(base, seeds=(), output=_output(study, path, base.output))
    runs = [prepare(config) for config in run_configs(study, path, base)]
    say(f"study {path}: {_counted(len(runs), 'run')} below {base.output}", file=sys.stderr)
    return run_all(runs, base.output, start_engine, go_on=True)


def _output(study: Study, path: Path, given: Path) -> Path:
    """Where results go: what the command says, else the file, whose relative path starts at its own folder."""
    if given != NOWHERE:
        return given
    if study.output is None:
        raise UserError(f"study {path} has no `output`: add one, or give --output")
    return path.parent / Path(study.output).expanduser()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

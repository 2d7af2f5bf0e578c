"""`mmrope-eval sweep`: measure every point, then show and draw what was measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mmrope_eval.cli.options import flags
from mmrope_eval.errors import UserError
from mmrope_eval.run.config import RunConfig, config_of
from mmrope_eval.run.keys import RunKeys
from mmrope_eval.sweep.config import read_sweep
from mmrope_eval.sweep.options import FILE_KEYS, OUTPUT, SweepOptions
from mmrope_eval.util.config import typed
from mmrope_eval.util.console import say
from mmrope_eval.util.keys import given_keys

if TYPE_CHECKING:
    from mmrope_eval.sweep.sweep import Sweep


def configured(options: SweepOptions) -> RunConfig:
    """What the runs of all points share. UserError for what cannot be."""
    keys = {name: value for name, value in flags(options, RunKeys).items() if name not in FILE_KEYS}
    return config_of(typed(RunKeys, {"output": OUTPUT, **keys}, "sweep"), command=sys.argv)


def main(options: SweepOptions) -> int:
    """The command: exit code 0, or 1 when samples failed for another reason than memory."""
    from mmrope_eval.report.published import load_published
    from mmrope_eval.report.sweep.figures import write_files
    from mmrope_eval.report.sweep.read import load_sweep
    from mmrope_eval.report.sweep.text import report

    run = configured(options)
    if options.dry_run:
        from mmrope_eval.sweep.dry_run import dry_run

        for line in dry_run(sweep_of(options, run)):
            say(line)
        return 0
    failed = 0
    if not options.report_only:
        measuring = sweep_of(options, run)
        measuring.measure()
        failed = measuring.failed
    sweep = load_sweep(run.output)
    say(report(sweep))
    for path in write_files(sweep, run.output, options.axis, load_published() if options.reported else None):
        say(str(path))
    return 1 if failed else 0


def sweep_of(options: SweepOptions, run: RunConfig) -> Sweep:
    """The sweep that a command line names. UserError for a file that is none, and where no checkpoint is named."""
    from mmrope_eval.engine.prompt import PromptWriter
    from mmrope_eval.run.engines import start_engine
    from mmrope_eval.sweep.config import GeneratedNeedles
    from mmrope_eval.sweep.sweep import Sweep

    if not run.models and not run.model_files:
        raise UserError("sweep: name at least one checkpoint with --model.")
    if len(run.seeds) > 1:
        raise UserError(f"sweep: --seed {','.join(map(str, run.seeds))}: a sweep has one seed; start it for each, with "
                        "an --output of its own.")
    of_sweep = {name: value for name, value in given_keys(options).items() if name in FILE_KEYS}
    return Sweep(read_sweep(options.config, of_sweep), run, GeneratedNeedles(), start_engine, PromptWriter)

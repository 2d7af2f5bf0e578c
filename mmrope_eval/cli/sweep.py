"""`mmrope-eval sweep`: measure every point, then show and draw what was measured."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.util.console import say


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples failed for another reason than memory."""
    from mmrope_eval.report.published import load_published
    from mmrope_eval.report.sweep.files import write_files
    from mmrope_eval.report.sweep.read import load_sweep
    from mmrope_eval.report.sweep.text import report

    failed = 0
    if not args.report_only:
        failed = measure(args)
    sweep = load_sweep(args.output)
    say(report(sweep))
    for path in write_files(sweep, args.output, args.axis, load_published() if args.reported else None):
        say(str(path))
    return 1 if failed else 0


def measure(args: argparse.Namespace) -> int:
    """Run the sweep; how many samples failed."""
    from mmrope_eval.run.engines import start_engine
    from mmrope_eval.sweep.config import read_sweep
    from mmrope_eval.sweep.needles import GeneratedNeedles
    from mmrope_eval.sweep.sweep import Sweep, prompt_writer

    if not args.model and not args.models:
        raise UserError("sweep: name at least one checkpoint with --model.")
    if len(args.seed) > 1:
        raise UserError(f"sweep: --seed {','.join(map(str, args.seed))}: a sweep has one seed; start it for each, with "
                        "an --output of its own.")  # fmt: skip
    config = read_sweep(args.config)
    if args.factor is not None:
        config = dataclasses.replace(config, factor=args.factor)
    sweep = Sweep(config, run_config(args), GeneratedNeedles(), start_engine, prompt_writer)
    sweep.go()
    return sweep.failed


def run_config(args: argparse.Namespace) -> Any:
    """The command line as what every point's run shares."""
    from mmrope_eval.run.config import RunConfig, engine_options
    from mmrope_eval.run.system_prompt import read_system
    from mmrope_eval.task.by_task import read_limits

    limit, limits = read_limits(args.limit)

    return RunConfig(
        models=tuple(args.model),
        model_files=tuple(args.models),
        assume_stock=args.assume_stock,
        tasks=(),
        tasks_dirs=tuple(args.tasks_dir),
        output=args.output,
        variants=tuple(args.variant),
        data_root=args.data_root,
        limit=limit,
        limits=limits,
        prompts=args.prompts,
        system=read_system(args.system),
        seed=args.seed[0],
        max_tokens=tuple(args.max_tokens),
        temperature=args.temperature,
        thinking=args.thinking,
        fresh=args.fresh,
        options=engine_options(args),
        command=tuple(sys.argv),
        log_file=args.log_file,
        verbose=args.verbose,
    )

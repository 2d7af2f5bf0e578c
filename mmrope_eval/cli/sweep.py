"""`mmrope-eval sweep`: measure every point, then show and draw what was measured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.cli.options import dry_run_option, flags, group_options, key_options, talk_options, word
from mmrope_eval.errors import UserError
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.sweep.sweep import Sweep

OUTPUT = Path("runs/sweep")


def factor(text: str) -> Any:
    """The rule of a context scaling, as sweep files have it."""
    from mmrope_eval.sweep.config import Factor

    return word(Factor)(text)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep`: a sweep file, checkpoints, where results go."""
    parser.add_argument("config", metavar="FILE", help="a sweep's YAML file, or a name in configs/sweeps")
    key_options(parser.add_argument_group("checkpoints"), "model", "models", "assume_stock")
    key_options(parser, "tasks_dir", "limit",
                variants="RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    parser.add_argument("--factor", metavar="RULE", type=factor,
                        help="scale by the reach of the variant's positions, by the length of the context, or by a "
                             "number: reach, context or NUMBER; default: the file's")
    parser.add_argument("--axis", choices=["context", "tokens"], default="context",
                        help="the figure's horizontal axis: contexts as planned, or the tokens of the median prompt "
                             "(default: %(default)s)")
    key_options(parser, "fresh", "no_cache", prompts="prompt family; default: that of the checkpoint",
                data_root="local mirror of the datasets; default: the hub (needles are generated below --output)",
                output=f"where points, table and figures go, and where a sweep resumes (default: {OUTPUT})")
    dry_run_option(parser)
    parser.add_argument("--reported", action="store_true", help="draw the paper's scores at 256K as crosses")
    parser.add_argument("--report-only", action="store_true", help="measure nothing: show and draw what --output holds")
    group_options(parser.add_argument_group("answers"))
    group_options(parser.add_argument_group("engine"))
    talk_options(parser)


def configured(args: argparse.Namespace) -> RunConfig:
    """What the runs of all points share. UserError for what cannot be."""
    from mmrope_eval.run.config import config_of
    from mmrope_eval.run.keys import RunKeys
    from mmrope_eval.util.config import typed

    return config_of(typed(RunKeys, {"output": OUTPUT, **flags(args, RunKeys)}, "sweep"), command=sys.argv)


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples failed for another reason than memory."""
    from mmrope_eval.report.published import load_published
    from mmrope_eval.report.sweep.figures import write_files
    from mmrope_eval.report.sweep.read import load_sweep
    from mmrope_eval.report.sweep.text import report

    run = configured(args)
    if args.dry_run:
        from mmrope_eval.sweep.dry_run import dry_run

        for line in dry_run(sweep_of(args, run)):
            say(line)
        return 0
    failed = 0
    if not args.report_only:
        measuring = sweep_of(args, run)
        measuring.go()
        failed = measuring.failed
    sweep = load_sweep(run.output)
    say(report(sweep))
    for path in write_files(sweep, run.output, args.axis, load_published() if args.reported else None):
        say(str(path))
    return 1 if failed else 0


def sweep_of(args: argparse.Namespace, run: RunConfig) -> Sweep:
    """The sweep that a command line names. UserError for a file that is none, and where no checkpoint is named."""
    from mmrope_eval.engine.prompt import PromptWriter
    from mmrope_eval.run.engines import start_engine
    from mmrope_eval.sweep.config import read_sweep
    from mmrope_eval.sweep.needles import GeneratedNeedles
    from mmrope_eval.sweep.sweep import Sweep

    if not run.models and not run.model_files:
        raise UserError("sweep: name at least one checkpoint with --model.")
    if len(run.seeds) > 1:
        raise UserError(f"sweep: --seed {','.join(map(str, run.seeds))}: a sweep has one seed; start it for each, with "
                        "an --output of its own.")
    config = read_sweep(args.config)
    if args.factor is not None:
        config = config.model_copy(update={"factor": args.factor})
    return Sweep(config, run, GeneratedNeedles(), start_engine, PromptWriter)

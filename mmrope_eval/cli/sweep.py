"""`mmrope-eval sweep`: measure every point, then show and draw what was measured."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmrope_eval.cli.argument_types import factor, names
from mmrope_eval.cli.options import (
    answer_options,
    dry_run_option,
    engine_options,
    flags,
    fresh_option,
    limit_option,
    model_options,
    talk_options,
    tasks_dir,
)
from mmrope_eval.errors import UserError
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.sweep.sweep import Sweep

OUTPUT = Path("runs/sweep")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep`: a sweep file, checkpoints, where results go."""
    parser.add_argument("config", metavar="FILE", help="a sweep's YAML file, or a name in configs/sweeps")
    model_options(parser.add_argument_group("checkpoints"))
    parser.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend",
                        help="RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    tasks_dir(parser)
    parser.add_argument("--factor", metavar="RULE", type=factor,
                        help="scale by the reach of the variant's positions, by the length of the context, or by a "
                             "number: reach, context or NUMBER; default: the file's")
    parser.add_argument("--axis", choices=["context", "tokens"], default="context",
                        help="the figure's horizontal axis: contexts as planned, or the tokens of the median prompt "
                             "(default: %(default)s)")
    limit_option(parser)
    parser.add_argument("--prompts", metavar="FAMILY", help="prompt family; default: that of the checkpoint")
    parser.add_argument("--data-root", metavar="DIR", type=Path,
                        help="local mirror of the datasets; default: the hub (needles are generated below --output)")
    parser.add_argument("--output", metavar="DIR", type=Path,
                        help="where points, table and figures go, and where a sweep resumes (default: runs/sweep)")
    fresh_option(parser)
    dry_run_option(parser)
    parser.add_argument("--no-cache", action="store_true", default=None,
                        help="decode videos anew instead of using the disk cache")
    parser.add_argument("--reported", action="store_true", help="draw the paper's scores at 256K as crosses")
    parser.add_argument("--report-only", action="store_true", help="measure nothing: show and draw what --output holds")
    answer_options(parser)
    engine_options(parser)
    talk_options(parser)


@dataclass(frozen=True)
class Options:
    """The command line of a sweep."""

    config: str
    """The sweep's YAML file, or its name."""
    run: RunConfig
    """What every point's run shares."""
    factor: str | float | None
    axis: Literal["context", "tokens"]
    reported: bool
    report_only: bool
    dry_run: bool


def options_of(args: argparse.Namespace) -> Options:
    """The parsed command line. UserError for values that cannot be."""
    from mmrope_eval.run.config import config_of
    from mmrope_eval.run.keys import RunKeys
    from mmrope_eval.util.config import typed

    keys = typed(RunKeys, {"output": OUTPUT, **flags(args, RunKeys)}, "sweep")
    return Options(args.config, config_of(keys, command=sys.argv), args.factor, args.axis, args.reported,
                   args.report_only, args.dry_run)  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples failed for another reason than memory."""
    from mmrope_eval.report.published import load_published
    from mmrope_eval.report.sweep.figures import write_files
    from mmrope_eval.report.sweep.read import load_sweep
    from mmrope_eval.report.sweep.text import report

    options = options_of(args)
    output = options.run.output
    if options.dry_run:
        from mmrope_eval.sweep.dry_run import dry_run

        for line in dry_run(sweep_of(options)):
            say(line)
        return 0
    failed = 0
    if not options.report_only:
        measuring = sweep_of(options)
        measuring.go()
        failed = measuring.failed
    sweep = load_sweep(output)
    say(report(sweep))
    for path in write_files(sweep, output, options.axis, load_published() if options.reported else None):
        say(str(path))
    return 1 if failed else 0


def sweep_of(options: Options) -> Sweep:
    """The sweep that a command line names. UserError for a file that is none, and where no checkpoint is named."""
    from mmrope_eval.engine.prompt import PromptWriter
    from mmrope_eval.run.engines import start_engine
    from mmrope_eval.sweep.config import read_sweep
    from mmrope_eval.sweep.needles import GeneratedNeedles
    from mmrope_eval.sweep.sweep import Sweep

    if not options.run.models and not options.run.model_files:
        raise UserError("sweep: name at least one checkpoint with --model.")
    if len(options.run.seeds) > 1:
        raise UserError(f"sweep: --seed {','.join(map(str, options.run.seeds))}: a sweep has one seed; start it for "
                        "each, with an --output of its own.")  # fmt: skip
    config = read_sweep(options.config)
    if options.factor is not None:
        config = dataclasses.replace(config, factor=options.factor)  # type: ignore[arg-type]
    return Sweep(config, options.run, GeneratedNeedles(), start_engine, PromptWriter)

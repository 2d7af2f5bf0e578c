"""`mmrope-eval sweep`: measure every point, then show and draw what was measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mmrope_eval.cli.options import flags
from mmrope_eval.cli.run import DRY_RUN
from mmrope_eval.errors import UserError
from mmrope_eval.run.config import RunConfig, config_of
from mmrope_eval.run.keys import AnswerKeys, EngineKeys, Limit, RunKeys, TalkKeys
from mmrope_eval.sweep.config import Factor, read_sweep
from mmrope_eval.util.config import typed
from mmrope_eval.util.console import say
from mmrope_eval.util.keys import DATA_ROOT, Names, Paths, PathText, Seeds, Text, Words, argument, field_of, option

if TYPE_CHECKING:
    from mmrope_eval.sweep.sweep import Sweep

OUTPUT: Final = Path("runs/sweep")
CHECKPOINTS: Final = "checkpoints"


class SweepOptions(AnswerKeys, EngineKeys, TalkKeys):
    """What `sweep` is asked: a sweep file, checkpoints, where results go."""

    groups = (CHECKPOINTS, "answers", "engine", "what is said")
    config: str = argument("a sweep's YAML file, or a name in configs/sweeps", metavar="FILE")
    model: Words | None = field_of(RunKeys, "model", group=CHECKPOINTS)
    models: Paths | None = field_of(RunKeys, "models", group=CHECKPOINTS)
    assume_stock: bool = field_of(RunKeys, "assume_stock", group=CHECKPOINTS)
    tasks_dir: Paths | None = field_of(RunKeys, "tasks_dir")
    limit: Limit = field_of(RunKeys, "limit")
    variants: Names = field_of(
        RunKeys, "variants", "RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    factor: Factor | None = option(
        "scale by the reach of the variant's positions, by the length of the context, or by a number: reach, context "
        "or NUMBER; default: the file's", metavar="RULE")
    axis: Literal["context", "tokens"] = option(
        "the figure's horizontal axis: contexts as planned, or the tokens of the median prompt (default: %(default)s)",
        "context")
    fresh: bool = field_of(RunKeys, "fresh")
    no_cache: bool = field_of(RunKeys, "no_cache")
    prompts: Text | None = field_of(RunKeys, "prompts", "prompt family; default: that of the checkpoint")
    data_root: PathText | None = field_of(
        RunKeys, "data_root", f"{DATA_ROOT} (needles are generated below --output)")
    output: PathText | None = field_of(
        RunKeys, "output", f"where points, table and figures go, and where a sweep resumes (default: {OUTPUT})")
    dry_run: bool = option(DRY_RUN, False)
    reported: bool = option("draw the paper's scores at 256K as crosses", False)
    report_only: bool = option("measure nothing: show and draw what --output holds", False)
    seed: Seeds = field_of(RunKeys, "seed", group="engine")


def configured(options: SweepOptions) -> RunConfig:
    """What the runs of all points share. UserError for what cannot be."""
    return config_of(typed(RunKeys, {"output": OUTPUT, **flags(options, RunKeys)}, "sweep"), command=sys.argv)


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
    config = read_sweep(options.config)
    if options.factor is not None:
        config = config.model_copy(update={"factor": options.factor})
    return Sweep(config, run, GeneratedNeedles(), start_engine, PromptWriter)

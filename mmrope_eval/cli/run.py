"""`mmrope-eval run` (evaluate.py): what it is asked, and what it does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mmrope_eval.cli.options import flags
from mmrope_eval.run.keys import DRY_RUN, RunKeys, TalkKeys
from mmrope_eval.util.keys import Place, option

if TYPE_CHECKING:
    from mmrope_eval.engine.backend import StartEngine
    from mmrope_eval.run.config import RunConfig

EXAMPLES: Final = """\
examples:
  one checkpoint, its own RoPE, three ways to name tasks
    python evaluate.py --model CKPT --tasks grounding
    python evaluate.py --model CKPT --tasks 'refcoco*,chartqa'
    python evaluate.py --model CKPT --tasks image,-chartqa --limit 200
  one checkpoint under several variants, one engine start
    python evaluate.py --model CKPT --variant mrope,mrope-i,hope --tasks video
  several checkpoints, a variant changed in one parameter, data from a local mirror
    python evaluate.py --model CKPT_A CKPT_B --variant mrope-i --set temporal_stride=0.5 --tasks image --data-root DIR

A run that was stopped continues where it was: start the same command again.
"""


class RunOptions(RunKeys, TalkKeys):
    """What `run` is asked: all keys of a run, and what only a command line says."""

    groups = ("what to evaluate", "answers", "data and results", "images and videos", "engine", "what is said")
    epilog = EXAMPLES
    config: Place | None = option(
        "YAML file of a run, in these options' words (docs/configuration.md); options given beside it go before it",
        group="what to evaluate", metavar="FILE")
    dry_run: bool = option(DRY_RUN, False, group="data and results")


def configured(options: RunOptions) -> RunConfig:
    """The run that a command line says, and its --config file. UserError for what cannot be."""
    from mmrope_eval.run.config import read_config

    return read_config(flags(options, RunKeys), options.config, sys.argv)


def main(options: RunOptions) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    config = configured(options)
    return show([config]) if options.dry_run else evaluate(config)


def evaluate(config: RunConfig, start_engine: StartEngine | None = None) -> int:
    """Make a run and print what it came to; the exit code, as of `main`. `start_engine` is as for `run.run`."""
    from mmrope_eval.run.execute import TooManyFailuresError
    from mmrope_eval.run.run import compare_second, report, run
    from mmrope_eval.util.console import say

    try:
        result = run(config, start_engine)
    except TooManyFailuresError as stop:
        say(f"mmrope-eval: stopped: {stop} The same command continues; failed samples are tried twice in all.",
            file=sys.stderr)  # fmt: skip
        return 1
    report(result)
    return max(result.code, compare_second(config, result))


def show(configs: Sequence[RunConfig]) -> int:
    """`--dry-run`: print what runs would do. Exit code 0."""
    from mmrope_eval.run.dry_run import dry_run
    from mmrope_eval.run.prepared import by_seed, prepare
    from mmrope_eval.util.console import say
    from mmrope_eval.util.paths import cache_at

    with cache_at(configs[0].cache_dir):
        for line in dry_run([prepare(seeded) for config in configs for seeded in by_seed(config)]):
            say(line)
    return 0

"""`mmrope-eval run` (evaluate.py): its options, and what it does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmrope_eval.cli.argument_types import Settings, failures, names, setting
from mmrope_eval.cli.options import (
    ROOT_HELP,
    answer_options,
    cache_option,
    dry_run_option,
    engine_options,
    flags,
    fresh_option,
    limit_option,
    media_options,
    model_options,
    scorer_option,
    talk_options,
    tasks_dir,
)

if TYPE_CHECKING:
    from mmrope_eval.engine.backend import StartEngine
    from mmrope_eval.run.config import RunConfig

EXAMPLES = """\
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`: what to evaluate, on which data, how media are read, how the engine runs."""
    parser.epilog = EXAMPLES
    what = parser.add_argument_group("what to evaluate")
    what.add_argument("--config", metavar="FILE", type=Path,
                      help="YAML file of a run, in these options' words (docs/configuration.md); options given beside "
                           "it go before it")
    model_options(what)
    what.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend",
                      help="RoPE variants by name or YAML path (see 'mmrope-eval list variants'); "
                           "default: what each checkpoint's config.json says")
    what.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings,
                      help="override one parameter of every variant chosen; may be repeated")
    what.add_argument("--tasks", metavar="LIST", type=names, action="extend",
                      help="comma-separated tasks, suites, globs and paths of task files; '-name' takes one out")
    tasks_dir(what)
    limit_option(what)
    what.add_argument("--protocol", metavar="NAME",
                      help="ask as a published evaluation did: a name in configs/protocols (paper, for example), "
                           "or as a YAML file says; single options still go before it, and are named with the scores")
    what.add_argument("--prompts", metavar="FAMILY",
                      help="prompt family (see configs/families); default: that of the checkpoint")
    what.add_argument("--coordinates", choices=["absolute", "thousand", "unit"],
                      help="how the checkpoint writes boxes: pixels of the resized image, 0-1000, 0-1; default: its "
                           "config.json's mm_coordinates, else its family's (configs/families)")
    answer_options(parser)
    _data_options(parser)
    scorer_option(parser)
    engine_options(parser)
    talk_options(parser)


def _data_options(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data and results")
    data.add_argument("--data-root", metavar="DIR", type=Path, help=f"{ROOT_HELP}; default: HF_HOME, then the hub")
    cache_option(data)
    data.add_argument("--output", metavar="DIR", type=Path,
                      help="where responses, scores and samples go, and where a run resumes (default: runs/default)")
    fresh_option(data)
    dry_run_option(data)
    data.add_argument("--max-failures", metavar="N", type=failures,
                      help="stop once more than N samples of a row have failed (0.05: more than 5 %% of them); "
                           "default: list them and go on")
    data.add_argument("--no-cache", action="store_true", default=None,
                      help="decode videos anew instead of using the disk cache")
    media_options(parser)


def configured(args: argparse.Namespace) -> RunConfig:
    """The run that a command line says, and its --config file. UserError for what cannot be."""
    from mmrope_eval.run.config import read_config
    from mmrope_eval.run.keys import RunKeys

    return read_config(flags(args, RunKeys), args.config, sys.argv)


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    config = configured(args)
    return show([config]) if args.dry_run else evaluate(config)


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
    from mmrope_eval.run.prepared import prepare
    from mmrope_eval.run.seeds import by_seed
    from mmrope_eval.util.console import say
    from mmrope_eval.util.environment import cache_at

    with cache_at(configs[0].cache_dir):
        for line in dry_run([prepare(one) for config in configs for one in by_seed(config)]):
            say(line)
    return 0

"""`mmrope-eval study`: its options, and what it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmrope_eval.cli.argument_types import failures
from mmrope_eval.cli.options import (
    ROOT_HELP,
    cache_option,
    dry_run_option,
    engine_options,
    flags,
    fresh_option,
    talk_options,
    tasks_dir,
)
from mmrope_eval.cli.run import show

EXAMPLES = """\
examples:
  all runs of a file, each checkpoint's weights loaded once; the same command continues
    mmrope-eval study study.yaml --replicas auto
  how far it is, from another shell
    mmrope-eval status results/study
"""



def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `study`: its file, where results go, how the engine runs."""
    parser.epilog = EXAMPLES
    parser.add_argument("file", metavar="FILE", type=Path, help="the study's YAML file (docs/study.md)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where results go; default: the file's `output`")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help=f"{ROOT_HELP}; default: the file's `data_root`")
    tasks_dir(parser)
    cache_option(parser)
    fresh_option(parser)
    dry_run_option(parser)
    parser.add_argument("--max-failures", metavar="N", type=failures,
                        help="give a row up once more than N of its samples have failed (0.05: more than 5 %% of them)")
    parser.add_argument("--no-cache", action="store_true", default=None,
                        help="decode videos anew instead of using the disk cache")
    engine_options(parser)
    talk_options(parser)


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    from mmrope_eval.run.run import report
    from mmrope_eval.study.file import Study, read_study, run_configs
    from mmrope_eval.study.study import run_study

    given = flags(args, Study, "seed")
    if args.dry_run:
        return show(run_configs(read_study(args.file, given), args.file))
    results = run_study(args.file, given, command=sys.argv)
    for result in results:
        report(result)
    return max(result.code for result in results)

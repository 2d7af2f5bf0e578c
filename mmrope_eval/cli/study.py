"""`mmrope-eval study`: its options, and what it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmrope_eval.cli.options import dry_run_option, flags, group_options, key_options, talk_options
from mmrope_eval.cli.run import show
from mmrope_eval.run.keys import ROOT

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
    key_options(parser, output="where results go; default: the file's `output`",
                data_root=f"{ROOT}; default: the file's `data_root`")
    key_options(parser, "tasks_dir", "cache_dir", "fresh", "no_cache",
                max_failures="give a row up once more than N of its samples have failed (0.05: more than 5 %% of them)")
    dry_run_option(parser)
    group_options(parser.add_argument_group("engine"))
    talk_options(parser)


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    from mmrope_eval.run.run import report
    from mmrope_eval.study.study import Study, read_study, run_configs, run_study

    given = flags(args, Study, "seed")
    if args.dry_run:
        return show(run_configs(read_study(args.file, given), args.file))
    results = run_study(args.file, given, command=sys.argv)
    for result in results:
        report(result)
    return max(result.code for result in results)

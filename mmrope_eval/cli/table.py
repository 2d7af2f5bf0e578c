"""`mmrope-eval table`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import group, names, options_as, positive, step
from mmrope_eval.report.table.formats import FORMATS

EXAMPLES = """\
examples:
  every benchmark, the paper's scores beside, rows marked that were not asked as the paper asks
    mmrope-eval table overall RUN... --reported --protocol paper
  the table that v3 of the paper calls 4
    mmrope-eval table 4 RUN... --numbering v3
  YaRN at 256K from a sweep, attention on visual tokens from analyses
    mmrope-eval table yarn SWEEP --reported
    mmrope-eval table attention mhrope.json mrope-i.json --reported
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `table`: which table, from which runs, what it shows besides scores."""
    parser.epilog = EXAMPLES
    parser.add_argument("table", metavar="TABLE",
                        help="overall, position, frequency, yarn, attention, ratio, stride, families, families-4b or "
                             "families-8b; its number in the paper; or a YAML file like those of configs/tables")
    parser.add_argument("run", metavar="RUN", type=Path, nargs="+",
                        help="--output folders of runs; for yarn those of sweeps, for attention files of 'analyze "
                             "--tasks docvqa --format json'")
    parser.add_argument("--numbering", choices=["v2", "v3"], default="v2",
                        help="the version of the paper whose numbers TABLE means (default: %(default)s)")
    parser.add_argument("--format", choices=list(FORMATS), default="markdown")
    parser.add_argument("--baseline", metavar="ROW", help="also show differences from this row, for example vanilla")
    parser.add_argument("--reported", action="store_true", help="set the paper's scores beside ours")
    parser.add_argument("--intervals", action="store_true", help="95 %% intervals, clustered by picture and video")
    parser.add_argument("--model", metavar="GLOB", type=names, action="extend", default=[],
                        help="only checkpoints of these names")
    parser.add_argument("--seeds", choices=["one", "mean"], default="one",
                        help="several runs of one cell: refuse, or show their mean (default: %(default)s)")
    parser.add_argument("--step", metavar="N|last|all", type=step,
                        help="checkpoints of one training: show step N, each training's last, or a line for each step")
    parser.add_argument("--all", action="store_true",
                        help="show every variant of the runs, and rows and columns that no run fills")
    parser.add_argument("--protocol", metavar="NAME",
                        help="mark rows that were not asked as a protocol of configs/protocols has it, such as paper")
    parser.add_argument("--group", metavar="NAME=GLOB", type=group, action="append", default=[],
                        help="in a table of groups (families): checkpoints of these names are of that group")
    parser.add_argument("--context", metavar="TOKENS", type=positive,
                        help="in a table of a sweep (yarn): the context shown; default: the table's")
    parser.add_argument("--partial", action="store_true",
                        help="average over the benchmarks that every row has, where some are missing")
    parser.add_argument("--chance", action=argparse.BooleanOptionalAction, default=True, help="show chance levels")
    parser.add_argument("--notes", action=argparse.BooleanOptionalAction, default=True,
                        help="show the notes below the table and their letters; without them, stderr says how many "
                             "there were")
    parser.add_argument("--standalone", action="store_true", help="LaTeX that compiles by itself")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write here instead of printing")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `cli.tables`)."""
    from mmrope_eval.cli.tables import TableOptions, main

    return main(options_as(TableOptions, args))

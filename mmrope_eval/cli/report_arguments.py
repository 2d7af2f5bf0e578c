"""What the subcommands that read finished runs accept."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.argument_types import fraction, group, kinds, names, positive, rate, sizes, step, tolerated, whole
from mmrope_eval.report.table.formats import FORMATS

TABLE_EXAMPLES = """\
examples:
  every benchmark, the paper's scores beside, rows marked that were not asked as the paper asks
    mmrope-eval table overall RUN... --reported --protocol paper
  the table that v3 of the paper calls 4
    mmrope-eval table 4 RUN... --numbering v3
  YaRN at 256K from a sweep, attention on visual tokens from analyses
    mmrope-eval table yarn SWEEP --reported
    mmrope-eval table attention mhrope.json mrope-i.json --reported
"""


def compare(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`: two runs."""
    parser.add_argument("a", metavar="A", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("b", metavar="B", type=Path, help="another; differences are B minus A")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every sample in one run only")
    _statistics_arguments(parser)


def check(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`: a run, what it must not fall behind, how far, and where the outcome is written."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("--against", metavar="BASELINE", type=Path, required=True,
                        help="another run, or a file of reported scores such as results/reported/huang2025.yaml")
    parser.add_argument("--tolerance", metavar="POINTS", type=tolerated, default=0.2,
                        help="a true loss of at most this many points is harmless; only more is worse (default: "
                             "%(default)s)")
    parser.add_argument("--margin", metavar="POINTS", type=rate,
                        help="pass only where it is shown that no average lost so many points; exit code 3 where that "
                             "cannot be told. Without it 2 is what cells are sorted by, and nothing is asked")
    parser.add_argument("--margin-columns", metavar="POINTS", type=rate, help="the same of every column")
    parser.add_argument("--require-power", metavar="POINTS", type=rate,
                        help="exit code 3 where a loss of so many points could have gone unnoticed in some cell")
    parser.add_argument("--allow-different", metavar="KINDS", type=kinds, action="extend", default=[],
                        help="compare although prompts, scorers, data or (answer) limits differ (comma-separated)")
    parser.add_argument("--require-all", action="store_true", help="fail also when a cell of the baseline is missing")
    parser.add_argument("--strict", action="store_true",
                        help="fail also when a cell is lower beyond the tolerance, even where that may be chance")
    parser.add_argument("--table", metavar="NAME",
                        help="compare with this table of a file of reported scores alone, such as families-8b; "
                             "default: all tables about the models of its first")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write a JUnit XML file, one test case a cell")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="write a markdown summary for a pull request")
    _statistics_arguments(parser)


def _statistics_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", choices=["one", "mean"], default="one",
                        help="mean: each side holds several trainings of a design, and their means are compared, as "
                             "designs (default: %(default)s, checkpoint by checkpoint)")
    parser.add_argument("--alpha", metavar="F", type=fraction, default=0.05,
                        help="chance of calling anything different, or worse, that is not (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=whole, default=0,
                        help="of everything drawn at random (default: %(default)s)")


def table(parser: argparse.ArgumentParser) -> None:
    """Arguments of `table`: which table, from which runs, what it shows besides scores."""
    parser.epilog = TABLE_EXAMPLES
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
    parser.add_argument("--standalone", action="store_true", help="LaTeX that compiles by itself")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write here instead of printing")


def trainings(parser: argparse.ArgumentParser) -> None:
    """Arguments of `trainings`: runs, and which of their designs are compared."""
    parser.add_argument("run", metavar="RUN", type=Path, nargs="+",
                        help="--output folders of runs; checkpoints of one variant are its trainings")
    parser.add_argument("--baseline", metavar="VARIANT", help="compare all others with it; default: each with each")
    parser.add_argument("--variant", metavar="LIST", type=names, action="extend", default=[],
                        help="only these variants (comma-separated)")
    parser.add_argument("--model", metavar="GLOB", type=names, action="extend", default=[],
                        help="only checkpoints of these names")
    parser.add_argument("--step", metavar="N|last", type=step, help="checkpoints of one training: which step of each")
    parser.add_argument("--points", metavar="LIST", type=sizes, default=[1.0, 3.0],
                        help="differences whose need of trainings is shown (default: 1,3)")
    parser.add_argument("--alpha", metavar="F", type=fraction, default=0.05,
                        help="chance of calling any equal pair different (default: %(default)s)")
    parser.add_argument("--format", choices=["text", "json"], default="text")


def steps(parser: argparse.ArgumentParser) -> None:
    """Arguments of `steps`: runs of a training's checkpoints, which scores, a figure."""
    parser.add_argument("run", metavar="RUN", type=Path, nargs="+", help="--output folders of runs")
    parser.add_argument("--columns", metavar="LIST", type=names, action="extend",
                        help="comma-separated averages, benchmarks or tasks; default: Overall,Image,Video,Grounding")
    parser.add_argument("--partial", action="store_true",
                        help="average over the benchmarks that every step has, where some are missing")
    parser.add_argument("--model", metavar="GLOB", type=names, action="extend", default=[],
                        help="only checkpoints of these names")
    parser.add_argument("--reported", action="store_true",
                        help="set the paper's scores beside ours, in the figure as thin lines")
    parser.add_argument("--figure", metavar="FILE", type=Path, help="also draw the scores over steps: .png or .pdf")
    parser.add_argument("--format", choices=["markdown", "csv", "json"], default="markdown")


def samples(parser: argparse.ArgumentParser) -> None:
    """Arguments of `samples`: a run, and which of its samples."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("--wrong", action="store_true", help="those that failed or have less than the full score")
    parser.add_argument("--n", metavar="N", type=positive, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--task", metavar="TASK", help="of this task; default: all, in the run's order")
    parser.add_argument("--row", metavar="ROW", help="of the row of this name; default: all, side by side")

"""What the commands on finished runs are asked: `table`, `compare`, `check`, `trainings`, `steps` and `samples`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from mmrope_eval.record.comparable import KINDS
from mmrope_eval.report.formats import FORMATS
from mmrope_eval.util.keys import (
    Fraction,
    Keys,
    Names,
    NotNegative,
    Numbers,
    Pairs,
    Place,
    Places,
    Positive,
    Rate,
    Step,
    Whole,
    argument,
    option,
)

SeedRule = Literal["one", "mean"]
"""Of `--seeds`: a cell is of one run, or the mean of several."""
FLIPS: Final = 19_999
"""Random swaps of a test, where nothing else is said."""
TOLERANCE: Final = 0.2
"""Points whose loss is harmless, where nothing else is said; docs/ci.md has what follows from it."""

MARGIN: Final = 2.0
"""Points whose loss is looked for, where nothing else is said."""

EXAMPLES: Final = """\
examples:
  every benchmark, the paper's scores beside, rows marked that were not asked as the paper asks
    mmrope-eval table overall RUN... --reported --protocol paper
  the table that v3 of the paper calls 4
    mmrope-eval table 4 RUN... --numbering v3
  YaRN at 256K from a sweep, attention on visual tokens from analyses
    mmrope-eval table yarn SWEEP --reported
    mmrope-eval table attention mhrope.json mrope-i.json --reported
"""


class TableOptions(Keys):
    """What `table` is asked."""

    epilog = EXAMPLES
    table: str = argument(
        "overall, position, frequency, yarn, attention, ratio, stride, families, families-4b or families-8b; its "
        "number in the paper; or a YAML file like those of configs/tables", metavar="TABLE")
    run: Places = argument(
        "--output folders of runs; for yarn those of sweeps, for attention files of 'analyze --tasks docvqa --format "
        "json'", metavar="RUN", nargs="+")
    numbering: Literal["v2", "v3"] = option(
        "the version of the paper whose numbers TABLE means (default: %(default)s)", "v2")
    format: str = option("default: %(default)s", "markdown", choices=[*FORMATS])
    baseline: str | None = option("also show differences from this row, for example vanilla", metavar="ROW")
    reported: bool = option("set the paper's scores beside ours", False)
    intervals: bool = option("95 %% intervals, clustered by picture and video", False)
    model: Names = option("only checkpoints of these names", [], metavar="GLOB")
    seeds: SeedRule = option(
        "several runs of one cell: refuse, or show their mean (default: %(default)s)", "one")
    step: Step | None = option(
        "checkpoints of one training: show step N, each training's last, or a line for each step", metavar="N|last|all")
    all: bool = option("show every variant of the runs, and rows and columns that no run fills", False)
    protocol: str | None = option(
        "mark rows that were not asked as a protocol of configs/protocols has it, such as paper", metavar="NAME")
    group: Pairs = option("in a table of groups (families): checkpoints of these names are of that group", [],
                          metavar="NAME=GLOB")
    context: Positive | None = option(
        "in a table of a sweep (yarn): the context shown; default: the table's", metavar="TOKENS")
    partial: bool = option("average over the benchmarks that every row has, where some are missing", False)
    chance: bool = option("show chance levels", True)
    notes: bool = option(
        "show the notes below the table and their letters; without them, stderr says how many there were", True)
    standalone: bool = option("LaTeX that compiles by itself", False)
    output: Place | None = option("write here instead of printing", metavar="FILE")


def _kinds(names: list[str]) -> list[str]:
    for name in names:
        if name not in KINDS:
            raise ValueError(f"'{name}' is none of {', '.join(KINDS)}")
    return names


Kinds = Annotated[Names, AfterValidator(_kinds)]
"""Kinds of `record.comparable.KINDS`."""


class ChanceKeys(Keys):
    """What is asked about chance."""

    seeds: SeedRule = option(
        "mean: each side holds several trainings of a design, and their means are compared, as designs (default: "
        "%(default)s, checkpoint by checkpoint)", "one")
    alpha: Fraction = option(
        "chance of calling anything different, or worse, that is not (default: %(default)s)", 0.05, metavar="F")
    seed: Whole = option("of everything drawn at random (default: %(default)s)", 0)


class CompareOptions(ChanceKeys):
    """What `compare` is asked."""

    a: Place = argument("the --output of a run, or one of its rows", metavar="A")
    b: Place = argument("another; differences are B minus A", metavar="B")
    as_json: bool = option("print one JSON object, with every sample in one run only", False, name="json")


class Rules(ChanceKeys):
    """When a cell is worse, when it is not, and what must be told."""

    tolerance: NotNegative = option(
        "a true loss of at most this many points is harmless; only more is worse (default: %(default)s)", TOLERANCE,
        metavar="POINTS")
    margin: Rate | None = option(
        "pass only where it is shown that no average lost so many points; exit code 3 where that cannot be told. "
        f"Without it {MARGIN:.0f} is what cells are sorted by, and nothing is asked", metavar="POINTS")
    margin_columns: Rate | None = option("the same of every column", metavar="POINTS")
    require_power: Rate | None = option(
        "exit code 3 where a loss of so many points could have gone unnoticed in some cell", metavar="POINTS")
    allow_different: Kinds = option(
        f"compare although these differ, comma-separated: {', '.join(KINDS)}", [], metavar="KINDS")
    require_all: bool = option("fail also when a cell of the baseline is missing", False)
    strict: bool = option(
        "fail also when a cell is lower beyond the tolerance, even where that may be chance", False)
    table: str | None = option(
        "compare with this table of a file of reported scores alone, such as families-8b; default: all tables about "
        "the models of its first", metavar="NAME")
    flips: Positive = FLIPS

    def within(self, average: bool) -> float:
        """The margin of an average or a column."""
        margin = self.margin if average or self.margin_columns is None else self.margin_columns
        return MARGIN if margin is None else margin

    def asked(self, average: bool) -> bool:
        """Whether it must be told that nothing is lost by the margin."""
        return (self.margin if average else self.margin_columns) is not None


class CheckOptions(Rules):
    """What `check` is asked: its rules, and of what."""

    run: Place = argument("the --output of a run, or one of its rows", metavar="RUN")
    against: Place = option(
        "another run, or a file of reported scores such as results/reported/huang2025.yaml", ..., metavar="BASELINE")
    junit: Place | None = option("write a JUnit XML file, one test case a cell", metavar="FILE")
    summary: Place | None = option("write a markdown summary for a pull request", metavar="FILE")


class TrainingsOptions(Keys):
    """What `trainings` is asked."""

    run: Places = argument("--output folders of runs; checkpoints of one variant are its trainings", metavar="RUN",
                           nargs="+")
    baseline: str | None = option("compare all others with it; default: each with each", metavar="VARIANT")
    variant: Names = option("only these variants (comma-separated)", [], metavar="LIST")
    model: Names = option("only checkpoints of these names", [], metavar="GLOB")
    step: Step | None = option("checkpoints of one training: which step of each", metavar="N|last")
    points: Numbers = option("differences whose need of trainings is shown (default: 1,3)", [1.0, 3.0], metavar="LIST",
                             action="store")
    alpha: Fraction = option("chance of calling any equal pair different (default: %(default)s)", 0.05, metavar="F")
    format: Literal["text", "json"] = option("default: %(default)s", "text")


class StepsOptions(Keys):
    """What `steps` is asked."""

    run: Places = argument("--output folders of runs", metavar="RUN", nargs="+")
    columns: Names = option(
        "comma-separated averages, benchmarks or tasks; default: Overall,Image,Video,Grounding", [], metavar="LIST")
    partial: bool = option("average over the benchmarks that every step has, where some are missing", False)
    model: Names = option("only checkpoints of these names", [], metavar="GLOB")
    reported: bool = option("set the paper's scores beside ours, in the figure as thin lines", False)
    figure: Place | None = option("also draw the scores over steps: .png or .pdf", metavar="FILE")
    format: Literal["markdown", "csv", "json"] = option("default: %(default)s", "markdown")


class SamplesOptions(Keys):
    """What `samples` is asked."""

    run: Place = argument("the --output of a run, or one of its rows", metavar="RUN")
    wrong: bool = option("those that failed or have less than the full score", False)
    n: Positive = option("how many (default: %(default)s)", 5)
    task: str | None = option("of this task; default: all, in the run's order", metavar="TASK")
    row: str | None = option("of the row of this name; default: all, side by side", metavar="ROW")

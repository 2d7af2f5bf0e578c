"""What a check may say of one cell: worse, not worse by a margin, or that it cannot be told; and by which rules."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from mmrope_eval.errors import UserError
from mmrope_eval.record.comparable import KINDS
from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.pairing import chance, points
from mmrope_eval.util.keys import Fraction, Keys, Names, NotNegative, Positive, Rate, Whole, option
from mmrope_eval.util.unread import MARK
from mmrope_eval.words import counted

State = Literal["worse", "missing", "lower", "open", "held", "better", "new", "untested"]
WORDS: Final[Mapping[State, str]] = {
    "worse": "Worse",
    "missing": "Missing",
    "lower": "Cannot tell, lower in these samples",
    "open": "Cannot tell",
    "held": "Not worse by the margin",
    "better": "Better",
    "new": "Not in the baseline",
    "untested": "Averages not tested",
}
"""States in the order in which they are shown."""
OPEN: Final[frozenset[State]] = frozenset({"lower", "open"})
"""States in which neither a loss is shown nor its absence."""
UNKNOWN: Final[frozenset[State]] = frozenset({"missing", "new", "untested"})
"""States of what was not compared."""
TOLERANCE: Final = 0.2
"""Points whose loss is harmless, where nothing else is said; docs/ci.md has what follows from it."""
MARGIN: Final = 2.0
"""Points whose loss is looked for, where nothing else is said."""


def _kinds(names: list[str]) -> list[str]:
    for name in names:
        if name not in KINDS:
            raise ValueError(f"'{name}' is none of {', '.join(KINDS)}")
    return names


Kinds = Annotated[Names, AfterValidator(_kinds)]
"""Kinds of `record.comparable.KINDS`."""


class ChanceKeys(Keys):
    """What is asked about chance."""

    seeds: Literal["one", "mean"] = option(
        "mean: each side holds several trainings of a design, and their means are compared, as designs (default: "
        "%(default)s, checkpoint by checkpoint)", "one")
    alpha: Fraction = option(
        "chance of calling anything different, or worse, that is not (default: %(default)s)", 0.05, metavar="F")
    seed: Whole = option("of everything drawn at random (default: %(default)s)", 0)


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
        "compare although prompts, scorers, data or (answer) limits differ (comma-separated)", [], metavar="KINDS")
    require_all: bool = option("fail also when a cell of the baseline is missing", False)
    strict: bool = option(
        "fail also when a cell is lower beyond the tolerance, even where that may be chance", False)
    table: str | None = option(
        "compare with this table of a file of reported scores alone, such as families-8b; default: all tables about "
        "the models of its first", metavar="NAME")
    flips: Positive = stats.FLIPS

    def within(self, average: bool) -> float:
        """The margin of an average or a column."""
        margin = self.margin if average or self.margin_columns is None else self.margin_columns
        return MARGIN if margin is None else margin

    def asked(self, average: bool) -> bool:
        """Whether it must be told that nothing is lost by the margin."""
        return (self.margin if average else self.margin_columns) is not None


@dataclass(frozen=True)
class Verdict:
    """One cell: a column or an average of a variant; scores and differences in points, 0 to 100."""

    cell: str
    column: str
    state: State
    baseline: float | None = None
    score: float | None = None
    low: float = math.nan
    high: float = math.nan
    """The two-sided interval of this cell's change, taken alone."""
    p: float = math.nan
    """Adjusted over all cells: of a loss beyond the tolerance where the score fell, of such a gain where it rose."""
    detectable: float = math.nan
    """The true loss that would have been noticed with a chance of 80 %, were it here alone; inf where none would."""
    basis: str = ""
    reason: str = ""
    unread: str = ""
    """How many of the run's answers, or else of the baseline's, are unread where they are many."""
    average: bool = False
    worst: float = math.nan
    """The one-sided bound below this cell's change, taken alone."""
    margin: float = math.nan
    tells: int | None = None
    """How many samples would probably tell that nothing is lost by the margin, if so it is."""
    asked: bool = False
    """Whether the rules demand to know what here cannot be told."""

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.column} of {self.cell}"

    @property
    def change(self) -> float:
        """Points gained; not a number where one side is unknown."""
        return math.nan if self.score is None or self.baseline is None else self.score - self.baseline

    @property
    def sentence(self) -> str:
        """The verdict in words, every number with what it is."""
        if self.reason:
            baseline = "" if self.baseline is None else f" (baseline {points(self.baseline)})"
            return f"{self.name}: {self.reason}{baseline}."
        remedy = f"; about {counted(self.tells, 'sample')} would tell" if self.state in OPEN and self.tells else ""
        alone = "no interval" if math.isnan(self.low) else (
            f"alone {points(self.low, sign=True)} to {points(self.high, sign=True)}, "
            f"at worst {points(self.worst, sign=True)}")
        return (f"{self.name}: {points(self.baseline or 0.0)} -> {points(self.score or 0.0)} "
                f"({points(self.change, sign=True)}; {alone}; over all {chance(self.p)}{remedy})."
                + (f" {MARK} {self.unread}." if self.unread else ""))


def refuse_margin(rules: Rules, average: Sequence[bool]) -> None:
    """UserError where a margin is asked of averages alone, or of columns alone, and no cell is one; `average` says of
    each cell which it is."""
    if rules.margin is not None and rules.margin_columns is None and not any(average):
        raise UserError("--margin is for averages, and of none is every column on both sides; ask it of the columns "
                        f"with --margin-columns {rules.margin:g}.")
    if rules.margin_columns is not None and rules.margin is None and all(average):
        raise UserError("--margin-columns is for columns, and only averages are judged here; ask it of the averages "
                        f"with --margin {rules.margin_columns:g}.")


def refuse_unlike(columns: Iterable[tuple[str, Collection[str]]], allowed: Collection[str], run: Path, against: Path,
                  what: str) -> None:
    """UserError, naming kinds and columns, where columns (each with the kinds in which it differs) were not measured
    alike and that is not allowed; `what` should be."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS if kind not in allowed}
    for name, kinds in columns:
        for kind in kinds:
            if kind in by_kind and name not in by_kind[kind]:
                by_kind[kind].append(name)
    refused = {kind: names for kind, names in by_kind.items() if names}
    if refused:
        different = "; ".join(f"{kind} of {', '.join(names)}" for kind, names in refused.items())
        raise UserError(f"{run} and {against} do not measure the same thing (different {different}); evaluate {what} "
                        f"alike, or pass --allow-different {','.join(refused)}.")


def judged(verdict: Verdict, loss: float, gain: float, rules: Rules) -> Verdict:
    """A verdict with its state, from the adjusted p-values of a loss and of a gain beyond the tolerance and from the
    bound on what may have been lost; and whether it leaves open what was asked. What would be noticed is never more
    than the baseline has."""
    if verdict.baseline is not None and verdict.detectable > verdict.baseline:
        verdict = replace(verdict, detectable=math.inf)
    margin = rules.within(verdict.average)
    state: State = "open"
    if loss <= rules.alpha:
        state = "worse"
    elif gain <= rules.alpha:
        state = "better"
    elif verdict.worst > -margin:
        state = "held"
    elif verdict.change < -rules.tolerance:
        state = "lower"
    blind = rules.require_power is not None and not verdict.detectable <= rules.require_power  # not a number: not known
    return replace(verdict, state=state, margin=margin, asked=state in OPEN and (rules.asked(verdict.average) or blind))

"""The outcome of a check, and its words: on the screen and as markdown for a pull request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mmrope_eval.report.pairing import chance, count, never_shows, points
from mmrope_eval.unread import MARK

State = Literal["worse", "lower", "same", "better", "missing", "new"]
WORDS: Final[Mapping[State, str]] = {
    "worse": "Worse",
    "missing": "Missing",
    "lower": "Lower, but within chance",
    "better": "Better",
    "same": "No worse",
    "new": "Not in the baseline",
}
"""States in the order in which they are shown."""


@dataclass(frozen=True)
class Verdict:
    """One cell; scores 0 to 100. `p` is Holm's, of a loss where the score fell, of a gain where it rose."""

    cell: str
    column: str
    state: State
    baseline: float | None = None
    score: float | None = None
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    detectable: float = math.nan
    basis: str = ""
    reason: str = ""
    unread: str = ""
    """How many of the run's answers, or else of the baseline's, are unread where they are many."""

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
        """The verdict in words."""
        if self.reason:
            known = "" if self.baseline is None else f" (baseline {points(self.baseline)})"
            return f"{self.name}: {self.reason}{known}."
        return (f"{self.name}: {points(self.baseline or 0.0)} -> {points(self.score or 0.0)} "
                f"({points(self.change, sign=True)}, interval {points(self.low, sign=True)} to "
                f"{points(self.high, sign=True)}, {chance(self.p)})."
                + (f" {MARK} {self.unread}." if self.unread else ""))


@dataclass(frozen=True)
class Outcome:
    """A whole check."""

    run: str
    against: str
    tolerance: float
    alpha: float
    seed: int
    require_all: bool
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    strict: bool = False
    """Whether what is lower fails too, even where that may be chance."""

    def of(self, state: State) -> tuple[Verdict, ...]:
        """The verdicts of one state, the largest change first."""
        found = [one for one in self.verdicts if one.state == state]
        return tuple(sorted(found, key=lambda one: 0.0 if math.isnan(one.change) else -abs(one.change)))

    @property
    def failing(self) -> tuple[Verdict, ...]:
        """The verdicts that make the check fail."""
        return (*self.of("worse"), *(self.of("lower") if self.strict else ()),
                *(self.of("missing") if self.require_all else ()))

    @property
    def failed(self) -> bool:
        """Whether the check failed."""
        return bool(self.failing)

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        compared = sum(one.state not in ("missing", "new") for one in self.verdicts)
        worse, lower, missing = (len(self.of(state)) for state in ("worse", "lower", "missing"))
        text = f"{worse} of {count(compared, 'cell')} worse" if worse else f"{count(compared, 'cell')}, none worse"
        text += f", {lower} lower" if lower and self.strict else ""
        return f"{'Failed' if self.failed else 'Passed'}: {text}{f', {missing} missing' if missing else ''}."

    @property
    def rule(self) -> str:
        """What "worse" means here."""
        return (f"Worse: more than {self.tolerance:g} points below the baseline, and p at most {self.alpha:g} "
                "(one-sided, after Holm over all cells). "
                + ("With --strict a cell that is so much lower fails as well, even where that may be chance. "
                   if self.strict else "")
                + f"Intervals are {100 * (1 - self.alpha):g} %, uncorrected. Seed {self.seed}.")


def lines(found: Outcome) -> Iterator[str]:
    """The outcome for a terminal or a log."""
    yield found.headline
    yield f"{found.run} against {found.against}"
    for state, title in WORDS.items():
        verdicts = found.of(state)
        if verdicts:
            yield ""
            yield f"{title}:"
            yield from (f"  {one.sentence}" for one in verdicts)
    yield ""
    yield found.rule
    unseen = [one.detectable for one in found.verdicts if one.detectable > found.tolerance]
    if unseen:
        yield sensitivity(found)
    yield from found.notes


def sensitivity(found: Outcome) -> str:
    """How small a loss this check would have noticed."""
    known = sorted((one.detectable, one.name) for one in found.verdicts if not math.isnan(one.detectable))
    seen = [one for one in known if not never_shows(one[0])]
    blind = [name for size, name in known if never_shows(size)]
    text = ""
    if seen:
        (least, best), (most, worst) = seen[0], seen[-1]
        text = f"A loss of {points(least)} points ({best})"
        if len(seen) > 1:
            text += f" to {points(most)} ({worst})"
        text += " would have been noticed four times in five; smaller ones less often."
    if blind:
        text += f" Too few samples to notice any loss: {', '.join(blind)}."
    return text.lstrip()


def markdown(found: Outcome) -> str:
    """The outcome for a pull request: a table of cells, failures first, and what must be known about it."""
    from tabulate import tabulate

    rows = [
        [WORDS[one.state], plain(one.cell), plain(one.column), number(one.baseline), number(one.score) + mark(one),
         points(one.change, sign=True), span(one), short(one.p),
         "none" if never_shows(one.detectable) else points(one.detectable)]
        for state in WORDS for one in found.of(state)
    ]
    headers = ["Verdict", "Variant", "Column", "Baseline", "This run", "Change", "Interval", "p", "Noticeable loss"]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=["left"] * 3 + ["right"] * 6)
    missing = [f"- {plain(one.sentence)}" for state in ("missing", "new") for one in found.of(state)]
    parts = [f"## RoPE check: {found.headline}", f"`{found.run}` against `{found.against}`", table]
    unread = [f"- {plain(f'{MARK} {one.name}: {one.unread}')}." for one in found.verdicts if one.unread]
    parts += ["\n".join(remarks) for remarks in (missing, unread) if remarks]
    parts.append(found.rule)
    if any(not math.isnan(one.detectable) for one in found.verdicts):
        parts.append(sensitivity(found))
    if found.notes:
        parts.append("\n".join(f"- {plain(note)}" for note in found.notes))
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text that markdown leaves as it is, inside a table too."""
    for mark in "\\|*_`<>":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", " ")


def mark(one: Verdict) -> str:
    """Beside a score of which many answers are unread."""
    return MARK if one.unread else ""


def number(value: float | None) -> str:
    """A score, or an em dash."""
    return points(math.nan if value is None else value)


def short(p: float) -> str:
    """A p-value under a heading that says so, or an em dash."""
    return "—" if math.isnan(p) else chance(p).removeprefix("p ").removeprefix("= ")


def span(one: Verdict) -> str:
    """A verdict's interval."""
    return "—" if math.isnan(one.low) else f"{points(one.low, sign=True)} to {points(one.high, sign=True)}"

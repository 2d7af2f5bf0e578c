"""The outcome of a check, and its words: on the screen as markdown for a pull request, and as JUnit XML."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from tabulate import tabulate

from mmrope_eval.report.compare.pairing import NAMED, chance, never_shows, points
from mmrope_eval.report.compare.verdict import HELD, OPEN, UNKNOWN, WORDS, State, Verdict
from mmrope_eval.report.markdown_text import code, escape
from mmrope_eval.report.options import Rules
from mmrope_eval.util.unread import MARK
from mmrope_eval.words import counted

INDENT: Final = "  "
"""Before a remark that belongs to the line above it."""
WIDTH: Final = 100
"""Columns that such a remark may fill before it goes on in the next line."""


@dataclass(frozen=True)
class Outcome:
    """A whole check."""

    run: str
    against: str
    rules: Rules
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()

    def of(self, state: State) -> tuple[Verdict, ...]:
        """The verdicts of one state: averages first, then the largest change."""
        verdicts = [verdict for verdict in self.verdicts if verdict.state == state]
        return tuple(sorted(verdicts, key=lambda verdict: (not verdict.average,
                                                    0.0 if math.isnan(verdict.change) else -abs(verdict.change))))

    @property
    def compared(self) -> tuple[Verdict, ...]:
        """The verdicts on what was compared."""
        return tuple(verdict for verdict in self.verdicts if verdict.state not in UNKNOWN)

    @property
    def lower(self) -> tuple[Verdict, ...]:
        """What scored lower by more than the tolerance though no loss is shown, whatever else is known of it."""
        return tuple(verdict for verdict in self.compared
                     if verdict.state != "worse" and verdict.change < -self.rules.tolerance)

    @property
    def failing(self) -> tuple[Verdict, ...]:
        """The verdicts that make the check fail."""
        return (*self.of("worse"), *(self.lower if self.rules.strict else ()),
                *(self.of("missing") if self.rules.require_all else ()))

    @property
    def unsettled(self) -> tuple[Verdict, ...]:
        """The verdicts that cannot tell what was asked."""
        return tuple(verdict for verdict in self.verdicts if verdict.asked)

    @property
    def code(self) -> int:
        """The exit code: 0 nothing failed, 1 something did, 3 what was asked cannot be told."""
        return 1 if self.failing else 3 if self.unsettled else 0

    @property
    def word(self) -> str:
        """The outcome in a word or two: passed is only what is shown to be no worse, or was asked and is told, where
        no cell is missing."""
        if self.code:
            return "Failed" if self.failing else "Cannot tell"
        shown = any(verdict.state in HELD for verdict in self.compared) or self.rules.require_power is not None
        return "Nothing could be told" if not shown else "Not failed" if self.of("missing") else "Passed"

    @property
    def headline(self) -> str:
        """The outcome in one sentence, with all three outcomes of cells."""
        rules = self.rules
        margins = {rules.within(average) for average in (verdict.average for verdict in self.compared)}
        by = f"by {min(margins):g} points" if len(margins) == 1 else "by their margins"
        held, unknown = (sum(verdict.state in states for verdict in self.compared) for states in (HELD, OPEN))
        text = f"{len(self.of('worse'))} worse, {held} not worse {by}, {unknown} cannot tell"
        text += f", {len(self.lower)} lower" if rules.strict and self.lower else ""
        missing = len(self.of("missing"))
        if missing and self.code:
            text += f", {missing} missing"
        elif missing:
            text += (f", but {missing} of {counted(len(self.compared) + missing, 'cell')} "
                     f"{'is' if missing == 1 else 'are'} missing (--require-all refuses that)")
        return f"{self.word}: {counted(len(self.compared), 'cell')}: {text}."

    @property
    def rule(self) -> str:
        """What the words and numbers mean here."""
        rules, level = self.rules, f"{100 * (1 - self.rules.alpha):g} %"
        both = sorted({rules.within(True), rules.within(False)})
        margins = f"{both[0]:g}" if len(both) == 1 else (
            f"{rules.within(True):g} (averages) or {rules.within(False):g} (columns)")
        return (f"Worse: a loss of more than {rules.tolerance:g} points is shown: p \"over all\" cells is at most "
                f"{rules.alpha:g} (one-sided, one family of averages and columns). Not worse by the margin: \"at "
                f"worst\", a one-sided {level} bound of that cell alone, is a loss of less than {margins} points. "
                f"\"Alone\" is its two-sided {level} interval, which decides nothing. "
                + ("With --strict what is lower by more than the tolerance fails too, even where that may be chance. "
                   if rules.strict else "")
                + f"Seed {rules.seed}.")


def lines(outcome: Outcome) -> Iterator[str]:
    """The outcome for a terminal or a log."""
    yield from (outcome.headline, f"{outcome.run} against {outcome.against}")
    for state, title in WORDS.items():
        if verdicts := outcome.of(state):
            yield from ("", f"{title}:")
            yield from (f"  {verdict.sentence}" for verdict in verdicts)
    yield from ("", outcome.rule)
    for text in remarks(outcome):
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="    ") if text.startswith(INDENT) else (text,)
    yield from outcome.notes
    if not_checked(outcome):
        yield not_checked(outcome)


def not_checked(outcome: Outcome) -> str:
    """What the check says nothing about, though the baseline has it; "" where that is nothing, or fails the check."""
    missing = len(outcome.of("missing"))
    if not missing or outcome.rules.require_all:
        return ""
    verb, them = ("was", "it is") if missing == 1 else ("were", "they are")
    return (f"{counted(missing, 'cell')} of the baseline {verb} not checked: {them} not in this run. "
            "With --require-all that fails.")


def remarks(outcome: Outcome) -> Iterator[str]:
    """What the check could have seen, and what was asked and cannot be told."""
    if any(not math.isnan(verdict.detectable) for verdict in outcome.verdicts):
        yield from sensitivity(outcome)
    if outcome.unsettled:
        names = ", ".join(verdict.name for verdict in outcome.unsettled)
        more = "Train more on each side" if outcome.rules.seeds == "mean" else "Ask more questions"
        more += ", as many as stand beside each" if all(verdict.tells for verdict in outcome.unsettled) else ""
        yield (f"Asked, and cannot be told here: {names}. {more}, or ask for less (--margin, --margin-columns, "
               "--require-power).")


def sensitivity(outcome: Outcome) -> Iterator[str]:
    """How small a loss this check would have noticed, were it in one cell alone."""
    estimable = [verdict for verdict in outcome.verdicts if not math.isnan(verdict.detectable)]
    seen = sorted((verdict.detectable, verdict.name) for verdict in estimable if not never_shows(verdict.detectable))
    blind = sorted((verdict for verdict in estimable if never_shows(verdict.detectable)), key=lambda blind: blind.name)
    if seen:
        (least, best), (most, worst) = seen[0], seen[-1]
        to = f" to {points(most)} ({worst})" if len(seen) > 1 else ""
        yield (f"A true loss of {points(least)} points ({best}){to}, in one cell alone, would have been noticed four "
               "times in five; a smaller one less often.")
    if len(blind) > NAMED:
        yield f"Too few samples for a loss to show by itself, however large it is, in {counted(len(blind), 'cell')}:"
        for cell in sorted({verdict.cell for verdict in blind}):
            yield f"{INDENT}{cell}: {', '.join(verdict.column for verdict in blind if verdict.cell == cell)}"
    elif blind:
        yield f"Never, however large, by itself: {', '.join(verdict.name for verdict in blind)}."


def markdown(outcome: Outcome) -> str:
    """The outcome for a pull request: a table of cells, failures first, and what must be known about it."""
    rows = [
        [WORDS[verdict.state], escape(verdict.cell), escape(verdict.column), points(verdict.baseline),
         points(verdict.score) + (MARK if verdict.unread else ""), points(verdict.change, sign=True),
         "—" if math.isnan(verdict.low) else f"{points(verdict.low, sign=True)} to {points(verdict.high, sign=True)}",
         "—" if math.isnan(verdict.p) else chance(verdict.p).removeprefix("p ").removeprefix("= "),
         points(verdict.worst, sign=True),
         "never" if never_shows(verdict.detectable) else points(verdict.detectable),
         f"{verdict.tells:,}" if verdict.state in OPEN and verdict.tells else "—"]
        for state in WORDS if state != "untested" for verdict in outcome.of(state)
    ]
    headers = ["Verdict", "Variant", "Column", "Baseline", "This run", "Change", "Interval alone", "p over all",
               "At worst", "Noticeable loss", "Samples that would tell"]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=["left"] * 3 + ["right"] * 8)
    missing = [f"- {escape(verdict.sentence)}" for state in WORDS if state in UNKNOWN for verdict in outcome.of(state)]
    compared = f"{code(str(outcome.run))} against {code(str(outcome.against))}"
    parts = [f"## RoPE check: {escape(outcome.headline)}", compared, table]
    unread = [f"- {escape(f'{MARK} {verdict.name}: {verdict.unread}')}."
              for verdict in outcome.verdicts if verdict.unread]
    parts += ["\n".join(remarks) for remarks in (missing, unread) if remarks]
    parts += [escape(outcome.rule), *(f"- {escape(text.strip())}" if text.startswith(INDENT) else escape(text)
                                      for text in remarks(outcome))]
    if outcome.notes:
        parts.append("\n".join(f"- {escape(note)}" for note in outcome.notes))
    if not_checked(outcome):
        parts.append(f"**{escape(not_checked(outcome))}**")
    return "\n\n".join(parts) + "\n"


_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcome: Outcome) -> str:
    """The XML: worse cells are failures (missing ones too with --require-all); skipped are cells that cannot be told,
    other missing ones and new ones. Averages that were not tested are no cases."""
    failing = set(outcome.failing)
    cases = [verdict for verdict in outcome.verdicts if verdict.state != "untested"]
    skipped = [verdict for verdict in cases if verdict.state in (*OPEN, "missing", "new") and verdict not in failing]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", {
        "name": "mmrope-eval check", "tests": str(len(cases)), "failures": str(len(failing)), "errors": "0",
        "skipped": str(len(skipped)), "time": "0",
    })
    properties = ElementTree.SubElement(suite, "properties")
    rules = outcome.rules
    for name, value in (("run", outcome.run), ("against", outcome.against), ("tolerance", rules.tolerance),
                        ("margin", rules.within(True)), ("margin_columns", rules.within(False)),
                        ("alpha", rules.alpha), ("seed", rules.seed)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": legal(str(value))})
    for verdict in cases:
        element = ElementTree.SubElement(suite, "testcase", classname=legal(f"mmrope-eval.{verdict.cell}"),
                                         name=legal(verdict.column), time="0")
        if verdict in failing:
            failure = {"message": legal(verdict.sentence), "type": verdict.state}
            ElementTree.SubElement(element, "failure", failure).text = legal(outcome.rule)
        elif verdict in skipped:
            ElementTree.SubElement(element, "skipped", message=legal(f"{WORDS[verdict.state]}: {verdict.sentence}"))
        else:
            ElementTree.SubElement(element, "system-out").text = legal(f"{verdict.sentence} {verdict.basis}.")
    sentences = (outcome.headline, outcome.rule, *remarks(outcome), *outcome.notes)
    ElementTree.SubElement(suite, "system-out").text = legal("\n".join(sentences))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)

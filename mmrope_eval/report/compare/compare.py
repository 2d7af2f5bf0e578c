"""`mmrope-eval compare A B`: which tasks differ, by how much and how surely: measured, tested
and corrected as one family, in plain words."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmrope_eval.report.compare.contrasts import Family, family_of, noticeable, smallest
from mmrope_eval.report.compare.pairing import Matched, chance, lacks, match, match_cells, never_shows, pictures, points
from mmrope_eval.report.compare.precision import change_interval
from mmrope_eval.report.compare.protocol_notes import about_checkpoints
from mmrope_eval.report.compare.trainings_command import compare_means
from mmrope_eval.report.options import FLIPS, CompareOptions
from mmrope_eval.report.runs import Run, finite_or_none, load_run
from mmrope_eval.util.console import say
from mmrope_eval.util.unread import MARK
from mmrope_eval.words import counted, shortened

NAMED = 5
"""How many samples are named before the rest is counted."""


def main(args: CompareOptions) -> int:
    """Print the comparison; 0 whatever it says."""
    if args.seeds == "mean":
        return compare_means(args.a, args.b, alpha=args.alpha, as_json=args.as_json)
    first, second = load_run(args.a), load_run(args.b)
    matched = match(first, second)
    family = family_of(matched.pairs)
    results = differences(family, alpha=args.alpha, seed=args.seed)
    if args.as_json:
        parts = record(first, second, matched, results, args.alpha, args.seed)
        untested = [dataclasses.asdict(untested) for untested in family.untested]
        say(json.dumps(parts | {"not_tested": untested}, indent=2, ensure_ascii=False))
    else:
        say(*lines(first, second, matched, results, args.alpha, args.seed))
        say(*(f"{untested.average} of {untested.cell} was not tested, as {lacks(untested.lacking)}."
              for untested in family.untested))
    return 0


def lines(first: Run, second: Run, matched: Matched, results: Sequence[Difference], alpha: float,
          seed: int) -> Iterator[str]:
    """The comparison in words: averages before columns."""
    yield from (f"A  {first.path}", f"B  {second.path}")
    yield from map(one_training, trainings(first, second))
    yield from about_checkpoints((before, after) for _, before, after in match_cells(first, second))
    yield from (sentence for run in (first, second) for sentence in run.assumptions())
    yield from ("", f"{totals(results, alpha)} shown to differ at the {percent(alpha)} level, all of them together.")
    for title, chosen in (
        ("B is better", [result for result in results if result.p_adjusted <= alpha and result.change > 0]),
        ("B is worse", [result for result in results if result.p_adjusted <= alpha and result.change <= 0]),
        ("No difference shown", [result for result in results if result.p_adjusted > alpha]),
    ):
        if chosen:
            yield from ("", f"{title}:")
            yield from (f"  {sentence(result, alpha)}"
                        for result in sorted(chosen, key=lambda result: (not result.parts, -result.change)))
    remarks = list(notes(matched))
    yield from (["", *remarks] if remarks else [])
    yield from ("", method_text(results, alpha, seed))


def totals(results: Sequence[Difference], alpha: float) -> str:
    """How many averages and columns are shown to differ, of how many."""
    kinds = (("average", [result for result in results if result.parts]),
             ("column", [result for result in results if not result.parts]))
    return " and ".join(f"{sum(result.p_adjusted <= alpha for result in kind)} of {counted(len(kind), name)}"
                        for name, kind in kinds if kind)


@dataclasses.dataclass(frozen=True)
class OneTraining:
    """Cells of A and B that are steps of one training."""

    run: str
    steps: tuple[int, int]
    cells: tuple[str, ...]


def trainings(first: Run, second: Run) -> list[OneTraining]:
    """The pairs of cells that are two steps of one training, those of one training and equal steps together."""
    columns: dict[tuple[str, tuple[int, int]], list[str]] = {}
    for name, before, after in match_cells(first, second):
        if before is None or after is None or before.run is None or before.run != after.run:
            continue
        if before.step is not None and after.step is not None and before.step != after.step:
            columns.setdefault((before.run, (before.step, after.step)), []).append(name)
    return [OneTraining(run, steps, tuple(names)) for (run, steps), names in columns.items()]


def one_training(pair: OneTraining) -> str:
    """What is to be known of them."""
    return (f"{', '.join(pair.cells)}: the same training ({pair.run}), A at step {pair.steps[0]} and B at step "
            f"{pair.steps[1]}: not two trainings, so a difference tells of the steps between them.")


def sentence(result: Difference, alpha: float) -> str:
    """One column or average in words: how far, how surely, and what could have been seen."""
    made_of = f"mean of {len(result.parts)} columns" if result.parts else result.metric
    where = f"{result.cell}, {result.column} ({made_of})"
    on = f" on {pictures(result.clusters)}" if result.clusters < result.samples else ""
    interval = "no interval" if math.isnan(result.low) else (
        f"{percent(1 - alpha)} interval alone {points(result.low, sign=True)} to {points(result.high, sign=True)}")
    numbers = (f"{points(result.first)} -> {points(result.second)}, {interval}, {chance(result.p_adjusted)} over all; "
               f"{counted(result.samples, 'sample')}{on}")
    # What was seen, not what is true; and what could have been seen, after a difference that was not.
    change = (f"{points(abs(result.change))} points {'higher' if result.change > 0 else 'lower'}" if result.change else
              "equal scores")
    missed = (" No difference here, however large, could show by itself: these are too few samples."
              if never_shows(result.detectable) else
              f" A difference of {points(result.detectable)} here alone would probably have shown.")
    return f"{where}: {change} ({numbers}).{'' if result.p_adjusted <= alpha else missed}"


def notes(matched: Matched) -> Iterator[str]:
    """What is not alike, and what only one run has."""
    for kind in dict.fromkeys(kind for pair in matched.pairs for kind in pair.unlike):
        names = ", ".join(pair.name for pair in matched.pairs if kind in pair.unlike)
        yield f"Not alike: the {kind} of {names}; a difference may come from there."
    for pair in matched.pairs:
        for run, text in zip("AB", pair.unread, strict=True):
            if text:
                yield f"{MARK} {pair.name} in {run}: {text}."
    for run, alone in (("A", matched.only_first), ("B", matched.only_second)):
        if alone:
            yield f"Only in {run}: {', '.join(f'{column} of {cell}' for cell, column, _ in alone)}."
    for pair in matched.pairs:
        for run, ids in (("A", pair.only_first), ("B", pair.only_second)):
            if ids:
                more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
                names = ", ".join(shortened(name, 60) for name in ids[:NAMED])
                yield f"Only in {run}, {pair.name}: {counted(len(ids), 'sample')} ({names}{more})."


def method_text(results: Sequence[Difference], alpha: float, seed: int) -> str:
    """What was calculated, in one paragraph."""
    tests = "; ".join(dict.fromkeys(result.test for result in results))
    return ("Paired by sample. Intervals: of each alone, clustered by picture and video; what is shown is decided by "
            f"the tests: {tests}; over all {len(results)} as one family, averages before their columns. "
            f"\"Would probably have shown\": with a chance of 80 % at {percent(alpha)} over all. Seed {seed}.")


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:g} %"


def record(first: Run, second: Run, matched: Matched, results: Sequence[Difference], alpha: float,
           seed: int) -> dict[str, Any]:
    """The comparison for machines; every sample that only one run has is named."""
    # What a column's samples and settings have that the other run's have not; nothing of an average.
    sides = {(pair.cell, pair.column): {name: getattr(pair, name) for name in (
        "only_first", "only_second", "unlike", "unread")} for pair in matched.pairs}
    rows = [{**dataclasses.asdict(result), "change": result.change, "differs": result.p_adjusted <= alpha,
             **sides.get((result.cell, result.column), {})} for result in results]
    plain = [{key: finite_or_none(value) for key, value in row.items()} for row in rows]
    return {
        "a": str(first.path), "b": str(second.path), "alpha": alpha, "seed": seed,
        "averages": [row for row in plain if row["parts"]],
        "comparisons": [row for row in plain if not row["parts"]],
        "one_training": [dataclasses.asdict(pair) for pair in trainings(first, second)],
        "only_in_a": [list(task) for task in matched.only_first],
        "only_in_b": [list(task) for task in matched.only_second],
    }


@dataclass(frozen=True)
class Difference:
    """How far one column or average differs, second minus first, on the samples that both have; 0 to 100."""

    cell: str
    column: str
    task: str
    """"" for an average."""
    metric: str
    first: float
    second: float
    low: float
    high: float
    """The interval of this one alone; not a number where it rests on too few pictures and videos."""
    p: float
    p_adjusted: float
    """Over the whole family: shown where it is at most alpha."""
    test: str
    detectable: float
    """The true difference that would probably have shown; inf where none can."""
    samples: int
    clusters: int
    parts: tuple[str, ...]
    """The columns that an average is over."""

    @property
    def change(self) -> float:
        """Points gained (or, below zero, lost) by the second run."""
        return self.second - self.first


def differences(family: Family, *, alpha: float = 0.05, seed: int = 0, flips: int = FLIPS) -> list[Difference]:
    """Every contrast, averages before their columns; two-sided tests. The interval's level is 1 - alpha.

    Each test draws from a seed of its own, made from `seed`, its cell and its task, so that neither it nor the interval
    depends on what else is compared.
    """
    tests = [contrast.test("two-sided", flips=flips, seed=seed) for contrast in family.contrasts]
    adjusted = family.tree.adjusted([test.p for test in tests])
    reach = noticeable(
        family.tree, lambda number, tail, power: smallest(family.contrasts[number], tail / 2, power), alpha)
    results = []
    for contrast, test, p, seen in zip(family.contrasts, tests, adjusted, reach, strict=True):
        interval = change_interval(contrast.precision, contrast.change, level=1 - alpha)
        results.append(Difference(
            contrast.cell, contrast.column, contrast.task, contrast.metric, 100 * contrast.first,
            100 * contrast.second, 100 * interval.low, 100 * interval.high, test.p, p, test.method, 100 * seen,
            contrast.units, contrast.clusters, contrast.parts,
        ))
    return results

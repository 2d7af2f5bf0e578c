"""`mmrope-eval compare A B`: which tasks differ, by how much and how surely, in plain words."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from mmrope_eval.console import say
from mmrope_eval.report import seed_compare, stats
from mmrope_eval.report.one_training import about_checkpoints
from mmrope_eval.report.pairing import (
    Difference,
    Matched,
    chance,
    count,
    differences,
    match,
    match_cells,
    never_shows,
    points,
)
from mmrope_eval.report.results import Run, load_run
from mmrope_eval.unread import MARK
from mmrope_eval.words import shortened

NAMED = 5
"""How many samples are named before the rest is counted."""


def main(args: argparse.Namespace) -> int:
    """Print the comparison; 0 whatever it says."""
    if args.seeds == "mean":
        return seed_compare.main(args)
    first, second = load_run(args.a), load_run(args.b)
    matched = match(first, second)
    found = differences(matched.pairs, alpha=args.alpha, seed=args.seed)
    if args.json:
        say(json.dumps(record(first, second, matched, found, args.alpha, args.seed), indent=2, ensure_ascii=False))
    else:
        say(*lines(first, second, matched, found, args.alpha, args.seed))
    return 0


def lines(first: Run, second: Run, matched: Matched, found: Sequence[Difference], alpha: float,
          seed: int) -> Iterator[str]:
    """The comparison in words."""
    yield f"A  {first.path}"
    yield f"B  {second.path}"
    yield from map(one_training, trainings(first, second))
    yield from about_checkpoints((one, two) for _, one, two in match_cells(first, second))
    yield from (sentence for run in (first, second) for sentence in run.assumptions())
    differing = [one for one in found if one.p_holm <= alpha]
    agreeing = [one for one in found if one.p_holm > alpha]
    yield ""
    yield f"{len(differing)} of {count(len(found), 'comparison')} shown to differ at the {percent(alpha)} level."
    for title, chosen in (
        ("B is better", [one for one in differing if one.change > 0]),
        ("B is worse", [one for one in differing if one.change <= 0]),
        ("No difference shown", agreeing),
    ):
        if chosen:
            yield ""
            yield f"{title}:"
            yield from (f"  {sentence(one, alpha, len(found))}" for one in sorted(chosen, key=lambda one: -one.change))
    remarks = list(notes(matched))
    if remarks:
        yield ""
        yield from remarks
    yield ""
    yield how(found, alpha, seed)


@dataclasses.dataclass(frozen=True)
class OneTraining:
    """Cells of A and B that are steps of one training."""

    run: str
    steps: tuple[int, int]
    cells: tuple[str, ...]


def trainings(first: Run, second: Run) -> list[OneTraining]:
    """The pairs of cells that are two steps of one training, those of one training and equal steps together."""
    found: dict[tuple[str, tuple[int, int]], list[str]] = {}
    for name, one, two in match_cells(first, second):
        if one is None or two is None or one.run is None or one.run != two.run:
            continue
        if one.step is not None and two.step is not None and one.step != two.step:
            found.setdefault((one.run, (one.step, two.step)), []).append(name)
    return [OneTraining(run, steps, tuple(names)) for (run, steps), names in found.items()]


def one_training(one: OneTraining) -> str:
    """What is to be known of them."""
    return (f"{', '.join(one.cells)}: the same training ({one.run}), A at step {one.steps[0]} and B at step "
            f"{one.steps[1]}: not two trainings, so a difference tells of the steps between them.")


def sentence(one: Difference, alpha: float, family: int) -> str:
    """One task in words: how far, how surely, and what could have been seen."""
    where = f"{one.cell}, {one.column} ({one.metric})"
    size = f"{count(one.samples, 'sample')}"
    if one.clusters < one.samples:
        size += f" on {count(one.clusters, 'picture or video')}".replace("picture or videos", "pictures or videos")
    interval = f"{percent(1 - alpha)} interval {points(one.low, sign=True)} to {points(one.high, sign=True)}"
    after = f"{chance(one.p_holm)} after Holm" if family > 1 else chance(one.p)
    numbers = f"{points(one.first)} -> {points(one.second)}, {interval}, {after}; {size}"
    if one.p_holm <= alpha:
        return f"{where}: {direction(one.change)} ({numbers})."
    return f"{where}: {direction(one.change)} ({numbers}).{detectable(one)}"


def detectable(one: Difference) -> str:
    """What could have been seen, after a difference that was not."""
    if math.isnan(one.detectable):
        return ""
    if never_shows(one.detectable):
        return " These are too few samples for any difference to show."
    return f" A difference of {points(one.detectable)} would probably have shown."


def direction(change: float) -> str:
    """A change in words."""
    if abs(change) < 0.005:
        return "the same"
    return f"{points(abs(change))} points {'higher' if change > 0 else 'lower'}"


def notes(matched: Matched) -> Iterator[str]:
    """What is not alike, and what only one run has."""
    for kind in dict.fromkeys(kind for one in matched.pairs for kind in one.unlike):
        names = ", ".join(one.name for one in matched.pairs if kind in one.unlike)
        yield f"Not alike: the {kind} of {names}; a difference may come from there."
    for one in matched.pairs:
        for run, text in zip("AB", one.unread, strict=True):
            if text:
                yield f"{MARK} {one.name} in {run}: {text}."
    for run, alone in (("A", matched.only_first), ("B", matched.only_second)):
        if alone:
            yield f"Only in {run}: {', '.join(f'{column} of {cell}' for cell, column, _ in alone)}."
    for one in matched.pairs:
        for run, ids in (("A", one.only_first), ("B", one.only_second)):
            if ids:
                yield f"Only in {run}, {one.name}: {count(len(ids), 'sample')} ({some(ids)})."


def some(ids: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(shortened(one, 60) for one in ids[:NAMED]) + more


def how(found: Sequence[Difference], alpha: float, seed: int) -> str:
    """What was calculated, in one paragraph."""
    tests = "; ".join(dict.fromkeys(one.test for one in found))
    return (f"Paired by sample. Intervals: {stats.DRAWS:,} draws of whole pictures and videos (BCa). Tests: {tests}. "
            f"\"Would probably have shown\": with a chance of 80 % at {percent(alpha)} over {len(found)}. Seed {seed}.")


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:g} %"


def record(first: Run, second: Run, matched: Matched, found: Sequence[Difference], alpha: float,
           seed: int) -> dict[str, Any]:
    """The comparison for machines; every sample that only one run has is named."""
    rows = [{**dataclasses.asdict(one), "change": one.change, "unlike": pair.unlike, "unread": pair.unread,
             "differs": one.p_holm <= alpha}
            for one, pair in zip(found, matched.pairs, strict=True)]
    return {
        "a": str(first.path), "b": str(second.path), "alpha": alpha, "seed": seed, "draws": stats.DRAWS,
        "comparisons": [{key: finite(value) for key, value in row.items()} for row in rows],
        "one_training": [dataclasses.asdict(one) for one in trainings(first, second)],
        "only_in_a": [list(one) for one in matched.only_first],
        "only_in_b": [list(one) for one in matched.only_second],
    }


def finite(value: Any) -> Any:
    """Not-a-number as null."""
    return None if isinstance(value, float) and math.isnan(value) else value

"""`mmrope-eval trainings RUN...`: compare designs over several trainings of each, and say what a training changes."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.report.compare.pairing import count, points
from mmrope_eval.report.compare.seed_findings import METHOD, Finding, findings, listed, reach, record, sentence, too_few
from mmrope_eval.report.compare.seed_stats import spread, trainings_needed
from mmrope_eval.report.compare.trainings import Design, Measured, designs_of, measured
from mmrope_eval.report.markdown_text import escape
from mmrope_eval.report.runs import load_run
from mmrope_eval.util.console import say


@dataclass(frozen=True)
class TrainingsOptions:
    """What `trainings` is asked."""

    run: tuple[Path, ...]
    baseline: str | None = None
    variant: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    step: int | Literal["last", "all"] | None = None
    points: tuple[float, ...] = (1.0, 3.0)
    alpha: float = 0.05
    format: Literal["text", "json"] = "text"


def main(args: TrainingsOptions) -> int:
    """Print the comparison; 0 whatever it says."""
    runs = [load_run(path) for path in args.run]
    for text in (one for run in runs for one in run.left_out()):
        say(f"mmrope-eval: {text}; it is not compared.", file=sys.stderr)
    several, single = chosen(designs_of(runs, models=args.model, step=args.step), args.variant)
    found = measured(several)
    compared = findings(pairs(found, args.baseline), level=1 - args.alpha)
    if args.format == "json":
        say(json.dumps(as_json(found, compared, args.alpha, args.points), indent=2, ensure_ascii=False))
    else:
        say(*lines(found, single, compared, args.alpha, args.points))
    return 0


def chosen(designs: Sequence[Design], names: Sequence[str]) -> tuple[list[Design], list[Design]]:
    """The designs with several trainings, and those with one, of the variants named. UserError where none has several,
    or there is no variant of a name."""
    for name in names:
        if name not in [one.label for one in designs]:
            raise UserError(f"--variant {name}: the runs are of {listed(designs)}; choose among these.")
    kept = [one for one in designs if not names or one.label in names]
    several = [one for one in kept if len(one.trainings) > 1]
    if not several:
        raise UserError(f"No design here was trained more than once ({listed(kept)}): what a training changes cannot "
                        "be told from what a design does; evaluate further trainings, and name their runs too.")
    return several, [one for one in kept if len(one.trainings) == 1]


def pairs(found: Measured, baseline: str | None) -> list[tuple[Measured, int, int]]:
    """Which designs are compared: all with the baseline, or each with each. UserError for a baseline that is none."""
    labels = [one.label for one in found.designs]
    if baseline is None:
        return [(found, first, second) for first, second in itertools.combinations(range(len(labels)), 2)]
    if baseline not in labels:
        raise UserError(f"--baseline {baseline} is none of the designs with several trainings: {', '.join(labels)}.")
    return [(found, labels.index(baseline), place) for place, label in enumerate(labels) if label != baseline]


def lines(found: Measured, single: Sequence[Design], compared: Sequence[Finding], alpha: float,
          sizes: Sequence[float]) -> Iterator[str]:
    """Scores by design, what a training changes, every comparison, and what must be known."""
    yield (f"{listed(found.designs)} trainings, on {count(len(found.columns), 'column')}: mean, and from the lowest "
           "to the highest training")
    yield ""
    yield score_table(found)
    yield ""
    yield "What another training of the same design changes, over all of them:"
    yield ""
    yield spread_table(found, sizes)
    for first, second in dict.fromkeys((one.first, one.second) for one in compared):
        yield ""
        yield f"{second} against {first}:"
        yield from (f"  {sentence(one, alpha)}" for one in compared if (one.first, one.second) == (first, second))
    yield ""
    yield from too_few(compared, alpha)
    yield METHOD
    yield from notes(found, single)


def score_table(found: Measured) -> str:
    """A line for each average and column that is judged."""
    from tabulate import tabulate

    rows = [[escape(name), *(f"{points(one.mean)} ({reach(one)})" for one in found.scores(name))]
            for name in found.judged]  # fmt: skip
    headers = ["", *(f"{escape(one.label)} ({len(one.trainings)})" for one in found.designs)]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def spread_table(found: Measured, sizes: Sequence[float]) -> str:
    """The standard deviation between trainings, and how many a difference needs."""
    from tabulate import tabulate

    rows = []
    for name in found.judged:
        one = spread(found.scores(name))
        assert one is not None
        needed = [f"{trainings_needed(one.sd, size):,} ({trainings_needed(one.low, size):,} to "
                  f"{trainings_needed(one.high, size):,})" for size in sizes]
        rows.append([escape(name), f"{one.sd:.2f} ({one.low:.2f} to {one.high:.2f})", f"{one.training:.2f}",
                     f"{100 * one.share:.0f} %", *needed])
    headers = ["", "sd (95 %)", "without the questions' part", "the training's share of the variance",
               *(f"trainings a design for {size:g} point{'s' if size != 1 else ''}" for size in sizes)]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def notes(found: Measured, single: Sequence[Design]) -> Iterator[str]:
    """What is left out, and what is not alike."""
    if single:
        yield (f"Trained once, so that nothing is said of them as designs: {', '.join(one.label for one in single)}.")
    if found.absent:
        yield f"Left out, as not every training was asked: {', '.join(found.absent)}."
    lost = [f"{one.name} {one.left_out:,}" for one in found.columns.values() if one.left_out]
    if lost:
        yield f"Samples that only some trainings have, left out: {', '.join(lost)}."
    for kind in dict.fromkeys(kind for one in found.columns.values() for kind in one.unlike):
        names = ", ".join(one.name for one in found.columns.values() if kind in one.unlike)
        yield f"Not alike: the {kind} of {names}; a difference may come from there."


def as_json(found: Measured, compared: Sequence[Finding], alpha: float, sizes: Sequence[float]) -> dict[str, Any]:
    """Everything, unrounded."""
    spreads = {name: spread(found.scores(name)) for name in found.judged}
    return {
        "alpha": alpha, "columns": list(found.columns), "averages": {k: list(v) for k, v in found.averages.items()},
        "designs": [{"label": one.label, "trainings": list(one.names),
                     "scores": {name: found.scores(name)[place].totals.tolist() for name in found.judged}}
                    for place, one in enumerate(found.designs)],
        "spread": {name: {"sd": one.sd, "df": one.df, "low": one.low, "high": one.high, "training_sd": one.training,
                          "training_share": one.share,
                          "trainings_needed": {f"{size:g}": trainings_needed(one.sd, size) for size in sizes}}
                   for name, one in spreads.items() if one is not None},
        "comparisons": [record(one, alpha) for one in compared],
    }

"""`mmrope-eval trainings RUN...`: compare designs over several trainings of each, and say what a training changes."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mmrope_eval.errors import UserError
from mmrope_eval.report.compare import trainings
from mmrope_eval.report.compare.pairing import points
from mmrope_eval.report.compare.seed_stats import spread, trainings_needed
from mmrope_eval.report.compare.trainings import Design, Finding, Measured, Sides
from mmrope_eval.report.markdown_text import escape
from mmrope_eval.report.options import TrainingsOptions
from mmrope_eval.report.runs import Run, load_run
from mmrope_eval.util.console import say
from mmrope_eval.words import counted


def main(args: TrainingsOptions) -> int:
    """Print the comparison; 0 whatever it says."""
    runs = [load_run(path) for path in args.run]
    for left_out in (text for run in runs for text in run.left_out()):
        say(f"mmrope-eval: {left_out}; it is not compared.", file=sys.stderr)
    several, single = chosen(trainings.designs_of(runs, models=args.model, step=args.step), args.variant)
    result = trainings.measured(several)
    compared = trainings.findings(pairs(result, args.baseline), level=1 - args.alpha)
    if args.format == "json":
        say(json.dumps(as_json(result, compared, args.alpha, args.points), indent=2, ensure_ascii=False))
    else:
        say(*lines(result, single, compared, args.alpha, args.points))
    return 0


def chosen(designs: Sequence[Design], names: Sequence[str]) -> tuple[list[Design], list[Design]]:
    """The designs with several trainings, and those with one, of the variants named. UserError where none has several,
    or there is no variant of a name."""
    for name in names:
        if name not in [design.label for design in designs]:
            raise UserError(f"--variant {name}: the runs are of {trainings.listed(designs)}; choose among these.")
    kept = [design for design in designs if not names or design.label in names]
    several = [design for design in kept if len(design.trainings) > 1]
    if not several:
        raise UserError(f"No design here was trained more than once ({trainings.listed(kept)}): what a training "
                        "changes cannot be told from what a design does; evaluate further trainings, and name their "
                        "runs too.")
    return several, [design for design in kept if len(design.trainings) == 1]


def pairs(measurement: Measured, baseline: str | None) -> list[tuple[Measured, int, int]]:
    """Which designs are compared: all with the baseline, or each with each. UserError for a baseline that is none."""
    labels = [design.label for design in measurement.designs]
    if baseline is None:
        return [(measurement, first, second) for first, second in itertools.combinations(range(len(labels)), 2)]
    if baseline not in labels:
        raise UserError(f"--baseline {baseline} is none of the designs with several trainings: {', '.join(labels)}.")
    return [(measurement, labels.index(baseline), place) for place, label in enumerate(labels) if label != baseline]


def lines(measurement: Measured, single: Sequence[Design], compared: Sequence[Finding], alpha: float,
          sizes: Sequence[float]) -> Iterator[str]:
    """Scores by design, what a training changes, every comparison, and what must be known."""
    columns = counted(len(measurement.columns), "column")
    yield (f"{trainings.listed(measurement.designs)} trainings, on {columns}: mean, and from the lowest to the highest "
           "training")
    yield from ("", score_table(measurement), "")
    yield from ("What another training of the same design changes, over all of them:", "")
    yield spread_table(measurement, sizes)
    pairs_compared = dict.fromkeys((finding.first, finding.second) for finding in compared)
    yield from lines_of_pairs({pair: f"{pair[1]} against {pair[0]}" for pair in pairs_compared}, compared, alpha)
    yield from notes(measurement, single)


def lines_of_pairs(titles: Mapping[tuple[str, str], str], compared: Sequence[Finding], alpha: float) -> Iterator[str]:
    """Every comparison below the title of its pair of designs, and what was calculated."""
    for pair, title in titles.items():
        yield from ("", f"{title}:")
        yield from (f"  {trainings.sentence(finding, alpha)}" for finding in compared
                    if (finding.first, finding.second) == pair)
    yield ""
    yield from trainings.too_few(compared, alpha)
    yield trainings.METHOD


def score_table(measurement: Measured) -> str:
    """A line for each average and column that is judged."""
    rows = [[escape(name), *(f"{points(score.mean)} ({trainings.reach(score)})" for score in measurement.scores(name))]
            for name in measurement.judged]  # fmt: skip
    headers = ["", *(f"{escape(design.label)} ({len(design.trainings)})" for design in measurement.designs)]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def spread_table(measurement: Measured, sizes: Sequence[float]) -> str:
    """The standard deviation between trainings, and how many a difference needs."""
    rows = []
    for name in measurement.judged:
        variation = spread(measurement.scores(name))
        assert variation is not None
        needed = [f"{trainings_needed(variation.sd, size):,} ({trainings_needed(variation.low, size):,} to "
                  f"{trainings_needed(variation.high, size):,})" for size in sizes]
        rows.append([escape(name), f"{variation.sd:.2f} ({variation.low:.2f} to {variation.high:.2f})",
                     f"{variation.training:.2f}", f"{100 * variation.share:.0f} %", *needed])
    headers = ["", "sd (95 %)", "without the questions' part", "the training's share of the variance",
               *(f"trainings a design for {size:g} point{'s' if size != 1 else ''}" for size in sizes)]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def notes(measurement: Measured, single: Sequence[Design]) -> Iterator[str]:
    """What is left out, and what is not alike."""
    if single:
        labels = ", ".join(design.label for design in single)
        yield f"Trained once, so that nothing is said of them as designs: {labels}."
    if measurement.absent:
        yield f"Left out, as not every training was asked: {', '.join(measurement.absent)}."
    lost = [f"{column.name} {column.left_out:,}" for column in measurement.columns.values() if column.left_out]
    if lost:
        yield f"Samples that only some trainings have, left out: {', '.join(lost)}."
    for kind in dict.fromkeys(kind for column in measurement.columns.values() for kind in column.unlike):
        names = ", ".join(column.name for column in measurement.columns.values() if kind in column.unlike)
        yield f"Not alike: the {kind} of {names}; a difference may come from there."


def as_json(measurement: Measured, compared: Sequence[Finding], alpha: float, sizes: Sequence[float]) -> dict[str, Any]:
    """Everything, unrounded."""
    spreads = {name: spread(measurement.scores(name)) for name in measurement.judged}
    return {
        "alpha": alpha, "columns": list(measurement.columns),
        "averages": {name: list(parts) for name, parts in measurement.averages.items()},
        "designs": [{"label": design.label, "trainings": list(design.names),
                     "scores": {name: measurement.scores(name)[place].totals.tolist() for name in measurement.judged}}
                    for place, design in enumerate(measurement.designs)],
        "spread": {name: {"sd": variation.sd, "df": variation.df, "low": variation.low, "high": variation.high,
                          "training_sd": variation.training, "training_share": variation.share,
                          "trainings_needed": {f"{size:g}": trainings_needed(variation.sd, size) for size in sizes}}
                   for name, variation in spreads.items() if variation is not None},
        "comparisons": [trainings.record(finding, alpha) for finding in compared],
    }


def compare_means(a: Path, b: Path, *, alpha: float, as_json: bool) -> int:
    """Print the comparison; 0 whatever it says."""
    first, second = load_run(a), load_run(b)
    both = trainings.sides(first, second)
    results = trainings.findings([(measurement, 0, 1) for measurement in both.measured], level=1 - alpha)
    if as_json:
        content = {"a": str(first.path), "b": str(second.path), "seeds": "mean", "alpha": alpha,
                   "comparisons": [trainings.record(finding, alpha) for finding in results],
                   "only_in_a": list(both.only_first), "only_in_b": list(both.only_second)}
        say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        say(*lines_of_sides(first, second, both, results, alpha))
    return 0


def lines_of_sides(first: Run, second: Run, both: Sides, results: Sequence[Finding], alpha: float) -> Iterator[str]:
    """The comparison in words."""
    yield from (f"A  {first.path}", f"B  {second.path}", "")
    shown = sum(finding.shown(alpha) for finding in results)
    yield f"{shown} of {counted(len(results), 'comparison')} shown to differ at the {100 * alpha:g} % level."
    titles = {(a.label, b.label): f"{a.label} ({', '.join(a.names)}) -> {b.label} ({', '.join(b.names)})"
              for a, b in (measurement.designs for measurement in both.measured)}
    yield from lines_of_pairs(titles, results, alpha)
    for side, alone in (("A", both.only_first), ("B", both.only_second)):
        if alone:
            yield f"Only in {side}: {', '.join(alone)}."
    yield from dict.fromkeys(note for measurement in both.measured for note in notes(measurement, ()))

"""Which training steps a table shows. Steps of one training are neither seeds nor one model: they are chosen or shown
one by one, never averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from mmrope_eval.errors import UserError
from mmrope_eval.report.candidates import BenchmarkResult
from mmrope_eval.report.runs import Cell

Step = int | Literal["last", "all"] | None
"""Of `--step`: that step, each training's last, a line for each; None: there must be no choice."""
Seeds = Literal["one", "mean"]
"""Of `--seeds`: a cell is of one run, or the mean of several."""


def select(entries: Sequence[BenchmarkResult], step: Step) -> list[BenchmarkResult]:
    """The entries of the chosen steps; UserError where a step is named that no training has.

    Checkpoints without a step stay, as there is nothing to choose, but not beside the step that was named.
    """
    if step is None or step == "all":
        return list(entries)
    if step == "last":
        last: dict[tuple[str | None, str], int] = {}
        for entry in entries:
            place = (entry.cell.run, entry.key)
            last[place] = max(last.get(place, 0), entry.cell.step or 0)
        return [entry for entry in entries if entry.cell.step in (None, last[entry.cell.run, entry.key])]
    there = {entry.key for entry in entries if entry.cell.step == step}
    if not there:
        cells = [cell for cell in cells_of(entries) if cell.step is not None]
        offered = f"there are {words(cells)}" if cells else "their checkpoints' folders name none; leave --step out"
        raise UserError(f"--step {step}: none of the runs is of this training step, {offered}.")
    return [entry for entry in entries
            if entry.cell.step == step or (entry.cell.step is None and entry.key not in there)]


def refuse(row: str, by_benchmark: Mapping[str, Sequence[BenchmarkResult]], step: Step, seeds: Seeds) -> None:
    """UserError where a row, or one of its benchmarks, rests on more than one training step."""
    cells = cells_of(entry for column in by_benchmark.values() for entry in column)
    steps = {cell.step for cell in cells} - {None}
    mixed = [column for column in by_benchmark.values() if len({entry.cell.step for entry in column}) > 1]
    if len(steps) < 2 and not mixed:
        return
    if len(steps) < 2:  # one step beside a checkpoint that has none
        cells = cells_of(entry for column in mixed for entry in column)
    offers = []
    if step is None and steps:
        offers.append(f"one of them with --step {common(cells)}")
    if step is None and len(steps) > 1:
        offers.append("the last with --step last")
    offers.append("a line for each with --step all")
    why = ("--seeds mean averages different trainings at one step only, and its runs are"
           if seeds == "mean" else "training steps are not seeds, and its runs are")
    raise UserError(f"{row}: {why} {words(cells)}; show {listed(offers, 'or')}.")


def common(cells: Sequence[Cell]) -> int:
    """The step to suggest: the last that every training has, or the last of any."""
    by_run: dict[str | None, set[int]] = {}
    for cell in cells:
        if cell.step is not None:
            by_run.setdefault(cell.run, set()).add(cell.step)
    return max(set.intersection(*by_run.values()) or set.union(*by_run.values()))


def words(cells: Iterable[Cell]) -> str:
    """Steps by training: `steps 100 and 200 of runs/a and step 50 of runs/b`; the others by their names."""
    steps: dict[str | None, set[int]] = {}
    others: dict[str, None] = {}
    for cell in cells:
        if cell.step is None:
            others[cell.model] = None
        else:
            steps.setdefault(cell.run, set()).add(cell.step)
    parts = [f"step{'s' if len(numbers) > 1 else ''} {listed([str(number) for number in sorted(numbers)])}"
             + (f" of {run}" if run else "") for run, numbers in steps.items()]
    if others:
        parts.append(f"{listed(list(others))} without a step")
    return listed(parts)


def listed(parts: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def cells_of(entries: Iterable[BenchmarkResult]) -> list[Cell]:
    """The entries' cells, each once."""
    return list({str(entry.cell.path): entry.cell for entry in entries}.values())


def cells_of_rows(picked: Mapping[str, Mapping[str, Sequence[BenchmarkResult]]]) -> dict[str, list[Cell]]:
    """The cells behind each row's benchmarks, each once."""
    return {row: cells_of(entry for column in columns.values() for entry in column) for row, columns in picked.items()}


def remarks(picked: Mapping[str, Mapping[str, Sequence[BenchmarkResult]]], before: Sequence[BenchmarkResult],
            chosen: Sequence[BenchmarkResult], step: Step) -> list[str]:
    """Which step each row is, where that is not in its label; and the trainings of which nothing is left of what there
    was before its steps were chosen."""
    sentences: list[str] = []
    rows = {row: {cell.step for cell in cells} for row, cells in cells_of_rows(picked).items()}
    named = {row: next(iter(steps - {None})) for row, steps in rows.items() if steps - {None}}
    filled = [row for row, steps in rows.items() if steps]
    if step != "all" and named:
        if len(named) == len(filled) and len(set(named.values())) == 1:
            sentences.append(f"Training step {named[filled[0]]} in every row.")
        else:
            parts = [f"{row} {named[row]}" if row in named else f"{row} not known" for row in filled]
            sentences.append(f"Training steps: {', '.join(parts)}.")
    kept = {cell.run for cell in cells_of(chosen)}
    if lost := [cell for cell in cells_of(before) if cell.run not in kept]:
        sentences.append(f"Not shown, without step {step}: {words(lost)}.")
    return sentences

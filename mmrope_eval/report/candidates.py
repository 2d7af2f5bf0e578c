"""What may fill the rows of a table: the benchmarks of runs, by variant, by training step and by group of models.

Steps of one training are neither seeds nor one model: they are chosen or shown one by one, never averaged.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.models.families import BY_NAME
from mmrope_eval.report.definitions import Row, TableDefinition, variant_key
from mmrope_eval.report.options import SeedRule
from mmrope_eval.report.runs import Cell, Run
from mmrope_eval.rope import Variant, VariantError, described, load_variant

OTHER: Final = "other"
"""The group of checkpoints that belong to none."""
Step = int | Literal["last", "all"] | None
"""Of `--step`: that step, each training's last, a line for each; None: there must be no choice."""


@dataclass(frozen=True)
class BenchmarkResult:
    """One benchmark of one cell: its row of `Run.scores`, and where its samples are."""

    run: Run = field(repr=False)
    cell: Cell = field(repr=False)
    scores: Mapping[str, Any]
    variant: Variant | None = field(repr=False)
    """The cell's variant, see `variant_of`."""
    key: str
    """What a row's `key` must equal, see `keyed`."""
    design: str
    """What a row's `design` must equal."""

    @property
    def known(self) -> Mapping[str, Any]:
        """The fields of `scores`, None where one is unknown."""
        return {name: None if pd.isna(value) else value for name, value in self.scores.items()}

    @property
    def result_key(self) -> tuple[Any, ...]:
        """What is equal in all records of one result."""
        return tuple(str(self.scores[name]) for name in (
            "model_fingerprint", "variant_fingerprint", "task", "metric", "score", "n", "data_fingerprint",
            "prompt_hash"))


def distinct(rows: Iterable[Iterable[BenchmarkResult]]) -> list[dict[str, list[BenchmarkResult]]]:
    """Group each row's different results that have a score by benchmark."""
    by_row: list[dict[str, list[BenchmarkResult]]] = []
    for entries in rows:
        by_row.append({})
        for entry in entries:
            if pd.isna(entry.scores["score"]):
                continue
            column = by_row[-1].setdefault(str(entry.scores["column"]), [])
            if all(entry.result_key != other.result_key for other in column):
                column.append(entry)
    return by_row


@dataclass(frozen=True)
class Line:
    """A row before it is filled: the results that may fill it, and the label of the definition's row that it is, or of
    which it is one training step."""

    row: Row
    entries: Sequence[BenchmarkResult]
    base: str


def collect(runs: Iterable[Run], models: Sequence[str]) -> list[BenchmarkResult]:
    """Every benchmark of every cell, each folder once. UserError when `models` leaves nothing."""
    entries: dict[tuple[str, str], BenchmarkResult] = {}
    seen: list[str] = []
    for run in runs:
        scores = run.scores.to_dict("records")
        cells = {str(cell.path): (cell, str(cell.path.resolve()), keyed(cell)) for cell in run.cells}
        for line in scores:
            cell, place, keys = cells[line["cell"]]
            seen.append(cell.model)
            if models and not any(fnmatch.fnmatchcase(cell.model, pattern) for pattern in models):
                continue
            named = {str(key): value for key, value in line.items()}
            entries.setdefault((place, str(line["task"])), BenchmarkResult(run, cell, named, *keys))
    if not entries:
        raise UserError(f"--model {','.join(models)} matches none of the runs' checkpoints: "
                        f"{', '.join(dict.fromkeys(seen))}.")
    return list(entries.values())


def keyed(cell: Cell) -> tuple[Variant | None, str, str]:
    """A cell's variant and its keys, with `time` and without it; its recorded fingerprint where there is no definition
    that can be read."""
    variant = variant_of(cell)
    if variant is None:
        return None, str(cell.variant_fingerprint), str(cell.variant_fingerprint)
    return variant, variant_key(variant), variant_key(variant, time=False)


def placed(rows: Sequence[Row], by_key: Mapping[str, Sequence[BenchmarkResult]]
           ) -> tuple[dict[str, list[BenchmarkResult]], list[str]]:
    """What fills each row, by label, and the keys that fill none.

    A row that nothing fills exactly takes what equals it up to `time`. Rows of one design are told apart by the names
    of their variants.
    """
    by_row: dict[str, list[BenchmarkResult]] = {row.label: [] for row in rows}
    keys = [(row, row.key, row.design) for row in rows]
    others = []
    for key, entries in by_key.items():
        homes = [row for row, row_key, _ in keys if row_key == key] or [
            row for row, row_key, design in keys if design == entries[0].design and row_key not in by_key]
        if not homes:
            others.append(key)
            continue
        by_name = {row.variant.name: row for row in reversed(homes) if row.variant is not None}
        for entry in entries:
            by_row[by_name.get(entry.cell.variant, homes[0]).label].append(entry)
    return by_row, others


def describe(cell: Cell) -> str:
    """A cell's variant by name, with the parameters in which it differs from the variant of that name."""
    variant = variant_of(cell)
    return cell.variant if variant is None else described(variant)


def variant_of(cell: Cell) -> Variant | None:
    """A cell's variant; None where its definition is not there or is of a later version. Its `time` is what frames
    went by: where videos carry no seconds they are counted, whatever the definition says."""
    time, checkpoint = cell.record.manifest.time, cell.manifest.get("checkpoint")
    # Records up to 0.3 say by their checkpoint's family alone what frames went by, and the oldest not even so.
    family = checkpoint.get("family") if time is None and isinstance(checkpoint, Mapping) else None
    counted = time == "index" or (family is not None and not (family in BY_NAME and BY_NAME[family].video.timed))
    if not counted or cell.recorded is None or getattr(cell.recorded.position, "time", None) in (None, "index"):
        return cell.recorded
    try:
        return load_variant(cell.recorded.to_dict(), time="index")
    except VariantError:
        return None


def by_step(whole: Line) -> list[Line]:
    """A line for each training step of a row; what has no step keeps the row's label."""
    steps: dict[int | None, list[BenchmarkResult]] = {}
    for entry in whole.entries:
        steps.setdefault(entry.cell.step, []).append(entry)
    if set(steps) <= {None}:
        return [whole]
    return [Line(whole.row if step is None else Row(f"{whole.base} @ {step}", whole.row.variant), steps[step],
                 whole.base) for step in sorted(steps, key=lambda number: -1 if number is None else number)]


def group_of(cell: Cell, groups: Mapping[str, Sequence[str]]) -> str:
    """The first group whose globs fit the checkpoint's name, or that of its training."""
    names = [cell.model, *([Path(cell.run).name] if cell.run else [])]
    return next((group for group, globs in groups.items()
                 if any(fnmatch.fnmatchcase(name, glob) for name in names for glob in globs)), OTHER)


def grouped(definition: TableDefinition, entries: Sequence[BenchmarkResult], given: Mapping[str, Sequence[str]]
            ) -> tuple[TableDefinition, list[BenchmarkResult], list[str]]:
    """A table with every column once a group of models, its entries, and a remark on who is in which group.

    `given` groups go before the table's own. A column is called after its group: `4B Image`.
    """
    groups = {**given, **{name: globs for name, globs in definition.groups.items() if name not in given}}
    moved: list[BenchmarkResult] = []
    members: dict[str, dict[str, None]] = {group: {} for group in (*groups, OTHER)}
    for entry in entries:
        group = group_of(entry.cell, groups)
        members[group][entry.cell.model] = None
        moved.append(replace(entry, scores={**entry.scores, "column": f"{group} {entry.scores['column']}"}))
    used = [group for group, models in members.items() if models]
    inside = replace(
        definition,
        columns=tuple(f"{group} {column}" for group in used for column in definition.columns),
        averages={f"{group} {average}": tuple(f"{group} {part}" for part in parts)
                  for group in used for average, parts in definition.averages.items()},
        optional=frozenset(f"{group} {column}" for group in used for column in definition.optional),
        derived=frozenset(f"{group} {average}" for group in used for average in definition.derived),
        if_known=frozenset(f"{group} {column}" for group in used for column in definition.if_known),
    )
    listing = "; ".join(f"{group}: {', '.join(members[group])}" for group in used)
    return inside, moved, [f"Groups by the checkpoints' names (--group changes them): {listing}."]


def select_steps(entries: Sequence[BenchmarkResult], step: Step) -> list[BenchmarkResult]:
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
    rows = {entry.key for entry in entries if entry.cell.step == step}
    if not rows:
        cells = [cell for cell in cells_of(entries) if cell.step is not None]
        offered = (f"there are {steps_in_words(cells)}" if cells else
                   "their checkpoints' folders name none; leave --step out")
        raise UserError(f"--step {step}: none of the runs is of this training step, {offered}.")
    return [entry for entry in entries
            if entry.cell.step == step or (entry.cell.step is None and entry.key not in rows)]


def refuse_steps(row: str, by_benchmark: Mapping[str, Sequence[BenchmarkResult]], step: Step, seeds: SeedRule) -> None:
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
        offers.append(f"one of them with --step {suggested_step(cells)}")
    if step is None and len(steps) > 1:
        offers.append("the last with --step last")
    offers.append("a line for each with --step all")
    why = ("--seeds mean averages different trainings at one step only, and its runs are"
           if seeds == "mean" else "training steps are not seeds, and its runs are")
    raise UserError(f"{row}: {why} {steps_in_words(cells)}; show {listed(offers, 'or')}.")


def suggested_step(cells: Sequence[Cell]) -> int:
    """The step to suggest: the last that every training has, or the last of any."""
    by_run: dict[str | None, set[int]] = {}
    for cell in cells:
        if cell.step is not None:
            by_run.setdefault(cell.run, set()).add(cell.step)
    return max(set.intersection(*by_run.values()) or set.union(*by_run.values()))


def steps_in_words(cells: Iterable[Cell]) -> str:
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


def step_remarks(picked: Mapping[str, Mapping[str, Sequence[BenchmarkResult]]], before: Sequence[BenchmarkResult],
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
        sentences.append(f"Not shown, without step {step}: {steps_in_words(lost)}.")
    return sentences

"""What may be said where a row is one training: something of two checkpoints, nothing of two designs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mmrope_eval.report.candidates import BenchmarkResult, describe
from mmrope_eval.report.compare.trainings import training_of
from mmrope_eval.report.runs import Cell

HOW = "several trainings of each can show it (mmrope-eval trainings, or --seeds mean)"


def about_checkpoints(pairs: Iterable[tuple[Cell | None, Cell | None]]) -> Iterator[str]:
    """One sentence where cells that are compared are different trainings; none where they are the same weights, or
    steps of one training."""
    apart = [(before, after) for before, after in pairs
             if before is not None and after is not None and differ(before, after)]
    if not apart:
        return
    before, after = apart[0]
    names = {describe(before), describe(after)}
    what = (f"two trainings of one design, {names.pop()}" if len(names) == 1 and len(apart) == 1 else
            "one training each")
    yield (f"{what[0].upper()}{what[1:]}: what is said here is about these checkpoints, not about designs. A further "
           f"training of a design may differ by as much; whether designs differ, {HOW}.")


def differ(cell: Cell, other: Cell) -> bool:
    """Whether two cells are different trainings."""
    if cell.run is not None and cell.run == other.run:
        return False
    return training_of(cell) != training_of(other)


def rows_of_one(picked: Mapping[str, Mapping[str, Sequence[BenchmarkResult]]], rows: Sequence[str]) -> list[str]:
    """The remark of a table: which of its rows are one training, where rows are different trainings."""
    cells = {row: [entry.cell for column in picked.get(row, {}).values() for entry in column] for row in rows}
    trainings = {row: {cell.run or training_of(cell) for cell in of_row} for row, of_row in cells.items() if of_row}
    if len(set().union(*trainings.values())) < 2 or len(trainings) < 2:
        return []
    single = [row for row, of_row in trainings.items() if len(of_row) == 1]
    if not single:
        return []
    which = "Every row is" if len(single) == len(trainings) else f"One training each: {', '.join(single)};"
    text = (f"{which} one training: differences" if len(single) == len(trainings) else f"{which} differences from them")
    return [f"{text} are between checkpoints, not shown to be between designs; {HOW}."]

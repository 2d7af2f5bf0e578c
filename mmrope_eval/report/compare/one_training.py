"""What may be said where a row is one training: something of two checkpoints, nothing of two designs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mmrope_eval.report.candidates import Entry, describe
from mmrope_eval.report.compare.trainings import training_of
from mmrope_eval.report.runs import Cell

HOW = "several trainings of each can show it (mmrope-eval trainings, or --seeds mean)"


def about_checkpoints(pairs: Iterable[tuple[Cell | None, Cell | None]]) -> Iterator[str]:
    """One sentence where cells that are compared are different trainings; none where they are the same weights, or
    steps of one training."""
    apart = [(one, two) for one, two in pairs if one is not None and two is not None and differ(one, two)]
    if not apart:
        return
    one, two = apart[0]
    names = {describe(one), describe(two)}
    what = (f"two trainings of one design, {names.pop()}" if len(names) == 1 and len(apart) == 1 else
            "one training each")
    yield (f"{what[0].upper()}{what[1:]}: what is said here is about these checkpoints, not about designs. A further "
           f"training of a design may differ by as much; whether designs differ, {HOW}.")


def differ(one: Cell, two: Cell) -> bool:
    """Whether two cells are different trainings."""
    if one.run is not None and one.run == two.run:
        return False
    return training_of(one) != training_of(two)


def rows_of_one(picked: Mapping[str, Mapping[str, Sequence[Entry]]], rows: Sequence[str]) -> list[str]:
    """The remark of a table: which of its rows are one training, where rows are different trainings."""
    cells = {row: [entry.cell for column in picked.get(row, {}).values() for entry in column] for row in rows}
    trainings = {row: {cell.run or training_of(cell) for cell in found} for row, found in cells.items() if found}
    if len(set().union(*trainings.values())) < 2 or len(trainings) < 2:
        return []
    single = [row for row, found in trainings.items() if len(found) == 1]
    if not single:
        return []
    which = "Every row is" if len(single) == len(trainings) else f"One training each: {', '.join(single)};"
    text = (f"{which} one training: differences" if len(single) == len(trainings) else f"{which} differences from them")
    return [f"{text} are between checkpoints, not shown to be between designs; {HOW}."]

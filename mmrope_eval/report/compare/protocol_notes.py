"""What must be said of rows: under which protocol they were asked, as their manifests have it; and where a row is one
training, something of two checkpoints, nothing of two designs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from mmrope_eval.record import protocols
from mmrope_eval.record.protocols import Asked, Protocol
from mmrope_eval.record.schema import Manifest
from mmrope_eval.report.candidates import describe
from mmrope_eval.report.compare.trainings import training_of
from mmrope_eval.report.runs import Cell

NONE: Final = "none named"
RowsRemark = tuple[str, Collection[str]]
"""A sentence, and the rows that it is about."""


def asked_of(manifest: Manifest) -> Asked:
    """How a row was asked; what its version did not record is None."""
    tasks = manifest.tasks or {}
    generations = {name: task.generation for name, task in tasks.items() if task.generation is not None}
    heats = [generation.temperature for generation in generations.values() if generation.temperature is not None]
    prompts, system = ((manifest.family or {}).get(name) for name in ("prompts", "system"))
    return Asked(
        policy=manifest.media.policy if manifest.media else None,
        side=manifest.media.token_side if manifest.media else None,
        time=manifest.time,
        prompts=prompts if isinstance(prompts, str) else None,
        system=system if isinstance(system, str) else None,
        decoding=protocols.decoding_of(heats) if heats else None,
        max_tokens={name: generation.max_tokens for name, generation in generations.items()
                    if generation.max_tokens is not None},
    )


def label_of(cell: Cell) -> str | None:
    """The protocol that a cell's run named, with what departs from it; None where it named none."""
    protocol = cell.record.manifest.protocol
    return None if protocol is None else protocols.label(protocol.name, protocol.departures)


def departures_of(cell: Cell, protocol: Protocol) -> list[str]:
    """In what a cell departs from a protocol, whatever its run named."""
    return protocols.departures(protocol, asked_of(cell.record.manifest), cell.tasks)


def differing_protocols(rows: Mapping[str, Sequence[Cell]]) -> RowsRemark | None:
    """What to say where the runs of a table do not name one protocol in one way; None where they do."""
    by_label: dict[str | None, dict[str, None]] = {}
    for row, cells in rows.items():
        for cell in cells:
            by_label.setdefault(label_of(cell), {})[row] = None
    if len(by_label) < 2:
        return None
    labels = "; ".join(f"{label or NONE} ({', '.join(named)})" for label, named in by_label.items())
    return f"the rows were not asked under one protocol: {labels}", [row for row, cells in rows.items() if cells]


def off_protocol(rows: Mapping[str, Sequence[Cell]], protocol: Protocol) -> RowsRemark | None:
    """What to say where rows depart from the protocol that they shall have been asked under."""
    by_text: dict[str, dict[str, None]] = {}
    for row, cells in rows.items():
        for cell in cells:
            if departed := departures_of(cell, protocol):
                by_text.setdefault("; ".join(departed), {})[row] = None
    if not by_text:
        return None
    texts = ". ".join(f"{', '.join(named)}: {text}" for text, named in by_text.items())
    return (f"not as protocol {protocol.name} has it: {texts}",
            list(dict.fromkeys(row for named in by_text.values() for row in named)))


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
    return (cell.run is None or cell.run != other.run) and training_of(cell) != training_of(other)


def rows_of_one(cells: Mapping[str, Sequence[Cell]]) -> list[str]:
    """The remark of a table: which of its rows are one training, where rows are different trainings; by row its
    cells."""
    trainings = {row: {cell.run or training_of(cell) for cell in of_row} for row, of_row in cells.items() if of_row}
    if len(trainings) < 2 or len(set().union(*trainings.values())) < 2:
        return []
    single = [row for row, of_row in trainings.items() if len(of_row) == 1]
    text = ("Every row is one training: differences" if len(single) == len(trainings) else
            f"One training each: {', '.join(single)}; differences from them")
    return [f"{text} are between checkpoints, not shown to be between designs; {HOW}."] if single else []

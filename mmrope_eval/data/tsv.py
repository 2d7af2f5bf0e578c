"""VLMEvalKit's tables as it writes them (pandas' `to_csv(sep="\\t")`), gigabytes long: read once, never held.

A scan keeps every record's text and its place in the file; pictures stay in the file until a record is asked for them.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mmrope_eval.errors import UserError
from mmrope_eval.models.files import file_state

PICTURES = "image"
"""The column of base64 pictures."""

SHORT = 64
"""VLMEvalKit's rule (image_base.py): so many characters or fewer are no picture but the index of another row."""


@dataclass(frozen=True)
class Record:
    """One row of a table, without its pictures."""

    line: int
    """Where it begins in the file, counted from 1."""
    offset: int
    length: int
    """Of its text in the file, in bytes."""
    fields: Mapping[str, str | None]
    """Column -> text, None where it is empty; the column of pictures only where its text is short."""
    picture: str | None
    """md5 of its picture column's text, where that holds pictures: equal texts are equal pictures."""


@dataclass(frozen=True)
class Table:
    """A scanned table."""

    path: Path
    md5: str
    """Of the whole file, as VLMEvalKit publishes it."""
    columns: tuple[str, ...]
    records: tuple[Record, ...]
    _places: dict[str, tuple[int, ...]] = field(repr=False)

    def indexed(self, index: str) -> tuple[int, ...]:
        """The positions of the records that have this `index`."""
        return self._places.get(index, ())


def scan(path: Path) -> Table:
    """A table; one that was scanned before, if the file has the same size and time. UserError for a damaged one."""
    return _scan(path, file_state(path.stat()))


@functools.lru_cache(maxsize=1)
def _scan(path: Path, _state: tuple[int, int, int]) -> Table:
    with path.open("rb") as stream, large_fields():
        lines = _Lines(stream)
        try:
            header, records = _records(lines)
        except (csv.Error, UnicodeDecodeError, ValueError) as error:
            raise UserError(f"{path}, line {lines.count}: {error}. It is damaged or was not written as VLMEvalKit "
                            "writes its tables; fetch it anew.") from error
    places: dict[str, tuple[int, ...]] = {}
    for position, record in enumerate(records):
        if index := record.fields.get("index"):
            places[index] = (*places.get(index, ()), position)
    return Table(path, lines.md5.hexdigest(), header, records, places)


def _records(lines: _Lines) -> tuple[tuple[str, ...], tuple[Record, ...]]:
    reader = csv.reader(lines, delimiter="\t", strict=True)
    header = tuple(next(reader, ()))
    if not header:
        raise ValueError("the file is empty")
    if len(set(header)) < len(header):
        raise ValueError("two columns have one name")
    records = []
    line, offset = lines.count + 1, lines.position
    for cells in reader:
        if cells:
            records.append(_record(header, cells, line, offset, lines.position - offset))
        line, offset = lines.count + 1, lines.position
    if not lines.whole:
        raise ValueError("the file ends within a line, as one that was not fetched whole")
    return header, tuple(records)


def _record(header: tuple[str, ...], cells: list[str], line: int, offset: int, length: int) -> Record:
    if len(cells) != len(header):
        raise ValueError(f"the record has {len(cells)} fields, the header {len(header)}")
    row = dict(zip(header, cells, strict=True))
    kept = {name: text or None for name, text in row.items() if name != PICTURES or len(text) <= SHORT}
    held = PICTURES in row and PICTURES not in kept
    picture = hashlib.md5(row[PICTURES].encode(), usedforsecurity=False).hexdigest() if held else None
    return Record(line, offset, length, kept, picture)


class _Lines:
    """The lines of a file as text; knows how far it is, and the md5 of what it has read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.position = 0
        self.count = 0
        self.whole = True
        """Whether the last line ended with a line break."""

    def __iter__(self) -> Iterator[str]:
        for raw in self._stream:
            self.md5.update(raw)
            self.count += 1
            self.whole = raw.endswith(b"\n")
            self.position += len(raw)
            yield raw.decode("utf-8-sig" if self.count == 1 else "utf-8")


def picture_text(stream: BinaryIO, table: Table, record: Record) -> str | None:
    """The text of a record's picture column, from the table's open file."""
    stream.seek(record.offset)
    text = stream.read(record.length).decode()
    with large_fields():
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    return dict(zip(table.columns, cells, strict=True)).get(PICTURES) or None


@contextlib.contextmanager
def large_fields() -> Iterator[None]:
    """Let the csv module read fields of any length meanwhile; its limit of 128 KiB is the whole process's."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)

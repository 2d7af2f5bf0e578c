"""VLMEvalKit's tables as it writes them (pandas' `to_csv(sep="\\t")`), gigabytes long: read once, never held.

A scan keeps every record's text and its place in the file; pictures stay in the file until a record is asked for them.

Pictures are base64 in place, the index of another row that has them, or files beside.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import functools
import hashlib
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

from mmrope_eval.errors import UserError
from mmrope_eval.models.files import file_state
from mmrope_eval.util.strict_json import written

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
    places: Mapping[str, tuple[int, ...]] = field(repr=False)
    """The positions of the records that have an `index`, by it."""


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


PATHS = "image_path"
"""The column of file names, read where there is no base64."""

FOLDER = "images"
"""VLMEvalKit's folder of pictures below LMUData."""

_HEAD = re.compile(r"data:[^,;]*(?:;[^,;]*)*,")


class PictureError(ValueError):
    """Pictures that a record should have and that cannot be had; one clause."""


class Pictures:
    """The pictures of one table below `root`, fetched from the file when asked for. A context manager.

    Names of files are looked for in the folders that VLMEvalKit uses, `root`/images/`folder` and `root` itself, and
    nowhere else: they come from a data file.
    """

    def __init__(self, table: Table, root: Path, folder: str) -> None:
        self.table = table
        self._root = root.resolve()
        self._folders = (self._root / FOLDER / folder, self._root / FOLDER / table.path.stem, self._root)
        self._stream = table.path.open("rb")
        self._last: tuple[str, list[dict[str, Any]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def of(self, record: Record) -> Sequence[Mapping[str, Any]]:
        """A record's pictures in order, each `{"bytes", "path"}` with one of the two. PictureError."""
        holder = self._holder(record)
        key = self.key(holder)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._read(holder))
        return self._last[1]

    def key(self, record: Record) -> str:
        """Equal for two records that have the same picture, and unlike any other's where a record has none."""
        try:
            holder = self._holder(record)
        except PictureError:
            holder = record
        return holder.picture or f"at {holder.offset}"

    def size(self, record: Record, number: int) -> tuple[int, int]:
        """Width and height of the number-th picture, counted from 1. PictureError."""
        from PIL import Image

        pictures = self.of(record)
        if len(pictures) < number:
            raise PictureError(f"it has no picture {number}")
        source = pictures[number - 1]
        try:
            with Image.open(io.BytesIO(source["bytes"]) if source["bytes"] else source["path"]) as picture:
                return picture.size
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise PictureError(f"its picture {number} cannot be read ({error})") from error

    def _holder(self, record: Record) -> Record:
        """The record whose own pictures these are: VLMEvalKit writes one picture once and then its row's index."""
        seen: set[int] = set()
        while index := record.fields.get(PICTURES):
            if record.offset in seen:
                raise PictureError(f"its picture is that of row {index}, which leads back to it")
            seen.add(record.offset)
            records = [self.table.records[position] for position in self.table.places.get(index, ())]
            if not records:
                raise PictureError(f"its picture is that of row '{index}', which the table does not have")
            if len({(r.picture, r.fields.get(PICTURES), r.fields.get(PATHS)) for r in records}) > 1:
                raise PictureError(f"its picture is that of row '{index}', but {len(records)} rows have this index")
            record = records[0]
        return record

    def _read(self, record: Record) -> list[dict[str, Any]]:
        text = picture_text(self._stream, self.table, record) if PICTURES in self.table.columns else None
        if text is not None:
            return [{"bytes": decoded(item), "path": None} for item in listed(text)]
        names = record.fields.get(PATHS)
        if names is None:
            raise PictureError("it has no picture")
        return [{"bytes": None, "path": str(self._file(name))} for name in listed(names)]

    def _file(self, name: str) -> Path:
        path = PurePosixPath(name)
        if FOLDER in path.parts and path.is_absolute():
            # VLMEvalKit writes absolute paths; the folder may have been moved since.
            tail = path.parts[len(path.parts) - path.parts[::-1].index(FOLDER) :]
            candidates = [Path(name), self._root / FOLDER / Path(*tail)]
        else:
            candidates = [folder / name for folder in self._folders]
        inside = [candidate for candidate in candidates if candidate.resolve().is_relative_to(self._root)]
        if not inside:
            raise PictureError(f"its picture '{name}' lies outside {self._root}")
        for candidate in inside:
            if candidate.is_file():
                return candidate.resolve()
        raise PictureError(f"its picture '{name}' is not in {self._folders[0]}")


def listed(text: str) -> list[str]:
    """One text, or several written as a list, as VLMEvalKit tells them apart: by the brackets. PictureError."""
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    items = written(text)
    if items is None:
        raise PictureError("its list of pictures cannot be read")
    return [str(item) for item in items]


def decoded(text: str) -> bytes:
    """The bytes of a base64 text, with or without the head of a data URL. PictureError."""
    text = text.strip()
    if head := _HEAD.match(text):
        text = text[head.end() :]
    if len(text) <= SHORT:
        raise PictureError("one of its pictures is too short to be one")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"its picture is no base64 text ({error})") from error

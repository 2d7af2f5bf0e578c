"""The pictures of a table's records: base64 in place, the index of another row that has them, or files beside."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Self

from mmrope_eval.data.tsv import PICTURES, SHORT, Record, Table, picture_text
from mmrope_eval.util.strict_json import written

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
            records = [self.table.records[position] for position in self.table.indexed(index)]
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

"""sha256 of media, each read once: many at a time, remembered, also those that still lie inside an archive."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from mmrope_eval.data.places import Located, Member
from mmrope_eval.errors import UserError
from mmrope_eval.models.files import FileHashes, ReadProgress, hash_file, hash_stream
from mmrope_eval.words import flat

WORKERS = 8
"""Files read at a time: sha256 leaves the interpreter's lock, and network file systems answer many at once."""

_SUSPICIOUS: Final = 64 * 2**20
_MOST_TIMES: Final = 50
"""Media hardly shrink in an archive: a large member that grows by more than this when unpacked is a bomb."""


class ContentHashes:
    """sha256 of what lies in files and in archives; one memory for planning, preparing and checking."""

    def __init__(self) -> None:
        self._files = FileHashes()

    def of_located(self, file: Located, progress: ReadProgress | None = None) -> str:
        """sha256 of one file's or member's content, in hexadecimal. Raises `UserError` when it cannot be read."""
        if isinstance(file, Path):
            return self._files.of_part(file, "", lambda: hash_file(file, progress))
        return self._files.of_part(file.archive, _part(file), lambda: hash_member(file, progress))

    def of_many(self, files: Iterable[Located], stream: TextIO | None = None) -> Mapping[Located, str | UserError]:
        """sha256 of each, those not remembered read in parallel with a line of progress; or why one cannot be read."""
        unique = list(dict.fromkeys(files))
        unknown = [file for file in unique if not self._knows(file)]
        total = sum(_size(file) for file in unknown)
        why = "by their content answers are known again"

        def read(file: Located) -> str | UserError:
            try:
                return self.of_located(file, progress)
            except UserError as error:
                return error

        with (
            ReadProgress(total, len(unknown), "media", why, stream) as progress,
            ThreadPoolExecutor(min(WORKERS, 2 * (os.cpu_count() or 1))) as pool,
        ):
            return dict(zip(unique, pool.map(read, unique), strict=True))

    def _knows(self, file: Located) -> bool:
        if isinstance(file, Path):
            return file.is_file() and self._files.known(file) is not None
        return file.archive.is_file() and self._files.known(file.archive, _part(file)) is not None


def hash_member(member: Member, progress: ReadProgress | None = None, copy: BinaryIO | None = None) -> str:
    """sha256 of a file inside a zip archive, written to `copy` on the way. Raises OSError for one that is damaged."""
    try:
        with zipfile.ZipFile(member.archive) as archive:
            packed = archive.getinfo(member.name).compress_size
            if member.size > _SUSPICIOUS and member.size > _MOST_TIMES * packed:
                raise OSError(f"{member.name} in it grows from {packed} to {member.size} bytes: that is no video")
            with archive.open(member.name) as stream:
                return hash_stream(stream, progress, copy)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError) as error:
        raise OSError(f"{member.name} in it is damaged: {flat(error)}") from error


def _part(member: Member) -> str:
    name = f"{member.name}\n{member.size}\n{member.checksum}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(name).hexdigest()[:32]


def _size(file: Located) -> int:
    if isinstance(file, Path):
        return file.stat().st_size if file.is_file() else 0
    return file.size

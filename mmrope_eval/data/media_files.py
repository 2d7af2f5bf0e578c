"""A data set's media: found by name anywhere below some folders, unpacked or still inside zip archives, and hashed.

Each is read once for its sha256: many at a time, and remembered.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import BinaryIO, Final, TextIO

from mmrope_eval.data.places import Located, Member
from mmrope_eval.errors import UserError
from mmrope_eval.models.files import FileHashes, ReadProgress, file_state, hash_file, hash_stream
from mmrope_eval.words import flat

_LEFT_OUT: Final = (".cache", ".git", "blobs", ".locks", ".no_exist")
"""Folders of huggingface_hub that hold the same files under other names, or unfinished ones."""

_COMMON: Final = frozenset({"video", "videos", "image", "images", "data", "train", "val", "validation", "test"})
"""Folder names that say nothing about where a file is from."""


class NoSuchFileError(Exception):
    """A file that is nowhere below the folders; one sentence."""


@dataclass(frozen=True)
class MediaFolder:
    """The media of one data set: `roots` in order of preference, `folders` below each where they usually lie."""

    roots: tuple[Path, ...]
    folders: tuple[str, ...] = (".",)

    def find(self, name: str) -> Located:
        """The file that a name in a data set means. NoSuchFileError when there is none, or no telling which.

        In the usual folders a name is a path. Elsewhere files are known by their base name, and of several the one
        whose path agrees most with the name is taken; one that agrees in no folder that the name gives is not meant by
        it. A name that leads outside (absolute, or with `..`) is refused: it comes from a data file.
        """
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise NoSuchFileError(f"the file name '{name}' leads outside {self.roots[0]}.")
        for root in self.roots:
            for folder in self.folders or (".",):
                path = root / folder / name
                if path.is_file():
                    return path
        name_parts = PurePosixPath(name).parts
        named = self.index.files.get(name_parts[-1] if name_parts else "", ())
        ranked = [(_fit(file, name_parts), file) for file in named if _may_mean(file, name_parts)]
        if not ranked:
            raise NoSuchFileError(self._absent(name, named))
        best = max(fit for fit, _ in ranked)
        alike = [file for fit, file in ranked if fit == best]
        if len(alike) > 1 and not _same_content(alike):
            shown = " and ".join(str(_path(file)) for file in alike[:2])
            raise NoSuchFileError(f"several different files are called '{name}': {shown}.")
        return alike[0]

    def row_file(self, name: str) -> Path:
        """A file by the path that a row of the data set gives: below the roots, whatever links lead there.

        NoSuchFileError for one that lies elsewhere, or is not there.
        """
        given = Path(name)
        tried = [given] if given.is_absolute() else [root / given for root in self.roots]
        for path in tried:
            lexical = Path(os.path.normpath(path))
            inside = any(p.is_relative_to(root) for p in (lexical, path.resolve()) for root in self.roots)
            if inside and path.exists():
                return path
        if given.is_absolute() or ".." in given.parts:
            raise NoSuchFileError(f"the file '{name}' lies outside {self.roots[0]}, or is not there.")
        file = self.find(name)
        if not isinstance(file, Path):
            raise NoSuchFileError(f"the file '{name}' lies inside {file.archive}; unpack it.")
        return file

    @cached_property
    def index(self) -> MediaIndex:
        """All files below the roots."""
        return build_index(self.roots)

    def _absent(self, name: str, others: Sequence[Located]) -> str:
        text = f"the file '{name}' is not below {' or '.join(map(str, self.roots))}, nor in a zip archive there"
        if others:
            text += f" ({_path(others[0])} has its name, in another folder)"
        odd = [path for path in self.index.odd if path.name == PurePosixPath(name).name]
        if odd:
            text += f"; {odd[0]} is no plain file"
        if self.index.broken:
            text += f"; {self.index.broken[0]} cannot be read as a zip archive"
        return text + "."


@dataclass(frozen=True)
class MediaIndex:
    """What lies below some folders."""

    files: dict[str, list[Located]]
    """By base name, files before members of archives."""
    broken: tuple[Path, ...]
    """Archives that cannot be read: unfinished downloads, mostly."""
    state: tuple[tuple[str, int, int, int], ...]
    """Path and `file_state` of every file: another one whenever a file is another."""
    odd: tuple[Path, ...] = ()
    """What is no file: a pipe would be waited for, and a device read, without end."""


def build_index(roots: Sequence[Path]) -> MediaIndex:
    """Walk the folders once; links are followed, each folder is entered once."""
    files: dict[str, list[Located]] = {}
    members: dict[str, list[Located]] = {}
    state, broken, odd = [], [], []
    for path in _walk(roots):
        try:
            stat = path.stat()
        except OSError:
            continue  # a link to nowhere, or a temporary file that just went away
        if not S_ISREG(stat.st_mode):
            odd.append(path)
            continue
        state.append((str(path), *file_state(stat)))
        if path.suffix.lower() != ".zip":
            files.setdefault(path.name, []).append(path)
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
            broken.append(path)
            continue
        for entry in entries:
            if not entry.is_dir():
                member = Member(path, entry.filename, entry.file_size, entry.CRC)
                members.setdefault(PurePosixPath(entry.filename).name, []).append(member)
    for name, packed in members.items():
        files.setdefault(name, []).extend(packed)
    return MediaIndex(files, tuple(broken), tuple(state), tuple(odd))


def _walk(roots: Sequence[Path]) -> Iterator[Path]:
    entered: set[tuple[int, int]] = set()
    for root in roots:
        for folder, folders, names in os.walk(root, followlinks=True):
            stat = Path(folder).stat()
            if (stat.st_dev, stat.st_ino) in entered:
                folders.clear()
                continue
            entered.add((stat.st_dev, stat.st_ino))
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            yield from (Path(folder) / name for name in sorted(names) if not name.endswith((".incomplete", ".lock")))


def _fit(file: Located, name_parts: Sequence[str]) -> tuple[int, int]:
    """How well a path agrees with a name: equal parts from the end, then folders of the name that it has at all.

    An archive counts as a folder of its own name, as `star.zip` with `Charades/a.mp4` for `star/Charades/a.mp4`.
    """
    parts = _path(file).parts
    same = 0
    while same < min(len(parts), len(name_parts)) and parts[-1 - same] == name_parts[-1 - same]:
        same += 1
    return same, len(set(name_parts[:-1]) & set(parts[:-1]))


def _may_mean(file: Located, name_parts: Sequence[str]) -> bool:
    """Whether a file of the right base name may be the one: the name's folders, if any, must say the same source.

    CLEVRER and the Perception Test number their videos alike, so `perception/videos/video_1.mp4` is no file of a folder
    that is called `videos` as well but lies elsewhere.
    """
    if len(name_parts) == 1:
        return True
    parts = set(_path(file).parts[:-1])
    return name_parts[0] in parts or bool(parts & set(name_parts[:-1]) - _COMMON)


def _path(file: Located) -> Path:
    return file if isinstance(file, Path) else file.archive.with_suffix("") / file.name


def _same_content(files: Sequence[Located]) -> bool:
    """Whether all are one file over; they are read only where their sizes agree."""
    return len(set(map(content_size, files))) == 1 and len(set(map(ContentHashes().of_located, files))) == 1


def content_size(file: Located) -> int:
    """Bytes of what lies in a file or in an archive; 0 where there is none."""
    if isinstance(file, Path):
        return file.stat().st_size if file.is_file() else 0
    return file.size


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
        total = sum(content_size(file) for file in unknown)
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

"""Finding a data set's media by name anywhere below some folders, unpacked or still inside zip archives."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Final

from mmrope_eval.data.hashes import ContentHashes
from mmrope_eval.data.places import Located, Member
from mmrope_eval.models.files import file_state

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
    sizes = {file.stat().st_size if isinstance(file, Path) else file.size for file in files}
    if len(sizes) > 1:
        return False
    hashes = ContentHashes()
    return len({hashes.of_located(file) for file in files}) == 1

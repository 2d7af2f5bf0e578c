"""Finding a dataset's video files: unpacked in a folder, or still inside the zip archives that the hub serves."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrope_eval.models.files import cache_home


class MissingVideoError(Exception):
    """A video that is neither in the folders nor in an archive; one sentence."""


@dataclass(frozen=True)
class VideoFolder:
    """The videos of one dataset below `root`."""

    root: Path
    folders: tuple[str, ...] = (".",)
    """Where to look below `root`, in order."""

    def find(self, name: str) -> Path:
        """The path of one video, unpacked from an archive on first use. MissingVideoError when there is none.

        A name that leads outside the folder (absolute, or with `..`) is refused: it comes from a data file.
        """
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise MissingVideoError(f"the video name '{name}' leads outside {self.root}.")
        for folder in self.folders or (".",):
            path = self.root / folder / name
            if path.is_file():
                return path
        archive = self.archived(name)
        if archive is not None:
            return unpacked(*archive)
        looked = ", ".join(self.folders) or "."
        raise MissingVideoError(f"the video '{name}' is not in {self.root} (looked in {looked} and in zip archives).")

    def archived(self, name: str) -> tuple[Path, str] | None:
        """The (archive, member) that a name means: of several files so called, the one whose path fits best.

        An archive counts as a folder of its own name, as `star.zip` with `Charades/a.mp4` for `star/Charades/a.mp4`.
        """
        found = archives(self.root).get(Path(name).name, ())
        wanted = Path(name).parts

        def fit(archive: tuple[Path, str]) -> int:
            return common_suffix((archive[0].stem, *Path(archive[1]).parts), wanted)

        return max(found, key=fit, default=None)


@functools.lru_cache(maxsize=64)
def archives(root: Path) -> Mapping[str, Sequence[tuple[Path, str]]]:
    """File name -> every (archive, member) of that name in the zip archives below `root`."""
    index: dict[str, list[tuple[Path, str]]] = {}
    for path in sorted(root.rglob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
        except (OSError, zipfile.BadZipFile):
            continue
        for member in members:
            index.setdefault(Path(member).name, []).append((path, member))
    return index


def common_suffix(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts two paths share, counted from their ends."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def unpacked(archive: Path, member: str) -> Path:
    """One member as a file in the user's cache; written whole or not at all."""
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{member}".encode()).hexdigest()[:32]
    cache = cache_home() / "unpacked"
    path = cache / f"{key}{Path(member).suffix}"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as source, source.open(member) as stream:
            handle, temporary = tempfile.mkstemp(dir=cache)
            with os.fdopen(handle, "wb") as target:
                shutil.copyfileobj(stream, target)
        Path(temporary).replace(path)
    return path

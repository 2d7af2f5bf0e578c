"""Where a data set lies on this machine: a mirror, the hub's cache, the Arrow cache of `datasets`, VLMEvalKit's folder.

A root (`--data-root`, or what HF_HOME names) may be any of them; the first place that holds the split that is asked is
taken. Folder names of huggingface_hub and datasets are theirs (their documentation, "Understand caching").

A file lies there on its own, or inside a zip archive (`Located`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mmrope_eval.data.tables import SplitFiles, TableError, split_files


@dataclass(frozen=True)
class Member:
    """A file inside a zip archive."""

    archive: Path
    name: str
    size: int
    checksum: int
    """CRC-32 of its content, as the archive says."""


Located = Path | Member


FORMER_OWNERS: Final = ("lmms-lab", "lmms-lab-encoder", "lmms-eval")
"""lmms-eval's data sets moved from the first of these to the other two on 30 July 2026 (its commit 4be7ee0e)."""


class NotHereError(Exception):
    """A data set is in none of the places; one sentence that says what is there instead."""


@dataclass(frozen=True)
class Place:
    """A folder that may hold a data set."""

    kind: Literal["mirror", "snapshot", "arrow"]
    folder: Path


@dataclass(frozen=True)
class Found:
    """A split, found."""

    place: Place
    parts: dict[str | None, SplitFiles]
    """By configuration."""

    @property
    def missing_shards(self) -> tuple[str, ...]:
        """Files of the split that are not there."""
        return tuple(name for part in self.parts.values() for name in part.missing_shards)


def names_of(dataset: str) -> list[str]:
    """A data set's name on the hub and its former or later ones, the given one first."""
    owner, slash, name = dataset.partition("/")
    if not slash or owner not in FORMER_OWNERS:
        return [dataset]
    return [dataset, *(f"{other}/{name}" for other in FORMER_OWNERS if other != owner)]


def hub_home() -> Path:
    """HF_HOME, by huggingface_hub's rule."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()


def find_split(dataset: str, revision: str | None, configs: Sequence[str | None], split: str,
               root: Path | None) -> Found:
    """The first place that holds `split` of all `configs`. NotHereError says why none does.

    `dataset` is a name on the hub or the path of a folder; `root` None means the hub's own caches.
    """
    causes: list[str] = []
    for place in places(dataset, revision, root, causes):
        find = _arrow_files if place.kind == "arrow" else split_files
        try:
            return Found(place, {config: find(place.folder, config, split) for config in configs})
        except TableError as error:
            causes.append(str(error))
    raise NotHereError(" ".join(causes))


def places(dataset: str, revision: str | None, root: Path | None, causes: list[str] | None = None) -> Iterator[Place]:
    """Every folder that may hold a data set, the likeliest first; what is wrong with one is appended to `causes`."""
    reasons = causes if causes is not None else []
    if Path(dataset).is_absolute():
        if Path(dataset).is_dir():
            yield Place("mirror", Path(dataset))
        return
    for name in names_of(dataset):
        if root is not None and (root / name).is_dir():
            yield Place("mirror", root / name)
    for hub in _caches(root, "hub", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):  # datasets--ORG--NAME
        for name in names_of(dataset):
            repository = hub / f"datasets--{name.replace('/', '--')}"
            if repository.is_dir():
                snapshot = _snapshot(repository, revision or "main")
                if snapshot is not None:
                    yield Place("snapshot", snapshot)
                else:
                    reasons.append(f"{repository} holds no snapshot of revision '{revision or 'main'}'.")
    for cache in _caches(root, "datasets", "HF_DATASETS_CACHE"):  # ORG___name
        for name in names_of(dataset):
            yield from (Place("arrow", folder) for folder in _arrow_folders(cache, name))


def _caches(root: Path | None, folder: str, *variables: str) -> list[Path]:
    """Caches of a kind: below the root, or where one of the variables says, else below HF_HOME."""
    if root is not None:
        return [root, root / folder]
    named = next(filter(None, map(os.environ.get, variables)), None)
    return [Path(named).expanduser() if named else hub_home() / folder]


def _snapshot(repository: Path, revision: str) -> Path | None:
    """The folder of a revision: by its ref, by its own name, or the only one where no ref was kept."""
    try:
        commit = (repository / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    named = repository / "snapshots" / commit
    if named.is_dir():
        return named
    refs = [path for path in (repository / "refs").rglob("*") if path.is_file()]
    folders = [path for path in (repository / "snapshots").glob("*") if path.is_dir()]
    return folders[0] if len(folders) == 1 and not refs else None


def _arrow_folders(cache: Path, name: str) -> list[Path]:
    """Folders of a data set in an Arrow cache, whose names are written in snake case: `echo840___ocr_bench`."""
    owner, _, dataset_name = name.partition("/")
    folders = cache.glob(f"{owner}___*")
    return sorted(p for p in folders if p.is_dir() and _letters(p.name.partition("___")[2]) == _letters(dataset_name))


def _letters(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()


def _arrow_files(folder: Path, config: str | None, split: str) -> SplitFiles:
    """The newest `CONFIG/VERSION/HASH/name-SPLIT*.arrow` below a data set's folder. TableError when there is none."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    configuration = config if config is not None else "default" if "default" in names or len(names) != 1 else names[0]
    chosen = [name for name in names if re.fullmatch(rf"{re.escape(configuration)}(?:-[0-9a-f]{{8,}})?", name)]
    if not chosen:
        raise TableError(f"{folder} has no configuration '{configuration}'; it has {', '.join(names) or 'none'}.")
    made = [info.parent for name in chosen for info in (folder / name).glob("*/*/dataset_info.json")]
    for version in sorted(made, key=lambda path: path.stat().st_mtime, reverse=True):
        pattern = re.compile(rf".*-{re.escape(split)}(?:-(\d{{5}})-of-(\d{{5}}))?\.arrow")
        matched = {path: match for path in sorted(version.iterdir()) if (match := pattern.fullmatch(path.name))}
        totals = {int(match.group(2)) for match in matched.values() if match.group(2)}
        if matched and (not totals or totals == {len(matched)}):
            return SplitFiles("arrow", tuple(matched))
    raise TableError(f"{folder} holds no whole split '{split}' of configuration '{configuration}'.")

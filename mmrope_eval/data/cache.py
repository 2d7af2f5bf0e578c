"""What this project keeps on disk that can be made again: where it lies, how much it is, and taking it away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmrope_eval.data.media_files import hash_member
from mmrope_eval.errors import UserError, cannot
from mmrope_eval.models.files import FileHashes, file_state
from mmrope_eval.util.files import whole
from mmrope_eval.util.paths import CACHE_VARIABLE, cache_home

if TYPE_CHECKING:
    from mmrope_eval.data.places import Member

UNPACKED_BYTES: Final = 40 * 2**30
"""Videos unpacked from archives are kept up to this; the least recently used go first."""

IN_USE_SECONDS: Final = 3600.0
"""A file used this recently may be waited for by a decoder, so it stays whatever the bound says."""

KINDS: Final[Mapping[str, str]] = {
    "datasets": "tables converted to Arrow, one copy of every split that was asked",
    "unpacked": "videos unpacked from zip archives",
    "frames": "decoded video frames",
    "plans": "what was asked of each task",
    "hashes": "sha256 of checkpoints and media",
    "merged": "checkpoints merged from adapters",
    "served": "folders of links to checkpoints",
}
"""Folders of the cache, and what is in them."""


def tables_home() -> Path:
    """Where tables are converted to: in --cache-dir, else in $HF_DATASETS_CACHE, else in our own cache."""
    named = os.environ.get("HF_DATASETS_CACHE")
    if named and not os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser() / "mmrope-eval"
    return cache_home() / "datasets"


def homes() -> dict[str, Path]:
    """The folder of every kind."""
    home = cache_home()
    return {kind: home / kind for kind in KINDS} | {"datasets": tables_home()}


def require_writable(folder: Path) -> None:
    """UserError when nothing can be kept in a folder of the cache, before it is blamed on the data."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise cannot("keep anything in the cache folder", folder, error,
                     "free some space or make it writable, or name another with --cache-dir") from error  # fmt: skip


def drop_older(folder: Path) -> None:
    """Remove what stands beside `folder`: copies of earlier states of the same table. What cannot go stays."""
    for sibling in folder.parent.glob("*") if folder.parent.is_dir() else ():
        if sibling != folder:
            shutil.rmtree(sibling, ignore_errors=True)


def unpack(member: Member, limit: int = UNPACKED_BYTES) -> Path:
    """A member of an archive as a file in the cache; written whole or not at all, hashed on the way.

    Raises `UserError` when the archive is damaged or the cache cannot be written.
    """
    folder = cache_home() / "unpacked"
    state = "|".join(map(str, file_state(member.archive.stat())))
    name = f"{member.archive.resolve()}|{state}|{member.name}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    path = folder / f"{digest}{Path(member.name).suffix}"
    if path.is_file() and path.stat().st_size == member.size:
        with contextlib.suppress(OSError):
            os.utime(path)
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, limit - member.size)
        with whole(path) as draft, draft.open("wb") as target:
            digest = hash_member(member, copy=target)
    except OSError as error:
        if error.errno is None:  # the archive's fault
            raise UserError(f"{member.archive}: {error}.") from error
        raise UserError(f"{member.name} of {member.archive} cannot be unpacked below {folder} ({error.strerror}); name "
                        "another folder with --cache-dir, or unpack the archive where it lies.") from error
    FileHashes().remember(path, digest)
    return path


def _make_room(folder: Path, limit: int) -> None:
    """Remove the least recently used files until `limit` bytes are left; those in use stay."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            stat = path.stat()
            files.append((stat.st_mtime, stat.st_size, path))
    excess, now = sum(size for _, size, _ in files) - limit, time.time()
    for used, size, path in sorted(files):
        if excess <= 0 or now - used < IN_USE_SECONDS:
            break
        path.unlink(missing_ok=True)
        excess -= size


@dataclass(frozen=True)
class Kept:
    """One kind of what is kept."""

    kind: str
    folder: Path
    what: str
    files: int
    bytes: int


def contents() -> list[Kept]:
    """All that is kept, by kind."""
    kept = []
    for kind, folder in homes().items():
        sizes = [size for _, size, _ in _files(folder)]
        kept.append(Kept(kind, folder, KINDS[kind], len(sizes), sum(sizes)))
    return kept


def prune(kinds: Iterable[str], older_than: float, dry_run: bool = False) -> list[Kept]:
    """Remove what was not used for `older_than` days; what was (or would be) removed, by kind.

    Tables go as a whole data set, so that none is left with half of its files. Raises `UserError` when a folder
    cannot be changed.
    """
    before = time.time() - older_than * 86400
    removed = []
    for kept in contents():
        if kept.kind not in kinds:
            continue
        units = _table_units(kept.folder) if kept.kind == "datasets" else [[file] for file in _files(kept.folder)]
        old = [file for unit in units if all(used <= before for _, _, used in unit) for file in unit]
        if not dry_run:
            _remove(kept.folder, [path for path, _, _ in old])
        removed.append(Kept(kept.kind, kept.folder, kept.what, len(old), sum(size for _, size, _ in old)))
    return removed


File = tuple[Path, int, float]
"""Path, bytes, when it was last used."""


def _files(folder: Path) -> list[File]:
    files = []
    for path in folder.rglob("*") if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            stat = path.lstat()
            if not path.is_dir() or path.is_symlink():
                files.append((path, stat.st_size, max(stat.st_atime, stat.st_mtime)))
    return files


def _table_units(folder: Path) -> list[list[File]]:
    units: dict[Path, list[File]] = {}
    for file in _files(folder):
        units.setdefault(folder / file[0].relative_to(folder).parts[0], []).append(file)
    return list(units.values())


def _remove(folder: Path, paths: Iterable[Path]) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
        for empty in sorted((p for p in folder.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                empty.rmdir()
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be removed ({error.strerror or error}).") from error

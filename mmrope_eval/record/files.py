"""Records on disk: read and checked, written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Generic, TypeVar

from pydantic import ValidationError

from mmrope_eval.errors import UserError
from mmrope_eval.record.schema import FORMAT, MANIFEST, SAMPLES, SCORES, Record, SampleLine
from mmrope_eval.util.config import sentence
from mmrope_eval.util.files import is_special, write_text
from mmrope_eval.util.strict_json import strict_json
from mmrope_eval.words import shortened, shown

AGAIN: Final = "start the run's command again"
ANEW: Final = f"{AGAIN}, or make new ones with mmrope-eval rescore RUN --output NEW"
"""What to do about samples; neither asks anything twice."""
PACKED: Final = ".gz"

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Stored(Generic[R]):
    """A record, and the JSON object that it was read from, with the keys that this version does not know."""

    path: Path
    record: R
    raw: dict[str, Any]
    sum: str
    """sha256 of the file."""


def read_record(path: Path, kind: type[R], remedy: str = AGAIN) -> Stored[R]:
    """A record from a file. UserError when it is missing, cannot be read, is newer or is not what it should be."""
    try:
        _require_plain(path)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: the run did not finish; {remedy}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {remedy}.") from error
    try:
        raw = strict_json(content)
    except RecursionError as error:
        raise UserError(f"{path} cannot be read (its brackets are nested too deeply); {remedy}.") from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({shortened(str(error), 100)}); {remedy}.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not {Record.kind}; {remedy}.")
    refuse_newer(path, raw, kind, remedy)
    try:
        return Stored(path, kind.model_validate_json(content), raw, sum_of([content]))
    except ValidationError as error:
        raise UserError(f"{path} is not {kind.kind} ({sentence(error, kind)}); {remedy}.") from error


def raw_record(path: Path, kind: type[Record]) -> Mapping[str, Any]:
    """The JSON object of a record; empty where there is none, or a damaged one."""
    try:
        return read_record(path, kind).raw
    except UserError:
        return {}


def refuse_newer(path: Path, raw: dict[str, Any], kind: type[Record], remedy: str) -> None:
    """UserError for a format that this version does not know. The first ones had no `format`."""
    version = raw.get("format", FORMAT)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{path} is not {kind.kind} (format: {shown(version)} is no version of a format); {remedy}.")
    if version > FORMAT:
        raise UserError(f"{path} has format {shown(version)}, and this mmrope-eval reads records up to format "
                        f"{FORMAT}; update mmrope-eval.")


# --------------------------------------------------------------------------------------------------------------


def samples_path(folder: Path, task: str) -> Path:
    """The file of a task's samples: as it was written, or packed with gzip."""
    plain = folder / SAMPLES / f"{task}.jsonl"
    packed = plain.with_name(f"{plain.name}{PACKED}")
    return packed if not plain.exists() and packed.exists() else plain


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file of samples, unpacked, with their ends. UserError when it cannot be read."""
    try:
        with opened(path) as stream:
            yield from stream
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {ANEW}.") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or shortened(str(error), 100)
        raise UserError(f"{path} cannot be read ({reason}); {ANEW}.") from error


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked where it is packed."""
    _require_plain(path)
    return gzip.open(path, "rb") if path.suffix == PACKED else path.open("rb")  # type: ignore[return-value]


def _require_plain(path: Path) -> None:
    """OSError for what is there and no file: a pipe would be waited for without end."""
    if is_special(path):
        kind = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(kind, os.strerror(kind) if path.is_dir() else "it is no plain file", str(path))


def read_samples(path: Path, read: Callable[[bytes], object] = bytes) -> Iterator[tuple[int, SampleLine]]:
    """The samples of a file, each with the number of its line; `read` is given every line. UserError names the line
    and the field that is wrong."""
    for number, line in enumerate(read_lines(path), 1):
        read(line)
        if not line.strip():
            continue
        try:
            yield number, SampleLine.model_validate_json(line)
        except ValidationError as error:
            raise UserError(f"{path} line {number} is damaged ({sentence(error, SampleLine)}); {ANEW}.") from error


SEAL: Final = "sha256"


def sealed(record: Mapping[str, Any], name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The record with its seal: the sums of `files`, and under its own file's `name` the sum of itself."""
    bare = {key: value for key, value in record.items() if key != SEAL}
    return {**bare, SEAL: {**files, name: _sum_of_self(bare, files)}}


def seal_holds(record: Mapping[str, Any], name: str) -> bool:
    """Whether a record that has a seal is the one that was sealed."""
    sums = record[SEAL]
    others = {key: value for key, value in sums.items() if key != name}
    bare = {key: value for key, value in record.items() if key != SEAL}
    return bool(sums.get(name) == _sum_of_self(bare, others))


def sum_of(chunks: Iterable[bytes]) -> str:
    """sha256 of a content."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _sum_of_self(bare: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Over the content, not its bytes: a file cannot hold its own sum."""
    text = json.dumps({**bare, SEAL: files}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_manifest(folder: Path, manifest: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Write manifest.json, the last record of a cell: with the sums of scores.json and of its tasks' samples."""
    files = {SCORES: sum_of([(folder / SCORES).read_bytes()])}
    for task in scores["tasks"]:
        files[f"{SAMPLES}/{task}.jsonl"] = sum_of(read_lines(samples_path(folder, task)))
    write_json(folder / MANIFEST, sealed(manifest, MANIFEST, files))

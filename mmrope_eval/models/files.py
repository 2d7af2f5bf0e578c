"""Reading a checkpoint's files once: their sha256 and, of weights, whether every value is finite. Remembered.

Weights are gigabytes, so one pass over a file does all that needs its bytes, several files at a time, and a file is
read again only when its size or times have changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO, Any, BinaryIO, TextIO, TypeGuard

import numpy as np

from mmrope_eval.errors import UserError
from mmrope_eval.util.files import whole
from mmrope_eval.util.paths import cache_home
from mmrope_eval.words import mended, one_line

INDEX = "model.safetensors.index.json"
"""Which tensor is in which shard."""

PIECE = 1 << 22
"""Bytes read at a time: small enough to stay in a core's cache for both passes over it."""

WORTH_A_LINE = 2 * 10**9
"""Bytes from which on reading is announced."""

EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal."""

MAX_HEADER = 100_000_000
"""What the safetensors library itself allows."""

# dtype of a safetensors header -> (numpy type of the bits, the bits that are all set in a value that is not finite)
_NOT_FINITE: Mapping[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F),
    "F8_E8M0": (np.uint8, 0xFF),
    "C64": (np.uint32, 0x7F80_0000),
}
_ONE_NAN: Mapping[str, int] = {"F8_E4M3FNUZ": 0x80, "F8_E5M2FNUZ": 0x80}
"""dtypes without infinities, and the byte that is their only nan."""

# Bits of one value of each dtype that the safetensors library knows.
_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor by its file's header."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Offsets in bytes from the start of the file."""
    end: int


@dataclass(frozen=True)
class WeightScan:
    """What one pass over a safetensors file found."""

    digest: str
    """sha256 of the whole file, in hexadecimal."""
    not_finite: tuple[str, ...] = ()
    """Tensors that hold a nan or an infinity."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the values alone, of word embeddings and output matrix: are they the same numbers?"""


class FileHashes:
    """sha256 of files. A file is read again only when its size or its times have changed.

    The memory lives under `directory`, by default `mmrope-eval/hashes` in the user's cache folder ($XDG_CACHE_HOME).
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_home() / "hashes"

    def of(self, path: Path) -> str:
        """sha256 of one file's content, in hexadecimal. Raises `UserError` when it cannot be read."""
        return self.of_part(path, "", lambda: hash_file(path))

    def of_part(self, path: Path, part: str, read: Callable[[], str]) -> str:
        """What `read` gives, the sha256 of a part of a file (a member of an archive, say), remembered as `part`.

        Raises `UserError` when the file cannot be read.
        """
        remembered = self.known(path, part)
        if remembered is not None:
            return remembered
        try:
            before = self._memory(path, part)
            digest = read()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
        self._remember(path, part, digest, before)
        return digest

    def known(self, path: Path, part: str = "") -> str | None:
        """The remembered sha256 of a file or a part of it."""
        digest = self._recall(path, part)
        return digest if digest is not None and len(digest) == 64 else None

    def remember(self, path: Path, digest: str) -> None:
        """Keep the sha256 of a file that was just written and hashed on the way."""
        with contextlib.suppress(OSError):
            self._remember(path, "", digest, self._memory(path, ""))

    def combined(self, paths: Iterable[Path], notes: Iterable[str] = (), instead: Mapping[Path, str] | None = None
                 ) -> str:
        """sha256 over the names and contents of several files, and over what was done differently than they say.

        `instead` has the digests of files whose content does not count as it is.
        """
        other = instead or {}
        lines = sorted(f"{path.name} {other[path] if path in other else self.of(path)}" for path in paths)
        return hashlib.sha256("\n".join([*lines, *notes]).encode()).hexdigest()

    def scan(self, paths: Sequence[Path], headers: Mapping[Path, Mapping[str, TensorInfo]],
             contents_of: frozenset[str]) -> dict[Path, WeightScan]:
        """Read weights, in parallel over files: their hashes, and what in them is not finite.

        `headers` are `read_header`'s, `contents_of` the tensors of which a hash of their own is wanted. Raises
        `UserError` when a file cannot be read.
        """
        compared = {path: contents_of & headers[path].keys() for path in paths}
        scanned = {path: scan for path in paths if (scan := self._recall_scan(path, compared[path])) is not None}
        missing = [path for path in paths if path not in scanned]
        before = {path: {kind: self._memory(path, kind) for kind in ("", "scan")} for path in missing}
        with ReadProgress(sum(path.stat().st_size for path in missing), len(missing)) as progress:
            workers = max(1, min(8, len(missing), os.cpu_count() or 1))
            with ThreadPoolExecutor(workers) as pool:
                scans = pool.map(lambda path: scan_file(path, headers[path], compared[path], progress), missing)
                for path, scan in zip(missing, scans, strict=True):
                    scanned[path] = scan
                    self._remember(path, "scan", json.dumps(asdict(scan)), before[path]["scan"])
                    self._remember(path, "", scan.digest, before[path][""])
        return scanned

    def _recall_scan(self, path: Path, contents_of: frozenset[str]) -> WeightScan | None:
        try:
            kept = json.loads(self._recall(path, "scan") or "")
            scan = WeightScan(kept["digest"], tuple(kept["not_finite"]), dict(kept["contents"]))
        except (ValueError, KeyError, TypeError):
            return None
        return scan if contents_of <= scan.contents.keys() else None

    def _memory(self, path: Path, kind: str) -> Path:
        size, modified, changed = file_state(path.stat())
        key = f"{path.resolve()}\n{size}\n{modified}\n{changed}"
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.directory / (f"{name}.{kind}" if kind else name)

    def _recall(self, path: Path, kind: str) -> str | None:
        with contextlib.suppress(OSError, ValueError):
            place = self._memory(path, kind)
            text, _, told = place.read_text(encoding="ascii").partition("\n")
            # Earlier versions kept no sum beside it.
            return text if told in ("", _sum_of(place, text)) else None
        return None

    def _remember(self, path: Path, kind: str, text: str, before: Path) -> None:
        """Keep what was read, unless the file has changed since `before`, its place in the memory then."""
        # A cache folder that cannot be written costs time, not the run.
        with contextlib.suppress(OSError):
            if self._memory(path, kind) != before:
                return
            with whole(before) as draft:
                draft.write_text(f"{text}\n{_sum_of(before, text)}", encoding="ascii")


def _sum_of(place: Path, text: str) -> str:
    """sha256 of what is remembered in a place: a flipped bit would make a checkpoint another one."""
    return hashlib.sha256(f"{place.name}\n{text}".encode()).hexdigest()


def file_state(stat: os.stat_result) -> tuple[int, int, int]:
    """Size in bytes, times of modification and of change in nanoseconds: another state whenever a file is another.

    A copy that keeps size and time of modification (rsync, tar, cp -p) still has a change time of its own.
    """
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def hash_file(path: Path, progress: ReadProgress | None = None) -> str:
    """sha256 of a file's content, in hexadecimal. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return hash_stream(file, progress)


def hash_stream(stream: IO[bytes], progress: ReadProgress | None = None, copy: BinaryIO | None = None) -> str:
    """sha256 of all that a stream still gives, in hexadecimal; written to `copy` on the way where that is given."""
    digest = hashlib.sha256()
    while piece := stream.read(PIECE):
        digest.update(piece)
        if copy is not None:
            copy.write(piece)
        if progress is not None:
            progress.add(len(piece))
    return digest.hexdigest()


class ReadProgress:
    """How far reading much is, on stderr: anew every second, and where stderr is no terminal in a line a minute."""

    def __init__(self, total: int, files: int, what: str = "weights",
                 why: str = "hashes, and whether every value is finite", stream: TextIO | None = None) -> None:
        self._total, self._files, self._stream = total, files, stream or sys.stderr
        self._what, self._why = what, why
        self._done, self._began, self._lock = 0, time.monotonic(), Lock()
        self._live, self._terminal = total >= WORTH_A_LINE, self._stream.isatty()
        self._said = self._began

    def __enter__(self) -> ReadProgress:
        if self._live:
            print(f"reading {self._total / 1e9:.1f} GB of {self._what} in {self._files} files, once: {self._why}",
                  file=self._stream)  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._terminal:
            print(file=self._stream)

    def add(self, count: int) -> None:
        """Another `count` bytes are read; from any thread."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._live and now - self._said > (1 if self._terminal else EVERY):
                self._said = now
                rate = self._done / max(now - self._began, 1e-9)
                left = (self._total - self._done) / rate
                text = (f"{self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB, {rate / 1e9:.2f} GB/s, "
                        f"{left:.0f} s to go")  # fmt: skip
                print(f"\r{text} " if self._terminal else text, end="" if self._terminal else "\n",
                      file=self._stream, flush=True)  # fmt: skip


def read_header(path: Path) -> dict[str, TensorInfo]:
    """All tensors of a safetensors file, by its header alone. Raises `UserError` for a damaged or truncated file."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
            if start.startswith(b"version https://git-lfs"):
                raise UserError(f"{path} is a Git LFS pointer, not the weights: run 'git lfs pull' in its folder")
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or length > MAX_HEADER:
                raise ValueError("its header is not one")
            file.seek(8)
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is not one")
        header.pop("__metadata__", None)
        begin = 8 + length
        tensors = {name: _info(path, name, entry, begin) for name, entry in header.items()}
        _check_layout(tensors, begin, path.stat().st_size)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        wrong = "cannot be read" if isinstance(error, OSError) else "is not a complete safetensors file"
        raise UserError(f"{path} {wrong} ({' '.join(reason.split())}): {mended(path, 'download it again')}"
                        ) from error  # fmt: skip
    return tensors


def _info(path: Path, name: str, entry: Any, begin: int) -> TensorInfo:
    given = entry if isinstance(entry, Mapping) else {}
    offsets, shape, dtype = given.get("data_offsets"), given.get("shape"), given.get("dtype")
    if not (_counts(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1] and _counts(shape)):
        raise ValueError(f"offsets or shape of {one_line(name)} that cannot be")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"{one_line(name)} is of the unknown dtype {dtype!r}")
    return TensorInfo(path, dtype, tuple(shape), begin + offsets[0], begin + offsets[1])


def _counts(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and all(type(item) is int and item >= 0 for item in given)


def _check_layout(tensors: Mapping[str, TensorInfo], begin: int, size: int) -> None:
    """What the safetensors library insists on: tensors fill the file without gaps, each as long as its shape says."""
    place = begin
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != place:
            raise ValueError(f"{one_line(name)} starts {'within' if tensor.begin < place else 'away from'} the tensor "
                             "before it")  # fmt: skip
        if math.prod(tensor.shape) * _BITS[tensor.dtype] != (tensor.end - tensor.begin) * 8:
            raise ValueError(f"{one_line(name)} has {tensor.end - tensor.begin} bytes, which is not its shape "
                             f"{list(tensor.shape)} of {tensor.dtype}")  # fmt: skip
        place = tensor.end
    if size != place:
        raise ValueError(f"{place} bytes announced, {size} present")


def scan_file(path: Path, tensors: Mapping[str, TensorInfo], contents_of: frozenset[str],
              progress: ReadProgress) -> WeightScan:
    """One pass over a file. Raises `UserError` when it cannot be read."""
    whole_file = hashlib.sha256()
    bad: list[str] = []
    contents: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
                for _ in _pieces(file, tensor.begin, whole_file, progress):
                    pass  # what lies between tensors: the header, padding
                values = hashlib.sha256() if name in contents_of else None
                if not _all_finite(_pieces(file, tensor.end, whole_file, progress), tensor.dtype, values):
                    bad.append(name)
                if values is not None:
                    contents[name] = values.hexdigest()
            for _ in _pieces(file, path.stat().st_size, whole_file, progress):
                pass
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    return WeightScan(whole_file.hexdigest(), tuple(bad), contents)


def _pieces(file: BinaryIO, until: int, whole_file: hashlib._Hash, progress: ReadProgress) -> Iterator[bytes]:
    """What a file holds from where it is up to an offset, hashed. Raises OSError where it ends before."""
    while (left := until - file.tell()) > 0:
        piece = file.read(min(PIECE, left))
        if not piece:
            raise OSError("it became shorter while it was read")
        whole_file.update(piece)
        yield piece
        progress.add(len(piece))


def _all_finite(pieces: Iterable[bytes], dtype: str, values: hashlib._Hash | None) -> bool:
    """Whether all values of a tensor are finite; they are hashed into `values`, where that is given."""
    kind, mask = _NOT_FINITE.get(dtype, (None, 0))
    finite = True
    for piece in pieces:
        if values is not None:
            values.update(piece)
        if kind is not None and finite:
            bits = np.frombuffer(piece, kind, count=len(piece) // kind().itemsize)
            finite = int((bits & kind(mask)).max(initial=0)) != mask
        elif dtype in _ONE_NAN and finite:
            finite = _ONE_NAN[dtype] not in piece
    return finite

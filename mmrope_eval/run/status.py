"""`mmrope-eval status`: how far a run or a study is, from its files alone. Nothing is written."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmrope_eval.errors import UserError
from mmrope_eval.record.schema import FAILED_ROW
from mmrope_eval.run.options import StatusOptions
from mmrope_eval.run.placing import Row, read_row
from mmrope_eval.run.progress import EVERY, PROGRESS, WRITER, clock
from mmrope_eval.run.runlog import LOG
from mmrope_eval.store.lock import LOCK, locks_above, locks_below, taken
from mmrope_eval.util.console import say
from mmrope_eval.words import shortened

DEPTH: Final = 3
"""How far below a study's folder its rows lie: run/seed/row."""
SILENT: Final = 20 * EVERY
"""Seconds without a sign of life after which nobody is taken to be at it on another machine."""
CAUSE: Final = 300
"""Characters of a cause that are shown."""

Count = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=10**12)]


@dataclass(frozen=True)
class RowStatus:
    """One row, as far as its files say."""

    label: str
    folder: str
    state: Literal["waiting", "running", "done", "failed", "unfinished"]
    """unfinished: begun, and nobody is at it."""
    done: Count | None
    """Samples with an outcome; None where no file says it."""
    failed: Count | None
    total: Count | None
    tasks: tuple[str, ...] = ()
    cause: str = ""


class ProgressRecord(BaseModel):
    """progress.json."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    writer: Literal["mmrope-eval"] = WRITER
    pid: Count
    host: str
    updated: Seconds
    state: Literal["running", "stopped", "ended"]
    pace: Seconds | None
    left_s: Seconds | None
    rows: tuple[RowStatus, ...]


@dataclass(frozen=True)
class Status:
    """An output."""

    output: str
    running: bool | None
    """Whether a process is at it; None where a process of another machine may be."""
    pid: int | None
    host: str | None
    last_sign_s: float | None
    """Seconds since the last sign of life; None where there is none on record."""
    pace: float | None
    """Answers a second of the last process."""
    left_s: float | None
    rows: tuple[RowStatus, ...]


def main(args: StatusOptions) -> int:
    """The command: exit code 0, whatever the state; UserError for a folder that holds no results."""
    status = read_status(args.output)
    if args.as_json:
        say(json.dumps(asdict(status), indent=2, ensure_ascii=False))
    else:
        say(*lines(status))
    return 0


def read_status(output: Path, now: float | None = None) -> Status:
    """What the files of an output say. UserError for what is no output. `now`: seconds since 1970."""
    if not output.is_dir():
        raise UserError(f"{output} is not a folder: give the --output of a run or a study")
    progress = read_progress(output / PROGRESS)
    folders = {} if progress is None else {os.path.normpath(row.folder): row for row in progress.rows}
    older = [row for row in _rows_below(output, output, DEPTH) if row.folder not in folders]
    if progress is None and not older and not (output / LOG).is_file():
        raise UserError(f"{output} holds no results of a run or a study: give its --output")
    age = None if progress is None else max(0.0, (time.time() if now is None else now) - progress.updated)
    running, pid = _at_it(output, progress, age)
    rows = () if progress is None else progress.rows
    if running is False:
        rows = tuple(replace(row, state="unfinished") if row.state == "running" else row for row in rows)
    at_work = progress is not None and progress.state == "running" and running is not False
    return Status(str(output), running, pid, None if progress is None else progress.host, age,
                  None if progress is None else progress.pace,
                  progress.left_s if progress is not None and at_work else None, (*rows, *older))


def read_progress(path: Path) -> ProgressRecord | None:
    """progress.json; None where there is none, or one that cannot be read: other files say the rest."""
    try:
        return ProgressRecord.model_validate_json(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError):
        return None


def _at_it(output: Path, progress: ProgressRecord | None, age: float | None) -> tuple[bool | None, int | None]:
    """Whether a process writes to the folder now, and its id: by the locks, else by a sign of life of another host."""
    for path in (output / LOCK, *locks_above(output), *locks_below(output, DEPTH)):
        holder = _holder(path)
        if holder is not None:
            return True, holder or (None if progress is None else progress.pid)
    if progress is None:
        return False, None
    elsewhere = progress.state == "running" and progress.host != platform.node()
    if elsewhere and age is not None and age < SILENT:
        return None, progress.pid  # a lock of another machine is not always seen here
    return False, progress.pid


def _holder(path: Path) -> int | None:
    """The id of the process that holds a lock, 0 where the file does not say it; None where nobody does."""
    import fcntl

    try:
        with path.open(encoding="utf-8") as handle:
            if taken(handle, fcntl.LOCK_SH, quiet=True):
                return None
            text = handle.read().strip()
            return int(text) if text.isdecimal() and len(text) < 12 else 0
    except (OSError, ValueError):
        return None


def _rows_below(output: Path, folder: Path, depth: int) -> Iterator[RowStatus]:
    """The rows of a folder and of those in it, from their own records."""
    row, cause = read_row(folder), _cause(folder)
    name = os.path.relpath(folder, output)
    label = folder.resolve().name
    if row is not None:
        scored = bool(row.sizes)
        total = sum(row.sizes.values()) if scored else None
        state: Literal["failed", "done", "unfinished"] = "failed" if cause is not None else (
            "done" if scored else "unfinished")  # fmt: skip
        yield RowStatus(label, name, state, total, _failed(row), total, tuple(row.sizes), cause or "")
    elif cause is not None:
        yield RowStatus(label, name, "failed", None, None, None, (), cause)
    if depth == 0:
        return
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return
    for path in inside:
        if not path.name.startswith("."):
            yield from _rows_below(output, path, depth - 1)


def _failed(row: Row) -> int | None:
    tasks = row.manifest.get("tasks")
    entries = tasks.values() if isinstance(tasks, Mapping) else ()
    counts = [entry.get("n_failed") for entry in entries if isinstance(entry, Mapping)]
    return sum(count for count in counts if isinstance(count, int)) if counts else None


def _cause(folder: Path) -> str | None:
    """Why a row failed; None where it did not."""
    try:
        content: Any = json.loads((folder / FAILED_ROW).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return str(content["cause"]) if isinstance(content, dict) and "cause" in content else None


def lines(status: Status) -> Iterator[str]:
    """A status as people read it."""
    yield f"{status.output}: {_who(status)}"
    counted = [row for row in status.rows if row.total is not None]
    if counted:
        yield _counts("in all", counted, status)
    width = max((len(_name(row)) for row in status.rows), default=0)
    for row in status.rows:
        yield f"  {_name(row):<{width}}  {row.state:<10}  {_numbers(row)}"
    for row in status.rows:
        if row.cause:
            yield f"{_name(row)} failed: {shortened(row.cause, CAUSE)}"


def _who(status: Status) -> str:
    sign = "" if status.last_sign_s is None else f", last sign of life {clock(status.last_sign_s)} ago"
    who = f"pid {status.pid or 'unknown'}" + (f" on {shortened(status.host, 60)}" if status.host else "")
    if status.running:
        return f"a process is at it ({who}{sign})"
    if status.running is None:
        return f"a process of another machine seems to be at it ({who}{sign})"
    return f"no process is at it{f' (the last one: {who}{sign})' if status.host else ''}"


def _counts(name: str, rows: list[RowStatus], status: Status) -> str:
    done, total = sum(row.done or 0 for row in rows), sum(row.total or 0 for row in rows)
    parts = [f"{name}: {done:,}/{total:,} samples", f"{sum(row.failed or 0 for row in rows):,} failed"]
    parts += [f"{status.pace:.1f} samples/s"] if status.pace else []
    parts += [f"{clock(status.left_s)} left"] if status.left_s else []
    ended = sum(row.state == "done" for row in status.rows)
    return ", ".join([*parts, f"{ended}/{len(status.rows)} rows done"])


def _name(row: RowStatus) -> str:
    return shortened(row.label if row.folder == "." else row.folder, 80)


def _numbers(row: RowStatus) -> str:
    if row.total is None:
        return "?" if row.state == "unfinished" else ""
    failed = f", {row.failed:,} failed" if row.failed else ""
    return f"{row.done or 0:,}/{row.total:,}{failed}"

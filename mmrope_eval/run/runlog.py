"""What a run says, in files, for whoever reads afterwards why it failed: OUTPUT/log.txt, and tracebacks in errors.log.

It holds the lines that the run printed on stderr, each with its time, and vLLM's own words, those of its processes
included (see `engine.process`). Every start of a run appends to it, and it stays below a size.

With `--verbose`, what others write into it is shown as it comes (`following`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from mmrope_eval.errors import UserError, full_trace, kind
from mmrope_eval.run.manifest import versions
from mmrope_eval.util.files import is_special
from mmrope_eval.words import visible

EVERY: Final = 0.3
"""Seconds between two looks."""
OURS: Final = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
"""How a line of a log begins that the run has said itself."""


def added(path: Path, place: int) -> tuple[list[str], int]:
    """The whole lines that were added to a file since a place in bytes, without what the run has said itself, and the
    place behind them. One that was shortened is taken up at its new end."""
    try:
        with path.open("rb") as stream:
            place = min(place, stream.seek(0, os.SEEK_END))
            stream.seek(place)
            content = stream.read()
    except OSError:
        return [], 0
    whole = content[: content.rfind(b"\n") + 1]
    lines = [line.decode("utf-8", "replace") for line in whole.splitlines() if not OURS.match(line)]
    return lines, place + len(whole)


@contextmanager
def following(paths: Sequence[Path], show: Callable[[str], None]) -> Iterator[None]:
    """Show every line that others add to the files meanwhile."""
    places = {path: path.stat().st_size if path.is_file() else 0 for path in paths}
    ended = threading.Event()

    def look() -> None:
        for path in paths:
            lines, places[path] = added(path, places[path])
            for line in lines:
                show(line)

    def watch() -> None:
        while not ended.wait(EVERY):
            look()

    thread = threading.Thread(target=watch, name="follow-logs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


LOG = "log.txt"
ERRORS = "errors.log"
"""Tracebacks, beside it (see `ErrorLog`)."""
LARGEST = 8 * 2**20
"""Bytes; of a larger log the first half is left out."""


@contextmanager
def run_log(folder: Path, command: Sequence[str], file: Path | None = None, *, verbose: bool = False,
            largest: int = LARGEST) -> Iterator[Path | None]:
    """Log what is printed on stderr meanwhile, and say where the log is; None where none can be written. `file` takes
    the place of the one in `folder`; UserError where that cannot be written. `verbose`: what others write into the logs
    meanwhile is shown. `largest`: bytes that the log keeps."""
    path = folder / LOG if file is None else file.absolute()
    try:
        if is_special(path):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        stream = path.open("a", encoding="utf-8", errors="replace")
    except OSError as error:
        if file is not None:
            raise UserError(f"--log-file {file} cannot be written ({error.strerror or error}): name another "
                            "file") from error
        yield None
        return
    tee = Tee(sys.stderr, path, stream, largest)
    tee.say(_head(command))
    before, sys.stderr = sys.stderr, tee
    try:
        with following([path, folder / ERRORS], tee.show) if verbose else contextlib.nullcontext():
            yield path
        tee.say("=== ended")
    except BaseException as error:
        tee.say(f"=== ended by {type(error).__name__}: {error}")
        raise
    finally:
        if sys.stderr is tee:
            sys.stderr = before
        tee.end()


def _head(command: Sequence[str]) -> str:
    packages = " ".join(f"{name} {version}" for name, version in versions().items())
    where = f"Python {platform.python_version()}, pid {os.getpid()} on {platform.node()}"
    return f"=== {shlex.join(command) or 'from Python'}\n=== {packages}, {where}"


class Tee(io.TextIOBase):
    """stderr that is also written to a log, line by line, without what moves a cursor. It writes to a copy of the
    terminal's file descriptor, so that it reaches the terminal also while descriptor 2 leads elsewhere. Whoever keeps
    it beyond the run, as logging handlers do, writes to the stderr of that time."""

    def __init__(self, terminal: TextIO, path: Path, log: TextIO, largest: int = LARGEST) -> None:
        self._path, self._log, self._largest = path, log, largest
        self._terminal = terminal
        self._copy: TextIO | None = None
        self._lock = threading.RLock()
        self._line = ""
        with contextlib.suppress(OSError, ValueError):
            if terminal.fileno() == 2:
                terminal.flush()
                self._copy = os.fdopen(os.dup(2), "w", encoding=terminal.encoding, errors="backslashreplace",
                                       buffering=1)  # fmt: skip

    def write(self, text: str) -> int:
        """To the terminal, and whole lines to the log."""
        with self._lock:
            self._target.write(text)
            if not self._log.closed:
                *lines, self._line = (self._line + text).split("\n")
                for line in lines:
                    if shown := readable(line):
                        self.say(shown)
        return len(text)

    def say(self, text: str) -> None:
        """Write text into the log alone, with the time. A log that cannot be written is no error."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ")
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._log.write("".join(f"{stamp}{line}\n" for line in text.splitlines()))
            self._log.flush()
            shorten(self._path, self._largest)

    def show(self, line: str) -> None:
        """Print a line on the terminal alone."""
        with self._lock:
            self._target.write(f"{visible(line)}\n")

    def end(self) -> None:
        """Close the log: no more lines go to it."""
        with self._lock:
            if shown := readable(self._line):
                self.say(shown)
            with contextlib.suppress(OSError):
                self._log.close()
            if self._copy is not None:
                self._copy.close()
                self._copy = None

    @property
    def _target(self) -> TextIO:
        if self._copy is not None:
            return self._copy
        if not self._log.closed:
            return self._terminal
        return sys.stderr if sys.stderr is not self else sys.__stderr__ or self._terminal

    def flush(self) -> None:
        """Flush the terminal."""
        with contextlib.suppress(ValueError):
            self._target.flush()

    def isatty(self) -> bool:
        """Whether what is written reaches a terminal."""
        return self._target.isatty()

    def fileno(self) -> int:
        """The terminal's file descriptor."""
        return self._target.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The terminal's encoding."""
        return self._target.encoding


def readable(line: str) -> str:
    """What a terminal shows of a line in the end, without colours; "" for a progress bar."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rstrip("\r")).rpartition("\r")[2].rstrip()
    return "" if re.search("[━╸╺]", text) else text


def shorten(path: Path, largest: int) -> None:
    """Leave out the first half of a file that is larger than so many bytes; whoever appends to it goes on doing so."""
    try:
        if path.stat().st_size <= largest:
            return
        with path.open("r+b") as stream:
            stream.seek(-(largest // 2), 2)
            rest = stream.read().partition(b"\n")[2]
            stream.seek(0)
            stream.write(b"... earlier lines left out\n" + rest)
            stream.truncate()
    except OSError:
        return


KINDS = 100
"""Of a session; more kinds than this are one kind."""
LONGEST = 20_000
"""Characters of a traceback; of a longer one the beginning is left out."""
ERRORS_LARGEST = 4 * 2**20
"""Bytes that a session may find; of a larger file it keeps the second half."""


class ErrorLog:
    """OUTPUT/errors.log: what Python printed of each error that nobody foresaw, once for each kind of error."""

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        """`log`: where the run's own log is, if not beside this one."""
        self.path = folder / ERRORS
        self._log = folder / LOG if log is None else log
        self._kinds: set[str] = set()

    def note(self, where: str, error: BaseException | str) -> None:
        """Keep a traceback, given as such or as an exception, unless one of its kind is kept; "" is none. The kind is
        an error's type and words without numbers and addresses. A file that cannot be written is no error."""
        trace = error if isinstance(error, str) else full_trace(error)
        same = kind(next((line for line in reversed(trace.splitlines()) if line.strip()), ""))
        if not same or same in self._kinds or len(self._kinds) >= KINDS or is_special(self.path):
            return
        try:
            if not self._kinds:
                shorten(self.path, ERRORS_LARGEST)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="replace") as stream:
                stream.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {where}\n{trace[-LONGEST:]}\n")
        except OSError:
            return
        self._kinds.add(same)

    def where(self) -> list[str]:
        """A line for people where this session has written something."""
        more = f", what vLLM said in {self._log}" if self._log.is_file() else ""
        return [f"  tracebacks in {self.path}{more}"] if self._kinds else []

"""What reaches a person: text that is safe on a terminal, on streams that may be narrow, full or closed; and files.

`prepare` makes the standard streams take any text. `say` is the one way to print what may hold names or causes out of
files. A reader that went away (a closed pipe) is no error: nothing more is shown, and the command goes on to its exit
code. A full disk is one: one sentence.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from mmrope_eval.errors import UserError
from mmrope_eval.util.files import is_special, whole
from mmrope_eval.words import visible

ESCAPED: Final = "mmrope_eval.escaped"
"""The name of our way with characters that a stream's encoding lacks."""


def prepare() -> None:
    """Let both standard streams write what their encoding lacks as escapes (ASCII, latin-1)."""
    codecs.register_error(ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """As `backslashreplace`, but in JSON's escapes, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = (lost[at : at + 2].hex() for at in range(0, len(lost), 2))
    return "".join(f"\\u{unit}" for unit in units), error.end


def say(*lines: str, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print lines, with everything that acts on a terminal as its escape. UserError when they cannot be written."""
    stream = sys.stdout if file is None else file
    try:
        print(*(visible(line, keep="\n\t") for line in lines), sep="\n", end=end, file=stream, flush=flush)
    except OSError as error:
        abandon(error, stream)


def complain(sentence: str) -> None:
    """Print an error on the standard error stream; where that cannot be, the exit code says it alone."""
    with contextlib.suppress(UserError):
        say(sentence, file=sys.stderr)


KEPT: Final = re.compile(r"\b(?:error|warning): | failed: ")
"""Of a line that a quiet command prints all the same."""


class Quiet(io.TextIOBase):
    """stderr that shows lines about errors, failed rows and warnings, and no others. It writes to a copy of the
    terminal's file descriptor where there is one, so that it reaches the terminal also while descriptor 2 leads
    elsewhere."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal, self._line = terminal, ""
        self._copy: TextIO | None = None
        with contextlib.suppress(OSError, ValueError):
            if terminal.fileno() == 2:
                terminal.flush()
                self._copy = os.fdopen(os.dup(2), "w", encoding=terminal.encoding, errors="backslashreplace",
                                       buffering=1)  # fmt: skip

    def write(self, text: str) -> int:
        """Take text; show whole lines of it."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if KEPT.search(line):
                (self._copy or self._terminal).write(f"{line}\n")
        return len(text)

    def end(self) -> None:
        """Show what is left."""
        if self._line:
            self.write("\n")
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def flush(self) -> None:
        """Flush the terminal."""
        with contextlib.suppress(ValueError):
            (self._copy or self._terminal).flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The terminal's encoding."""
        return self._terminal.encoding


@contextmanager
def quiet(asked: bool) -> Iterator[None]:
    """While a command runs that shall print results and errors only, if that is `asked`."""
    if not asked:
        yield
        return
    before, stream = sys.stderr, Quiet(sys.stderr)
    sys.stderr = stream
    try:
        yield
    finally:
        if sys.stderr is stream:
            sys.stderr = before
        stream.end()


def finish() -> None:
    """Write out what is still held back. UserError when it cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            abandon(error, stream)


def abandon(error: OSError, stream: TextIO | None = None) -> None:
    """Send the rest of a stream (the standard output) nowhere, so that nothing complains at the end. UserError unless
    it was the reader who left."""
    stream = sys.stdout if stream is None else stream
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # a stream without a file behind it
    if isinstance(error, BrokenPipeError):
        return
    name = "The standard output" if stream is sys.stdout else "The standard error stream"
    raise UserError(f"{name} cannot be written ({error.strerror or error}); free space, or write elsewhere.") from error


def reader_left() -> bool:
    """Whether nobody reads the standard output any more (head, less); it goes nowhere from then on."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        abandon(error)
        return True
    return False


def write_file(path: Path, text: str) -> None:
    """Write a file that was asked for, whole or not at all. UserError when it cannot be written. What is no plain file
    (a device, a pipe) is written as it is; a link is followed."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_special(path) or path.absolute().parts[1] in ("dev", "proc"):
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return
        with whole(path.resolve()) as draft:
            draft.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What writes a file that was asked for: UserError where it cannot be written; a pipe's reader may leave."""
    try:
        yield
    except BrokenPipeError:
        return
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); name another file.") from error

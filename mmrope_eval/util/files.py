"""Files written whole or not at all, and the errors of a disk that takes no more."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where a disk, or what one may use of it, is full."""
DRAFT: Final = ".tmp"
"""How the names of files end that are not written to their end."""


def is_special(path: Path) -> bool:
    """Whether there is something that is no plain file: a folder, a device, or a pipe, which would wait for a reader or
    a writer without end."""
    return path.exists() and not path.is_file()


def draft_of(path: Path) -> Path:
    """Where a file is written before it is put into its place: beside it, hidden, of this thread alone."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}{DRAFT}")


@contextlib.contextmanager
def whole(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """A new place to write to; what lies there in the end takes the place of `path` in one step. Where anything is
    raised, `path` stays as it was. `lasting`: on disk before it is in its place, which takes time. The folder is made.
    OSError names the file itself: a full disk names none, and nobody knows the draft."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        yield draft
        if lasting:
            with draft.open("rb") as stream:
                os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(draft)):
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all, and lasting. OSError names the file."""
    with whole(path, lasting=True) as draft:
        draft.write_text(text, encoding="utf-8", newline="")

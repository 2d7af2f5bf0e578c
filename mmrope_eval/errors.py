"""The one exception a user is meant to read, and others in one line."""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path
from typing import Literal

from mmrope_eval.words import flat, visible

LONGEST = 2000
"""Characters of a cause; of a longer one its middle is left out."""


class UserError(Exception):
    """Bad input: one sentence naming the thing, the place and the fix. The command line prints it without a traceback
    and exits with code 2."""


class PlaceError(UserError):
    """The operating system refuses a file that we write: the next one would fare alike."""


class MachinesError(UserError):
    """What the user asked for has no room on the machines, or they cannot be reached: no row could be evaluated."""


class Terminated(BaseException):
    """SIGTERM, as Slurm and its like send it some time before the end. Nothing but the command line catches it."""


def sentence(error: BaseException) -> str:
    """What went wrong, in one line: the type and the words of the error that an exception was raised from. An exception
    of this project says itself what is wrong. Addresses of objects are left out, so that the same fault says the same
    each time."""
    seen = {id(error)}
    while not _ours(error) and error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
    text = plain(str(error))
    if not text:
        return type(error).__name__
    return text if _ours(error) else f"{type(error).__name__}: {text}"


def _ours(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == __name__.partition(".")[0]


def plain(text: str) -> str:
    """Words on one line, visible and without addresses; the middle of very long ones is left out."""
    line = visible(flat(re.sub(r" at 0x[0-9a-fA-F]+", "", text)))
    if len(line) <= LONGEST:
        return line
    head = LONGEST * 3 // 4
    tail = LONGEST - head
    return f"{line[:head]} [{len(line) - LONGEST} characters left out] {line[-tail:]}"


def kind(text: str) -> str:
    """What causes of one fault have in common: the words without numbers and addresses."""
    return re.sub(r"0x[0-9a-fA-F]+|\d+([.,]\d+)*", "#", text)


def full_trace(error: BaseException) -> str:
    """An exception with all that it was raised from, as Python prints it."""
    return "".join(traceback.format_exception(error))


def cannot(do: str, path: str | Path, error: OSError, fix: str) -> PlaceError:
    """What to raise where the operating system refuses to `do` something with a file: one sentence with the reason."""
    if error.errno == errno.ENOSPC and takes_no_files(path):
        return PlaceError(f"cannot {do} {path} ({NO_INODES}): remove some files or choose another place.")
    return PlaceError(f"cannot {do} {path} ({error.strerror or error}): {fix}.")


NO_INODES = "its disk takes no more files, as all its inodes are used"


def takes_no_files(path: str | Path) -> bool:
    """Whether the disk on which a file lies or would lie has space perhaps, but no inode; `df -i` shows it."""
    for place in (Path(path), *Path(path).absolute().parents):
        try:
            disk = os.statvfs(place)
        except OSError:
            continue
        return disk.f_files > 0 and disk.f_favail == 0
    return False


class SampleError(Exception):
    """A dataset row that cannot become a sample; one sentence."""

    stage: Literal["media", "prompt", "target"] = "prompt"


class TargetError(SampleError):
    """The row's right answer cannot be read or scored."""

    stage = "target"


class MissingMediumError(SampleError):
    """The row's image or video is not there, or is not the one that was planned."""

    stage = "media"

"""The one exception a user is meant to read, and others in one line."""

from __future__ import annotations

from mmrope_eval.words import shortened


class UserError(Exception):
    """Bad input: one sentence naming the thing, the place and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


def sentence(error: BaseException) -> str:
    """An exception in one line: its type, and the beginning of what it says."""
    text = shortened(str(error), 300)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

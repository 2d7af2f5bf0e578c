"""When so many answers of a column are unread that its number tells of the reading rather than of the model."""

from __future__ import annotations

from typing import Final

PER_CENT: Final = 5
"""More than this many of the answers that were given; samples that failed gave none."""
MARK: Final = "†"
"""Beside such a number."""
WARNING: Final = f"more than {PER_CENT} % of the answers are unread and count as wrong"


def too_many(count: int, answered: int) -> bool:
    """Whether `count` of `answered` answers are more than may go without a word."""
    return 100 * count > PER_CENT * answered


def remedy(unread: int, truncated: int) -> str:
    """The likely cause, and the option that mends it: the answer limit where at least half as many were cut off."""
    if truncated and 2 * truncated >= unread:
        return ("likely cut off at the answer limit: --max-tokens N raises it, --thinking for checkpoints that write "
                "thoughts first")  # fmt: skip
    return "the wording (--prompts) or the checkpoint may not be the right one: look at samples/"

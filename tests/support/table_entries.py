"""Entries of the table on the screen."""

from __future__ import annotations

from typing import Any


def entry(column: str, value: float | None, failed: int = 0, unread: int = 0, **changes: Any) -> dict[str, Any]:
    return {"column": column, "main": "acc", "metrics": {"acc": {"value": value}}, "n": 7, "n_failed": failed,
            "n_truncated": 0, "n_unparsed": unread, **changes}  # fmt: skip

"""A right answer and its target for every scorer."""

from __future__ import annotations

from typing import Any

BOX = {"box": [10, 20, 30, 40], "coordinates": "absolute", "source_size": [100, 100], "used_size": [100, 100]}

RIGHT: dict[str, tuple[dict[str, Any], str, str]] = {
    "choice": ({"answer": "B", "options": ["red", "blue"]}, "B", "A"),
    "box": (BOX, "[10, 20, 30, 40]", "[50, 60, 70, 80]"),
    "span": ({"span": [10, 20]}, "10 - 20", "50 - 60"),
    "relaxed": ({"answer": "12"}, "12", "99"),
    "anls": ({"answers": ["$12"]}, "$12", "nothing"),
    "vqa": ({"answers": ["tea"] * 10}, "tea", "milk"),
    "contains": ({"answers": ["cat"]}, "cat", "dog"),
    "choice_or_exact": ({"answer": "Yes", "options": "Is it?"}, "Yes", "No"),
    "choice_or_open": ({"answer": "12", "options": "[]"}, "12", "99"),
}
"""Scorer -> (target, a response worth 1, a response worth 0)."""

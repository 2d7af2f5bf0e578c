"""What a row is called, a checkpoint under a variant: in folders, tables of runs, frames, comparisons and sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrope_eval.util.training_steps import distinct_names, numbered, usable


@dataclass(frozen=True)
class RowName:
    """What a row can be called after."""

    path: Path
    """Its checkpoint's folder."""
    variant: str
    label: str | None = None
    """Given by somebody; it wins."""


def row_labels(rows: Sequence[RowName], *, short: bool = False) -> list[str]:
    """A short, unique name for each row, usable as a folder's name: the part in which they differ.

    A given label wins. Checkpoints are called after their folders, with parents where these repeat; a number follows
    only where one folder is asked under two variants of one name. `short`, for legends: the variant alone also where
    checkpoints differ, as long as it tells all rows apart.
    """
    pairs = [(row.path.resolve(), usable(row.variant) or "variant") for row in rows]
    shown = {path: row.path for (path, _), row in zip(reversed(pairs), reversed(rows), strict=True)}
    given = [row.label for row in rows]
    names = dict(zip(shown, distinct_names(list(shown.values()), set(filter(None, given))), strict=True))
    several = {label for label in given if label and given.count(label) > 1}
    alone = {label for label in given if label} - several
    variants = {variant for _, variant in pairs}
    apart = len(names) == 1 or (short and len({variant for _, variant in set(pairs)}) == len(set(pairs)))
    labels: list[str] = []
    for (path, variant), label in zip(pairs, given, strict=True):
        if label:
            labels.append(f"{label}--{variant}" if label in several else label)
        elif apart:
            labels.append(variant)
        else:
            labels.append(names[path] if len(variants) == 1 else f"{names[path]}--{variant}")
    # Given labels keep their place: numbers go to the others.
    rest = iter(numbered([label for label, name in zip(labels, given, strict=True) if name not in alone], alone))
    return [label if name in alone else next(rest) for label, name in zip(labels, given, strict=True)]


def told_apart(recorded: Sequence[str], below: Sequence[str]) -> list[str]:
    """What rows that lie on disk are called: as their run called them, and by their folders `below` the one that they
    were read from where it did not, or two runs used one name."""
    return [place if not label or recorded.count(label) > 1 else label
            for label, place in zip(recorded, below, strict=True)]  # fmt: skip

"""In which order rows are asked: what is slow to change is changed as seldom as possible."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from mmrope_eval.run.execute import Cell


def schedule(cells: Sequence[Cell]) -> list[int]:
    """The places of all rows, in the order of asking: by weights, then variant, then media policy.

    Each is taken in the order in which it first appears, and rows that agree in all three stay in theirs. So no
    weights are loaded twice, and the rows of one checkpoint and variant follow each other whatever run they are of.
    """
    weights = _ranks(cell.checkpoint.fingerprint for cell in cells)
    variants = _ranks(cell.variant.fingerprint for cell in cells)
    policies = _ranks(repr(cell.policy) for cell in cells)
    return sorted(range(len(cells)), key=lambda at: (weights[at], variants[at], policies[at]))


def _ranks(values: Iterable[Hashable]) -> list[int]:
    """For every value, how many different ones appeared before it first did."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]

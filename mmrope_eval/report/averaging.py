"""How samples make a score, as arrays: which units it averages over, and which of them stand or fall together.

What each average is over is said once, by `record.aggregate`, which makes the exact number of it; here it becomes
arrays, for errors and tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.record.aggregate import AGGREGATES, MakeUp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """What a score averages over and what is drawn together.

    sample, unit: int (m,), a sample, and a unit that it belongs to; m is n but where questions have several names.
    cluster: int (u,), each unit's cluster, 0 ... C - 1, in the order of their `names`.
    inside: float (u, G + 1) of 0 and 1, the strata that each unit counts in; the last column holds those that count in
    none. One stratum of all but under "macro".
    make_up: the same without arrays, for the exact score.
    plain: whether it is the mean of all units, and not of strata.
    """

    sample: Ints
    unit: Ints
    cluster: Ints
    names: tuple[str, ...]
    inside: Floats
    make_up: MakeUp
    plain: bool

    @classmethod
    def of(cls, clusters: Sequence[object], average: str = "micro",
           groups: Sequence[Sequence[str]] | None = None) -> Layout:
        """The layout of n samples from the name of each one's cluster, the column's average and the samples' groups.

        `average` is a name of `record.aggregate.AGGREGATES`; `groups` are the names of the groups a sample counts in
        (none, one or several), needed for "macro" and "circular" only. ValueError for an unknown average.
        """
        if average not in AGGREGATES:
            raise ValueError(f"unknown average '{average}'")
        of_samples = [()] * len(clusters) if groups is None else groups
        make_up = AGGREGATES[average].make_up(of_samples)
        inside = np.zeros((len(make_up.units), len(make_up.strata) + 1))
        for column, members in enumerate((*make_up.strata, make_up.strays)):
            inside[members, column] = 1
        names, cluster = np.unique(np.array([str(clusters[unit[0]]) for unit in make_up.units], dtype=object),
                                   return_inverse=True)
        sizes = [len(unit) for unit in make_up.units]
        return cls(np.array([sample for unit in make_up.units for sample in unit], dtype=np.int64),
                   np.repeat(np.arange(len(sizes)), sizes), cluster, tuple(names.tolist()), inside, make_up,
                   not (AGGREGATES[average].of_groups and any(of_samples)))

    @property
    def units(self) -> int:
        """How many units the score averages over."""
        return len(self.cluster)

    @property
    def clusters(self) -> int:
        """How many clusters are drawn."""
        return len(self.names)

    @cached_property
    def counts(self) -> Floats:
        """(G + 1,): the units in each stratum, and in none."""
        counts: Floats = self.inside.sum(axis=0)
        return counts

    @cached_property
    def shares(self) -> Floats:
        """(G + 1,): how much of the score a unit is by being in each stratum, or in none."""
        strata = self.counts[:-1]
        return np.append(self.make_up.share / len(strata) / strata, 1 / self.units)

    @cached_property
    def weights(self) -> Floats:
        """(u,): how much of the score one unit is; they sum to 1."""
        weights: Floats = self.inside @ self.shares
        return weights

    def of_units(self, values: Floats) -> Floats:
        """(n,) sample values -> (u,) unit values: under "circular" a question is as good as its worst rotation."""
        worst = np.full(self.units, np.inf)
        np.minimum.at(worst, self.unit, values[self.sample])
        return worst

    def per_cluster(self, amounts: Floats) -> Floats:
        """(u,) amounts of units -> (C,) sums over clusters."""
        return np.bincount(self.cluster, amounts, self.clusters).astype(np.float64)

    def score(self, values: Floats) -> float:
        """The column's number for sample values (n,), as `record.aggregate` defines it; not a number for no samples."""
        return self.make_up.value(self.of_units(values).tolist())


def numbered(clusters: Mapping[str, Sequence[str]]) -> tuple[dict[str, Ints], int]:
    """The clusters of several columns, by their names, numbered together: of each column the numbers of its own, in
    their order, and how many there are in all. Clusters of one name are one."""
    number = {name: place for place, name in enumerate(dict.fromkeys(itertools.chain(*clusters.values())))}
    return {column: np.array([number[name] for name in names], dtype=np.int64)
            for column, names in clusters.items()}, len(number)


def joined(*namings: Sequence[object]) -> list[str]:
    """Clusters of the same n samples as several runs name them, joined: samples that any run has together are together.

    Runs of different versions name clusters differently (by a span of a video, by a media policy), and a run whose
    picture could not be read does not know it. Named by the first naming of the first sample of each.
    """
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(key: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    rows = [[(number, str(name)) for number, name in enumerate(names)] for names in zip(*namings, strict=True)]
    for first, *others in rows:
        for other in others:
            parent[root(other)] = root(first)
    shown: dict[tuple[int, str], str] = {}
    return [shown.setdefault(root(first), first[1]) for first, *_ in rows]

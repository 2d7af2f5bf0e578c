"""How samples make a score, as arrays: which units it averages over, and which of them stand or fall together.

The averages are those of `record.aggregate`, which says what each is over. There they are summed exactly, sample by
sample, for the record; here as arrays, so that thousands of redrawn samples are averaged at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.record.aggregate import AGGREGATES, OF_GROUPS, OF_QUESTIONS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """What a score averages over and what is drawn together.

    unit: int (n,), the unit that each sample belongs to; other than the sample itself only under "circular".
    cluster: int (u,), each unit's cluster, 0 ... C - 1.
    strata: bool (u, G), the groups each unit counts in where their means are averaged ("macro"); else G = 0.
    """

    unit: Ints
    cluster: Ints
    strata: NDArray[np.bool_]

    @classmethod
    def of(cls, clusters: Sequence[object], average: str = "micro",
           groups: Sequence[Sequence[str]] | None = None) -> Layout:
        """The layout of n samples from the name of each one's cluster, the column's average and the samples' groups.

        `average` is a name of `record.aggregate.AGGREGATES`; `groups` are the names of the groups a sample counts in
        (none, one or several), needed for "macro" and "circular" only. ValueError for an unknown average.
        """
        if average not in AGGREGATES:
            raise ValueError(f"unknown average '{average}'")
        codes = _codes([str(name) for name in clusters])
        n = len(codes)
        named = [()] * n if groups is None else [tuple(names) for names in groups]
        unit = np.arange(n)
        if average in OF_QUESTIONS:
            unit = _codes([f"={names[0]}" if names else f"#{row}" for row, names in enumerate(named)])
        cluster = codes[np.unique(unit, return_index=True)[1]]
        labels = sorted({name for names in named for name in names}) if average in OF_GROUPS else []
        column = {name: position for position, name in enumerate(labels)}
        strata = np.zeros((len(cluster), len(labels)), dtype=bool)
        for row, names in enumerate(named if labels else []):
            strata[row, [column[name] for name in names]] = True
        return cls(unit, _codes(list(cluster)), strata)

    @property
    def units(self) -> int:
        """How many units the score averages over."""
        return len(self.cluster)

    @cached_property
    def clusters(self) -> int:
        """How many clusters are drawn."""
        return int(self.cluster.max()) + 1 if self.units else 0

    @cached_property
    def columns(self) -> Floats:
        """(u, K): the sums a score is made of. All units; under "macro" each group and the units without one before."""
        every = np.ones((self.units, 1))
        if not self.strata.shape[1]:
            return every
        return np.hstack([self.strata, ~self.strata.any(axis=1, keepdims=True), every]).astype(np.float64)

    @cached_property
    def weights(self) -> Floats:
        """(u,): how much of the score one unit is; they sum to 1."""
        counts = self.columns.sum(axis=0)
        if len(counts) == 1:
            return np.full(self.units, 1 / self.units)
        present = counts[:-2] > 0
        share = 1 - counts[-2] / counts[-1]
        per_group = np.divide(1.0, counts[:-2], out=np.zeros(len(present)), where=present) / max(present.sum(), 1)
        weights: Floats = share * (self.columns[:, :-2] @ per_group) + self.columns[:, -2] / counts[-1]
        return weights

    def of_units(self, values: Floats) -> Floats:
        """(n,) sample values -> (u,) unit values: under "circular" a question is as good as its worst rotation."""
        if np.array_equal(self.unit, np.arange(len(values))):
            return np.asarray(values, dtype=np.float64)
        worst = np.full(self.units, np.inf)
        np.minimum.at(worst, self.unit, values)
        return worst

    def per_cluster(self, amounts: Floats) -> Floats:
        """(u, K) amounts of units -> (C, K) sums over clusters."""
        sums = np.zeros((self.clusters, amounts.shape[1]))
        np.add.at(sums, self.cluster, amounts)
        return sums

    def names(self, clusters: Sequence[object]) -> tuple[str, ...]:
        """The clusters' names by number, from that of each sample's cluster, as `of` was given them."""
        names = np.empty(self.clusters, dtype=object)
        names[self.cluster[self.unit[::-1]]] = [str(name) for name in clusters[::-1]]  # a unit's is its first sample's
        return tuple(names.tolist())

    def score(self, values: Floats) -> float:
        """The column's number for sample values (n,), as `record.aggregate` defines it; not a number for no samples."""
        sums = self.of_units(values) @ self.columns
        return float(average_rows(sums[None], self.columns.sum(axis=0)[None])[0])


def _codes(names: Sequence[object]) -> Ints:
    """Names -> 0, 1, 2 ... by sorted name."""
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64) if names else np.zeros(0, np.int64)


def average_rows(sums: Floats, counts: Floats) -> Floats:
    """(m, K) sums and counts in the order of `Layout.columns` -> (m,) scores; a group nobody is in is left out."""
    everyone = np.maximum(counts[:, -1], 1)
    if sums.shape[1] == 1:
        plain: Floats = np.where(counts[:, -1] > 0, sums[:, -1] / everyone, np.nan)
        return plain
    present = counts[:, :-2] > 0
    means = np.divide(sums[:, :-2], counts[:, :-2], out=np.zeros(present.shape), where=present)
    centre = means.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    result: Floats = (1 - counts[:, -2] / everyone) * centre + sums[:, -2] / everyone
    return result


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

"""From the samples' values to a column's number, as each benchmark's authors average it.

What each average is over, `Average.make_up` says for all: the number and what each cluster adds to its error are made
of that here, exactly, and the arrays that intervals and tests of reports rest on in `report.compare.precision`.

Values and results lie in [0, 1]. A sample that failed or cannot be read has the value 0 and stays in every
denominator; only None ("this metric does not apply here") is left out. Results do not depend on the samples' order.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final


def mean(values: Iterable[float | None]) -> float:
    """The mean over the samples the metric applies to, whatever their order; not a number when there are none."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else math.nan


@dataclass(frozen=True, slots=True)
class Item:
    """One sample's value, the groups it belongs to (from the target's `group`: one name, several, or none), and its
    cluster: the picture or video that it stands or falls with. None: it stands alone."""

    value: float | None
    groups: tuple[str, ...] = ()
    cluster: str | None = None

    @classmethod
    def of(cls, value: float | None, target: Mapping[str, Any] | None, cluster: str | None = None) -> Item:
        """The item of a scored sample; a sample whose row was unusable has no target and no group."""
        return cls(value, groups_of(target), cluster)


def groups_of(target: object) -> tuple[str, ...]:
    """The groups a sample counts in, from its target's `group`: one name, several, or none."""
    group = target.get("group") if isinstance(target, Mapping) else None
    if group is None or group == "":
        return ()
    names = [group] if isinstance(group, str) or not isinstance(group, Sequence) else group
    return tuple(dict.fromkeys(str(name) for name in names))


def floored(clustered: float, independent: float) -> float:
    """The clustered variance, never below that of independent units, as clusters that happen to be more alike than
    their members make nothing surer; not a number for a cluster alone."""
    return clustered if math.isnan(clustered) else max(clustered, independent)


# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The mean over one group and how many samples it holds."""

    value: float
    n: int


@dataclass(frozen=True)
class Summary:
    """A column's number: value and standard error in [0, 1] (not a number where unknown), `n` units averaged over. The
    error is that of reports: over clusters, or units where that is larger."""

    value: float
    stderr: float
    n: int
    groups: Mapping[str, Part]


@dataclass(frozen=True)
class MakeUp:
    """What a column's number is made of, for some samples."""

    units: Sequence[Sequence[int]]
    """The samples of each unit, which is as good as the worst of them."""
    strata: Sequence[Sequence[int]]
    """The units of each stratum, at least one of them, unless there are no units at all."""
    strays: Sequence[int]
    """The units that count in no stratum."""

    @property
    def share(self) -> float:
        """How much of the number is the strata's."""
        return 1 - len(self.strays) / len(self.units)

    def value(self, units: Sequence[float]) -> float:
        """The number, from that of each unit: the mean of the strata's means, and the strays by their share of the
        units. Not a number where there are none."""
        if not units:
            return math.nan
        centre = math.fsum(mean(units[number] for number in stratum) for stratum in self.strata) / len(self.strata)
        return self.share * centre + math.fsum(units[number] for number in self.strays) / len(units)

    def influence(self, units: Sequence[float], clusters: Sequence[Hashable]) -> tuple[dict[Hashable, float], float]:
        """What each cluster adds to the error, from each unit's value and cluster; and the variance if all units were
        independent.

        The clustered variance is the sum of squares (Cameron & Miller 2015, "A practitioner's guide to cluster-robust
        inference", section II; Miller 2024, arXiv:2411.00640, section 2.2). Each unit adds its weight times its
        distance from its group's mean, widened by sqrt(n / (n - 1)) for the n units that the mean rests on; all are
        widened by sqrt(C / (C - 1)) for C clusters. A group of one unit has no mean to be distant from: the whole
        number stands in, which counts differences between groups as error.
        """
        parts, whole = [0.0] * len(units), self.value(units)
        strata = [(self.share / len(self.strata), stratum) for stratum in self.strata] if units else []
        for share, members in (*strata, (len(self.strays) / max(len(units), 1), self.strays)):
            n = len(members)
            centre = whole if n == 1 else mean(units[number] for number in members)
            scale = share / max(n, 1) * math.sqrt(n / max(n - 1, 1))
            for number in members:
                parts[number] += scale * (units[number] - centre)
        together: dict[Hashable, list[float]] = {}
        for part, cluster in zip(parts, clusters, strict=True):
            together.setdefault(cluster, []).append(part)
        wider = math.sqrt(len(together) / (len(together) - 1)) if len(together) > 1 else math.nan
        added = {cluster: wider * math.fsum(amounts) for cluster, amounts in together.items()}
        return added, math.fsum(part**2 for part in parts)


@dataclass(frozen=True)
class Average:
    """A way to average samples, by what it is over."""

    of_questions: bool = False
    """Whether a unit is a group, as good as the worst of its samples, and not a sample."""
    of_groups: bool = False
    """Whether it is the mean of the groups' means, and not of all units."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Groups, and the larger one that each is a part of: its mean is reported as well."""

    def make_up(self, groups: Sequence[Sequence[str]]) -> MakeUp:
        """What the number is made of, for n samples that count in these groups each (none, one or several)."""
        inside: dict[str, list[int]] = {}
        for number, names in enumerate(groups):
            for name in names:
                inside.setdefault(name, []).append(number)
        members = [inside[name] for name in sorted(inside)]
        outside = [number for number, names in enumerate(groups) if not names]
        singles = [[number] for number in range(len(groups))]
        if self.of_groups and members:
            return MakeUp(singles, members, outside)
        units = [*members, *(singles[number] for number in outside)] if self.of_questions else singles
        return MakeUp(units, [range(len(units))], [])

    def __call__(self, items: Sequence[Item]) -> Summary:
        """The exact number, whatever the items' order."""
        present = [item for item in items if item.value is not None]
        values = [item.value for item in items if item.value is not None]
        make_up = self.make_up([item.groups for item in present])
        units = [min(values[number] for number in unit) for unit in make_up.units]
        if not units:
            return Summary(math.nan, math.nan, 0, {})
        names = [present[unit[0]].cluster for unit in make_up.units]
        clusters = [(number,) if name is None else name for number, name in enumerate(names)]
        added, independent = make_up.influence(units, clusters)
        error = math.sqrt(floored(math.fsum(amount**2 for amount in added.values()), independent))
        return Summary(make_up.value(units), error, len(units), self._parts(present))

    def _parts(self, present: Iterable[Item]) -> Mapping[str, Part]:
        """The mean of each group; of questions none, as they would only be listed."""
        by_group: dict[str, list[float | None]] = {}
        for item in () if self.of_questions else present:
            above = [self.parents[name] for name in item.groups if name in self.parents]
            for name in dict.fromkeys((*item.groups, *above)):
                by_group.setdefault(name, []).append(item.value)
        return MappingProxyType({name: Part(mean(values), len(values)) for name, values in sorted(by_group.items())})


micro: Final = Average()
"""The mean over samples, with the mean of each group beside it; a sample may belong to several groups.

Video-MME (arXiv:2405.21075: short, medium, long and overall; group = duration), LVBench (arXiv:2406.08035 and its
compute_accuracy.py: overall accuracy; a question counts in each of its `question_type`s), AI2D, RealWorldQA, TextVQA,
DocVQA, InfographicVQA, ChartQA, Charades-STA, RefCOCO.
"""

macro: Final = Average(of_groups=True)
"""The unweighted mean over groups of the mean within each group.

MMStar (arXiv:2403.20330): six categories of 250 questions, averaged; group = category. The authors' script divides by
250 and by 1,500, which is the same on the whole set and wrong on a part of it.
MVBench (arXiv:2311.17005): the mean of 20 tasks; group = task. A blank answer is a wrong answer.
MLVU (arXiv:2406.04264): M-Avg, the mean of the seven multiple-choice tasks' accuracies, as the paper's rows add up and
as its choice_bench.py prints it (the tasks' accuracies, added and divided by their number). VLMEvalKit's `M-Avg` weighs
tasks by size instead (right answers / questions asked); group = task_type.
BLINK (arXiv:2404.12390): the mean of fourteen tasks' accuracies, as its authors' eval/evaluate.py computes it (the 19
validation numbers of its leaderboard are such means), and as lmms-eval's group does. VLMEvalKit's "Overall" is right
answers / questions asked; group = the task.
STAR (arXiv:2405.09711): four question types, reported apart by its run_program.py, and their mean, as SeViLA
(arXiv:2305.06988) and others report it; group = question type, the first word of question_id.
The standard error treats groups as strata. Samples without a group (their rows could not be read, so they are wrong)
pull the result down by their share of all samples.
"""

circular: Final = Average(of_questions=True)
"""MMBench's CircularEval: a question is right when it is right under every rotation of its options.

Definition: Liu et al. 2023 (arXiv:2307.06281), "CircularEval". Rotations of one question share its `group` (the row's
`index` modulo 1,000,000). Where the data holds one row a question, this is plain accuracy. The mean, its error and `n`
count questions; `groups` is empty, as it would only list the questions.
"""

_RECOGNITION: Final = (
    "Regular Text Recognition", "Irregular Text Recognition", "Artistic Text Recognition", "Handwriting Recognition",
    "Digit String Recognition", "Non-Semantic Text Recognition",
)

ocrbench: Final = Average(parents=dict.fromkeys(_RECOGNITION, "Text Recognition"))
"""OCRBench: right answers over questions asked; value times n is the authors' score out of 1,000.

Definition: Liu et al. 2023 (arXiv:2305.07895) and OCRBench/example.py of its authors: one point a question; five parts
(text recognition 300, scene-text VQA 200, document VQA 200, key information 200, formulas 100), text recognition being
six kinds. group = question_type; the parts are reported as well as the kinds. The denominator is the number of
questions asked, so that a part of the benchmark has a meaningful score too.
"""

_DISCIPLINES: Final = {
    "Art & Design": "Art Art_Theory Design Music",
    "Business": "Accounting Economics Finance Manage Marketing",
    "Science": "Biology Chemistry Geography Math Physics",
    "Health & Medicine": "Basic_Medical_Science Clinical_Medicine Diagnostics_and_Laboratory_Medicine Pharmacy "
    "Public_Health",
    "Humanities & Social Science": "History Literature Sociology Psychology",
    "Tech & Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics Energy_and_Power "
    "Materials Mechanical_Engineering",
}

mmmu: Final = Average(parents={
    subject: discipline for discipline, subjects in _DISCIPLINES.items() for subject in subjects.split()})
"""MMMU: the mean over questions, with six disciplines and thirty subjects beside it.

Definition: Yue et al. 2023 (arXiv:2311.16502): "micro-averaged accuracy". group = subject, the middle part of the row's
id (`validation_Art_Theory_12` -> `Art_Theory`).
"""

AGGREGATES: Final[Mapping[str, Average]] = {
    "micro": micro, "macro": macro, "circular": circular, "ocrbench": ocrbench, "mmmu": mmmu,
}
"""By the names that task files use (`metadata: average`) and scores.json records."""
GROUPED: Final = tuple(name for name, average in AGGREGATES.items() if average != micro)
"""Names of averages that mean nothing without the target's `group`."""

"""From the samples' values to a column's number, as each benchmark's authors average it.

Values and results lie in [0, 1]. A sample that failed or cannot be read has the value 0 and stays in every
denominator; only None ("this metric does not apply here") is left out. Results do not depend on the samples' order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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


Weighed = tuple[float, str | None]
"""The value of what is averaged over (a sample, or a question with its rotations), and its cluster."""


def standard_error(strata: Sequence[Sequence[Weighed]]) -> float:
    """Clustered standard error of the mean of the strata's means; not a number where one has less than two clusters.

    What a cluster adds to the result, less what it would add if it were like its stratum, is squared and summed, each
    stratum with C / (C - 1) for its C clusters (Cameron & Miller 2015, "A practitioner's guide to cluster-robust
    inference", section II; Miller 2024, arXiv:2411.00640, section 2.2). With one sample a cluster that is the sample
    standard deviation over root n.
    """
    added: dict[object, list[float]] = {}
    for number, stratum in enumerate(strata):
        centre = mean(value for value, _ in stratum)
        apart: dict[object, list[float]] = {}
        for place, (value, cluster) in enumerate(stratum):
            apart.setdefault((number, place) if cluster is None else cluster, []).append(value - centre)
        if len(apart) < 2:
            return math.nan
        scale = math.sqrt(len(apart) / (len(apart) - 1)) / len(stratum) / len(strata)
        for name, deviations in apart.items():
            added.setdefault(name, []).append(scale * math.fsum(deviations))
    return math.sqrt(math.fsum(math.fsum(parts) ** 2 for parts in added.values())) if strata else math.nan


# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The mean over one group and how many samples it holds."""

    value: float
    n: int


@dataclass(frozen=True)
class Summary:
    """A column's number: value and standard error in [0, 1] (not a number where unknown), `n` units averaged over."""

    value: float
    stderr: float
    n: int
    groups: Mapping[str, Part]

    @property
    def points(self) -> float:
        """How many units' worth is right: OCRBench's own scale, 0 to 1000 on its 1,000 questions."""
        return 0.0 if math.isnan(self.value) else round(self.value * self.n, 9)


Aggregate = Callable[[Sequence[Item]], Summary]


def micro(items: Sequence[Item]) -> Summary:
    """The mean over samples, with the mean of each group beside it; a sample may belong to several groups.

    Video-MME (arXiv:2405.21075: short, medium, long and overall; group = duration), LVBench (arXiv:2406.08035 and its
    compute_accuracy.py: overall accuracy; a question counts in each of its `question_type`s), AI2D, RealWorldQA,
    TextVQA, DocVQA, InfographicVQA, ChartQA, Charades-STA, RefCOCO.
    """
    present = [(item.value, item.cluster) for item in items if item.value is not None]
    return Summary(mean(value for value, _ in present), standard_error([present]), len(present), _parts(items))


def macro(items: Sequence[Item]) -> Summary:
    """The unweighted mean over groups of the mean within each group.

    MMStar (arXiv:2403.20330): six categories of 250 questions, averaged; group = category. The authors' script divides
    by 250 and by 1,500, which is the same on the whole set and wrong on a part of it.
    MVBench (arXiv:2311.17005): the mean of 20 tasks; group = task. A blank answer is a wrong answer.
    MLVU (arXiv:2406.04264): M-Avg, the mean of the seven multiple-choice tasks' accuracies, as the paper's rows add up
    and as its choice_bench.py prints it (the tasks' accuracies, added and divided by their number). VLMEvalKit's
    `M-Avg` weighs tasks by size instead (right answers / questions asked); group = task_type.
    BLINK (arXiv:2404.12390): the mean of fourteen tasks' accuracies, as its authors' eval/evaluate.py computes it (the
    19 validation numbers of its leaderboard are such means), and as lmms-eval's group does. VLMEvalKit's "Overall" is
    right answers / questions asked; group = the task.
    STAR (arXiv:2405.09711): four question types, reported apart by its run_program.py, and their mean, as SeViLA
    (arXiv:2305.06988) and others report it; group = question type, the first word of question_id.
    The standard error treats groups as strata. Samples without a group (their rows could not be read, so they are
    wrong) pull the result down by their share of all samples.
    """
    values = [item.value for item in items if item.value is not None]
    strata = _values(items)
    strays = [item.value for item in items if item.value is not None and not item.groups]
    if not strata:
        return micro(items)
    share = 1 - len(strays) / len(values)
    centre = math.fsum(mean(value for value, _ in stratum) for stratum in strata.values()) / len(strata)
    value = share * centre + math.fsum(strays) / len(values)
    return Summary(value, share * standard_error(list(strata.values())), len(values), _parts(items))


def circular(items: Sequence[Item]) -> Summary:
    """MMBench's CircularEval: a question is right when it is right under every rotation of its options.

    Definition: Liu et al. 2023 (arXiv:2307.06281), "CircularEval". Rotations of one question share its `group` (the
    row's `index` modulo 1,000,000). Where the data holds one row a question, this is plain accuracy. The mean, its
    error and `n` count questions; `groups` is empty, as it would only list the questions.
    """
    passes = [(min(value for value, _ in rotations), rotations[0][1]) for rotations in _values(items).values()]
    strays = [(item.value, item.cluster) for item in items if item.value is not None and not item.groups]
    units = [*passes, *strays]
    return Summary(mean(value for value, _ in units), standard_error([units]), len(units), {})


# --------------------------------------------------------------------------------------------------------------

_RECOGNITION: Final = (
    "Regular Text Recognition", "Irregular Text Recognition", "Artistic Text Recognition", "Handwriting Recognition",
    "Digit String Recognition", "Non-Semantic Text Recognition",
)


def ocrbench(items: Sequence[Item]) -> Summary:
    """OCRBench: right answers over questions asked; `points` is the authors' score out of 1,000.

    Definition: Liu et al. 2023 (arXiv:2305.07895) and OCRBench/example.py of its authors: one point a question; five
    parts (text recognition 300, scene-text VQA 200, document VQA 200, key information 200, formulas 100), text
    recognition being six kinds. group = question_type; the parts are reported as well as the kinds. The denominator
    is the number of questions asked, so that a part of the benchmark has a meaningful score too.
    """
    return micro([_with(item, dict.fromkeys(_RECOGNITION, "Text Recognition")) for item in items])


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


def mmmu(items: Sequence[Item]) -> Summary:
    """MMMU: the mean over questions, with six disciplines and thirty subjects beside it.

    Definition: Yue et al. 2023 (arXiv:2311.16502): "micro-averaged accuracy". group = subject, the middle part
    of the row's id (`validation_Art_Theory_12` -> `Art_Theory`).
    """
    disciplines = {subject: name for name, subjects in _DISCIPLINES.items() for subject in subjects.split()}
    return micro([_with(item, disciplines) for item in items])


def _with(item: Item, parents: Mapping[str, str]) -> Item:
    """The item, in the groups above its own as well."""
    above = (parents[group] for group in item.groups if group in parents)
    return Item(item.value, tuple(dict.fromkeys((*item.groups, *above))), item.cluster)


def _values(items: Iterable[Item]) -> dict[str, list[Weighed]]:
    by_group: dict[str, list[Weighed]] = {}
    for item in items:
        for group in item.groups if item.value is not None else ():
            by_group.setdefault(group, []).append((float(item.value or 0.0), item.cluster))
    return dict(sorted(by_group.items()))


def _parts(items: Iterable[Item]) -> Mapping[str, Part]:
    return MappingProxyType({name: Part(mean(value for value, _ in values), len(values))
                             for name, values in _values(items).items()})


AGGREGATES: Final[Mapping[str, Aggregate]] = {
    "micro": micro, "macro": macro, "circular": circular, "ocrbench": ocrbench, "mmmu": mmmu,
}
"""By the names that task files use (`metadata: average`) and scores.json records."""
GROUPED: Final = ("macro", "circular", "ocrbench", "mmmu")
"""Those that mean nothing without the target's `group`."""
OF_GROUPS: Final = ("macro",)
"""Those that are the mean of the groups' means; all others are the mean of their units."""
OF_QUESTIONS: Final = ("circular",)
"""Those whose unit is a group, as good as the worst of its samples; the unit of all others is a sample."""

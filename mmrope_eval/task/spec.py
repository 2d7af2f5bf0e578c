"""What a task file declares, as the program uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mmrope_eval.messages import Generation
from mmrope_eval.task.yaml_text import content_hash

PREFIX: Final = "mmrope_"
"""lmms-eval's built-in task names win over ours, so ours carry a prefix there; users need not type it."""
FOLLOWS: Final = {"paper": "qwen2-vl"}
"""The paper follows "the official evaluation protocol of Qwen2VL" (section 3.1) and publishes no wording of its own."""


@dataclass(frozen=True)
class Counterpart:
    """Another harness' task whose own scoring reads the same responses."""

    task: str
    """A name in `stock.STOCK` or `vlmevalkit.KIT`."""
    group_by: str | None = None
    """The row's field that tells the tasks of a family apart whose numbers are averaged (lmms-eval's MVBench)."""
    note: str | None = None
    """What to know about the comparison, beside what holds for every use of the other task."""


@dataclass(frozen=True)
class TaskSpec:
    """One benchmark column, as its YAML file declares it."""

    name: str
    path: Path
    dataset: str
    """A name on the hub, or the absolute path of a folder."""
    subset: str | None
    split: str
    column: str
    category: str
    scorer: str
    metrics: tuple[str, ...]
    """The values reported, the main one first."""
    chance: float | None
    generation: Generation
    media: Mapping[str, Any]
    """Which field holds the image or the video, and the folders in which videos lie."""
    prompts: Mapping[str, str]
    """Jinja templates by prompt family; `default` always exists."""
    question: str | None
    """The field that must not be empty."""
    target: Mapping[str, str]
    """Jinja expressions over the row's fields."""
    version: int
    dataset_kwargs: Mapping[str, Any]
    expected: Mapping[str, int]
    average: str = "micro"
    """How samples become the column's number: a name in `aggregate.AGGREGATES`."""
    stock: Counterpart | None = None
    """lmms-eval's counterpart, where there is one."""
    vlmevalkit: Counterpart | None = None
    """VLMEvalKit's."""
    groups: tuple[str, ...] = ()
    """The groups that a whole data set has (sub-tasks, categories), where the number depends on having them all."""
    suites: tuple[str, ...] = ()
    """Suites that the task joins."""
    subsets: tuple[str, ...] = ()
    """The configurations over which the rows are spread, where that is more than one."""
    videos_from: str | None = None
    """The data set that has the videos, where this one has none."""
    files: tuple[str, ...] = ()
    """What of the data set's files on the hub the task needs, as patterns; all of them where this is empty."""
    bytes: int | None = None
    """How much that is, about, as the hub's pages said."""
    strata: str | None = None
    """A Jinja expression of the group over which a limit spreads its sample, where that is not the target's group."""
    together: str | None = None
    """A Jinja expression by which rows count only together, so that a limit takes all or none of them."""
    cluster: str | None = None
    """What samples stand or fall with: a word of `clusters.SHOWN`, `question`, or a Jinja expression over the row's
    fields; None: what they show."""
    lmudata: Mapping[str, Any] | None = None
    """How the rows are made from VLMEvalKit's table of the benchmark, where it has one (see data/recipe.py)."""
    licence: str | None = None
    """Of the data set, as its authors state it."""
    generated: str | None = None
    """The command that makes the data, where they are generated and lie on no hub; it takes `--out DIR`."""
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The file as lmms-eval gets it, with what it includes and what it leaves to us."""

    def prompt(self, family: str) -> str:
        """The prompt template of a family, else of the one whose protocol it follows, else the task's default one."""
        names = (family, FOLLOWS.get(family, "default"), "default")
        return next(self.prompts[name] for name in names if name in self.prompts)

    @property
    def local(self) -> bool:
        """Whether the data set is a folder of this machine, whatever --data-root says."""
        return Path(self.dataset).is_absolute()

    def fingerprint(self) -> str:
        """sha256 over all that the file decides."""
        return content_hash(self.content)

    def planned_by(self) -> dict[str, Any]:
        """The part of `content` that decides which samples there are and what each is asked."""
        content = {key: value for key, value in self.content.items() if key != "metadata"}
        metadata = self.content.get("metadata") or {}
        about_rows = ("cluster", "subsets", "videos_from", "strata", "together", "lmudata")
        return {**content, **{key: metadata.get(key) for key in about_rows}}

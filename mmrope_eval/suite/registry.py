"""What can be evaluated: tasks (tasks/*.yaml), suites (configs/suites) and prompt families (configs/families).

Reads plain YAML without importing lmms-eval, so that listing and checking names takes milliseconds. The same files are
loaded by lmms-eval's own TaskManager when their data is needed (see data.py).
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mmrope_eval.engine.types import Generation
from mmrope_eval.errors import UserError
from mmrope_eval.suite.scorers import METRICS, SCORERS

PREFIX: Final = "mmrope_"
"""lmms-eval's built-in task names win over ours, so ours carry a prefix there; users need not type it."""

COORDINATES: Final = ("absolute", "thousand", "unit")


@dataclass(frozen=True)
class TaskSpec:
    """One benchmark column, as its YAML file declares it."""

    name: str
    path: Path
    dataset: str
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
    groups: tuple[str, ...] = ()
    """The groups that a whole data set has (sub-tasks, categories), where the number depends on having them all."""
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
    licence: str | None = None
    """Of the data set, as its authors state it."""
    generated: str | None = None
    """The command that makes the data, where they are generated and lie on no hub; it takes `--out DIR`."""
    lmudata: Mapping[str, Any] | None = None
    """How the rows are made from VLMEvalKit's table of the benchmark, where it has one (see data/recipe.py)."""

    def prompt(self, family: str) -> str:
        """The prompt template of a family, or the task's default one."""
        return self.prompts.get(family, self.prompts["default"])


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one model family are asked and read."""

    name: str
    coordinates: str
    prompts: str
    system: str | None = None
    enable_thinking: bool | None = None
    """What the chat template is told by this name (`--thinking`); None: nothing."""


@dataclass(frozen=True)
class Suite:
    """A named list of tasks."""

    name: str
    title: str
    tasks: tuple[str, ...]


class Registry:
    """All tasks, suites and families; unknown names raise UserError with the nearest known one."""

    def __init__(self, tasks_dir: Path | None = None, configs_dir: Path | None = None) -> None:
        self.tasks_dir = tasks_dir or project_dir("tasks")
        configs = configs_dir or project_dir("configs")
        self.tasks = {spec.name: spec for spec in map(read_task, task_files(self.tasks_dir))}
        self.suites = {suite.name: suite for suite in map(read_suite, sorted(configs.glob("suites/*.yaml")))}
        self.families = {family.name: family for family in map(read_family, sorted(configs.glob("families/*.yaml")))}

    def select(self, words: Iterable[str]) -> list[TaskSpec]:
        """The tasks that names, suites, globs and `-exclusions` mean, each once, in the order named."""
        chosen: dict[str, None] = {}
        for word in words:
            excluded = word.startswith("-")
            names = self._names(word.removeprefix("-"))
            for name in names:
                if excluded:
                    chosen.pop(name, None)
                else:
                    chosen.setdefault(name)
        if not chosen:
            raise UserError(f"--tasks {','.join(words)} leaves no task; see `mmrope-eval list tasks`.")
        return [self.tasks[name] for name in chosen]

    def _names(self, word: str) -> Sequence[str]:
        bare = word.removeprefix(PREFIX)
        if bare in self.tasks:
            return [bare]
        if word in self.suites:
            return [spec.name for spec in self.select(self.suites[word].tasks)]
        matched = [name for name in self.tasks if fnmatch.fnmatchcase(name, bare)]
        if matched:
            return matched
        raise UserError(unknown("task or suite", word, [*self.tasks, *self.suites], "mmrope-eval list tasks"))

    def family(self, name: str) -> Family:
        """The family of that name."""
        if name not in self.families:
            raise UserError(unknown("prompt family", name, self.families, "configs/families"))
        return self.families[name]


def unknown(kind: str, name: str, known: Iterable[str], where: str) -> str:
    """One sentence on an unknown name, with the nearest known one."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else f"see {where}."
    return f"There is no {kind} '{name}'; {hint}"


def project_dir(name: str) -> Path:
    """`tasks` or `configs` of a checkout, or the copy inside an installed package."""
    here = Path(__file__).resolve()
    candidates = [here.parents[2] / name, here.parents[1] / name]
    return next((path for path in candidates if path.is_dir()), candidates[-1])


def task_files(folder: Path) -> list[Path]:
    """Task files; those whose names start with an underscore are only included by others."""
    return sorted(path for path in folder.rglob("*.yaml") if not path.name.startswith("_"))


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads lmms-eval's `!function a.b.c` as the string it names."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping with lmms-eval's `include` resolved (the including file wins, key by key)."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a YAML mapping.")
    included = content.pop("include", [])
    merged: dict[str, Any] = {}
    # lmms-eval's order: of several included files the first wins.
    for name in reversed([included] if isinstance(included, str) else included):
        merged.update(read_yaml(path.parent / name))
    return {**merged, **content}


def read_task(path: Path) -> TaskSpec:
    """A task file as a TaskSpec; UserError names the file and the key that is missing or wrong."""
    raw = read_yaml(path)
    try:
        prompts = raw["lmms_eval_specific_kwargs"]
        target = raw["model_specific_target_kwargs"]["default"]
        metadata = raw["metadata"]
        spec = TaskSpec(
            name=str(raw["task"]).removeprefix(PREFIX),
            path=path,
            dataset=raw["dataset_path"],
            subset=raw.get("dataset_name"),
            split=raw.get("test_split") or raw["validation_split"],
            column=metadata["column"],
            category=metadata["category"],
            scorer=target["scorer"],
            metrics=tuple(str(entry["metric"]).rpartition(".")[2] for entry in raw["metric_list"]),
            chance=metadata.get("chance"),
            generation=read_generation(raw["generation_kwargs"]),
            media=prompts["default"]["media"],
            prompts={name: values["prompt"] for name, values in prompts.items()},
            question=target.get("question"),
            target=target["target"],
            version=metadata["version"],
            dataset_kwargs=raw.get("dataset_kwargs") or {},
            expected=metadata.get("expected", {}),
            groups=tuple(metadata.get("groups") or metadata.get("subsets") or ()),
            subsets=tuple(metadata.get("subsets") or ()),
            videos_from=metadata.get("videos_from"),
            files=tuple(metadata.get("files") or ()),
            bytes=int(float(metadata["bytes"])) if "bytes" in metadata else None,
            strata=metadata.get("strata"),
            together=metadata.get("together"),
            licence=metadata.get("licence"),
            generated=metadata.get("generated"),
            lmudata=metadata.get("lmudata"),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"Task file {path}: {error} is missing or of the wrong shape (see tasks/README.md).") from error
    _check(spec, raw)
    return spec


def _check(spec: TaskSpec, raw: Mapping[str, Any]) -> None:
    if not str(raw["task"]).startswith(PREFIX):
        raise UserError(f"Task file {spec.path}: `task` must start with '{PREFIX}', as lmms-eval's own names win.")
    if spec.scorer not in SCORERS:
        text = unknown("scorer", spec.scorer, SCORERS, "mmrope_eval/suite/scoring.py")
        raise UserError(f"Task file {spec.path}: {text}")
    for metric in spec.metrics:
        if metric not in METRICS[spec.scorer]:
            text = unknown(f"metric of scorer '{spec.scorer}' called", metric, METRICS[spec.scorer], "suite/scorers.py")
            raise UserError(f"Task file {spec.path}: {text}")


def read_generation(kwargs: Mapping[str, Any]) -> Generation:
    """lmms-eval's `generation_kwargs` as ours. What the task declares is what the engine gets."""
    temperature = float(kwargs.get("temperature") or 0.0) if kwargs.get("do_sample", True) else 0.0
    until = kwargs.get("until") or ()
    return Generation(
        max_tokens=int(kwargs["max_new_tokens"]),
        temperature=temperature,
        stop=(until,) if isinstance(until, str) else tuple(until),
    )


def read_suite(path: Path) -> Suite:
    """A suite file."""
    raw = read_yaml(path)
    if not isinstance(raw.get("tasks"), list):
        raise UserError(f"Suite file {path} needs a list of `tasks`.")
    return Suite(path.stem, str(raw.get("title", path.stem)), tuple(raw["tasks"]))


def read_family(path: Path) -> Family:
    """A prompt-family file."""
    raw = read_yaml(path)
    family = Family(path.stem, str(raw.get("coordinates")), str(raw.get("prompts", path.stem)), raw.get("system"))
    check_coordinates(family.coordinates, str(path))
    return family


def check_coordinates(name: str, where: str) -> str:
    """`name` if it is a coordinate convention; UserError naming `where` it was declared otherwise."""
    if name not in COORDINATES:
        raise UserError(f"{where}: unknown coordinate convention '{name}'; choose one of {', '.join(COORDINATES)}.")
    return name

"""What can be evaluated: tasks (tasks/*.yaml and one's own), suites (configs/suites) and prompt families.

Reads plain YAML without importing lmms-eval, so that listing and checking names takes milliseconds. lmms-eval loads the
same files when their data are needed (see data.py).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from mmrope_eval.errors import UserError
from mmrope_eval.task.file import Heading, is_task_file, read_headings, read_task
from mmrope_eval.task.spec import PREFIX, TaskSpec
from mmrope_eval.task.yaml_text import read_yaml, unknown
from mmrope_eval.util.config import typed
from mmrope_eval.util.paths import project_dir
from mmrope_eval.words import nearest

__all__ = [
    "COORDINATES", "PREFIX", "Family", "Registry", "Suite", "TaskSpec", "check_coordinates", "open_registry",
    "read_task", "task_files",
]  # fmt: skip

COORDINATES: Final = ("absolute", "thousand", "unit")
SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one model family are asked and read."""

    name: str
    coordinates: str
    prompts: str
    system: str | None = None
    enable_thinking: bool | None = None
    """What the chat template is told by this name (`--thinking`); None: nothing."""


class Wording(BaseModel):
    """A file of configs/families, as written."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    coordinates: Literal["absolute", "thousand", "unit"]
    prompts: str | None = None
    """None: the file's name."""
    system: str | None = None


@dataclass(frozen=True)
class Suite:
    """A named list of tasks."""

    name: str
    title: str
    tasks: tuple[str, ...]


class Tasks(Mapping[str, TaskSpec]):
    """Tasks by name, in the order of their files; a file is read and checked in full when its task is first asked for.
    A task that is called as its file is found without a look at the others; anything else reads the headings of all.
    The shipped files are checked by the tests, and every command needs only a few of them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths: Final = tuple({path.resolve(): path for path in paths}.values())
        self._read: dict[str, TaskSpec] = {}

    @cached_property
    def headings(self) -> Mapping[str, Heading]:
        """The headings of all task files. UserError where two have one name or one column, which would hide one."""
        taken: dict[tuple[str, str], Path] = {}
        headings = read_headings(self._paths)
        for heading in headings:
            for key, value in (("task", heading.name), ("metadata.column", heading.column)):
                other = taken.setdefault((key, value.casefold()), heading.path)
                if other != heading.path:
                    raise UserError(f"Two task files have '{key}: {value}', {other} and {heading.path}: give one of "
                                    "them another.")  # fmt: skip
        return {heading.name: heading for heading in headings}

    def __getitem__(self, name: str) -> TaskSpec:
        if name in self and name not in self._read:
            self._read[name] = read_task(self.headings[name].path)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        if "headings" in vars(self):
            return name in self.headings
        for path in self._paths:
            if path.stem == name and name not in self._read:
                spec = read_task(path)
                self._read[spec.name] = spec
        return name in self._read or name in self.headings

    def __iter__(self) -> Iterator[str]:
        return iter(self.headings)

    def __len__(self) -> int:
        return len(self.headings)


class Registry:
    """All tasks, suites and families; unknown names raise UserError with the nearest known one."""

    def __init__(self, tasks_dir: Path | None = None, more: Sequence[Path] = ()) -> None:
        """`more` are task files beside those of `tasks_dir`. UserError for one that is wrong, or collides."""
        self.tasks_dir = tasks_dir or project_dir("tasks")
        self._configs = project_dir("configs")
        shipped = task_files(self.tasks_dir)
        self.tasks = Tasks([*shipped, *more])
        headings = self.tasks.headings.values() if more else ()
        self.added = tuple(self.tasks[heading.name] for heading in headings if heading.path not in shipped)
        """The tasks that are not shipped."""
        averages = read_yaml(self._configs / "tables" / "averages.yaml") if self.added else {}
        for spec in self.added:
            for clash in _clashes(spec, self.families, self.suites, averages):
                raise UserError(f"Task file {spec.path}: {clash}")

    @cached_property
    def suites(self) -> Mapping[str, Suite]:
        """By name: those of files with the tasks that say to be in one, and those that tasks alone make."""
        suites = {path.stem: read_suite(path) for path in sorted(self._configs.glob("suites/*.yaml"))}
        members: dict[str, list[str]] = {}
        for heading in self.tasks.headings.values():
            for name in heading.suites:
                suites.setdefault(name, Suite(name, "tasks whose files name it", ()))
                members.setdefault(name, []).append(heading.name)
        return {name: replace(suite, tasks=(*suite.tasks, *members.get(name, ()))) for name, suite in suites.items()}

    @cached_property
    def families(self) -> Mapping[str, Family]:
        """All prompt families, by name."""
        return {name: read_family(path) for name, path in self._family_files.items()}

    @cached_property
    def wordings(self) -> frozenset[str]:
        """Names of all prompt families that any task has a wording for."""
        return frozenset(self.families).union(*(heading.wordings for heading in self.tasks.headings.values()))

    @cached_property
    def _family_files(self) -> Mapping[str, Path]:
        return {path.stem: path for path in sorted(self._configs.glob("families/*.yaml"))}

    def select(self, words: Iterable[str]) -> list[TaskSpec]:
        """The tasks that names, paths, suites, globs and `-exclusions` mean, each once, in the order named."""
        chosen: dict[str, None] = {}
        for word in words:
            named = dict.fromkeys(self._names(word.removeprefix("-")))
            chosen = {name: None for name in chosen if name not in named} if word.startswith("-") else chosen | named
        if not chosen:
            raise UserError(f"--tasks {','.join(words)} leaves no task; see `mmrope-eval list tasks`.")
        return [self.tasks[name] for name in chosen]

    def _names(self, word: str) -> Sequence[str]:
        if is_path(word):
            paths = [path.resolve() for path in files_of(word)]
            named = [heading.name for heading in self.tasks.headings.values() if heading.path.resolve() in paths]
            if not named:
                raise UserError(f"Task file {word} is not open; in Python, use `open_registry([{word!r}])`.")
            return named
        bare = word.removeprefix(PREFIX)
        if bare in self.tasks:
            return [bare]
        if word in self.suites:
            return [spec.name for spec in self.select(self.suites[word].tasks)]
        matched = [name for name in self.tasks if fnmatch.fnmatchcase(name, bare)]
        if matched:
            return matched
        if Path(word).is_dir():
            raise UserError(f"--tasks {word} is a folder; --tasks-dir {word} adds the task files in it.")
        raise UserError(unknown("task or suite", word, [*self.tasks, *self.suites], "mmrope-eval list tasks"))

    def family(self, name: str) -> Family:
        """The family of that name."""
        if name not in self._family_files:
            raise UserError(unknown("prompt family", name, self._family_files, "configs/families"))
        return read_family(self._family_files[name])


def open_registry(words: Iterable[str] = (), folders: Iterable[Path] = ()) -> Registry:
    """The shipped tasks, those in `folders` (--tasks-dir), and those that words (--tasks) name by a path. Raises
    `UserError` for a folder or a file that is not there, a file that is wrong, and two that collide."""
    paths = [path for folder in folders for path in files_in(folder)]
    paths += [path for word in words if is_path(word) for path in files_of(word.removeprefix("-"))]
    return Registry(more=paths)


def is_path(word: str) -> bool:
    """Whether a word of --tasks is the path of a task file, and not a name."""
    return word.endswith(SUFFIXES)


def task_files(folder: Path) -> list[Path]:
    """Task files; those whose names start with an underscore are only included by others."""
    return sorted(path for path in folder.rglob("*.yaml") if not path.name.startswith("_"))


def files_in(folder: Path) -> list[Path]:
    """The task files in a folder of one's own, not those in folders below it. UserError when there are none. Tables,
    sweeps and variants may lie beside them."""
    if not folder.is_dir():
        raise UserError(f"--tasks-dir {folder} is not a folder: give the folder that holds your task files.")
    files = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path.name[0] not in "_.")
    task_paths = [path for path in files if is_task_file(path)]
    if not task_paths:
        raise UserError(f"--tasks-dir {folder} holds no task file (NAME.yaml; one with '_' before it is only included "
                        "by others).")  # fmt: skip
    return task_paths


def files_of(word: str) -> list[Path]:
    """The files that a path or a pattern of paths means. UserError when there is none."""
    path = Path(word).expanduser()
    if path.is_file():
        return [path]
    pattern = Path(*path.parts[1:]) if path.is_absolute() else path
    if re.search(r"[*?[]", word) and (matches := sorted(Path(path.anchor).glob(str(pattern)))):
        return matches
    close = nearest(path.name, [file.name for file in path.parent.glob("*") if file.is_file()], 0.6)
    hint = f"did you mean '{path.with_name(close)}'?" if close else "give the path of a YAML file."
    raise UserError(f"There is no task file '{word}'; {hint}")


def _clashes(spec: TaskSpec, families: Mapping[str, Family], suites: Iterable[str],
             averages: Iterable[str]) -> Iterator[str]:
    """Where a task of one's own takes a name that means something else, or misspells a family's."""
    for name in suites:
        if name in (spec.name, PREFIX + spec.name):
            yield f"'task: {spec.name}' is the name of a suite; call the task otherwise."
    for name in averages:
        if name.casefold() == spec.column.casefold():
            yield f"'metadata.column: {spec.column}' is the name of an average in tables; call the column otherwise."
    wordings = {"default", *families, *(family.prompts for family in families.values())}
    for name in spec.prompts:
        close = nearest(name, wordings, 0.9)
        alike = [wording for wording in wordings if _letters(wording) == _letters(name)]
        if name not in wordings and (alike or close):
            yield (f"'lmms_eval_specific_kwargs.{name}' is the wording of no family; did you mean "
                   f"'{alike[0] if alike else close}'?")  # fmt: skip


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def read_suite(path: Path) -> Suite:
    """A suite's file. UserError for one without a list of tasks."""
    raw = read_yaml(path)
    if not isinstance(raw.get("tasks"), list):
        raise UserError(f"Suite file {path} needs a list of `tasks`.")
    return Suite(path.stem, str(raw.get("title", path.stem)), tuple(raw["tasks"]))


def read_family(path: Path) -> Family:
    """A prompt family's file. UserError for one with an unknown key or coordinate convention."""
    wording = typed(Wording, read_yaml(path), f"Prompt family file {path}")
    return Family(path.stem, wording.coordinates, wording.prompts or path.stem, wording.system)


def check_coordinates(name: str, where: str) -> str:
    """`name` if it is a coordinate convention; UserError naming `where` it was declared otherwise."""
    if name not in COORDINATES:
        raise UserError(f"{where}: unknown coordinate convention '{name}'; choose one of {', '.join(COORDINATES)}.")
    return name

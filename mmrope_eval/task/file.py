"""A task file read and checked: every key it may have, of which type, and one sentence for what is wrong.

`read_task` is all that others need. Nothing of the data is read here, and neither lmms-eval nor torch is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from mmrope_eval.errors import UserError
from mmrope_eval.lmms.loader import read_generation
from mmrope_eval.lmms.stock import STOCK
from mmrope_eval.record.aggregate import AGGREGATES, GROUPED
from mmrope_eval.scorer.all import METRICS, SCORERS, TARGETS
from mmrope_eval.task import yaml_text
from mmrope_eval.task.clusters import QUESTION, SHOWN, is_expression
from mmrope_eval.task.spec import PREFIX, TELLING, TaskKeys, TaskSpec, refuse_not_obeyed
from mmrope_eval.task.template import template_problem
from mmrope_eval.task.yaml_text import Function, read_yaml, unknown
from mmrope_eval.util.config import sentence
from mmrope_eval.vlmevalkit.scores import KIT
from mmrope_eval.words import ended, nearest

SUBSET_TASK: Final = f"{yaml_text.SUBSETS}.SubsetTask"
DEFAULTS: Final = {"process_docs": f"{yaml_text.ROWS}.encoded"} | {
    name: f"{yaml_text.HOOKS}.{name}" for name in ("doc_to_visual", "doc_to_text", "doc_to_target")}  # fmt: skip
"""What a file gets where it does not say it; the `doc_to_*` can be nothing else."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_OF_METADATA: Final = (
    "column", "category", "version", "average", "chance", "suites", "videos_from", "files", "strata", "together",
    "cluster", "lmudata", "licence", "generated", "stock", "vlmevalkit")  # fmt: skip
"""Keys of `metadata` that a task has as they are."""
_LOCAL: Final = ("/", "~", "./", "../")


def read_task(path: Path) -> TaskSpec:
    """A task file as a TaskSpec; UserError names the file and the key that is missing, misspelt or wrong."""
    raw = read_yaml(path)
    try:
        if not TELLING & raw.keys():
            raise UserError("it is none, for it has no 'dataset_path' (docs/benchmark.md has one).")
        refuse_not_obeyed(raw)
        keys = TaskKeys.model_validate(raw)
        metrics = _metrics(keys)
        spec = _spec(path, keys, metrics, _content(raw, metrics, path.parent))
        for problem in _problems(keys, spec):
            raise UserError(problem)
    except ValidationError as error:
        raise UserError(ended(f"Task file {path}: {sentence(error, TaskKeys)}")) from error
    except UserError as error:
        raise UserError(f"Task file {path}: {error}") from error
    return spec


@dataclass(frozen=True)
class Heading:
    """What choosing tasks needs of a task file, of which nothing else is checked."""

    path: Path
    name: str
    column: str
    suites: tuple[str, ...]
    wordings: frozenset[str]
    """The prompt families that it has a wording for, with `default`."""


def read_headings(paths: Iterable[Path]) -> list[Heading]:
    """The heading of every task file. UserError for what is no YAML, and what `read_task` says where one has none."""
    return [_heading(path, read_yaml(path)) for path in paths]


def _heading(path: Path, raw: Mapping[str, Any]) -> Heading:
    declared = raw.get("task")
    match raw:
        case {"metadata": {"column": str(column), **others}, "lmms_eval_specific_kwargs": dict(wordings)}:
            given = others.get("suites") or []
            suites = [given] if isinstance(given, str) else given
            if (isinstance(declared, str | None) and isinstance(suites, list)
                    and all(isinstance(name, str) for name in suites)):
                return Heading(path, task_name(declared, path), column, tuple(suites), frozenset(map(str, wordings)))
    spec = read_task(path)  # which refuses it, in one sentence
    return Heading(path, spec.name, spec.column, spec.suites, frozenset(spec.prompts))


def is_task_file(path: Path) -> bool:
    """Whether it is a YAML file with keys that only a task file has. UserError for a YAML file that cannot be read."""
    return path.suffix in (".yaml", ".yml") and path.is_file() and bool(TELLING & read_yaml(path).keys())


def _spec(path: Path, keys: TaskKeys, metrics: tuple[str, ...], content: Mapping[str, Any]) -> TaskSpec:
    target, metadata = keys.targets.default, keys.metadata
    return TaskSpec(
        **{name: getattr(metadata, name) for name in _OF_METADATA},
        **{name: getattr(target, name) for name in ("scorer", "question", "target")},
        name=task_name(keys.task, path),
        path=path,
        dataset=_dataset(keys.dataset_path, path),
        subset=keys.dataset_name,
        split=keys.test_split or keys.validation_split or "",
        metrics=metrics,
        generation=read_generation(content["generation_kwargs"]),
        media=content["lmms_eval_specific_kwargs"]["default"]["media"],
        prompts={name: wording.prompt for name, wording in keys.wordings.items()},
        dataset_kwargs=content.get("dataset_kwargs") or {},
        expected={str(name): count for name, count in metadata.expected.items()},
        groups=tuple(metadata.groups or metadata.subsets),
        subsets=tuple(metadata.subsets),
        bytes=None if metadata.bytes is None else int(metadata.bytes),
        content=content,
    )


def task_name(declared: str | None, path: Path) -> str:
    """What a task is called: its `task`, with or without lmms-eval's prefix, else its file's name."""
    return (declared or path.stem).removeprefix(PREFIX)


def _dataset(declared: str, path: Path) -> str:
    """A name on the hub as it is; a folder as an absolute path, tried beside the file, then from the working folder."""
    if not declared.startswith(_LOCAL) and declared not in (".", ".."):
        return declared
    folder = Path(declared).expanduser()
    beside = path.parent / folder
    return str((beside if beside.is_dir() or not folder.is_dir() else folder).resolve())


def _metrics(keys: TaskKeys) -> tuple[str, ...]:
    """The names of the file's metrics, or the scorer's main one. UserError for an unknown scorer or metric."""
    scorer = keys.targets.default.scorer
    if scorer not in SCORERS:
        raise UserError(unknown("scorer", scorer, SCORERS, "docs/benchmark.md, which lists them"))
    if keys.metric_list is None:
        return METRICS[scorer][:1]
    names = tuple(entry.metric.rpartition(".")[2] for entry in keys.metric_list)
    for name in names:
        if name not in METRICS[scorer]:
            raise UserError(unknown(f"metric of scorer '{scorer}' called", name, METRICS[scorer],
                                    f"docs/benchmark.md; it has {', '.join(METRICS[scorer])}"))  # fmt: skip
    return names


def _content(raw: Mapping[str, Any], metrics: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """The file as lmms-eval is to have it: with what may be left out, and metrics as it calls them."""
    module = yaml_text.LMMS_METRICS
    mean = Function(f"{module}.mean", folder)
    entries = [{"metric": Function(f"{module}.{name}", folder), "aggregation": mean, "higher_is_better": True}
               for name in metrics]  # fmt: skip
    left_out = {key: Function(name, folder) for key, name in DEFAULTS.items()}
    return {"output_type": "generate_until", **left_out, **raw, "metric_list": entries}


def _problems(keys: TaskKeys, spec: TaskSpec) -> Iterator[str]:
    """What no single key shows: one sentence each."""
    if not _NAME.fullmatch(spec.name):
        yield f"'task: {spec.name}' cannot name a task: use letters, digits, '_', '-', '+' and '.'."
    if not spec.split:
        yield "'test_split' is missing: the split that is asked (or 'validation_split')."
    if yaml_text.current_name(str(keys.subset_class)) == SUBSET_TASK and not keys.metadata.subsets:
        yield "'class' joins configurations of a data set, and 'metadata.subsets' does not say which."
    if keys.metadata.subsets and keys.subset_class is None:
        yield f"'metadata.subsets' needs 'class: !function {SUBSET_TASK}', which joins them."
    if spec.cluster is not None and SHOWN.get(spec.cluster, "") not in ("", *spec.media):
        shown = next((word for word, key in SHOWN.items() if key in spec.media), QUESTION)
        yield f"'metadata.cluster: {spec.cluster}' is not what 'media' shows; write {shown}, or leave it out."
    yield from _target_problems(spec)
    for key, text, expression in templates(spec):
        if (problem := template_problem(text, expression)) is not None:
            yield f"'{key}': {problem}"


def _target_problems(spec: TaskSpec) -> Iterator[str]:
    fields, place = TARGETS[spec.scorer], "model_specific_target_kwargs.default.target"
    for name in spec.target:
        if name not in fields.known:
            close = nearest(name, fields.known)
            hint = f"did you mean '{close}'?" if close else f"it reads {', '.join(fields.known)}."
            yield f"'{place}.{name}' is not read by scorer '{spec.scorer}'; {hint}"
    lacking = fields.lacking(spec.target)
    if lacking is not None:
        yield f"'{place}' has no {lacking}, which scorer '{spec.scorer}' reads."
    if spec.average not in AGGREGATES:
        yield f"'metadata.average': {unknown('average', spec.average, AGGREGATES, ', '.join(AGGREGATES))}"
    elif spec.average in GROUPED and "group" not in spec.target:
        yield f"'metadata.average: {spec.average}' needs groups to average over: '{place}' has no 'group'."
    for key, title, other, names in (("stock", "lmms-eval", spec.stock, STOCK),
                                     ("vlmevalkit", "VLMEvalKit", spec.vlmevalkit, KIT)):
        if other is not None and other.task not in names:
            yield f"'metadata.{key}': {unknown(f'{title} task called here', other.task, names, ', '.join(names))}"


def templates(spec: TaskSpec) -> Iterator[tuple[str, str, bool]]:
    """(key, text, whether it is an expression) of every Jinja template of a task."""
    for family, prompt in spec.prompts.items():
        yield f"lmms_eval_specific_kwargs.{family}.prompt", prompt, False
    for name, expression in spec.target.items():
        yield f"model_specific_target_kwargs.default.target.{name}", expression, True
    cluster = spec.cluster if is_expression(spec.cluster) else None
    for name, rule in (("strata", spec.strata), ("together", spec.together), ("cluster", cluster)):
        if rule is not None:
            yield f"metadata.{name}", rule, True
    for name in ("video", "subtitles"):
        given = spec.media.get(name, [])
        for text in [given] if isinstance(given, str) else given:
            if "{{" in text:
                yield f"lmms_eval_specific_kwargs.default.media.{name}", text, False

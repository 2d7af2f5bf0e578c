"""A study: many runs in one YAML file, in the words of `mmrope-eval run`'s options. See docs/study.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmrope_eval.errors import UserError
from mmrope_eval.models.naming import listed_models
from mmrope_eval.record.protocols import load_protocol
from mmrope_eval.rope import beside
from mmrope_eval.run.answer_limits import Asked, given_limits
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.system_prompt import read_system
from mmrope_eval.sweep.config import task_beside
from mmrope_eval.task.by_task import read_limits, values_by_task
from mmrope_eval.task.registry import Registry, open_registry
from mmrope_eval.task.yaml_text import read_yaml
from mmrope_eval.util.config import typed
from mmrope_eval.util.training_steps import usable

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
MEDIA: Final = {
    "min_pixels": "image_min_pixels", "max_pixels": "image_max_pixels", "fps": "video_fps",
    "max_frames": "video_max_frames", "video_tokens": "video_max_tokens", "min_frame_pixels": "frame_min_pixels",
    "max_frame_pixels": "frame_max_pixels",
}  # fmt: skip
"""Options of `run` on pictures and videos, and their fields in a media policy."""


class Settings(BaseModel):
    """What a study says for all its runs, or one run for itself: options of `run`, with `_` for `-`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    variants: list[Text] = []
    set: dict[Text, Any] = {}
    protocol: Text | None = None
    limit: Positive | Text | dict[Text, Positive | Text] | None = None
    """For all tasks, or by task, suite or glob."""
    prompts: Text | None = None
    coordinates: Literal["absolute", "thousand", "unit"] | None = None
    system: str | None = None
    """Words, or a file's path."""
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)] | None = None
    max_tokens: Positive | dict[Text, Positive] | None = None
    """For all tasks, or by task, suite or glob."""
    thinking: Literal["on", "off", "auto"] | bool | None = None
    """YAML reads on and off as true and false."""
    min_pixels: Positive | None = None
    max_pixels: Positive | None = None
    fps: Annotated[float, Field(gt=0, strict=False)] | None = None
    max_frames: Positive | None = None
    video_tokens: Positive | None = None
    min_frame_pixels: Positive | None = None
    max_frame_pixels: Positive | None = None


class Run(Settings):
    """One run of a study."""

    tasks: Annotated[list[Text], Field(min_length=1)]
    name: Text | None = None
    """Its folder below the study's; default: its protocol's name, else none."""


class Study(Settings):
    """A study's file."""

    checkpoints: Annotated[list[Any], Field(min_length=1)]
    """Entries as in a --models file."""
    runs: Annotated[list[Run], Field(min_length=1)]
    output: Text | None = None
    data_root: Text | None = None
    tasks_dir: list[Text] = []
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    assume_stock: bool = False


def read_study(path: Path) -> Study:
    """A study's file. UserError names the file and the key that is wrong."""
    if not path.is_file():
        raise UserError(f"there is no study file {path}: give the path of a YAML file (docs/study.md)")
    study = typed(Study, read_yaml(path), f"study {path}", " (docs/study.md)")
    refuse_twice(study, path)
    for number, run in enumerate(study.runs, 1):
        if run.name is not None and run.name != usable(run.name):
            raise UserError(f"study {path}: runs, entry {number}: name '{run.name}' cannot name a folder: use letters "
                            "and digits, without '/' and without a dot or a space at its ends")
    return study


def refuse_twice(study: Study, path: Path) -> None:
    """UserError for a seed that stands twice."""
    twice = sorted({seed for seed in study.seeds if study.seeds.count(seed) > 1})
    if twice:
        raise UserError(f"study {path}: seeds: {twice[0]} stands twice: leave one out")


def run_configs(study: Study, path: Path, base: RunConfig) -> list[RunConfig]:
    """The runs of a study as commands, in the file's order. UserError for what is not there.

    `base` has what the command line says: output, data, engine, failures. Greedy tasks give one answer whatever the
    seed: they are asked once. Where there are several seeds, each has a folder for the tasks that sample.
    """
    folder = path.resolve().parent
    listed = listed_models(study.checkpoints, f"study {path}, checkpoints", folder)
    data_root = base.data_root
    if data_root is None and study.data_root is not None:
        data_root = _folder(study.data_root, folder, path, "data_root")
    tasks_dirs = [_folder(name, folder, path, "tasks_dir") for name in study.tasks_dir]
    shared = dataclasses.replace(
        base, listed=tuple(listed), data_root=data_root, own_folders=True,
        assume_stock=study.assume_stock or base.assume_stock,
        tasks_dirs=(*base.tasks_dirs, *tasks_dirs),
    )  # fmt: skip
    configs: list[RunConfig] = []
    for number, run in enumerate(study.runs, 1):
        merged = Run.model_validate({**_said(study), **_said(run), "tasks": run.tasks, "name": run.name})
        try:
            config = _configure(shared, merged, folder)
            configs += _seeded(config, study.seeds)
        except UserError as error:
            raise UserError(f"study {path}: runs, entry {number}: {error}") from error
    return configs


def _said(settings: Settings) -> dict[str, Any]:
    """What a part of the file sets of the settings."""
    return {name: getattr(settings, name) for name in Settings.model_fields if name in settings.model_fields_set}


def _configure(base: RunConfig, run: Run, folder: Path) -> RunConfig:
    """One run as a command. UserError for a protocol or limit that is none."""
    protocol = None if run.protocol is None else load_protocol(beside(run.protocol, folder))
    name = run.name or ("" if protocol is None else usable(protocol.name))
    tokens = {None: run.max_tokens} if isinstance(run.max_tokens, int) else run.max_tokens or {}
    thinking: Asked | None = run.thinking if not isinstance(run.thinking, bool) else "on" if run.thinking else "off"
    limit, limits = read_limits(_limit_words(run.limit))
    media = {field: getattr(run, name) for name, field in MEDIA.items() if getattr(run, name) is not None}
    return dataclasses.replace(
        base, tasks=tuple(task_beside(task, folder) for task in run.tasks), output=base.output / name,
        variants=tuple(beside(variant, folder) for variant in run.variants), overrides=run.set, protocol=protocol,
        limit=limit, limits=limits, prompts=run.prompts, coordinates=run.coordinates,
        system=read_system(run.system, folder), temperature=run.temperature, max_tokens=tuple(tokens.items()),
        thinking=thinking, media=media,
    )  # fmt: skip


def _limit_words(limit: int | str | Mapping[str, int | str] | None) -> list[str]:
    """A limit of the file as the words of --limit."""
    if isinstance(limit, Mapping):
        return [f"{name}:{value}" for name, value in limit.items()]
    return [] if limit is None else str(limit).split(",")


def _seeded(config: RunConfig, seeds: Sequence[int]) -> Iterator[RunConfig]:
    """A run under every seed, as far as its tasks heed one."""
    if len(seeds) == 1:
        yield dataclasses.replace(config, seed=seeds[0])
        return
    registry = open_registry(config.tasks, config.tasks_dirs)
    specs = registry.select(config.tasks)
    given_limits(config.max_tokens, specs, registry)  # a name that is no task of the run is noticed
    values_by_task("--limit", config.limits, specs, registry)
    heat = config.temperature
    sampled = [spec.name for spec in specs if (spec.generation.temperature if heat is None else heat) > 0]
    greedy = [spec.name for spec in specs if spec.name not in sampled]
    if greedy:
        yield _without(dataclasses.replace(config, seed=seeds[0]), sampled, greedy, registry)
    for seed in seeds if sampled else ():
        seeded = dataclasses.replace(config, seed=seed, output=config.output / f"seed-{seed}")
        yield _without(seeded, greedy, sampled, registry)


def _without(config: RunConfig, out: Sequence[str], kept: Sequence[str], registry: Registry) -> RunConfig:
    """A run without some of its tasks, and without the limits of those alone."""
    def stays(name: str | None) -> bool:
        return name is None or bool({spec.name for spec in registry.select([name])} & {*kept})

    return dataclasses.replace(
        config, tasks=(*config.tasks, *(f"-{name}" for name in out)),
        max_tokens=tuple(pair for pair in config.max_tokens if stays(pair[0])),
        limits=tuple(pair for pair in config.limits if stays(pair[0])),
    )  # fmt: skip


def _folder(text: str, base: Path, path: Path, key: str) -> Path:
    """A folder that is there: beside the file, else from the working folder."""
    for place in (base / Path(text).expanduser(), Path(text).expanduser()):
        if place.is_dir():
            return place
    raise UserError(f"study {path}: {key} '{text}' is not a folder, neither beside the file nor in the working folder")

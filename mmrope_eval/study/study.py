"""`mmrope-eval study`: all runs of a file, in the order that changes weights least often, on one engine.

A study is many runs in one YAML file, in the keys of `run.keys`. See docs/study.md.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmrope_eval.engine.backend import StartEngine
from mmrope_eval.errors import UserError
from mmrope_eval.models.naming import listed_models
from mmrope_eval.run.config import RunConfig, config_of
from mmrope_eval.run.keys import AskedKeys, CommandKeys, RunKeys, beside_file, with_flags
from mmrope_eval.run.prepared import greedy_tasks, prepare
from mmrope_eval.run.run import RunResult, run_all
from mmrope_eval.task.by_task import values_by_task
from mmrope_eval.task.registry import Registry, open_registry
from mmrope_eval.task.yaml_text import read_yaml
from mmrope_eval.util.config import typed
from mmrope_eval.util.console import say
from mmrope_eval.util.keys import Entries, Names, Seed, Text, given_keys
from mmrope_eval.util.paths import cache_at
from mmrope_eval.util.row_names import usable
from mmrope_eval.words import counted

PAGE = " (docs/study.md)"


class Run(AskedKeys):
    """One run of a study: its own keys go before the study's."""

    tasks: Annotated[Names, Field(min_length=1)]
    name: Text | None = None
    """Its folder below the study's; default: its protocol's name, else none."""


class Study(CommandKeys):
    """A study's file, its paths as it means them."""

    checkpoints: Entries
    """Entries as in a --models file."""
    runs: Annotated[list[Run], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]


def read_study(path: Path, flags: Mapping[str, Any] | None = None) -> Study:
    """A study's file, with the keys that the command line gives in place of the file's. UserError names the file and
    the key that is wrong."""
    if not path.is_file():
        raise UserError(f"there is no study file {path}: give the path of a YAML file{PAGE}")
    where = f"study {path}"
    study = typed(Study, read_yaml(path), where, PAGE)
    folder, given = path.resolve().parent, dict(flags or {})
    if "seed" in given:
        if "seeds" in study.model_fields_set:
            raise UserError(f"{where} has `seeds`: leave --seed out")
        given["seeds"] = [*given.pop("seed")]
    if "data_root" in given:  # the file's, which may not be here, is not looked for
        study = study.model_copy(update={"data_root": None})
    study = beside_file(study, folder, where)
    study = study.model_copy(update={"runs": [beside_file(run, folder, where) for run in study.runs]})
    study = typed(Study, with_flags(study, given), where, PAGE)
    twice = sorted({seed for seed in study.seeds if study.seeds.count(seed) > 1})
    if twice:
        raise UserError(f"{where}: seeds: {twice[0]} stands twice: leave one out")
    for number, run in enumerate(study.runs, 1):
        if run.name is not None and run.name != usable(run.name):
            raise UserError(f"{where}: runs, entry {number}: name '{run.name}' cannot name a folder: use letters "
                            "and digits, without '/' and without a dot or a space at its ends")
    if study.output is None:
        raise UserError(f"{where} has no `output`: add one, or give --output")
    return study


def run_configs(study: Study, path: Path, command: Sequence[str] = ()) -> list[RunConfig]:
    """The runs of a study as commands, in the file's order. UserError for what is not there. Greedy tasks give one
    answer whatever the seed: they are asked once. Where there are several seeds, each has a folder for the tasks that
    sample."""
    listed = listed_models(study.checkpoints, f"study {path}, checkpoints", path.resolve().parent)
    shared = {name: value for name, value in given_keys(study).items() if name in RunKeys.model_fields}
    shared["seed"] = [study.seeds[0]]  # the engine's, which all runs share
    configs: list[RunConfig] = []
    for number, run in enumerate(study.runs, 1):
        run_keys = {name: value for name, value in given_keys(run).items() if name != "name"}
        keys = RunKeys.model_validate({**shared, **run_keys})
        try:
            config = dataclasses.replace(config_of(keys, listed, command), own_folders=True)
            name = run.name or ("" if config.protocol is None else usable(config.protocol.name))
            configs += _seeded(dataclasses.replace(config, output=config.output / name), study.seeds)
        except UserError as error:
            raise UserError(f"study {path}: runs, entry {number}: {error}") from error
    return configs


def _seeded(config: RunConfig, seeds: Sequence[int]) -> Iterator[RunConfig]:
    """A run under every seed, as far as its tasks heed one."""
    if len(seeds) == 1:
        yield _with_seed(config, seeds[0])
        return
    registry = open_registry(config.tasks, config.tasks_dirs)
    specs = registry.select(config.tasks)
    values_by_task("--max-tokens", config.max_tokens, specs, registry)  # a name that is no task of the run is noticed
    values_by_task("--limit", config.limits, specs, registry)
    greedy = greedy_tasks(specs, config.temperature)
    sampled = [spec.name for spec in specs if spec.name not in greedy]
    if greedy:
        yield _without(_with_seed(config, seeds[0]), sampled, greedy, registry)
    for seed in seeds if sampled else ():
        seeded = dataclasses.replace(_with_seed(config, seed), output=config.output / f"seed-{seed}")
        yield _without(seeded, greedy, sampled, registry)


def _with_seed(config: RunConfig, seed: int) -> RunConfig:
    return dataclasses.replace(config, seed=seed, seeds=(), said={**config.said, "seed": [seed]})


def _without(config: RunConfig, out: Sequence[str], kept: Sequence[str], registry: Registry) -> RunConfig:
    """A run without some of its tasks, and without the limits of those alone."""
    def stays(name: str | None) -> bool:
        return name is None or bool({spec.name for spec in registry.select([name])} & {*kept})

    return dataclasses.replace(config, tasks=(*config.tasks, *(f"-{name}" for name in out)),
                               max_tokens=tuple(pair for pair in config.max_tokens if stays(pair[0])),
                               limits=tuple(pair for pair in config.limits if stays(pair[0])))


def run_study(file: Path, flags: Mapping[str, Any] | None = None, start_engine: StartEngine | None = None,
              command: Sequence[str] = ()) -> list[RunResult]:
    """Evaluate a study; a result for each of its runs. UserError for bad input, before anything starts. `flags`: keys
    that go before the file's. A row that fails, for --max-failures too, is a failed row, and the others go on.
    `start_engine` replaces the live engine in tests."""
    path = Path(file)
    study = read_study(path, flags)
    output = Path(study.output or "")
    with cache_at(study.cache_dir):
        runs = [prepare(config) for config in run_configs(study, path, command)]
        say(f"study {path}: {counted(len(runs), 'run')} below {output}", file=sys.stderr)
        return run_all(runs, output, start_engine, go_on=True)

"""`--seed 0,1,2`: a run under several seeds, each with rows of its own below `OUTPUT/seed-N`."""

from __future__ import annotations

import dataclasses
from typing import Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.schema import MANIFEST, SCORES
from mmrope_eval.run.config import RunConfig
from mmrope_eval.task.registry import open_registry

FOLDER: Final = "seed-"


def by_seed(config: RunConfig) -> list[RunConfig]:
    """A run as one run for each of its seeds. UserError where seeds would give the same answers, as greedy decoding
    draws nothing, and where rows of several seeds and of one would lie in one folder, of which a reader sees one."""
    if len(config.seeds) < 2:
        _refuse_seeds_there(config)
        return [dataclasses.replace(config, seed=config.seeds[0], seeds=()) if config.seeds else config]
    words = ",".join(map(str, config.seeds))
    twice = [seed for place, seed in enumerate(config.seeds) if seed in config.seeds[:place]]
    if twice:
        raise UserError(f"--seed {words}: {twice[0]} stands twice: leave one out")
    specs, heat = open_registry(config.tasks, config.tasks_dirs).select(config.tasks), config.temperature
    greedy = [spec.name for spec in specs if (spec.generation.temperature if heat is None else heat) == 0]
    if greedy:
        raise UserError(f"--seed {words}: {', '.join(greedy)} would have the same answers under every seed, as nothing "
                        "is drawn at temperature 0: give --temperature F, or one seed")  # fmt: skip
    if any((config.output / name).exists() for name in (MANIFEST, SCORES)):
        raise UserError(f"{config.output} holds a row of one seed, beside which those of several cannot lie: choose "
                        "another --output")
    return [dataclasses.replace(config, seed=seed, seeds=(), output=config.output / f"{FOLDER}{seed}",
                                label_end=f"--{FOLDER}{seed}", own_folders=True) for seed in config.seeds]  # fmt: skip


def _refuse_seeds_there(config: RunConfig) -> None:
    """UserError where the folder of a run of one seed has rows of several."""
    there = sorted({path.parents[1].name for path in config.output.glob(f"{FOLDER}*/*/{MANIFEST}")})
    if there and not config.own_folders:
        raise UserError(f"{config.output} holds rows of several seeds ({', '.join(there)}), beside which those of one "
                        "cannot lie: choose another --output")

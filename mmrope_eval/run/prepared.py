"""A run, before anything starts: its tasks, its rows (of several seeds too), their answer limits, and where rows go."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.files import write_json
from mmrope_eval.record.schema import MANIFEST, SCORES
from mmrope_eval.run import outcome
from mmrope_eval.run.answer_limits import Room, row_limits
from mmrope_eval.run.cells import Rows, make_cells
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell
from mmrope_eval.run.manifest import manifest, protocol_remark
from mmrope_eval.run.placing import differences, place, read_row, sizes
from mmrope_eval.run.progress import RowProgress
from mmrope_eval.task.by_task import values_by_task
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Registry, TaskSpec, open_registry


@dataclass(frozen=True)
class Prepared:
    """A run whose input is good."""

    config: RunConfig
    specs: Sequence[TaskSpec]
    given: Mapping[str, int]
    """Answer limits that the command gives, by task."""
    rows: Rows
    limits: Sequence[tuple[dict[str, int], list[str]]]
    """Of every cell: its answer limits that are not the tasks' own, and remarks."""
    plans: Plans

    def progress(self, cell: Cell) -> RowProgress:
        """A row that waits for its turn; plans its questions, if that is not done yet. What has a score counts."""
        plans = self.plans.of(cell.family)
        scored = {} if self.config.fresh else sizes(cell.folder)
        asked = {name: len(plan.samples) for name, plan in plans.items()}
        done = sum(min(count, scored.get(name, 0)) for name, count in asked.items())
        return RowProgress(cell.label, cell.folder, tuple(asked), total=sum(asked.values()), done=done)


def prepare(config: RunConfig) -> Prepared:
    """Read everything that a run names. UserError for bad input; a checkpoint that cannot be evaluated is a failed
    row."""
    registry = open_registry(config.tasks, config.tasks_dirs)
    specs = registry.select(config.tasks)
    config = with_task_limits(config, specs, registry)
    given = values_by_task("--max-tokens", config.answer_limits, specs, registry)
    rows = make_cells(config, registry)
    limits = [cell_limits(config, cell, specs, given) for cell in rows.cells]
    plans = Plans(specs, config.data_root, config.limit, config.seed, dict(config.limits))
    return Prepared(config, specs, given, rows, limits, plans)


def with_task_limits(config: RunConfig, specs: Sequence[TaskSpec], registry: Registry) -> RunConfig:
    """With `limits` by the names of tasks. UserError for a name that is no task of the run."""
    limits = values_by_task("--limit", config.limits, specs, registry)
    return dataclasses.replace(config, limits=tuple(limits.items()))


def cell_limits(config: RunConfig, cell: Cell, specs: Sequence[TaskSpec],
                given: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
    """A row's answer limits that are not the tasks' own, and remarks. UserError where its context has no room."""
    room = Room.of(cell.checkpoint, cell.policy, config.options.max_model_len)
    room.check(cell.thinking, given)
    limits = row_limits(cell.thinking, specs, given, room.thinking)
    protocol = protocol_remark(config, cell, specs, limits)
    return limits, [*([protocol] if protocol else []), *room.remarks(cell.thinking, given)]


def claim(config: RunConfig, cell: Cell) -> None:
    """Say in a new row's folder whose it is, so that another row's command leaves it alone if this one is stopped."""
    if not (cell.folder / MANIFEST).is_file():
        write_json(cell.folder / MANIFEST, manifest(config, cell, {}, {}))


def place_all(runs: Sequence[Prepared], *, write: bool = True) -> list[Prepared]:
    """Several runs with the folders of their rows, as if their commands followed each other. `write`: say in new
    folders whose they are. UserError where two would mix in one row what cannot be compared, or ask one task twice."""
    placed: list[Prepared] = []
    homes: dict[object, list[tuple[Prepared, Cell]]] = {}
    for number, run in enumerate(runs):
        placed_run = dataclasses.replace(run, rows=place(run.config, run.rows, run.specs))
        for folder in placed_run.rows.folders.values():
            outcome.require_places(folder)
        for cell in placed_run.rows.cells:
            for other, before in homes.setdefault(cell.folder, []):
                _refuse_mixture(placed_run, cell, other, before)
            homes[cell.folder].append((placed_run, cell))
            if write and number < len(runs) - 1:
                claim(placed_run.config, cell)  # the next run finds its rows there
        placed.append(placed_run)
    return placed


def _refuse_mixture(run: Prepared, cell: Cell, other: Prepared, before: Cell) -> None:
    twice = sorted({spec.name for spec in run.specs} & {spec.name for spec in other.specs})
    if twice:
        raise UserError(f"two runs ask {cell.label} for {', '.join(twice)} in {cell.folder}: take it out of one run, "
                        "or give one of them a `name`, which is the name of its folder")  # fmt: skip
    row = read_row(before.folder)
    settings = differences(cell, row)[0] if row is not None else []
    how = f" ({'; '.join(settings)})" if settings else ""
    if cell.context != before.context or cell.family != before.family:
        raise UserError(f"two runs would mix in {cell.folder} what was asked in different ways{how}: give one of them "
                        "a `name`, which is the name of its folder")  # fmt: skip


SEED_FOLDER: Final = "seed-"


def greedy_tasks(specs: Sequence[TaskSpec], temperature: float | None) -> list[str]:
    """Tasks that have the same answers under every seed, as nothing is drawn at temperature 0. `temperature`: in place
    of the tasks' own."""
    return [spec.name for spec in specs if (spec.generation.temperature if temperature is None else temperature) == 0]


def by_seed(config: RunConfig) -> list[RunConfig]:
    """A run as one run for each of its seeds. UserError where seeds would give the same answers, as greedy decoding
    draws nothing, and where rows of several seeds and of one would lie in one folder, of which a reader sees one."""
    if len(config.seeds) < 2:
        seeds = sorted({path.parents[1].name for path in config.output.glob(f"{SEED_FOLDER}*/*/{MANIFEST}")})
        if seeds and not config.own_folders:
            raise UserError(f"{config.output} holds rows of several seeds ({', '.join(seeds)}), beside which those of "
                            "one cannot lie: choose another --output")  # fmt: skip
        return [dataclasses.replace(config, seed=config.seeds[0], seeds=()) if config.seeds else config]
    words = ",".join(map(str, config.seeds))
    twice = [seed for place, seed in enumerate(config.seeds) if seed in config.seeds[:place]]
    if twice:
        raise UserError(f"--seed {words}: {twice[0]} stands twice: leave one out")
    specs = open_registry(config.tasks, config.tasks_dirs).select(config.tasks)
    greedy = greedy_tasks(specs, config.temperature)
    if greedy:
        raise UserError(f"--seed {words}: {', '.join(greedy)} would have the same answers under every seed, as nothing "
                        "is drawn at temperature 0: give --temperature F, or one seed")  # fmt: skip
    if any((config.output / name).exists() for name in (MANIFEST, SCORES)):
        raise UserError(f"{config.output} holds a row of one seed, beside which those of several cannot lie: choose "
                        "another --output")
    names = {seed: f"{SEED_FOLDER}{seed}" for seed in config.seeds}
    return [dataclasses.replace(config, seed=seed, seeds=(), output=config.output / name, label_end=f"--{name}",
                                own_folders=True) for seed, name in names.items()]  # fmt: skip

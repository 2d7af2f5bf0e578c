"""A sweep: the same questions at many context lengths, under many variants and context scalings.

It is a set of runs. Every point (context, task, checkpoint, variant, scaling) is a cell as `mmrope-eval run` makes it,
in a folder of its own, asked, stored, resumed and scored by the same code; what a sweep adds is the media policy that
a token budget buys, the scaling that a variant's own positions ask for, and one engine for all of it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from mmrope_eval.engine.backend import DoesNotFitError, EngineHolder, RowError, StartEngine
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_record, sealed, write_json
from mmrope_eval.record.schema import FORMAT, SWEEP, SweepRecord
from mmrope_eval.rope import load_variant
from mmrope_eval.run import engines
from mmrope_eval.run.answer_limits import described, row_limits, warnings, with_limits, with_temperature
from mmrope_eval.run.cells import make_cells, response_context
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell
from mmrope_eval.run.manifest import plain
from mmrope_eval.run.outcome import read_failures, require_sweep_places
from mmrope_eval.run.prepared import with_task_limits
from mmrope_eval.run.row import run_row
from mmrope_eval.run.runlog import ErrorLog, run_log
from mmrope_eval.store.answer_code import require_unedited
from mmrope_eval.store.lock import run_lock
from mmrope_eval.sweep.budget import (
    Budget,
    Growth,
    Stretch,
    frame_side,
    layout,
    make_budget,
    make_policy,
    reach,
    scaled,
    stamp_tokens,
    text_tokens,
)
from mmrope_eval.sweep.config import GeneratedNeedles, SweepConfig
from mmrope_eval.sweep.engine import LongestThatFits, longest_first, memory_problem, says_memory
from mmrope_eval.task.by_task import values_by_task
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Family, Registry, TaskSpec, open_registry
from mmrope_eval.task.template import render
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.engine.prompt import PromptWriter
    from mmrope_eval.models.checkpoint import Checkpoint

NEEDLE = "needle"
SETTINGS: Final = ("train_context", "frames", "needle", "limit", "temperature")
"""Of sweep.json: points that differ in them are no points of one sweep."""


@dataclass(frozen=True)
class Point:
    """One measurement of a sweep."""

    cell: Cell
    row: str  # what it is called
    scaling: str
    task: TaskSpec
    budget: Budget
    growth: Growth
    stretch: Stretch
    """Of its scaling."""
    config: RunConfig
    """Of the run that this point is."""

    def record(self) -> dict[str, Any]:
        """What the point is, as sweep.json has it."""
        checkpoint, budget, scaled_by = self.cell.checkpoint, self.budget, self.cell.variant.scaling
        return {
            "label": self.row, "checkpoint": str(checkpoint.path), "model": Path(checkpoint.path).name,
            "variant": self.cell.variant.name, "scaling": self.scaling, "task": self.task.name,
            "column": self.task.column, "chance": self.task.chance, "context": budget.context,
            "text_tokens": budget.text, "frames": budget.frames, "planned_tokens": budget.tokens,
            "trained_reach": self.growth.trained, "target_reach": self.growth.target, "factor": scaled_by.factor,
            "factor_rule": None if self.scaling == "none" else self.stretch.rule,
        }  # fmt: skip


@dataclass
class Sweep:
    """A sweep under way."""

    config: SweepConfig
    run: RunConfig
    """Models, data, output and engine options; its tasks and media policy are the sweep's."""
    needles: GeneratedNeedles
    start_engine: StartEngine
    writer: Callable[[Checkpoint], PromptWriter]
    points_done: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    empty: list[str] = field(default_factory=list)
    """Rows of the file that no checkpoint fills."""
    earlier: list[Mapping[str, Any]] = field(default_factory=list)
    """Points of other commands in the same folder."""

    @cached_property
    def errors(self) -> ErrorLog:
        """Tracebacks of all points."""
        return ErrorLog(self.run.output, self.run.log_file)

    @cached_property
    def registry(self) -> Registry:
        """All tasks."""
        return open_registry(self.config.tasks, self.run.tasks_dirs)

    @cached_property
    def tasks(self) -> list[TaskSpec]:
        """The tasks on videos, then the needle. UserError for a task without videos."""
        specs = self.registry.select(self.config.tasks) if self.config.tasks else []
        without = [spec.name for spec in specs if "video" not in spec.media]
        if without:
            raise UserError(f"Sweep {self.config.path}: task {without[0]} has no videos to fill a context with.")
        return [*specs, *([self.registry.tasks[NEEDLE]] if self.config.needle else [])]

    def measure(self) -> Path:
        """Measure every point; the path of sweep.json, which is written anew after each."""
        self.run = with_task_limits(self.run, self.tasks, self.registry)
        given = values_by_task("--max-tokens", self.run.max_tokens, self.tasks, self.registry)
        rows = make_cells(run_of(self), self.registry)
        cells = rows.cells
        for row in rows.failed:
            say(f"{row.label} failed: {row.cause}", file=sys.stderr)
        for cell in cells:
            for remark in (described(cell.thinking), *warnings(cell.thinking, self.tasks, given)):
                if remark is not None:
                    say(f"{cell.label}: {remark}", file=sys.stderr)
        self.failed += len(rows.failed)
        self.empty = empty_rows(self.config.rows, cells)
        if self.empty:
            say(f"no checkpoint is of {', '.join(self.empty)}: rows of this sweep that stay empty", file=sys.stderr)
        log_file, verbose = self.run.log_file, self.run.verbose
        with (run_lock(self.run.output), run_log(self.run.output, self.run.command, log_file, verbose=verbose) as log):
            start = engines.reached(self.run.options, log, self.start_engine)
            require_sweep_places(self.run.output)
            names = [spec.name for spec in self.tasks]
            self.earlier = earlier_points(self.run.output, self.settings(), self.config, cells, names)
            plans = plans_of(self)
            budgets = [self.budgets(cell, plans) for cell in cells]
            longest = LongestThatFits(start, longest_first(
                self.options(cell, budget) for cell, by_point in zip(cells, budgets, strict=True)
                for budget in by_point.values() if budget.grids
            ))  # fmt: skip
            with EngineHolder(longest, require_unedited, longest.serves) as holder:
                for cell, by_point in zip(cells, budgets, strict=True):
                    for spec in self.tasks:
                        by_context = {context: by_point[spec.name, context] for context in self.config.contexts}
                        self.lengths(cell, spec, by_context, plans, holder)
        return self.run.output / SWEEP

    def limits(self, base: Cell) -> dict[str, int]:
        """A row's answer limits that are not the tasks' own; answers come on top of the context."""
        given = values_by_task("--max-tokens", self.run.max_tokens, self.tasks, self.registry)
        return row_limits(base.thinking, self.tasks, given)

    def budgets(self, base: Cell, plans: Mapping[str, Plans]) -> dict[tuple[str, int], Budget]:
        """The budgets, by task and context."""
        writer, frames, checkpoint = self.writer(base.checkpoint), self.config.frames, base.checkpoint
        stamp = stamp_tokens(writer, checkpoint)
        limits = self.limits(base)
        budgets = {}
        for spec in self.tasks:
            text = text_tokens(writer, self.prompts(spec, base.family, plans), base.family.enable_thinking)
            answer = limits.get(spec.name, spec.generation.max_tokens)
            for context, count in zip(self.config.contexts, frames.counts or [None] * len(self.config.contexts),
                                      strict=True):  # fmt: skip
                try:
                    budget = make_budget(context, text, answer, frames, checkpoint, stamp, count)
                except UserError as error:
                    raise UserError(f"Sweep {self.config.path}, {base.label}, {spec.name}: {error}") from error
                budgets[spec.name, context] = budget
        return budgets

    def lengths(self, base: Cell, spec: TaskSpec, budgets: Mapping[int, Budget], plans: Mapping[str, Plans],
                holder: EngineHolder) -> None:
        """One task under one variant: the trained context first, then the others; unscaled first, then scaled. A factor
        by reach is derived from the positions that the unscaled points really reached."""
        trained = self.config.train_context
        first = 0.0
        for context in (trained, *(context for context in budgets if context != trained)):
            unscaled = self.point(base, spec, budgets[context], Growth(1, 1), "none")
            outcome = self.measure_point(unscaled, plans, holder)
            planned = reach(base.variant, layout(unscaled.budget, self.config.frames, base.checkpoint), base.checkpoint)
            reached = reached_positions(self.run.output / outcome["folder"], spec.name) if "folder" in outcome else None
            growth = Growth(first or reached or planned, reached or planned)
            first = first or growth.trained
            for scaling in self.config.scaling:
                point = self.point(base, spec, budgets[context], growth, scaling)
                changed = point.cell.variant is not base.variant  # without growth a scaling changes nothing
                measured = self.measure_point(point, plans, holder) if changed else outcome
                self.points_done.append({**point.record(), **measured})
                self.write()

    def options(self, base: Cell, budget: Budget) -> EngineOptions:
        """How the engine runs a point."""
        options = dataclasses.replace(self.run.options, max_model_len=budget.max_model_len)
        if not budget.grids:
            return options
        return dataclasses.replace(options, policy=make_policy(budget, self.config.frames, base.checkpoint))

    def point(self, base: Cell, spec: TaskSpec, budget: Budget, growth: Growth, scaling: str) -> Point:
        """One point: a run of one task, with what the budget buys."""
        options = self.options(base, budget)
        policy = options.policy or base.policy
        stretch = Stretch.of(self.config.factor, growth, budget.context, self.config.train_context)
        variant = scaled(base.variant, scaling, stretch)
        kind = variant.scaling.type if variant is not base.variant else "none"
        # A folder without a rule holds factors by reach, the only rule that there was.
        by = "" if stretch.rule == "reach" else f"-{stretch.rule}"
        name = base.label if kind == "none" else f"{base.label}--{kind}{by}"
        output = self.run.output / str(budget.context) / spec.name
        config = dataclasses.replace(self.run, tasks=(spec.name,), output=output, options=options)
        chosen = dataclasses.replace(base.chosen, variant=variant)
        cell = dataclasses.replace(
            base, label=f"{budget.context} {spec.name} {name}", chosen=chosen, folder=output / name,
            policy=policy, media_sources={},
            context=response_context(config, base.checkpoint, variant, policy, base.thinking.told),
        )  # fmt: skip
        return Point(cell, base.label, scaling, spec, budget, growth, stretch, config)

    def prompts(self, spec: TaskSpec, family: Family, plans: Mapping[str, Plans]) -> list[tuple[str, str | None]]:
        """All prompts of a task, with their system prompts."""
        if spec.name == NEEDLE and self.config.needle:
            template = spec.prompt(family.prompts)
            return [(render(template, row), family.system) for row in self.needles.rows(self.config.needle)]
        samples = plans[spec.name].of(family)[spec.name].samples
        prompts = [(sample.prompt, sample.system) for sample in samples if sample.problem is None]
        if not prompts:
            raise UserError(f"Task {spec.name} has no sample that can be asked.")
        return prompts

    def without(self, budget: Budget) -> dict[str, Any] | None:
        """The status of a point that is not asked; None where it can be."""
        limit = self.run.options.max_model_len
        if limit is not None and budget.max_model_len > limit:
            return {"status": "excluded", "cause": f"{budget.max_model_len} tokens exceed --max-model-len {limit}"}
        return None if budget.grids else {
            "status": "no room", "cause": f"{budget.text} tokens of text leave no room for a frame"}  # fmt: skip

    def measure_point(self, point: Point, plans: Mapping[str, Plans], holder: EngineHolder) -> dict[str, Any]:
        """Run one point: its status, and the folder of its scores where it has them."""
        if status := self.without(point.budget):
            return status
        try:
            plan = self.plan(point, plans)
        except NoRoomError as error:
            return {"status": "no room", "cause": str(error)}
        say(f"{point.cell.label}: {point.budget.frames} frames, factor {point.cell.variant.scaling.factor:g}",
              file=sys.stderr)  # fmt: skip
        try:
            limited = with_limits({point.task.name: plan}, self.limits(point.cell))
            drawn = with_temperature(limited, self.run.temperature, self.run.seed)
            entry, bad, _ = run_row(point.config, point.cell, drawn, holder, self.errors)
        except DoesNotFitError as error:
            return {"status": "memory", "cause": str(error)}
        except RowError as error:
            holder.close()
            problem = memory_problem(error)
            if problem is None:
                say(f"{point.cell.label} failed: {error}", file=sys.stderr)
            self.failed += problem is None
            return {"status": "memory" if problem else "failed", "cause": problem or str(error)}
        folder = {"folder": str(point.cell.folder.relative_to(self.run.output))}
        if bad and (lack := memory_cause(point.cell.folder)):
            return {"status": "memory", "cause": lack, **folder}
        self.failed += bad
        return {"status": "done", "cause": None, "n": entry[point.task.name]["n"], **folder}

    def plan(self, point: Point, plans: Mapping[str, Plans]) -> TaskPlan:
        """The task's samples; for the needle from videos of this point's own length, made when they are needed."""
        family, name = point.cell.family, point.task.name
        if name != NEEDLE or self.config.needle is None:
            return plans[name].of(family)[name]
        side, fps = frame_side(point.budget.cells, point.cell.checkpoint), self.config.frames.fps
        dataset = f"{point.task.dataset}-{point.budget.frames}x{side}-{fps:g}"
        try:
            self.needles.build(self.data, dataset, self.config.needle, (point.budget.frames, side), fps)
        except UserError as error:
            raise NoRoomError(str(error)) from error
        spec = dataclasses.replace(point.task, dataset=dataset)
        return Plans([spec], self.data, self.run.limit_of(name), self.run.seed).of(family)[name]

    @property
    def data(self) -> Path:
        """Where generated videos lie."""
        return self.run.output / "data"

    def settings(self) -> dict[str, Any]:
        """The head of sweep.json."""
        return {"title": self.config.title, "file": str(self.config.path), "contexts": self.config.contexts,
                "train_context": self.config.train_context, "scaling": self.config.scaling,
                "factor": self.config.factor, "rows": self.config.rows, "empty": self.empty,
                "frames": self.config.frames.model_dump(),
                "limit": self.run.limit_words,
                "temperature": self.run.temperature,
                "needle": dataclasses.asdict(self.config.needle) if self.config.needle else None}  # fmt: skip

    def write(self) -> None:
        """Write sweep.json."""
        points = [*self.earlier, *self.points_done]
        content = {"format": FORMAT, "command": list(self.run.command), **self.settings(), "points": points}
        write_json(self.run.output / SWEEP, sealed(content, SWEEP, {}))


def run_of(sweep: Sweep) -> RunConfig:
    """What all points' runs share, with the variants of the file where the command names none."""
    return dataclasses.replace(sweep.run, variants=sweep.run.variants or sweep.config.variants)


def plans_of(sweep: Sweep) -> dict[str, Plans]:
    """The questions of every task that is not generated for each point, by name."""
    return {spec.name: Plans([spec], sweep.run.data_root, sweep.run.limit_of(spec.name), sweep.run.seed)
            for spec in sweep.tasks if spec.name != NEEDLE}  # fmt: skip


def empty_rows(rows: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    """The rows that a sweep's file names and no checkpoint fills. On a small model a variant has another section."""
    names, prints = {cell.variant.name for cell in cells}, {cell.variant.fingerprint for cell in cells}
    return [name for name in rows if name not in names and load_variant(name).fingerprint not in prints]


class NoRoomError(Exception):
    """A video of the budget's length cannot hold what the task needs; one sentence."""


def reached_positions(folder: Path, task: str) -> float | None:
    """How far the positions of a point's prompts really went, counted from one; None when no prompt was answered."""
    path = folder / "samples" / f"{task}.jsonl"
    with path.open(encoding="utf-8") as lines:
        furthest = [row["positions"]["max_position"] for row in map(json.loads, lines) if row.get("positions")]
    return float(max(furthest)) + 1 if furthest else None


def memory_cause(folder: Path) -> str | None:
    """The first cause in a cell's failures.jsonl that is about memory."""
    return next((str(failure["cause"]) for failure in read_failures(folder) if says_memory(failure["cause"])), None)


def earlier_points(output: Path, settings: Mapping[str, Any], config: SweepConfig, cells: Sequence[Cell],
                   tasks: Collection[str]) -> list[Mapping[str, Any]]:
    """The points in a folder that this sweep leaves as they are. UserError where its own cannot stand beside them."""
    path = output / SWEEP
    if not path.exists():
        return []
    try:
        record = read_record(path, SweepRecord).raw
    except UserError as error:
        say(f"what other commands measured is not kept in {SWEEP}, start them again: {error}", file=sys.stderr)
        return []
    kept = [point for point in record["points"] if not any(_measures(cell, config, tasks, point) for cell in cells)]
    for point in kept:
        refuse_other(output, point, cells)
    differing = [name for name in SETTINGS if plain(record.get(name)) != plain(settings[name])]
    if kept and differing:
        words = ", ".join(f"{name} is {settings[name]}, was {record.get(name)}" for name in differing)
        raise UserError(f"{output} holds {len(kept)} points of a sweep with other settings ({words}): choose another "
                        "--output.")  # fmt: skip
    return kept


def _measures(cell: Cell, config: SweepConfig, tasks: Collection[str], point: Mapping[str, Any]) -> bool:
    """Whether a point is one of this sweep's under a checkpoint and variant."""
    rule = config.factor if isinstance(config.factor, str) else f"x{config.factor:g}"
    scaled = None if point["scaling"] == "none" else point.get("factor_rule", "reach")  # the only one that there was
    return (
        point.get("checkpoint") == str(cell.checkpoint.path)
        and point["variant"] == cell.variant.name
        and point["context"] in config.contexts
        and point["scaling"] in config.scaling
        and point["task"] in tasks
        and scaled in (None, rule)
    )


def refuse_other(output: Path, point: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """UserError where another checkpoint's point lies in the place of one of this sweep's."""
    name = PurePosixPath(str(point.get("folder") or "")).name
    for cell in cells:
        taken = name == cell.label or name.startswith(f"{cell.label}--")
        if taken and point.get("checkpoint") != str(cell.checkpoint.path):
            raise UserError(f"{output} holds points of {point.get('checkpoint')} as {name}, where those of "
                            f"{cell.checkpoint.path} would go: choose another --output, or give this checkpoint a "
                            "label (--models FILE).")  # fmt: skip

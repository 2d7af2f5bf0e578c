"""A task's data set made from VLMEvalKit's LMUData: its recipe, the tasks' Jinja, and the place of what is made."""

from __future__ import annotations

from pathlib import Path

from mmrope_eval.data.cache import tables_home
from mmrope_eval.data.lmudata import absence, as_hub_folder, find_table
from mmrope_eval.data.recipe import Recipe, read_recipe
from mmrope_eval.errors import UserError
from mmrope_eval.task.registry import TaskSpec
from mmrope_eval.task.template import evaluate


def task_recipe(spec: TaskSpec) -> Recipe | None:
    """How the task's rows are made from VLMEvalKit's table; None for a benchmark of which it has none."""
    return None if spec.lmudata is None else read_recipe(spec.lmudata, spec.path)


def task_table(spec: TaskSpec, root: Path) -> Path | None:
    """The task's table, where `root` is an LMUData folder that has it. UserError for two tables of one name."""
    recipe = task_recipe(spec)
    return None if recipe is None else find_table(root, recipe)


def why_no_table(spec: TaskSpec, root: Path) -> str:
    """One sentence on why the task has no rows from `root`."""
    recipe = task_recipe(spec)
    return f"VLMEvalKit has no table of {spec.column}." if recipe is None else absence(root, recipe)


def hub_folder(spec: TaskSpec, root: Path) -> Path:
    """The task's data set in the hub's layout, made from its table below `root` (kept in the cache). It has the tables
    only: pictures are in them, videos stay where they are. UserError when there is no such table or it cannot be
    read."""
    recipe = task_recipe(spec)
    if recipe is None:
        raise UserError(f"Task {spec.name}: {why_no_table(spec, root)}")
    configs = (spec.subsets if recipe.config else ()) or (spec.subset or "default",)
    return as_hub_folder(recipe, root, tables_home(), evaluate, split=spec.split, configs=tuple(configs))

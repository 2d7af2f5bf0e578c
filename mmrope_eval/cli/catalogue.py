"""`mmrope-eval list` and `mmrope-eval show`: what can be evaluated, and what each name means exactly."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME
from mmrope_eval.run.keys import RunKeys
from mmrope_eval.util.console import say
from mmrope_eval.util.keys import TASKS_DIR, Keys, Place, Places, Positive, argument, field_of, option, refuse_unread
from mmrope_eval.words import nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mmrope_eval.rope import Variant
    from mmrope_eval.task.listing import Asker
    from mmrope_eval.task.registry import Registry, Suite, TaskSpec


class ListOptions(Keys):
    """What `list` is asked."""

    kind: Literal["variants", "tasks", "suites"] | None = argument(
        "default: all three", None, metavar="KIND", nargs="?")
    as_json: bool = option("print one JSON object", False, name="json")
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    data_root: Place | None = option("say which tasks' data this local mirror holds", metavar="DIR")


LISTS: Final[Mapping[str, Collection[str]]] = {
    "variants": (), "tasks": ("tasks_dir", "data_root"), "suites": ("tasks_dir",), "all names": ("tasks_dir",),
    "all as --json": ("tasks_dir", "data_root"),
}
"""What `list` prints, and the options that it does not read for every list."""


def list_names(args: ListOptions) -> int:
    """Print variants, tasks and suites, one a line, or only the kind asked for."""
    refuse_unread(args, LISTS, args.kind or ("all as --json" if args.as_json else "all names"))
    from mmrope_eval.rope import load_variant, variant_names
    from mmrope_eval.task.registry import open_registry

    registry = open_registry(folders=args.tasks_dir)
    if args.as_json:
        say(json.dumps(names(registry, args.kind, args.data_root), ensure_ascii=False, indent=1))
        return 0
    if args.kind == "tasks":
        from mmrope_eval.task.listing import task_table

        say(task_table(registry, args.data_root))
        return 0
    kinds = {
        "variants": [(name, load_variant(name).summary) for name in variant_names()],
        "tasks": [(task.name, f"{task.column}; {task.metrics[0]}, {task.dataset}") for task in registry.tasks.values()],
        "suites": [(suite.name, f"{suite.title} ({len(registry.select(suite.tasks))})")
                   for suite in registry.suites.values()],
    }
    for kind, rows in kinds.items():
        if args.kind in (None, kind):
            say(f"{kind}:")
            width = max(len(name) for name, _ in rows)
            for name, text in rows:
                say(f"  {name:<{width}}  {text}".rstrip())
    return 0


def names(registry: Registry, kind: str | None, data_root: Path | None) -> dict[str, list[dict[str, Any]]]:
    """What `list` prints, of one kind or of all, as plain values."""
    from mmrope_eval.rope import load_variant, variant_names
    from mmrope_eval.task.listing import task_facts

    makers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "variants": lambda: [{"name": name, "summary": load_variant(name).summary} for name in variant_names()],
        "tasks": lambda: task_facts(registry, data_root),
        "suites": lambda: [
            {"name": suite.name, "title": suite.title, "tasks": list(suite.tasks)} for suite in registry.suites.values()
        ],
    }
    return {name: make() for name, make in makers.items() if kind in (None, name)}


class ShowOptions(Keys):
    """What `show` is asked."""

    name: str = argument("a variant, task or suite, or the path of its YAML file", metavar="NAME")
    n: Positive | None = option("also show a task's first N samples as they are asked (default: none, with --model 1)")
    model: str | None = option(
        "show a task's samples as this checkpoint is asked them: its wording, coordinates and media limits, and the "
        "whole prompt as its chat template writes it", metavar="CKPT")
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    set: dict[str, Any] = field_of(RunKeys, "set", "override one parameter of the variant; may be repeated")
    prompts: str | None = field_of(
        RunKeys, "prompts", "family whose wording the samples show, and without --model whose coordinates (default: "
        f"--model's, else {DEFAULT_FAMILY_NAME})")
    data_root: Place | None = option("local mirror to read samples from", metavar="DIR")


SHOWN: Final[Mapping[str, Collection[str]]] = {
    "a variant": ("set",), "a suite": ("tasks_dir",), "a task": ("tasks_dir",),
    "samples of a task (--n, --model)": ("tasks_dir", "n", "model", "prompts", "data_root"),
}
"""What `show` prints, and the options that it does not read for everything."""


def show(args: ShowOptions) -> int:
    """Print one variant, task or suite in full."""
    from mmrope_eval.rope import load_variant, variant_name, variant_names
    from mmrope_eval.task.file import is_task_file
    from mmrope_eval.task.registry import open_registry

    variant, suite, task, samples = SHOWN
    task_files = [args.name] if is_task_file(Path(args.name)) else []
    registry = open_registry(task_files, args.tasks_dir)
    tasks = {**registry.tasks, **{name: registry.select(task_files)[0] for name in task_files}}
    if args.name in tasks:
        asked = args.n is not None or args.model is not None
        refuse_unread(args, SHOWN, samples if asked else task)
        lines = task_lines(tasks[args.name])
        if asked:
            from mmrope_eval.task.listing import sample_lines

            asking = sample_lines(tasks[args.name], asker(args, registry), args.n or 1, args.data_root)
            lines = itertools.chain(lines, asking)
    elif args.name in registry.suites:
        refuse_unread(args, SHOWN, suite)
        lines = suite_lines(registry.suites[args.name], registry)
    elif args.set or args.name.endswith((".yaml", ".yml")) or variant_name(args.name):
        refuse_unread(args, SHOWN, variant)
        lines = variant_lines(load_variant(args.name, **args.set))
    else:
        raise UserError(unknown_name(args.name, [*variant_names(), *tasks, *registry.suites]))
    say("\n".join(lines))
    return 0


def asker(args: ShowOptions, registry: Registry) -> Asker:
    """Who is shown to be asked: the checkpoint of --model as a run would ask it, or a published one of a family."""
    from mmrope_eval.task.listing import Asker, published

    if args.model is None:
        return published(registry.family(args.prompts or DEFAULT_FAMILY_NAME))
    from mmrope_eval.media.policy import checkpoint_policy
    from mmrope_eval.models.checkpoint import read_checkpoint
    from mmrope_eval.models.lora_adapter import is_adapter
    from mmrope_eval.models.naming import one_model
    from mmrope_eval.models.template import written_request
    from mmrope_eval.run.cells import cell_family
    from mmrope_eval.run.config import RunConfig

    choice = one_model(args.model)
    checkpoint = read_checkpoint(choice.path, read_weights=is_adapter(choice.path))  # an adapter is merged first
    config = RunConfig((choice.named,), (args.name,), Path(), prompts=args.prompts)
    family = cell_family(config, choice, checkpoint, registry)
    policy, _ = checkpoint_policy(checkpoint, {})
    write = functools.partial(written_request, checkpoint.template, checkpoint.vocabulary.special)
    return Asker(family, checkpoint.geometry, policy, write)


def unknown_name(name: str, names: Iterable[str]) -> str:
    """One sentence on a name that is neither variant, task nor suite."""
    close = nearest(name, names, 0.6)
    hint = f"did you mean '{close}'?" if close else "'mmrope-eval list' prints all names."
    return f"there is no variant, task or suite '{name}'; {hint}"


def variant_lines(variant: Variant) -> Iterator[str]:
    """A variant's definition, its frequency allocation from fast to slow, and its positions on a small layout."""
    yield f"{variant.name}: {variant.summary}"
    if variant.source:
        yield f"source: {variant.source}"
    yield f"fingerprint: {variant.fingerprint}"
    for section in ("position", "frequency", "scaling"):
        yield f"\n{section}"
        yield from parameter_lines(getattr(variant, section))
    yield "\n* differs from the default of its kind\n"
    yield from allocation_lines(variant)
    yield ""
    yield from position_lines(variant)


def parameter_lines(part: BaseModel) -> Iterator[str]:
    """Parameters that one section reads; `*` marks what differs from the default."""
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        yield f"  {' ' if value == field.default else '*'} {name}: {value}"


def allocation_lines(variant: Variant) -> Iterator[str]:
    """One letter per rotary pair and distinct KV head: the axis that turns it, `-` for none."""
    from mmrope_eval.rope.geometry import DEFAULT_GEOMETRY, fit_heads

    geometry = fit_heads(variant, DEFAULT_GEOMETRY)
    table = geometry.table(variant)
    yield f"axis of each rotary pair, fast to slow (head_dim {geometry.head_dim}, {geometry.num_kv_heads} KV heads)"
    first, row_of_head = table.distinct_rows
    for row, representative in enumerate(first):
        heads = [str(head) for head in range(geometry.num_kv_heads) if row_of_head[head] == row]
        named = "every head" if len(first) == 1 else f"KV head{'s'[: len(heads) > 1]} {','.join(heads)}"
        yield f"  {''.join('thw-'[axis] for axis in table.axis[representative])}  {named}"


def position_lines(variant: Variant) -> Iterator[str]:
    """Coordinates of three text tokens, a 2x2x3 vision block and three text tokens."""
    from mmrope_eval.rope import Text, Vision

    positions, delta = variant.positions([Text(3), Vision(t=2, h=2, w=3), Text(3)])
    cells = [[f"{value:g}" if float(value).is_integer() else f"{value:.2f}" for value in row] for row in positions]
    width = max(len(cell) for row in cells for cell in row)
    yield "positions of 3 text tokens, 2 frames of 2x3 merged cells, 3 text tokens"
    for axis, row in zip("thw", cells, strict=True):
        vision = " ".join(cell.rjust(width) for cell in row[3:15])
        before, after = (" ".join(cell.rjust(width) for cell in part) for part in (row[:3], row[15:]))
        yield f"  {axis}  {before} | {vision} | {after}"
    yield f"  next generated token: {positions.shape[1] + delta:g}"


def task_lines(task: TaskSpec) -> Iterator[str]:
    """Every field of a task as its file declares it."""
    for field in dataclasses.fields(task):
        if not field.repr:  # the file as a whole
            continue
        yield f"{field.name}: {getattr(task, field.name)}"


def suite_lines(suite: Suite, registry: Registry) -> Iterator[str]:
    """A suite's title and its tasks."""
    yield f"{suite.name}: {suite.title}"
    yield from (f"  {task.name}  {task.column}" for task in registry.select(suite.tasks))

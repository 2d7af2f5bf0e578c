"""Values that an option gives to all tasks of a run, or to some: `512,mmmu:4096`. One grammar for all such options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from mmrope_eval.data.choice_of_rows import Limit, read_limit
from mmrope_eval.errors import UserError

if TYPE_CHECKING:
    from mmrope_eval.task.registry import Registry
    from mmrope_eval.task.spec import TaskSpec

T = TypeVar("T")
FIRST: Final = "first"
"""Of `first:N`, which is a limit and not a task's."""
SHOWN: Final = 8
"""Tasks that a message names."""


def split_word(word: str) -> tuple[str | None, str]:
    """`VALUE` as (None, VALUE), `TASK:VALUE` as (TASK, VALUE); `first:N` is a value. An empty task is ""."""
    name, colon, value = word.rpartition(":")
    if name.strip() == FIRST:
        return None, word.strip()
    if name.endswith(f":{FIRST}"):
        name, value = name.removesuffix(f":{FIRST}"), f"{FIRST}:{value}"
    return (name.strip() if colon else None), value.strip()


def read_limits(words: Iterable[str]) -> tuple[Limit | None, tuple[tuple[str, Limit], ...]]:
    """The words of `--limit`: the limit of all tasks, of two the later, and those of some in their order. UserError for
    a word that is no limit."""
    everywhere: Limit | None = None
    some: list[tuple[str, Limit]] = []
    for word in words:
        name, value = split_word(word)
        limit = read_limit(value, word)
        if name == "" or limit is None:
            raise UserError(f"--limit {word}: name a task before the colon, as in chartqa:50")
        if name is None:
            everywhere = limit
        else:
            some.append((name, limit))
    return everywhere, tuple(some)


def values_by_task(option: str, given: Iterable[tuple[str | None, T]], specs: Sequence[TaskSpec], registry: Registry,
                   shown: Callable[[T], str] = str) -> dict[str, T]:
    """What is given to each task of a run: its own before that for all (None); of two for one task the later counts. A
    name is a task, a suite or a glob. UserError for one that is no task of the run."""
    pairs = list(given)
    values = {spec.name: value for name, value in pairs if name is None for spec in specs}
    for name, value in pairs:
        if name is None:
            continue
        meant = {spec.name for spec in registry.select([name])} & {spec.name for spec in specs}
        if not meant:
            names = ", ".join(spec.name for spec in specs[:SHOWN])
            raise UserError(f"{option} {name}:{shown(value)}: '{name}' is none of the tasks of this run ({names}).")
        values |= dict.fromkeys(meant, value)
    return values

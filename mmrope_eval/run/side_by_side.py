"""Another harness' own number beside ours, from the same responses: nothing is generated again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mmrope_eval.lmms.stock import is_picture, stock_score
from mmrope_eval.messages import Response
from mmrope_eval.record.schema import FORMAT
from mmrope_eval.record.write import write_json, write_lines
from mmrope_eval.run.results import Scored
from mmrope_eval.scorer.second import SecondError, SecondItem, SecondResult
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.spec import Counterpart, TaskSpec
from mmrope_eval.vlmevalkit.scores import kit_score, require

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Second:
    """A harness whose number can stand beside ours."""

    key: str
    """Its name for --scorer, in files' names and in their fields."""
    title: str
    counterpart: Callable[[TaskSpec], Counterpart | None]
    """Its task for one of ours, as the task's file declares it (`metadata: KEY`)."""
    score: Callable[[str, Sequence[SecondItem]], SecondResult]
    """The number of one of its tasks. SecondError when there is none."""
    require: Callable[[], None] = lambda: None
    """UserError when it is not installed."""


SECONDS: Final[Mapping[str, Second]] = {
    "stock": Second("stock", "lmms-eval", lambda spec: spec.stock, stock_score),
    "vlmevalkit": Second("vlmevalkit", "VLMEvalKit", lambda spec: spec.vlmevalkit, kit_score, require),
}
"""By the value of --scorer."""


def second_of(scorer: str) -> Second | None:
    """The harness that --scorer asks for beside ours, or None. UserError when it is not installed."""
    found = SECONDS.get(scorer)
    if found is not None:
        found.require()
    return found


@dataclass(frozen=True)
class Comparison:
    """One task: our main metric and the other harness', both on a 0-100 scale, and where they differ."""

    second: Second
    task: str
    metric: str
    ours: float | None
    theirs: SecondResult | None
    problem: str | None
    """Why there is no other number."""
    lines: Sequence[Mapping[str, Any]]
    """One a sample: both values and whether they agree; empty where there is no other number."""
    declared: bool
    """Whether the task's file names a counterpart."""

    @property
    def disagreements(self) -> int:
        """Samples that the two value differently."""
        return sum(line["agree"] is False for line in self.lines)

    @property
    def compared(self) -> int:
        """Samples that both were asked about."""
        return sum(line["agree"] is not None for line in self.lines)

    @property
    def broken(self) -> bool:
        """Whether the task has a counterpart in the other harness, but no number came of it."""
        return self.theirs is None and self.declared

    def entry(self) -> dict[str, Any]:
        """The task's entry in scores_KEY.json."""
        theirs, key = self.theirs, self.second.key
        return {
            "metric": self.metric,
            "ours": self.ours,
            key: round(theirs.value, 9) if theirs else None,
            f"{key}_task": theirs.task if theirs else None,
            f"{key}_metric": theirs.metric if theirs else None,
            "note": theirs.note if theirs else self.problem,
            "n": len(self.lines),
            "n_disagreeing": self.disagreements,
            **(theirs.facts if theirs else {}),
        }


def light(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its pictures' content, which no scoring looks at."""
    return {name: {"width": 0, "height": 0} if is_picture(value) else value for name, value in doc.items()}


def second_item(
    other: Counterpart | None, doc: Mapping[str, Any], response: str | None, target: Mapping[str, Any] | None
) -> SecondItem:
    """What another harness' scoring takes; of a family of tasks also which of them, by the field that is declared."""
    field = other.group_by if other is not None else None
    group = str(doc[field]) if field is not None and field in doc else None
    size = (target or {}).get("source_size")
    picture = {"image": {"width": size[0], "height": size[1]}} if size is not None else {}
    return SecondItem({**light(doc), **picture}, response or "", group, target, response is None)


def second_number(second: Second, spec: TaskSpec, items: Sequence[SecondItem]) -> SecondResult:
    """The other harness' number for responses to a task. SecondError where its file names no counterpart, or that
    fails."""
    other = second.counterpart(spec)
    if other is None:
        raise SecondError(f"{second.title} has no task for '{spec.name}': its file names none (`metadata: "
                          f"{second.key}`).")  # fmt: skip
    found = second.score(other.task, items)
    return replace(found, note="; ".join(filter(None, (found.note, other.note))) or None)


def compare_task(
    second: Second, plan: TaskPlan, scored: Sequence[Scored], entry: Mapping[str, Any]
) -> Comparison:
    """Score a task's responses as the other harness does. A failed sample is wrong for both.

    A sample whose row cannot be read has no target and nothing to be compared with: it is left out of their number.
    """
    task, metric, other = plan.spec.name, plan.spec.metrics[0], second.counterpart(plan.spec)
    ours = entry["metrics"][metric]["value"]
    rows = plan.docs.get().rows
    usable = [one for one in scored if one.target is not None]
    items = [second_item(other, rows[one.sample.index], text(one), one.target) for one in usable]
    try:
        theirs = second_number(second, plan.spec, items)
    except SecondError as error:
        return Comparison(second, task, metric, ours, None, str(error), (), other is not None)
    lines = [line(second, one, metric, share) for one, share in zip(usable, theirs.samples, strict=True)]
    return Comparison(second, task, metric, ours, theirs, None, lines, True)


def text(one: Scored) -> str | None:
    """A sample's response; None when it failed."""
    return one.result.text if isinstance(one.result, Response) else None


def line(second: Second, one: Scored, metric: str, share: float | None) -> dict[str, Any]:
    """The line of samples_KEY/<task>.jsonl."""
    ours = one.score.values[metric]
    return {
        "id": one.sample.id,
        "agree": agree(ours, share),
        "ours": ours,
        second.key: share,
        "prediction": text(one),
        "parsed": one.score.parsed,
        "target": one.target,
    }


def agree(ours: float | None, theirs: float | None) -> bool | None:
    """Whether two values of one sample are the same; None where the other harness was not asked about it."""
    if theirs is None:
        return None
    return ours is not None and abs(ours - theirs) <= TOLERANCE


def write(folder: Path, second: Second, comparisons: Iterable[Comparison]) -> None:
    """Write samples_KEY/<task>.jsonl and scores_KEY.json."""
    entries = {}
    for one in comparisons:
        entries[one.task] = one.entry()
        if one.theirs is not None:
            write_lines(folder / f"samples_{second.key}" / f"{one.task}.jsonl", one.lines)
    write_json(folder / f"scores_{second.key}.json", {"format": FORMAT, "tasks": entries})


def table(second: Second, comparisons: Iterable[Comparison]) -> str:
    """Both numbers, one line a task, then the notes."""
    from tabulate import tabulate

    comparisons = list(comparisons)
    headers = ["task", "metric", "ours", second.title, "its task", "its metric", "samples that differ"]
    body = [[one.task, one.metric, number(one.ours), number(one.theirs.value if one.theirs else None),
             one.theirs.task if one.theirs else "—", one.theirs.metric if one.theirs else "—",
             f"{one.disagreements} of {one.compared}" if one.theirs else "—"] for one in comparisons]
    notes = [f"{one.task}: {note}" for one in comparisons
             if (note := one.problem or (one.theirs.note if one.theirs else None))]
    return "\n".join([tabulate(body, headers, tablefmt="simple", disable_numparse=True), *notes])


def number(value: float | None) -> str:
    """Two decimals, or an em dash for an unknown."""
    return "—" if value is None else f"{value:.2f}"

"""From stored responses to scores. Identical runs write identical scores and samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrope_eval.messages import Failure, Response
from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.record.schema import STDERR_OVER
from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer import score as scoring
from mmrope_eval.scorer.answer_part import whole_turn
from mmrope_eval.scorer.chance import chance_level
from mmrope_eval.task.clusters import cluster_of
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import Family
from mmrope_eval.task.sample import Sample
from mmrope_eval.util.unread import MARK, WARNING, remedy, too_many

TASKS_ACROSS = 10
NAMED = 8


@dataclass(frozen=True, slots=True)
class SampleScore:
    """What a task's numbers are made of, of one sample: all that need be held of the many that a run has."""

    values: Mapping[str, float | None]
    """By metric."""
    target: Mapping[str, Any] | None
    failed: bool
    truncated: bool
    unparsed: bool
    duration: float | None
    """Of its video, in seconds."""
    cluster: str
    """What it stands or falls with."""


@dataclass(frozen=True)
class ScoredSample:
    """One sample with its outcome and its score."""

    sample: Sample
    result: Response | Failure
    target: Mapping[str, Any] | None
    score: scoring.Score
    cluster: str | None = None
    """What it stands or falls with (`clusters.cluster_of`); None: nothing else."""

    def reduced(self) -> SampleScore:
        """What the task's numbers need of it."""
        duration = next((facts.duration for facts in self.result.media if facts.kind == "video"), None)
        return SampleScore(self.score.values, self.target, isinstance(self.result, Failure), self.truncated,
                           self.unparsed, duration, self.cluster or self.sample.id)  # fmt: skip

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut off by the token limit."""
        return isinstance(self.result, Response) and self.result.finish_reason == "length"

    @property
    def unparsed(self) -> bool:
        """Whether there is an answer, but none that the scorer can read."""
        return isinstance(self.result, Response) and self.score.parsed is None

    def row(self) -> dict[str, Any]:
        """The line of samples/<task>.jsonl."""
        result = self.result
        row: dict[str, Any] = {
            "id": self.sample.id,
            "prompt": self.sample.prompt,
            "target": self.target,
            "prediction": result.text if isinstance(result, Response) else None,
            "parsed": self.score.parsed,
            "scores": dict(self.score.values),
            "failure": {"stage": result.stage, "cause": result.cause} if isinstance(result, Failure) else None,
            "truncated": self.truncated,
            "cluster": self.cluster or self.sample.id,
            "media": [dict(vars(facts)) for facts in result.media],
        }
        if isinstance(result, Response):
            row |= {
                "finish_reason": result.finish_reason,
                "prompt_tokens": result.prompt_tokens,
                "generated_tokens": len(result.token_ids),
                "positions": dict(vars(result.positions)) if result.positions else None,
                "thought_open": result.thought_open,
            }
        return row


def scoring_target(sample: Sample, scorer: str, family: Family, result: Response | Failure) -> dict[str, Any] | None:
    """A sample's target with what only the run knows: for boxes, the sizes really used and the declared convention."""
    if sample.target is None:
        return None
    target = dict(sample.target)
    if scorer == "box":
        target["coordinates"] = family.coordinates
        if result.media:
            target |= {"source_size": result.media[0].source_size, "used_size": result.media[0].used_size}
    return target


def scores(plan: TaskPlan, results: Mapping[str, Response | Failure]) -> Iterator[ScoredSample]:
    """Every sample of a task in plan order, one at a time: only what is kept of them takes memory. A failed one is
    wrong. KeyError when an outcome is missing."""
    for sample in plan.samples:
        result = results[sample.id]
        target = scoring_target(sample, plan.spec.scorer, plan.family, result)
        if isinstance(result, Failure) or target is None:
            score = scorers.score_failure(plan.spec.scorer, target)
        else:
            text = whole_turn(result.text, thought_open=result.thought_open)
            score = scorers.SCORERS[plan.spec.scorer](text, target)
        cluster = cluster_of(plan.spec, sample.id, sample.cluster, sample.media)
        yield ScoredSample(sample, result, target, score, cluster)


def summarize(plan: TaskPlan, scored: Sequence[ScoredSample | SampleScore]) -> dict[str, Any]:
    """A task's entry in scores.json; values and standard errors on a 0-100 scale, null where there is none."""
    average = plan.spec.average
    samples = [sample.reduced() if isinstance(sample, ScoredSample) else sample for sample in scored]
    summaries = {
        name: AGGREGATES[average]([Item.of(sample.values[name], sample.target, sample.cluster) for sample in samples])
        for name in plan.spec.metrics
    }
    groups = summaries[plan.spec.metrics[0]].groups
    return {
        "column": plan.spec.column,
        "category": plan.spec.category,
        "main": plan.spec.metrics[0],
        "metrics": {
            name: {"value": percent(summary.value), "stderr": percent(summary.stderr), "n": summary.n}
            for name, summary in summaries.items()
        },
        "average": average,
        "stderr_over": STDERR_OVER,
        "groups": {name: {"value": percent(part.value), "n": part.n} for name, part in groups.items()},
        "absent_groups": [name for name in plan.spec.groups if name not in groups],
        "chance": percent(chance_of(average, samples)),
        "n": len(samples),
        "expected": plan.spec.expected.get("expressions") or plan.spec.expected.get("samples"),
        "n_failed": sum(sample.failed for sample in samples),
        "n_truncated": sum(sample.truncated for sample in samples),
        "n_unparsed": sum(sample.unparsed for sample in samples),
        "task_version": plan.spec.version,
        "scorer": plan.spec.scorer,
        "scorer_version": scoring.VERSION,
        "data_fingerprint": plan.fingerprint(),
        "prompt_hash": plan.prompt_hash(),
        **({} if plan.generation.temperature == plan.spec.generation.temperature
           else {"temperature": plan.generation.temperature}),
    }


def chance_of(average: str, samples: Sequence[SampleScore]) -> float:
    """What guessing is expected to score on these samples; a failed one is wrong for a guesser too."""
    answered = [sample for sample in samples if not sample.failed]
    lost = [None] * (len(samples) - len(answered))
    targets, durations = [sample.target for sample in answered], [sample.duration for sample in answered]
    return chance_level(average, [*targets, *lost], [*durations, *lost])


def percent(value: float) -> float | None:
    """A share as a percentage, rounded so that the order of summation cannot show; None for not-a-number."""
    return None if math.isnan(value) else round(100 * value, 9)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The table on the screen: the main metric of every task for every checkpoint and variant.

    One line a checkpoint and variant, one column a task; with more tasks than fit a screen the other way round. `rows`
    maps a label to the `tasks` of its scores.json. Unknown is an em dash; a star marks failed samples, counted wrong,
    and a dagger too many unread answers.
    """
    from tabulate import tabulate

    names = list(dict.fromkeys(task for tasks in rows.values() for task in tasks))
    first = {name: next(tasks[name] for tasks in rows.values() if name in tasks) for name in names}
    lines = [["", *(f"{first[name]['column']}\n{first[name]['main']}" for name in names)]]
    lines += [[label, *(cell(tasks.get(name)) for name in names)] for label, tasks in rows.items()]
    lines.append(["n", *(str(first[name]["n"]) for name in names)])
    if len(names) > TASKS_ACROSS:
        lines = [[item.replace("\n", ", ") for item in column] for column in zip(*lines, strict=True)]
    headers, *body = lines
    return tabulate(body, headers, tablefmt="simple", colalign=["left"] + ["right"] * (len(headers) - 1),
                    disable_numparse=True)


def cell(entry: Mapping[str, Any] | None) -> str:
    """One number of the table."""
    if entry is None or entry["metrics"][entry["main"]]["value"] is None:
        return "—"
    star = "*" if entry["n_failed"] else ""
    return f"{entry['metrics'][entry['main']]['value']:.2f}{star}{MARK if hardly_read(entry) else ''}"


def hardly_read(entry: Mapping[str, Any]) -> bool:
    """Whether too many of a task's answers are unread for its number to go without a word."""
    return too_many(entry["n_unparsed"], entry["n"] - entry["n_failed"])


def remarks(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader of the table must know: failures, answers cut off, answers nobody could read."""
    lines = []
    for count, text in (("n_failed", "* {n} failed, counted wrong; causes in samples/"),
                        ("n_truncated", "{n} answers cut off at the answer limit"),
                        ("n_unparsed", "{n} answers without anything the scorer can read, counted wrong")):
        counts = {label: sum(t[count] for t in tasks.values()) for label, tasks in rows.items()}
        if any(counts.values()):
            spread = ", ".join(f"{label}: {n}" for label, n in counts.items() if n)
            if len(set(counts.values())) == 1 and len(counts) > 1:
                spread = f"{next(iter(counts.values()))} in every row"
            lines.append(f"{text.format(n=sum(counts.values()))} ({spread})")
    return lines + unread_remarks(rows)


def unread_remarks(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which numbers rest on too many unread answers, with the likely cause: a line for each cause."""
    lines: dict[str, list[str]] = {}
    for label, tasks in rows.items():
        for entry in filter(hardly_read, tasks.values()):
            cause = remedy(entry["n_unparsed"], entry["n_truncated"])
            where = f"{entry['column']} {entry['n_unparsed']} of {entry['n'] - entry['n_failed']}"
            lines.setdefault(cause, []).append(f"{where} ({label})" if len(rows) > 1 else where)
    return [f"{MARK} {WARNING}: {listed(columns)}; {cause}" for cause, columns in lines.items()]


def listed(items: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more

"""Whether the engine answered the demo's questions as the reference does: greedy, the same weights, the same dtype."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from mmrope_eval.data.choice_of_rows import Limit
    from mmrope_eval.messages import Response
    from mmrope_eval.reference import ReferenceModel, Rounding
    from mmrope_eval.task.plan import TaskPlan


@dataclass(frozen=True)
class Difference:
    """One question that the two answered differently."""

    task: str
    id: str
    engine: str | None
    reference: str
    margin: float
    """By how much the reference prefers its own token where the two part, in nats; infinite for a failed sample."""
    same_score: bool
    """By the task's main metric."""


@dataclass(frozen=True)
class Agreement:
    """Of one checkpoint's answers."""

    questions: int
    tokens: int
    """Of the engine's answers, their ends included."""
    same_tokens: int
    """Those that the reference ranks first, given the engine's tokens before them."""
    different: tuple[Difference, ...]
    """Answers that are not equal to the letter."""


def compare(
    checkpoint: Path,
    folder: Path,
    data: Path,
    tasks: Sequence[str],
    *,
    limit: Limit | None,
    dtype: torch.dtype,
    wide_head: bool = False,
    rounding: Rounding = "transformers",
) -> Agreement:
    """A finished cell (`folder`) against the reference, which answers each of its questions anew.

    `dtype`, `wide_head` and `rounding` are `load_reference`'s.
    """
    from mmrope_demo.training.recipe import FAMILY
    from mmrope_eval.media.policy import checkpoint_policy
    from mmrope_eval.models.checkpoint import read_checkpoint
    from mmrope_eval.models.variant_choice import resolve_variant
    from mmrope_eval.reference import load_reference
    from mmrope_eval.task.planner import Plans
    from mmrope_eval.task.registry import Registry

    registry = Registry()
    opened = read_checkpoint(checkpoint)
    policy, _ = checkpoint_policy(opened, {})
    variant = resolve_variant(opened, None).variant
    reference = load_reference(opened.served, variant, dtype=dtype, wide_head=wide_head, rounding=rounding)
    plans = Plans(registry.select(list(tasks)), data, limit, 0).of(registry.family(FAMILY))
    tokens = same = 0
    answers: dict[str, Response] = {}
    rows: list[tuple[str, dict[str, Any], float]] = []
    for task, plan in plans.items():
        given = _rows(folder, task)
        for sample in plan.samples:
            prompt = reference.prepare_request(plan.request(sample), policy)
            answers[sample.id] = ours = reference.generate(prompt, sample.generation)
            theirs = _token_ids(reference, given[sample.id])
            best = reference.score(prompt, theirs).best[-len(theirs) :] if theirs else ()
            tokens += len(theirs)
            same += sum(their_id == best_id for their_id, best_id in zip(theirs, best, strict=True))
            if given[sample.id]["prediction"] != ours.text:
                rows.append((task, given[sample.id], _margin(reference, prompt, ours.token_ids, theirs)))
    return Agreement(len(answers), tokens, same, tuple(_differences(plans, answers, rows)))


def _differences(plans: Mapping[str, TaskPlan], answers: Mapping[str, Response],
                 rows: Iterable[tuple[str, dict[str, Any], float]]) -> Iterator[Difference]:
    from mmrope_eval.run.results import scores

    worth = {scored.sample.id: scored.score.values for plan in plans.values() for scored in scores(plan, answers)}
    for task, row, margin in rows:
        main, id = plans[task].spec.metrics[0], row["id"]
        equal = row["scores"][main] == worth[id][main]
        yield Difference(task, id, row["prediction"], answers[id].text, margin, equal)


def _rows(folder: Path, task: str) -> dict[str, dict[str, Any]]:
    from mmrope_eval.record.files import read_lines, samples_path

    return {row["id"]: row for row in map(json.loads, read_lines(samples_path(folder, task)))}


def _token_ids(reference: ReferenceModel, row: Mapping[str, Any]) -> tuple[int, ...]:
    """Of the engine's answer, and the token that ended it; none of a failed sample."""
    if row["prediction"] is None:
        return ()
    ended = row["finish_reason"] == "stop"
    return (*reference.processor.tokenizer(row["prediction"]).input_ids, *reference.eos_ids[: int(ended)])


def _margin(reference: ReferenceModel, prompt: Any, ours: Sequence[int], theirs: Sequence[int]) -> float:
    """The reference's log-probability of its own token less that of the engine's, at the first that differs."""
    at = next((i for i, (our_id, their_id) in enumerate(zip(ours, theirs, strict=False)) if our_id != their_id), None)
    if at is None:
        return float("inf")
    logits = reference.forward(reference.collate([prompt], [ours[:at]]))[0, -1].detach().float().log_softmax(-1)
    return float(logits[ours[at]] - logits[theirs[at]])

"""Whether the engine answered the demo's questions as the reference does: word for word, greedy, the same weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from mmrope_eval.reference import ReferenceModel


@dataclass(frozen=True)
class Difference:
    """One question that the two answered differently."""

    task: str
    id: str
    engine: str | None
    reference: str
    margin: float
    """By how much the reference prefers its own token where the two part, in nats; infinite for a failed sample."""


def differences(
    checkpoint: Path, folder: Path, data: Path, tasks: Sequence[str], *, limit: int | None, dtype: torch.dtype
) -> tuple[int, list[Difference]]:
    """How many questions of a finished cell (`folder`) were compared, and those with different answers."""
    from mmrope_eval.demo.training.recipe import FAMILY, media_policy
    from mmrope_eval.engine.checkpoint import read_checkpoint, resolve_variant
    from mmrope_eval.reference import load_reference
    from mmrope_eval.suite.plans import Plans
    from mmrope_eval.suite.registry import Registry

    registry = Registry()
    variant, _ = resolve_variant(read_checkpoint(checkpoint), None)
    reference = load_reference(checkpoint, variant, dtype=dtype)
    plans = Plans(registry.select(list(tasks)), data, limit, 0).of(registry.family(FAMILY))
    compared, found = 0, []
    for task, plan in plans.items():
        lines = (folder / "samples" / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
        given = {row["id"]: row["prediction"] for row in map(json.loads, lines)}
        for sample in plan.samples:
            prompt = reference.prepare_request(plan.request(sample), media_policy())
            answer, theirs = reference.generate(prompt, sample.generation), given[sample.id]
            compared += 1
            if answer.text != theirs:
                lead = margin(reference, prompt, answer.token_ids, theirs)
                found.append(Difference(task, sample.id, theirs, answer.text, lead))
    return compared, found


def margin(reference: ReferenceModel, prompt: Any, ours: Sequence[int], theirs: str | None) -> float:
    """The reference's log-probability of its own token less that of the engine's, at the first that differs."""
    if theirs is None:
        return float("inf")
    tokenizer = reference.processor.tokenizer
    other = [*tokenizer(theirs).input_ids, reference.model.generation_config.eos_token_id]
    at = next(i for i, (one, two) in enumerate(zip(ours, other, strict=False)) if one != two)
    logits = reference.forward(reference.collate([prompt], [ours[:at]]))[0, -1].detach().float().log_softmax(-1)
    return float(logits[ours[at]] - logits[other[at]])

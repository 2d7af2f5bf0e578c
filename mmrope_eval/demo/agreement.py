"""Whether the engine answered the demo's questions as the reference does: word for word, greedy, the same weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Difference:
    """One question that the two answered differently."""

    task: str
    id: str
    engine: str | None
    reference: str


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
            text = reference.generate(prompt, sample.generation).text
            compared += 1
            if text != given[sample.id]:
                found.append(Difference(task, sample.id, given[sample.id], text))
    return compared, found

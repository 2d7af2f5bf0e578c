"""What a row is held to: how it is asked, in the terms of a protocol (see mmrope_eval.record.protocols)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmrope_eval.record import protocols
from mmrope_eval.record.protocols import Asked, Time

if TYPE_CHECKING:
    from mmrope_eval.messages import Generation
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant
    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.run.execute import Cell
    from mmrope_eval.task.registry import TaskSpec


def time_of(checkpoint: Checkpoint, variant: Variant) -> Time:
    """What the positions of a video's frames follow. The clock, where the family measures time, the variant does not
    say `time: index`, and its positions depend on the step from frame to frame at all."""
    from mmrope_eval.rope import Text, Vision

    if not checkpoint.tokens_per_second or getattr(variant.position, "time", None) == "index":
        return "index"
    near, far = (variant.positions((Text(1), Vision(3, 2, 2, step), Text(1)))[0] for step in (1.0, 2.0))
    return "index" if np.array_equal(near, far) else "seconds"


def asked(cell: Cell, generations: Mapping[str, Generation]) -> Asked:
    """How a row is asked; `generations` by task, as they are."""
    return Asked(policy=cell.policy.record(), side=cell.checkpoint.geometry.factor, time=cell.time,
                 prompts=cell.family.prompts, system=cell.family.system,
                 decoding=protocols.decoding_of([generation.temperature for generation in generations.values()]),
                 max_tokens={task: generation.max_tokens for task, generation in generations.items()})


def remark(config: RunConfig, cell: Cell, specs: Sequence[TaskSpec], limits: Mapping[str, int]) -> str | None:
    """The protocol of a row and what departs from it, before it is asked; None where none was named. `limits` are the
    row's answer limits that are not the tasks' own."""
    if config.protocol is None:
        return None
    generations = {spec.name: dataclasses.replace(
        spec.generation, max_tokens=limits.get(spec.name, spec.generation.max_tokens),
        temperature=spec.generation.temperature if config.temperature is None else config.temperature,
    ) for spec in specs}  # fmt: skip
    departed = protocols.departures(config.protocol, asked(cell, generations), list(generations))
    return f"protocol: {protocols.label(config.protocol.name, departed)}"

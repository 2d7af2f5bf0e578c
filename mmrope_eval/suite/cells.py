"""The rows of a result: which checkpoints under which variants, how each is asked, what determines its responses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.errors import UserError
from mmrope_eval.suite.execute import Cell
from mmrope_eval.suite.manifest import versions
from mmrope_eval.suite.options import RunConfig
from mmrope_eval.suite.registry import Family, Registry, check_coordinates
from mmrope_eval.suite.store import SCHEMA

if TYPE_CHECKING:
    from mmrope_eval.engine.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant


def make_cells(config: RunConfig, registry: Registry) -> list[Cell]:
    """Checkpoints times variants, checkpoint by checkpoint, each with a label and a folder of its own."""
    from mmrope_eval.engine.checkpoint import read_checkpoint, resolve_variant

    cells = []
    for model in config.models:
        checkpoint = read_checkpoint(model, trust_remote_code=config.options.trust_remote_code)
        family = cell_family(config, checkpoint, registry)
        for wanted in config.variants or (None,):
            variant, how = resolve_variant(checkpoint, wanted, dict(config.overrides))
            context = response_context(config, checkpoint, variant)
            cells.append(Cell("", checkpoint, variant, how, family, config.output, context))
    labels = make_labels([(Path(cell.checkpoint.path).name, cell.variant.name) for cell in cells])
    if len(cells) == 1:
        return [dataclasses.replace(cells[0], label=labels[0])]
    return [dataclasses.replace(cell, label=label, folder=config.output / label)
            for cell, label in zip(cells, labels, strict=True)]


def make_labels(names: Sequence[tuple[str, str]]) -> list[str]:
    """A short, unique name for each (checkpoint, variant): the part in which they differ."""
    checkpoints, variants = ({pair[i] for pair in names} for i in (0, 1))
    if len(checkpoints) == 1:
        wanted = [variant for _, variant in names]
    elif len(variants) == 1:
        wanted = [checkpoint for checkpoint, _ in names]
    else:
        wanted = [f"{checkpoint}--{variant}" for checkpoint, variant in names]
    seen: dict[str, int] = {}
    labels = []
    for label in wanted:
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label}-{seen[label]}")
    return labels


def cell_family(config: RunConfig, checkpoint: Checkpoint, registry: Registry) -> Family:
    """How a checkpoint is asked and read: its family's file, config.json's `mm_coordinates`, then the command line."""
    family = registry.family(checkpoint.family)
    declared = checkpoint_coordinates(checkpoint)
    if declared is not None:
        family = dataclasses.replace(family, coordinates=check_coordinates(declared, f"{checkpoint.path}/config.json"))
    if config.coordinates is not None:
        family = dataclasses.replace(family, coordinates=check_coordinates(config.coordinates, "--coordinates"))
    if config.prompts is not None:
        known = {*registry.families, *(name for spec in registry.tasks.values() for name in spec.prompts)}
        if config.prompts not in known:
            raise UserError(f"--prompts {config.prompts}: no task has such a wording; choose one of "
                            f"{', '.join(sorted(known))}.")
        family = dataclasses.replace(family, prompts=config.prompts)
    return family


def checkpoint_coordinates(checkpoint: Checkpoint) -> str | None:
    """The checkpoint's own declaration (`mm_coordinates` in its config.json), or None."""
    try:
        content = json.loads((Path(checkpoint.path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{checkpoint.path}/config.json cannot be read ({error}).") from error
    found = content.get("mm_coordinates")
    return None if found is None else str(found)


def response_context(config: RunConfig, checkpoint: Checkpoint, variant: Variant) -> dict[str, Any]:
    """What determines a response besides its question; part of every response's identity."""
    return {
        "store": SCHEMA,
        "weights": checkpoint.fingerprint,
        "variant": variant.fingerprint,
        "policy": dataclasses.asdict(config.options.policy),
        "dtype": config.options.dtype,
        "head_dtype": config.options.head_dtype,
        "max_model_len": config.options.max_model_len,
        "versions": versions(),
    }

"""Trained checkpoints as files: the folder that the demo evaluates, and the manifest that says how they were made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrope_demo.training import model
from mmrope_demo.training.recipe import CONTEXT, Recipe
from mmrope_demo.training.stages import School
from mmrope_eval.record.files import write_json, write_lines
from mmrope_eval.reference import ReferenceModel

MANIFEST = "manifest.json"
ABOUT = "training.json"
LOG = "training.jsonl"


def folder_name(variant: str, seed: int) -> str:
    """The folder of a checkpoint: the variant's name, with the seed where it is not the first."""
    return variant if seed == 0 else f"{variant}-seed{seed}"


def publish(
    school: School, reference: ReferenceModel, log: Sequence[dict[str, Any]], variant: str, seed: int, out: Path
) -> Path:
    """Write one trained checkpoint with its log into `out`, and `out`'s manifest anew; the checkpoint's folder."""
    folder = out / folder_name(variant, seed)
    shutil.rmtree(folder, ignore_errors=True)
    model.write_shell(folder, school.recipe.shape, school.words, variant)
    model.save_checkpoint(reference, folder)
    write_lines(folder / LOG, log)
    about = {
        "variant": variant,
        "variant_fingerprint": model.demo_variant(variant).fingerprint,
        "seed": seed,
        "steps": school.recipe.telling.steps,
        "training_loss": log[-1]["loss"],
        "training_seconds": log[-1]["seconds"],
        "products": str(model.fast_dtype(reference.model.device)).removeprefix("torch."),
        "lessons": school.key,
        "recipe": school.recipe.fingerprint,
        "parameters": sum(parameter.numel() for parameter in reference.model.parameters()),
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    write_json(folder / ABOUT, about)
    model.write_start(out / model.START, school.start, school.start_key)
    for stage, lines in school.logs.items():
        write_lines(out / f"{stage}.jsonl", lines)
    write_manifest(school.recipe, out)
    return folder


def write_manifest(recipe: Recipe, out: Path) -> None:
    """One file on all checkpoints below `out`, and the recipe that they share."""
    made = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob(f"*/{ABOUT}"))}
    write_json(out / MANIFEST, {"context": CONTEXT, "recipe": recipe.to_dict(), "checkpoints": made})

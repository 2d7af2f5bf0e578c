"""Writes the folders of finished runs, without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.rope import Variant, VariantError, load_variant
from mmrope_eval.run.results import percent
from mmrope_eval.task.registry import Registry

COLUMNS = {
    spec.name: (spec.column, spec.category, spec.metrics[0], spec.chance,
                spec.expected.get("expressions") or spec.expected["samples"])
    for spec in Registry().tasks.values()
    if "expressions" in spec.expected or "samples" in spec.expected
}
"""task -> the paper's column, category, main metric, chance, samples of the whole benchmark"""


def sample(task: str, number: int, score: float, **changes: Any) -> dict[str, Any]:
    """One line of samples/<task>.jsonl; two neighbours share a picture."""
    _, category, metric, *_ = COLUMNS[task]
    kind = "video" if category == "video" else "image"
    media = [{"kind": kind, "fingerprint": f"{task}-picture-{number // 2}"}]
    return {
        "id": f"{task}/{number}", "prompt": "?", "target": {"answer": "A"}, "prediction": "A" if score else "B",
        "parsed": "A" if score else "B", "scores": {metric: score}, "failure": None, "truncated": False,
        "media": media, "prompt_tokens": 100 + number, "positions": {"max_position": 99.0 + number},
        "finish_reason": "stop", "generated_tokens": 1, **changes,
    }


def samples_with(task: str, values: Sequence[float], *, failed: int = 0, unread: int = 0,
                 cut: int = 0) -> list[dict[str, Any]]:
    """Lines with these values: of the first, so many failed; of the next, so many unread; so many of all cut off."""
    lines = [sample(task, i, float(value)) for i, value in enumerate(values)]
    for line in lines[:failed]:
        line |= {"failure": {"stage": "engine", "cause": "no"}, "prediction": None, "parsed": None}
    for line in lines[failed : failed + unread]:
        line["parsed"] = None
    for line in lines[failed : failed + cut]:
        line["truncated"] = True
    return lines


def entry(task: str, samples: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    """The task's entry in scores.json: what its samples come to, under the average of `changes` or as a plain mean."""
    column, category, metric, chance, expected = COLUMNS[task]
    average = AGGREGATES.get(changes.get("average", "micro"), AGGREGATES["micro"])
    average_by_metric = {name: average([Item.of(sample["scores"][name], sample["target"]) for sample in samples])
                         for name in samples[0]["scores"]}
    return {
        "column": column, "category": category, "main": metric,
        "metrics": {name: {"value": percent(mean.value), "stderr": percent(mean.stderr), "n": mean.n}
                    for name, mean in average_by_metric.items()},
        "average": "micro", "groups": {}, "absent_groups": [], "chance": chance, "n": len(samples),
        "expected": expected, "n_failed": sum(sample["failure"] is not None for sample in samples),
        "n_truncated": sum(sample["truncated"] for sample in samples),
        "n_unparsed": sum(sample["failure"] is None and sample["parsed"] is None for sample in samples),
        "task_version": 1, "scorer": "choice", "scorer_version": 1,
        "data_fingerprint": f"data-{task}", "prompt_hash": f"prompt-{task}",
        **changes,
    }


def write_cell(
    folder: Path, variant: str, tasks: Mapping[str, Sequence[float] | Sequence[Mapping[str, Any]]], *,
    model: str = "tiny", limit: int | None = None, changes: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> Path:
    """One cell from each task's sample values, or lines made with `sample`; `changes` go into every entry.

    `model` may have parents: runA/checkpoint-100. `checkpoint` is added to what is recorded of it.
    """
    try:
        definition = load_variant(variant)
    except VariantError:
        definition = Variant(variant)
    lines = {
        task: [value if isinstance(value, Mapping) else sample(task, i, cast(float, value))
               for i, value in enumerate(values)]
        for task, values in tasks.items()
    }
    recorded = {"path": f"/models/{model}", "fingerprint": f"weights-{model}", **(checkpoint or {})}
    scores = {
        "format": 1, "label": variant, "checkpoint": recorded, "coordinates": "absolute", "prompts": "paper",
        "variant": {"name": variant, "fingerprint": definition.fingerprint},
        "tasks": {task: entry(task, rows, **(changes or {})) for task, rows in lines.items()},
    }
    manifest = {
        "format": 1, "limit": limit, "seed": 0, "checkpoint": recorded,
        "variant": {"how": "--variant", "fingerprint": definition.fingerprint, "definition": definition.to_dict()},
    }
    (folder / "samples").mkdir(parents=True)
    for task, rows in lines.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "samples" / f"{task}.jsonl").write_text(text, encoding="utf-8")
    for name, content in (("manifest.json", manifest), ("scores.json", scores)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder

"""Records to disk, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.record.read import read_lines, samples_path, sealed, sum_of
from mmrope_eval.record.schema import MANIFEST, SAMPLES, SCORES
from mmrope_eval.util.files import write_text


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_manifest(folder: Path, manifest: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Write manifest.json, the last record of a cell: with the sums of scores.json and of its tasks' samples."""
    files = {SCORES: sum_of([(folder / SCORES).read_bytes()])}
    for task in scores["tasks"]:
        files[f"{SAMPLES}/{task}.jsonl"] = sum_of(read_lines(samples_path(folder, task)))
    write_json(folder / MANIFEST, sealed(manifest, MANIFEST, files))

"""Records to disk, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.record.read import read_lines, samples_path
from mmrope_eval.record.schema import MANIFEST, SAMPLES, SCORES
from mmrope_eval.record.seal import sealed, sum_of


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: first beside its place, then into it. OSError names the file itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk names none, and nobody knows the temporary one
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_manifest(folder: Path, manifest: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Write manifest.json, the last record of a cell: with the sums of scores.json and of its tasks' samples."""
    files = {SCORES: sum_of([(folder / SCORES).read_bytes()])}
    for task in scores["tasks"]:
        files[f"{SAMPLES}/{task}.jsonl"] = sum_of(read_lines(samples_path(folder, task)))
    write_json(folder / MANIFEST, sealed(manifest, MANIFEST, files))

"""Whole runs of two tasks on a small mirror, with a stand-in engine: their configuration and what they record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.run.config import RunConfig

TASKS = ("chartqa", "refcoco_val")
CHARTS, BOXES = [f"chartqa/{i}" for i in range(2)], [f"refcoco_val/{i}" for i in range(4)]
POLICY = MediaPolicy(image_max_pixels=50176, video_max_tokens=64, frame_min_pixels=6272)


def configure(checkpoint: Path, mirror: Path, output: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {"models": (str(checkpoint),), "tasks": TASKS, "output": output, "variants": ("mrope",),
                                "data_root": mirror, "options": EngineOptions(policy=POLICY)}
    return RunConfig(**{**settings, **changes})


def tasks(folder: Path, name: str = "manifest.json") -> dict[str, Any]:
    task_by_name: dict[str, Any] = json.loads((folder / name).read_text())["tasks"]
    return task_by_name

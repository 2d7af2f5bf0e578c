"""lmms-eval's own evaluator drives our engine on our task files, and finds the scores that our runner finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from suite_fakes import FakeEngine, FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.rope import load_variant
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.task.dataset import find_data, lmms_config, media_folder
from mmrope_eval.task.registry import Registry

TASKS = ("chartqa", "charades_sta")


def evaluate(engine: Any, data: Path, tasks: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    """lmms-eval's results, and the model object."""
    from mmrope_eval.lmms.model import LiveModel  # isort: skip - makes lmms-eval importable

    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    registry = Registry()
    model = LiveModel(engine)
    specs = [registry.tasks[name] for name in tasks]
    family = registry.family("qwen2.5-vl")
    configs = [lmms_config(spec, family, media_folder(spec, data).roots, find_data(spec, data)) for spec in specs]
    manager = TaskManager(include_path=str(registry.tasks_dir), include_defaults=False)
    results = simple_evaluate(model=model, tasks=configs, task_manager=manager, bootstrap_iters=0)
    return results, model


def test_lmms_eval_and_our_runner_agree(tmp_path: Path) -> None:
    data = suite_mirror.build(tmp_path / "mirror", n=8)
    folder = build_checkpoint("qwen2.5-vl", tmp_path / "ck")
    config = RunConfig((str(folder),), TASKS, tmp_path / "out", ("mrope",), data_root=data)
    ours = running.run(config, FakeStart()).rows["mrope"]
    theirs, model = evaluate(FakeEngine(read_checkpoint(folder), load_variant("mrope")), data, TASKS)
    assert model.failures == {}
    compared = 0
    for task in TASKS:
        for metric, entry in ours[task]["metrics"].items():
            value = theirs["results"][f"mmrope_{task}"][f"{metric},none"] * 100
            assert value == pytest.approx(entry["value"]), (task, metric)
            compared += entry["value"] > 0
    assert compared, "two zeros agree about nothing"


def test_a_missing_video_is_one_failure_and_not_the_end(tmp_path: Path) -> None:
    suite_mirror.charades(tmp_path / "lmms-eval/charades_sta", [
        ("gone.mp4", "person sits", [0.0, 5.0]), ("here.mp4", "person sits", [0.0, 5.0])])
    suite_mirror.write_video(tmp_path / "lmms-eval/charades_sta/videos/here.mp4")
    _, model = evaluate(FakeEngine(type("C", (), {"fingerprint": "w"}), load_variant("mrope")), tmp_path,
                             ("charades_sta",))
    assert list(model.failures) == ["mmrope_charades_sta/0"] and "gone.mp4" in model.failures["mmrope_charades_sta/0"]

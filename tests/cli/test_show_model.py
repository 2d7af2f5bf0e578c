"""`mmrope-eval show TASK --model CKPT`: the prompts that the engine is given, under the checkpoint's own limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import suite_mirror

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Registry

REGISTRY = Registry()


@pytest.fixture(scope="module", params=["qwen2.5-vl", "qwen3-vl"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(request.param, tmp_path_factory.mktemp("ck") / "tiny")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("world"), n=3)


def shown(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    capsys.readouterr()
    assert cli.main(["show", *map(str, argv)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("task", ["chartqa", "charades_sta", "refcoco_val"])
def test_the_prompt_is_the_one_that_the_engine_writes(
    task: str, checkpoint: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = read_checkpoint(checkpoint)
    family = REGISTRY.family(read.family.name)
    plan = Plans([REGISTRY.tasks[task]], world, Limit(2, "first")).of(family)[task]
    writer = PromptWriter(read)
    out = shown(capsys, task, "--model", checkpoint, "--data-root", world, "--n", 2)
    for sample in plan.samples:
        assert f"as the chat template writes it: {writer.write(plan.request(sample))[0]!r}" in out
    assert out.count("as the chat template writes it") == 2
    assert f"coordinates {family.coordinates}, prompts {family.prompts}" in out


def test_limits_coordinates_and_patches_are_the_checkpoints(
    checkpoint: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint_copy = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    config = json.loads((checkpoint_copy / "config.json").read_text())
    cell = read_checkpoint(checkpoint_copy).geometry.factor ** 2
    limits = {"image_min_pixels": 12 * cell, "image_max_pixels": 24 * cell}  # 96 x 64 are fewer in either family
    (checkpoint_copy / "config.json").write_text(json.dumps({**config, "mm_coordinates": "unit", "mm_media": limits}))
    out = shown(capsys, "refcoco_val", "--model", checkpoint_copy, "--data-root", world)
    width, height = out.split(" -> ")[1].split(",")[0].split("x")
    assert 12 * cell <= int(width) * int(height) <= 24 * cell
    assert "coordinates unit" in out and "refcoco_val/1" not in out, "one sample, where no number is given"


def test_without_it_no_chat_template_is_known(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "chat template" not in shown(capsys, "chartqa", "--data-root", world, "--n", 1)


def test_it_is_about_tasks(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "mrope-i", "--model", str(checkpoint)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "--model is not read for a variant, only for samples of a task" in printed

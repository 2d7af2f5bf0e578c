"""A request shows what its plan was made of, wherever it is made."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import suite_mirror

from mmrope_eval.messages import Failure, Request
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Registry

TASKS = ("chartqa", "refcoco_val", "charades_sta")


def plans_of(mirror: Path) -> dict[str, TaskPlan]:
    registry = Registry()
    return dict(Plans(registry.select(TASKS), mirror, None).of(registry.family("qwen2.5-vl")))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return suite_mirror.build(tmp_path / "mirror", n=3)


@pytest.mark.parametrize("task", TASKS)
def test_a_copy_of_a_reader_makes_the_same_request(mirror: Path, task: str) -> None:
    plan = plans_of(mirror)[task]
    copy = pickle.loads(pickle.dumps(plan.reader))
    for sample in plan.samples:
        assert copy(pickle.loads(pickle.dumps(sample))) == plan.reader(sample)
        assert isinstance(plan.reader(sample), Request)


def test_a_machine_with_another_video_under_the_same_name_does_not_answer(mirror: Path) -> None:
    plan = plans_of(mirror)["charades_sta"]
    video = next(mirror.rglob("*.mp4"))
    suite_mirror.write_video(video, seed=99)
    outcomes = [plan.reader(sample) for sample in plan.samples]
    causes = [outcome.cause for outcome in outcomes if isinstance(outcome, Failure)]
    assert causes
    assert all("what it shows is not what was planned: its data changed meanwhile, or are others on" in cause
               for cause in causes)  # fmt: skip
    assert all(outcome.stage == "media" for outcome in outcomes if isinstance(outcome, Failure))


def test_a_machine_with_another_picture_in_its_row_does_not_answer(mirror: Path) -> None:
    plan = plans_of(mirror)["chartqa"]
    first, *others = plan.samples
    (other, *_) = [sample for sample in others if sample.media != first.media]
    assert isinstance(plan.reader(first), Request)
    assert isinstance(plan.reader(dataclasses.replace(first, media=other.media)), Failure)
    assert isinstance(plan.reader(dataclasses.replace(first, media=(*first.media, *other.media))), Failure)

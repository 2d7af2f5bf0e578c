"""The order of asking: what shows the same together, long videos first, all tasks heard at the beginning."""

from __future__ import annotations

from pathlib import Path

import pytest
import suite_mirror
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.messages import Generation
from mmrope_eval.run.asking import neighbours, video_weights
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.sample import Sample


def sample(name: str, shown: str = "", task: str = "t") -> Sample:
    return Sample(f"{task}/{name}", task, 0, "", None, (shown,) if shown else (), Generation(1), None)


@pytest.mark.parametrize(
    ("shown", "weights", "expected"),
    [
        ("aabb", {}, "aabb"),
        ("abab", {}, "aabb"),
        ("a.a.", {}, "aa.."),  # text alone goes with nothing
        ("abc", {1: 5.0, 2: 9.0}, "cba"),
        ("abab", {3: 9.0}, "bbaa"),  # a group weighs what its heaviest sample does
    ],
)
def test_samples_are_asked_in_groups_heaviest_first(shown: str, weights: dict[int, float], expected: str) -> None:
    given = [sample(str(n), letter.strip(".")) for n, letter in enumerate(shown)]
    ordered = neighbours(given, {given[n].id: weight for n, weight in weights.items()})
    assert "".join(sample.media[0] if sample.media else "." for sample in ordered) == expected


@given(st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["", "a", "b"]), st.floats(0, 9)), max_size=30))
def test_nothing_is_lost_and_tasks_do_not_mix(drawn: list[tuple[str, str, float]]) -> None:
    given = [sample(str(n), shown, task) for n, (task, shown, _) in enumerate(drawn)]
    ordered = neighbours(given, {sample.id: weight for sample, (_, _, weight) in zip(given, drawn, strict=True)})
    assert sorted(sample.id for sample in ordered) == sorted(sample.id for sample in given)
    groups = [(sample.task, sample.media) for sample in ordered if sample.media]
    assert len(set(groups)) == sum(n == 0 or groups[n] != groups[n - 1] for n in range(len(groups)))


def test_a_video_weighs_its_bytes_and_a_picture_nothing(tmp_path: Path) -> None:
    mirror = suite_mirror.build(tmp_path / "mirror", n=3)
    registry = Registry()
    plans = Plans(registry.select(("charades_sta", "chartqa")), mirror, None).of(registry.family("qwen2.5-vl"))
    samples = [sample for plan in plans.values() for sample in plan.samples if sample.problem is None]
    weights = video_weights(samples, plans)
    assert {name.split("/")[0] for name in weights} == {"charades_sta"}
    assert sorted(set(weights.values())) == sorted({float(p.stat().st_size) for p in mirror.rglob("*.mp4")})

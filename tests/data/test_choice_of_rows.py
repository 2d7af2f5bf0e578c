"""What `--limit` takes: the same sample every time, spread over groups, nested; or the first rows."""

from __future__ import annotations

import collections
from pathlib import Path

import data_layouts
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.data.choice_of_rows import Limit, choose, read_limit, recorded_limit
from mmrope_eval.errors import UserError
from mmrope_eval.task.dataset import load_docs
from mmrope_eval.task.plan import chosen_rows, plan_samples
from mmrope_eval.task.registry import Registry

REGISTRY = Registry()
GROUPS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=120)


@pytest.mark.parametrize(("text", "limit"), [
    ("200", Limit(200)), ("first:200", Limit(200, "first")), (" 7 ", Limit(7)),
])
def test_what_may_be_written(text: str, limit: Limit) -> None:
    assert read_limit(text) == limit
    assert recorded_limit(str(limit)) == limit


@pytest.mark.parametrize("text", ["0", "-1", "0.5", "first", "first:0", "last:3", "1e3", "", "9" * 12])
def test_what_may_not(text: str) -> None:
    with pytest.raises(UserError, match=r"give a number of samples, as 200, or first:200"):
        read_limit(text)


@pytest.mark.parametrize(("recorded", "limit"), [(None, None), (4, Limit(4, "first")), ("4", Limit(4))])
def test_records_of_earlier_versions_took_the_first_rows(recorded: object, limit: Limit | None) -> None:
    assert recorded_limit(recorded) == limit


@given(GROUPS, st.integers(1, 130), st.text(max_size=5))
def test_the_count_is_exact_and_the_rows_are_in_order(groups: list[str], count: int, task: str) -> None:
    rows = choose(Limit(count), task, groups)
    assert len(rows) == min(count, len(groups)) and rows == sorted(set(rows))
    assert rows == choose(Limit(count), task, groups)


@given(GROUPS, st.integers(1, 60), st.integers(1, 60))
def test_a_larger_limit_contains_a_smaller_one(groups: list[str], first: int, second: int) -> None:
    small, large = sorted((first, second))
    assert set(choose(Limit(small), "t", groups)) <= set(choose(Limit(large), "t", groups))


@given(GROUPS, st.integers(1, 60))
def test_every_group_gives_before_any_gives_twice(groups: list[str], count: int) -> None:
    given_by = collections.Counter(groups[row] for row in choose(Limit(count), "t", groups))
    if count <= len(set(groups)):
        assert set(given_by.values()) == {1}
    else:
        assert set(given_by) == set(groups)


def test_shares_are_those_of_the_whole() -> None:
    groups = ["short"] * 900 + ["medium"] * 900 + ["long"] * 900 + ["rare"] * 27
    given_by = collections.Counter(groups[row] for row in choose(Limit(300), "t", groups))
    assert all(abs(given_by[name] - 99) <= 2 for name in ("short", "medium", "long"))
    assert 2 <= given_by["rare"] <= 5


def test_it_is_a_draw_and_no_pattern() -> None:
    rows = choose(Limit(500), "t", ["one"] * 5000)
    halves = sum(row < 2500 for row in rows)
    assert 215 <= halves <= 285
    assert rows != choose(Limit(500), "another", ["one"] * 5000)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=100), st.integers(1, 100))
def test_rows_that_count_only_together_stay_together(units: list[int], count: int) -> None:
    rows = choose(Limit(count), "t", ["one"] * len(units), units)
    sizes = collections.Counter(units)
    taken = collections.Counter(units[row] for row in rows)
    assert all(taken[unit] == sizes[unit] for unit in taken)
    assert len(rows) <= count or len(taken) == 1


class TestColumns:
    """On real task files and miniatures of their data."""

    @pytest.fixture(scope="class")
    def world(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        from mmrope_synth import build_world

        columns = ("mmbench", "mlvu", "videomme", "ocrbench", "docvqa", "refcoco_val", "mvbench")
        return build_world(tmp_path_factory.mktemp("world") / "mini", n=24, columns=columns)

    def groups(self, world: Path, task: str, limit: Limit) -> list[str]:
        spec = REGISTRY.tasks[task]
        family = REGISTRY.family("qwen2.5-vl")
        samples = plan_samples(spec, load_docs(spec, world, family), family, limit).samples
        return [str((sample.target or {}).get("group")) for sample in samples]

    def test_mlvu_is_not_its_first_task(self, world: Path) -> None:
        assert len(set(self.groups(world, "mlvu", Limit(7)))) == len(set(self.groups(world, "mlvu", Limit(24))))

    def test_mmbench_keeps_the_rotations_of_a_question_together(self, world: Path) -> None:
        whole = collections.Counter(self.groups(world, "mmbench", Limit(1000)))
        taken = collections.Counter(self.groups(world, "mmbench", Limit(9)))
        assert 0 < taken.total() <= 9
        assert all(count == whole[group] for group, count in taken.items())

    @pytest.mark.parametrize("task", ["mmbench", "mlvu", "videomme", "ocrbench", "docvqa", "refcoco_val", "mvbench"])
    def test_the_declared_groups_can_be_read(self, world: Path, task: str) -> None:
        spec = REGISTRY.tasks[task]
        docs = load_docs(spec, world, REGISTRY.family("qwen2.5-vl"))
        rows = chosen_rows(spec, docs, Limit(5))
        assert 1 <= len(rows) <= 5
        assert chosen_rows(spec, docs, Limit(5, "first")) == list(range(5))

    def test_video_mme_and_its_subtitled_form_ask_the_same_questions(self, world: Path) -> None:
        family = REGISTRY.family("qwen2.5-vl")
        picked = []
        for task in ("videomme", "videomme_subtitles"):
            spec = REGISTRY.tasks[task]
            picked.append(chosen_rows(spec, load_docs(spec, world, family), Limit(6)))
        assert picked[0] == picked[1]


def test_star_gives_from_all_four_types(tmp_path: Path) -> None:
    data_layouts.star(tmp_path)
    spec, family = REGISTRY.tasks["star"], REGISTRY.family("qwen2.5-vl")
    planned = plan_samples(spec, load_docs(spec, tmp_path, family), family, Limit(4))
    assert len({(sample.target or {})["group"] for sample in planned.samples}) == 4

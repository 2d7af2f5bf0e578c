"""From values to a column's number: worked examples of every average, and what order and blanks may not change."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.record import aggregate
from mmrope_eval.record.aggregate import AGGREGATES, Item, Part

ITEMS = st.lists(
    st.builds(Item, st.one_of(st.none(), st.floats(0, 1)), st.sampled_from([(), ("a",), ("b",), ("c",), ("a", "b")])),
    max_size=40,
)


def items(*groups: tuple[str, str]) -> list[Item]:
    """("name", "1101") -> four samples of that group with these values."""
    return [Item(float(value), (name,) if name else ()) for name, values in groups for value in values]


@pytest.mark.parametrize("name", AGGREGATES)
@given(samples=ITEMS, order=st.randoms())
def test_the_result_is_in_range_and_does_not_depend_on_order(
    name: str, samples: list[Item], order: random.Random
) -> None:
    shuffled = list(samples)
    order.shuffle(shuffled)
    one, other = AGGREGATES[name](samples), AGGREGATES[name](shuffled)
    assert math.isnan(one.value) == math.isnan(other.value) == (not any(item.value is not None for item in samples))
    assert math.isnan(one.value) or -1e-12 <= one.value <= 1 + 1e-12
    assert math.isnan(one.value) or (one.value, one.n) == pytest.approx((other.value, other.n), abs=1e-12)
    assert list(one.groups) == sorted(one.groups) == list(other.groups)
    assert math.isnan(one.stderr) or one.stderr >= 0


@pytest.mark.parametrize("name", AGGREGATES)
@given(samples=ITEMS)
def test_all_right_is_one_and_all_wrong_is_zero(name: str, samples: list[Item]) -> None:
    for value in (0.0, 1.0):
        same = [Item(value, item.groups) for item in samples]
        assert not same or AGGREGATES[name](same).value == pytest.approx(value)


def near(value: float) -> Any:
    """Equal to what comes close: in place of a number."""
    return pytest.approx(value)


def test_micro_counts_samples_and_reports_groups() -> None:
    summary = AGGREGATES["micro"](items(("short", "11"), ("long", "100000")))
    assert summary.value == pytest.approx(3 / 8) and summary.n == 8
    assert dict(summary.groups) == {"long": Part(near(1 / 6), 6), "short": Part(1.0, 2)}
    values = [1.0, 1.0, 1.0, 0, 0, 0, 0, 0]
    assert summary.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(7))


def test_a_question_of_several_types_counts_once_in_all_and_once_in_each() -> None:
    both = [Item.of(1.0, {"group": ["reasoning", "event"]}), Item.of(0.0, {"group": ["event", "event"]})]
    summary = AGGREGATES["micro"](both)
    assert (summary.value, summary.n) == (0.5, 2)
    assert dict(summary.groups) == {"event": Part(0.5, 2), "reasoning": Part(1.0, 1)}


def test_macro_weighs_groups_equally() -> None:
    summary = AGGREGATES["macro"](items(("ego", "11"), ("count", "1000"), ("order", "01")))
    assert summary.value == pytest.approx((1 + 0.25 + 0.5) / 3)
    strata = [0.0, statistics.stdev([1, 0, 0, 0]) / 2, statistics.stdev([0, 1]) / math.sqrt(2)]
    assert summary.stderr == pytest.approx(math.sqrt(8 / 7 * sum(s**2 for s in strata)) / 3), "of eight clusters"


def test_macro_of_equal_groups_is_the_plain_mean() -> None:
    samples = items(("a", "1100"), ("b", "1000"), ("c", "1111"))
    assert AGGREGATES["macro"](samples).value == pytest.approx(AGGREGATES["micro"](samples).value)


def test_a_published_average_adds_up() -> None:
    """MLVU (arXiv:2406.04264), GPT-4o: seven tasks, M-Avg 64.6."""
    tasks = {"TR": 87.4, "AR": 74.5, "NQA": 64.8, "ER": 57.1, "PQA": 65.1, "AO": 56.7, "AC": 46.3}
    samples = [Item(value / 100, (name,)) for name, value in tasks.items()]
    assert round(100 * AGGREGATES["macro"](samples).value, 1) == 64.6


def test_blank_and_failed_answers_stay_in_every_denominator() -> None:
    summary = AGGREGATES["macro"](items(("a", "10"), ("b", "10")))
    assert summary.value == 0.5
    lost = AGGREGATES["macro"]([*items(("a", "10"), ("b", "10")), Item.of(0.0, None)])
    assert lost.value == pytest.approx(0.5 * 4 / 5), "a row that could not be read is wrong though its group is unknown"
    assert AGGREGATES["macro"]([Item.of(0.0, None)] * 2).value == 0.0


def test_what_does_not_apply_is_left_out() -> None:
    summary = AGGREGATES["macro"]([*items(("a", "10"), ("b", "1")), Item(None, ("c",)), Item(None, ("a",))])
    assert summary.value == pytest.approx(0.75) and summary.n == 3 and set(summary.groups) == {"a", "b"}


def test_circular_needs_every_rotation() -> None:
    summary = AGGREGATES["circular"](items(("7", "111"), ("8", "110"), ("9", "1"), ("10", "0")))
    assert (summary.value, summary.n) == (0.5, 4)
    assert summary.stderr == pytest.approx(statistics.stdev([1, 0, 1, 0]) / math.sqrt(3))
    assert AGGREGATES["circular"]([*items(("7", "1")), Item.of(0.0, None)]).value == 0.5


def test_ocrbench_has_points_and_parts() -> None:
    kinds = [("Regular Text Recognition", "11"), ("Handwriting Recognition", "10"), ("Doc-oriented VQA", "0001")]
    summary = AGGREGATES["ocrbench"](items(*kinds))
    assert (summary.value, summary.n) == (0.5, 8)
    assert summary.groups["Text Recognition"] == Part(0.75, 4) and summary.groups["Doc-oriented VQA"] == Part(0.25, 4)
    whole = AGGREGATES["ocrbench"]([Item(float(i < 854), ("Doc-oriented VQA",)) for i in range(1000)])
    assert whole.n * whole.value == pytest.approx(854) and 100 * whole.value == pytest.approx(85.4)


def test_mmmu_has_six_disciplines_of_thirty_subjects() -> None:
    subjects = [name for names in aggregate._DISCIPLINES.values() for name in names.split()]
    assert len(set(subjects)) == 30 and len(aggregate._DISCIPLINES) == 6
    summary = AGGREGATES["mmmu"](items(("Art_Theory", "11"), ("Music", "0"), ("Math", "0000")))
    assert summary.value == pytest.approx(2 / 7)
    assert summary.groups["Art & Design"] == Part(near(2 / 3), 3) and summary.groups["Science"] == Part(0.0, 4)


def test_disciplines_are_those_of_the_reference() -> None:
    utils = pytest.importorskip("lmms_eval.tasks.mmmu.utils")
    reference = {frozenset(subjects) for subjects in utils.DOMAIN_CAT2SUB_CAT.values()}
    assert {frozenset(names.split()) for names in aggregate._DISCIPLINES.values()} == reference


def test_nothing_is_nothing() -> None:
    for name in AGGREGATES:
        summary = AGGREGATES[name]([])
        assert math.isnan(summary.value) and math.isnan(summary.stderr) and summary.n == 0


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (None, ()),
        ("", ()),
        ("a", ("a",)),
        (7, ("7",)),
        (["a", "b", "a"], ("a", "b")),
        ([], ()),
    ],
)
def test_the_groups_of_a_target(group: object, expected: tuple[str, ...]) -> None:
    assert Item.of(1.0, {"group": group}).groups == expected


def test_what_needs_groups_is_known_by_name() -> None:
    assert set(AGGREGATES) - set(aggregate.GROUPED) == {"micro"}

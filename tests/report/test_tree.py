"""One family of tests: averages lead, a column that collapses is seen, and alpha is kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.report.compare.contrasts import Tree, tree_of, without
from mmrope_eval.report.definitions import load_averages

AVERAGES = {"Overall": ("Image", "Video"), "Image": ("a", "b", "c"), "Video": ("d", "e")}
NAMES = ("Overall", "Image", "Video", "a", "b", "c", "d", "e")


def tree(*names: str, cells: int = 1) -> Tree:
    return tree_of([(f"v{cell}", name) for cell in range(cells) for name in names or NAMES], AVERAGES)


def holm(p_values: list[float]) -> list[float]:
    """Holm 1979 by his words: the smallest against alpha / n, the next against alpha / (n - 1) ..."""
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_columns_without_an_average_are_holms(p_values: list[float]) -> None:
    columns = Tree((None,) * len(p_values), (False,) * len(p_values))
    assert columns.adjusted(p_values) == pytest.approx(holm(p_values), abs=1e-9)


@pytest.mark.parametrize("shape", [tree(), tree(cells=3), tree("Image", "a", "b", "c", "d"), tree("a", "d"),
                                   tree("Overall", "Image", "Video")])
def test_shares_are_one_and_nothing_passed_on_is_lost(shape: Tree) -> None:
    assert shape.shares().sum() == pytest.approx(1)
    assert shape.passing().sum(axis=1) == pytest.approx(np.ones(shape.size))


def test_overall_is_tested_first_and_hands_down() -> None:
    adjusted = tree().adjusted([0.001, 0.01, 0.01, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert adjusted[0] == pytest.approx(0.001 / 0.8)
    assert adjusted[1] == pytest.approx(0.01 / 0.4), "half of what Overall had, for each of two averages"
    assert adjusted[1] == adjusted[2] and min(adjusted[3:]) > 0.05


def test_an_average_is_not_shown_before_overall() -> None:
    assert min(tree().adjusted([0.2, 1e-6, 1e-6, 0.9, 0.9, 0.9, 0.9, 0.9])[:3]) > 0.05


def test_a_column_that_collapses_is_shown_though_overall_is_not() -> None:
    adjusted = tree().adjusted([0.4, 0.3, 0.9, 0.001, 0.9, 0.9, 0.9, 0.9])
    assert adjusted[3] == pytest.approx(0.001 / (0.2 / 5))
    assert min(adjusted[:3]) > 0.05


def test_columns_of_an_average_that_is_shown_have_more_than_alone() -> None:
    p = [1e-5, 1e-5, 0.9, 0.004, 0.9, 0.9, 0.9, 0.9]
    assert tree().adjusted(p)[3] < 0.05 < 0.004 / (0.2 / 5), "Image and Overall lend it theirs"


@given(st.lists(st.floats(1e-6, 1), min_size=8, max_size=8), st.integers(0, 7), st.floats(0, 1))
@settings(max_examples=150)
def test_a_smaller_p_value_never_takes_anything_back(p_values: list[float], place: int, factor: float) -> None:
    before = tree().adjusted(p_values)
    after = tree().adjusted([p * factor if index == place else p for index, p in enumerate(p_values)])
    assert all(new <= old + 1e-9 for old, new in zip(before, after, strict=True))


@given(st.lists(st.floats(1e-6, 1), min_size=8, max_size=8))
@settings(max_examples=60)
def test_what_is_shown_is_shown_by_the_closed_test(p_values: list[float]) -> None:
    """Bretz et al. 2009: the procedure is a closed test, so a null is rejected only if every set of nulls with it is,
    by the Bonferroni test whose shares are left when all others are taken out. That keeps alpha in the strong sense."""
    family, alpha = tree(), 0.05
    shown = [p <= alpha for p in family.adjusted(p_values)]

    def rejected(members: tuple[int, ...]) -> bool:
        shares, passing = family.shares(), family.passing()
        for other in set(range(family.size)) - set(members):
            shares, passing = without(other, shares, passing)
        return any(p_values[member] <= alpha * shares[member] + 1e-15 for member in members)

    for place in (place for place, is_shown in enumerate(shown) if is_shown):
        others = [other for other in range(family.size) if other != place]
        sets = itertools.chain.from_iterable(itertools.combinations(others, size) for size in (0, 1, 3, 7))
        assert all(rejected((place, *members)) for members in sets)


def test_false_alarms_stay_below_alpha_when_every_null_holds() -> None:
    rng, family = np.random.default_rng(3), tree()
    alarms = sum(min(family.adjusted(rng.random(8).tolist())) <= 0.05 for _ in range(4000))
    assert alarms / 4000 <= 0.05 + 0.007


def test_false_alarms_stay_below_alpha_when_some_losses_are_true() -> None:
    # Overall and one average are true losses, surely shown; what they hand down must not be too much.
    rng, family = np.random.default_rng(4), tree()
    alarms = 0
    for _ in range(4000):
        p = np.where([True, True, False, True, False, False, False, False], 1e-12, rng.random(8))
        adjusted = family.adjusted(p.tolist())
        alarms += min(adjusted[place] for place in (2, 4, 5, 6, 7)) <= 0.05
    assert alarms / 4000 <= 0.05 + 0.007


def test_the_papers_averages_are_a_tree_under_overall() -> None:
    over = {name: parts for name, parts in load_averages().over.items() if name not in load_averages().derived}
    names = [*over, *dict.fromkeys(part for parts in over.values() for part in parts if part not in over)]
    built_tree = tree_of([("mrope", name) for name in names], over)
    tops = [names[place] for place, above in enumerate(built_tree.above) if above is None]
    assert tops == ["Overall"]
    assert built_tree.shares()[names.index("Overall")] == 0.8

"""Designs over trainings: the textbook test where it holds, the level in simulated worlds, and how many it takes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import scipy.stats

from mmrope_eval.report.compare.precision import Layout, precision_of
from mmrope_eval.report.compare.seed_stats import (
    Scores,
    contrast,
    holm,
    luck,
    noticeable,
    residuals,
    spread,
    trainings_needed,
)


def alone(*totals: float) -> Scores:
    """Trainings whose scores no question moves."""
    return Scores(np.array(totals), np.zeros((len(totals), 1)))


def drawn(rng: np.random.Generator, k: int, *, sd: float, noise: float, clusters: int = 100, level: float = 50.0,
          own: np.ndarray | None = None) -> Scores:
    """`k` trainings: level, what a training makes of it, what these clusters do to the design (`own`), and the rest."""
    parts = rng.normal(0, noise / math.sqrt(clusters), (k, clusters)) + (0 if own is None else own)
    return Scores(level + rng.normal(0, sd, k) + parts.sum(axis=1), parts - parts.mean(axis=1, keepdims=True))


# -- against the textbook ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("first", "second"), [
    ((54.34, 63.16, 61.39), (68.80, 64.83, 63.96)), ((1.0, 2.0), (5.0, 9.0)), ((3.0, 4.0, 8.0, 1.0), (2.0, 2.5))])
@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_without_questions_it_is_welchs_test(
    first: tuple[float, ...], second: tuple[float, ...], alternative: Literal["two-sided", "less"]
) -> None:
    found = contrast(alone(*first), alone(*second), alternative=alternative)
    theirs = scipy.stats.ttest_ind(second, first, equal_var=False, alternative=alternative)
    assert (found.p, found.df) == pytest.approx((theirs.pvalue, theirs.df))
    both = scipy.stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((both.low, both.high))


def test_a_margin_moves_what_is_tested() -> None:
    first, second = alone(60.0, 61.0, 62.0), alone(59.0, 60.0, 61.0)
    shifted = alone(59.5, 60.5, 61.5)
    assert contrast(first, second, alternative="less", margin=0.5).p == pytest.approx(
        contrast(first, shifted, alternative="less").p)


def test_one_training_against_several_is_taken_to_spread_alike() -> None:
    found = contrast(alone(50.0, 52.0, 54.0), alone(56.0))
    theirs = scipy.stats.t.sf((56 - 52) / (2.0 * math.sqrt(1 / 3 + 1)), 2) * 2
    assert (found.p, found.df) == pytest.approx((theirs, 2))
    assert math.isnan(contrast(alone(50.0), alone(60.0)).p), "of one against one nothing is known"


def test_equal_trainings_are_no_certainty_of_more_than_they_say() -> None:
    found = contrast(alone(50.0, 50.0), alone(50.0, 50.0))
    assert (found.p, found.low, found.high) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(("first", "second", "share"), [(2, 2, 1 / 3), (3, 3, 0.1), (3, 4, 2 / 35), (4, 4, 2 / 70),
                                                       (1, 3, 0.5), (1, 1, 1.0)])
def test_luck_is_the_least_p_of_a_permutation_test(first: int, second: int, share: float) -> None:
    assert luck(first, second) == pytest.approx(share)
    if min(first, second) > 1:
        theirs = scipy.stats.permutation_test((np.arange(first), 100.0 + np.arange(second)),
                                              lambda a, b, axis: np.mean(b, axis) - np.mean(a, axis), vectorized=True)
        assert theirs.pvalue == pytest.approx(share)


@pytest.mark.parametrize(("given", "adjusted"), [
    ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([], []), ([0.02], [0.02]),
    ([0.01, 0.01, 0.9], [0.03, 0.03, 0.9])])
def test_holm(given: list[float], adjusted: list[float]) -> None:
    assert holm(given) == pytest.approx(adjusted)


# -- levels -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("own", [0.0, 2.0], ids=["questions alike", "questions of its own"])
def test_the_level_and_the_interval_hold_over_trainings_and_questions(k: int, own: float) -> None:
    """With the design's own luck with the questions, which no further training cancels, and without."""
    rng, rounds, clusters = np.random.default_rng(7), 1200, 100
    covered = false = 0
    for _ in range(rounds):
        first, second = (drawn(rng, k, sd=1.5, noise=1.0, own=rng.normal(0, own / math.sqrt(clusters), clusters))
                         for _ in range(2))
        found = contrast(first, second)
        covered += found.low <= 0 <= found.high
        false += contrast(first, second, alternative="less").p <= 0.05
    assert 0.93 <= covered / rounds <= 1.0  # 0.95 and three standard errors of so many rounds
    assert false / rounds <= 0.07


def test_without_the_questions_part_the_level_would_not_hold() -> None:
    """The mutant: what the questions do to a design, dropped, fails where it is large and trainings are many."""
    rng, rounds, clusters = np.random.default_rng(3), 300, 100
    missed = 0
    for _ in range(rounds):
        pair = [drawn(rng, 12, sd=0.5, noise=0.5, own=rng.normal(0, 2.0 / math.sqrt(clusters), clusters))
                for _ in range(2)]
        blind = [Scores(one.totals, np.zeros((12, clusters))) for one in pair]
        found = contrast(*blind)
        missed += not found.low <= 0 <= found.high
    assert missed / rounds > 0.3


def test_a_real_difference_is_found_with_the_trainings_that_it_needs() -> None:
    rng, rounds = np.random.default_rng(5), 400
    k = trainings_needed(2.0, 3.0)
    found = sum(contrast(drawn(rng, k, sd=2.0, noise=0.0), drawn(rng, k, sd=2.0, noise=0.0, level=53.0)).p <= 0.05
                for _ in range(rounds))
    assert 0.75 <= found / rounds <= 0.9
    one = contrast(drawn(rng, k, sd=2.0, noise=0.0), drawn(rng, k, sd=2.0, noise=0.0))
    assert noticeable(one, 0.025) > 0


# -- what a training changes ------------------------------------------------------------------------------------

def test_the_spread_tells_trainings_from_questions() -> None:
    rng = np.random.default_rng(11)
    found = spread([drawn(rng, 400, sd=3.0, noise=4.0) for _ in range(2)])
    assert found is not None and found.df == 798
    assert found.sd == pytest.approx(5.0, rel=0.06) and found.training == pytest.approx(3.0, rel=0.12)
    assert found.share == pytest.approx(9 / 25, abs=0.08) and found.low < found.sd < found.high
    assert spread([alone(50.0), alone(60.0)]) is None


def test_the_spreads_interval_is_the_chi_square_one() -> None:
    found = spread([alone(1.0, 3.0, 5.0), alone(10.0, 12.0, 14.0)])
    assert found is not None and (found.sd, found.df, found.share) == (2.0, 4, 1.0)
    expected = [math.sqrt(4 * 4 / scipy.stats.chi2.ppf(q, 4)) for q in (0.975, 0.025)]
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize(("sd", "points", "needed"), [
    (0.5, 1.0, 6), (1.0, 1.0, 17), (1.0, 3.0, 4), (1.91, 3.0, 8), (5.99, 3.0, 64), (9.38, 3.0, 155), (0.0, 1.0, 2)])
def test_how_many_trainings_a_difference_needs(sd: float, points: float, needed: int) -> None:
    assert trainings_needed(sd, points) == needed


# -- what clusters add ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("average", ["micro", "circular"])
def test_residuals_sum_to_nothing_and_their_squares_to_the_clustered_variance(average: str) -> None:
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(30), 4)
    layout = Layout.of(cluster.tolist(), average, [(f"q{row // 2}",) for row in range(120)])
    values = (rng.random(120) < 0.4).astype(float)
    found = residuals(layout, values)
    assert found.sum() == pytest.approx(0, abs=1e-12)
    clustered = (precision_of(layout, layout.of_units(values)).influence ** 2).sum()
    assert (found**2).sum() == pytest.approx(clustered * (layout.units - 1) / layout.units)


def test_residuals_of_a_macro_column_are_of_its_groups() -> None:
    layout = Layout.of(["p", "p", "q", "r", "s"], "macro", [("a",), ("a",), ("a",), ("b",), ("b",)])
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    found = residuals(layout, values)
    two = math.sqrt(2)
    assert found == pytest.approx([two * (1 / 3 - 2 / 3) / 3 / 2, two * (1 / 3) / 3 / 2, two * 0.5 / 2 / 2,
                                   -two * 0.5 / 2 / 2])

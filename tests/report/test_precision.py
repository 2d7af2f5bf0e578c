"""How sure a score or a difference is: intervals hold as often as they say, on few pictures and on many."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.contrasts import of_column
from mmrope_eval.report.compare.intervals import ScoreInterval, average_spread
from mmrope_eval.report.compare.pairing import TaskPair
from mmrope_eval.report.compare.precision import (
    Layout,
    Precision,
    change_interval,
    lower_bound,
    mean_precision,
    precision_of,
    score_interval,
)


def videos(count: int, questions: int) -> Layout:
    return Layout.of([f"{video:04}" for video in np.repeat(np.arange(count), questions)])


@pytest.mark.parametrize("clusters", [20, 24, 33, 40, 60, 96, 133])
def test_answers_about_a_picture_each_have_intervals_that_hold_exactly_as_often(clusters: int) -> None:
    """No draws: every number of right answers, as likely as it is."""
    layout, rights = videos(clusters, 1), np.arange(clusters + 1)
    intervals = [score_interval(layout, (np.arange(clusters) < right).astype(float)) for right in rights]
    for share in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.98):
        holds = np.array([interval.low <= share <= interval.high for interval in intervals])
        covered = float(holds @ scipy.stats.binom.pmf(rights, clusters, share))
        assert 0.93 <= covered <= 0.994, (share, covered)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_the_error_is_that_of_a_bootstrap_over_clusters(average: str) -> None:
    rng = np.random.default_rng(8)
    cluster = np.sort(rng.integers(0, 200, 700))
    layout = Layout.of(cluster.tolist(), average, [(f"g{c % 3}",) if c % 17 else () for c in cluster])
    values = np.clip(rng.normal(0.3 + 0.2 * (cluster % 3), 0.2), 0, 1)
    members = [np.flatnonzero(layout.cluster == number) for number in range(layout.clusters)]
    names = [(f"g{c % 3}",) if c % 17 else () for c in cluster]
    scores = []
    for _ in range(800):
        rows = np.concatenate([members[number] for number in rng.integers(0, len(members), len(members))])
        scores.append(Layout.of(rows, average, [names[row] for row in rows]).score(values[rows]))
    assert stats.standard_error(layout, values) == pytest.approx(np.std(scores), rel=0.09)


# -- scores -------------------------------------------------------------------------------------------------------

GRID = [  # videos or pictures, questions of each, correlation within, share of right answers
    (3, 15, 0.3, 0.3), (6, 15, 0.3, 0.05), (6, 15, 0.3, 0.5), (10, 15, 0.3, 0.1), (10, 15, 0.1, 0.5), (12, 1, 0, 0.3),
    (20, 15, 0.3, 0.05), (20, 15, 0.3, 0.5), (20, 1, 0, 0.5), (24, 1, 0, 0.02), (33, 15, 0.3, 0.02),
    (33, 15, 0.8, 0.98), (60, 15, 0.3, 0.1), (103, 15, 0.3, 0.4), (133, 15, 0.1, 0.02), (300, 3, 0.3, 0.8),
]
"""The cells of the field's study, those where the bootstrap held in 81 to 90 % of cases among them."""


@pytest.mark.parametrize(("clusters", "questions", "alike", "share"), GRID)
def test_intervals_of_scores_hold_as_often_as_they_say(
    clusters: int, questions: int, alike: float, share: float,
) -> None:
    rng = np.random.default_rng(clusters * 1000 + questions)
    layout, hits, rounds = videos(clusters, questions), 0, 600
    for _ in range(rounds):
        skill = np.full(clusters, share)
        if alike:
            skill = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), clusters)
        values = (rng.random(layout.units) < np.repeat(skill, questions)).astype(float)
        interval = score_interval(layout, values)
        hits += interval.low <= share <= interval.high
    assert hits / rounds >= 0.93 - 0.01, "0.93 is promised; one standard error of 600 rounds"


@pytest.mark.parametrize(("groups", "each"), [(20, 1), (20, 2), (6, 4), (9, 3), (6, 40)])
def test_means_of_small_groups_have_intervals_that_hold(groups: int, each: int) -> None:
    rng = np.random.default_rng(groups + each)
    names = np.repeat(np.arange(groups), each)
    layout = Layout.of(range(groups * each), "macro", [(f"g{name}",) for name in names])
    level, hits = np.linspace(0.3, 0.7, groups), 0
    for _ in range(600):
        interval = score_interval(layout, (rng.random(len(names)) < level[names]).astype(float))
        hits += interval.low <= 0.5 <= interval.high
    assert hits / 600 >= 0.92


def test_graded_scores_have_intervals_that_hold() -> None:
    rng, hits = np.random.default_rng(4), 0
    for _ in range(600):
        interval = score_interval(videos(24, 1), rng.beta(0.6, 2.0, 24))
        hits += interval.low <= 0.6 / 2.6 <= interval.high
    assert hits / 600 >= 0.92


def test_an_interval_of_single_questions_is_wilsons() -> None:
    values = np.r_[np.ones(120), np.zeros(280)]
    interval, wilson = score_interval(videos(400, 1), values), scipy.stats.binomtest(120, 400).proportion_ci(
        method="wilson")
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high), abs=0.001)


@pytest.mark.parametrize(("value", "expected"), [(0.0, (0.0, 0.1684)), (1.0, (0.8316, 1.0))])
def test_all_wrong_or_all_right_is_not_certainty(value: float, expected: tuple[float, float]) -> None:
    interval = score_interval(videos(20, 1), np.full(20, value))
    theirs = scipy.stats.binomtest(int(20 * value), 20).proportion_ci(method="exact")
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-4)


def test_one_picture_has_no_interval() -> None:
    layout, values = videos(1, 9), np.r_[np.ones(4), np.zeros(5)]
    assert math.isnan(score_interval(layout, values).low)
    assert math.isnan(change_interval(precision_of(layout, values), 0.4).low)
    assert math.isnan(lower_bound(precision_of(layout, values), 0.4))


def test_questions_about_one_picture_are_not_counted_as_independent() -> None:
    values = np.repeat((np.random.default_rng(0).random(200) < 0.5).astype(float), 8)
    clustered, naive = score_interval(videos(200, 8), values), score_interval(videos(1600, 1), values)
    assert (clustered.high - clustered.low) / (naive.high - naive.low) == pytest.approx(math.sqrt(8), rel=0.05)


# -- differences --------------------------------------------------------------------------------------------------

def changes(layout: Layout, questions: int, changed: float, loss: float, rng: np.random.Generator) -> np.ndarray:
    """Differences of answers: so many change, in a picture half of them alike, with this loss."""
    lost = (1 + loss / changed) / 2
    unit_draws, shared = rng.random(layout.units), np.repeat(rng.random(layout.clusters), questions)
    way = np.where(rng.random(layout.units) < 0.5, unit_draws, shared)
    return np.where(rng.random(layout.units) < changed, np.where(way < lost, -1.0, 1.0), 0.0)


@pytest.mark.parametrize(("clusters", "questions", "changed", "loss"), [
    (6, 15, 0.2, 0.0), (20, 15, 0.02, 0.0), (20, 1, 0.2, 0.02), (33, 15, 0.2, 0.05), (103, 15, 0.02, 0.02),
    (400, 1, 0.02, 0.0), (400, 1, 0.02, 0.02), (300, 3, 0.2, 0.02),
])
def test_intervals_and_bounds_of_differences_hold(
    clusters: int, questions: int, changed: float, loss: float,
) -> None:
    rng = np.random.default_rng(clusters + questions)
    layout, hits, above = videos(clusters, questions), 0, 0
    for _ in range(600):
        units = changes(layout, questions, changed, loss, rng)
        precision, change = precision_of(layout, units), float(units.mean())
        interval = change_interval(precision, change)
        hits += interval.low <= -loss <= interval.high
        above += lower_bound(precision, change) > -loss
    assert hits / 600 >= 0.93
    assert above / 600 <= 0.05 + 0.02, "a loss of just the margin passes in one case of twenty"


@pytest.mark.parametrize(("layout", "low", "high"), [
    (videos(500, 1), -0.0080, -0.0045), (videos(6, 257), -0.08, -0.015), (videos(3, 1), -0.95, -0.5),
])
def test_runs_that_agree_everywhere_may_differ_elsewhere(layout: Layout, low: float, high: float) -> None:
    # Of 500 answers none was lost: a loss of 0.6 % would go unseen one time in twenty (0.994**500).
    bound = lower_bound(precision_of(layout, np.zeros(layout.units)), 0.0)
    assert low <= bound <= high


def test_columns_that_share_pictures_are_paired_picture_by_picture() -> None:
    """Two columns over the same 200 pictures: the error of their mean is that of the joined questions."""
    rng = np.random.default_rng(6)
    layout, both = videos(200, 3), videos(200, 6)
    picture = np.repeat(rng.normal(0, 0.3, 200), 3)
    first, second = picture + rng.normal(0, 0.2, 600), picture + rng.normal(0, 0.2, 600)
    rows = np.arange(200)
    parts = [(0.5, precision_of(layout, values), rows) for values in (first, second)]
    together = precision_of(both, np.hstack([first.reshape(200, 3), second.reshape(200, 3)]).ravel())
    assert mean_precision(parts, 200).error == pytest.approx(together.error, rel=0.01)
    apart = mean_precision([(0.5, parts[0][1], rows), (0.5, parts[1][1], rows + 200)], 400)
    assert apart.error == pytest.approx(together.error / math.sqrt(2), rel=0.2), "as if nothing were shared"


def test_an_average_over_shared_pictures_is_no_wider_than_its_error() -> None:
    # The effect of a picture in one column says nothing of its effect in the other: sharing it costs nothing.
    rng = np.random.default_rng(7)
    names = [f"picture {number}" for number in range(400)]
    parts = []
    for _ in range(2):
        precision = precision_of(videos(400, 3), np.clip(np.repeat(rng.normal(0.5, 0.2, 400), 3), 0, 1))
        reach = 196 * precision.error
        influence = dict(zip(names, precision.influence.tolist(), strict=True))
        parts.append(ScoreInterval(50, 50 - reach, 50 + reach, influence))
    whole = average_spread(parts)
    assert (whole.high - whole.low) / 2 == pytest.approx((parts[0].high - 50) / math.sqrt(2), rel=0.1)


def test_a_contrast_has_the_precision_of_its_differences() -> None:
    rng = np.random.default_rng(1)
    layout = videos(60, 2)
    first, second = (rng.random((2, 120)) < 0.5).astype(float)
    pair = TaskPair("mrope", "t", "T", "accuracy", layout, first, second, (), (), ())
    contrast = of_column(pair)
    assert isinstance(contrast.precision, Precision)
    assert contrast.precision.error == pytest.approx(stats.standard_error(layout, second - first))
    assert contrast.changes.sum() == pytest.approx(contrast.change)

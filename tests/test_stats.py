"""Intervals, paired tests and corrections, held to scipy on known cases and to their promises on simulated ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.report import stats
from mmrope_eval.report.layout import AVERAGES, Layout

RNG = np.random.default_rng(20251123)


def singles(n: int) -> Layout:
    return Layout.of(range(n))


def coins(n: int, chance: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < chance).astype(float)


# -- the score is the column's own ------------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.lists(st.sampled_from("abc"), max_size=2, unique=True),
              st.integers(0, 5)),
    min_size=1, max_size=25,
)


@pytest.mark.parametrize("average", AVERAGES)
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_a_score_is_what_the_suite_says(average: str, rows: list[tuple[float, list[str], int]]) -> None:
    if average == "circular":  # a question has one name
        rows = [(value, names[:1], cluster) for value, names, cluster in rows]
    layout = Layout.of([row[2] for row in rows], average, [row[1] for row in rows])
    expected = AGGREGATES[average]([Item(value, tuple(names)) for value, names, _ in rows])
    values = np.array([row[0] for row in rows])
    assert layout.score(values) == pytest.approx(expected.value, abs=1e-12)
    assert layout.units == expected.n
    if average != "circular":
        assert layout.weights @ values == pytest.approx(expected.value, abs=1e-12)


def test_every_average_of_the_suite_is_known() -> None:
    assert set(AVERAGES) == set(AGGREGATES)
    with pytest.raises(ValueError, match="median"):
        Layout.of(["a"], "median")


@given(rows=ROWS, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_contributions_of_clusters_add_up_to_the_difference(
    rows: list[tuple[float, list[str], int]], seed: int,
) -> None:
    layout = Layout.of([row[2] for row in rows], "macro", [row[1] for row in rows])
    first = np.array([row[0] for row in rows])
    second = np.random.default_rng(seed).permutation(first)
    found = stats.contributions(layout, first, second)
    assert len(found) == layout.clusters
    assert found.sum() == pytest.approx(layout.score(second) - layout.score(first), abs=1e-12)


def test_rotations_of_one_question_are_one_unit_in_any_order() -> None:
    layout = Layout.of(["p", "q", "p", "q"], "circular", [("z",), ("a",), ("z",), ("a",)])
    assert layout.score(np.array([1.0, 1.0, 0.0, 1.0])) == 0.5
    assert layout.score(np.array([1.0, 0.0, 1.0, 0.0])) == 0.5
    alone = Layout.of(["p", "q", "r"], "circular", [("z",), ("a",), ("m",)])  # one row a question: order must hold
    assert stats.contributions(alone, np.zeros(3), np.array([1.0, 0.0, 0.0])).tolist() == [1 / 3, 0, 0]


# -- intervals --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("values", [RNG.beta(0.6, 2.0, 60), coins(80, 0.2)], ids=["iou", "accuracy"])
def test_intervals_agree_with_scipy(method: str, values: np.ndarray) -> None:
    ours = stats.score_interval(singles(len(values)), values, method=method, draws=40_000)
    theirs = scipy.stats.bootstrap((values,), np.mean, method=method, n_resamples=40_000, batch=2_000,
                                   rng=np.random.default_rng(1)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.013 if len(values) == 80 else 0.004)


def test_clustered_intervals_agree_with_scipy_on_cluster_means() -> None:
    # With clusters of one size the clustered bootstrap is the plain one over the clusters' means.
    means = RNG.beta(2, 2, 40)
    layout = Layout.of(np.repeat(np.arange(40), 5))
    ours = stats.score_interval(layout, np.repeat(means, 5), draws=40_000)
    theirs = scipy.stats.bootstrap((means,), np.mean, n_resamples=40_000, batch=2_000, method="BCa",
                                   rng=np.random.default_rng(1)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_paired_intervals_agree_with_scipy() -> None:
    first, noise = RNG.random(70), RNG.normal(0.05, 0.1, 70)
    ours = stats.difference_interval(singles(70), first, first + noise, draws=40_000)
    theirs = scipy.stats.bootstrap((noise,), np.mean, n_resamples=40_000, batch=2_000, method="BCa",
                                   rng=np.random.default_rng(1)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_questions_about_one_picture_are_not_counted_as_independent() -> None:
    values = np.repeat(coins(50, 0.5), 8)
    clustered = stats.score_interval(Layout.of(np.repeat(np.arange(50), 8)), values)
    naive = stats.score_interval(singles(400), values)
    ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(math.sqrt(8), rel=0.08)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_intervals_cover_the_truth_as_often_as_they_say(average: str) -> None:
    rng = np.random.default_rng(5)
    clusters, groups, hits, rounds = 80, 4, 0, 400
    of_cluster = np.arange(clusters) % groups
    sizes = 1 + np.arange(clusters) % 3
    cluster = np.repeat(np.arange(clusters), sizes)
    layout = Layout.of(cluster, average, [(f"g{of_cluster[c]}",) for c in cluster])
    level = np.array([0.2, 0.4, 0.6, 0.8])[of_cluster]
    truth = layout.score(level[cluster])
    for _ in range(rounds):
        skill = rng.beta(4 * level, 4 * (1 - level))
        values = (rng.random(len(cluster)) < skill[cluster]).astype(float)
        found = stats.score_interval(layout, values, draws=499, seed=int(rng.integers(1 << 31)))
        hits += found.low <= truth <= found.high
    assert hits / rounds > 0.92  # 0.95 wished for; three standard errors of 400 rounds


@pytest.mark.parametrize(("value", "expected"), [(0.0, (0.0, 0.1684)), (1.0, (0.8316, 1.0))])
def test_all_wrong_or_all_right_is_not_certainty(value: float, expected: tuple[float, float]) -> None:
    found = stats.score_interval(singles(20), np.full(20, value))
    theirs = scipy.stats.binomtest(int(20 * value), 20).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-4)


def test_one_cluster_has_no_interval() -> None:
    found = stats.score_interval(Layout.of(["a"] * 9), coins(9, 0.5))
    assert math.isnan(found.low) and math.isnan(found.high)


def test_the_seed_decides_everything_and_is_recorded() -> None:
    layout, values = Layout.of(np.arange(90) // 2), RNG.random(90)
    one, same, other = (stats.score_interval(layout, values, seed=seed) for seed in (7, 7, 8))
    assert one == same != other
    assert (one.seed, one.draws, one.method, one.level) == (7, stats.DRAWS, "bca", 0.95)


def test_drawing_kinds_of_clusters_is_drawing_clusters() -> None:
    # 0/1 answers take the multinomial short cut; a trace of noise forces the long way.
    layout, values = Layout.of(np.arange(600) // 2), coins(600, 0.3)
    short = stats.score_interval(layout, values, draws=20_000)
    long = stats.score_interval(layout, values + np.linspace(0, 1e-9, 600), draws=20_000)
    assert (short.low, short.high) == pytest.approx((long.low, long.high), abs=0.003)


# -- paired tests -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (12, 4), (3, 9), (40, 41), (260, 200)])
@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_mcnemar_agrees_with_scipy(gained: int, lost: int, alternative: str) -> None:
    first, second = np.zeros(600), np.zeros(600)
    first[:100], second[:100] = 1, 1
    second[100 : 100 + gained], first[100 + gained : 100 + gained + lost] = 1, 1
    found = stats.paired_test(singles(600), first, second, alternative=alternative)
    discordant = gained + lost
    expected = scipy.stats.binomtest(gained, discordant, alternative=alternative).pvalue if discordant else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert found.method == "McNemar's exact test"


def test_clusters_of_answers_are_swapped_whole_as_brute_force_does() -> None:
    cluster = np.repeat(np.arange(9), 3)
    first, second = coins(27, 0.3, 1), coins(27, 0.6, 2)
    layout = Layout.of(cluster)
    change = np.array([(second - first)[cluster == c].sum() for c in range(9)])
    sums = np.array([np.dot(signs, change) for signs in itertools.product([-1, 1], repeat=9)])
    two = stats.paired_test(layout, first, second)
    assert two.p == pytest.approx(np.mean(np.abs(sums) >= abs(change.sum())), abs=1e-12)
    assert two.method == "exact sign-flip test over clusters"
    less = stats.paired_test(layout, first, second, alternative="less")
    assert less.p == pytest.approx(np.mean(sums <= change.sum()), abs=1e-12)


@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_random_flips_agree_with_scipys_permutation_test(alternative: str) -> None:
    first = RNG.random(14)
    second = first - np.abs(RNG.normal(0.02, 0.1, 14)) * np.sign(RNG.normal(0.5, 1, 14))
    found = stats.paired_test(singles(14), first, second, alternative=alternative)
    theirs = scipy.stats.permutation_test((second, first), lambda a, b, axis: np.mean(a - b, axis=axis),
                                          permutation_type="samples", vectorized=True, n_resamples=np.inf,
                                          alternative=alternative)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.012)
    assert found.flips == stats.FLIPS


def test_unequal_groups_are_tested_on_their_own_average() -> None:
    # Group a: 90 questions, all lost; group b: 10, all won. The plain mean falls; the mean of groups stays.
    groups = [("a",)] * 90 + [("b",)] * 10
    layout = Layout.of(range(100), "macro", groups)
    first = np.r_[np.ones(90), np.zeros(10)]
    assert layout.score(first) == layout.score(1 - first) == 0.5
    assert stats.paired_test(layout, first, 1 - first).p == 1.0
    assert stats.paired_test(singles(100), first, 1 - first).p < 1e-9


def test_identical_runs_do_not_differ() -> None:
    values = RNG.random(50)
    assert stats.paired_test(singles(50), values, values).p == 1.0
    found = stats.difference_interval(singles(50), values, values)
    assert (found.low, found.high) == (0.0, 0.0)


@pytest.mark.parametrize("scores", ["accuracy", "iou"])
def test_equally_good_runs_are_told_apart_at_most_as_often_as_allowed(scores: str) -> None:
    rng = np.random.default_rng(11)
    layout = Layout.of(np.arange(120) // 3)
    rejected = 0
    for _ in range(600):
        skill = np.repeat(rng.beta(1.5, 1.5, 40), 3)
        if scores == "accuracy":
            first, second = (rng.random((2, 120)) < skill).astype(float)
        else:
            first, second = np.clip(skill + rng.normal(0, 0.2, (2, 120)), 0, 1)
        rejected += stats.paired_test(layout, first, second, flips=499).p <= 0.05
    assert rejected / 600 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)


# -- many comparisons, detectable difference ----------------------------------------------------------------------

def test_holm_on_a_worked_example() -> None:
    # Holm 1979's procedure by hand: 4 x .005, 3 x .01, 2 x .03 (.06), and .04 may not fall below it.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.6]) == [1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_nothing_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    found = stats.holm(p)
    assert all(one <= two <= min(1, one * len(p) + 1e-12) for one, two in zip(p, found, strict=True))
    assert all(found[i] <= found[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])


def test_a_detectable_difference_is_detected_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    layout, n = Layout.of(np.arange(1200) // 2), 1200
    base = np.clip(rng.random(n), 0, 1)
    noise = np.repeat(rng.normal(0, 0.15, n // 2), 2) + rng.normal(0, 0.15, n)
    effect = stats.detectable_difference(layout, base, base + noise)
    found = 0
    for _ in range(300):
        noise = np.repeat(rng.normal(0, 0.15, n // 2), 2) + rng.normal(0, 0.15, n)
        found += stats.paired_test(layout, base, base + noise + effect, flips=399).p <= 0.05
    assert found / 300 == pytest.approx(0.8, abs=0.08)


def test_agreeing_runs_can_still_only_detect_what_the_exact_test_can() -> None:
    values = coins(500, 0.5)
    # Six answers the same way are the fewest that reach p <= 0.05: 2 / 2**6.
    assert stats.detectable_difference(singles(500), values, values) == pytest.approx(6 / 500)
    changed = values.copy()
    changed[np.flatnonzero(values)[:6]] = 0
    assert stats.paired_test(singles(500), values, changed).p == pytest.approx(2 / 64)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_the_standard_error_is_the_bootstraps(average: str) -> None:
    rng = np.random.default_rng(8)
    cluster = np.sort(rng.integers(0, 200, 700))
    layout = Layout.of(cluster, average, [(f"g{c % 3}",) if c % 17 else () for c in cluster])
    values = np.clip(rng.normal(0.3 + 0.2 * (cluster % 3), 0.2), 0, 1)
    wide = stats.score_interval(layout, values, method="percentile", level=0.6827, draws=20_000)
    assert stats.standard_error(layout, values) == pytest.approx((wide.high - wide.low) / 2, rel=0.06)


@pytest.mark.parametrize(("ours", "theirs"), [(200, 240), (0, 20), (396, 400)])
def test_a_published_number_has_an_error_of_its_own(ours: int, theirs: int) -> None:
    # As the usual test of two shares of 400 answers each (a chi-squared test without correction, its root).
    z = (theirs - ours) / 400 / stats.reported_error(ours / 400, theirs / 400, 400)
    found = scipy.stats.chi2_contingency([[ours, 400 - ours], [theirs, 400 - theirs]], correction=False)
    assert 2 * stats.share_below(-z) == pytest.approx(found.pvalue)


def test_interval_test_and_detectable_loss_are_one() -> None:
    assert stats.share_below(-stats.reach(0.9)) == pytest.approx(0.05)
    assert scipy.stats.norm.sf(stats.reach(0.9) - stats.detectable_errors(0.05)) == pytest.approx(0.8)


@pytest.mark.parametrize("values", [np.zeros(50), np.ones(50), np.full(50, 0.5)])
def test_no_score_is_certain_because_nothing_varies(values: np.ndarray) -> None:
    assert stats.standard_error(singles(50), values) == 0
    centre, error = stats.cautious_error(singles(50), values)
    assert 0 < centre < 1 and 0.02 < error < 0.08
    varied = coins(50, 0.5)
    centre, error = stats.cautious_error(singles(50), varied)
    assert centre == varied.mean()
    assert error / stats.standard_error(singles(50), varied) == pytest.approx(scipy.stats.t(49).std())

"""Answers in words: what each response is worth (cases in data/scoring), and equality with the authors' own code."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scorer_checks import LONG, PIECES, check_case, check_time, check_values, fuzzed, load, params

from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer import text as textual

TARGETS: dict[str, dict[str, Any]] = {
    "anls": {"answers": ["invoice 2019", "9" * 30]},
    "vqa": {"answers": ["two red cars"] * 6 + ["A", "", "the", "2"]},
    "contains": {"answers": ["x + 1", "Yes"], "dataset": "HME100k", "group": "?"},
    "choice_or_exact": {"answer": "3.5", "options": "How much?"},
    "choice_or_open": {"answer": "['3.5', 'red']", "options": "[]", "group": "Math"},
}


@pytest.mark.parametrize(("scorer", "case"), params(TARGETS))
def test_case(scorer: str, case: dict[str, Any]) -> None:
    check_case(scorers.SCORERS[scorer], case)


@pytest.mark.parametrize("scorer", TARGETS)
def test_there_are_enough_cases_and_the_declared_metrics(scorer: str) -> None:
    assert len(load(scorer)) >= 20
    assert tuple(scorers.SCORERS[scorer]("", TARGETS[scorer]).values) == scorers.METRICS[scorer]
    assert scorers.SCORERS[scorer]("", TARGETS[scorer]).values[scorers.METRICS[scorer][0]] == 0.0


@pytest.mark.parametrize("scorer", TARGETS)
@given(response=st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)))
def test_values_are_in_range_and_depend_on_nothing_else(scorer: str, response: str) -> None:
    check_values(scorers.SCORERS[scorer], response, TARGETS[scorer])


@pytest.mark.parametrize("scorer", TARGETS)
def test_ten_thousand_fuzzed_responses(scorer: str) -> None:
    for response in fuzzed(10_000):
        check_values(scorers.SCORERS[scorer], response, TARGETS[scorer])


@pytest.mark.parametrize("scorer", TARGETS)
@pytest.mark.parametrize("response", LONG, ids=lambda r: repr(r[:12]))
def test_time_is_bounded(scorer: str, response: str) -> None:
    check_time(scorers.SCORERS[scorer], response, TARGETS[scorer])


@pytest.mark.parametrize("scorer", ["anls", "vqa", "contains"])
@given(answers=st.lists(st.text("abcXYZ 123.-", min_size=1, max_size=12), min_size=2, max_size=10), order=st.randoms())
def test_the_order_of_accepted_answers_does_not_matter(scorer: str, answers: list[str], order: random.Random) -> None:
    shuffled = list(answers)
    order.shuffle(shuffled)
    for response in (answers[0], answers[-1].upper(), "x"):
        first, second = (
            scorers.SCORERS[scorer](response, {"answers": some, "dataset": "svt"}) for some in (answers, shuffled)
        )
        assert first.values == pytest.approx(dict(second.values))


@given(a=st.text("ab c", max_size=8), b=st.text("ab c", max_size=8), c=st.text("ab c", max_size=8))
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    d = textual.edit_distance
    assert d(a, b) == d(b, a) and (d(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= d(a, b) <= max(len(a), len(b))
    assert d(a, c) <= d(a, b) + d(b, c)


def test_edit_distance_of_known_words() -> None:
    assert [textual.edit_distance(*pair) for pair in (("kitten", "sitting"), ("", "abc"), ("flaw", "lawn"))] == [
        3,
        3,
        2,
    ]


@given(
    response=st.text("abc d", max_size=10),
    answers=st.lists(st.text("abc d", min_size=1, max_size=10), min_size=1, max_size=3),
)
def test_anls_is_zero_or_at_least_one_half(response: str, answers: list[str]) -> None:
    value = textual.score_anls(response, {"answers": answers}).values["anls"]
    assert value == 0.0 or 0.5 <= (value or 0) <= 1.0


@given(n=st.integers(0, 10))
def test_vqa_accuracy_is_the_mean_over_nine_of_ten_people(n: int) -> None:
    answers = ["red"] * n + ["blue"] * (10 - n)
    spelled_out = [min(1.0, (answers[:i] + answers[i + 1 :]).count("red") / 3) for i in range(10)]
    assert textual.score_vqa("red", {"answers": answers}).values["vqa"] == pytest.approx(sum(spelled_out) / 10)


# --------------------------------------------------------------------------------------------------------------
# Against the authors' rules as lmms-eval 0.7.3 carries them: equal, but for what a docstring declares


def mixtures(pieces: list[str], n: int, length: int) -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, length))) for _ in range(n)]


def test_vqa_normal_form_is_the_reference_one() -> None:
    reference = pytest.importorskip("lmms_eval.tasks._task_utils.vqa_eval_metric").EvalAIAnswerProcessor()
    pieces = [
        "a",
        "the",
        "one",
        "none",
        "dont",
        "'s",
        "dog",
        ",",
        "?",
        "- ",
        " -",
        " ",
        ".",
        "3.5",
        "1,000",
        "\n",
        "(",
        ") ",
        "/",
        "!",
        '"',
        "isn't",
        "somebody'd",
        "O'Clock",
        "$",
        "é",
    ]
    for text in [*reference.CONTRACTIONS, *mixtures(pieces, 5_000, 10)]:
        assert textual.vqa_words(text) == reference(text), text


def test_anls_is_the_reference_one_where_blanks_are_single() -> None:
    reference = pytest.importorskip("lmms_eval.api.metrics").anls
    for text in mixtures(["a", "b", "c", "A", "1", ".", " "], 3_000, 9):
        answers = [" ".join(text[::-1].split()) or "a", "abc 1"]
        response = " ".join(text.split())
        if response:
            expected = reference(references=answers, predictions=[response])["anls"]
            assert textual.score_anls(response, {"answers": answers}).values["anls"] == pytest.approx(expected), (
                response,
                answers,
            )


def test_open_questions_are_judged_as_the_reference_does() -> None:
    utils = pytest.importorskip("lmms_eval.tasks.mmmu.utils")
    pieces = [
        "the answer is ",
        "so ",
        "= ",
        "is ",
        "3",
        "3.14",
        "-2",
        "1,000",
        ",",
        ". ",
        "\n",
        "x",
        "yes",
        "no ",
        " ",
        "12kg",
        "$5",
        "5%",
        "2e3",
        ".5",
        "final ",
        "result ",
        "A",
        "therefore ",
    ]
    for response in mixtures(pieces, 5_000, 10):
        for gold in ("3", "3.14", "1000", "yes", "x", "-2", "0.5", "2000", "12kg"):
            expected = utils.eval_open(gold, utils.parse_open_response(response))
            assert textual.open_is_right(response, [gold]) == expected, (response, gold)


def test_ocrbench_rule_is_the_reference_one() -> None:
    utils = pytest.importorskip("lmms_eval.tasks.ocrbench.utils")
    for text in mixtures(["ab", "AB", " ", "\n", "{", "1.5", "\\frac"], 3_000, 8):
        for dataset in ("svt", "HME100k"):
            doc = {"answer": ["AB {", "1.5"], "dataset": dataset, "question_type": "?"}
            expected = utils.ocrbench_process_results(doc, [text])["ocrbench_accuracy"]["score"]
            assert (
                textual.score_contains(text, {"answers": doc["answer"], "dataset": dataset}).values["contains"]
                == expected
            )


# --------------------------------------------------------------------------------------------------------------
# The table of all scorers


@pytest.mark.parametrize("scorer", ["choice", *TARGETS])
def test_a_failed_sample_scores_what_an_empty_answer_scores(scorer: str) -> None:
    main = scorers.METRICS[scorer][0]
    for target in (TARGETS.get(scorer, {"answer": "B"}), None):
        score = scorers.score_failure(scorer, target)
        assert score.values[main] == 0.0 and score.parsed is None and not any(score.values.values())
        assert tuple(score.values) == scorers.METRICS[scorer]

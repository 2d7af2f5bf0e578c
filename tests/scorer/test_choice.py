"""Multiple choice: what a response commits to (cases in data/scoring/choice.jsonl), and what it never does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scorer_checks import LONG, PIECES, check_case, check_time, check_values, fuzzed, load, params

from mmrope_eval.scorer import choice
from mmrope_eval.scorer.all import METRICS, SCORERS
from mmrope_eval.scorer.choice import extract
from mmrope_eval.scorer.choice_text import read_options

OPTIONS = {"A": "a red car", "B": "a blue car", "C": "Yes", "D": "No"}
TARGET = {"answer": "B", "options": list(OPTIONS.values())}


@pytest.mark.parametrize(("scorer", "case"), params(["choice"]))
def test_case(scorer: str, case: dict[str, Any]) -> None:
    check_case(SCORERS[scorer], case)


def test_there_are_enough_cases_and_the_declared_metrics() -> None:
    assert len(load("choice")) >= 20
    assert tuple(choice.score_choice("", TARGET).values) == METRICS["choice"]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)))
def test_values_are_in_range_and_depend_on_nothing_else(response: str) -> None:
    check_values(choice.score_choice, response, TARGET)


def test_ten_thousand_fuzzed_responses() -> None:
    for response in fuzzed(10_000):
        check_values(choice.score_choice, response, TARGET)


@pytest.mark.parametrize("response", LONG, ids=lambda r: repr(r[:12]))
def test_time_is_bounded(response: str) -> None:
    check_time(choice.score_choice, response, {"answer": "B", "options": ["a red car", "the", "not the", "x"]})


FORMS = [
    "{}",
    "({})",
    "{}.",
    "{})",
    "[{}]",
    "**{}**",
    "`{}`",
    "Answer: {}",
    "The answer is {}.",
    "The best answer is ({}).",
    "The correct option is {} because it fits.",
    "Option {}",
    "I choose {}.",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "Final answer: {}",
    "It is {}.",
    "{}: the thing",
    "{}. The thing is there.",
    "{}\nThe thing is there.",
    "<think>A? B? C? D?</think>{}",
    "I would go with option {}.",
    "The right answer is option {}.",
    "Answer:\n\n{}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("letter", "ABCDEFGHIJ")
def test_every_form_for_every_letter(form: str, letter: str) -> None:
    ten = {name: f"thing number {i}" for i, name in enumerate("ABCDEFGHIJ")}
    assert extract(form.format(letter), ten) == letter
    assert extract(form.format(letter), dict.fromkeys(ten, "")) == letter, "with letters only"
    fewer = {name: text for name, text in ten.items() if name < letter}
    assert extract(form.format(letter), fewer) is None, "a letter that is no option"


@pytest.mark.parametrize("form", FORMS)
@given(order=st.permutations(["the cat", "two dogs", "no animal", "all of them"]), at=st.integers(0, 3))
def test_the_answer_does_not_depend_on_the_order_or_texts_of_the_options(form: str, order: list[str], at: int) -> None:
    assert extract(form.format("ABCD"[at]), dict(zip("ABCD", order, strict=True))) == "ABCD"[at]


@given(order=st.permutations(["a cat", "Two dogs.", "NO ANIMAL", "all of them", "a"]))
def test_a_text_finds_its_option_wherever_it_stands(order: list[str]) -> None:
    options = dict(zip("ABCDE", order, strict=True))
    for letter, text in options.items():
        expected = "A" if text == "a" else letter  # a lone letter is a letter
        assert extract(text, options) == expected
        assert extract(f"The answer is {text.rstrip('.')}.", options) == expected


@pytest.mark.parametrize("first", "ABCD")
@pytest.mark.parametrize("second", "ABCD")
@pytest.mark.parametrize(
    "text",
    [
        "{} or {}",
        "{}, {}",
        "The answer is {} or {}.",
        "The answer is {}. The answer is {}.",
        "{}. But then, the answer is {}.",
        "Option {} or option {}",
        "({}) or ({})",
        "Answer: {}\nAnswer: {}",
        "{} and {}",
        "{}/{}",
    ],
)
def test_two_different_letters_are_no_answer(first: str, second: str, text: str) -> None:
    read = extract(text.format(first, second), OPTIONS)
    assert read is None if first != second else read in (None, first)


@pytest.mark.parametrize(
    "text",
    [
        "not {}",
        "Not ({}).",
        "The answer is not {}.",
        "It isn't option {}.",
        "Option {} is wrong.",
        "({}) is incorrect",
        "Rule out option {}.",
        "The wrong answer is {}.",
        "The incorrect option is {}.",
        "{} is not the answer",
        "Option {} can be ruled out.",
        "anything except ({})",
        "This is not the correct answer: {}",
    ],
)
@pytest.mark.parametrize("letter", "ABCD")
def test_what_is_negated_is_no_answer(text: str, letter: str) -> None:
    assert extract(text.format(letter), OPTIONS) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "a man is walking",
        "A man is walking",
        "A",
        "A dog, a cat and a bird",
        "I think so",
        "I am not sure",
        "Vitamin C",
        "Plan B is on",
        "The U.S. flag",
        "X-rays",
        "Maybe",
        "It depends on the day",
        "I'd say a lot",
        "There are 3 dogs",
        "Bananas",
        "Do not cross",
    ],
)
def test_words_are_no_letters(sentence: str) -> None:
    options = {name: f"thing {i}" for i, name in enumerate("ABCDEFGHIJ")}
    assert extract(sentence, options) == ("A" if sentence == "A" else None)


@given(st.sampled_from([c["response"] for c in load("choice")]), st.sampled_from(["\n", "  ", "\t", " \n "]))
def test_white_space_around_changes_nothing(response: str, space: str) -> None:
    assert extract(space + response + space, OPTIONS) == extract(response, OPTIONS)


# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ([], {}),
        (3, {"A": "", "B": "", "C": ""}),
        (["x", " y "], {"A": "x", "B": "y"}),
        (["A. x", "B. y"], {"A": "x", "B": "y"}),
        (["A. x", "y"], {"A": "A. x", "B": "y"}),
        (["B. x", "A. y"], {"A": "B. x", "B": "A. y"}),
        ([1, 2.5], {"A": "1", "B": "2.5"}),
        ("['x', 'y']", {"A": "x", "B": "y"}),
        ("[]", {}),
        ("[broken", {}),
        (
            {"B": "y", "A": "x", "C": None, "D": "nan", "E": float("nan"), "question": "?", "AB": "z"},
            {"A": "x", "B": "y"},
        ),
        ("How many?", {}),
        ("Which?\n(A) x\n(B) y, z\n(C) (B) again", {"A": "x", "B": "y, z", "C": "(B) again"}),
        ("Which?\nA. x\nB. y\nAnswer with the letter.", {"A": "x", "B": "y"}),
        ("Which one does A. Turing mean?\nA. x\nB. y\nC. z", {"A": "x", "B": "y", "C": "z"}),
        ("Which?\nOptions: A: x, B: y z, C: w", {"A": "x", "B": "y z", "C": "w"}),
        ("Which? (A) x (B) y", {"A": "x", "B": "y"}),
    ],
)
def test_options_in_every_form_a_dataset_has(value: Any, expected: dict[str, str]) -> None:
    assert read_options(value) == expected

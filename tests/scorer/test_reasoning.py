"""Thoughts, stop tokens, invisible marks and markup, under every scorer."""

from __future__ import annotations

from typing import Any

import pytest
from cpu_time import own_seconds
from right_answers import RIGHT

from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer import score as scoring
from mmrope_eval.scorer.all import METRICS, SCORERS
from mmrope_eval.scorer.answer_part import answer_part, answer_words

THOUGHTS = [
    "<think>{wrong}</think>{right}",
    "<think>\n{wrong}\n</think>\n\n{right}",
    "<think>so it is {right}? or is {wrong}?</think>{right}",
    "so it is {wrong}, is it not?\n</think>\n\n{right}",
    "<thinking>{wrong}</thinking>\n{right}",
    "<THINK>{wrong}</THINK>{right}",
    "<thought>{wrong}</thought>{right}",
    "<reasoning>{wrong}</reasoning>{right}",
    "◁think▷{wrong}◁/think▷{right}",
    "{wrong}?◁/think▷{right}",
    "[THINK]{wrong}[/THINK]{right}",
    "<|begin_of_thought|>{wrong}<|end_of_thought|>{right}",
    "<think>{wrong}</think><think>{wrong}</think>{right}",
    "<think>{wrong} <think>{wrong}</think></think>{right}",
    "<|channel|>analysis<|message|>{wrong}<|end|><|start|>assistant<|channel|>final<|message|>{right}<|return|>",
    "<think>{wrong}</think><answer>{right}</answer>",
    "<think>{wrong}</think>\n<answer><|begin_of_box|>{right}<|end_of_box|></answer>",
]
HIDDEN = [
    "<think>{right}",
    "<think>{right}</think>",
    "{right}</think>",
    "◁think▷so it is {right}",
    "<thinking>\n{right}\n",
    "<think>a</think><think>{right}",
    "[THINK]{right}",
    "<|channel|>analysis<|message|>{right}",
    "<think>{wrong}</think><think>so it is {right}",
]
STOPS = [
    "{right}<|im_end|>",
    "{right}</s>",
    "{right}<|endoftext|>",
    "{right}<|eot_id|>",
    "{right}<end_of_turn>\n",
    "<s>{right}</s>",
    "{right}<|im_end|>\n<|endoftext|>",
    "<|im_start|>assistant\n{right}",
    "<|im_start|>assistant\n{right}<|im_end|>",
    "<|im_start|>user\n{wrong}?<|im_end|>\n<|im_start|>assistant\n{right}<|im_end|>",
    "{right}<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n{wrong}",
    "<|im_start|>assistant\n<think>{wrong}</think>\n{right}<|im_end|>",
    "<|assistant|>\n{right}<|end|>",
]
INVISIBLE = [
    "\u200b{right}",
    "{right}\u200b",
    "\ufeff{right}",
    "\u2060{right}\u2060",
    "\u200e{right}\u200f",
    "\u200d{right}",
    "\u202a{right}\u202c",
    "**\u200b{right}**",
    "\u00a0{right}\u3000",
]
MARKUP = [
    "**{right}**",
    "`{right}`",
    "***{right}***",
    "*{right}*",
    "__{right}__",
    "```\n{right}\n```",
    "\\boxed{{{right}}}",
    "$\\boxed{{{right}}}$",
    "<answer>{right}</answer>",
    "<answer>\n{right}\n</answer>",
    "\\boxed{{\\text{{{right}}}}}",
    "<|begin_of_box|>{right}<|end_of_box|>",
    "<b>{right}</b>",
    "<p>{right}</p>",
    "\\fbox{{{right}}}",
    "I looked twice. <answer>{right}</answer>",
    "Thus <|begin_of_box|>{right}<|end_of_box|>.",
]


def value(scorer: str, form: str) -> tuple[float | None, Any]:
    target, right, wrong = RIGHT[scorer]
    score = SCORERS[scorer](form.format(right=right, wrong=wrong), target)
    return score.values[METRICS[scorer][0]], score.parsed


def test_every_scorer_is_here() -> None:
    assert set(RIGHT) == set(SCORERS)
    for scorer in RIGHT:
        assert (value(scorer, "{right}")[0], value(scorer, "{wrong}")[0]) == (1.0, 0.0)


@pytest.mark.parametrize("form", [*THOUGHTS, *STOPS, *INVISIBLE, *MARKUP])
@pytest.mark.parametrize("scorer", RIGHT)
def test_what_surrounds_an_answer_changes_nothing(scorer: str, form: str) -> None:
    assert value(scorer, form)[0] == 1.0


@pytest.mark.parametrize("form", THOUGHTS)
@pytest.mark.parametrize("scorer", RIGHT)
def test_right_thoughts_do_not_save_a_wrong_answer(scorer: str, form: str) -> None:
    target, right, wrong = RIGHT[scorer]
    assert SCORERS[scorer](form.format(right=wrong, wrong=right), target).values[METRICS[scorer][0]] == 0.0


@pytest.mark.parametrize("form", HIDDEN)
@pytest.mark.parametrize("scorer", RIGHT)
def test_thoughts_without_an_answer_are_unread(scorer: str, form: str) -> None:
    assert value(scorer, form) == (0.0, None)


@pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "\u200b", "<|im_start|>assistant\n", "\ufeff\n", "<s></s>"])
@pytest.mark.parametrize("scorer", RIGHT)
def test_nothing_but_tokens_is_what_nothing_is(scorer: str, token: str) -> None:
    target = RIGHT[scorer][0]
    assert SCORERS[scorer](token, target) == scorers.score_failure(scorer, target)


def test_words_are_left_as_they_are() -> None:
    for text in (
        "a_b_c",
        "5 * 3 * 2",
        "$5",
        "$5 and $6",
        "x < y > z",
        "[12]",
        "it's",
        "C:\\temp",
        "a*",
        "**",
        "`",
        "# 1",
        "",
        "the answer is tea",
        "50%",
        "می\u200cخواهم",
        "3 </ 4",
    ):
        assert answer_part(text) == text
        assert answer_words(text) == text


def test_charts_official_number_is_the_reference_codes_on_the_answer_part() -> None:
    official = {
        text: scoring.score_relaxed(text, {"answer": "12"}).values["official"]
        for text in ("12", "**12**", "\\boxed{12}", "<think>9</think>12", "12</s>", "12%", "<answer>12</answer>")
    }
    assert official == {
        "12": 1.0,
        "**12**": 0.0,
        "\\boxed{12}": 0.0,
        "<think>9</think>12": 1.0,
        "12</s>": 1.0,
        "12%": 0.0,
        "<answer>12</answer>": 0.0,
    }
    assert scoring.score_relaxed("**12**", {"answer": "12"}).values["relaxed"] == 1.0


@pytest.mark.parametrize(
    ("response", "gold"), [("−5", "-5"), ("-5", "−5"), ("−5.0", "-5"), ("－5", "-5"), ("**−5**", "-5")]
)
def test_the_unicode_minus_is_a_minus(response: str, gold: str) -> None:
    assert scoring.score_relaxed(response, {"answer": gold}).values["relaxed"] == 1.0
    if response.strip("*")[1:] == gold[1:]:
        assert SCORERS["anls"](response, {"answers": [gold]}).values["anls"] == 1.0
        assert SCORERS["choice_or_exact"](response, {"answer": gold}).values["accuracy"] == 1.0
    assert scoring.score_relaxed("5", {"answer": "−5"}).values["relaxed"] == 0.0


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think>",
        "<|im_end|>",
        "<s>",
        "<",
        "◁think▷",
        "[THINK]",
        "<|channel|>final<|message|>",
        "<|im_start|>assistant\n",
        "**a",
        "_a",
        "`a",
        "{",
        "<b>",
        "$",
        "\\text{",
        "<answer>",
        "\u200d",
    ],
)
def test_time_is_bounded(piece: str) -> None:
    assert own_seconds(lambda: answer_words(piece * (100_000 // len(piece)))) < 3.0

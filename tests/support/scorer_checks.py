"""What holds for every scorer: cases in data/scoring, responses made to break it, and the clock."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cpu_time import own_seconds

from mmrope_eval.scorer.score import Scorer

CASES = Path(__file__).resolve().parents[1] / "cases" / "scoring"


def load(scorer: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / f"{scorer}.jsonl").read_text(encoding="utf-8").splitlines()]


def params(scorers: Iterable[str]) -> list[Any]:
    return [pytest.param(name, case, id=f"{name}: {case['case']}") for name in scorers for case in load(name)]


def check_case(scorer: Scorer, case: Mapping[str, Any]) -> None:
    score = scorer(case["response"], case["target"])
    for name, expected in case["expect"].items():
        assert score.values[name] == (None if expected is None else pytest.approx(expected, abs=1e-9)), name
    if "parsed" in case:
        assert score.parsed == case["parsed"]


def check_values(scorer: Scorer, response: str, target: Mapping[str, Any]) -> None:
    """In range, a function of the arguments alone (whatever the random state), and nothing for what is unreadable."""
    random.seed(1)
    first = scorer(response, target)
    random.seed(2)
    state = random.getstate()
    assert scorer(response, dict(target)) == first
    assert random.getstate() == state, "a scorer draws no random number"
    assert all(value is None or 0.0 <= value <= 1.0 for value in first.values.values())
    if first.parsed is None:
        assert not any(first.values.values())


PIECES = [
    *"[](){}<>,;:.-–!?%$*_`'\"\\/|=+&\n\t ",
    "A",
    "B",
    "C",
    "D",
    "E",
    "a",
    "b",
    "I",
    "(A)",
    "(b)",
    "B.",
    "C:",
    "D)",
    "A or B",
    "and",
    "not",
    "isn't",
    "the answer is",
    "The correct option is ",
    "Answer:",
    "final answer",
    "\\boxed{",
    "\\text{",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "option ",
    "choice",
    "I choose",
    "is correct",
    "is wrong",
    "red",
    "blue car",
    "a",
    "the",
    "Yes",
    "No",
    "All of the above",
    "Described",
    "12",
    "3.5",
    "1,000",
    "1e9",
    "1e999",
    "-",
    "9" * 40,
    "nan",
    "inf",
    "= ",
    "so ",
    "é",
    "ß",
    "İ",
    "Ｂ",
    "٣",
    "²",
    "答案是",
    "\x00",
    "\u2028",
    "\U0001f600",
    "\ud800",
]


def fuzzed(n: int) -> Iterator[str]:
    """`n` responses from nasty pieces, the same ones every time."""
    rng = random.Random(20261122)
    for _ in range(n):
        yield "".join(rng.choice(PIECES) + rng.choice(["", "", " "]) for _ in range(rng.randrange(25)))


LONG = [
    piece * (100_000 // len(piece))
    for piece in (
        "A ",
        "(A) ",
        "A, ",
        "A or ",
        "A. ",
        "A\n",
        "answer is ",
        "Answer: A or B, ",
        "option A, option B ",
        "not ",
        "\\boxed{",
        "{",
        "(",
        "\\boxed{{a}",
        "<answer>",
        "final answer ",
        "<think>",
        "</think>",
        "I choose ",
        "it is A, ",
        "than the be is option ",
        "*",
        "`$",
        "\\text{",
        " ",
        "\n",
        " \n",
        "9",
        "9,",
        "1,111",
        ".",
        "9.",
        "-",
        "is ",
        "so = ",
        "1e",
        "= 1\n",
        "'s ",
        "x",
        "red ",
        "invoice ",
    )
]


def check_time(scorer: Scorer, response: str, target: Mapping[str, Any]) -> None:
    """100 kB in a few seconds of processor time: anything quadratic takes minutes."""
    assert own_seconds(lambda: scorer(response, target)) < 20.0

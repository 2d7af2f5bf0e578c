"""Spans and boxes in the wordings that models use (cases/span_wordings.jsonl, cases/box_wordings.jsonl)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from cpu_time import own_seconds

from mmrope_eval.scorer.box import first_box
from mmrope_eval.scorer.score import score_span
from mmrope_eval.scorer.span import first_span

DATA = Path(__file__).resolve().parents[1] / "cases"


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", load("span_wordings.jsonl"), ids=lambda case: repr(case["response"][:60]))
def test_a_span_is_read_as_worded(case: dict[str, Any]) -> None:
    assert first_span(case["response"]) == (None if case["span"] is None else pytest.approx(tuple(case["span"])))


@pytest.mark.parametrize("case", load("box_wordings.jsonl"), ids=lambda case: repr(case["response"][:60]))
def test_a_box_is_read_as_worded(case: dict[str, Any]) -> None:
    assert first_box(case["response"]) == (None if case["box"] is None else tuple(case["box"]))


def test_the_prompts_example_is_an_echo_only_where_another_span_follows() -> None:
    echo = "The event happens in the 24.3 - 30.4 seconds."
    assert first_span(echo) == (24.3, 30.4)
    assert first_span(f"{echo} {echo}") == (24.3, 30.4)
    assert first_span(f"{echo} It starts at 3 and stops at 5.") == (3.0, 5.0)
    assert first_span("1.0 - 2.0 or 24.3 - 30.4") == (1.0, 2.0)
    target = {"span": [24.3, 30.4]}
    assert score_span(f"{echo} 12.3 - 15.6", target).values["iou"] == 0.0


def test_a_reversed_span_or_box_stays_reversed() -> None:
    assert first_span("from the 15th second to the 12th second") == (15.0, 12.0)
    assert first_box("(300, 400) and (100, 200)") == (300.0, 400.0, 100.0, 200.0)


@pytest.mark.parametrize("read", [first_span, first_box])
@pytest.mark.parametrize(
    "piece",
    [
        "1 ",
        "1 minute ",
        "from 1 ",
        "start 1 end ",
        "starts at 1, ",
        "1->",
        "从1秒",
        "x1: 1, ",
        "top-left (1, 2) ",
        "(1, 2) ",
        "[1 ",
        '"1" ',
        "**1** ",
        "<1>",
        "{",
        "```",
        "第",
        "between 1 ",
        "1:1 ",
        "x 1 to 2 y ",
        "1'1\" ",
        "a_",
        "1 2 3 ",
    ],
)
def test_time_is_bounded(read: Any, piece: str) -> None:
    assert own_seconds(lambda: read(piece * (100_000 // len(piece)))) < 5.0


def test_what_stands_around_a_span_or_a_box_does_not_matter() -> None:
    rng = random.Random(5)
    for case in load("span_wordings.jsonl"):
        left, right = (
            rng.choice(["", "\n", "\u200b", "<think>1 - 2</think>"]),
            rng.choice(["", "\n", "<|im_end|>", "</s>"]),
        )
        if case["span"] is not None:
            assert first_span(left + case["response"] + right) == pytest.approx(tuple(case["span"])), case

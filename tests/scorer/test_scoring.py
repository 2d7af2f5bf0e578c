"""Scorers: what each response is worth (cases in data/scoring), and what no response may ever do."""

from __future__ import annotations

import importlib
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from cpu_time import own_seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.lmms import metrics
from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer import score as scoring
from mmrope_eval.scorer.box import Box

CASES = Path(__file__).resolve().parents[1] / "cases" / "scoring"
TARGETS: dict[str, dict[str, Any]] = {
    "box": {"box": [10, 10, 50, 50], "coordinates": "absolute", "source_size": [200, 100], "used_size": [196, 112]},
    "relaxed": {"answer": "2,000", "group": "human"},
    "span": {"span": [10.0, 20.0]},
}


def load(scorer: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / f"{scorer}.jsonl").read_text(encoding="utf-8").splitlines()]


ALL = [pytest.param(scorer, case, id=f"{scorer}: {case['case']}")
       for scorer in TARGETS for case in load(scorer)]


@pytest.mark.parametrize(("scorer", "case"), ALL)
def test_case(scorer: str, case: dict[str, Any]) -> None:
    score = scorers.SCORERS[scorer](case["response"], case["target"])
    for name, expected in case["expect"].items():
        value = score.values[name]
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-9)), name
    if "parsed" in case:
        assert score.parsed == (None if case["parsed"] is None else tuple(case["parsed"]))


@pytest.mark.parametrize("scorer", TARGETS)
def test_there_are_at_least_twenty_cases_and_every_scorer_reports_what_it_declares(scorer: str) -> None:
    assert len(load(scorer)) >= 20
    assert tuple(scorers.SCORERS[scorer]("", TARGETS[scorer]).values) == scorers.METRICS[scorer]


FRAGMENTS = st.sampled_from([
    "[", "]", "(", ")", "{", "}", ",", "-", " to ", " - ", "–", ":", "%", "$", ".", "\n", "```json", '"bbox_2d"',
    "start", "end", "between", "and", "10", "20", "0.5", "1e9", "999999999999", "-3", "00:10", "nan", "inf", "٣", "²",
])
RESPONSES = st.one_of(st.text(max_size=60), st.lists(FRAGMENTS, max_size=25).map("".join))


@pytest.mark.parametrize("scorer", TARGETS)
@settings(max_examples=300, deadline=None)
@given(response=RESPONSES)
def test_values_are_in_range_and_depend_on_nothing_but_the_arguments(scorer: str, response: str) -> None:
    target = TARGETS[scorer]
    random.seed(1)
    first = scorers.SCORERS[scorer](response, target)
    random.seed(2)
    assert scorers.SCORERS[scorer](response, dict(target)) == first
    assert all(value is None or 0.0 <= value <= 1.0 for value in first.values.values())
    if first.parsed is None:
        assert not any(first.values.values()), "what cannot be read is worth nothing"


def fuzzed(n: int) -> list[str]:
    """Responses from nasty fragments, long ones included; the same every time."""
    rng = random.Random(20261122)
    pieces = ["[", "]", "(", ")", ",", ";", " ", "-", "–", ":", "%", "$", ".", "\n", "to", "and", "between",
              "start", "ends", "12", "3.5", "0", "1" * 40, "9,999", "x", "é", "\x00", "\U0001f600",
              "٣", "²", "e", "+", "inf", "<|box_end|>", '{"bbox_2d":', "00:59:59", "99:99"]
    return ["".join(rng.choices(pieces, k=rng.randrange(40))) for _ in range(n)]


@pytest.mark.parametrize("scorer", TARGETS)
def test_ten_thousand_fuzzed_responses_raise_nothing(scorer: str) -> None:
    for response in fuzzed(10_000):
        values = scorers.SCORERS[scorer](response, TARGETS[scorer]).values.values()
        assert all(value is None or 0.0 <= value <= 1.0 for value in values)


@pytest.mark.parametrize("scorer", TARGETS)
@pytest.mark.parametrize("response", ["1," * 50_000, "(" * 50_000, "1 - " * 25_000, "start 1 " * 10_000, "9" * 100_000,
                                      "[1 " * 30_000, "1:" * 30_000, " " * 100_000])
def test_time_is_bounded_on_endless_repetition(scorer: str, response: str) -> None:
    assert own_seconds(lambda: scorers.SCORERS[scorer](response, TARGETS[scorer])) < 2.0


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30), st.randoms())
def test_the_mean_does_not_depend_on_order_and_skips_what_does_not_apply(values: list[float | None], rng: Any) -> None:
    shuffled = list(values)
    rng.shuffle(shuffled)
    present = [v for v in values if v is not None]
    if not present:
        assert math.isnan(metrics.mean(values))
        return
    assert metrics.mean(shuffled) == metrics.mean(values)
    assert metrics.mean(values) == pytest.approx(sum(present) / len(present))


@given(response=RESPONSES, answer=st.sampled_from(["2,000", "64%", "Yes", "0", "1999", "[2, 3]"]))
def test_strict_is_never_more_generous_than_relaxed(response: str, answer: str) -> None:
    values = scoring.score_relaxed(response, {"answer": answer}).values
    assert (values["strict"] or 0) <= (values["relaxed"] or 0)


@given(a=st.tuples(*[st.floats(-1e4, 1e4)] * 4), b=st.tuples(*[st.floats(-1e4, 1e4)] * 4))
def test_overlap_is_symmetric(a: Box, b: Box) -> None:
    assert scoring.box_iou(a, b) == pytest.approx(scoring.box_iou(b, a))
    assert scoring.span_iou(a[:2], b[:2]) == pytest.approx(scoring.span_iou(b[:2], a[:2]))


@pytest.mark.parametrize("convention", ["absolute", "thousand", "unit"])
@given(x=st.floats(0, 0.4), y=st.floats(0, 0.4), w=st.floats(0.1, 0.5), h=st.floats(0.1, 0.5))
def test_a_perfect_answer_is_right_in_its_own_convention(
    convention: str, x: float, y: float, w: float, h: float
) -> None:
    source, used = (640, 480), (644, 476)
    size = {"absolute": used, "thousand": (1000, 1000), "unit": (1, 1)}[convention]
    answer = [x * size[0], y * size[1], (x + w) * size[0], (y + h) * size[1]]
    target = {"box": [x * 640, y * 480, (x + w) * 640, (y + h) * 480], "coordinates": convention,
              "source_size": source, "used_size": used}
    text = "[" + ", ".join(f"{value:.9f}" for value in answer) + "]"
    assert scoring.score_box(text, target).values["iou"] == pytest.approx(1.0, abs=1e-4)


def test_a_failed_sample_scores_what_an_empty_answer_scores() -> None:
    for scorer, target in TARGETS.items():
        score = scorers.score_failure(scorer, target)
        assert not any(score.values.values()) and score.parsed is None
        assert score.values[scorers.METRICS[scorer][0]] == 0.0
        assert scorers.score_failure(scorer, None).values[scorers.METRICS[scorer][0]] == 0.0


def stock(task: str) -> Any:
    """lmms-eval's own scoring module of a task."""
    from mmrope_eval.lmms.loader import quiet_lmms_eval

    quiet_lmms_eval()
    return importlib.import_module(f"lmms_eval.tasks.{task}.utils")


class TestAgainstStock:
    """Where lmms-eval's own scorers go wrong; each case fails there and passes here."""

    def test_a_spray_of_boxes(self) -> None:
        utils = stock("refcoco_grounding")
        from PIL import Image

        spray = "[0, 0, 40, 40] [100, 50, 140, 90] [60, 20, 99, 60]"
        doc = {"bbox": [100, 50, 40, 40], "image": Image.new("RGB", (200, 100)), "answer": ["dog"]}
        row = utils.refcoco_grounding_process_result(doc, [spray])["refcoco_grounding_ACC@0.5"]
        theirs = utils.refcoco_grounding_acc05([row])
        target = {"box": [100, 50, 140, 90], "coordinates": "absolute",
                  "source_size": (200, 100), "used_size": (200, 100)}
        assert (theirs, scoring.score_box(spray, target).values["acc_50"]) == (1.0, 0.0)

    @pytest.mark.parametrize(("response", "answer"), [("2,000", "2000"), ("Yes.", "Yes"), ("64%", "64")])
    def test_notation_in_chart_answers(self, response: str, answer: str) -> None:
        utils = stock("chartqa")
        theirs = utils.relaxed_correctness(response, answer)
        assert (theirs, scoring.score_relaxed(response, {"answer": answer}).values["relaxed"]) == (False, 1.0)

    @pytest.mark.parametrize(("response", "answer"), [(r, a) for r in ("1980", "64%", "Yes", "", "nan", "2,000")
                                                      for a in ("2020", "0.64", "yes", "0", "64%", "2000")])
    def test_official_is_the_reference_code(self, response: str, answer: str) -> None:
        utils = stock("chartqa")
        assert scoring.relaxed_by_reference_code(response, answer) == utils.relaxed_correctness(response, answer)

    def test_a_year_nearby(self) -> None:
        utils = stock("chartqa")
        assert utils.relaxed_correctness("1980", "2020")
        assert scoring.score_relaxed("1980", {"answer": "2020"}).values["strict"] == 0.0

    def test_a_reversed_interval_and_samples_with_equal_captions(self) -> None:
        utils = stock("charades_sta")
        doc = {"video": "v.mp4", "caption": "opens a door", "timestamp": [10.0, 20.0]}
        rows = [utils.temporal_grounding_process_results_generation(doc, [text])["charades_sta_mIOU"]
                for text in ("20 - 10", "90 - 99")]
        assert utils.temporal_grounding_aggregate_miou(rows[:1], None) == 100.0, "stock swaps the ends"
        assert utils.temporal_grounding_aggregate_miou(rows, None) == 0.0, "stock keeps one of two equal samples"
        ours = [scoring.score_span(text, {"span": doc["timestamp"]}).values["iou"] for text in ("10 - 20", "90 - 99")]
        assert metrics.mean(ours) == 0.5
        assert scoring.score_span("20 - 10", {"span": doc["timestamp"]}).values["iou"] == 0.0

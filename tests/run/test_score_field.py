"""Responses that were read wrongly in the field (cases/score_field.jsonl), through `score`'s own reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmrope_eval.run.score_file import Line, score_line, task_and_family

CASES = [json.loads(line) for line in
         (Path(__file__).resolve().parents[1] / "cases" / "score_field.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['task']}: {case['response'][:40]!r}")
def test_a_response_from_the_field_is_worth_what_a_reader_says(case: dict[str, Any]) -> None:
    spec, family = task_and_family(case["task"], "qwen2.5-vl", "thousand" if case["task"] == "refcoco_val" else None)
    line = score_line(1, json.dumps({"doc": case["doc"], "response": case["response"]}).encode(), Path(), spec, family)
    assert isinstance(line, Line)
    right, parsed = case["right"], line.score.parsed
    if isinstance(right, float):
        assert line.score.values[spec.metrics[0]] == right
    else:
        assert (list(parsed) if isinstance(parsed, tuple) else parsed) == right

"""A right answer that cannot be right is a listed failure when a run is planned: for every scorer, in every column."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval import cli
from mmrope_eval.errors import TargetError
from mmrope_eval.scorer.all import SCORERS
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.targets import check_target
from mmrope_eval.task.template import build_target
from mmrope_synth import build_world

REGISTRY = Registry()
NAN = math.nan
TWO = {"A": "cat", "B": "dog"}

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("choice", {"answer": "", "options": ["a", "b"]}, "empty"),
    ("choice", {"answer": None, "options": ["a", "b"]}, "empty"),
    ("choice", {"answer": NAN, "options": ["a", "b"]}, "not finite"),
    ("choice", {"answer": "C", "options": ["a", "b"]}, "'C' is none of the options A, B"),
    ("choice", {"answer": "cat", "options": TWO}, "none of the options"),
    ("choice", {"answer": "A", "options": []}, "no options can be read"),
    ("choice", {"answer": "A", "options": {"A": "nan", "B": None}}, "no options can be read"),
    ("choice", {"answer": "A", "options": "What is shown?"}, "no options can be read"),
    ("choice_or_open", {"answer": "Z", "options": "['a', 'b']"}, "none of the options"),
    ("choice_or_open", {"answer": "A", "options": "['a', 'b'"}, "no list that can be read"),
    ("choice_or_open", {"answer": "", "options": "[]"}, "empty"),
    ("choice_or_open", {"answer": None, "options": "[]"}, "missing"),
    ("choice_or_exact", {"answer": "C", "options": "Which? A. cat B. dog"}, "none of the options"),
    ("choice_or_exact", {"answer": " ", "options": "How many?"}, "empty"),
    ("relaxed", {"answer": None}, "missing"),
    ("relaxed", {"answer": ""}, "empty"),
    ("relaxed", {"answer": math.inf}, "not finite"),
    ("anls", {"answers": None}, "missing"),
    ("anls", {"answers": []}, "list of right answers is empty"),
    ("anls", {"answers": ["", " "]}, "empty"),
    ("anls", {"answers": ["x", None]}, "empty"),
    ("anls", {}, "missing"),
    ("anls", {"answers": {"a": "x"}}, "no text"),
    ("anls", {"answers": [["x"]]}, "no text"),
    ("contains", {"answers": ["x", {"text": "x"}]}, "no text"),
    ("relaxed", {"answer": {"value": 3}}, "no text"),
    ("vqa", {"answers": []}, "list of right answers is empty"),
    ("vqa", {"answers": "[]"}, "empty"),
    ("contains", {"answers": None}, "missing"),
    ("box", {"box": [NAN, 0, 1, 1]}, "not finite"),
    ("box", {"box": [0, 0, 1]}, "no box of four numbers"),
    ("box", {"box": None}, "no box of four numbers"),
    ("box", {"box": [0, 0, 1, 1, 1]}, "no box of four numbers"),
    ("box", {"box": [5, 5, 5, 9]}, "empty box"),
    ("box", {"box": [5, 5, 1, 9]}, "empty box"),
    ("box", {"box": ["1", "2", "3", "4"]}, "no box of four numbers"),
    ("span", {"span": [NAN, 2]}, "not finite"),
    ("span", {"span": [5.0]}, "no span of two times"),
    ("span", {"span": None}, "no span of two times"),
    ("span", {"span": [None, None]}, "no span of two times"),
    ("span", {"span": [9, 3]}, "empty span"),
    ("span", {"span": [3, 3]}, "empty span"),
]

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("choice", {"answer": "B", "options": ["a", "b"]}),
    ("choice", {"answer": "b", "options": ["a", "b"]}),
    ("choice", {"answer": "B", "options": TWO, "group": 3}),
    ("choice", {"answer": "D", "options": None}),
    ("choice", {"answer": "C", "options": "Which?\n(A) one\n(B) two\n(C) "}),
    ("choice_or_open", {"answer": "B", "options": "['a', 'b']"}),
    ("choice_or_open", {"answer": "['4', 'four']", "options": "[]"}),
    ("choice_or_exact", {"answer": "Yes", "options": "Is it?"}),
    ("choice_or_exact", {"answer": "B", "options": "Which? A. cat B. dog"}),
    ("relaxed", {"answer": "0", "group": "human"}),
    ("relaxed", {"answer": "None"}),
    ("anls", {"answers": ["", "x"]}),
    ("vqa", {"answers": ["dell"] * 10}),
    ("contains", {"answers": ["CENTRE"]}),
    ("box", {"box": [0.0, 0.0, 10.0, 12.5]}),
    ("span", {"span": [0.0, 2.5]}),
]


def identifier(case: Any) -> str | None:
    return str(case)[:60] if isinstance(case, dict | str) else None


@pytest.mark.parametrize(("scorer", "target", "message"), BAD, ids=identifier)
def test_what_no_answer_can_match(scorer: str, target: dict[str, Any], message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        check_target(scorer, target)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(("scorer", "target"), GOOD, ids=identifier)
def test_what_can_be_right(scorer: str, target: dict[str, Any]) -> None:
    check_target(scorer, target)


def test_every_scorer_has_cases() -> None:
    assert {scorer for scorer, *_ in BAD} == {scorer for scorer, *_ in GOOD} == set(SCORERS)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats(width=32) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("scorer", sorted(SCORERS))
@given(values=st.dictionaries(st.sampled_from(["answer", "answers", "options", "box", "span", "group"]), ODD))
def test_whatever_passes_can_be_scored_and_written(scorer: str, values: dict[str, Any]) -> None:
    """The end of a run never meets a target that its scorer cannot use."""
    try:
        check_target(scorer, values)
    except TargetError:
        return
    sizes = {"coordinates": "unit", "source_size": (9, 9), "used_size": (9, 9)} if scorer == "box" else {}
    for response in ("", "A", "[1, 2, 3, 4]", "2.0 - 3.5"):
        score = SCORERS[scorer](response, {**values, **sizes})
        json.dumps([dict(score.values), values], allow_nan=False)


AI2D = REGISTRY.tasks["ai2d"].target


@pytest.mark.parametrize("answer", ["", None, "C", "4", "-1", 4.0, "1.0", NAN])
def test_ai2d_reads_a_place_and_nothing_else(answer: Any) -> None:
    with pytest.raises(TargetError):
        check_target("choice", build_target(AI2D, {"answer": answer, "options": ["a", "b", "c", "d"]}))


@pytest.mark.parametrize("answer", ["2", 2])
def test_ai2d_reads_the_place_of_an_option(answer: Any) -> None:
    assert build_target(AI2D, {"answer": answer, "options": ["a", "b", "c", "d"]})["answer"] == "C"


class TestInARun:
    """One odd row is one listed failure, in `data check` and in a run; the others are asked and scored."""

    ODD = [
        ("charades_sta", "timestamp", [NAN, 2.0]), ("charades_sta", "timestamp", [5.0]),
        ("charades_sta", "timestamp", None), ("docvqa", "answers", None), ("docvqa", "answers", []),
        ("ocrbench", "answer", None), ("chartqa", "answer", None), ("ai2d", "answer", ""), ("ai2d", "answer", None),
        ("refcoco_val", "bbox", None), ("refcoco_val", "bbox", [1.0, 2.0, 3.0]), ("mmmu", "answer", "Z"),
    ]  # fmt: skip

    @pytest.fixture(scope="class")
    def world(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        columns = sorted({column for column, *_ in self.ODD})
        return build_world(tmp_path_factory.mktemp("world") / "mini", n=4, columns=columns)

    @pytest.mark.parametrize(("column", "field", "value"), ODD, ids=lambda value: str(value))
    @pytest.mark.parametrize("row", [0, 3])
    def test_it_is_listed_and_the_rest_goes_on(
        self, column: str, field: str, value: Any, row: int, world: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        root = spoil(world, tmp_path, column, field, value, row)
        assert cli.main(["data", "check", "--tasks", column, "--data-root", str(root), "--json", "--no-decode"]) == 1
        (task,) = json.loads(capsys.readouterr().out)["tasks"]
        assert len({problem.partition(":")[0] for problem in task["problems"]}) in (1, 2, 3)  # RefCOCO: its expressions
        assert all("target" in problem or "answer" in problem for problem in task["problems"])
        planned = planned_samples(root, column)
        bad = [sample for sample in planned if sample.problem is not None]
        assert bad and {sample.problem[0] for sample in bad} == {"target"} and len(bad) < len(planned)


def spoil(world: Path, tmp_path: Path, column: str, field: str, value: Any, row: int) -> Path:
    """A copy of a column's data set with one field of one row changed."""
    import shutil

    import pyarrow as pa
    import pyarrow.parquet as pq

    from mmrope_synth.schemas import TABLES

    dataset = TABLES[column].dataset
    shutil.copytree(world / dataset, tmp_path / dataset)
    path = tmp_path / dataset / TABLES[column].path
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[row][field] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return tmp_path


def planned_samples(root: Path, column: str) -> Any:
    from mmrope_eval.task.planner import Plans

    family = REGISTRY.family("qwen2.5-vl")
    return Plans([REGISTRY.tasks[column]], root, None).of(family)[column].samples

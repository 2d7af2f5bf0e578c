"""`mmrope-eval score`: any file of responses, scored as a run scores its own; no line can end or hide another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import suite_mirror
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval import cli
from mmrope_eval.run.score_file import BadLine, Line, score_line
from mmrope_eval.task.registry import Registry

REGISTRY = Registry()
BOX = {"bbox": [10, 10, 40, 40], "answer": ["dog"], "question_id": "1"}
CHART = {"answer": "2000", "type": "human_test", "question": "?"}


def write(path: Path, lines: list[Any]) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(text + "\n" for text in texts))
    return path


def score(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[dict[str, Any]], str]:
    capsys.readouterr()
    code = cli.main(["score", *argv])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize(("task", "doc", "response", "expected"), [
    ("chartqa", CHART, "2,000", {"relaxed": 1.0, "relaxed_human": 1.0, "relaxed_augmented": None, "official": 0.0}),
    ("chartqa", CHART, "1", {"relaxed": 0.0, "strict": 0.0}),
    ("charades_sta", {"timestamp": [10.0, 20.0]}, "from 10 to 20 seconds", {"iou": 1.0, "r1_70": 1.0}),
    ("charades_sta", {"timestamp": "[10.0, 20.0]"}, "20 - 10", {"iou": 0.0}),
    ("refcoco_val", {**BOX, "image_size": [100, 100]}, "[10, 10, 50, 50]", {"acc_50": 1.0}),
    ("mvbench", {"candidates": ["red", "blue"], "answer": "blue", "subset": "state_change"}, "B", {"accuracy": 1.0}),
    ("mmmu", {"id": "validation_Art_1", "options": "['a', 'b']", "answer": "B"}, "(B)", {"accuracy": 1.0}),
    ("ocrbench", {"answer": ["ivy"], "dataset": "svt", "question_type": "Handwriting Recognition"}, "ivy",
     {"contains": 1.0}),
])
def test_every_metric_of_a_line(
    task: str, doc: dict[str, Any], response: str, expected: dict[str, float | None], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, rows, err = score(capsys, task, str(write(tmp_path / "r.jsonl", [{"doc": doc, "response": response}])))
    assert code == 0
    assert {name: rows[0]["scores"][name] for name in expected} == expected
    assert f"{REGISTRY.tasks[task].column} {REGISTRY.tasks[task].metrics[0]}: " in err


SIZES = {
    "of a run's samples": {"media": [{"source_size": [200, 100], "used_size": [400, 200]}]},
    "in the line": {"image_size": [200, 100], "used_size": [400, 200]},
    "in doc": {"doc": {**BOX, "width": 200, "height": 100, "used_size": [400, 200]}},
    "in doc, long names": {"doc": {**BOX, "image_width": 200, "image_height": 100, "used_size": [400, 200]}},
    "of a picture file": {"doc": {**BOX, "image": "a.png", "used_size": [400, 200]}},
    "of a picture file in a mapping": {"doc": {**BOX, "image": {"path": "a.png"}}, "used_size": [400, 200]},
    "in place of a picture": {"doc": {**BOX, "image": {"width": 200, "height": 100}}, "used_size": [400, 200]},
}


@pytest.mark.parametrize("given_sizes", SIZES.values(), ids=SIZES.keys())
def test_where_a_boxs_sizes_may_stand(
    given_sizes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(suite_mirror.png(0, (200, 100)))
    line = {"doc": BOX, "response": "[20, 20, 100, 100]", **given_sizes}
    code, rows, err = score(capsys, "refcoco_val", str(write(tmp_path / "r.jsonl", [line])))
    assert (code, rows[0]["scores"]["iou"]) == (0, 1.0)
    assert "used_size" not in err


def test_an_unknown_resized_size_is_computed_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"doc": {**BOX, "image_size": [200, 100]}, "response": "[10, 10, 50, 50]"}
    file = str(write(tmp_path / "r.jsonl", [line]))
    _, rows, err = score(capsys, "refcoco_val", file)
    assert rows[0]["target"]["used_size"] == [196, 112] and "1 lines do not say the resized picture's size" in err
    _, rows, err = score(capsys, "refcoco_val", file, "--coordinates", "thousand")
    assert rows[0]["target"]["coordinates"] == "thousand" and "do not say" not in err
    _, rows, _ = score(capsys, "refcoco_val", file, "--prompts", "qwen3-vl")
    assert rows[0]["target"]["coordinates"] == "thousand"


@pytest.mark.parametrize("family, size", [("qwen2-vl", [1008] * 2), ("qwen3-vl", [992] * 2), ("paper", [1008] * 2)])
def test_an_unknown_resized_size_is_that_of_the_family_whose_boxes_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], family: str, size: list[int]
) -> None:
    """A token covers 28 pixels of a side in the one family and 32 in the other."""
    line = {"doc": {**BOX, "image_size": [1000, 1000]}, "response": "(1,2),(3,4)"}
    file = write(tmp_path / "boxes.jsonl", [line])
    argv = ["refcoco_val", str(file), "--prompts", family, "--coordinates", "absolute"]
    _, rows, _ = score(capsys, *argv)
    assert rows[0]["target"]["used_size"] == size



@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RefCOCO's box is [10, 8, 40, 30] in pictures of 96 x 64; ChartQA's answer to row i is 10 i."""
    return suite_mirror.build(tmp_path_factory.mktemp("world"), n=3)


class TestRowsById:
    """A line with an id and a response, and nothing else, is scored by the data set's row of that number."""

    @pytest.mark.parametrize(("task", "row", "response", "metric"), [
        ("chartqa", 2, "20", "relaxed"), ("charades_sta", 1, "from 0.5 to 9.5 seconds", "iou"),
        ("refcoco_val", 1, "[104, 125, 521, 594]", "iou"),  # thousandths of 96 x 64
    ])
    def test_is_scored_as_its_doc_would_be(
        self, task: str, row: int, response: str, metric: str, world: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        file = str(write(tmp_path / "r.jsonl", [{"id": f"{task}/{row}", "response": response}]))
        code, rows, _ = score(capsys, task, file, "--data-root", str(world), "--coordinates", "thousand")
        assert code == 0 and rows[0]["scores"][metric] > 0.99
        other = str(write(tmp_path / "o.jsonl", [{"id": f"{task}/{row}", "response": "0"}]))
        assert score(capsys, task, other, "--data-root", str(world))[1][0]["scores"][metric] == 0

    def test_a_pictures_resized_size_is_computed_and_said(
        self, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = str(write(tmp_path / "r.jsonl", [{"id": "refcoco_val/0", "response": "[9, 7, 44, 33]"}]))
        _, rows, err = score(capsys, "refcoco_val", file, "--data-root", str(world))
        assert rows[0]["target"]["source_size"] == [96, 64] and rows[0]["target"]["used_size"] == [84, 56]
        assert rows[0]["scores"]["acc_50"] == 1 and "1 lines do not say the resized picture's size" in err

    @pytest.mark.parametrize(("line", "sentence"), [
        ({"id": "docvqa/0", "response": "x"}, "its `id` is not chartqa/ROW"),
        ({"id": 3, "response": "x"}, "its `id` is not chartqa/ROW"),
        ({"id": "chartqa/-1", "response": "x"}, "its `id` is not chartqa/ROW"),
        ({"id": "chartqa/3", "response": "x"}, "its `id` names row 3 of chartqa, which has 3."),
        ({"id": "chartqa/1", "prediction": "x", "target": {"answer": "11"}},
         "its `target` has another answer than row chartqa/1 has here: the data set is not the run's"),
    ])
    def test_what_names_no_row_or_another_is_no_score(
        self, line: dict[str, Any], sentence: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = write(tmp_path / "r.jsonl", [line, {"id": "chartqa/1", "response": "10"}])
        code, rows, err = score(capsys, "chartqa", str(file), "--data-root", str(world))
        assert code == 1 and sentence in rows[0]["error"] and "Traceback" not in err
        assert rows[1]["scores"]["relaxed"] == 1

    def test_where_there_is_no_data_set_one_sentence_says_what_to_give(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = write(tmp_path / "r.jsonl", [{"id": "chartqa/1", "response": "10"}] * 3)
        code, rows, err = score(capsys, "chartqa", str(file), "--data-root", str(tmp_path))
        assert (code, rows, err.count("\n")) == (2, [], 1) and "names rows by `id`" in err and "fetch it with" in err


class TestARunsOwnSamples:
    """samples/TASK.jsonl is a file of responses: `prediction`, the picture's sizes, and how boxes were asked for."""

    TARGET: ClassVar = {"box": [10.0, 8.0, 50.0, 38.0], "source_size": [96, 64], "used_size": [960, 640]}
    MEDIA: ClassVar = [{"kind": "image", "source_size": [96, 64], "used_size": [960, 640]}]

    @pytest.mark.parametrize(("coordinates", "box"), [
        ("absolute", "[100, 80, 500, 380]"), ("thousand", "[104, 125, 521, 594]"),
    ])
    def test_are_scored_again_alike(
        self, coordinates: str, box: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = {**self.TARGET, "coordinates": coordinates}
        lines = [{"id": "refcoco_val/0", "prediction": text, "target": target, "media": self.MEDIA, "failure": None,
                  "thought_open": False, "scores": {}} for text in (box, None)]
        file = str(write(tmp_path / "r.jsonl", lines))
        code, rows, err = score(capsys, "refcoco_val", file, "--data-root", str(world))
        assert code == 0 and rows[0]["scores"]["iou"] > 0.98 and rows[0]["target"] == target
        assert rows[1]["scores"]["iou"] == 0 and "1 failed" in err and "do not say" not in err

    def test_coordinates_that_are_given_go_before_theirs(
        self, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = {"id": "refcoco_val/0", "prediction": "[0.104, 0.125, 0.521, 0.594]", "media": self.MEDIA,
                "target": {**self.TARGET, "coordinates": "absolute"}}
        file = str(write(tmp_path / "r.jsonl", [line]))
        _, rows, _ = score(capsys, "refcoco_val", file, "--data-root", str(world), "--coordinates", "unit")
        assert rows[0]["scores"]["iou"] > 0.98


BAD = {
    "it is not JSON": "{",
    "it is not a JSON object": "[1]",
    "it has no `doc`": {"response": "x"},
    "it has no `response`": {"doc": BOX},
    "its `doc` is not an object": {"doc": 1, "response": "x"},
    "its `response` is neither a text nor null": {"doc": BOX, "response": 1},
    "how large the picture is": {"doc": BOX, "response": "x"},
    "its `image_size` is not a width and a height": {"doc": {**BOX, "image_size": [0, 1]}, "response": "x"},
    "cannot be read (FileNotFoundError)": {"doc": {**BOX, "image": "gone.png"}, "response": "x"},
    "the target 'box'": {"doc": {"image_size": [1, 1]}, "response": "x"},
    "the target 'box' cannot be read": {"doc": {"bbox": ["a", 1, 2, 3], "image_size": [9, 9]}, "response": ""},
    "the right answer is no box": {"doc": {"bbox": [[], [], [], []], "image_size": [9, 9]}, "response": "[1, 2]"},
    "1e999 is too large for a number": '{"doc": {"bbox": [1e999, 1, 2, 3], "image_size": [9, 9]}, "response": ""}',
    "nested too deeply": "[" * 100_000,
    "NaN is not a JSON value": '{"doc": {"bbox": [NaN, 1, 2, 3], "image_size": [9, 9]}, "response": ""}',
}


def test_bad_lines_are_named_and_cost_no_other_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"doc": {**BOX, "image_size": [100, 100]}, "response": "[10, 10, 50, 50]", "id": "g"}
    lost = {"doc": {**BOX, "image_size": [100, 100]}, "response": None}
    lines = [good, *BAD.values(), lost, good]
    code, rows, err = score(capsys, "refcoco_val", str(write(tmp_path / "r.jsonl", lines)))
    assert code == 1
    assert [row["line"] for row in rows] == list(range(1, len(lines) + 1))
    errors = [line for line in err.splitlines() if line.startswith("mmrope-eval: error: ")]
    for number, (sentence, row, message) in enumerate(zip(BAD, rows[1:-2], errors, strict=True), 2):
        assert sentence in row["error"] and f"line {number}: " in message and sentence in message
    assert rows[0]["scores"] == rows[-1]["scores"] and rows[0]["id"] == "g"
    assert max(map(len, errors)) <= 200
    assert rows[-2]["scores"] == {"acc_50": 0.0, "iou": 0.0}
    assert "RefCOCO val acc_50: 66.67" in err and f"3 of {len(lines)} lines scored; 1 failed" in err


def test_half_an_emoji_is_scored_and_written_as_its_escape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # What json.dumps makes of an answer that was cut in the middle of a character.
    lines = [{"doc": {"answers": ["x \ud83d"]}, "response": text} for text in ("x \ud83d", "x", "ok \ud83d")]
    file, out = str(write(tmp_path / "r.jsonl", lines)), tmp_path / "scored.jsonl"
    code, printed, _ = score(capsys, "docvqa", file)
    assert (code, [row["scores"]["exact"] for row in printed]) == (0, [1.0, 0.0, 0.0])
    assert score(capsys, "docvqa", file, "--output", str(out))[0] == 0
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert written == printed and written[2]["parsed"] == "ok \ud83d"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl", "scored.jsonl"], "no temporary file is left"


@pytest.mark.parametrize("line", [
    {"doc": {**CHART, "answer": {"x": "y" * 100_000}}, "response": "1"},
    {"doc": {"answer\x1b[2J" * 5_000: 1}, "response": "1"},
    {"doc": {"answers": "z" * 100_000}, "response": ["z" * 100_000]},
    '{"doc": {"answer": "' + "w" * 100_000,
    '{"doc": {"answer": 1' + "0" * 5_000 + '}, "response": "1"}',
], ids=["value", "name", "response", "cut off", "number"])
@pytest.mark.parametrize("task", ["chartqa", "star", "docvqa", "refcoco_val"])
def test_an_error_line_is_short_whatever_the_line_holds(
    task: str, line: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    _, _, err = score(capsys, task, str(write(folder / "r.jsonl", [line])))
    assert max(map(len, err.splitlines())) <= 200 and "\x1b" not in err
    assert all("line 1: " in row for row in err.splitlines() if row.startswith("mmrope-eval: error"))


@pytest.mark.parametrize(("argv", "expected"), [
    (["chartq", "r.jsonl"], "did you mean 'chartqa'"),
    (["grounding", "r.jsonl"], "'grounding' means 8 tasks"),
    (["chartqa", "gone.jsonl"], "gone.jsonl cannot be read"),
    (["chartqa", "r.jsonl", "--prompts", "qwen25-vl"], "did you mean 'qwen2.5-vl'"),
])
def test_bad_input(
    argv: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("r.jsonl"), [])
    code, rows, err = score(capsys, *argv)
    assert (code, rows) == (2, []) and expected in err and len(err.splitlines()) == 1


def test_both_numbers_and_where_they_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"doc": CHART, "response": text} for text in ("2,000", "2000", "no")]
    out = tmp_path / "out/scored.jsonl"
    file = str(write(tmp_path / "r.jsonl", lines))
    code, printed, err = score(capsys, "chartqa", file, "--scorer", "stock", "--output", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (code, printed) == (0, [])
    assert [(row["scores"]["relaxed"], row["stock"], row["agree"]) for row in rows] == [
        (1.0, 0.0, False), (1.0, 1.0, True), (0.0, 0.0, True)]
    assert "ChartQA relaxed: 66.67" in err
    assert "lmms-eval chartqa relaxed_overall: 33.33 (1 of 3 samples differ" in err


def test_no_stock_number_is_said_and_ours_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doc = {"choices": [{"choice_id": 0, "choice": "red"}], "answer": "red", "question_id": "Sequence_1"}
    file = str(write(tmp_path / "r.jsonl", [{"doc": doc, "response": "A"}]))
    code, rows, err = score(capsys, "star", file, "--scorer", "stock")
    assert (code, rows[0]["scores"]["accuracy"]) == (1, 1.0)
    assert "lmms-eval has no task for 'star'" in err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2000) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8,
)
FIELDS = st.sampled_from(["bbox", "answer", "answers", "options", "timestamp", "image_size", "image", "type", "id",
                          "question", "choices", "width", "height", "used_size", "candidates", "subset", "index"])


@given(task=st.sampled_from(sorted(REGISTRY.tasks)), response=st.text(max_size=20),
       doc=st.dictionaries(FIELDS, JSON, max_size=6), media=JSON)
@settings(max_examples=200)
def test_no_line_ends_the_command(task: str, response: str, doc: dict[str, Any], media: Any) -> None:
    spec, family = REGISTRY.tasks[task], REGISTRY.family("qwen2.5-vl")
    text = json.dumps({"doc": doc, "response": response, "media": media}).encode()
    outcome = score_line(1, text, Path("/nowhere"), spec, family)
    if isinstance(outcome, Line):
        json.dumps(outcome.row(), allow_nan=False)
        assert all(value is None or 0 <= value <= 1 for value in outcome.score.values.values())
    else:
        assert isinstance(outcome, BadLine) and outcome.cause.endswith((".", ")."))

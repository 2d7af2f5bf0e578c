"""lmms-eval's own numbers: every stock task called for real, its faults contained, and where it and we disagree."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from PIL import Image

from mmrope_eval.lmms import stock
from mmrope_eval.record import aggregate
from mmrope_eval.run.side_by_side import SECONDS, second_number
from mmrope_eval.scorer import choice, text
from mmrope_eval.scorer import score as scoring
from mmrope_eval.scorer.all import SecondError, SecondItem, SecondResult
from mmrope_eval.task.registry import Registry

pytest.importorskip("lmms_eval")

TASKS = Registry().tasks
COLUMNS = [name for name, spec in TASKS.items() if spec.stock is not None]
IMAGE = Image.new("RGB", (200, 100))
MC = {"question": "Which?", "answer": "B"}
MMBENCH = {"index": 7, "hint": "nan", "source": "s", "split": "dev", "category": "c", "L2-category": "l", "A": "red",
           "B": "blue", "C": "green", "D": "grey", **MC}
DOCS: dict[str, dict[str, Any]] = {
    "mmmu": {
        "id": "validation_Art_1",
        "question_type": "multiple-choice",
        "options": "['red', 'blue', 'green', 'grey']",
        **MC,
    },
    "mmbench": MMBENCH,
    "mmbench_cn": {**MMBENCH, "A": "红色", "B": "蓝色", "C": "绿色", "D": "灰色"},
    "mmstar": {"index": 1, "category": "math", "l2_category": "geometry", **MC},
    "ocrbench": {"dataset": "svt", "question_type": "Regular Text Recognition", "question": "?", "answer": ["B"]},
    "ai2d": {"question": "Which?", "options": ["red", "blue", "green", "grey"], "answer": "1"},
    "realworldqa": {**MC, "question": "Which?\nA. red\nB. blue\nC. green"},
    "docvqa": {"question": "?", "answers": ["B", "b"]},
    "infovqa": {"question": "?", "answers": ["B", "b"]},
    "textvqa": {"question_id": 1, "question": "?", "answers": ["B"] * 10},
    "chartqa": {"type": "human_test", "question": "?", "answer": "B"},
    "blink": {"idx": "val_Jigsaw_1", "sub_task": "Jigsaw", "choices": ["the second image", "the third image", "none"],
              "answer": "(B)", "question": "?", "prompt": "?"},
    "mvbench": {"question": "?", "candidates": ["red", "blue", "green"], "answer": "blue"},
    "videomme": {
        "videoID": "v",
        "question_id": "1",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Law",
        "task_type": "OCR Problems",
        **MC,
    },
    "lvbench": {"question_type": ["reasoning"], **MC},
    "mlvu": {"task_type": "ego", **MC},
    "charades_sta": {"video": "v.mp4", "caption": "opens a door", "timestamp": [10.0, 20.0]},
}
BOX = {"bbox": [10, 10, 40, 40], "answer": ["dog"], "question_id": 1, "image": IMAGE}
RIGHT = {"charades_sta": "10 - 20"}
WRONG = {"charades_sta": "50 - 60"}


def stock_score(column: str, items: list[SecondItem]) -> SecondResult:
    """lmms-eval's number by the counterpart that the column's task file declares."""
    return second_number(SECONDS["stock"], TASKS[column], items)


def doc_of(column: str) -> dict[str, Any]:
    return DOCS.get(column.removesuffix("_subtitles"), BOX)


def answer_of(column: str, right: bool) -> str:
    if column.startswith("refcoco"):
        return "[10, 10, 50, 50]" if right else "[150, 60, 190, 90]"
    return RIGHT.get(column, "B") if right else WRONG.get(column, "C")


@pytest.mark.parametrize("column", COLUMNS)
def test_every_stock_task_gives_100_for_right_answers_and_a_value_per_sample(column: str) -> None:
    right = SecondItem(doc_of(column), answer_of(column, True))
    wrong = SecondItem(
        {**doc_of(column), "index": 8, "id": "validation_Art_2", "caption": "sits"}, answer_of(column, False)
    )
    # These two divide by what is not there: OCRBench by 1,000 questions, MLVU by seven tasks.
    shrink = {"ocrbench": 1 / 1000, "mlvu": 1 / 7}.get(column, 1.0)
    alone, both = stock_score(column, [right]), stock_score(column, [right, wrong])
    assert alone.value == pytest.approx(100 * shrink)
    assert both.value == pytest.approx((100 if column == "ocrbench" else 50) * shrink)
    assert both.samples == (1.0, 0.0)
    assert alone.value == stock_score(column, [right]).value, "a second call gives the same"


def test_there_is_a_stock_task_for_every_column_but_star() -> None:
    assert set(TASKS) - set(COLUMNS) == {"star", "needle"}
    assert {spec.stock.task for spec in TASKS.values() if spec.stock is not None} == set(stock.STOCK)
    with pytest.raises(SecondError, match="'mmmu_vall' is not called here; those that are: mmmu_val, "):
        stock.stock_score("mmmu_vall", [SecondItem(MC, "B")])
    with pytest.raises(SecondError, match="has no task for 'star'"):
        stock_score("star", [SecondItem(MC, "B")])
    with pytest.raises(SecondError, match="zero responses"):
        stock_score("ai2d", [])


def numpy_words() -> list[int]:
    """The state of numpy's own generator."""
    words: list[int] = numpy.random.get_state(legacy=False)["state"]["key"].tolist()
    return words


def test_nothing_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stock_score("mmmu", [SecondItem(DOCS["mmmu"], "B")])  # imports
    capfd.readouterr()
    monkeypatch.chdir(tmp_path)
    random.seed(5)
    numpy.random.seed(5)
    state, numpy_state, modules = random.getstate(), numpy_words(), set(sys.modules)
    docs = json.dumps(DOCS)
    for column in COLUMNS:
        stock_score(column, [SecondItem(doc_of(column), "no answer at all")])
    assert random.getstate() == state and numpy_words() == numpy_state
    assert not [name for name in set(sys.modules) - modules if "_mmrope_stock" in name]
    assert json.dumps(DOCS) == docs, "rows are copied"
    assert list(tmp_path.iterdir()) == [], "no file is left where the program runs"
    out, err = capfd.readouterr()
    assert out == "" and "Evaluation on" not in err


@pytest.mark.parametrize(
    ("column", "doc", "match"),
    [
        (
            "mmmu",
            {"id": "no number", "question_type": "multiple-choice", "options": "['a', 'b']", "answer": "A"},
            "mmmu_val fails on sample 0",
        ),
        ("videomme", {**DOCS["videomme"], "domain": "Unheard of"}, "videomme fails: KeyError"),
        ("mvbench", {"question": "?"}, "mvbench fails on sample 0: KeyError: 'candidates'"),
    ],
)
def test_a_fault_is_one_sentence(column: str, doc: dict[str, Any], match: str) -> None:
    with pytest.raises(SecondError, match=match) as caught:
        stock_score(column, [SecondItem(doc, "A")])
    assert "\n" not in str(caught.value)


def test_system_exit_stops_here() -> None:
    def leave(*_: Any) -> Any:
        sys.exit("video path: x does not exist, please check")

    task = dataclasses.replace(stock.STOCK["ai2d"], process=leave)
    with pytest.raises(SecondError, match="SystemExit: video path"):
        stock.stock_score("ai2d", [SecondItem(DOCS["ai2d"], "B")], {"ai2d": task})


def test_a_missing_installation_is_named() -> None:
    with pytest.raises(SecondError, match=r"no_such_task\.utils is not installed"):
        stock.fresh_module("no_such_task.utils")


@pytest.mark.parametrize("picture", ["pil", "bytes", "path", "size"])
def test_the_size_of_a_picture_in_any_form(picture: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    IMAGE.save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    forms = {
        "pil": IMAGE,
        "bytes": {"bytes": stream.getvalue(), "path": None},
        "path": {"path": str(tmp_path / "a.png")},
        "size": {"width": 200, "height": 100},
    }
    doc = {**BOX, "image": forms[picture]}
    assert stock_score("refcoco_val", [SecondItem(doc, "[50, 100, 250, 500]")]).value == 100.0


# --------------------------------------------------------------------------------------------------------------
# The known traps: the stock number is wrong, ours is right. Each calls lmms-eval's own code.


def ours(column: str, scorer: scoring.Scorer, rows: list[tuple[dict[str, Any], str]]) -> float:
    items = []
    for target, response in rows:
        score = scorer(response, target)
        items.append(aggregate.Item.of(next(iter(score.values.values())), target))
    return 100 * aggregate.AGGREGATES[TASKS[column].average](items).value


BEST = "The best answer is B. All the other options are not Described in the video."


@pytest.mark.parametrize("column", ["mmstar", "realworldqa", "videomme", "lvbench", "mlvu"])
def test_best_answer_b_all_described(column: str) -> None:
    doc = DOCS[column]
    samples = stock_score(column, [SecondItem(doc, BEST)]).samples
    assert samples == (0.0,), "stock reads a letter of a word after the answer"
    read = stock_score(column, [SecondItem({**doc, "answer": "D"}, BEST)]).samples[0]
    assert read == 1.0, "namely the D of 'Described'"
    assert choice.score_choice(BEST, {"answer": "B", "options": 4}).values["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("column", "response"),
    [
        ("mvbench", "a man is walking"),
        ("mmstar", "A man is walking"),
        ("lvbench", "A man is walking"),
        ("mmmu", "A man is walking"),
    ],
)
def test_a_man_is_no_answer_a(column: str, response: str) -> None:
    doc = {**DOCS[column], "answer": "red" if column == "mvbench" else "A"}
    assert stock_score(column, [SecondItem(doc, response)]).samples == (1.0,)
    score = choice.score_choice(response, {"answer": "A", "options": ["red", "blue", "green", "grey"]})
    assert (score.values["accuracy"], score.parsed) == (0.0, None)


def test_mmmu_guesses_and_we_do_not() -> None:
    rows = [{**DOCS["mmmu"], "id": f"validation_Art_{i}"} for i in range(200)]
    items = [SecondItem(row, "I cannot see it") for row in rows]
    stocked = stock_score("mmmu", items)
    assert 10 < stocked.value < 45, "chance, for answers that say nothing"
    assert stocked.note is not None and "random" in stocked.note
    assert stock_score("mmmu", items[::-1]).samples == stocked.samples[::-1], (
        "seeded by row: no sample depends on another"
    )
    target = {"answer": "B", "options": DOCS["mmmu"]["options"], "group": "Art"}
    assert ours("mmmu", text.score_choice_or_open, [(target, "I cannot see it")] * 200) == 0.0


def test_mmmu_list_of_answers_written_as_text() -> None:
    doc = {**DOCS["mmmu"], "question_type": "open", "options": "[]", "answer": "['24/7', '3.429']"}
    assert stock_score("mmmu", [SecondItem(doc, "The answer is 3.43")]).value == 0.0
    target = {"answer": doc["answer"], "options": "[]", "group": "Art"}
    assert ours("mmmu", text.score_choice_or_open, [(target, "The answer is 3.43")]) == 100.0


@pytest.mark.parametrize("column", ["mlvu", "lvbench", "realworldqa", "mmstar"])
def test_letters_beyond_d(column: str) -> None:
    assert stock_score(column, [SecondItem({**DOCS[column], "answer": "F"}, "(F)")]).samples == (0.0,)
    assert choice.score_choice("(F)", {"answer": "F", "options": 6}).values["accuracy"] == 1.0


def test_ocrbench_sum_doubles_and_a_part_is_divided_by_a_thousand() -> None:
    import lmms_eval.tasks.ocrbench.utils as shared

    results = [shared.ocrbench_process_results(DOCS["ocrbench"], ["B"])["ocrbench_accuracy"]]
    before = dict(shared.OCRBench_score)
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = SimpleNamespace(output_path=folder)
            first, second = (shared.ocrbench_aggregate_accuracy(results, place) for _ in range(2))
    finally:
        shared.OCRBench_score.update(before)
    assert second == pytest.approx(first + 0.001), "stock remembers the first call"
    assert stock_score("ocrbench", [SecondItem(DOCS["ocrbench"], "B")] * 10).value == pytest.approx(1.0), (
        "10 of 10 is 1 %"
    )
    target = {"answers": ["B"], "dataset": "svt", "group": "Regular Text Recognition"}
    assert ours("ocrbench", text.score_contains, [(target, "B")] * 10) == 100.0


def test_ocrbench_empty_answer_is_in_every_response() -> None:
    doc = {**DOCS["ocrbench"], "answer": [""]}
    assert stock_score("ocrbench", [SecondItem(doc, "anything")]).samples == (1.0,)
    assert text.score_contains("anything", {"answers": [""]}).values["contains"] == 0.0


def test_mmstar_is_a_mean_of_six_categories_not_of_eighteen() -> None:
    rows = (
        [("geometry", "B")] * 6
        + [("numeric commonsense and calculation", "C")] * 2
        + [("statistical reasoning", "C")] * 2
    )
    items = [SecondItem({**DOCS["mmstar"], "l2_category": l2}, response) for l2, response in rows]
    assert stock_score("mmstar", items).value == pytest.approx(100 / 3)
    targets = [({"answer": "B", "options": 4, "group": "math"}, response) for _, response in rows]
    assert ours("mmstar", choice.score_choice, targets) == pytest.approx(60.0)


def test_mvbench_blanks_stay_in_the_denominator() -> None:
    rows = [("action_count", "B"), ("action_count", ""), ("action_count", " "), ("state_change", "B")]
    items = [SecondItem(DOCS["mvbench"], response, group) for group, response in rows]
    assert stock_score("mvbench", items).value == 100.0
    target = {"answer": "B", "options": DOCS["mvbench"]["candidates"]}
    mine = ours("mvbench", choice.score_choice, [({**target, "group": group}, response) for group, response in rows])
    assert mine == pytest.approx((100 / 3 + 100) / 2)


def test_mlvu_mean_over_the_tasks_there_are() -> None:
    items = [SecondItem({**DOCS["mlvu"], "task_type": task}, "B") for task in ("ego", "count")]
    assert stock_score("mlvu", items).value == pytest.approx(200 / 7), "five absent tasks count as zero"
    targets = [({"answer": "B", "options": 4, "group": task}, "B") for task in ("ego", "count")]
    assert ours("mlvu", choice.score_choice, targets) == 100.0


def test_charades_swaps_ends_and_merges_samples() -> None:
    doc = DOCS["charades_sta"]
    assert stock_score("charades_sta", [SecondItem(doc, "20 - 10")]).value == 100.0
    assert scoring.score_span("20 - 10", {"span": [10, 20]}).values["iou"] == 0.0
    both = stock_score("charades_sta", [SecondItem(doc, "10 - 20"), SecondItem(doc, "50 - 60")])
    assert (both.value, both.samples) == (0.0, (1.0, 0.0)), "the second of two equal queries replaces the first"
    assert (
        ours("charades_sta", scoring.score_span, [({"span": [10, 20]}, "10 - 20"), ({"span": [10, 20]}, "50 - 60")])
        == 50.0
    )


def test_grounding_takes_the_best_of_many_boxes_and_readings() -> None:
    doc = {**BOX, "bbox": [100, 50, 40, 40]}
    spray = "[0, 0, 40, 40] [100, 50, 140, 90] [60, 20, 99, 60]"
    target = {"box": [100, 50, 140, 90], "coordinates": "absolute", "source_size": (200, 100), "used_size": (200, 100)}
    assert stock_score("refcoco_val", [SecondItem(doc, spray)]).value == 100.0
    assert scoring.score_box(spray, target).values["acc_50"] == 0.0
    thousand = "[500, 500, 700, 900]"
    assert stock_score("refcoco_val", [SecondItem(doc, thousand)]).value == 100.0
    assert scoring.score_box(thousand, target).values["acc_50"] == 0.0, "the declared convention is pixels"


def test_bbox_rec_reads_only_boxes_from_0_to_1() -> None:
    module = stock.fresh_module("refcoco.utils_rec")
    doc = {"answer": "dog", "question_id": 1, "bbox": [0.5, 0.5, 0.7, 0.9]}
    results = [module.refcoco_bbox_rec_process_result(doc, ["[100, 50, 140, 90]"])["refcoco_ACC@0.5"]]
    assert module.refcoco_bbox_rec_acc05(results) == 0.0
    target = {"box": [100, 50, 140, 90], "coordinates": "absolute", "source_size": (200, 100), "used_size": (200, 100)}
    assert scoring.score_box("[100, 50, 140, 90]", target).values["acc_50"] == 1.0


@pytest.mark.parametrize(("response", "answer"), [("2,000", "2000"), ("Yes.", "Yes"), ("64%", "64")])
def test_chartqa_notation(response: str, answer: str) -> None:
    doc = {**DOCS["chartqa"], "answer": answer}
    assert stock_score("chartqa", [SecondItem(doc, response)]).value == 0.0
    assert scoring.score_relaxed(response, {"answer": answer}).values["relaxed"] == 1.0


def test_chartqa_years_within_five_per_cent() -> None:
    assert stock_score("chartqa", [SecondItem({**DOCS["chartqa"], "answer": "2020"}, "1980")]).value == 100.0
    assert scoring.score_relaxed("1980", {"answer": "2020"}).values["strict"] == 0.0


def test_anls_is_not_raised_by_blanks() -> None:
    doc, response = {"answers": ["invoice"]}, "i" + " " * 12 + "x"
    assert stock_score("docvqa", [SecondItem(doc, response)]).value > 50
    assert text.score_anls(response, doc).values["anls"] == 0.0


def test_ai2d_reads_hardly_any_form() -> None:
    for response in ("The answer is B.", "(B) blue", "Option B", "blue"):
        assert stock_score("ai2d", [SecondItem(DOCS["ai2d"], response)]).value == 0.0
        assert (
            choice.score_choice(response, {"answer": "B", "options": DOCS["ai2d"]["options"]}).values["accuracy"] == 1.0
        )


def test_textvqa_gives_credit_for_silence() -> None:
    doc = {**DOCS["textvqa"], "answers": ["the"] * 10}
    assert stock_score("textvqa", [SecondItem(doc, "")]).value == 100.0
    assert text.score_vqa("", doc).values["vqa"] == 0.0


def test_mmbench_circular_on_both_sides() -> None:
    rotations = [{**DOCS["mmbench"], "index": 7 + i * 1_000_000} for i in range(2)]
    items = [SecondItem(rotations[0], "B"), SecondItem(rotations[1], "C")]
    result = stock_score("mmbench", items)
    assert (result.value, result.samples) == (0.0, (1.0, 0.0))
    targets = [({"answer": "B", "options": 4, "group": 7}, item.response) for item in items]
    assert ours("mmbench", choice.score_choice, targets) == 0.0

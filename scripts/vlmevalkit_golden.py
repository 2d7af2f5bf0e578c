"""What VLMEvalKit itself makes of a fixed set of responses: writes tests/golden/vlmevalkit.jsonl.

    PYTHON scripts/vlmevalkit_golden.py

PYTHON is the interpreter of an environment with the extra `vlmevalkit`. One line a column: the data set's rows
(`docs`), the responses to them, the request that our adapter makes of these, the worker's reply, and `whole`: the
number that VLMEvalKit's own evaluation of the whole data set gives for the responses that are not blank (it reads them
from a table, in which a blank one is not a number). The rows and the responses are ours. Two of its functions leave a
file named after the time in the system's folder for temporary files.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval.scorer.all import SecondItem
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.template import build_target
from mmrope_eval.vlmevalkit import scores, worker

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "vlmevalkit.jsonl"
Doc = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

# --------------------------------------------------------------------------------------------------------------
# Rows and responses

COLORS = {"A": "red", "B": "blue", "C": "green", "D": "grey"}
CHINESE = {"A": "红色", "B": "蓝色", "C": "绿色", "D": "灰色"}
LINES = "\n".join(f"({letter}) {text}" for letter, text in COLORS.items())
MMBENCH = {"hint": "nan", "source": "s", "split": "dev", "category": "c", "L2-category": "l", "question": "Which?"}
MME = {"videoID": "v", "question_id": "1", "domain": "Knowledge", "sub_category": "Law", "task_type": "OCR Problems",
       "options": [f"{letter}. {text}" for letter, text in COLORS.items()], "answer": "B"}
DOCS: dict[str, list[Doc]] = {
    "mmmu": [
        {"id": "validation_Art_1", "question": "Which?", "options": "['red', 'blue', 'green', 'grey']", "answer": "B"},
        {"id": "validation_Math_2", "question": "How often?", "options": "[]", "answer": "24/7"},
        {"id": "validation_Math_3", "question": "How many?", "options": "[]", "answer": "['blue', 'navy blue']"},
    ],
    "mmbench": [
        {**MMBENCH, "index": 7, "answer": "B", **COLORS},
        {**MMBENCH, "index": 1_000_007, "answer": "C", "A": "grey", "B": "red", "C": "blue", "D": "green"},
    ],
    "mmbench_cn": [
        {**MMBENCH, "index": 7, "answer": "B", **CHINESE},
        {**MMBENCH, "index": 1_000_007, "answer": "C", "A": "灰色", "B": "红色", "C": "蓝色", "D": "绿色"},
    ],
    "mmstar": [{"index": 1, "category": "math", "l2_category": "geometry", "answer": "B",
                "question": "Which?\nOptions: A: red, B: blue, C: green, D: grey"}],
    "ai2d": [{"question": "Which?", "options": list(COLORS.values()), "answer": "1"}],
    "realworldqa": [
        {"question": "Which?\nA. red\nB. blue\nC. green\nPlease answer directly with only the letter.", "answer": "B"},
        {"question": "Is it blue? Please answer directly with a single word or number.", "answer": "Yes"},
    ],
    "ocrbench": [
        {"dataset": "svt", "question_type": "Regular Text Recognition", "question": "?", "answer": ["Blue"]},
        {"dataset": "HME100k", "question_type": "Handwritten Mathematical Expression Recognition", "question": "?",
         "answer": ["x ^ { 2 }"]},
    ],
    "docvqa": [{"question": "?", "answers": ["blue car", "the blue car"]}],
    "infovqa": [{"question": "?", "answers": ["blue car", "the blue car"]}],
    "textvqa": [{"question_id": 1, "question": "?", "answers": ["blue"] * 2 + ["the blue car"] * 7 + ["5743."]}],
    "chartqa": [{"type": "human_test", "question": "?", "answer": answer} for answer in ("2000", "blue", "57%")],
    "blink": [
        {"subset": task, "question": "Which?", "prompt": f"Which?\n{LINES}", "choices": choices, "answer": answer}
        for task, choices, answer in (("IQ_Test", list(COLORS.values()), "(B)"), ("Jigsaw", ["blue", "red"], "(A)"))
    ],
    "mvbench": [
        {"subset": "action_count", "question": "Which?", "candidates": ["red", "blue", "green"], "answer": "blue"},
        {"subset": "state_change", "question": "Which?", "candidates": ["blue", "red"], "answer": "red"},
    ],
    "videomme": [{**MME, "question": f"Which at {duration}?", "duration": duration} for duration in ("short", "long")],
    "mlvu": [{"task_type": task, "question": f"Which?\n{LINES}", "answer": answer}
             for task, answer in (("ego", "B"), ("ego", "C"), ("count", "B"))],
    "refcoco_val": [{"bbox": [10, 10, 40, 40], "answer": ["dog"], "question_id": 1}],
}
CHOICES: list[str | None] = [
    "B", "(B)", "B. blue", "B) blue", "The answer is B.", "blue", "The car is clearly blue.", "**B**", "$\\boxed{B}$",
    "C", "b", "B or C", "(C) green", "A man walks past the blue one and stops there.", "I cannot tell.", "24/7",
    "The best answer is B. All of the others are ruled out.", "答案是B", "<think>red?</think>B", "navy blue",
    "Sorry, I can't help with images of people yet.", "A", "Red, blue, green and grey are all there.", "", None,
]  # fmt: skip
WORDS: list[str | None] = [
    "blue car", "Blue Car", "the blue car", "a blue car.", "blue  car", "the blue cat", "red", "It is a blue car.",
    "blue", "BLUE.", "2000", "2,000", "1980", "57%", "0.57", "5743", "5743.", "x^{2}", "x ^ { 2 }", "", None,
]  # fmt: skip
BOXES: list[str | None] = [
    "[50, 100, 250, 500]", "[10, 10, 50, 50]", "[0.05, 0.1, 0.25, 0.5]", "[250, 500, 50, 100]", "none",
    '{"bbox_2d": [50, 100, 250, 500], "label": "dog"}', "(50, 100), (250, 500)", "<box>[[50, 100, 250, 500]]</box>",
    "2 dogs: [50, 100, 250, 500]", "[0, 0, 9, 9] [50, 100, 250, 500]", "[1200, 10, 1500, 50]", "[50, 100, 250]",
    "", None,
]  # fmt: skip


def responses(column: str) -> list[str | None]:
    """The responses that each row of a column gets."""
    if column.startswith("refcoco"):
        return BOXES
    if column == "mmbench_cn":
        return [*CHOICES, "蓝色", "图中的车是蓝色的。", "红色和蓝色都有。"]
    return WORDS if scores.KIT[dataset(column)].kind in ("words", "ocrbench") else CHOICES


def dataset(column: str) -> str:
    """VLMEvalKit's data set that a column's task file names."""
    other = Registry().tasks[column].vlmevalkit
    assert other is not None
    return other.task


def item(column: str, doc: Doc, response: str | None) -> SecondItem:
    """What the adapter takes; the picture of a box is 200 x 100."""
    target = build_target(Registry().tasks[column].target, doc)
    if column.startswith("refcoco"):
        target["source_size"] = [200, 100]
    return SecondItem(doc, response or "", doc.get("subset"), target, response is None)


# --------------------------------------------------------------------------------------------------------------
# VLMEvalKit's own evaluation of a whole data set


def load(*names: str) -> list[Any]:
    """Functions of VLMEvalKit, loaded as the worker does."""
    return list(worker.load(names).values())


def table(rows: Rows, **more: Any) -> Any:
    """The rows as VLMEvalKit's prediction file holds them."""
    import pandas

    frame = pandas.DataFrame([{"index": place, **row} for place, row in enumerate(rows)])
    return frame.drop(columns=[name for name in ("GT", "seed", "g_index", "gold") if name in frame]).assign(**more)


def file_of(frame: Any, folder: str, suffix: str) -> str:
    """A prediction file."""
    path = str(Path(folder, f"predictions.{suffix}"))
    frame.to_pickle(path) if suffix == "pkl" else frame.to_csv(path, sep="\t", index=False)
    return path


def whole_choice(rows: Rows, dataset: str, folder: str) -> float:
    """`mcq_vanilla_eval` or `mcq_circular_eval`, then `report_acc`, under the policy "exact_matching"."""
    place = "vlmeval.dataset.utils.multiple_choice"
    vanilla, circular, report = load(*(f"{place}:{n}" for n in ("mcq_vanilla_eval", "mcq_circular_eval", "report_acc")))
    data = table(rows)
    evaluate = circular if dataset.startswith("MMBench") else vanilla
    judgements = evaluate(None, data, data[["index", "answer"]], 1, f"{folder}/result.pkl", dataset)
    return 100 * float(report(judgements.drop(columns="split", errors="ignore"))["Overall"][0])


def whole_words(rows: Rows, dataset: str, folder: str) -> float:
    """`ImageVQADataset.evaluate_heuristic`."""
    (kind,) = load("vlmeval.dataset.image_vqa:ImageVQADataset")
    made = object.__new__(kind)
    made.dataset_name = dataset
    return float(made.evaluate_heuristic(file_of(table(rows), folder, "pkl"))["Overall"][0])


def whole_ocrbench(rows: Rows, dataset: str, folder: str) -> float:
    """`OCRBench.evaluate`: its sum over the questions asked."""
    (kind,) = load("vlmeval.dataset.image_vqa:OCRBench")
    return 100 * float(kind.evaluate(file_of(table(rows), folder, "pkl"))["Final Score"]) / len(rows)


def whole_videomme(rows: Rows, dataset: str, folder: str) -> float:
    """`VideoMME.evaluate`; it rounds to three decimals."""
    (kind,) = load("vlmeval.dataset.videomme:VideoMME")
    data = table(rows, **{name: MME[name] for name in ("domain", "sub_category", "task_type")}, duration="short")
    rating = kind.evaluate(file_of(data, folder, "tsv"), model="exact_matching")
    return 100 * float(rating["overall"]["overall"])


def whole_by_task(rows: Rows, dataset: str, folder: str) -> float:
    """`MVBench.evaluate` or `MLVU_MCQ.evaluate`: right answers over questions."""
    (kind,) = load(f"vlmeval.dataset.{'mvbench:MVBench' if dataset == 'MVBench' else 'mlvu:MLVU_MCQ'}")
    options = [{name: text for name, text in row.items() if len(name) == 1} for row in rows]
    answers = [row[row["answer"]] for row in rows]
    data = table(rows, candidates=[str(list(choices.values())) for choices in options], answer=answers)
    path = file_of(data.drop(columns=list("ABCD"), errors="ignore"), folder, "tsv")
    rating = kind.evaluate(path, model="exact_matching")
    tasks = [part for name, part in rating.items() if name != "overall"]
    return 100 * sum(int(part[0]) for part in tasks) / sum(int(part[1]) for part in tasks)


def whole_box(rows: Rows, dataset: str, folder: str) -> float:
    """`RefCOCODataset.evaluate` on a table of ours in place of the one it downloads."""
    (kind,) = load("vlmeval.dataset.refcoco:RefCOCODataset")

    class Local(kind):  # type: ignore[misc, valid-type]
        def _ensure_metadata_ready(self) -> None:
            """There is nothing to download."""

    made = object.__new__(Local)
    made.dataset_name = dataset
    data = table(rows).drop(columns="box")
    corners = {f"bbox_{name}": [row["box"][i] for row in rows] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
    made.data = data.drop(columns="prediction").assign(split="RefCOCO_val", **corners)
    return float(made.evaluate(file_of(data, folder, "pkl"))["Precision@1"].iloc[-1])


WHOLE: dict[str, Callable[[Rows, str, str], float]] = {
    "choice": whole_choice, "mmmu": whole_choice, "circular": whole_choice, "words": whole_words,
    "ocrbench": whole_ocrbench, "videomme": whole_videomme, "mvbench": whole_by_task, "mlvu": whole_by_task,
    "box": whole_box,
}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------


def numbered(doc: Doc, number: int) -> Doc:
    """The row as one of its own: draws are seeded by MMMU's ids, and MMBench's rotations are found by their index."""
    id_field = {"id": f"{doc['id']}{number}"} if "id" in doc else {}
    return doc | id_field | ({"index": doc["index"] + 10 * number} if "L2-category" in doc else {})


def golden(column: str) -> dict[str, Any]:
    """A column's line."""
    texts = responses(column)
    docs = [numbered(doc, k) for k in range(len(texts)) for doc in DOCS[column]]
    answers = [response for response in texts for _ in DOCS[column]]
    items = [item(column, doc, response) for doc, response in zip(docs, answers, strict=True)]
    asked = scores.request(dataset(column), items)
    written = [row for row in asked["rows"] if (row["prediction"] or "").strip()]
    with tempfile.TemporaryDirectory() as folder:
        whole = WHOLE[asked["kind"]](written, asked["dataset"], folder)
    return {"column": column, "package": f"ms-vlmeval {scores.VERSION}", "docs": docs, "responses": answers,
            "request": asked, "reply": scores.ask(asked), "whole": whole}


def main() -> int:
    """Write the file."""
    scores.require()
    lines = [json.dumps(golden(column), ensure_ascii=False, sort_keys=True) for column in DOCS]
    GOLDEN.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

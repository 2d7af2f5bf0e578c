"""Real responses to BLINK's validation questions, as its authors read them, as we do, and as lmms-eval does.

    python benchmarks/blink_responses.py [FOLDER]

Time: about a minute on two shared cores.

FOLDER is `eval/saved_outputs` of the authors' repository (github.com/zeyofu/BLINK_Benchmark): a folder a model with a
file a task, in which every response stands beside the letter that the authors made of it (a reader of their own, then
GPT-3.5). The authors' number is the mean of the fourteen tasks, which their leaderboard prints to one digit; right of
all asked is what VLMEvalKit's "Overall" is. Answers are those of the first release. The options are not in these
files: here they are as the responses quote them, where all questions of a task have the same, and letters alone in
Counting.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "blink_saved_outputs"
POINTS = ["Point A", "Point B", "Point C", "Point D"]
IMAGES = ["the first image", "the second image", "the third image", "the fourth image"]
OPTIONS = {
    **dict.fromkeys(("Functional_Correspondence", "Semantic_Correspondence", "Visual_Correspondence"), POINTS),
    **dict.fromkeys(("Art_Style", "Jigsaw", "Visual_Similarity"), IMAGES[1:3]),
    "Counting": [""] * 4,
    "Forensic_Detection": IMAGES,
    "IQ_Test": ["picture A", "picture B", "picture C", "picture D"],
    "Multi-view_Reasoning": ["left", "right"],
    "Object_Localization": ["Box A", "Box B"],
    "Relative_Depth": ["A is closer", "B is closer"],
    "Relative_Reflectance": ["A is darker", "B is darker", "About the same"],
    "Spatial_Relation": ["yes", "no"],
}
Row = Mapping[str, Any]


def read(folder: Path) -> dict[str, list[Row]]:
    """A model's rows by task; only models that were shown every picture by itself."""
    files = {path.stem.replace(" ", "_"): path for path in folder.glob("*.json")}
    return {task: json.loads(files[task].read_text(encoding="utf-8"))["val"] for task in sorted(OPTIONS)}


def doc(task: str, row: Row) -> dict[str, Any]:
    """The data set's own fields of a row."""
    return {"idx": row["idx"], "sub_task": task, "choices": OPTIONS[task], "answer": row["answer"], "prompt": "?"}


def numbers(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """A model's cells: questions, the authors' number, right of all asked, ours with the unread, lmms-eval's."""
    from mmrope_eval.lmms.stock import stock_score
    from mmrope_eval.record.aggregate import AGGREGATES, Item
    from mmrope_eval.scorer.all import SecondItem
    from mmrope_eval.scorer.answer_part import whole_turn
    from mmrope_eval.scorer.choice import score_choice

    theirs, ours, items, unread = [], [], [], 0
    for task, part in rows.items():
        for row in part:
            target = {"answer": row["answer"].strip("()"), "options": OPTIONS[task], "group": task}
            response = row["full_prediction"] or ""
            score = score_choice(whole_turn(response, thought_open=False), target)
            unread += score.parsed is None
            ours.append(Item.of(score.values["accuracy"], target))
            theirs.append(Item.of(float(row["prediction"] == row["answer"]), target))
            items.append(SecondItem(doc(task, row), response, task, target))
    mean = {average: 100 * AGGREGATES[average](theirs).value for average in ("macro", "micro")}
    our_score, stock = 100 * AGGREGATES["macro"](ours).value, stock_score("blink", items).value
    return [f"{len(items):,}", f"{mean['macro']:.2f}", f"{mean['micro']:.2f}", f"{our_score:.2f} ({unread} unread)",
            f"{stock:.2f}"]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=DEFAULT, help="default: %(default)s")
    args = parser.parse_args()
    if not args.folder.is_dir():
        print(f"{args.folder} is not there: name the folder with the authors' responses as FOLDER.", file=sys.stderr)
        return 0 if args.folder == DEFAULT else 2  # `make bench` goes on
    print("| responses | n | authors' number | right of all asked | ours | lmms-eval |\n|---|" + "--:|" * 5)
    for folder in sorted(args.folder.iterdir(), key=lambda path: path.name.lower()):
        if folder.is_dir() and "concatenate" not in folder.name:
            print("| " + " | ".join([folder.name, *numbers(read(folder))]) + " |", flush=True)
    print(f"\nchance: {100 * sum(1 / len(options) for options in OPTIONS.values()) / len(OPTIONS):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

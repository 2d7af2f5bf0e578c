"""Real responses scored four ways: what MMMU's authors read, ours, lmms-eval's and VLMEvalKit's rules.

    python benchmarks/mmmu_responses.py [FILE] [--lines DIR]

Time: about half a minute on two shared cores.

FILE holds the authors' example outputs (MMMU-Benchmark/MMMU, mmmu/example_outputs: LLaVA-1.5-13B and Qwen-VL-Chat on
the 900 validation questions), gzipped, one JSON object a line with `model`, `id`, `answer`, `response`, `options`,
`right` and `drawn` (what the authors' reader made of it, and whether it drew). Prints the table of tasks/README.md.
VLMEvalKit's columns need the extra `vlmevalkit`. `--lines` also writes DIR/MODEL.jsonl for `mmrope-eval score mmmu`,
which prints the same numbers from the command line.

With the extra, a second table says what VLMEvalKit's rules of other columns make of the same responses to the questions
with four options: the video columns have rules of their own, and no public responses to them were found.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "mmmu_examples.jsonl.gz"
TITLES = {"llava1.5_13b": "LLaVA-1.5-13B", "qwen_vl": "Qwen-VL-Chat"}
Row = Mapping[str, Any]


def read(path: Path) -> dict[str, list[Row]]:
    """The rows of the file by model, in its order."""
    rows_by_model: dict[str, list[Row]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            rows_by_model.setdefault(row["model"], []).append(row)
    return rows_by_model


def doc(row: Row) -> dict[str, Any]:
    """The data set's own fields of a row; it writes lists as text."""
    kind = "multiple-choice" if row["options"] else "open"
    return {"id": row["id"], "question": row["id"], "question_type": kind, "options": str(row["options"]),
            "answer": str(row["answer"])}


def write(folder: Path, model: str, rows: Sequence[Row]) -> None:
    """The rows as `mmrope-eval score mmmu` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": row["id"], "doc": doc(row), "response": row["response"]}) for row in rows]
    (folder / f"{model}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def numbers(rows: Sequence[Row]) -> list[str]:
    """A model's cells: the authors', ours, lmms-eval's, VLMEvalKit's by rules, and with its draws."""
    from mmrope_eval.errors import UserError
    from mmrope_eval.lmms.stock import stock_score
    from mmrope_eval.record.aggregate import AGGREGATES, Item
    from mmrope_eval.scorer.all import SCORERS, SecondItem
    from mmrope_eval.task.registry import Registry
    from mmrope_eval.task.template import build_target
    from mmrope_eval.vlmevalkit.scores import kit_score

    spec = Registry().tasks["mmmu"]
    docs = [doc(row) for row in rows]
    targets = [build_target(spec.target, document) for document in docs]
    scores = [SCORERS[spec.scorer](row["response"], target) for row, target in zip(rows, targets, strict=True)]
    ours = AGGREGATES["mmmu"]([Item.of(s.values["accuracy"], t) for s, t in zip(scores, targets, strict=True)])
    items = [SecondItem(document, row["response"], None, target)
             for document, row, target in zip(docs, rows, targets, strict=True)]
    cells = [
        f"{share(row['right'] for row in rows)} ({sum(row['drawn'] for row in rows)} drawn)",
        f"{100 * ours.value:.2f} ({sum(score.parsed is None for score in scores)} unread)",
        f"{stock_score('mmmu_val', items).value:.2f}",
    ]
    try:
        theirs = kit_score("MMMU_DEV_VAL", items)
    except UserError as error:
        print(error, file=sys.stderr)
        return [*cells, "—", "—"]
    facts = theirs.facts
    return [*cells, f"{theirs.value:.2f} ({facts['n_judge']} for the judge)",
            f"{facts['with_draws']:.2f} ({facts['n_drawn']} drawn)"]


RULES = {"AI2D_TEST": "the common rule", "MLVU_MCQ": "MLVU", "MVBench": "MVBench", "Video-MME": "Video-MME"}
"""VLMEvalKit's rules for four options, by the data set that is asked."""


def by_rule(rows: Sequence[Row]) -> list[str]:
    """How many of the responses to four options are right by ours, by each of `RULES`, and by the first word alone."""
    from mmrope_eval.scorer.all import SecondItem
    from mmrope_eval.scorer.choice import score_choice
    from mmrope_eval.vlmevalkit.scores import kit_score
    from mmrope_eval.vlmevalkit.worker import load

    items, golds = [], []
    for row in (row for row in rows if len(row["options"]) == 4):
        target = {"options": row["options"], "answer": row["answer"], "group": "MMMU"}
        items.append(SecondItem({"id": row["id"], "question": row["id"]}, row["response"], "MMMU", target))
        golds.append(f"({row['answer']}) {row['options']['ABCD'.index(row['answer'])]}")
    ours = sum(score_choice(item.response, item.target or {}).values["accuracy"] or 0.0 for item in items)
    cells = [str(len(items)), f"{ours:.0f}"]
    for dataset in RULES:
        score = kit_score(dataset, items)
        cells.append(f"{sum(value or 0.0 for value in score.samples):.0f} ({score.facts['n_judge']} for the judge)")
    first_word = load(["vlmeval.dataset.utils.mvbench:check_ans"])["check_ans"]
    right = sum(first_word(item.response, gold) for item, gold in zip(items, golds, strict=True))
    return [*cells, str(right)]


def share(right: Any) -> str:
    """The share of true values on a 0-100 scale."""
    values = list(right)
    return f"{100 * sum(values) / len(values):.2f}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=DEFAULT, help="default: %(default)s")
    parser.add_argument("--lines", metavar="DIR", type=Path, help="also write the responses for `mmrope-eval score`")
    args = parser.parse_args()
    if not args.file.is_file():
        print(f"{args.file} is not there: name the file with the authors' responses as FILE.", file=sys.stderr)
        return 0 if args.file == DEFAULT else 2  # `make bench` goes on
    rows_by_model = read(args.file)
    heads = ["responses", "n", "authors' reader", "ours", "lmms-eval", "VLMEvalKit, rules", "with its draws"]
    show(heads, {model: [str(len(rows)), *numbers(rows)] for model, rows in rows_by_model.items()})
    if args.lines is not None:
        for model, rows in rows_by_model.items():
            write(args.lines, model, rows)
    if importlib.util.find_spec("vlmeval") is not None:
        heads = ["right by", "n", "ours", *RULES.values(), "MVBench's first word alone"]
        show(heads, {model: by_rule(rows) for model, rows in rows_by_model.items()})
    return 0


def show(heads: Sequence[str], cells: Mapping[str, Sequence[str]]) -> None:
    """A markdown table, one line a model."""
    print("| " + " | ".join(heads) + " |\n|---|" + "--:|" * (len(heads) - 1))
    for model, row in cells.items():
        print("| " + " | ".join([TITLES.get(model, model), *row]) + " |")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())

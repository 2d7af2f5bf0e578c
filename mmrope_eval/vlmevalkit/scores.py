"""VLMEvalKit's number from the same responses: its own functions (package ms-vlmeval), rules only, no judge model.

Three steps, of which only the middle one needs the package: `request` puts rows and responses into VLMEvalKit's own
fields, `ask` has `worker.py` call VLMEvalKit in a process of its own, `result` reads the reply.

Where its rules read nothing, VLMEvalKit asks a judge model. Here such an answer is wrong in `value` (its own policy
"exact_matching"), and counted. Beside it stands the number with an option drawn at random for each, which is what
VLMEvalKit falls back on when its judge fails; every sample seeds the generator with "42:" and its row's id or place.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.scorer.all import SecondError, SecondItem, SecondResult
from mmrope_eval.scorer.choice_text import is_choice, read_options
from mmrope_eval.words import flat

VERSION: Final = "0.0.20"
EXTRA: Final = "vlmevalkit"
WORKER: Final = Path(__file__).with_name("worker.py")
SEED: Final = 42
Row = dict[str, Any]
Fields = Callable[[SecondItem], Row | None]
"""A row in VLMEvalKit's fields, without response and seed; None where VLMEvalKit has no such question."""


@dataclass(frozen=True)
class KitTask:
    """How VLMEvalKit scores one of its data sets."""

    dataset: str
    metric: str
    kind: str
    """How the functions are put together: a name in `worker.KINDS`."""
    functions: tuple[str, ...]
    """What computes the number, each as "module:name"."""
    fields: Fields
    note: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


# Rows in VLMEvalKit's fields


def _target(item: SecondItem, name: str) -> Any:
    return (item.target or {}).get(name)


def _choice(item: SecondItem) -> Row | None:
    options, answer = read_options(_target(item, "options")), str(_target(item, "answer")).strip()
    if not is_choice(options, answer):
        return None
    return {"question": str(item.doc.get("question", "")), **options, "answer": answer, "GT": answer.upper()}


def _mmmu(item: SecondItem) -> Row:
    """As in VLMEvalKit's table: an open question has no options, and its answer as the data set writes it."""
    words = {"question": str(item.doc.get("question", "")), "answer": str(_target(item, "answer"))}
    return {**words, **read_options(_target(item, "options"))}


def _mmbench(item: SecondItem) -> Row | None:
    row = _choice(item)
    return None if row is None else {**row, "index": int(item.doc["index"]), "g_index": int(_target(item, "group"))}


def _videomme(item: SecondItem) -> Row:
    """VLMEvalKit's table keeps the options apart from the question, where its reader of options does not see them."""
    return {"question": str(item.doc["question"]), "answer": str(_target(item, "answer")).strip()}


def _with_gold(item: SecondItem) -> Row | None:
    """MVBench and MLVU: also the sub-task, and the right option as their readers take it."""
    row = _choice(item)
    if row is None:
        return None
    return {**row, "task_type": str(_target(item, "group")), "gold": f"({row['GT']}) {row[row['GT']]}"}


def _accepted(item: SecondItem) -> Row:
    """The accepted answers as a written list: VLMEvalKit evaluates the field as Python, whatever stands there."""
    answers = _target(item, "answers")
    several = isinstance(answers, Sequence) and not isinstance(answers, str)
    return {"answer": repr([str(answer) for answer in answers] if several else [str(answers)])}


def _chart(item: SecondItem) -> Row:
    return {"answer": repr([str(_target(item, "answer"))])}


def _ocr(item: SecondItem) -> Row:
    return {**_accepted(item), "category": str(_target(item, "group"))}


def _box(item: SecondItem) -> Row:
    width, height = _target(item, "source_size")
    return {"box": [float(v) for v in _target(item, "box")], "width": float(width), "height": float(height)}


# Columns

_MCQ: Final = "vlmeval.dataset.utils.multiple_choice"
_VQA: Final = ("vlmeval.dataset.utils.vqa_eval:process_line", "vlmeval.dataset.utils.vqa_eval:hit_calculate")


def _vanilla(dataset: str, note: str | None = None) -> KitTask:
    functions = (f"{_MCQ}:eval_vanilla", f"{_MCQ}:report_acc")
    return KitTask(dataset, "Overall", "choice", functions, _choice, note)


def _circular(dataset: str) -> KitTask:
    names = ("prefetch_answer", "prefetch_circular_group", "eval_circular_group", "report_acc")
    note = "V1.0; a sample's value is that of one rotation"
    return KitTask(dataset, "Overall", "circular", tuple(f"{_MCQ}:{name}" for name in names), _mmbench, note)


def _written(dataset: str, method: str, fields: Fields, note: str | None = None) -> KitTask:
    return KitTask(dataset, "Overall", "words", _VQA, fields, note, {"method": method})


def _by_first_word(dataset: str, module: str, metric: str, note: str) -> KitTask:
    place = f"vlmeval.dataset.utils.{module}"
    functions = (f"{place}:check_ans_with_model", f"{place}:get_dimension_rating")
    return KitTask(dataset, metric, module, functions, _with_gold, note)


_BOXES: Final = ("takes numbers up to 1,000 for thousandths whatever the checkpoint's convention, swaps reversed "
                 "corners, and cuts boxes off at the picture's edges")


def _tasks() -> Iterator[KitTask]:
    yield KitTask("MMMU_DEV_VAL", "validation Overall", "mmmu",
                  (f"{_MCQ}:MMMU_preproc", f"{_MCQ}:eval_vanilla", f"{_MCQ}:report_acc"), _mmmu,
                  "makes an open question a choice of A, its answer, and B, 'Other Answers'")
    yield _circular("MMBench_DEV_EN")
    yield _circular("MMBench_DEV_CN")
    yield _vanilla("MMStar", "the mean over questions, not over the six categories")
    yield _vanilla("AI2D_TEST")
    yield _vanilla("RealWorldQA")
    yield _vanilla("BLINK", "the mean over questions, not over the fourteen tasks")
    yield KitTask("OCRBench", "Final Score", "ocrbench", ("vlmeval.dataset.image_vqa:OCRBench",), _ocr,
                  "a sum of right answers, here as a share of those asked")
    yield _written("TextVQA_VAL", "vqa_score", _accepted)
    yield _written("DocVQA_VAL", "anls", _accepted)
    yield _written("InfoVQA_VAL", "anls", _accepted)
    yield _written("ChartQA_TEST", "relaxed_accuracy", _chart, "ours to set beside it is `official`")
    reading = "vlmeval.dataset.utils.videomme"
    yield KitTask("Video-MME", "overall", "videomme",
                  (f"{reading}:extract_characters_regex", f"{reading}:extract_option"), _videomme,
                  "reads the first capital A to D; sees no options")
    yield _by_first_word("MLVU_MCQ", "mlvu", "M-Avg", "right answers over all questions asked")
    yield _by_first_word("MVBench", "mvbench", "overall",
                         "right answers over all questions asked; the first word decides")
    yield KitTask("RefCOCO", "Precision@1", "box", ("vlmeval.dataset.refcoco:RefCOCODataset",), _box, _BOXES)


KIT: Final[Mapping[str, KitTask]] = {task.dataset: task for task in _tasks()}
"""VLMEvalKit's data sets that a task file may name as its counterpart (`metadata: vlmevalkit`)."""


def require() -> None:
    """UserError where the package is not installed, or in another version than the one this file was written for."""
    try:
        installed = importlib.metadata.version("ms-vlmeval")
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != VERSION:
        raise UserError(f"--scorer vlmevalkit calls VLMEvalKit (package ms-vlmeval {VERSION}; installed: {installed}): "
                        f"install the extra '{EXTRA}' (tasks/README.md, \"VLMEvalKit's numbers\", has the command).")


def kit_score(dataset: str, items: Sequence[SecondItem]) -> SecondResult:
    """The number of VLMEvalKit's `dataset`, a name in KIT, for responses.

    SecondError when there is no such data set, none of the questions, or when it fails on them (the sample is named).
    UserError where the package is missing.
    """
    if dataset not in KIT:
        raise SecondError(f"VLMEvalKit's '{dataset}' is not called here; those that are: {', '.join(KIT)}.")
    require()
    asked = request(dataset, items)
    return result(dataset, items, asked, ask(asked))


def request(dataset: str, items: Sequence[SecondItem]) -> dict[str, Any]:
    """What the worker is asked; `places` are the items' places of its rows. SecondError when there is no row."""
    task = KIT[dataset]
    rows, places = [], []
    for place, item in enumerate(items):
        try:
            fields = task.fields(item)
        except (LookupError, TypeError, ValueError) as error:
            raise SecondError(f"VLMEvalKit's {task.dataset} cannot be given sample {place} ({error!r}).") from error
        if fields is not None:
            seed = f"{SEED}:{item.doc.get('id', fields.get('g_index', place))}"
            rows.append({**fields, "prediction": None if item.failed else item.response, "seed": seed})
            places.append(place)
    if not rows:
        raise SecondError(f"VLMEvalKit's {task.dataset} has none of the {len(items)} questions.")
    return {
        "kind": task.kind, "dataset": task.dataset, "functions": list(task.functions), "options": dict(task.options),
        "rows": rows, "places": places,
    }


def ask(asked: Mapping[str, Any], worker: Path = WORKER) -> dict[str, Any]:
    """The reply of a worker, a script of its two files. SecondError when VLMEvalKit fails."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("request.json", "reply.json")]
        paths[0].write_text(json.dumps(asked), encoding="utf-8")
        # VERBOSE is a switch of VLMEvalKit's that changes what its rules read.
        environment = {name: value for name, value in os.environ.items() if name != "VERBOSE"}
        command = [sys.executable, "-P", str(worker), *map(str, paths)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
        if not paths[1].is_file():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SecondError(f"VLMEvalKit's {asked['dataset']} fails: {last}.")
        reply: dict[str, Any] = json.loads(paths[1].read_text(encoding="utf-8"))
    if "error" in reply:
        where = "" if reply["row"] is None else f" on sample {asked['places'][reply['row']]}"
        cause = flat(reply["error"], 300).rstrip(".")
        raise SecondError(f"VLMEvalKit's {asked['dataset']} fails{where}: {cause}.")
    return reply


def result(dataset: str, items: Sequence[SecondItem], asked: Mapping[str, Any],
           reply: Mapping[str, Any]) -> SecondResult:
    """The number, each item's part of it (None for an item that was left out), and what is to be known of both."""
    task = KIT[dataset]
    shares: list[float | None] = [None] * len(items)
    for place, share in zip(asked["places"], reply["samples"], strict=True):
        shares[place] = share
    facts = {
        "package": f"ms-vlmeval {VERSION}", "functions": list(task.functions),
        "n_left_out": len(items) - len(asked["rows"]), "n_judge": sum(reply["unread"]), "n_drawn": reply["draws"],
        "with_draws": round(reply["drawn_value"], 9),
    }
    note = "; ".join(_notes(task, items, asked, reply)) or None
    return SecondResult(reply["value"], tuple(shares), task.dataset, task.metric, note, facts)


def _notes(task: KitTask, items: Sequence[SecondItem], asked: Mapping[str, Any],
           reply: Mapping[str, Any]) -> Iterator[str]:
    rows, unread = asked["rows"], sum(reply["unread"])
    blank = sum(not row["prediction"].strip() for row in rows if row["prediction"] is not None)
    if task.note:
        yield task.note
    if task.kind == "box" and any(_target(item, "coordinates") == "absolute" for item in items):
        yield "this checkpoint answers in pixels, of which the number says nothing"
    if len(rows) < len(items):
        yield f"left out, though ours counts them: {len(items) - len(rows)} of {len(items)} questions, without options"
    if blank and task.kind == "mvbench":
        yield f"blank answers that its rule calls right: {blank}"
    if unread:
        yield (f"its rules do not read {unread} of {len(rows)} answers, for which it would ask a judge model; they "
               f"count as wrong (with options drawn at random, seed '{SEED}:' and the row, {reply['draws']} drawn: "
               f"{reply['drawn_value']:.2f})")

"""VLMEvalKit's own functions, called in a process of their own: `python -P worker.py REQUEST REPLY`.

Both files are JSON; `scores.py` writes the one and reads the other. A process apart, because importing VLMEvalKit
turns off the checking of TLS certificates, reads an `.env` file into the environment, sets up logging and loads every
model and data set it knows. Here its two outermost packages are replaced by empty ones that only lead to their files,
so that no more is imported than the named functions need. Nothing of this project is imported.

A request names the functions as "module:name" (`functions`), how they are put together (`kind`, see `KINDS`),
VLMEvalKit's name of the data set (`dataset`), and the rows in VLMEvalKit's own fields, each with its `prediction` (None
for a failed sample, which is wrong without being asked) and a `seed`.

Where its rules read nothing, VLMEvalKit asks a judge model. There is none here, and both things it can do then are
done: without a judge such an answer is wrong (`value`, `samples`), and with one that fails it draws an option at random
(`drawn_value`, `drawn`); the judge of the second is `AbsentJudge`, which never answers and says how often it was asked.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import statistics
import string
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Row = Mapping[str, Any]
TRIES: Final = 3
"""How often VLMEvalKit asks its judge about one answer before it draws (multiple_choice.extract_answer_from_item)."""


class AbsentJudge:
    """Stands where a judge model would, and answers what VLMEvalKit's own API wrappers answer when they fail."""

    def __init__(self) -> None:
        self.asked = 0

    def generate(self, _prompt: str) -> str:
        """Answer as a judge model whose call failed, by VLMEvalKit's mark."""
        self.asked += 1
        return "Failed to obtain answer via API."

    @property
    def draws(self) -> int:
        """Answers that were drawn at random for want of this judge's."""
        return self.asked // TRIES


@dataclass(frozen=True)
class Kit:
    """The functions of one request by name, and VLMEvalKit's name of the data set."""

    functions: Mapping[str, Any]
    dataset: str
    options: Mapping[str, Any]
    folder: Path

    def __getitem__(self, name: str) -> Any:
        """A function by its name in VLMEvalKit's module."""
        return self.functions[name]

    def saved(self, rows: Sequence[Row]) -> str:
        """A table in a file, for the functions that take one."""
        import pandas

        path = self.folder / "table.pkl"
        pandas.DataFrame(list(rows)).to_pickle(path)
        return str(path)


Hit = Callable[[Kit, Row, AbsentJudge | None], float]
"""What one row is worth, in [0, 1]."""
Total = Callable[[Kit, Sequence[Row], Sequence[float]], float]
"""A column's number from all rows and their worth, on a 0-100 scale."""


class RowError(Exception):
    """VLMEvalKit fails on a row: its place, and what befell it."""


# One row


def _choice(kit: Kit, row: Row, judge: AbsentJudge | None) -> float:
    return float(kit["eval_vanilla"](judge, row, kit.dataset)["hit"])


def _first_word(kit: Kit, row: Row, judge: AbsentJudge | None) -> float:
    """MVBench and MLVU: their own comparison with "(B) text" first, then the common rule."""
    return float(kit["check_ans_with_model"](row["prediction"], row["gold"], judge, dict(row), kit.dataset))


def _first_capital(kit: Kit, row: Row, judge: AbsentJudge | None) -> float:
    """Video-MME as `VideoMME.evaluate` decides: the first capital A to D, or else the common rule."""
    read = kit["extract_characters_regex"](row["prediction"])
    return float((read or kit["extract_option"](judge, dict(row), kit.dataset)) == row["answer"])


def _words(kit: Kit, row: Row, _judge: AbsentJudge | None) -> float:
    line = kit["process_line"](row, method=kit.options["method"])
    return float(kit["hit_calculate"]([line], kit.dataset)[0])


def _contained(kit: Kit, row: Row, _judge: AbsentJudge | None) -> float:
    return float(kit["OCRBench"].evaluate(kit.saved([row]))["Final Score"])


def _box(kit: Kit, row: Row, _judge: AbsentJudge | None) -> float:
    """RefCOCO as `RefCOCODataset.evaluate` puts its parts together."""
    import numpy

    refcoco = kit["RefCOCODataset"]
    read = refcoco._parse_prediction(row["prediction"])
    box = None if read is None else refcoco._to_absolute(read, float(row["width"]), float(row["height"]))
    iou = 0.0 if box is None else float(refcoco._compute_iou(box, numpy.array(row["box"], dtype=float)))
    return float(iou >= refcoco.IOU_THRESHOLD)


# All rows


def _report(kit: Kit, _rows: Sequence[Row], hits: Sequence[float]) -> float:
    import pandas

    return 100 * float(kit["report_acc"](pandas.DataFrame({"hit": list(hits)}))["Overall"][0])


def _mean(_kit: Kit, _rows: Sequence[Row], hits: Sequence[float]) -> float:
    return 100 * statistics.fmean(hits)


def _right_of_asked(kit: Kit, rows: Sequence[Row], hits: Sequence[float]) -> float:
    """MVBench's "overall" and MLVU's M-Avg: right answers over questions, all tasks together."""
    scored = [{"task_type": row["task_type"], "score": int(hit)} for row, hit in zip(rows, hits, strict=True)]
    rating: Mapping[str, Sequence[int]] = kit["get_dimension_rating"](kit.saved(scored))
    tasks = [part for name, part in rating.items() if name != "overall"]
    return 100 * sum(part[0] for part in tasks) / sum(part[1] for part in tasks)


# Kinds


@dataclass(frozen=True)
class Scored:
    """What all rows are worth one way, and for each whether VLMEvalKit asked its judge, and how often it drew."""

    hits: Sequence[float]
    unread: Sequence[bool]
    draws: int
    value: float


Kind = Callable[[Kit, Sequence[Row], bool], Scored]
"""(functions, rows, whether the absent judge is asked) -> worth."""


def each(hit: Hit, total: Total) -> Kind:
    """Rows that are scored one by one."""

    def scored(kit: Kit, rows: Sequence[Row], judged: bool) -> Scored:
        judges = [AbsentJudge() for _ in rows]
        hits = [
            _worth(hit, kit, place, row, judge if judged else None)
            for place, (row, judge) in enumerate(zip(rows, judges, strict=True))
        ]
        unread = [judge.asked > 0 for judge in judges]
        return Scored(hits, unread, sum(judge.draws for judge in judges), total(kit, rows, hits))

    return scored


def _worth(hit: Hit, kit: Kit, place: int, row: Row, judge: AbsentJudge | None) -> float:
    if row["prediction"] is None:
        return 0.0
    random.seed(row["seed"])
    try:
        return hit(kit, row, judge)
    except Exception as error:
        raise RowError(place, f"{type(error).__name__}: {error}") from error


def mmmu(kit: Kit, rows: Sequence[Row], judged: bool) -> Scored:
    """Open questions become choices first (`MMMU_preproc`), and their answer A, as `mcq_vanilla_eval` has it."""
    import pandas

    letters = sorted({name for row in rows for name in row if len(name) == 1} | {"A", "B"})
    names = [name for name in rows[0] if len(name) > 1]
    table = kit["MMMU_preproc"](pandas.DataFrame(list(rows), columns=[*names, *letters]).astype(object))
    choices = []
    for record, row in zip(table.to_dict("records"), rows, strict=True):
        right = record["answer"] if record["answer"] in list(string.ascii_uppercase) else "A"
        choices.append({**record, "GT": right, "prediction": row["prediction"]})
    return each(_choice, _report)(kit, choices, judged)


def circular(kit: Kit, rows: Sequence[Row], judged: bool) -> Scored:
    """MMBench: the rotations of a question together, as in `mcq_circular_eval`; a row's own worth is its letter's.

    A rotation is unread where the rules read nothing and no other rotation of the question has settled it already.
    """
    import pandas

    groups: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row["g_index"], []).append(place)
    read = [None if row["prediction"] is None else kit["prefetch_answer"](row) for row in rows]
    hits = [float(letter == row["GT"]) for letter, row in zip(read, rows, strict=True)]
    unread, whole, draws = [False] * len(rows), [], 0
    for places in groups.values():
        part = [rows[place] for place in places]
        if any(row["prediction"] is None for row in part):
            whole.append(0.0)
            continue
        settled = kit["prefetch_circular_group"](pandas.DataFrame(part))
        for place in places:
            unread[place] = settled is None and not read[place]
        judge = AbsentJudge()
        random.seed(part[0]["seed"])
        if settled is None and judged:
            settled = kit["eval_circular_group"](judge, pandas.DataFrame(part), kit.dataset)
        whole.append(float(settled["hit"]) if settled else 0.0)
        draws += judge.draws
    return Scored(hits, unread, draws, _report(kit, rows, whole))


KINDS: Final[Mapping[str, Kind]] = {
    "words": each(_words, _mean),
    "ocrbench": each(_contained, _mean),
    "box": each(_box, _mean),
    "choice": each(_choice, _report),
    "mmmu": mmmu,
    "circular": circular,
    "mvbench": each(_first_word, _right_of_asked),
    "mlvu": each(_first_word, _right_of_asked),
    "videomme": each(_first_capital, _mean),
}
UNJUDGED: Final = ("words", "ocrbench", "box")
"""Kinds for which VLMEvalKit has rules alone, and no judge."""


def score(request: Mapping[str, Any], functions: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The reply to a request, both ways (see the module). RowError names the row on which VLMEvalKit fails."""
    kit = Kit(functions, request["dataset"], request["options"], folder)
    kind, rows = KINDS[request["kind"]], request["rows"]
    rules = kind(kit, rows, False)
    drawn = rules if request["kind"] in UNJUDGED else kind(kit, rows, True)
    return {"value": rules.value, "samples": list(rules.hits), "unread": list(drawn.unread),
            "drawn_value": drawn.value, "draws": drawn.draws}


def load(names: Sequence[str]) -> dict[str, Any]:
    """VLMEvalKit's functions by name, from "module:name"; ImportError or AttributeError where one is not there."""
    if "vlmeval" not in sys.modules:
        installed = importlib.util.find_spec("vlmeval")
        folders = list(installed.submodule_search_locations or ()) if installed is not None else []
        for name, under in (("vlmeval", ""), ("vlmeval.dataset", "dataset")):
            package = types.ModuleType(name)
            package.__path__ = [str(Path(folder, under)) for folder in folders]
            sys.modules[name] = package
    pairs = [name.split(":") for name in names]
    return {name: getattr(importlib.import_module(module), name) for module, name in pairs}


def main(request: str, reply: str) -> None:
    """Read the request; write the reply, or an `error` with the place of the `row` that is to blame, if one is."""
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    try:
        answer = score(asked, load(asked["functions"]), Path(reply).parent)
    except RowError as error:
        answer = {"row": error.args[0], "error": error.args[1]}
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller tells the user
        answer = {"row": None, "error": f"{type(error).__name__}: {error}"}
    Path(reply).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

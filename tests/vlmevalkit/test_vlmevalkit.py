"""VLMEvalKit's numbers beside ours: what it is asked, what is made of its replies, and that its rules are what we say.

tests/golden/vlmevalkit.jsonl holds VLMEvalKit's own replies (tests/golden/README.md). Where the extra is installed, the
replies are made anew and compared; where it is not, the same tests check that this is said in one sentence.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from installed import install
from kit_worker import worker_replies

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.lmms.stock import STOCK
from mmrope_eval.record import aggregate
from mmrope_eval.run import side_by_side
from mmrope_eval.scorer.all import SCORERS, SecondError, SecondItem, SecondResult
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.template import build_target
from mmrope_eval.vlmevalkit import scores, worker
from mmrope_eval.vlmevalkit.worker import AbsentJudge, Kit, RowError, score

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "tests/golden/vlmevalkit.jsonl").read_text(encoding="utf-8").splitlines()
GOLDEN: dict[str, dict[str, Any]] = {line["column"]: line for line in map(json.loads, LINES)}
INSTALLED = importlib.util.find_spec("vlmeval") is not None
REGISTRY = Registry()
DATASETS = {name: spec.vlmevalkit.task for name, spec in REGISTRY.tasks.items() if spec.vlmevalkit is not None}
"""Our task -> VLMEvalKit's data set, as the task's file says."""
MISSING = r"ms-vlmeval 0\.0\.20; installed: none.*extra 'vlmevalkit'"


def items_of(golden: dict[str, Any]) -> list[SecondItem]:
    """The golden rows and responses as a run hands them over."""
    made = []
    for doc, response in zip(golden["docs"], golden["responses"], strict=True):
        target = build_target(REGISTRY.tasks[golden["column"]].target, doc)
        if golden["column"].startswith("refcoco"):
            target["source_size"] = [200, 100]
        made.append(side_by_side.second_item(None, doc, response, target))
    return made


def result_of(column: str) -> SecondResult:
    """What the adapter makes of VLMEvalKit's recorded reply."""
    golden = GOLDEN[column]
    return scores.result(DATASETS[column], items_of(golden), golden["request"], golden["reply"])


# --------------------------------------------------------------------------------------------------------------
# Columns


def test_every_column_is_vlmevalkits_or_said_to_be_missing() -> None:
    assert set(REGISTRY.tasks) - set(DATASETS) == {"star", "lvbench", "charades_sta", "needle"}
    assert {DATASETS[column] for column in GOLDEN} == set(scores.KIT) == set(DATASETS.values())
    for column in ("star", "lvbench", "charades_sta", "needle"):
        with pytest.raises(SecondError, match=f"VLMEvalKit has no task for '{column}': its file names none "):
            side_by_side.second_number(side_by_side.SECONDS["vlmevalkit"], REGISTRY.tasks[column], [])
    with pytest.raises(SecondError, match="VLMEvalKit's 'MMSter' is not called here; those that are: MMMU_DEV_VAL, "):
        scores.kit_score("MMSter", [SecondItem({}, "B")])


@pytest.mark.parametrize("column", sorted(set(DATASETS) - {"videomme_subtitles"}))
def test_the_page_names_what_computes_each_number(column: str) -> None:
    page = (ROOT / "tasks/README.md").read_text(encoding="utf-8")
    section = page[page.index("## VLMEvalKit's numbers") : page.index("## The needle")]
    shown = "`refcoco_val` and the other seven" if column.startswith("refcoco") else f"`{column}`"
    (row,) = [line for line in section.splitlines() if line.startswith("|") and shown in line.split("|")[1]]
    task = scores.KIT[DATASETS[column]]
    assert task.dataset in row.split("|")[2]
    for name in task.functions:
        module, function = name.removeprefix("vlmeval.dataset.").split(":")
        assert f"`{module}`" in row and f"`{function}`" in row


# --------------------------------------------------------------------------------------------------------------
# What is asked, and what is made of the reply


@pytest.mark.parametrize("column", GOLDEN)
def test_rows_and_responses_become_vlmevalkits_own_fields(column: str) -> None:
    golden = GOLDEN[column]
    assert json.loads(json.dumps(scores.request(DATASETS[column], items_of(golden)))) == golden["request"]


CIRCULAR = {"mmbench": (3, 25), "mmbench_cn": (2, 28)}
"""Column -> questions that are right under both rotations, of how many."""


@pytest.mark.parametrize("column", GOLDEN)
def test_the_number_is_that_of_vlmevalkits_own_evaluation(column: str) -> None:
    """`whole` comes from its evaluation of a whole data set, which the adapter does not call."""
    golden = GOLDEN[column]
    rows, samples = golden["request"]["rows"], golden["reply"]["samples"]
    kept = [(row, share) for row, share in zip(rows, samples, strict=True) if (row["prediction"] or "").strip()]
    if column in CIRCULAR:
        groups = {row["g_index"] for row, _ in kept}
        right = sum(all(share for row, share in kept if row["g_index"] == group) for group in groups)
        number = 100 * right / len(groups)
    else:
        number = 100 * sum(share for _, share in kept) / len(kept)
    rounding = 0.05 if column == "videomme" else 1e-9  # its evaluation rounds to three decimals
    assert number == pytest.approx(golden["whole"], abs=rounding)


@pytest.mark.parametrize("column", GOLDEN)
def test_every_sample_has_its_part_in_the_number(column: str) -> None:
    golden, result = GOLDEN[column], result_of(column)
    shares = [share for share in result.samples if share is not None]
    if column in CIRCULAR:
        right, asked = CIRCULAR[column]
        assert result.value == pytest.approx(100 * right / asked), "questions that are right under both rotations"
    else:
        assert result.value == pytest.approx(100 * sum(shares) / len(shares))
    failed = [share for share, response in zip(result.samples, golden["responses"], strict=True) if response is None]
    assert len(failed) > 0 and not any(failed), "a failed sample is wrong"
    assert (result.task, result.facts["package"]) == (golden["request"]["dataset"], "ms-vlmeval 0.0.20")
    assert result.facts["functions"] == golden["request"]["functions"]


def test_questions_that_vlmevalkit_does_not_have_are_left_out() -> None:
    result = result_of("realworldqa")
    assert result.samples[1::2] == (None,) * 25 and None not in result.samples[::2]
    assert result.facts["n_left_out"] == 25
    assert "left out, though ours counts them: 25 of 50 questions" in str(result.note)
    with pytest.raises(SecondError, match="RealWorldQA has none of the 1 questions"):
        scores.request("RealWorldQA", items_of(GOLDEN["realworldqa"])[1:2])


JUDGED = {"mmmu": (36, 36), "mmbench": (18, 10), "mmstar": (9, 9), "mvbench": (16, 16), "mlvu": (27, 27),
          "videomme": (16, 16), "docvqa": (0, 0), "ocrbench": (0, 0), "refcoco_val": (0, 0)}  # fmt: skip


@pytest.mark.parametrize(("column", "counts"), JUDGED.items())
def test_answers_for_the_judge_and_draws_are_counted_and_shown(column: str, counts: tuple[int, int]) -> None:
    result = result_of(column)
    assert (result.facts["n_judge"], result.facts["n_drawn"]) == counts
    pattern = r"its rules do not read (\d+) of \d+ answers.*seed '42:'.* (\d+) drawn: ([\d.]+)\)$"
    shown = re.search(pattern, result.note or "")
    assert (shown is not None) == (counts[0] > 0)
    if shown is not None:
        assert (int(shown[1]), int(shown[2])) == counts
        assert float(shown[3]) == pytest.approx(result.facts["with_draws"], abs=0.005)
    else:
        assert result.facts["with_draws"] == pytest.approx(result.value)


READ = {
    ("mmmu", "24/7", 1): (1.0, False, "an open question's answer is option A"),
    ("mmmu", "A", 1): (1.0, False, "so that the letter A is right too"),
    ("mmmu", "navy blue", 2): (0.0, True, "several accepted answers are one text, which no response contains"),
    ("mmstar", "The car is clearly blue.", 0): (1.0, False, "the only option whose text is there"),
    ("mmstar", "The best answer is B. All of the others are ruled out.", 0): (0.0, True, "a letter far from the end"),
    ("mmstar", "Sorry, I can't help with images of people yet.", 0): (0.0, False, "a refusal it knows is no judge's"),
    ("mmstar", "<think>red?</think>B", 0): (0.0, False, "thoughts are read: this is red"),
    ("mmstar", "b", 0): (0.0, True, "small letters are not read"),
    ("mvbench", "", 0): (1.0, False, "an empty first word is in every gold"),
    ("mvbench", "B or C", 0): (1.0, False, "the first word decides"),
    ("mlvu", "", 0): (0.0, True, "not so for MLVU"),
    ("videomme", "blue", 0): (0.0, True, "it sees no options"),
    ("videomme", "B or C", 0): (1.0, False, "the first capital decides"),
    ("videomme", "A man walks past the blue one and stops there.", 0): (0.0, False, "which is A here"),
    ("textvqa", "5743.", 0): (0.3, False, "one of ten people wrote so"),
    ("textvqa", "5743", 0): (0.0, False, "and this is something else: the full stop after a digit stays"),
    ("chartqa", "2,000", 0): (0.0, False, "2,000 is no number"),
    ("chartqa", "0.57", 2): (1.0, False, "57% is 0.57"),
    ("refcoco_val", "[250, 500, 50, 100]", 0): (1.0, False, "reversed corners are swapped"),
    ("refcoco_val", "[10, 10, 50, 50]", 0): (0.0, False, "the picture's own pixels are taken for thousandths"),
    ("refcoco_val", "[0.05, 0.1, 0.25, 0.5]", 0): (1.0, False, "shares as well"),
    ("refcoco_val", "[0, 0, 9, 9] [50, 100, 250, 500]", 0): (0.0, False, "the first box counts"),
}


@pytest.mark.parametrize(("case", "expected"), READ.items(), ids=[f"{c}: {r}" for c, r, _ in READ])
def test_what_its_rules_read(case: tuple[str, str, int], expected: tuple[float, bool, str]) -> None:
    """The differences that tasks/README.md names, in VLMEvalKit's own replies."""
    column, response, which = case
    places = [place for place, row in enumerate(GOLDEN[column]["request"]["rows"]) if row["prediction"] == response]
    reply = GOLDEN[column]["reply"]
    share, unread, reason = expected
    assert reply["samples"][places[which]] == pytest.approx(share), reason
    assert reply["unread"][places[which]] == unread, reason


def test_blank_answers_that_count_as_right_are_said() -> None:
    assert "blank answers that its rule calls right: 2" in str(result_of("mvbench").note)
    assert "blank" not in str(result_of("mlvu").note)


def test_boxes_in_pixels_are_said_to_be_beside_the_point() -> None:
    golden = GOLDEN["refcoco_val"]
    for coordinates, warned in (("thousand", False), ("absolute", True)):
        items = [dataclasses.replace(item, target={**(item.target or {}), "coordinates": coordinates})
                 for item in items_of(golden)]
        result = scores.result("RefCOCO", items, golden["request"], golden["reply"])
        assert ("answers in pixels" in str(result.note)) == warned


def test_mlvu_is_right_of_asked_where_ours_is_a_mean_of_tasks() -> None:
    golden = GOLDEN["mlvu"]
    task = REGISTRY.tasks["mlvu"]
    items = [item for item in items_of(golden) if item.response == "B"]
    values = [SCORERS[task.scorer](item.response, item.target or {}).values["accuracy"] for item in items]
    ours = aggregate.macro([aggregate.Item.of(v, i.target) for v, i in zip(values, items, strict=True)])
    theirs = [s for s, r in zip(result_of("mlvu").samples, golden["responses"], strict=True) if r == "B"]
    assert (theirs, ours.value) == ([1.0, 0.0, 1.0], 0.75), "2 of 3 right; one task half, the other whole"


# --------------------------------------------------------------------------------------------------------------
# With the extra and without


@pytest.mark.parametrize("column", GOLDEN)
def test_vlmevalkit_still_replies_so_or_is_said_to_be_missing(column: str) -> None:
    golden = GOLDEN[column]
    if INSTALLED:
        assert scores.ask(golden["request"]) == golden["reply"]
    else:
        with pytest.raises(UserError, match=MISSING):
            scores.kit_score(DATASETS[column], items_of(golden))


def write_lines(path: Path, column: str) -> Path:
    golden = GOLDEN[column]
    lines = [{"doc": {**doc, "image_size": [200, 100]}, "response": response}
             for doc, response in zip(golden["docs"], golden["responses"], strict=True)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["run", "rescore", "score"])
def test_a_missing_extra_is_one_sentence_before_anything_else(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    argv = {
        "run": ["run", "--model", str(tmp_path / "none"), "--tasks", "mmmu", "--output", str(tmp_path / "out")],
        "rescore": ["rescore", str(tmp_path / "none")],
        "score": ["score", "mmmu", str(write_lines(tmp_path / "r.jsonl", "mmmu"))],
    }[command]
    assert cli.main([*argv, "--scorer", "vlmevalkit"]) == 2
    printed = capsys.readouterr()
    assert re.search(MISSING, printed.err) and len(printed.err.splitlines()) == 1 and printed.out == ""
    assert not (tmp_path / "out").exists()


def test_another_version_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, {"ms-vlmeval": "0.0.21"}, monkeypatch)
    with pytest.raises(UserError, match=r"ms-vlmeval 0\.0\.20; installed: 0\.0\.21"):
        scores.require()


def test_the_extra_is_pinned_and_in_no_environment_by_default() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["vlmevalkit"] == [f"ms-vlmeval=={scores.VERSION}"]
    locks = {name: dict(line.split("==") for line in (ROOT / f"requirements/{name}.lock").read_text().splitlines()
                        if not line.startswith("#")) for name in ("cpu", "cuda", "vlmevalkit")}
    assert locks["vlmevalkit"]["ms-vlmeval"] == scores.VERSION
    assert "ms-vlmeval" not in {**locks["cpu"], **locks["cuda"]}
    changed = {name for name, version in locks["vlmevalkit"].items() if locks["cpu"].get(name, version) != version}
    assert changed == {"antlr4-python3-runtime", "latex2sympy2", "math-verify", "tenacity"}
    assert "vlmevalkit" not in (ROOT / "scripts/setup.py").read_text()


# --------------------------------------------------------------------------------------------------------------
# The process apart


def test_a_function_that_is_not_there_is_one_sentence() -> None:
    asked = {**GOLDEN["ai2d"]["request"], "functions": ["vlmeval.no_such_module:eval_vanilla"]}
    with pytest.raises(SecondError, match=r"^VLMEvalKit's AI2D_TEST fails: ModuleNotFoundError: No module named .*\.$"):
        scores.ask(asked)


def test_a_process_that_dies_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import sys; print('first', file=sys.stderr); sys.exit('out of memory')")
    with pytest.raises(SecondError, match=r"^VLMEvalKit's AI2D_TEST fails: out of memory\.$"):
        scores.ask(GOLDEN["ai2d"]["request"], tmp_path / "dies.py")


def test_the_sample_on_which_vlmevalkit_fails_is_named_by_its_place_in_the_run(tmp_path: Path) -> None:
    reply = {"row": 3, "error": "IndexError: string\n index"}
    (tmp_path / "fails.py").write_text(f"import sys; open(sys.argv[2], 'w').write({json.dumps(reply)!r})")
    with pytest.raises(SecondError, match=r"^VLMEvalKit's RealWorldQA fails on sample 6: IndexError: string index\.$"):
        scores.ask(GOLDEN["realworldqa"]["request"], tmp_path / "fails.py")


def test_a_row_without_its_fields_is_named() -> None:
    target = {"options": ["red", "blue"], "answer": "B", "group": 1}
    with pytest.raises(SecondError, match=r"VLMEvalKit's MMBench_DEV_EN cannot be given sample 0 .*'index'"):
        scores.request("MMBench_DEV_EN", [SecondItem({}, "B", None, target)])


# --------------------------------------------------------------------------------------------------------------
# How the worker puts VLMEvalKit's functions together, with stand-ins for them


def rows_of(*predictions: str | None, **more: Sequence[Any]) -> list[dict[str, Any]]:
    made = []
    for place, prediction in enumerate(predictions):
        fields = {name: values[place] for name, values in more.items()}
        made.append({"prediction": prediction, "seed": f"42:{place}", "GT": "A", **fields})
    return made


def read_or_ask(judge: AbsentJudge | None, item: Any, dataset_name: str) -> dict[str, float]:
    """As VLMEvalKit's eval_vanilla: a letter is read; else Z without a judge, three questions and a draw with one."""
    if item["prediction"] in tuple("ABC"):
        return {"hit": item["prediction"] == item["GT"]}
    if judge is None:
        return {"hit": 0}
    assert {judge.generate("?") for _ in range(3)} == {"Failed to obtain answer via API."}
    return {"hit": random.choice("ABC") == item["GT"]}


def report(frame: Any) -> dict[str, list[float]]:
    return {"Overall": [float(frame["hit"].mean())]}


def scored(kind: str, rows: list[dict[str, Any]], tmp_path: Path, **functions: Callable[..., Any]) -> dict[str, Any]:
    asked = {"kind": kind, "dataset": "D", "options": {"method": "m"}, "rows": rows}
    return score(asked, functions, tmp_path)


def test_an_unread_answer_is_wrong_by_rules_and_drawn_with_its_own_seed(tmp_path: Path) -> None:
    functions: dict[str, Callable[..., Any]] = {"eval_vanilla": read_or_ask, "report_acc": report}
    rows = rows_of("A", "B", *(["?"] * 60), None)
    result = scored("choice", rows, tmp_path, **functions)
    assert result["samples"] == [1.0] + [0.0] * 62 and result["value"] == pytest.approx(100 / 63)
    assert (sum(result["unread"]), result["draws"]) == (60, 60)
    assert not result["unread"][-1], "a failed one is not asked"
    expected = 1 + sum(random.Random(f"42:{i}").choice("ABC") == "A" for i in range(2, 62))
    assert result["drawn_value"] == pytest.approx(100 * expected / 63)
    backwards = scored("choice", rows[::-1], tmp_path, **functions)
    assert backwards["drawn_value"] == pytest.approx(result["drawn_value"]), "no sample depends on another"


def test_a_question_is_right_under_every_rotation_and_unread_only_where_undecided(tmp_path: Path) -> None:
    """Groups: both right; one wrong, so that the unread one does not matter; one right, one unread; one failed."""
    rows = rows_of("A", "A", "B", "?", "A", "?", "A", None, g_index=[1, 1, 2, 2, 3, 3, 4, 4])

    def read(row: Any) -> str | bool:
        return row["prediction"] if row["prediction"] in tuple("ABC") else False

    def prefetch(group: Any) -> dict[str, int] | None:
        letters = [read(row) for row in group.to_dict("records")]
        if any(letter and letter != "A" for letter in letters):
            return {"hit": 0}
        return {"hit": 1} if all(letters) else None

    def ask(judge: AbsentJudge, group: Any, dataset_name: str) -> dict[str, int]:
        for _ in range(3):
            judge.generate("?")
        return {"hit": 1}

    result = scored("circular", rows, tmp_path, prefetch_answer=read, prefetch_circular_group=prefetch,
                   eval_circular_group=ask, report_acc=report)
    assert result["samples"] == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert result["unread"] == [False] * 5 + [True, False, False]
    assert (result["value"], result["drawn_value"], result["draws"]) == (25.0, 50.0, 1)


def test_video_columns_count_right_answers_over_all_questions(tmp_path: Path) -> None:
    rows = rows_of("A", "B", "A", None, task_type=["x", "x", "x", "y"], gold=["(A) a"] * 4)

    def rating(path: str) -> dict[str, list[Any]]:
        import pandas

        table = pandas.read_pickle(path)
        parts = {task: [int(part["score"].sum()), len(part)] for task, part in table.groupby("task_type")}
        return {**parts, "overall": [9, 9, "100%"]}

    result = scored("mvbench", rows, tmp_path, get_dimension_rating=rating,
                   check_ans_with_model=lambda prediction, gold, *_: prediction == gold[1])
    assert (result["value"], result["samples"]) == (50.0, [1.0, 0.0, 1.0, 0.0])


def test_a_fault_names_the_row(tmp_path: Path) -> None:
    def fails(judge: AbsentJudge | None, item: Any, dataset_name: str) -> dict[str, int]:
        return {"hit": int("ABC".index(item["prediction"]) == 0)}

    with pytest.raises(RowError) as caught:
        scored("choice", rows_of("A", None, "D"), tmp_path, eval_vanilla=fails, report_acc=report)
    assert caught.value.args == (2, "ValueError: substring not found")


def test_kinds_of_the_adapter_are_the_workers() -> None:
    assert {task.kind for task in scores.KIT.values()} == set(worker.KINDS)
    assert {kind for kind in worker.KINDS if kind in worker.UNJUDGED} == {
        task.kind for name, task in scores.KIT.items()
        if name in ("DocVQA_VAL", "InfoVQA_VAL", "TextVQA_VAL", "ChartQA_TEST", "OCRBench", "RefCOCO")}
    assert Kit({"f": len}, "D", {}, Path())["f"] is len


# --------------------------------------------------------------------------------------------------------------
# On the command line, with VLMEvalKit's recorded replies


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as if it were installed, replying what it replied when the golden file was made."""
    install(tmp_path / "packages", {"ms-vlmeval": scores.VERSION}, monkeypatch)
    replies = {json.dumps(golden["request"]["rows"], sort_keys=True): golden["reply"] for golden in GOLDEN.values()}
    worker_replies(monkeypatch, lambda asked: replies[json.dumps(asked["rows"], sort_keys=True)])


@pytest.mark.usefixtures("recorded")
def test_score_prints_and_writes_both_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "r.jsonl", "realworldqa")
    out = tmp_path / "scored.jsonl"
    assert cli.main(["score", "realworldqa", str(file), "--scorer", "vlmevalkit", "--output", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["scores"]["accuracy"], row["vlmevalkit"], row["agree"]) for row in rows[:2]] == [
        (1.0, 1.0, True), (0.0, None, None)]
    differ = sum(row["agree"] is False for row in rows)
    err = capsys.readouterr().err
    assert f"VLMEvalKit RealWorldQA Overall: 40.00 ({differ} of 25 samples differ; left out, though" in err
    assert "its rules do not read 9 of 25 answers" in err and "44.00" in err


@pytest.mark.usefixtures("recorded")
def test_a_column_that_it_does_not_have_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doc = {"video": "v.mp4", "caption": "opens a door", "timestamp": [10.0, 20.0]}
    (tmp_path / "r.jsonl").write_text(json.dumps({"doc": doc, "response": "10 - 20"}) + "\n")
    assert cli.main(["score", "charades_sta", str(tmp_path / "r.jsonl"), "--scorer", "vlmevalkit"]) == 1
    assert "VLMEvalKit has no task for 'charades_sta'" in capsys.readouterr().err


def test_both_harnesses_can_be_asked_for() -> None:
    declared = {key: {other.task for spec in REGISTRY.tasks.values() if (other := second.counterpart(spec)) is not None}
                for key, second in side_by_side.SECONDS.items()}
    assert declared == {"stock": set(STOCK), "vlmevalkit": set(scores.KIT)}
    assert side_by_side.second_of("strict") is None

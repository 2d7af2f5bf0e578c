"""Records: what earlier versions wrote stays readable, and what was damaged is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from loaded_scripts import load_script
from report_files import sample, write_cell

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.record.cell import read_cell
from mmrope_eval.record.comparable import KINDS
from mmrope_eval.record.files import sealed, write_json, write_manifest
from mmrope_eval.report.compare.pairing import match
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, build
from mmrope_eval.report.table.notes import footnotes

ROOT = Path(__file__).resolve().parents[2]
EARLIER = Path(__file__).resolve().parents[1] / "cases" / "records"
VALUES = {"chartqa": [1.0, 0.0, 1.0, 1.0, 0.0, 1.0], "refcoco_val": [1.0, 0.0, 0.0, 1.0]}
COMMANDS = {
    "table": ("table", "2", "CASE"),
    "intervals": ("table", "2", "CASE", "--all", "--intervals"),
    "steps": ("steps", "CASE", "--partial"),
    "compare": ("compare", "RUN", "CASE"),
    "check": ("check", "CASE", "--against", "RUN"),
    "reported": ("check", "CASE", "--against", "huang2025", "--allow-different", "data"),
}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A run that is its own baseline; its checkpoint is a step of a training."""
    return write_cell(tmp_path / "sound", "mrope-i", VALUES, model="run/checkpoint-100")


@pytest.fixture
def case(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(sound, tmp_path / "case"))


def seal(folder: Path) -> None:
    """Give a cell the seal that a run of this version has."""
    scores, manifest = (json.loads((folder / f"{name}.json").read_text()) for name in ("scores", "manifest"))
    write_manifest(folder, manifest, scores)


def edit(path: Path, keys: tuple[str | int, ...], value: Any, line: int = 0) -> None:
    """Set one value of a JSON file, or of a line of JSON lines; `...` removes it."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    place = content = json.loads(lines[line])
    for key in keys[:-1]:
        place = place[key]
    if value is ...:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    lines[line] = json.dumps(content)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def call(line: tuple[str, ...], sound: Path, case: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main([{"RUN": str(sound), "CASE": str(case)}.get(word, word) for word in line])
    return code, *capsys.readouterr()


def refused(sound: Path, case: Path, words: str, capsys: pytest.CaptureFixture[str], *names: str) -> None:
    """Every command ends with exit code 2 and one sentence that has the words, and prints nothing else."""
    for name in names or COMMANDS:
        code, out, err = call(COMMANDS[name], sound, case, capsys)
        assert (name, code, out, err.count("\n")) == (name, 2, "", 1), err
        assert words in err and len(err) < 700


# -- earlier versions -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", ["0.2", "0.3"])
def test_a_run_of_an_earlier_version_is_read_as_it_was(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = EARLIER / version
    entries = json.loads((folder / "scores.json").read_text())["tasks"]
    run = load_run(folder)
    rows = run.scores.set_index("task")
    assert list(rows.index) == list(entries) and len(run.samples) == sum(entry["n"] for entry in entries.values())
    for task, entry in entries.items():
        assert rows.loc[task, "score"] == entry["metrics"][entry["main"]]["value"]
        assert (rows.loc[task, "average"], rows.loc[task, "chance"]) == (entry["average"], entry["chance"])
    assert set(rows["variant"]) == {"mrope"} and set(rows["model"]) == {"mrope"} and not run.assumptions()
    for line in (COMMANDS["table"], COMMANDS["check"], COMMANDS["compare"]):
        assert call(line, folder, folder, capsys)[0] == 0


@pytest.mark.parametrize("version", ["0.2", "0.3"])
def test_what_earlier_versions_wrote_is_checked_too(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Path(shutil.copytree(EARLIER / version, tmp_path / "case"))
    edit(case / "scores.json", ("tasks", "mmstar", "metrics", "accuracy", "value"), 51.0)
    refused(EARLIER / version, case, "mmstar.metrics.accuracy.value is 51, and the samples give 50", capsys,
            "table", "compare", "check")


def test_the_demo_s_results_are_a_run_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = ROOT / "results" / "demo"
    assert cli.main(["table", "2", str(results), "--format", "csv", "--intervals"]) == 0
    said, kept = (pd.read_csv(text).set_index(["row", "column"]) for text in
                  (io.StringIO(capsys.readouterr().out), results / "table2.csv"))  # fmt: skip
    here = ["rank", "cells"]  # among other rows, and where they lie
    pd.testing.assert_frame_equal(said.drop(columns=here), kept.loc[said.index].drop(columns=here))
    others = kept.index.difference(said.index)
    assert set(others.get_level_values("row")) == {"circlerope-upstream"}
    row, case = results / "runs" / "mrope", Path(shutil.copytree(results / "runs" / "mrope", tmp_path / "case"))
    code, out, err = call(COMMANDS["check"], row, case, capsys)
    assert (code, err) == (0, "") and out.startswith("Passed: 29 cells: 0 worse, ")
    packed = case / "samples" / "star.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(gzip.decompress(packed.read_bytes()).splitlines(keepends=True)[:5])))
    refused(row, case, "star.n is 96, and the samples give 5", capsys, "table", "check", "compare")
    packed.write_bytes(packed.read_bytes()[:-9])
    refused(row, case, "star.jsonl.gz cannot be read", capsys, "table", "check")


# -- samples and scores ---------------------------------------------------------------------------------------------

def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


MISFITS: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "half the lines": (lambda lines: lines[:3], "chartqa.n is 6, and the samples give 3"),
    "no line": (lambda lines: [], "chartqa.n is 6, and the samples give 0"),
    "all lines doubled": (lambda lines: lines * 2, "line 7 is a second line of the sample 'chartqa/0'"),
    "one line doubled": (lambda lines: [*lines, lines[2]], "line 7 is a second line of the sample 'chartqa/2'"),
    "one line lost": (lambda lines: lines[1:], "chartqa.n is 6, and the samples give 5"),
    "the lines of another task": (
        lambda lines: [json.dumps(sample("docvqa", i, 1.0)) + "\n" for i in range(6)], "has no score 'relaxed'"),
    "another answer": (
        lambda lines: [line.replace('"relaxed": 0.0', '"relaxed": 1.0') for line in lines],
        "metrics.relaxed.value is 66.6666667, and the samples give 100"),
    "a failure less": (lambda lines: [line.replace('"failure": null', '"failure": {"stage": "a", "cause": "b"}', 1)
                                      for line in lines], "chartqa.n_failed is 0, and the samples give 6"),
    "cut short": (lambda lines: [*lines[:5], lines[5][:40]], "line 6 is damaged"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_samples_that_do_not_fit_their_scores_are_refused(
    name: str, sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = MISFITS[name]
    path = case / "samples" / "chartqa.jsonl"
    path.write_text("".join(change(lines_of(path))))
    refused(sound, case, words, capsys)
    refused(sound, case, str(path), capsys, "table")


@pytest.mark.parametrize(("keys", "value", "words"), [
    (("metrics", "relaxed", "value"), 12.0, "metrics.relaxed.value is 12, and the samples give 66.6666667"),
    (("metrics", "relaxed", "value"), None, "metrics.relaxed.value is unknown, and the samples give 66.6666667"),
    (("metrics", "relaxed", "value"), 66.67, "metrics.relaxed.value is 66.67, and"),
    (("metrics", "relaxed", "n"), 5, "metrics.relaxed.n is 5, and the samples give 6"),
    (("n",), 7, "chartqa.n is 7, and the samples give 6"),
    (("n_failed",), 1, "chartqa.n_failed is 1, and the samples give 0"),
    (("n_truncated",), 2, "chartqa.n_truncated is 2, and the samples give 0"),
    (("n_unparsed",), 2, "chartqa.n_unparsed is 2, and the samples give 0"),
    (("average",), "median", "the average 'median' is unknown here; use the mmrope-eval that wrote the run"),
], ids=str)
def test_an_edited_score_is_refused(
    keys: tuple[str, ...], value: Any, words: str, sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(case / "scores.json", ("tasks", "chartqa", *keys), value)
    refused(sound, case, words, capsys)


def test_every_average_is_recomputed_as_the_record_names_it(tmp_path: Path) -> None:
    groups = ["a", "a", "a", "b", "b", "c"]
    lines = [sample("mvbench", i, float(i % 2), target={"answer": "A", "group": groups[i]}) for i in range(6)]
    for average in ("micro", "macro", "circular", "ocrbench", "mmmu"):
        folder = write_cell(tmp_path / average, "mrope", {"mvbench": lines}, changes={"average": average})
        assert read_cell(folder).scores.tasks["mvbench"].average == average
        for other in ("micro", "macro", "circular"):
            if average in ("macro", "circular") and other != average:
                changed = Path(shutil.copytree(folder, tmp_path / f"{average}-{other}"))
                edit(changed / "scores.json", ("tasks", "mvbench", "average"), other)
                with pytest.raises(UserError, match=r"do not fit: mvbench\.metrics\.accuracy"):
                    read_cell(changed)


def test_the_groups_of_a_task_are_checked(tmp_path: Path) -> None:
    lines = [sample("mvbench", i, float(i % 2), target={"answer": "A", "group": "ab"[i // 2]}) for i in range(4)]
    folder = write_cell(tmp_path / "x", "mrope", {"mvbench": lines},
                        changes={"groups": {"a": {"value": 50.0, "n": 2}, "b": {"value": 49.0, "n": 2}}})
    with pytest.raises(UserError, match=r"groups\.b\.value is 49, and the samples give 50"):
        read_cell(folder)


def test_records_of_two_runs_are_no_run(sound: Path, case: Path, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    other = write_cell(tmp_path / "other", "hope", VALUES, model="run/checkpoint-200")
    shutil.copy(other / "manifest.json", case)
    refused(sound, case, "are not of the same run (variant.fingerprint differs)", capsys)
    own = json.loads((sound / "manifest.json").read_text())
    own["variant"]["definition"] = json.loads((other / "manifest.json").read_text())["variant"]["definition"]
    own["variant"]["definition"]["name"] = "mrope-i"
    (case / "manifest.json").write_text(json.dumps(own))
    refused(sound, case, "its variant.definition does not have the fingerprint", capsys)


# -- the seal -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("file", "keys", "value"), [
    ("scores.json", ("tasks", "chartqa", "chance"), 1.0),
    ("scores.json", ("tasks", "chartqa", "expected"), 6),
    ("scores.json", ("tasks", "chartqa", "column"), "DocVQA"),
    ("scores.json", ("tasks", "chartqa", "data_fingerprint"), "data-docvqa"),
    ("scores.json", ("tasks", "chartqa", "scorer_version"), ...),
    ("scores.json", ("checkpoint", "path"), "/models/other/checkpoint-7"),
    ("scores.json", ("label",), "x"),
    ("manifest.json", ("limit",), 100),
    ("manifest.json", ("variant", "how"), "model type"),
    ("manifest.json", ("sha256", "scores.json"), "0" * 64),
    ("samples/chartqa.jsonl", ("id",), "chartqa/99"),
    ("samples/chartqa.jsonl", ("media", 0, "fingerprint"), "another"),
    ("samples/chartqa.jsonl", ("prediction",), "B"),
    ("samples/chartqa.jsonl", ("prompt_tokens",), 7),
])  # fmt: skip
def test_what_cannot_be_recomputed_is_under_the_seal(
    file: str, keys: tuple[str | int, ...], value: Any, sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seal(case)
    assert all(call(line, sound, case, capsys)[0] == 0 for line in COMMANDS.values())
    edit(case / file, keys, value)
    refused(sound, case, f"{file} is not as the run wrote it (its sha256 is not the one in manifest.json)", capsys)


def test_a_seal_is_over_the_content_and_names_what_belongs_to_it(case: Path) -> None:
    seal(case)
    manifest = json.loads((case / "manifest.json").read_text())
    assert set(manifest["sha256"]) == {"manifest.json", "scores.json", *(f"samples/{task}.jsonl" for task in VALUES)}
    (case / "manifest.json").write_text(json.dumps(manifest, indent=7))
    read_cell(case)
    assert sealed(manifest, "manifest.json", {key: value for key, value in manifest["sha256"].items()
                                              if key != "manifest.json"}) == manifest


def test_packed_samples_are_the_same_samples(case: Path) -> None:
    seal(case)
    before = load_run(case).samples
    for path in (case / "samples").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_run(case).samples.equals(before)


# -- versions -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["scores.json", "manifest.json"])
def test_a_newer_format_asks_for_a_newer_mmrope_eval(
    name: str, sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(case / name, ("format",), 2)
    edit(case / name, ("variant",), {"unheard": "of"})  # what follows in it is not judged
    refused(sound, case, f"{name} has format 2, and this mmrope-eval reads records up to format 1; update mmrope-eval",
            capsys)
    for bad in (0, "1", True, None, 1.5):
        edit(case / name, ("format",), bad)
        refused(sound, case, "is no version of a format", capsys, "table")


def test_keys_of_a_later_version_are_ignored_within_a_format(sound: Path, case: Path) -> None:
    for name in ("scores.json", "manifest.json"):
        edit(case / name, ("later",), {"a": [1]})
    edit(case / "scores.json", ("tasks", "chartqa", "later"), 1)
    edit(case / "samples" / "chartqa.jsonl", ("later",), "x")
    seal(case)
    assert load_run(case).scores.drop(columns="cell").equals(load_run(sound).scores.drop(columns="cell"))
    assert load_run(case).cells[0].record.stored_scores.raw["later"] == {"a": [1]}


# -- one odd value --------------------------------------------------------------------------------------------------

HUGE = 10**400
ENTRY = ("tasks", "chartqa")
ODD: dict[str, tuple[str, tuple[str | int, ...], Any, str]] = {
    "an entry that is text": ("scores.json", ENTRY, "x", "tasks.chartqa"),
    "metrics that are a number": ("scores.json", (*ENTRY, "metrics"), 5, "tasks.chartqa.metrics"),
    "a main metric that is a list": ("scores.json", (*ENTRY, "main"), [1], "tasks.chartqa.main"),
    "a main metric without numbers": ("scores.json", (*ENTRY, "main"), "strict", "`main` should be one of"),
    "a metric that is a list": ("scores.json", (*ENTRY, "metrics", "relaxed"), [1], "tasks.chartqa.metrics.relaxed"),
    "n too large": ("scores.json", (*ENTRY, "n"), HUGE, "tasks.chartqa.n"),
    "n null": ("scores.json", (*ENTRY, "n"), None, "tasks.chartqa.n"),
    "n below zero": ("scores.json", (*ENTRY, "n"), -5, "tasks.chartqa.n"),
    "n a fraction": ("scores.json", (*ENTRY, "n"), 1.5, "tasks.chartqa.n"),
    "n a mapping": ("scores.json", (*ENTRY, "n"), {}, "tasks.chartqa.n"),
    "n true": ("scores.json", (*ENTRY, "n"), True, "tasks.chartqa.n"),
    "n missing": ("scores.json", (*ENTRY, "n"), ..., "key 'tasks.chartqa.n' is missing"),
    "a score above 100": ("scores.json", (*ENTRY, "metrics", "relaxed", "value"), 1e308, "metrics.relaxed.value"),
    "an error that is text": ("scores.json", (*ENTRY, "metrics", "relaxed", "stderr"), "a/b", "relaxed.stderr"),
    "a chance below zero": ("scores.json", (*ENTRY, "chance"), -1, "tasks.chartqa.chance"),
    "a fingerprint that is a list": ("scores.json", (*ENTRY, "data_fingerprint"), [], "tasks.chartqa.data_fingerprint"),
    "half a character": ("scores.json", ("variant", "name"), "\ud800", "surrogate"),
    "a task that is a path": ("scores.json", ("tasks", "../x"), {}, "must be the name of a task"),
    "a limit that is a list": ("manifest.json", ("limit",), [1], "limit"),
    "a definition that is text": ("manifest.json", ("variant", "definition"), "x", "variant.definition"),
    "a score that is text": ("samples/chartqa.jsonl", ("scores", "relaxed"), "x", "line 1 is damaged ('scores.relaxed"),
    "a score below zero": ("samples/chartqa.jsonl", ("scores", "relaxed"), -5, "scores.relaxed"),
    "a score of 1e308": ("samples/chartqa.jsonl", ("scores", "relaxed"), 1e308, "scores.relaxed"),
    "tokens too large": ("samples/chartqa.jsonl", ("prompt_tokens",), HUGE, "line 1 is damaged ('prompt_tokens"),
    "an id that is a number": ("samples/chartqa.jsonl", ("id",), 5, "line 1 is damaged ('id"),
    "half a character in an id": ("samples/chartqa.jsonl", ("id",), "\ud800", "surrogate"),
    "media that are text": ("samples/chartqa.jsonl", ("media",), "x", "line 1 is damaged ('media"),
    "positions that are a number": ("samples/chartqa.jsonl", ("positions",), 5, "line 1 is damaged ('positions"),
}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_value_is_one_sentence_with_the_file_and_the_field(
    name: str, sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, keys, value, words = ODD[name]
    edit(case / file, keys, value)
    refused(sound, case, words, capsys)
    refused(sound, case, str(case / file), capsys, "table")


@pytest.mark.parametrize("file", ["scores.json", "manifest.json", "samples/chartqa.jsonl"])
@pytest.mark.parametrize("content", [
    "", "null", "5", '"x"', "[1]", "{", "[" * 200_000, '{"a": 1e999}', '{"a": NaN}', '{"a": ' + "1" * 5_000 + "}",
    '{"a": "\ud800"}'.encode("utf-8", "surrogatepass"), b"\xff\xfe", b"\x00" * 100,
], ids=lambda content: repr(content[:12]))
def test_files_that_are_no_records(
    file: str, content: str | bytes, sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(sound, case, str(case / file), capsys, "table", "compare")
    (case / file).unlink()
    refused(sound, case, str(case / file) if file != "scores.json" else "holds no scores.json", capsys, "table")
    (case / file).mkdir()
    refused(sound, case, str(case / file), capsys, "table", "check")


def test_a_definition_of_a_later_version_is_known_by_its_fingerprint(
    sound: Path, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(case / "manifest.json", ("variant", "definition", "position"), [1])
    assert call(COMMANDS["table"], sound, case, capsys)[0] == 0
    code, out, _ = call(("table", "2", "CASE"), sound, case, capsys)
    assert code == 0 and json.loads((case / "scores.json").read_text())["variant"]["name"] in out


# -- what makes results comparable ----------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_tables_compare_and_check_have_one_list(
    kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{**sample("chartqa", i, 1.0), "scores": {"relaxed": 1.0, "strict": 1.0}} for i in range(4)]
    change = {"metric": {"main": "strict"}, "average": {"average": "ocrbench"}, "temperature": {}}.get(
        name, {name: 9 if name.endswith("version") else "other"})
    a = write_cell(tmp_path / "a", "hope", {"chartqa": lines})
    b = write_cell(tmp_path / "b", "mrope", {"chartqa": lines}, changes=change)
    generation = {"max_tokens": 16, "temperature": 0.0}
    other = {**generation, **{key: value for key, value in (("max_tokens", 32), ("temperature", 0.7)) if key == name}}
    for folder, drawn in ((a, generation), (b, other)):
        edit(folder / "manifest.json", ("tasks",), {"chartqa": {"generation": drawn}})
    assert match(load_run(a), load_run(b)).pairs[0].unlike == (kind,)
    table = build(load_definition("2"), [load_run(a), load_run(b)], Options(partial=True))
    (note,) = [note for note in footnotes(table) if note.kind == "unlike"]
    assert note.text == f"the rows are not comparable, they differ in: ChartQA ({kind})"
    code, _, err = call(COMMANDS["check"], a, b, capsys)
    assert code == 2 and f"different {kind} of ChartQA" in err and f"--allow-different {kind}" in err
    assert call((*COMMANDS["check"], "--allow-different", kind), a, b, capsys)[0] == 0


def test_what_is_unknown_of_one_result_is_not_known_to_be_alike(tmp_path: Path) -> None:
    a = write_cell(tmp_path / "a", "hope", {"chartqa": [1.0]})
    b = write_cell(tmp_path / "b", "mrope", {"chartqa": [1.0]}, changes={"prompt_hash": None})
    assert match(load_run(a), load_run(b)).pairs[0].unlike == ("prompts",)
    table = build(load_definition("2"), [load_run(a), load_run(b)], Options(partial=True))
    assert [note.text for note in footnotes(table) if note.kind == "unlike"] == [
        "the rows are not comparable, they differ in: ChartQA (prompts)"]
    assert not match(load_run(b), load_run(b)).pairs[0].unlike


# -- sweeps ---------------------------------------------------------------------------------------------------------

def write_sweep(folder: Path) -> Path:
    """A sweep of one variant at two contexts, needles with three depths."""
    points = []
    for context in (96, 192):
        lines = [sample("star", i, float(i % 2), id=f"needle/{i}", target={"answer": "A", "group": f"{50 * (i % 3)}"})
                 for i in range(6)]
        cell = write_cell(folder / str(context) / "needle" / "mrope", "mrope", {"star": lines}, changes={
            "groups": {str(50 * depth): {"value": 50.0, "n": 2} for depth in range(3)}})
        scores = json.loads((cell / "scores.json").read_text())
        entry = {**scores["tasks"]["star"], "column": "Needle"}
        (cell / "scores.json").write_text(json.dumps({**scores, "tasks": {"needle": entry}}))
        (cell / "samples" / "star.jsonl").rename(cell / "samples" / "needle.jsonl")
        seal(cell)
        points.append({
            "checkpoint": "/models/tiny", "model": "tiny", "variant": "mrope", "scaling": "none", "task": "needle",
            "column": "Needle", "chance": 25.0, "context": context, "text_tokens": 20, "frames": 4,
            "planned_tokens": context, "trained_reach": 38.0, "target_reach": 38.0, "factor": 1.0, "status": "done",
            "cause": None, "n": 6, "folder": f"{context}/needle/mrope"})
    content = {"format": 1, "command": [], "title": "needles", "train_context": 96, "points": points}
    write_json(folder / "sweep.json", sealed(content, "sweep.json", {}))
    return folder


def sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    return cli.main(["sweep", "demo", "--report-only", "--output", str(folder)]), *capsys.readouterr()


def unseal(folder: Path) -> None:
    content = json.loads((folder / "sweep.json").read_text())
    del content["sha256"]
    (folder / "sweep.json").write_text(json.dumps(content))


POINT = ("points", 0)


@pytest.mark.parametrize(("keys", "value", "words"), [
    (("points",), {}, "points"), (("points",), [], "has no points yet"), (POINT, 5, "points, entry 1"),
    ((*POINT, "status"), "lost", None), ((*POINT, "folder"), None, "should have a `folder`"),
    ((*POINT, "folder"), "../elsewhere", "must be a folder below"), ((*POINT, "folder"), "96", "scores.json"),
    ((*POINT, "context"), 0, "points, entry 1: 'context'"), ((*POINT, "context"), "96", "points, entry 1: 'context'"),
    ((*POINT, "factor"), -1, "points, entry 1: 'factor'"), ((*POINT, "chance"), 101, "points, entry 1: 'chance'"),
    ((*POINT, "task"), "star", "whose scores.json has needle"), ((*POINT, "task"), "../x", "the name of a task"),
    ((*POINT, "model"), [], "points, entry 1: 'model'"),
    ((*POINT, "frames"), ..., "points, entry 1: key 'frames' is missing"),
    (("train_context",), None, "train_context"), (("title",), 1, "title"), (("format",), 3, "update mmrope-eval"),
], ids=str)  # fmt: skip
def test_a_damaged_sweep_is_one_sentence(
    keys: tuple[str | int, ...], value: Any, words: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_sweep(tmp_path / "sweep")
    edit(folder / "sweep.json", keys, value)
    code, out, err = sweep(folder, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1) and str(folder / "sweep.json") in err
    unseal(folder)
    code, out, err = sweep(folder, capsys)
    if words is None:
        assert code == 0, "a status of a later version is shown as it is"
    else:
        assert (code, out, err.count("\n")) == (2, "", 1) and words in err


def test_a_needle_s_group_is_a_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sweep(tmp_path / "sweep")
    assert sweep(folder, capsys)[0] == 0
    cell = folder / "96" / "needle" / "mrope"
    edit(cell / "scores.json", ("tasks", "needle", "groups", "deep"), {"value": 50.0, "n": 2})
    seal(cell)
    code, _, err = sweep(folder, capsys)
    assert code == 2 and "a needle's group is called 'deep', which is no depth" in err


# -- at random ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def faults() -> ModuleType:
    return load_script("benchmarks/fault_records.py")


def test_damages_at_random_end_in_sentences(faults: ModuleType, sound: Path, tmp_path: Path) -> None:
    seal(sound)
    lines = tuple(line for line in faults.RUN_COMMANDS if line[0] != "rescore")
    for name, commands in (("run", faults.Commands(sound, lines)),
                           ("sweep", faults.Commands(write_sweep(tmp_path / "sweep"), faults.SWEEP_COMMANDS))):
        scratch = tmp_path / f"damaged-{name}"
        scratch.mkdir()
        found = faults.campaign(commands, 12, 7, scratch)
        assert found.wrong == [] and found.counts["sentence"] >= 8, found.counts


def test_the_campaign_sees_what_it_should(faults: ModuleType, sound: Path, tmp_path: Path) -> None:
    line = ("table", "2", "CASE", "--all")
    commands = faults.Commands(sound, (line,))
    right = faults.outcome(next(commands.of(sound, tmp_path)), sound, tmp_path / "again")
    case = Path(shutil.copytree(sound, tmp_path / "case"))

    def kind(**changes: Any) -> str:
        found = faults.dataclasses.replace(right, **changes)
        return str(faults.kind_of("table", found, right, case, sound)).partition("\n")[0]

    assert kind() == "same"
    assert kind(code=None, err="ValueError") == "traceback"
    assert kind(out=right.out + "x") == "silent"
    assert kind(out=right.out + "x", err="mmrope-eval: one row is not in the table.\n") == "said"
    assert kind(code=2, out="", err="mmrope-eval: error: x.\n") == "sentence"
    assert kind(code=2, out="half a table", err="mmrope-eval: error: x.\n") == "silent"
    edit(case / "scores.json", ("tasks", "chartqa", "chance"), 20.0)
    again = faults.outcome(next(commands.of(case, tmp_path)), case, tmp_path / "again")
    assert faults.kind_of("table", again, right, case, sound).startswith("silent"), "no seal, nothing to recompute"

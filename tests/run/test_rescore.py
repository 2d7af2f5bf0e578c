"""`mmrope-eval rescore` and `run --scorer stock`: stored responses scored anew; no engine, no second generation."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from copied_product import copy_product, said_by
from installed import install
from kit_worker import worker_replies
from run_command import run_command
from suite_fakes import FakeEngine, FakeStart

from mmrope_eval import cli
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.lmms.stock import stock_score
from mmrope_eval.messages import Failure, Request, Response
from mmrope_eval.record.files import write_manifest
from mmrope_eval.report.runs import load_run
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.scorer.all import SecondItem
from mmrope_eval.vlmevalkit import scores as vlmevalkit

N = 4
TASKS = ("refcoco_val", "chartqa", "charades_sta")


@dataclasses.dataclass
class Answering(FakeEngine):
    """ChartQA right, in quotes; refcoco a spray of boxes; one failure."""

    def reply(self, request: Request) -> Response | Failure:
        answer = super().reply(request)
        task, _, index = request.id.partition("/")
        if request.id == "chartqa/3" or isinstance(answer, Failure):
            return Failure(request.id, "engine", "told to fail.", answer.media)
        texts = {"chartqa": f'"{int(index) * 10}"', "refcoco_val": "[0, 0, 9, 9] [9, 7, 44, 33]"}
        return dataclasses.replace(answer, text=texts.get(task, answer.text))


def start(checkpoint: Any, variant: Any, options: Any) -> Answering:
    return Answering(checkpoint, variant)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=N)


@pytest.fixture(scope="module")
def config(checkpoint: Path, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    out = tmp_path_factory.mktemp("runs") / "one"
    config = RunConfig((str(checkpoint),), TASKS, out, ("mrope",), data_root=mirror, options=EngineOptions())
    running.run(config, start)
    return config


@pytest.fixture
def stored(config: RunConfig, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    shutil.copytree(config.output, tmp_path / "run")
    return tmp_path / "run"


def rescore(*argv: object) -> int:
    return cli.main(["rescore", *map(str, argv)])


def files(folder: Path) -> dict[str, bytes]:
    paths = [folder / "scores.json", *sorted(folder.glob("samples/*")), folder / "failures.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_same_scorer_gives_the_same_bytes(stored: Path) -> None:
    before, manifest = files(stored), (stored / "manifest.json").read_bytes()
    (stored / "failures.jsonl").write_text("")
    assert rescore(stored) == 1, "a sample of the run had failed"
    assert files(stored) == before and (stored / "manifest.json").read_bytes() == manifest


def test_samples_that_do_not_fit_are_not_overwritten_and_made_anew_elsewhere(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = files(stored)
    path = stored / "samples/chartqa.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: N // 2]))
    damaged = files(stored)
    for scorer in ("strict", "stock"):
        assert rescore(stored, "--scorer", scorer) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1 and f"{path} do not fit: chartqa.n is 4, and the samples give 2" in err
    assert files(stored) == damaged
    assert rescore(stored, "--output", tmp_path / "new") == 1, "a sample of the run had failed"
    assert "do not fit" in capsys.readouterr().err and files(stored) == damaged and files(tmp_path / "new") == sound


REVERSED = """

def _reversed(response: str, target: Target) -> Score:
    found = score_relaxed(response, target)
    return Score({name: None if v is None else 1 - v for name, v in found.values.items()}, found.parsed)


SCORERS["relaxed"] = _reversed
"""
BOTH = """
import contextlib, pickle, sys
from pathlib import Path

sys.path += [{tests!r} + "/support", {tests!r} + "/run"]
with contextlib.redirect_stderr(sys.stdout):
    from test_rescore import rescore, running, start

    rescore({stored!r})
    running.run(pickle.loads(Path("config").read_bytes()), start)
"""


def test_a_changed_scorer_changes_what_run_would_change(stored: Path, config: RunConfig, tmp_path: Path) -> None:
    product = copy_product(tmp_path / "product", "mmrope_synth", "mmrope_demo", "configs", "tasks")
    with (product / "mmrope_eval/scorer/all.py").open("a") as file:
        file.write(REVERSED)
    before = files(stored)
    again = Path(shutil.copytree(config.output, tmp_path / "again"))
    (product / "config").write_bytes(pickle.dumps(dataclasses.replace(config, output=again)))
    printed = said_by(product, BOTH.format(tests=str(Path(__file__).parents[1]), stored=str(stored)))
    assert any("1 of 3 tasks changed (chartqa)" in line for line in printed), printed
    assert files(stored) == files(again) != before


@pytest.mark.parametrize("old", ["{", "[]", '{"sessions": 5}', '{"sessions": [1e999]}', "[" * 100_000])
def test_a_damaged_manifest_is_replaced_by_the_run_s_next_start(
    old: str, stored: Path, config: RunConfig, tmp_path: Path
) -> None:
    (stored / "manifest.json").write_text(old)
    running.run(dataclasses.replace(config, output=stored), start)
    manifest = json.loads((stored / "manifest.json").read_text())
    assert len(manifest["sessions"]) == 1 and manifest["sha256"] and load_run(stored).cells, "the failure, once more"


def test_rescoring_keeps_what_it_does_not_know_and_seals_anew(stored: Path) -> None:
    scores, manifest = (json.loads((stored / f"{name}.json").read_text()) for name in ("scores", "manifest"))
    (stored / "scores.json").write_text(json.dumps({**scores, "later": {"x": [1]}}))
    write_manifest(stored, {**manifest, "later": 2}, scores)
    rescore(stored)
    assert json.loads((stored / "scores.json").read_text())["later"] == {"x": [1]}
    assert json.loads((stored / "manifest.json").read_text())["later"] == 2 and load_run(stored).cells


def test_another_folder_leaves_the_run_alone(stored: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in stored.rglob("*.json*")}
    rescore(stored, "--output", tmp_path / "new")
    assert {path: path.read_bytes() for path in stored.rglob("*.json*")} == before
    assert files(tmp_path / "new") == files(stored)


def test_a_folder_of_runs(config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running.run(dataclasses.replace(config, output=tmp_path / "two", variants=("mrope", "hope")), start)
    before = [files(tmp_path / "two" / name) for name in ("mrope", "hope")]
    rescore(tmp_path / "two", "--output", tmp_path / "new")
    assert [files(tmp_path / "new" / name) for name in ("mrope", "hope")] == before
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:4] in ("mrop", "hope")] == [
        "hope", "mrope"]


def test_data_that_moved(stored: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((stored / "manifest.json").read_text())
    scores = json.loads((stored / "scores.json").read_text())
    tasks = {name: {**task, "data_root": str(tmp_path / "gone")} for name, task in manifest["tasks"].items()}
    write_manifest(stored, {**manifest, "tasks": tasks}, scores)
    before = files(stored)
    assert rescore(stored) == 2
    assert f"lay in {tmp_path / 'gone'}, which is not a folder; name it with --data-root" in capsys.readouterr().err
    shutil.copytree(mirror, tmp_path / "moved")
    assert rescore(stored, "--data-root", tmp_path / "moved") == 1
    assert files(stored) == before


def test_a_response_is_never_scored_against_another_question(
    stored: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(mirror, tmp_path / "other"))
    suite_mirror.chartqa(other / "lmms-lab-encoder/ChartQA",
                         [(suite_mirror.png(100 + i), f"What is pie {i}?", "1", "human_test") for i in range(N)])
    before = files(stored)
    assert rescore(stored, "--data-root", other) == 2
    assert f"no response to {N} of the {N} questions of chartqa as they are asked now" in capsys.readouterr().err
    assert files(stored) == before


@pytest.mark.parametrize(("damage", "expected"), [
    (lambda run: shutil.rmtree(run), "is not a folder"),
    (lambda run: (run / "responses.sqlite").unlink(), "holds no responses.sqlite"),
    (lambda run: (run / "scores.json").unlink(), "scores.json is missing: the run did not finish"),
    (lambda run: (run / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    (lambda run: (run / "manifest.json").write_text("{}"), "run the same command once more"),
])
def test_a_run_that_cannot_be_read(
    damage: Any, expected: str, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(stored)
    assert rescore(stored) == 2
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1


class TestStock:
    def test_both_numbers_from_the_same_responses(
        self, stored: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = files(stored)
        assert rescore(stored, "--scorer", "stock") == 0
        assert files(stored) == before, "the run's own scores stay"
        entries = json.loads((stored / "scores_stock.json").read_text())["tasks"]
        ours = json.loads((stored / "scores.json").read_text())["tasks"]
        for task in TASKS:
            assert entries[task]["ours"] == ours[task]["metrics"][ours[task]["main"]]["value"]
        # Quoted numbers are right for us and for nobody else; the failed one is wrong for both.
        assert (entries["chartqa"]["ours"], entries["chartqa"]["stock"]) == (75.0, 0.0)
        # The spray's first box misses; stock takes the best of all.
        assert (entries["refcoco_val"]["ours"], entries["refcoco_val"]["stock"]) == (0.0, 100.0)
        out = capsys.readouterr().out
        assert "75.00" in out and f"{3} of {N}" in out and f"{2 * N} of {2 * N}" in out

    def test_samples_show_where_the_two_disagree(self, stored: Path) -> None:
        rescore(stored, "--scorer", "stock")
        rows = lines(stored / "samples_stock/chartqa.jsonl")
        assert [(row["id"], row["ours"], row["stock"], row["agree"]) for row in rows] == [
            *((f"chartqa/{i}", 1.0, 0.0, False) for i in range(3)), ("chartqa/3", 0.0, 0.0, True)]
        spans = lines(stored / "samples_stock/charades_sta.jsonl")
        docs = [{"video": f"V{i % 2}.mp4", "caption": f"person opens door {i}", "timestamp": [0.5, 9.5]}
                for i in range(N)]
        items = [SecondItem(doc, row["prediction"]) for doc, row in zip(docs, spans, strict=True)]
        assert tuple(row["stock"] for row in spans) == stock_score("temporal_grounding_charades", items).samples

    def test_a_run_prints_both_without_asking_twice(
        self, config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake = FakeStart()
        code = run_command(fake, "--model", *config.models, "--tasks", "chartqa", "--data-root", str(config.data_root),
                           "--output", str(tmp_path / "out"), "--scorer", "stock")
        assert code == 0 and sorted(fake.asked) == [f"chartqa/{i}" for i in range(N)]
        assert "ours and lmms-eval's, from the same responses" in capsys.readouterr().out
        assert (tmp_path / "out/samples_stock/chartqa.jsonl").is_file()


class TestVlmevalkit:
    """The package's own replies are in test_vlmevalkit.py; here a stand-in replies that every other answer is right."""

    @pytest.fixture(autouse=True)
    def reply(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def reply(asked: dict[str, Any]) -> dict[str, Any]:
            n = len(asked["rows"])
            return {"samples": [float(i % 2 == 0) for i in range(n)], "value": 50.0, "unread": [True] * n,
                    "draws": n, "drawn_value": 75.0}

        install(tmp_path / "packages", {"ms-vlmeval": vlmevalkit.VERSION}, monkeypatch)
        worker_replies(monkeypatch, reply)

    def test_its_number_its_counts_and_what_it_does_not_have(
        self, stored: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = files(stored)
        assert rescore(stored, "--scorer", "vlmevalkit") == 0, "a column that it does not have is no fault"
        assert files(stored) == before and not (stored / "scores_stock.json").exists()
        entries = json.loads((stored / "scores_vlmevalkit.json").read_text())["tasks"]
        chart = entries["chartqa"]
        assert (chart["ours"], chart["vlmevalkit"], chart["vlmevalkit_task"]) == (75.0, 50.0, "ChartQA_TEST")
        assert (chart["n_judge"], chart["n_drawn"], chart["with_draws"]) == (N, N, 75.0)
        assert chart["functions"][0] == "vlmeval.dataset.utils.vqa_eval:process_line"
        assert entries["charades_sta"]["vlmevalkit"] is None
        assert entries["charades_sta"]["note"].startswith("VLMEvalKit has no task for 'charades_sta'")
        out = capsys.readouterr().out
        assert "ours and VLMEvalKit's, from the same responses" in out
        assert f"its rules do not read {N} of {N} answers" in out and f"{N} drawn: 75.00" in out

    def test_samples_show_where_the_two_disagree(self, stored: Path) -> None:
        rescore(stored, "--scorer", "vlmevalkit")
        rows = lines(stored / "samples_vlmevalkit/chartqa.jsonl")
        assert [(row["id"], row["ours"], row["vlmevalkit"], row["agree"]) for row in rows] == [
            ("chartqa/0", 1.0, 1.0, True), ("chartqa/1", 1.0, 0.0, False), ("chartqa/2", 1.0, 1.0, True),
            ("chartqa/3", 0.0, 0.0, True)]
        assert not (stored / "samples_vlmevalkit/charades_sta.jsonl").exists()

    def test_a_failed_sample_is_handed_over_as_failed(self, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def keep(request: dict[str, Any]) -> dict[str, Any]:
            asked.extend(row["prediction"] for row in request["rows"] if request["dataset"] == "ChartQA_TEST")
            return {"error": "told to fail.", "row": None}

        worker_replies(monkeypatch, keep)
        assert rescore(stored, "--scorer", "vlmevalkit") == 1, "a column that it has, and no number"
        assert asked == ['"0"', '"10"', '"20"', None]


def test_the_report_reads_what_a_run_wrote(stored: Path) -> None:
    run = load_run(stored)
    scores = run.scores.set_index("task")
    columns = ["column", "category", "metric", "n", "expected", "failed"]
    assert list(scores.loc["chartqa", columns]) == ["ChartQA", "image", "relaxed", N, 2500, 1]
    assert list(scores.loc["refcoco_val", ["column", "expected"]]) == ["RefCOCO val", 10834], "expressions"
    assert scores[["average", "scorer", "scorer_version", "prompt_hash", "data_fingerprint"]].notna().all().all()
    chart = run.samples.query("task == 'chartqa'")
    assert len(chart) == N and 100 * chart["score"].mean() == pytest.approx(scores.loc["chartqa", "score"])
    assert chart["group"].str.fullmatch("[0-9a-f]{64}").all() and chart["group"].nunique() == N, "by content"

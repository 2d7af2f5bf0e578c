"""`mmrope-eval data check|plan`, `demo data`, and what every run checks before an engine starts."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from PIL import Image
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import MaxFailures, TooManyFailuresError
from mmrope_eval.task.dataset import needed_columns
from mmrope_eval.task.registry import Registry
from mmrope_eval.words import size_text

COLUMNS = ["chartqa", "charades_sta", "refcoco_val", "star"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "mini"
    assert cli.main(["demo", "data", "--out", str(out), "--n", "3", "--columns", ",".join(COLUMNS)]) == 0
    return out


@pytest.fixture
def damaged(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage; `datasets` keeps its cache elsewhere, since it knows a folder by its configurations only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(world, tmp_path / "mini"))


def data(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(["data", *map(str, argv)])
    return code, *capsys.readouterr()


def check(capsys: pytest.CaptureFixture[str], root: Path, tasks: str, *more: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = data(capsys, "check", "--data-root", root, "--tasks", tasks, "--json", *more)
    report = json.loads(out)
    assert report["ok"] == (code == 0)
    return code, {task["task"]: task for task in report["tasks"]}


def test_a_whole_mirror(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = data(capsys, "check", "--data-root", world, "--tasks", ",".join(COLUMNS))
    assert code == 0, out
    assert [line.split()[:2] for line in out.splitlines()] == [["ok", name] for name in COLUMNS]
    assert "3 objects" in out and "videos" in out and err == "4 of 4 tasks are whole\n"


def test_what_is_not_there_is_said_with_the_command_that_fetches_it(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report_by_task = check(capsys, world, "chartqa,mvbench")
    assert (code, report_by_task["chartqa"]["ok"], report_by_task["mvbench"]["ok"]) == (1, True, False)
    folder = world / "OpenGVLab/MVBench"
    assert report_by_task["mvbench"]["fetch"] == [
        f"hf download OpenGVLab/MVBench --repo-type dataset --revision video --local-dir {folder}",
        f"find -L {folder} -name '*.zip' -exec sh -c "
        """'for z do unzip -n -q "$z" -d "$(dirname "$z")" || exit 1; done' sh {} +""",
    ]


def test_a_video_that_is_missing_and_one_that_is_cut_short(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = sorted((damaged / "lmms-eval/charades_sta/Charades_v1_480").glob("MINI????.mp4"))
    videos[0].write_bytes(videos[0].read_bytes()[:-700])
    videos[1].unlink()
    code, report_by_task = check(capsys, damaged, "charades_sta")
    problems = " ".join(report_by_task["charades_sta"]["problems"])
    assert code == 1 and str(videos[0]) in problems and f"'{videos[1].name}' is not below" in problems
    assert all(problem.startswith("row ") for problem in report_by_task["charades_sta"]["problems"])
    code, report_by_task = check(capsys, damaged, "charades_sta", "--no-decode")
    assert code == 1 and videos[0].name not in " ".join(report_by_task["charades_sta"]["problems"])


def rewrite(root: Path, dataset: str, split: str, change: Any) -> None:
    import pyarrow.parquet as pq

    path = next((root / dataset).rglob(f"{split}-*.parquet"))
    pq.write_table(change(pq.read_table(path)), path)
    card = root / dataset / "README.md"
    card.write_text(card.read_text().replace("description: miniature ", "description: damaged "))


def test_too_few_rows(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(damaged, "lmms-lab-encoder/ChartQA", "test", lambda table: table.slice(0, 2))
    code, out, _ = data(capsys, "check", "--data-root", damaged, "--tasks", "chartqa")
    assert code == 1 and "rows: 2 samples instead of 3" in out and "$ hf download lmms-lab-encoder/ChartQA" in out


def test_without_a_world_the_published_counts_hold(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged / "world.json").unlink()
    code, out, _ = data(capsys, "check", "--data-root", damaged, "--tasks", "chartqa,refcoco_val")
    assert code == 1 and "3 samples instead of 2500" in out and "3 objects instead of 3811" in out


def test_missing_columns(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(damaged, "lmms-lab-encoder/ChartQA", "test", lambda table: table.drop_columns(["type"]))
    rewrite(damaged, "zechen-nlp/star_bench", "validation", lambda table: table.drop_columns(["start"]))
    code, report_by_task = check(capsys, damaged, "chartqa,star")
    assert code == 1 and report_by_task["chartqa"]["missing_columns"] == ["type"]
    # Without its start a question would silently be asked about the whole video.
    assert report_by_task["star"]["missing_columns"] == ["start"]


def test_a_broken_picture(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(table: Any) -> Any:
        import pyarrow as pa

        rows = table.to_pylist()
        rows[1]["image"]["bytes"] = b"no picture"
        return pa.Table.from_pylist(rows, schema=table.schema)

    rewrite(damaged, "lmms-lab-encoder/ChartQA", "test", change)
    code, report_by_task = check(capsys, damaged, "chartqa")
    assert code == 1 and report_by_task["chartqa"]["problems"] == [
        "row 1: image: not a picture (it begins with 'no picture')."]


def test_pictures_fail_as_they_would_in_the_run(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut JPEG, one above 200:1 and floating-point pixels have whole heads."""
    def file(image: Image.Image, form: str) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, form)
        return buffer.getvalue()

    def change(table: Any) -> Any:
        import pyarrow as pa

        photo = file(Image.effect_noise((300, 200), 90), "JPEG")
        rows = table.to_pylist()
        rows[0]["image"]["bytes"] = photo[: len(photo) // 2]
        rows[1]["image"]["bytes"] = file(Image.new("RGB", (1, 201)), "PNG")
        rows[2]["image"]["bytes"] = file(Image.new("F", (56, 56)), "TIFF")
        return pa.Table.from_pylist(rows, schema=table.schema)

    rewrite(damaged, "lmms-lab-encoder/ChartQA", "test", change)
    code, report_by_task = check(capsys, damaged, "chartqa")
    assert code == 1 and report_by_task["chartqa"]["problems"] == [
        "row 0: image: not a complete, readable image (the file ends before the picture does).",
        "row 1: image: 1x201 is more than 200 times as long as wide, the limit of the models' resizing rule.",
        "row 2: image: floating-point pixels have no agreed white; convert the image to 8 or 16 bits."]
    code, report_by_task = check(capsys, damaged, "chartqa", "--no-decode")
    assert code == 0, report_by_task


def test_needed_columns_are_read_off_the_task_file() -> None:
    tasks = Registry().tasks
    assert needed_columns(tasks["chartqa"]) == {"image", "question", "answer", "type"}
    assert needed_columns(tasks["charades_sta"]) == {"video", "caption", "timestamp"}
    assert needed_columns(tasks["refcoco_val"]) == {"image", "expression", "bbox"}
    assert {"subset", "folder", "candidates"} <= needed_columns(tasks["mvbench"])
    assert "subtitles" not in needed_columns(tasks["videomme_subtitles"])


class TestPlan:
    def test_one_entry_a_data_set(self, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = data(capsys, "plan", "--tasks", "table2", "--data-root", world, "--json")
        entries = {entry["dataset"]: entry for entry in json.loads(out)["datasets"]}
        assert code == 1 and len(entries) == len(json.loads(out)["datasets"])
        assert sum(len(entry["tasks"]) for entry in entries.values()) == 25
        assert entries["lmms-lab-encoder/RefCOCO"]["tasks"] == ["refcoco_val", "refcoco_testA", "refcoco_testB"]
        assert [name for name, entry in entries.items() if entry["present"]] == [
            "lmms-lab-encoder/ChartQA", "zechen-nlp/star_bench", "lmms-eval/charades_sta", "lmms-lab-encoder/RefCOCO"]

    def test_commands_may_be_pasted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = tmp_path / "my data"
        code, out, _ = data(capsys, "plan", "--tasks", "chartqa", "--data-root", root)
        assert code == 1
        assert f"hf download lmms-lab-encoder/ChartQA --repo-type dataset --local-dir '{root}/" in out
        suite_mirror.build(root, n=2)
        code, out, _ = data(capsys, "plan", "--tasks", "chartqa", "--data-root", root)
        assert code == 0 and "hf download" not in out, "it would replace what is here"


@pytest.mark.parametrize(("argv", "expected"), [
    (["check", "--data-root", "no/such"], "--data-root no/such is not a folder"),
    (["plan", "--tasks", "chartq"], "did you mean 'chartqa'"),
])
def test_bad_input(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = data(capsys, *argv)
    assert (code, out) == (2, "") and expected in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("argv", "expected"), [
    ([], "name a folder with --out DIR"), (["--sheet", "s.png", "--columns", "chartq"], "no column 'chartq'")])
def test_demo_data_bad_input(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "data", *argv]) == 2
    assert expected in capsys.readouterr().err


def test_demo_data_draws_a_page(tmp_path: Path) -> None:
    from PIL import Image

    assert cli.main(["demo", "data", "--sheet", str(tmp_path / "s.png"), "--columns", "chartqa"]) == 0
    with Image.open(tmp_path / "s.png") as page:
        assert page.size[0] > page.size[1] > 0


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 35_100, 2_500_000_000)] == [
        "0 B", "999 B", "1.0 kB", "35.1 kB", "2.5 GB"]


class TestBeforeARun:
    @pytest.fixture(scope="class")
    def checkpoint(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("ck") / "tiny")

    def configure(self, checkpoint: Path, root: Path, output: Path, task: str, **changes: Any) -> RunConfig:
        return RunConfig((str(checkpoint),), (task,), output, ("mrope",), data_root=root, **changes)

    def test_a_missing_column_is_bad_input(self, checkpoint: Path, damaged: Path, tmp_path: Path) -> None:
        rewrite(damaged, "zechen-nlp/star_bench", "validation", lambda table: table.drop_columns(["start"]))
        start = FakeStart()
        with pytest.raises(UserError, match=r"star: dataset \S+ has no column 'start', which the task uses"):
            running.run(self.configure(checkpoint, damaged, tmp_path / "o", "star"), start)
        assert start.engines == []

    def test_missing_videos_are_said_and_count_as_wrong(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = suite_mirror.build(tmp_path / "m", n=4)
        (root / "lmms-eval/charades_sta/Charades_v1_480/V1.mp4").unlink()
        config = self.configure(checkpoint, root, tmp_path / "o", "charades_sta")
        result = running.run(config, FakeStart())
        sentence = "charades_sta: 2 of 4 samples cannot be asked and count as wrong; the first, charades_sta/1: the "
        assert sentence in capsys.readouterr().err and result.failed == 2
        failures = [json.loads(line) for line in (tmp_path / "o/failures.jsonl").read_text().splitlines()]
        assert [failure["id"] for failure in failures] == ["charades_sta/1", "charades_sta/3"]
        assert {failure["stage"] for failure in failures} == {"media"}
        running.report(result)
        assert "  2 x charades_sta/1: the file 'V1.mp4' is not below" in capsys.readouterr().out

    def test_too_many_final_failures_stop_before_an_engine_starts(self, checkpoint: Path, tmp_path: Path) -> None:
        root = suite_mirror.build(tmp_path / "m", n=4)
        config = self.configure(checkpoint, root, tmp_path / "o", "chartqa", max_failures=MaxFailures(0))
        bad = FakeStart({"fail": frozenset({"chartqa/3"})})
        for _ in range(2):  # tried once, and once more
            with pytest.raises(TooManyFailuresError):
                running.run(config, bad)
        third = FakeStart()
        with pytest.raises(TooManyFailuresError, match=r"1 of 4 samples failed, more than --max-failures 0"):
            running.run(config, third)
        assert third.engines == []
        assert bad.asked.count("chartqa/3") == 2


@pytest.mark.parametrize("limit", [-1, -0.1, 1.5, float("nan")])
def test_an_error_policy_that_means_nothing(limit: float) -> None:
    with pytest.raises(UserError, match="give a whole number, or a share between 0 and 1"):
        MaxFailures(limit)

"""A run: plan, ask, score. A stand-in engine where the engine is not the point, the real one in test_run_engine.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import jinja2
import pytest
import suite_mirror
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.media.image import MediaPolicy
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import MaxFailures, TooManyFailuresError

N = 4
TASKS = {"refcoco_val": 2 * N, "chartqa": N, "charades_sta": N}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=N)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("ck") / "tiny25")


@pytest.fixture(scope="module")
def checkpoint3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen3-vl", tmp_path_factory.mktemp("ck") / "tiny3")


def configure(checkpoint: Path, mirror: Path, output: Path, **changes: Any) -> RunConfig:
    settings = {"models": (str(checkpoint),), "tasks": tuple(TASKS), "output": output, "variants": ("mrope",),
                "data_root": mirror, "options": EngineOptions()}
    return RunConfig(**{**settings, **changes})


def rows(folder: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples" / f"{task}.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    """Everything that may not differ between identical runs."""
    paths = [*folder.rglob("scores.json"), *folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def test_every_sample_is_asked_once_and_written_in_dataset_order(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    start = FakeStart()
    result = running.run(configure(checkpoint, mirror, tmp_path), start)
    assert len(start.engines) == 1
    assert sorted(start.asked) == sorted(f"{task}/{i}" for task, n in TASKS.items() for i in range(n))
    for task, n in TASKS.items():
        assert [row["id"] for row in rows(tmp_path, task)] == [f"{task}/{i}" for i in range(n)]
        assert result.rows["mrope"][task]["n"] == n
    assert (result.failed, result.asked) == (0, sum(TASKS.values()))


def test_one_sample_per_expression(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    running.run(configure(checkpoint, mirror, tmp_path, tasks=("refcoco_val",)), FakeStart())
    samples = rows(tmp_path, "refcoco_val")
    assert ['"left thing 0"' in samples[0]["prompt"], '"the thing number 0"' in samples[1]["prompt"]] == [True, True]
    assert samples[0]["target"] == {"box": [10, 8, 50, 38], "coordinates": "absolute",
                                  "source_size": [96, 64], "used_size": [84, 56]}


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_limit_is_an_exact_count_per_task(checkpoint: Path, mirror: Path, tmp_path: Path, limit: int) -> None:
    result = running.run(configure(checkpoint, mirror, tmp_path, limit=Limit(limit)), FakeStart())
    assert {task: entry["n"] for task, entry in result.rows["mrope"].items()} == {
        task: min(limit, n) for task, n in TASKS.items()}


def test_a_finished_run_starts_no_engine_and_writes_the_same_bytes(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    config = configure(checkpoint, mirror, tmp_path)
    running.run(config, FakeStart())
    before, again = files(tmp_path), FakeStart()
    assert running.run(config, again).asked == 0
    assert again.engines == [] and files(tmp_path) == before


def test_a_plan_is_remembered_until_its_data_or_its_task_change(
    checkpoint: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loads: list[str] = []
    folders = {"/RefCOCO/": "refcoco_val", "/ChartQA/": "chartqa", "/charades_sta/": "charades_sta"}
    load = datasets.load_dataset

    def noted(*given: Any, data_files: Any, **named: Any) -> Any:
        loads.extend(task for folder, task in folders.items() if folder in str(data_files))
        return load(*given, data_files=data_files, **named)

    monkeypatch.setattr(datasets, "load_dataset", noted)
    copy = tmp_path / "mirror"
    shutil.copytree(mirror, copy)
    config = configure(checkpoint, copy, tmp_path / "out")

    def loaded_by_a_run() -> list[str]:
        loads.clear()
        running.run(config, FakeStart())
        return sorted(loads)

    assert loaded_by_a_run() == sorted(TASKS)
    before = files(tmp_path / "out")
    assert loaded_by_a_run() == [] and files(tmp_path / "out") == before
    (copy / "lmms-eval/charades_sta/Charades_v1_480/V0.mp4").touch()
    assert loaded_by_a_run() == ["charades_sta"]
    config = configure(checkpoint, copy, tmp_path / "less", limit=Limit(1))
    assert loaded_by_a_run() == sorted(TASKS)


def test_the_record_keeps_every_session_that_asked_something(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    for limit in (1, 1, 2):
        running.run(configure(checkpoint, mirror, tmp_path, limit=Limit(limit)), FakeStart())
    sessions = json.loads((tmp_path / "manifest.json").read_text())["sessions"]
    assert [session["asked"] for session in sessions] == [3, 3]


def test_two_identical_runs_write_identical_files(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        running.run(configure(checkpoint, mirror, tmp_path / name), FakeStart())
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("after", [1, 3, 9])
def test_an_exception_of_the_engine_ends_the_row_and_the_same_command_continues(
    checkpoint: Path, mirror: Path, tmp_path: Path, after: int
) -> None:
    whole = FakeStart()
    running.run(configure(checkpoint, mirror, tmp_path / "whole"), whole)
    config = configure(checkpoint, mirror, tmp_path / "broken")
    result = running.run(config, FakeStart({"lose_power_after": after}))
    assert result.broken == {"mrope": "the engine stopped answering: OSError: the engine died"}
    second = FakeStart()
    running.run(config, second)
    assert len(second.asked) == len(whole.asked) - after
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_a_larger_limit_reuses_the_smaller_run(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    running.run(configure(checkpoint, mirror, tmp_path, limit=Limit(2)), FakeStart())
    more = FakeStart()
    running.run(configure(checkpoint, mirror, tmp_path, limit=Limit(3)), more)
    assert sorted(name.partition("/")[0] for name in more.asked) == sorted(TASKS)


@pytest.mark.parametrize("changes", [
    {"variants": ("hope",)},
    {"options": EngineOptions(policy=MediaPolicy(image_max_pixels=50176))},
    {"overrides": {"temporal_stride": 2.0}},
    {"prompts": "qwen3-vl", "tasks": ("refcoco_val",)},
])
def test_what_changes_a_response_is_asked_anew(
    checkpoint: Path, mirror: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    running.run(configure(checkpoint, mirror, tmp_path / "whole"), FakeStart())
    (tmp_path / "stopped").mkdir()  # a folder with scores would refuse some of these, or give them a row of their own
    shutil.copy(tmp_path / "whole" / "responses.sqlite", tmp_path / "stopped")
    config = configure(checkpoint, mirror, tmp_path / "stopped", **changes)
    anew = FakeStart()
    running.run(config, anew)
    assert len(anew.asked) == sum(TASKS[task] for task in config.tasks)


@pytest.mark.parametrize("changes", [{"coordinates": "thousand"}, {"seed": 7}])
def test_what_only_changes_the_reading_is_not(
    checkpoint: Path, mirror: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    running.run(configure(checkpoint, mirror, tmp_path), FakeStart())
    again = FakeStart()
    running.run(configure(checkpoint, mirror, tmp_path, **changes), again)
    assert again.asked == []


def test_a_changed_checkpoint_under_the_same_path_is_another_run(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "ck"
    shutil.copytree(checkpoint, copy)
    running.run(configure(copy, mirror, tmp_path / "out"), FakeStart())
    build_checkpoint("qwen2.5-vl", copy, seed=1)
    anew = FakeStart()
    running.run(configure(copy, mirror, tmp_path / "out"), anew)
    assert len(anew.asked) == sum(TASKS.values())


def test_many_variants_share_one_engine(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    start = FakeStart()
    result = running.run(configure(checkpoint, mirror, tmp_path, variants=("mrope", "hope", "vanilla")), start)
    assert [line for engine in start.engines for line in engine.log if "/" not in line] == [
        "switch hope =", "switch vanilla =", "close"]
    assert list(result.rows) == ["mrope", "hope", "vanilla"]
    texts = {name: [row["prediction"] for row in rows(tmp_path / name, "chartqa")] for name in result.rows}
    assert texts["mrope"] != texts["hope"] != texts["vanilla"]
    assert all((tmp_path / name / "scores.json").exists() for name in result.rows)


def test_two_checkpoints_two_variants_four_folders(
    checkpoint: Path, checkpoint3: Path, mirror: Path, tmp_path: Path
) -> None:
    config = configure(checkpoint, mirror, tmp_path, models=(str(checkpoint), str(checkpoint3)),
                       variants=("mrope", "hope"), tasks=("refcoco_val",))
    result = running.run(config, FakeStart())
    assert list(result.rows) == ["tiny25--mrope", "tiny25--hope", "tiny3--mrope", "tiny3--hope"]
    conventions = [json.loads((tmp_path / label / "scores.json").read_text())["coordinates"] for label in result.rows]
    assert conventions == ["absolute", "absolute", "thousand", "thousand"]


def test_a_checkpoint_may_declare_its_coordinates_and_the_command_line_wins(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "ck"
    shutil.copytree(checkpoint, copy)
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**content, "mm_coordinates": "unit"}))

    def declared(**changes: Any) -> str:
        config = configure(copy, mirror, tmp_path / "out", tasks=("refcoco_val",), **changes)
        running.run(config, FakeStart())
        return str(rows(tmp_path / "out", "refcoco_val")[0]["target"]["coordinates"])

    assert declared() == "unit"
    assert declared(coordinates="thousand") == "thousand"
    (copy / "config.json").write_text(json.dumps({**content, "mm_coordinates": "pixels"}))
    with pytest.raises(UserError, match=r"config.json: unknown coordinate convention 'pixels'"):
        declared()


class TestFailures:
    def test_are_listed_counted_wrong_and_retried_once(self, checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
        config = configure(checkpoint, mirror, tmp_path)
        bad = frozenset({"chartqa/1", "refcoco_val/3"})
        asked = []
        for _ in range(3):
            start = FakeStart({"fail": bad})
            result = running.run(config, start)
            asked.append(sorted(start.asked) if len(start.asked) < 5 else "all")
            assert result.failed == 2
        assert asked == ["all", ["chartqa/1", "refcoco_val/3"], []]
        row = rows(tmp_path, "chartqa")[1]
        assert row["failure"] == {"stage": "engine", "cause": "told to fail."}
        assert row["prediction"] is None and row["scores"]["relaxed"] == 0.0
        entry = result.rows["mrope"]["chartqa"]
        assert (entry["n"], entry["n_failed"], entry["metrics"]["relaxed"]["n"]) == (N, 1, N)

    def test_that_go_away_are_forgotten(self, checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
        config = configure(checkpoint, mirror, tmp_path / "a")
        assert running.run(config, FakeStart({"fail": frozenset({"chartqa/1"})})).failed == 1
        assert running.run(config, FakeStart()).failed == 0
        running.run(configure(checkpoint, mirror, tmp_path / "b"), FakeStart())
        assert files(tmp_path / "a") == files(tmp_path / "b")

    @pytest.mark.parametrize(("limit", "stops"), [
        (0, True), (1, True), (2, False), (0.05, True), (0.2, False), (None, False)])
    def test_stop_the_run_when_there_are_too_many(
        self, checkpoint: Path, mirror: Path, tmp_path: Path, limit: int | float | None, stops: bool
    ) -> None:
        config = configure(checkpoint, mirror, tmp_path, max_failures=MaxFailures(limit))
        start = FakeStart({"fail": frozenset({"chartqa/1", "charades_sta/0"})})
        if stops:
            with pytest.raises(TooManyFailuresError, match="of 16 samples failed"):
                running.run(config, start)
        else:
            assert running.run(config, start).failed == 2

    def test_before_the_engine_are_failures_too_and_need_no_engine(self, checkpoint: Path, tmp_path: Path) -> None:
        root = tmp_path / "mirror"
        suite_mirror.refcoco(root / "lmms-lab-encoder/RefCOCO", [(suite_mirror.png(0), ["", " "], [0, 0, 9, 9])])
        suite_mirror.charades(root / "lmms-eval/charades_sta", [("gone.mp4", "person sits", [0.0, 1.0]),
                                                                ("../../etc/passwd", "person sits", [0.0, 1.0])])
        start = FakeStart()
        config = configure(checkpoint, root, tmp_path / "out", tasks=("refcoco_val", "charades_sta"))
        assert running.run(config, start).failed == 4
        assert start.engines == []
        causes = [row["failure"] for task in config.tasks for row in rows(tmp_path / "out", task)]
        assert [cause["stage"] for cause in causes] == ["prompt", "prompt", "media", "media"]
        assert "question is empty" in causes[0]["cause"] and "'gone.mp4' is not below" in causes[2]["cause"]
        assert "leads outside" in causes[3]["cause"]

    def test_a_video_that_arrives_later_is_asked(self, checkpoint: Path, tmp_path: Path) -> None:
        folder = tmp_path / "mirror/lmms-eval/charades_sta"
        suite_mirror.charades(folder, [("late.mp4", "person sits", [0.0, 1.0])])
        config = configure(checkpoint, tmp_path / "mirror", tmp_path / "out", tasks=("charades_sta",))
        for _ in range(3):
            assert running.run(config, FakeStart()).failed == 1
        suite_mirror.write_video(folder / "videos/late.mp4")
        start = FakeStart()
        assert running.run(config, start).failed == 0 and start.asked == ["charades_sta/0"]


def test_videos_are_found_inside_the_archives_that_the_hub_serves(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    import zipfile

    copy = tmp_path / "mirror"
    shutil.copytree(mirror, copy)
    folder = copy / "lmms-eval/charades_sta"
    with zipfile.ZipFile(folder / "Charades_v1_480.zip", "w") as archive:
        for video in sorted((folder / "Charades_v1_480").iterdir()):
            archive.write(video, f"Charades_v1_480/{video.name}")
    shutil.rmtree(folder / "Charades_v1_480")
    unpacked, zipped = FakeStart(), FakeStart()
    running.run(configure(checkpoint, mirror, tmp_path / "out", tasks=("charades_sta",)), unpacked)
    running.run(configure(checkpoint, copy, tmp_path / "out", tasks=("charades_sta",)), zipped)
    assert len(unpacked.asked) == N and zipped.asked == [], "the same videos: nothing is asked twice"


class TestMissingData:
    def test_a_dataset_that_is_not_in_the_mirror(self, checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError) as caught:
            running.run(configure(checkpoint, mirror, tmp_path, tasks=("chartqa", "refcocog_val")), FakeStart())
        folder = mirror / "lmms-lab-encoder/RefCOCOg"
        command = "hf download lmms-lab-encoder/RefCOCOg --repo-type dataset --include 'data/val-*' --local-dir"
        assert f"{command} {folder}" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_split_that_is_not_in_the_dataset(self, checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="has no file of split 'testA'"):
            running.run(configure(checkpoint, mirror, tmp_path, tasks=("refcoco_testA",)), FakeStart())

    def test_offline_without_a_mirror(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "none"))
        with pytest.raises(UserError, match=r"fetch it with: hf download \S+/ChartQA --repo-type dataset$"):
            running.run(configure(checkpoint, None, tmp_path, tasks=("chartqa",)), FakeStart())  # type: ignore[arg-type]

    def test_a_parquet_file_that_is_cut_short(self, checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
        folder = tmp_path / "mirror/lmms-lab-encoder/ChartQA/data"
        folder.mkdir(parents=True)
        whole = (mirror / "lmms-lab-encoder/ChartQA/data/test-00000-of-00001.parquet").read_bytes()
        (folder / "test-00000-of-00001.parquet").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=r"chartqa: \S+00001\.parquet is not a whole Parquet file\. Fetch it anew "):
            running.run(configure(checkpoint, tmp_path / "mirror", tmp_path / "o", tasks=("chartqa",)), FakeStart())


class TestMergedSplits:
    """RefCOCO's hub `val` holds two splits; the official one is found by its published counts, never guessed."""

    @staticmethod
    def rows(block: list[int], rest: list[int], order: str) -> list[int]:
        return block + rest if order == "first" else rest + block

    @pytest.mark.parametrize("order", ["first", "last"])
    def test_the_official_block_is_kept(self, order: str) -> None:
        from datasets import Dataset

        from mmrope_eval.data.rows import unmerged

        counts = self.rows([3, 3, 4], [1, 1, 1, 1, 2], order)
        data = Dataset.from_dict({"answer": [["x"] * n for n in counts]})
        kept = unmerged(data, "t", merged=8, objects=3, expressions=10)
        assert [len(texts) for texts in kept["answer"]] == [3, 3, 4]

    def test_an_unknown_merge_is_refused_and_other_sizes_are_left_alone(self) -> None:
        from datasets import Dataset

        from mmrope_eval.data.rows import unmerged

        data = Dataset.from_dict({"answer": [["x"]] * 8})
        with pytest.raises(UserError, match="neither of its ends"):
            unmerged(data, "t", merged=8, objects=3, expressions=10)
        assert len(unmerged(data, "t", merged=9, objects=3, expressions=10)) == 8


def test_the_task_code_may_even_exit(
    checkpoint: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = jinja2.Template.generate

    def broken(template: jinja2.Template, **doc: Any) -> Any:
        if str(doc.get("question")).endswith("2?"):
            raise SystemExit("video path does not exist")
        return written(template, **doc)

    monkeypatch.setattr(jinja2.Template, "generate", broken)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert running.run(configure(checkpoint, mirror, tmp_path, tasks=("chartqa",)), FakeStart()).failed == 1
    assert "SystemExit: video path does not exist" in rows(tmp_path, "chartqa")[2]["failure"]["cause"]


def test_interruption_keeps_what_was_answered(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    config, count = configure(checkpoint, mirror, tmp_path), iter(range(100))

    def interrupted(_: Any) -> None:
        if next(count) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(config, FakeStart({"asks": interrupted}))
    rest = FakeStart()
    running.run(config, rest)
    assert len(rest.asked) == sum(TASKS.values()) - 5

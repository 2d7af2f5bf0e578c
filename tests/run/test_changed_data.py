"""Data that changed are planned and asked anew, however their copies were made; a damaged memory of a plan is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
import suite_mirror
from pyarrow import parquet
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.util.paths import cache_home

N = 3
TASKS = ("chartqa", "charades_sta")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("MMROPE_CACHE", str(tmp_path / "cache"))
    checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "A")
    mirror = suite_mirror.build(tmp_path / "mirror", n=N)
    return RunConfig((str(checkpoint),), TASKS, tmp_path / "out", ("mrope",), data_root=mirror)


def asked(config: RunConfig) -> list[str]:
    start = FakeStart()
    running.run(config, start)
    return sorted(start.asked)


def in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def as_rsync_does(path: Path, content: bytes) -> None:
    copy = path.with_name(f".{path.name}.copy")
    copy.write_bytes(content)
    copy.replace(path)


@pytest.mark.parametrize("write", [in_place, as_rsync_does])
def test_a_file_of_the_same_size_and_time_with_other_content_is_noticed(
    config: RunConfig, write: Callable[[Path, bytes], None]
) -> None:
    assert len(asked(config)) == 2 * N and asked(config) == []
    root = config.data_root
    assert root is not None
    for path in [*root.rglob("*.mp4"), *(path for path in root.rglob("*.parquet") if "ChartQA" in str(path))]:
        before = path.stat()
        if path.suffix == ".mp4":
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
        else:
            table = parquet.read_table(path)
            place = table.column_names.index("question")
            texts = [text.swapcase() for text in table.column("question").to_pylist()]
            copy = path.with_suffix(".new")
            parquet.write_table(table.set_column(place, table.field(place), pyarrow.array(texts)), copy)
            content = bytearray(copy.read_bytes())
            copy.unlink()
        write(path, bytes(content))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(asked(config)) == 2 * N, "the questions and the videos are others"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def reworded(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Answer", b"Guess"))


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def lengthened(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines]))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def foldered(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_a_damaged_memory_of_a_plan_changes_no_question_and_no_score(config: RunConfig) -> None:
    assert len(asked(config)) == 2 * N
    scores = (config.output / "scores.json").read_bytes()
    for damage in (flipped, reworded, cut, lengthened, emptied, piped, foldered):
        plans = [path for path in (cache_home() / "plans").iterdir() if path.is_file()]
        for path in plans:
            damage(path)
        assert asked(config) == [], damage.__name__
        assert (config.output / "scores.json").read_bytes() == scores, damage.__name__
        for path in plans:
            if path.is_dir():
                path.rmdir()

"""A pipe, a link to nowhere or a folder where a file of a run belongs: one sentence at once, and no waiting."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmrope_eval.data.media_files import build_index
from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_lines, read_record
from mmrope_eval.record.schema import Scores
from mmrope_eval.run.outcome import require_places
from mmrope_eval.run.runlog import LOG, ErrorLog, run_log
from mmrope_eval.store.store import ResponseStore, StoreError


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Whoever opens a pipe waits for its other end: end that as a failure after a minute."""
    def late(*_: object) -> None:
        raise TimeoutError("it waited for a pipe")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


FILES = ("scores.json", "manifest.json", "failures.jsonl", "failed.json", "responses.sqlite", "responses.sqlite-wal",
         "responses.sqlite-shm", "responses.sqlite-journal")  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_the_place_of_a_file_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    require_places(tmp_path)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is no plain file"):
        require_places(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_so_is_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name} is a folder"):
        require_places(tmp_path)


def test_a_link_to_nowhere_is_no_place_for_samples(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="samples is no folder"):
        require_places(tmp_path)


@pytest.mark.parametrize("name", ["scores.json", "samples.jsonl", "samples.jsonl.gz"])
def test_a_record_that_is_a_pipe_is_one_sentence(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"cannot be read \(it is no plain file\)"):
        read_record(tmp_path / name, Scores) if name == "scores.json" else list(read_lines(tmp_path / name))


def test_logs_that_are_pipes_are_done_without(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOG)
    os.mkfifo(tmp_path / "errors.log")
    with run_log(tmp_path, []) as log:
        assert log is None
    ErrorLog(tmp_path).note("here", ValueError("odd"))


def test_a_store_that_is_a_link_to_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "responses.sqlite").symlink_to(tmp_path / "gone" / "responses.sqlite")
    with pytest.raises(StoreError, match=r"a link to .*gone/responses.sqlite, which is not there"):
        ResponseStore(tmp_path / "responses.sqlite")


def test_a_path_that_is_too_long_for_a_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"its path has \d+ bytes, more than SQLite takes; choose a shorter --output"):
        ResponseStore(tmp_path.joinpath(*["d" * 120] * 5, "responses.sqlite"))


@pytest.mark.parametrize("name", ["a.mp4", "b.zip"])
@pytest.mark.parametrize("odd", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_among_the_videos_is_not_opened(
    tmp_path: Path, name: str, odd: Callable[[Path], None]
) -> None:
    odd(tmp_path / name)
    (tmp_path / "c.mp4").write_bytes(b"video")
    index = build_index([tmp_path])
    assert set(index.files) == {"c.mp4"} and index.odd == (tmp_path / name,) and index.broken == ()

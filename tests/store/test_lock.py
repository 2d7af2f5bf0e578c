"""Who may write into a folder: locks of its own, above and below, and file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmrope_eval.errors import UserError
from mmrope_eval.store.lock import LOCK, read_lock, run_lock

HOLD = ("import sys, time; from pathlib import Path; from mmrope_eval.store.lock import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)")  # fmt: skip


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Another process that holds a folder; its pid."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
            yield holder.pid
        finally:
            os.kill(holder.pid, signal.SIGKILL)


def test_whoever_only_looks_keeps_nobody_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK).touch()
    with (tmp_path / LOCK).open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda seconds: fcntl.flock(looking, fcntl.LOCK_UN))
        with run_lock(tmp_path):
            pass


def test_a_folder_has_one_writer_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    with held(tmp_path) as pid, pytest.raises(UserError) as caught, run_lock(tmp_path):
        pass
    assert f"pid {pid}) is writing to {tmp_path};" in str(caught.value)
    with run_lock(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())


@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize(("one", "other"), [("x", "x/row"), ("x/row", "x"), ("x/4096/task/row", "x"),
                                            ("x", "x/4096/task/row")])  # fmt: skip
def test_folders_in_each_other_exclude_each_other(tmp_path: Path, one: str, other: str, used_before: bool) -> None:
    if used_before:
        for name in (one, other):
            with run_lock(tmp_path / name):
                pass
    with held(tmp_path / one) as pid, pytest.raises(UserError) as caught, run_lock(tmp_path / other):
        pass
    sentence = f"pid {pid}) is writing to {tmp_path / one}, and {tmp_path / other} is not apart from it"
    assert sentence in str(caught.value)
    with run_lock(tmp_path / other):
        pass


def test_a_link_is_the_folder_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "x" / "row").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "x" / "row")
    with held(tmp_path / "x"), pytest.raises(UserError, match="is not apart"), run_lock(tmp_path / "link"):
        pass


def test_folders_beside_each_other_do_not(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        pass
    with held(tmp_path / "x" / "a"), run_lock(tmp_path / "x" / "b"):
        pass


def test_what_is_read_is_kept_from_writers_and_a_reader_needs_to_write_nothing(tmp_path: Path) -> None:
    with read_lock(tmp_path):
        assert list(tmp_path.iterdir()) == [], "a folder without a lock stays without"
    with held(tmp_path), pytest.raises(UserError, match="is writing to"), read_lock(tmp_path):
        pass
    with read_lock(tmp_path), read_lock(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lustre gives ENOSYS, NFS without lockd ENOLCK, EFS and some FUSE EOPNOTSUPP or EINVAL."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with run_lock(tmp_path / "x"), read_lock(tmp_path / "x"):
        pass
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert f"{tmp_path / 'x'} is on a file system without locks ({os.strerror(code)})" in printed[0]


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EACCES])
def test_only_a_held_lock_is_another_process(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"Another process \(pid unknown\)"), run_lock(tmp_path):
        pass


@pytest.mark.parametrize(("place", "reason"), [
    ("file/x", "Not a directory"), ("file", "File exists"), ("x" * 300, "File name too long"),
])  # fmt: skip
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught, run_lock(tmp_path / place):
        pass
    assert str(caught.value) == (f"cannot write {tmp_path / place} ({reason}): make it writable or choose another "
                                 "--output.")  # fmt: skip


def test_a_folder_in_the_place_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(UserError, match=rf"cannot write {tmp_path / LOCK} \(Is a directory\)"), run_lock(tmp_path):
        pass

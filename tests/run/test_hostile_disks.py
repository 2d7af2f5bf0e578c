"""Disks that refuse: what is said names the file that was meant and what helps, and nothing half written stays."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import suite_mirror

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli, errors
from mmrope_eval.errors import UserError
from mmrope_eval.models import files
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.record.files import write_json
from mmrope_eval.run.outcome import stage_lines
from mmrope_eval.store import file as store_file

REFUSALS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Let a call of the operating system fail as disks do."""

    def install(call: str, code: int) -> None:
        def fail(*_: object, **__: object) -> Any:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, call, fail)

    return install


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_record_that_cannot_be_written_leaves_nothing_and_is_named(
    tmp_path: Path, refuse: Callable[[str, int], None], call: str, code: int
) -> None:
    write_json(tmp_path / "scores.json", {"before": 1})
    refuse(call, code)
    with pytest.raises(OSError) as caught:
        write_json(tmp_path / "scores.json", {"after": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    sentence = cli.bad_input(caught.value)
    assert sentence is not None and str(tmp_path / "scores.json") in sentence and os.strerror(code) in sentence


@pytest.mark.parametrize("code", REFUSALS)
def test_samples_that_cannot_be_written_leave_nothing_and_are_named(
    tmp_path: Path, refuse: Callable[[str, int], None], code: int
) -> None:
    refuse("fsync", code)
    with pytest.raises(OSError) as caught, ExitStack() as staging:
        stage_lines(staging, tmp_path / "chartqa.jsonl", [{"id": "a"}])
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path / "chartqa.jsonl") in str(cli.bad_input(caught.value))


def test_a_file_that_cannot_be_removed_hides_no_cause(
    tmp_path: Path, refuse: Callable[[str, int], None]
) -> None:
    refuse("fsync", errno.ENOSPC)
    refuse("unlink", errno.EROFS)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_json(tmp_path / "scores.json", {})


class TestADiskWithoutInodes:
    """It has space, and says that it has none: "free some space" would help nobody."""

    @pytest.fixture(autouse=True)
    def disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(
            f_files=100, f_favail=0, f_frsize=4096, f_blocks=10**6, f_bfree=10**6, f_bavail=10**6))

    def test_is_said_of_any_file(self, tmp_path: Path) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "x"))
        assert f"{tmp_path}/x cannot be used ({errors.NO_INODES}): remove some files" in str(cli.bad_input(error))
        assert "remove some files" in str(errors.cannot("write", tmp_path / "x", error, "free some space"))

    def test_is_said_of_the_store(self, tmp_path: Path) -> None:
        """SQLite says that it is "unable to open" the file, and no more."""
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorname = "SQLITE_CANTOPEN"
        sentence = str(store_file.trouble(tmp_path / "responses.sqlite", error))
        assert errors.NO_INODES in sentence and "writable" not in sentence

    def test_other_troubles_keep_their_advice(self, tmp_path: Path) -> None:
        error = OSError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))
        assert "inode" not in str(cli.bad_input(error))


@pytest.mark.parametrize(("files", "left", "full"), [(100, 0, True), (100, 5, False), (0, 0, False)])
def test_a_file_system_that_counts_no_inodes_is_not_without(
    monkeypatch: pytest.MonkeyPatch, files: int, left: int, full: bool
) -> None:
    """btrfs and some network file systems say 0 of 0."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=files, f_favail=left))
    assert errors.takes_no_files("/somewhere/file") is full


def test_a_file_that_may_not_be_read_need_not_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "table.parquet"
    theirs.touch()
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(theirs))
    assert "make it writable" in str(cli.bad_input(error))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "make it readable" in str(cli.bad_input(error))


class TestFilesThatMayNotBeRead:
    """A new copy of gigabytes would be no better. Root may read all, so the system's answer is put in its place."""

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        return build_checkpoint("qwen2.5-vl", tmp_path / "A")

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
    def test_of_a_checkpoint(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        theirs = checkpoint / name
        theirs.write_bytes(b"\xff{")
        assert "readable" not in said(checkpoint)
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != theirs)
        assert str(theirs) in said(checkpoint) and said(checkpoint).endswith("make it readable")

    def test_weights_are_not_called_incomplete(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> Any:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        (tmp_path / "model.safetensors").touch()
        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(UserError, match=r"cannot be read \(Permission denied\): make it readable"):
            files.read_header(tmp_path / "model.safetensors")


def said(checkpoint: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint(checkpoint)
    return str(caught.value)


@pytest.mark.parametrize("command", ["check"])
def test_a_cache_that_cannot_be_written_is_not_the_datas_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """It was blamed on every task in turn, with the command that fetches the data again."""
    (tmp_path / "cache").touch()
    mirror = suite_mirror.build(tmp_path / "mirror", n=2)
    given = ["data", command, "--data-root", str(mirror), "--tasks", "chartqa", "--cache-dir", str(tmp_path / "cache")]
    assert cli.main(given) == 2
    out = capsys.readouterr()
    assert "cannot keep anything in the cache folder" in out.err and "hf download" not in out.out + out.err


@pytest.mark.parametrize(("harm", "kept"), [
    (lambda text: text.replace(text[0], "0" if text[0] != "0" else "1", 1), False),
    (lambda text: text[:64] + text[70:], False),
    (lambda text: text[:40], False),
    (lambda text: text, True),
    (lambda text: text.partition("\n")[0], True),
])
def test_a_damaged_memory_of_a_hash_is_no_memory(tmp_path: Path, harm: Callable[[str], str], kept: bool) -> None:
    """A flipped bit would make a checkpoint another one, and its answers nobody's. Earlier versions kept no sum."""
    memory, file = files.FileHashes(tmp_path / "hashes"), tmp_path / "weights"
    file.write_bytes(b"content")
    right = memory.of(file)
    (place,) = memory.directory.iterdir()
    place.write_text(harm(place.read_text()))
    assert memory.known(file) == (right if kept else None) and memory.of(file) == right

"""What is kept on disk: where, how much, one reading of every medium, and taking it away."""

from __future__ import annotations

import io
import itertools
import json
import os
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import data_layouts
import pytest
from clocks import clock_is_put_on
from hashed import Hashed

from mmrope_eval import cli
from mmrope_eval.data import cache
from mmrope_eval.data.media_files import ContentHashes, MediaFolder
from mmrope_eval.data.places import Member
from mmrope_eval.models import files
from mmrope_eval.models.files import FileHashes
from mmrope_eval.task.dataset import load_docs
from mmrope_eval.task.plan import plan_samples
from mmrope_eval.task.registry import Registry

REGISTRY = Registry()
QWEN = REGISTRY.family("qwen2.5-vl")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_DATASETS_CACHE", "MMROPE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, "xdg/mmrope-eval/datasets"),
    ({"HF_DATASETS_CACHE": "hf"}, "hf/mmrope-eval"),
    ({"MMROPE_CACHE": "own"}, "own/datasets"),
    ({"MMROPE_CACHE": "own", "HF_DATASETS_CACHE": "hf"}, "own/datasets"),
])
def test_where_tables_are_converted_to(
    variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert cache.tables_home() == tmp_path / expected


def test_a_changed_table_replaces_its_copy_and_no_other(tmp_path: Path) -> None:
    root = tmp_path / "m"
    data_layouts.ocrbench(root / "echo840/OCRBench")
    data_layouts.textvqa(root / "lmms-lab-encoder/textvqa", ["train", "validation"])
    for words in (("A",), ("A", "B"), ("A", "B", "C")):
        data_layouts.ocrbench(root / "echo840/OCRBench", words)
        load_docs(REGISTRY.tasks["ocrbench"], root, QWEN)
        load_docs(REGISTRY.tasks["textvqa"], root, QWEN)
        copies = cache.tables_home().iterdir()
        states = {folder.name.rpartition("-")[0]: len(list(folder.iterdir())) for folder in copies}
        assert states == {"OCRBench": 1, "textvqa": 1}
    copied = sum(path.stat().st_size for path in cache.tables_home().rglob("*.arrow"))
    asked = 4 * max(path.stat().st_size for path in (root / "lmms-lab-encoder/textvqa").rglob("*.parquet"))
    assert copied < asked, "only the splits that were asked"


def test_cache_dir_moves_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_layouts.lvbench(tmp_path / "m/lmms-eval/LVBench", zipped="v.zip")
    cache_dir = tmp_path / "own cache"
    command = ["data", "check", "--tasks", "lvbench", "--data-root", str(tmp_path / "m"), "--cache-dir", str(cache_dir)]
    cli.main(command)
    assert {path.name for path in cache_dir.iterdir()} >= {"datasets", "unpacked"}
    assert not (tmp_path / "xdg/mmrope-eval").exists()
    assert "MMROPE_CACHE" not in os.environ, "the next command in this process has its own"
    capsys.readouterr()


class TestReadOnce:
    @pytest.mark.parametrize("layout", [{"unpacked": "videos"}, {"zipped": "v.zip"}])
    def test_planning_and_preparing_share_one_reading(
        self, layout: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mmrope_eval.media.cache import MediaCache
        from mmrope_eval.media.image import MediaPolicy, load_video
        from mmrope_eval.messages import VideoSource
        from mmrope_eval.models.families import DEFAULT_FAMILY
        from mmrope_eval.task.parts import build_parts

        data_layouts.lvbench(tmp_path / "lmms-eval/LVBench", **layout)
        spec, hashed = REGISTRY.tasks["lvbench"], Hashed(monkeypatch)

        def reads() -> int:
            return sum(digest == sample.media[0][:64] for digest in hashed.digests for sample in planned.samples)

        docs = load_docs(spec, tmp_path, QWEN)
        planned = plan_samples(spec, docs, QWEN, None)
        assert reads() == 2 == len(planned.samples) and planned.lasting
        for sample in planned.samples:
            (video, _) = build_parts(spec.media, sample.prompt, docs.rows[sample.index], docs.files)
            assert isinstance(video, VideoSource)
            for with_frames in (False, True):
                frames = MediaCache(tmp_path / "frames") if with_frames else None
                load_video(video, MediaPolicy(), DEFAULT_FAMILY.published, frames)
            assert sample.media[0].startswith(FileHashes().of(video.path))
        unpacked = 2 if "zipped" in layout else 0  # copied out of the archive, hashed on the way
        assert reads() == 2 + unpacked
        plan_samples(spec, load_docs(spec, tmp_path, QWEN), QWEN, None)
        assert reads() == 2 + unpacked

    def test_a_video_has_one_identity_zipped_or_not(self, tmp_path: Path) -> None:
        fingerprints = []
        for name, layout in (("a", {"unpacked": "videos"}), ("b", {"zipped": "v.zip"})):
            data_layouts.lvbench(tmp_path / name / "lmms-eval/LVBench", **layout)
            spec = REGISTRY.tasks["lvbench"]
            planned = plan_samples(spec, load_docs(spec, tmp_path / name, QWEN), QWEN, None)
            fingerprints.append([sample.media for sample in planned.samples])
        assert fingerprints[0] == fingerprints[1]

    def test_many_at_a_time_with_a_line_of_what_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = [tmp_path / f"{i}.mp4" for i in range(30)]
        for path in paths:
            path.write_bytes(path.name.encode() * 9)
        swollen = replace(member(tmp_path, "zz", 2000), size=3 * 10**9)  # what its archive says of it
        stream = io.StringIO()
        hashes = ContentHashes().of_many([*paths, *paths, tmp_path / "gone.mp4", swollen], stream)
        assert len(hashes) == 32 and "reading 3.0 GB of media in 32 files, once" in stream.getvalue()
        assert "cannot be read" in str(hashes[tmp_path / "gone.mp4"]) and "that is no video" in str(hashes[swollen])
        assert "to go" not in stream.getvalue(), "a minute has not passed"
        minutes = itertools.count(0, 61)
        clock_is_put_on(monkeypatch, lambda: next(minutes))
        for path in paths:
            path.write_bytes(path.name.encode() * 10)
        ContentHashes().of_many([*paths, swollen], stream)
        assert stream.getvalue().count("GB/s, ") == 30, "an estimate also where there is no terminal"
        with files.ReadProgress(2 * 10**9, 1, stream=stream) as progress:
            progress.add(2 * 10**9)
        assert stream.getvalue().endswith("\n2.0 of 2.0 GB, 0.03 GB/s, 0 s to go\n")
        hashes = ContentHashes().of_many(paths)
        again = io.StringIO()
        assert ContentHashes().of_many(paths, again)[paths[0]] == hashes[paths[0]]
        assert again.getvalue() == ""

    def test_a_damaged_member_is_one_sentence(self, tmp_path: Path) -> None:
        archive = tmp_path / "v.zip"
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("v.mp4", b"x" * 1000)
        located = MediaFolder((tmp_path,)).find("v.mp4")
        content = bytearray(archive.read_bytes())
        content[100] ^= 1
        archive.write_bytes(bytes(content))
        (error,) = ContentHashes().of_many([located]).values()
        assert "v.mp4 in it is damaged" in str(error) and "\n" not in str(error)


def member(tmp_path: Path, name: str, size: int) -> Member:
    archive = tmp_path / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(f"{name}.mp4", name.encode() * (size // len(name)))
    located = MediaFolder((tmp_path,)).find(f"{name}.mp4")
    assert isinstance(located, Member)
    return located


def test_unpacked_videos_are_bounded_and_those_in_use_stay(tmp_path: Path) -> None:
    first, second, third = (cache.unpack(member(tmp_path, name, 1000), limit=2500) for name in ("aa", "bb", "cc"))
    assert first.is_file() and second.is_file() and third.is_file(), "all were used within the hour"
    old = time.time() - 2 * cache.IN_USE_SECONDS
    os.utime(first, (old, old))
    os.utime(second, (old + 1, old + 1))
    cache.unpack(member(tmp_path, "dd", 1000), limit=2500)
    assert not first.exists() and not second.exists() and third.is_file()
    assert cache.unpack(member(tmp_path, "aa", 1000)).read_bytes() == b"aa" * 500


def test_a_cache_that_cannot_be_written_is_named_with_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmrope_eval.errors import UserError

    located = member(tmp_path, "aa", 1000)
    monkeypatch.setenv("MMROPE_CACHE", "/proc/nope")
    with pytest.raises(UserError, match=r"cannot be unpacked below /proc/nope/unpacked .* --cache-dir"):
        cache.unpack(located)


class TestPrune:
    @pytest.fixture
    def filled(self, tmp_path: Path) -> Path:
        home = tmp_path / "xdg/mmrope-eval"
        for kind in cache.KINDS:
            (home / kind / "entry").mkdir(parents=True)
            (home / kind / "entry/new").write_bytes(b"n" * 100)
            (home / kind / "old").write_bytes(b"o" * 1000)
            os.utime(home / kind / "old", (1, 1))
        return home

    def prune(self, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, int]:
        assert cli.main(["data", "prune", "--json", *argv]) == 0
        return {entry["kind"]: entry["bytes"] for entry in json.loads(capsys.readouterr().out)["removed"]}

    def test_everything(self, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.prune(capsys) == dict.fromkeys(cache.KINDS, 1100)
        assert not [path for path in filled.rglob("*") if path.is_file()]

    def test_what_was_not_used_lately(self, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.prune(capsys, "frames", "--older-than", "30") == {"frames": 1000}
        assert (filled / "frames/entry/new").is_file() and (filled / "plans/old").is_file()

    def test_a_dry_run_removes_nothing(self, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.prune(capsys, "--dry-run")["unpacked"] == 1100
        assert (filled / "unpacked/old").is_file()
        assert cli.main(["data", "prune", "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert "would free    1.1 kB of    1.1 kB" in out and "would free 7.7 kB in all" in out

    def test_an_unknown_kind(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["data", "prune", "answers"]) == 2
        assert "The cache has no 'answers'; it has datasets, unpacked" in capsys.readouterr().err

"""What the tests make as their data is the same in every process, to the byte: a failure can be looked at again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import data_layouts
import media_files
import own_benchmark
import pytest
import suite_mirror

ROOT = Path(__file__).resolve().parents[2]


def make(folder: Path) -> dict[str, str]:
    """Every kind of data that helpers make, below `folder`; sha256 by path."""
    from parity_harness import write_clip

    suite_mirror.build(folder / "mirror", n=2)
    own_benchmark.write_data(folder / "own", 2)
    data_layouts.star(folder / "star")
    data_layouts.lvbench(folder / "lvbench", zipped="videos.zip")
    data_layouts.ocrbench(folder / "ocrbench")
    data_layouts.textvqa(folder / "textvqa", ("train", "validation"))
    videos = folder / "videos"
    videos.mkdir()
    for suffix, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx"), ("ts", "libx264"),
                          ("avi", "mpeg4")):  # fmt: skip
        media_files.write_video(videos / f"{codec}.{suffix}", range(40), time_base=Fraction(1, 25), codec=codec)
    write_clip(videos / "clip.mp4", seconds=2, size=(112, 84), seed=1)
    (folder / "noise.png").write_bytes(media_files.encoded(media_files.noise(64, 48)))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The data as two processes make them, which hash words differently and have different numbers of cores."""
    path = os.pathsep.join(str(ROOT / name) for name in ("", "tests", "tests/support", "tests/house"))
    code = ("import json, os, sys, test_same_data; from pathlib import Path\n"
            "os.sched_setaffinity(0, set(map(int, sys.argv[2:])))\n"
            "print(json.dumps(test_same_data.make(Path(sys.argv[1]))))")
    made = []
    for seed, cores in (("1", os.sched_getaffinity(0)), ("2", {min(os.sched_getaffinity(0))})):
        command = [sys.executable, "-c", code, str(tmp_path_factory.mktemp("made")), *map(str, cores)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}, check=True,
                              stdout=subprocess.PIPE)  # fmt: skip
        made.append(json.loads(done.stdout))
    return made


def test_data_are_the_same_bytes_in_two_processes(two: list[dict[str, str]]) -> None:
    first, second = two
    assert len(first) > 20
    assert {Path(name).suffix for name in first} >= {".parquet", ".mp4", ".mkv", ".webm", ".ts", ".zip"}
    assert {name for name in {*first, *second} if first.get(name) != second.get(name)} == set()

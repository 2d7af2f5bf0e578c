"""The cache of decoded frames: decoded once, found again, never trusted when damaged, bounded, safe to share."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_files import frame_numbers, write_video

from mmrope_eval.media.image import MediaCache, MediaError, MediaPolicy, load_video
from mmrope_eval.media.video import video_fingerprint
from mmrope_eval.messages import VideoSource
from mmrope_eval.models.family import VisionGeometry
from mmrope_eval.util.files import draft_of

GEOMETRY: Any = VisionGeometry(14, 2, 2)
POLICY = MediaPolicy(video_frames=4, frame_min_pixels=1)


@pytest.fixture
def cache(tmp_path: Path) -> MediaCache:
    return MediaCache(tmp_path / "cache")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "video.mp4", range(0, 800, 100))


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether PyAV was given a file since this was asked last."""
    seen: list[str] = []
    original = av.open

    def noted(path: str, *rest: Any, **named: Any) -> Any:
        seen.append(path)
        return original(path, *rest, **named)

    def decoded() -> bool:
        hit = bool(seen)
        seen.clear()
        return hit

    monkeypatch.setattr(av, "open", noted)
    return decoded


def load(path: Path, cache: MediaCache | None, policy: MediaPolicy = POLICY, **span: float) -> Any:
    return load_video(VideoSource(path, **span), policy, GEOMETRY, cache)


def entries(cache: MediaCache) -> list[Path]:
    return sorted(cache.directory.glob("*.frames"))


def test_a_second_checkpoint_does_not_decode_again(
    video: Path, cache: MediaCache, decodes: Callable[[], bool]
) -> None:
    first = load(video, cache)
    assert decodes()
    second = load(video, MediaCache(cache.directory))  # as another process would open it
    assert not decodes()
    assert np.array_equal(first.frames, second.frames)
    assert first.metadata == second.metadata
    assert first.facts == second.facts
    second.frames[:] = 0  # callers own what they get
    assert np.array_equal(load(video, cache).frames, first.frames)


def test_a_copy_of_the_video_under_another_name_is_the_same_content(
    video: Path, cache: MediaCache, decodes: Callable[[], bool]
) -> None:
    load(video, cache)
    assert decodes()
    copy = video.with_name("copy.mp4")
    copy.write_bytes(video.read_bytes())
    load(copy, cache)
    assert not decodes()


@pytest.mark.parametrize(
    "change",
    [
        lambda path, cache: load(path, cache, MediaPolicy(video_frames=2, frame_min_pixels=1)),
        lambda path, cache: load(path, cache, MediaPolicy(video_frames=4, frame_min_pixels=2)),
        lambda path, cache: load(path, cache, start=0.1),
        lambda path, cache: load_video(
            VideoSource(path), POLICY, VisionGeometry(16, 2, 2), cache
        ),
        lambda path, cache: load(path.with_name("longer.mp4").replace(path), cache),
    ],
    ids=["frames", "pixels", "span", "geometry", "content"],
)
def test_whatever_changes_the_frames_changes_the_key(
    change: Callable[[Path, MediaCache], Any], video: Path, cache: MediaCache, decodes: Callable[[], bool]
) -> None:
    write_video(video.with_name("longer.mp4"), range(0, 900, 100))
    before = load(video, cache)
    decodes()
    after = change(video, cache)
    assert decodes()
    assert before.facts.fingerprint != after.facts.fingerprint


def flip_a_pixel(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        flip_a_pixel,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(5000)),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"shape"', b'"shade"')),
    ],
    ids=["flipped bit", "too short", "too long", "empty", "garbage", "header"],
)
def test_a_damaged_entry_is_detected_and_rebuilt(
    harm: Callable[[Path], None], video: Path, cache: MediaCache, decodes: Callable[[], bool]
) -> None:
    good = load(video, cache)
    harm(entries(cache)[0])
    decodes()
    again = load(video, cache)
    assert decodes()
    assert np.array_equal(again.frames, good.frames)
    load(video, cache)
    assert not decodes(), "the rebuilt entry serves"


def test_without_a_cache_everything_is_decoded(video: Path, decodes: Callable[[], bool]) -> None:
    first = load(video, None)
    decodes()
    assert load(video, None).facts == first.facts
    assert decodes()


def test_a_failure_is_not_cached(video: Path, cache: MediaCache) -> None:
    whole = video.read_bytes()
    video.write_bytes(whole[:200])
    with pytest.raises(MediaError):
        load(video, cache)
    assert not entries(cache)
    video.write_bytes(whole)
    assert frame_numbers(load(video, cache).frames) == [0, 2, 5, 7]


def test_the_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    frames = np.zeros((1, 100, 100, 3), np.uint8)
    cache = MediaCache(tmp_path, max_bytes=3 * 31_000)
    for number, key in enumerate("abc"):
        cache.put(key, frames, {})
        os.utime(cache.directory / f"{key}.frames", (number, number))
    assert cache.get("a")  # now the most recently used
    cache.put("d", frames, {})
    assert [path.stem for path in entries(cache)] == ["a", "c", "d"]
    assert sum(path.stat().st_size for path in entries(cache)) <= cache.max_bytes


def test_an_entry_larger_than_the_cache_is_not_stored(tmp_path: Path) -> None:
    cache = MediaCache(tmp_path, max_bytes=1000)
    cache.put("big", np.zeros((1, 100, 100, 3), np.uint8), {})
    assert not entries(cache)


def test_a_full_disk_costs_the_caching_not_the_run(
    video: Path, cache: MediaCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = cache.directory / f"{video_fingerprint(VideoSource(video), POLICY, GEOMETRY)}.frames"
    draft_of(entry).symlink_to("/dev/full")
    heard: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda _, words, *values: heard.append(words % values))
    assert len(load(video, cache).frames) == 4
    (warning,) = heard  # whatever libraries that ran in this process before have done to loggers
    assert "No space left on device" in warning
    assert not entries(cache)


def test_leftovers_of_a_killed_process_are_swept(cache: MediaCache) -> None:
    old, young = cache.directory / "old.tmp", cache.directory / "young.tmp"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.put("key", np.zeros((1, 2, 2, 3), np.uint8), {})
    assert not old.exists()
    assert young.exists()  # somebody may be writing it


def _hammer(directory: str, path: str, seed: int) -> None:
    cache = MediaCache(Path(directory), max_bytes=60_000)  # room for a few entries: eviction and reading collide
    rng = np.random.default_rng(seed)
    for _ in range(25):
        start = int(rng.integers(0, 6)) / 10
        video = load_video(VideoSource(Path(path), start=start), POLICY, GEOMETRY, cache)
        first = round(start * 10)
        assert frame_numbers(video.frames)[0] == first, (start, frame_numbers(video.frames))


def test_processes_can_share_a_cache(video: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_hammer, args=(str(tmp_path / "shared"), str(video), seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not list((tmp_path / "shared").rglob("*.tmp"))


class TestAnEntryThatIsNotAsItWasWritten:
    """Its header has the frames' times, which a model is told."""

    @pytest.fixture
    def entry(self, cache: MediaCache) -> Path:
        cache.put("key", np.zeros((2, 4, 4, 3), np.uint8), {"times": [0.5, 1.5]})
        return cache.directory / "key.frames"

    @pytest.mark.parametrize(("was", "now"), [
        (b"[0.5, 1.5]", b"[0.5, 9.5]"),
        (b'"times"', b'"timez"'),
        (b'"shape": [2, 4, 4, 3]', b'"shape": [4, 2, 4, 3]'),
        (b'"shape": [2, 4, 4, 3]', b'"shape": {"2": 96}   '),
        (b'"shape": [2, 4, 4, 3]', b'"shape": [2999999999]'),
        (b'"header": {"', b'"hXader": {"'),
    ])
    def test_is_dropped(self, cache: MediaCache, entry: Path, was: bytes, now: bytes) -> None:
        content = entry.read_bytes()
        assert content.count(was) == 1
        entry.write_bytes(content.replace(was, now))
        assert cache.get("key") is None and not entry.exists()

    def test_is_made_anew_where_it_cannot_be_removed(
        self, cache: MediaCache, entry: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        entry.write_bytes(entry.read_bytes()[:-1])
        monkeypatch.setattr(Path, "unlink", refuse)
        assert cache.get("key") is None

    def test_of_an_earlier_version_is_made_anew_without_a_word(
        self, cache: MediaCache, entry: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        entry.write_bytes(entry.read_bytes().replace(b"FRAMES-2", b"FRAMES-1", 1))
        assert cache.get("key") is None and caplog.text == ""
        cache.put("key", np.ones((1, 2, 2, 3), np.uint8), {})
        frames = cache.get("key")
        assert frames is not None and frames[1] == {}

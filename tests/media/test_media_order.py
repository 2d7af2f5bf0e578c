"""Frames in the order shown where the container does not keep it, spans between frames, pixels that are no squares."""

from __future__ import annotations

import os
import shutil
import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_files import SAME_FILE, SAME_STREAM

from mmrope_eval.media.container import shown_times
from mmrope_eval.media.frames import displayed_size, index_by_decoding, index_frames
from mmrope_eval.media.image import MediaError, MediaPolicy, load_video
from mmrope_eval.messages import VideoSource
from mmrope_eval.models.family import VisionGeometry

GEOMETRY = VisionGeometry(14, 2, 2)
FRAMES = 30
NUMBERED = "the file keeps no presentation times: frames numbered in the order shown"
SPACED = "the file keeps no times: frames spaced by its frame rate of 10 per second"


def write(path: Path, codec: str = "libx264", form: str | None = None, aspect: Fraction | None = None,
          options: dict[str, str] | None = None, frames: int = FRAMES) -> Path:  # fmt: skip
    """Frame i is grey with the brightness 8 * i, at 10 per second; B-frames unless `options` say otherwise."""
    given = options or ({"x265-params": "log-level=none:bframes=3"} if codec == "libx265" else {"bf": "2"})
    with av.open(str(path), "w", format=form, options=SAME_FILE) as out:
        stream = out.add_stream(codec, rate=10, options={**SAME_STREAM, **given})
        stream.width, stream.height, stream.pix_fmt = 112, 84, "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for i in range(frames):
            pixels = np.full((84, 112, 3), 8 * (i % 32), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def load(path: Path, start: float | None = None, end: float | None = None, **policy: Any) -> Any:
    limits = {"frame_min_pixels": 1, "frame_max_pixels": 112 * 84, "video_min_frames": 1}
    return load_video(VideoSource(path, start, end), MediaPolicy(**(limits | policy)), GEOMETRY)


def assert_frames_are_those_recorded(video: Any) -> None:
    """The brightness of each frame is that of its number in `frame_indices`, its time that number's tenth."""
    levels = video.frames.reshape(len(video.frames), -1).mean(axis=1)
    assert np.round(levels / 8).tolist() == list(video.facts.frame_indices)
    assert video.facts.timestamps == pytest.approx([n / 10 for n in video.facts.frame_indices])


@pytest.mark.parametrize(("name", "codec", "form", "note"), [
    ("b.avi", "libx264", None, NUMBERED),
    ("b.wmv", "libx264", "asf", NUMBERED),
    ("b.h264", "libx264", "h264", SPACED),
    ("b.hevc", "libx265", "hevc", SPACED),
    ("b.mkv", "libx264", None, None),
    ("b.mp4", "libx264", None, None),
    ("b.ts", "libx264", None, None),
    ("b.flv", "libx264", None, None),
])  # fmt: skip
def test_every_count_shows_the_frames_that_it_names(
    name: str, codec: str, form: str | None, note: str | None, tmp_path: Path
) -> None:
    path = write(tmp_path / name, codec, form)
    for count in range(1, FRAMES + 1):
        video = load(path, video_frames=count)
        assert_frames_are_those_recorded(video)
        assert len(set(video.facts.frame_indices)) == count
    kept = [text for text in video.facts.notes if "the file keeps no" in text]
    assert kept == ([note] if note else [])
    assert (video.facts.source_frames, video.facts.source_fps) == (FRAMES, pytest.approx(10))


def test_spans_and_rates_of_such_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "b.avi")
    assert load(path, 1.0, 2.0, video_frames=10).facts.frame_indices == tuple(range(10, 20))
    assert_frames_are_those_recorded(load(path, video_fps=5.0))


def test_an_mp4_that_was_filled_with_decoding_times(tmp_path: Path) -> None:
    """As copying a stream from AVI without a thought makes it."""
    path = tmp_path / "copied.mp4"
    with av.open(str(write(tmp_path / "b.mp4"))) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = n * 1024
                packet.stream = stream
                out.mux(packet)
    for count in (1, 4, 17, FRAMES):
        assert_frames_are_those_recorded(load(path, video_frames=count))


def test_without_b_frames_packets_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "p.mp4", options={"bf": "0"})
    assert_frames_are_those_recorded(load(path, video_frames=7))
    with av.open(str(path)) as container:
        *_, last = (packet.pos for packet in container.demux(video=0) if packet.size)
    with path.open("r+b") as file:
        file.seek(last)
        file.write(b"\xff" * 16)
    with pytest.raises(MediaError, match=r"1 frame\(s\) cannot be decoded"):
        index_by_decoding(path, 10**9)
    assert_frames_are_those_recorded(load(path, 0.0, 2.0, video_frames=7))


def test_a_program_stream_that_calls_every_packet_a_keyframe(tmp_path: Path) -> None:
    video = load(write(tmp_path / "b.mpg", "mpeg2video", options={"bf": "0"}), video_frames=2)
    assert video.facts.frame_indices == (0, FRAMES - 1)


def test_a_cut_off_avi_gives_what_is_there_and_refuses_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "b.avi", frames=300)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError):
        load(path, video_frames=8)


def test_times_that_run_backwards_are_no_reordering() -> None:
    times = shown_times([0, 2, 3, 1, 5, 6, 4])
    assert times is not None and times.tolist() == list(range(7))
    assert shown_times([0, None, 2]) is None
    with pytest.raises(ValueError, match="run backwards"):
        shown_times([*range(100, 140), *range(40)])


def test_both_indices_agree(tmp_path: Path) -> None:
    path = write(tmp_path / "b.avi")
    quick, thorough = index_frames(path, 10**9), index_by_decoding(path, 10**9)
    assert quick.counted and thorough.counted and np.array_equal(quick.times, thorough.times)


# ---- spans


@pytest.mark.parametrize(("start", "end", "number"), [
    (2.03, 2.06, 20), (2.04, 2.09, 21), (1.0, 1.0, 10), (1.04, 1.04, 10), (1.07, 1.07, 11), (0.0, 0.0, 0),
    (2.95, 3.0, 29), (2.95, None, 29),
])  # fmt: skip
def test_a_span_between_two_frames_takes_the_nearest_and_says_so(
    start: float, end: float | None, number: int, tmp_path: Path
) -> None:
    video = load(write(tmp_path / "b.mp4"), start, end)
    assert set(video.facts.frame_indices) == {number}
    assert round(float(video.frames[0].mean()) / 8) == number
    assert any("the nearest is used, at " in note for note in video.facts.notes)
    assert min(video.facts.timestamps) >= 0 and video.facts.duration > 0 and video.facts.seconds_per_grid > 0


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (-0.5, 1.0), (-1.0, -1.0), (3.0, None), (30.0, 31.0)])
def test_spans_that_are_none_stay_errors(start: float, end: float | None, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"span|no frame lies"):
        load(write(tmp_path / "b.mp4"), start, end)


# ---- pixels that are no squares


@pytest.mark.parametrize(("aspect", "size"), [
    (Fraction(4, 3), (149, 84)), (Fraction(16, 11), (163, 84)), (Fraction(3, 4), (84, 84)),
])  # fmt: skip
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_anamorphic_video_is_shown_at_its_display_aspect(
    name: str, aspect: Fraction, size: tuple[int, int], tmp_path: Path
) -> None:
    facts = load(write(tmp_path / name, aspect=aspect), frame_max_pixels=10**6).facts
    assert facts.source_size == size
    assert abs(facts.used_size[0] - size[0]) <= 14 and facts.used_size[1] == 84
    note = f"pixels of {aspect.numerator}:{aspect.denominator} (sample aspect ratio): 112x84 shown as {size[0]}x84"
    assert note in facts.notes


def test_square_and_senseless_aspects_leave_the_frame_as_it_is() -> None:
    assert displayed_size(720, 576, None) == displayed_size(720, 576, Fraction(1)) == ((720, 576), ())
    size, notes = displayed_size(720, 576, Fraction(1000, 1))
    assert size == (720, 576) and notes == ("pixels of 1000:1 (sample aspect ratio) shown as squares",)


# ---- what is no video


@pytest.mark.parametrize(("content", "clause"), [
    (b"", "the file is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "it begins with 'version https://git-lfs'"),
    (b"<!DOCTYPE html>\n<html>", "it begins with '<!DOCTYPE html>'"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "it begins with '<svg xmlns="),
    (b"PK\x03\x04" + bytes(60), "it begins with 'PK'"),
])  # fmt: skip
def test_what_is_no_video_is_said_by_how_it_begins(content: bytes, clause: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        load(path)
    assert "not a readable video file" in str(caught.value) and clause in str(caught.value)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    home = Path.cwd()
    os.chdir(tmp_path)  # a socket's name has at most 107 characters
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("socket")
    finally:
        os.chdir(home)
    kinds = {"pipe": "a named pipe", "socket": "a socket", ".": "a folder", "/dev/zero": "a device"}
    for name, kind in kinds.items():
        with pytest.raises(MediaError, match=f"the video cannot be read \\(it is {kind}, not a file\\)"):
            load(tmp_path / name)
    listener.close()
    shutil.copy(write(tmp_path / "b.mp4"), tmp_path / "copy.mp4")
    (tmp_path / "link.mp4").symlink_to("copy.mp4")
    assert load(tmp_path / "link.mp4", video_frames=2).facts.source_frames == FRAMES

"""Videos: exact times, chosen frames, spent budgets, and what the processors make of the metadata."""

from __future__ import annotations

import dataclasses
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import SAME_FILE, SAME_STREAM, SHADES, frame_numbers, write_video

from mmrope_eval.media.frames import index_by_decoding, index_frames, read_frames
from mmrope_eval.media.image import MediaError, MediaPolicy, load_video
from mmrope_eval.media.video import clock_metadata
from mmrope_eval.messages import VideoSource
from mmrope_eval.models.family import VisionGeometry

QWEN25: Any = VisionGeometry(14, 2, 2)
QWEN3: Any = VisionGeometry(16, 2, 2)
GEOMETRIES = pytest.mark.parametrize("geometry", [QWEN25, QWEN3], ids=["qwen2.5-vl", "qwen3-vl"])

# Milliseconds at which frames appear: bursts, pauses, nothing regular.
UNEVEN = [0, 33, 67, 100, 400, 420, 440, 1000, 1500, 1533, 1600, 2400, 2433, 3000, 3500]
SMALL: dict[str, Any] = {"frame_min_pixels": 1, "frame_max_pixels": 64 * 48}
CONTAINERS = [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx"), ("ts", "libx264"), ("mp4", "mpeg4")]


def load(
    path: Path, start: float | None = None, end: float | None = None, geometry: Any = QWEN25, **policy: Any
) -> Any:
    return load_video(VideoSource(path, start, end), MediaPolicy(**(SMALL | policy)), geometry)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def uneven(folder: Path) -> Path:
    return write_video(folder / "uneven.mp4", UNEVEN)


@pytest.fixture(scope="module")
def regular(folder: Path) -> Path:
    """20 seconds at 10 frames per second, with B-frames and a keyframe every 1.5 seconds."""
    return write_video(folder / "regular.mp4", range(200), time_base=Fraction(1, 10), gop=15)


# ---- time


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_a_variable_frame_rate_gives_the_timestamps_in_the_file(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"uneven.{suffix}", UNEVEN, codec=codec)
    video = load(path, video_frames=len(UNEVEN))
    expected = [ms / 1000 for ms in UNEVEN]
    assert video.facts.timestamps == pytest.approx([*expected, expected[-1]], abs=1e-9)
    assert video.facts.frame_indices == (*range(15), 14)
    assert frame_numbers(video.frames) == [*range(15), 14]
    assert video.facts.source_frames == 15


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_the_index_from_packets_is_what_the_decoder_shows(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"uneven.{suffix}", UNEVEN, codec=codec)
    quick, thorough = index_frames(path, 10**9), index_by_decoding(path, 10**9)
    assert np.array_equal(quick.pts, thorough.pts)
    assert np.array_equal(quick.keyframes, thorough.keyframes)


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_seeking_gives_the_frames_of_a_straight_decode(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"long.{suffix}", range(0, 6000, 40), codec=codec, gop=11)
    index = index_frames(path, 10**9)
    with av.open(str(path)) as container:
        straight = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for positions in ([0, 50, 51, 99, 140], [149], [10, 11, 12], [0, 10, 22, 33]):
        frames = read_frames(path, index, np.array(positions), (64, 48))
        assert np.array_equal(frames, np.stack([straight[p] for p in positions])), positions


class Container:
    """One of PyAV's, behind an object of Python's own."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)


def test_a_container_that_refuses_to_seek_is_read_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one with a damaged index does ("Operation not permitted")."""
    refused = 0

    class Refusing(Container):
        def seek(self, *_: Any, **__: Any) -> None:
            nonlocal refused
            refused += 1
            raise av.error.PermissionError(1, "Operation not permitted")

    path = write_video(tmp_path / "long.mp4", range(0, 6000, 40), gop=11)
    index, positions = index_frames(path, 10**9), np.array([0, 50, 140])
    expected = read_frames(path, index, positions, (64, 48))
    monkeypatch.setattr(av, "open", lambda *given, open_file=av.open, **named: Refusing(open_file(*given, **named)))
    assert np.array_equal(read_frames(path, index, positions, (64, 48)), expected) and refused == 1


def test_seeking_skips_what_is_not_needed(regular: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packets: list[int] = []

    class Counting(Container):
        def demux(self, *streams: Any) -> Any:
            packets.append(0)
            for packet in self.container.demux(*streams):
                packets[-1] += 1
                yield packet

    monkeypatch.setattr(av, "open", lambda *given, open_file=av.open, **named: Counting(open_file(*given, **named)))
    video = load(regular, start=15.0, end=16.0, video_frames=2)
    assert frame_numbers(video.frames) == [150 % SHADES, 159 % SHADES]
    listed, *decoded = packets
    assert listed >= 200 and sum(decoded) < 40, packets


def test_time_starts_with_the_first_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.ts", [5000, 5500, 6000, 6500])
    assert load(path, video_frames=4).facts.timestamps == pytest.approx([0, 0.5, 1.0, 1.5], abs=1e-9)


# ---- selection


def test_a_rate_takes_the_frame_nearest_to_each_target(uneven: Path) -> None:
    """At 2 per second: targets 0, .5, 1, 1.5, 2, 2.5, 3 and the frames nearest to them, 1.6 and 2.433 among them."""
    video = load(uneven, video_fps=2.0)
    assert video.facts.timestamps == pytest.approx([0.0, 0.44, 1.0, 1.5, 1.6, 2.433, 3.0, 3.0])
    assert frame_numbers(video.frames) == [0, 6, 7, 8, 10, 12, 13, 13]
    assert "7 of 15 frames used (2 per second asked for)" in video.facts.notes
    assert any("last frame repeated 1 time(s)" in note for note in video.facts.notes)


def test_a_count_spreads_from_the_first_to_the_last_frame(regular: Path) -> None:
    video = load(regular, video_frames=6)
    assert video.facts.frame_indices == (0, 40, 80, 119, 159, 199)


@pytest.mark.parametrize(("minimum", "maximum", "used"), [(4, 768, 40), (4, 12, 12), (64, 768, 64), (4, 11, 11)])
def test_frame_limits_turn_a_rate_into_a_count(regular: Path, minimum: int, maximum: int, used: int) -> None:
    video = load(regular, video_fps=2.0, video_min_frames=minimum, video_max_frames=maximum)
    distinct = len(set(video.facts.frame_indices))
    assert distinct == used
    assert len(video.frames) == used + used % 2
    assert any(f"video_max_frames is {maximum}" in note for note in video.facts.notes) == (used < 40)


def test_more_frames_than_there_are_is_noted(uneven: Path) -> None:
    video = load(uneven, video_frames=50)
    assert video.facts.frame_indices == (*range(15), 14)
    assert "50 frames asked for, 15 used: the span has no more" in video.facts.notes


@pytest.mark.parametrize(
    ("start", "end", "indices"),
    [
        (None, None, (0, 50, 100, 150)),
        (5.0, None, (50, 100, 150, 151)),
        (2.0, 4.0, (20, 21, 38, 39)),
        (2.05, 4.05, (21, 22, 39, 40)),
    ],
)
def test_a_span_holds_the_frames_from_start_up_to_but_not_including_end(
    regular: Path, start: float | None, end: float | None, indices: tuple[int, ...]
) -> None:
    video = load(regular, start, end, video_frames=200)
    used = sorted(set(video.facts.frame_indices))
    begin, stop = start or 0.0, end or 20.0
    assert used == [n for n in range(200) if begin <= n / 10 < stop]
    assert set(indices) <= set(used)
    assert video.facts.timestamps[0] == pytest.approx(used[0] / 10 - begin)
    assert video.facts.duration == pytest.approx(stop - begin)


def test_a_span_beyond_the_end_is_cut_and_noted(regular: Path) -> None:
    video = load(regular, 18.0, 30.0)
    assert video.facts.duration == pytest.approx(2.0)
    assert "span asked for up to 30 s, the video ends at 20 s" in video.facts.notes


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
@GEOMETRIES
def test_an_odd_count_repeats_the_last_frame_and_says_so(regular: Path, frames: int, geometry: Any) -> None:
    video = load(regular, geometry=geometry, video_frames=frames)
    assert len(video.frames) % 2 == 0
    assert video.facts.grid_thw[0] * 2 == len(video.frames) == frames + frames % 2
    assert len(video.facts.timestamps) == len(video.facts.frame_indices) == len(video.frames)
    if frames % 2:
        assert np.array_equal(video.frames[-1], video.frames[-2])
    assert any("repeated" in note for note in video.facts.notes) == bool(frames % 2)


@pytest.mark.parametrize("budget", [1, 7, 40, 100, 1000, 16384])
@GEOMETRIES
def test_the_token_budget_is_spent_and_recorded(regular: Path, budget: int, geometry: Any) -> None:
    video = load(regular, geometry=geometry, video_max_tokens=budget, frame_min_pixels=4 * 32 * 32,
                 frame_max_pixels=768 * 32 * 32)  # fmt: skip
    grid = video.facts.grid_thw
    tokens = grid[0] * (grid[1] // 2) * (grid[2] // 2)
    assert video.facts.tokens == tokens <= budget
    height, width = video.frames.shape[1:3]
    assert (width, height) == video.facts.used_size == (grid[2] * geometry.patch_size, grid[1] * geometry.patch_size)
    short = len(set(video.facts.frame_indices)) < 40
    assert any(f"the budget of {budget} tokens buys no more" in note for note in video.facts.notes) == short


def test_uneven_times_are_noted(uneven: Path, regular: Path) -> None:
    assert any("frame times are uneven" in note for note in load(uneven, video_frames=15).facts.notes)
    assert not any("uneven" in note for note in load(regular).facts.notes)


# ---- what the processors make of it


@given(st.lists(st.integers(1, 90_000), min_size=1, max_size=60), st.floats(0, 3600))
@settings(max_examples=50)
def test_transformers_derives_the_true_times_from_the_metadata(gaps: list[int], offset: float) -> None:
    """Oracles: VideoMetadata.sampled_fps (Qwen2.5-VL's seconds per grid) and .timestamps (Qwen3-VL's printed times)."""
    from transformers.video_utils import VideoMetadata

    times = offset + np.cumsum(gaps) / 90_000
    metadata, seconds_per_grid = clock_metadata(times, len(times), float(times[-1]), 2)
    theirs = VideoMetadata(**{name: value for name, value in metadata.items() if name != "do_sample_frames"})
    assert theirs.timestamps == pytest.approx(times.tolist(), abs=1e-5)
    assert 2 / theirs.sampled_fps == seconds_per_grid
    if len(times) > 1:
        mean = (times[-1] - times[0]) / (len(times) - 1)
        assert seconds_per_grid == pytest.approx(2 * mean, abs=2 / 90_000)


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from transformers import AutoProcessor

    from mmrope_demo.checkpoints import build_checkpoint

    home = tmp_path_factory.mktemp("checkpoints")
    return {
        family: AutoProcessor.from_pretrained(build_checkpoint(family, home / family))
        for family in ("qwen2.5-vl", "qwen3-vl")
    }


def processed(processor: Any, video: Any) -> Any:
    metadata = {name: value for name, value in video.metadata.items() if name != "do_sample_frames"}
    from transformers.video_utils import VideoMetadata

    return processor(
        text=["<|vision_start|><|video_pad|><|vision_end|>"],
        videos=[video.frames],
        video_metadata=[VideoMetadata(**metadata)],
        do_sample_frames=False,
        do_resize=False,
        return_tensors="pt",
    )


@pytest.mark.parametrize(
    ("start", "end", "policy"),
    [
        (None, None, {"video_fps": 2.0}),
        (None, None, {"video_frames": 5}),
        (0.41, 2.5, {"video_frames": 4}),
        (1.0, 3.2, {"video_fps": 1.0, "video_min_frames": 1}),
    ],
)
@pytest.mark.parametrize("which", ["uneven", "regular"])
@pytest.mark.parametrize("family", ["qwen2.5-vl", "qwen3-vl"])
def test_the_processor_agrees_with_the_facts(
    processors: dict[str, Any], request: pytest.FixtureRequest, family: str, which: str, start: float | None,
    end: float | None, policy: dict[str, Any],
) -> None:  # fmt: skip
    geometry = QWEN25 if family == "qwen2.5-vl" else QWEN3
    video = load(request.getfixturevalue(which), start, end, geometry, **policy)
    processor = processors[family]
    inputs = processed(processor, video)
    assert tuple(inputs["video_grid_thw"][0].tolist()) == video.facts.grid_thw
    pads = (inputs["input_ids"][0] == processor.video_token_id).sum()
    assert pads == video.facts.tokens
    if family == "qwen2.5-vl":
        assert float(inputs["second_per_grid_ts"][0]) == pytest.approx(video.facts.seconds_per_grid, rel=1e-6)
    else:
        printed = processor.tokenizer.decode(inputs["input_ids"][0])
        times = video.facts.timestamps
        pairs = [(a + b) / 2 for a, b in zip(times[::2], times[1::2], strict=True)]
        shown = [float(part.split(" seconds>")[0]) for part in printed.split("<")[1:] if " seconds>" in part]
        assert shown == pytest.approx(pairs, abs=0.0501)


# ---- what cannot be used


def not_a_video(path: Path) -> Path:
    path.write_text("404 not found")
    return path


def only_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def without_frames(path: Path) -> Path:
    with av.open(str(path), "w", options=SAME_FILE) as container:
        stream = container.add_stream("libx264", rate=10, options=SAME_STREAM)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def cut_in_half(path: Path) -> Path:
    """An mp4 with its index at the front, as web servers like it, of which half has arrived."""
    write_video(path, range(200), time_base=Fraction(1, 10), container_options={"movflags": "+faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + (len(data) - start) // 2])
    return path


def half_a_matroska(path: Path) -> Path:
    write_video(path, range(200), time_base=Fraction(1, 10))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def index_lost(path: Path) -> Path:
    write_video(path, range(50), time_base=Fraction(1, 10))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")])
    return path


def damaged(path: Path) -> Path:
    """Garbage within the frames of a video that moves too much to be guessed."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=SAME_FILE) as container:
        stream = container.add_stream("libx264", rate=10, options=SAME_STREAM)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.gop_size = 10
        for _ in range(60):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20000] = rng.integers(0, 256, 20000, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "make", "cause"),
    [
        ("gone.mp4", lambda path: path, "cannot be read (No such file or directory)"),
        ("page.mp4", not_a_video, "not a readable video file"),
        ("sound.m4a", only_sound, "no video stream, or an empty one"),
        ("empty.avi", without_frames, "the video has no frames"),
        ("empty.mp4", without_frames, "no video stream, or an empty one"),
        ("empty.mkv", without_frames, "not a readable video file"),
        ("half.mp4", cut_in_half, "the file is cut off"),
        ("half.mkv", half_a_matroska, "the file is cut off"),
        ("index.mp4", index_lost, "not a readable video file"),
        ("noise.mp4", damaged, "cannot be decoded (Invalid data found when processing input)"),
    ],
)
def test_bad_videos_are_refused_in_one_sentence(name: str, make: Any, cause: str, tmp_path: Path) -> None:
    path = make(tmp_path / name)
    with pytest.raises(MediaError) as caught:
        load(path, video_frames=60)
    message = str(caught.value)
    assert cause in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_what_has_arrived_of_a_cut_video_can_be_used(tmp_path: Path) -> None:
    path = cut_in_half(tmp_path / "half.mp4")
    video = load(path, 0.0, 2.0, video_frames=4)
    assert frame_numbers(video.frames) == [0, 6, 13, 19]


def test_frames_before_the_damage_can_be_used(tmp_path: Path) -> None:
    assert len(load(damaged(tmp_path / "noise.mp4"), 0.0, 1.0, video_frames=2).frames) == 2


@pytest.mark.parametrize(
    ("start", "end", "cause"),
    [
        (30.0, None, "no frame lies between 30 s and the end; the video lasts 20 s"),
        (5.0, 4.0, "is empty"),
        (-1.0, 4.0, "is empty"),
        (20.0, 20.0, "no frame lies between 20 s and 20 s"),
    ],
)
def test_spans_without_frames_are_refused(regular: Path, start: float, end: float | None, cause: str) -> None:
    with pytest.raises(MediaError) as caught:
        load(regular, start, end)
    assert cause in str(caught.value)


def test_oversized_frames_are_refused_before_decoding(regular: Path) -> None:
    with pytest.raises(MediaError, match="frames of 64x48 exceed the limit"):
        load(regular, decode_max_pixels=3000)


def test_thin_videos_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "thin.mp4", range(4), size=(2, 600), codec="mpeg4")
    with pytest.raises(MediaError, match="200 times"):
        load(path)


# ---- rotation


def test_a_recording_is_turned_upright(tmp_path: Path) -> None:
    """A phone's portrait video: stored lying, with a display matrix of a quarter turn clockwise."""
    path = tmp_path / "phone.mp4"
    lying = np.zeros((56, 84, 3), np.uint8)
    lying[:28, :42] = 220  # the top left corner is bright
    with av.open(str(path), "w", options=SAME_FILE) as container:
        stream = container.add_stream("libx264", rate=10, options=SAME_STREAM)
        stream.width, stream.height, stream.pix_fmt = 84, 56, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, track header, version 0
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 56 << 16, 0, 1 << 30)
    path.write_bytes(data)
    video = load(path, video_frames=4, frame_max_pixels=84 * 56)
    assert video.frames.shape[1:3] == (84, 56)
    assert video.facts.source_size == (56, 84)
    bright = video.frames[0].mean(axis=2) > 110
    assert bright[:40, 30:].all()  # clockwise: top left goes to top right
    assert not bright[44:].any() and not bright[:, :26].any()
    assert any("rotated 270 degrees counterclockwise" in note for note in video.facts.notes)


def test_facts_survive_a_round_trip_as_plain_values(uneven: Path) -> None:
    import json

    facts = dataclasses.asdict(load(uneven).facts)
    assert json.loads(json.dumps(facts))["frame_indices"] == list(facts["frame_indices"])

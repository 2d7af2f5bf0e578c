"""Video frames have the colours that were coded: the stream's own matrix and range, noted where guessed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from media_files import SAME_FILE, SAME_STREAM

from mmrope_eval.media.colour import RgbConverter, colour_notes
from mmrope_eval.media.image import MediaPolicy, load_video
from mmrope_eval.messages import VideoSource
from mmrope_eval.models.family import VisionGeometry

GEOMETRY = VisionGeometry(14, 2, 2)
COLOURS = [(200, 60, 30), (20, 190, 40), (30, 40, 210), (230, 220, 20), (10, 200, 210), (128, 128, 128),
           (255, 255, 255)]  # fmt: skip
BT709, UNSPECIFIED, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 1, 2, 5, 6, 7, 9
TV, PC = 1, 2
BARS = (56 * len(COLOURS), 56)
"""(width, height) of a frame with a bar of 56 columns for every colour."""


def bars() -> np.ndarray:
    """uint8 (56, 56 n, 3): the colours side by side."""
    return np.repeat(np.array(COLOURS, np.uint8)[None], 56, axis=1).repeat(56, axis=0)


def coded(pixels: np.ndarray, form: str, matrix: int, span: int) -> av.VideoFrame:
    """RGB as luma and chroma of that matrix and range, not tagged."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(
        format=form, src_colorspace=BT709 if matrix != BT709 else BT470BG, dst_colorspace=matrix,
        dst_color_range=ColorRange(span),
    )  # fmt: skip


def write(
    path: Path, form: str, matrix: int, span: int, tags: tuple[int, int], codec: str = "libx264", lines: int = 56,
    **more: int,
) -> Path:  # fmt: skip
    """Four frames of bars, coded with `matrix` and `span`, the stream and its frames tagged (matrix, range) `tags`."""
    pixels = bars() if lines == 56 else np.broadcast_to(bars()[:1], (lines, BARS[0], 3))
    options = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=none"}}.get(codec, {})
    with av.open(str(path), "w", options=SAME_FILE) as out:
        stream = out.add_stream(codec, rate=10, options={**SAME_STREAM, **options})
        stream.width, stream.height, stream.pix_fmt = BARS[0], lines, form
        stream.codec_context.colorspace, stream.codec_context.color_range = tags
        for name, value in more.items():
            setattr(stream.codec_context, name, value)
        for _ in range(4):
            frame = coded(pixels, form, matrix, span)
            frame.colorspace, frame.color_range = tags
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def load(path: Path, **policy: Any) -> Any:
    limits = {"frame_min_pixels": 1, "frame_max_pixels": BARS[0] * 1200, "video_frames": 2}
    return load_video(VideoSource(path), MediaPolicy(**(limits | policy)), GEOMETRY)


def shown(path: Path) -> np.ndarray:
    """The colour in the middle of every bar of the first frame."""
    colours: np.ndarray = load(path).frames[0][28, 28::56].astype(int)
    return colours


def off(path: Path) -> int:
    """How far the farthest channel of any bar is from the colour that was coded, of 255."""
    return int(np.abs(shown(path) - np.array(COLOURS)).max())


@pytest.mark.parametrize("span", [TV, PC], ids=["tv", "pc"])
@pytest.mark.parametrize("matrix", [BT709, BT470BG, SMPTE170M, SMPTE240M, BT2020])
@pytest.mark.parametrize("form", ["yuv444p", "yuv420p", "yuv422p10le"])
def test_a_tagged_stream_has_the_colours_that_were_coded(form: str, matrix: int, span: int, tmp_path: Path) -> None:
    path = write(tmp_path / "tagged.mp4", form, matrix, span, (matrix, span))
    assert off(path) <= 3


@pytest.mark.parametrize(("name", "codec", "form"), [
    ("a.mkv", "ffv1", "yuv444p10le"), ("a.mkv", "libx265", "yuv420p10le"), ("a.webm", "libvpx-vp9", "yuv444p"),
    ("a.mov", "prores_ks", "yuv422p10le"), ("a.mkv", "libx264", "yuv420p10le"),
])  # fmt: skip
def test_other_codecs_and_ten_bits(name: str, codec: str, form: str, tmp_path: Path) -> None:
    assert off(write(tmp_path / name, form, BT709, TV, (BT709, TV), codec)) <= 4


def test_the_example_of_the_report(tmp_path: Path) -> None:
    """Flat (200, 60, 30), tagged and coded BT.709, was shown as (188, 47, 33)."""
    pixel = shown(write(tmp_path / "bt709.mp4", "yuv444p", BT709, TV, (BT709, TV)))[0]
    assert np.abs(pixel - (200, 60, 30)).max() <= 2


def test_without_tags_bt601_in_tv_range_is_assumed_and_noted_for_hd(tmp_path: Path) -> None:
    """As swscale, and so ffmpeg, OpenCV and decord do."""
    path = write(tmp_path / "untagged.mp4", "yuv444p", BT470BG, TV, (UNSPECIFIED, 0))
    assert off(path) <= 3
    assert not any("matrix" in note for note in load(path).facts.notes)
    large = write(tmp_path / "large.mp4", "yuv444p", BT470BG, TV, (UNSPECIFIED, 0), lines=720)
    assert "the file names no colour matrix: BT.601 assumed, as ffmpeg does" in load(large).facts.notes
    assert off(large) <= 3


def test_full_range_motion_jpeg(tmp_path: Path) -> None:
    assert off(write(tmp_path / "motion.avi", "yuvj444p", BT470BG, PC, (BT470BG, PC), "mjpeg")) <= 6


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_noted(transfer: int, name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "hdr.mp4", "yuv420p10le", BT2020, TV, (BT2020, TV), color_trc=transfer, color_primaries=9)
    notes = load(path).facts.notes
    assert f"HDR levels ({name}) shown without tone mapping" in notes
    assert "BT.2020 primaries shown as if they were BT.709's" in notes
    assert off(path) <= 4  # the levels are what was coded


@pytest.mark.parametrize(("tag", "note"), [
    (10, "constant-luminance BT.2020 converted as if it were not constant"),
    (8, "colour matrix 8 (H.273) is not known here: BT.601 used"),
])
def test_a_matrix_that_swscale_does_not_have_is_noted(tag: int, note: str) -> None:
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.colorspace = tag
    codec: Any = SimpleNamespace(color_trc=1, color_primaries=1)
    assert colour_notes(frame, codec) == (note,)
    assert RgbConverter().rgb(frame).shape == (16, 16, 3)


def by_filter(frame: av.VideoFrame) -> np.ndarray:
    """Oracle: what ffmpeg's `-vf scale,format=rgb24` makes of a frame."""
    graph = av.filter.Graph()
    source = graph.add(
        "buffer", video_size=f"{frame.width}x{frame.height}", pix_fmt=frame.format.name, time_base="1/10",
        pixel_aspect="1/1", colorspace=str(int(frame.colorspace)), range=str(int(frame.color_range)),
    )  # fmt: skip
    graph.link_nodes(source, graph.add("scale"), graph.add("format", "rgb24"), graph.add("buffersink")).configure()
    graph.push(frame)
    return np.asarray(graph.pull().to_ndarray())


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "nv12", "p010le",
                                  "yuva420p", "yuyv422", "gbrp", "rgba", "gray", "gray10le"])  # fmt: skip
def test_frames_equal_those_of_ffmpegs_filter(form: str) -> None:
    """Each pixel, with one converter for frames whose tags change on the way."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    convert = RgbConverter()
    for matrix, span in [(BT709, TV), (BT2020, PC), (SMPTE170M, TV), (UNSPECIFIED, 0), (BT709, PC), (SMPTE240M, TV)]:
        frame = coded(pixels, form, matrix if matrix != UNSPECIFIED else BT470BG, span or TV)
        frame.colorspace, frame.color_range, frame.pts = matrix, span, 0
        if form in ("gbrp", "rgba", "gray", "gray10le") and matrix != UNSPECIFIED:
            continue  # they have no matrix to change
        assert np.array_equal(convert.rgb(frame), by_filter(frame)), (matrix, span)



"""Opening a video file: its container, and the one stream that is decoded.

Also, in which order and when frames are shown where a container does not say. AVI and ASF keep no presentation times:
for H.264 and HEVC with B-frames a packet's time is its place in decoding order, and a decoded frame carries the time of
another. Raw streams have no times at all. A decoder always gives frames out in the order shown, so that order numbers
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmrope_eval.media.policy import MediaError
from mmrope_eval.media.sources import beginning, read_head, require_regular

_ONE_THREAD = frozenset({"vp9"})
"""Decoders that may not share a frame among threads. FFmpeg's VP9 then writes past its memory where a damaged file
changes the size of frames, and the whole process dies. The pixels are the same."""


def open_container(path: Path) -> InputContainer:
    """Open a file. Text in it may be of any encoding. Raises MediaError for what is no video file."""
    require_regular(path, "video")
    try:
        container: InputContainer = av.open(str(path), metadata_errors="replace")
    except av.error.FFmpegError as error:
        head = read_head(path)
        cause = "" if not head else f"{error.strerror or type(error).__name__}; "
        raise MediaError(f"{path}: not a readable video file ({cause}{beginning(head)}).") from error
    return container


def best_video(container: InputContainer) -> VideoStream:
    """The stream that `video_stream` approved."""
    stream = container.streams.best("video")
    assert isinstance(stream, VideoStream)
    return _with_threads(stream)


def _with_threads(stream: VideoStream) -> VideoStream:
    if stream.codec_context.name in _ONE_THREAD:
        stream.codec_context.thread_type = "NONE"
    return stream


def video_stream(path: Path, container: InputContainer, max_pixels: int) -> VideoStream:
    """The video stream to decode. Raises MediaError where there is none, or no decoder, or frames are too large."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise MediaError(f"{path}: the file has no video stream, or an empty one.")
    if getattr(stream, "codec_context", None) is None:
        what = beginning(read_head(path))
        raise MediaError(f"{path}: not a readable video file (there is no decoder for it; {what}).")
    if stream.width * stream.height > max_pixels:
        raise MediaError(f"{path}: frames of {stream.width}x{stream.height} exceed the limit of {max_pixels / 1e6:g} "
                         "megapixels (decode_max_pixels).")
    return _with_threads(stream)


_TIMED = frozenset({"mov", "matroska", "mpegts", "mpeg", "flv", "nut", "mxf", "ogg", "ivf"})
"""Containers (ffmpeg's names) that keep presentation times; a file may still have been filled without them."""
_REORDERING = frozenset({"h264", "hevc", "vvc"})
"""Codecs whose presentation times ffmpeg does not reconstruct from the order of decoding."""
MOST_REORDERED = 32
"""Frames by which decoding may run ahead of showing: twice the largest picture buffer of H.264 and HEVC, VVC's."""


def keeps_times(container: InputContainer) -> bool:
    """Whether a container has a place for presentation times."""
    return not _TIMED.isdisjoint(container.format.name.split(","))


def may_hide_order(container: InputContainer, stream: VideoStream, pts: Sequence[int]) -> bool:
    """Whether packet times (in decoding order) may be those of decoding, so that only a decoder knows the order shown.

    True where they ascend although the codec may reorder; in a container that keeps presentation times, only where the
    stream itself announces reordering.
    """
    if stream.codec_context.name not in _REORDERING or any(a >= b for a, b in pairwise(pts)):
        return False
    return not keeps_times(container) or bool(stream.codec_context.has_b_frames)


def shown_times(pts: Sequence[int | None]) -> NDArray[np.int64] | None:
    """Times, ascending, of frames that are given in the order shown; None where some have none.

    A container without presentation times still says when something is shown, only not which frame. Raises ValueError
    where times run back further than reordering explains: two recordings in one file.
    """
    if any(tick is None for tick in pts):
        return None
    ticks = np.array(pts, np.int64)
    order = np.argsort(ticks, kind="stable")
    if np.abs(order - np.arange(len(ticks))).max(initial=0) > MOST_REORDERED:
        raise ValueError("the times of its frames run backwards")
    return ticks[order]


def stream_rate(stream: VideoStream) -> Fraction:
    """Frames per second that a stream without times declares; 25, ffmpeg's default, where it declares none."""
    context = stream.codec_context
    for rate in (context.framerate, stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate:
            return Fraction(rate)
    return Fraction(25)


def numbered(frames: Iterator[VideoFrame], pts: NDArray[np.int64]) -> Iterator[VideoFrame]:
    """The frames of a whole pass, each with the time that `pts` has for its number in place of its own."""
    for frame, tick in zip(frames, pts.tolist(), strict=False):
        frame.pts = tick
        yield frame

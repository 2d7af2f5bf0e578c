"""In which order and when frames are shown, where a container does not say.

AVI and ASF keep no presentation times: for H.264 and HEVC with B-frames a packet's time is its place in decoding order,
and a decoded frame carries the time of another. Raw streams have no times at all. A decoder always gives frames out in
the order shown, so that order numbers them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

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

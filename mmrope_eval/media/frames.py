"""Reading frames from a video file with PyAV: an index of exact timestamps first, then only the frames wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from mmrope_eval.media.colour import RgbConverter, colour_notes
from mmrope_eval.media.container import (
    best_video,
    keeps_times,
    may_hide_order,
    numbered,
    open_container,
    shown_times,
    stream_rate,
    video_stream,
)
from mmrope_eval.media.policy import MediaError

_FRAMES_TRIED = 64
"""So many frames tell whether a container that has a place for presentation times was filled with others."""
_STRANGEST_ASPECT = 8
_CLOCK = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


class _Shown(NamedTuple):
    """One frame: presentation timestamp, whether decoding can start at it, duration (0 unknown), in ticks."""

    pts: int
    key: bool
    duration: int


@dataclass(frozen=True)
class _Listing:
    """Frames in the order shown, and how that order is known."""

    shown: list[_Shown]
    whole: int
    """Packets that are not cut off."""
    time_base: Fraction | None
    counted: bool = False
    notes: tuple[str, ...] = ()


class IndexMismatchError(Exception):
    """The decoder did not show a frame that the index lists."""


@dataclass(frozen=True)
class FrameIndex:
    """Every frame a video shows, in order, by presentation timestamp in ticks of `time_base`."""

    pts: NDArray[np.int64]
    keyframes: NDArray[np.int64]
    """Timestamps at which decoding can start."""
    end: int
    """Tick at which the last frame stops being shown."""
    time_base: Fraction
    size: tuple[int, int]
    """(width, height) as shown, after rotation."""
    quarter_turns: int
    """Counterclockwise turns by 90 degrees that put the frames upright."""
    truncated: str | None
    """How the file falls short of what its header promises; None if it does not."""
    notes: tuple[str, ...] = ()
    counted: bool = False
    """Frames are known by their number in a full decoding pass: the times that they carry are others' or none."""

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Seconds from the first frame, ascending."""
        return np.asarray((self.pts - self.pts[0]) * self.time_base.numerator / self.time_base.denominator, np.float64)

    @property
    def duration(self) -> float:
        """Seconds from the first frame's appearance to the last one's end."""
        return float((self.end - int(self.pts[0])) * self.time_base)

    @property
    def fps(self) -> float:
        """Mean frame rate."""
        return len(self.pts) / self.duration


def index_frames(path: Path, max_pixels: int) -> FrameIndex:
    """The index from the container's packets, without decoding more than the first frame or frames.

    Falls back to `index_by_decoding` where packets carry no timestamps, or those of decoding. Raises MediaError for a
    file that cannot be opened, has no video stream or no frames, or whose frames exceed `max_pixels`.
    """
    with closing(open_container(path)) as container:
        stream = video_stream(path, container, max_pixels)
        shown: list[_Shown] = []
        whole = 0
        for packet in _packets(container, stream):
            whole += not packet.is_corrupt  # cut off in the middle; listed all the same, so that decoding it fails
            if packet.is_discard:
                continue
            if packet.pts is None:
                shown.clear()
                break
            shown.append(_Shown(packet.pts, packet.is_keyframe, packet.duration or 0))
        distinct = len({frame.pts for frame in shown}) == len(shown)
        if shown and distinct and not _order_is_hidden(path, container, stream, [frame.pts for frame in shown]):
            return _build(path, container, stream, _Listing(sorted(shown), whole, stream.time_base))
    return index_by_decoding(path, max_pixels)


def _order_is_hidden(path: Path, container: InputContainer, stream: VideoStream, pts: list[int]) -> bool:
    """Whether packet times are those of decoding. Decodes the first frames where that could be."""
    if not may_hide_order(container, stream, pts):
        return False
    if not keeps_times(container):
        return True
    with closing(open_container(path)) as again:
        first = [frame.pts for frame in islice(_frames(again, best_video(again)), _FRAMES_TRIED)]
    return any(tick is None for tick in first) or first != sorted(first)


def index_by_decoding(path: Path, max_pixels: int) -> FrameIndex:
    """The index from a full decoding pass that keeps timestamps only.

    Raises MediaError where any frame fails to decode, and where times run backwards.
    """
    with closing(open_container(path)) as container:
        stream = video_stream(path, container, max_pixels)
        whole = sum(not packet.is_corrupt for packet in _packets(container, stream))
    with closing(open_container(path)) as container:
        stream = video_stream(path, container, max_pixels)
        decoded: list[tuple[int | None, bool, int]] = []
        failures: list[str] = []
        for frame in _frames(container, stream, failures):
            if not decoded:
                failures.clear()  # a recording may start between keyframes: nothing is shown until the first one
            decoded.append((frame.pts, frame.key_frame, frame.duration or 0))
        if failures and decoded:
            raise MediaError(f"{path}: {len(failures)} frame(s) cannot be decoded ({failures[0]}).")
        return _build(path, container, stream, _listing(path, stream, decoded, whole))


def _listing(path: Path, stream: VideoStream, decoded: list[tuple[int | None, bool, int]], whole: int) -> _Listing:
    """The listing of frames that a decoder gave out, which is the order shown: (own time, key frame, duration)."""
    own_times = [pts for pts, _, _ in decoded]
    try:
        times = shown_times(own_times)
    except ValueError as error:
        raise MediaError(f"{path}: {error}.") from error
    if times is None:
        rate = stream_rate(stream)
        note = f"the file keeps no times: frames spaced by its frame rate of {float(rate):g} per second"
        return _Listing([_Shown(n, key, 1) for n, (_, key, _) in enumerate(decoded)], whole, 1 / rate, True, (note,))
    counted = own_times != times.tolist() or len(set(own_times)) < len(own_times)
    note = "the file keeps no presentation times: frames numbered in the order shown"
    shown = [_Shown(pts, key, length) for pts, (_, key, length) in zip(times.tolist(), decoded, strict=True)]
    return _Listing(shown, whole, stream.time_base, counted, (note,) if counted else ())


def read_frames(path: Path, index: FrameIndex, positions: NDArray[np.int64], size: tuple[int, int], padding: int = 0, *,
                seek: bool = True) -> NDArray[np.uint8]:
    """Decode the frames at `positions` (ascending), upright, resized to `size` (width, height) by bicubic filter.

    Returns uint8 (len(positions) + padding, height, width, 3), the last frame repeated `padding` times. Decoding starts
    at the keyframe before each wanted frame where that skips anything, or once at the beginning where the container
    cannot seek to it, or where what follows a seek is not what was wanted: MPEG program streams call every packet a
    keyframe. Memory: the result and one source frame.
    Raises MediaError where a frame wanted, or one it is predicted from, is damaged; IndexMismatchError where the
    decoder does not show a listed frame.
    """
    result = np.empty((len(positions) + padding, size[1], size[0], 3), np.uint8)
    times = index.pts[positions]
    starts = index.keyframes[np.maximum(np.searchsorted(index.keyframes, times, side="right") - 1, 0)]
    seek = seek and not index.counted and bool((starts > np.append(index.pts[0], times[:-1])).any())
    try:
        arrived = _fill(path, index, times, starts, result, seek)
    except (IndexMismatchError, MediaError):
        if not seek:
            raise
        arrived = False
    if not arrived:
        return read_frames(path, index, positions, size, padding, seek=False)
    result[len(positions) :] = result[len(positions) - 1]
    return result


def _fill(path: Path, index: FrameIndex, times: NDArray[np.int64], starts: NDArray[np.int64], result: NDArray[np.uint8],
          seek: bool) -> bool:
    """Decode the frames of the times `wanted` into `result`; False where a seek landed too late."""
    convert = RgbConverter()
    size = (result.shape[2], result.shape[1])
    with closing(open_container(path)) as container:
        stream = best_video(container)
        reader = _frames(container, stream)
        if index.counted:
            reader = numbered(reader, index.pts)
        reached = int(index.pts[0])
        for slot, (target, start) in enumerate(zip(times.tolist(), starts.tolist(), strict=True)):
            if seek and start > reached:
                try:
                    container.seek(start, stream=stream, backward=True)
                except av.error.FFmpegError:
                    return False  # a damaged index
                reader = _frames(container, stream)
                first = next(reader, None)
                if first is None or first.pts is None or first.pts > start:
                    return False  # as in MPEG transport streams, which have no index
                reader = chain([first], reader)
            frame = _advance(path, reader, start, target, index)
            result[slot] = _upright(convert.rgb(frame), index.quarter_turns, size)
            reached = target
    return True


def _advance(path: Path, reader: Iterator[VideoFrame], start: int, target: int, index: FrameIndex) -> VideoFrame:
    for frame in reader:
        if frame.pts is None or frame.pts < start:
            continue  # before the keyframe: not needed for the frame wanted
        if frame.pts > target:
            break
        if frame.is_corrupt:
            at = float((frame.pts - int(index.pts[0])) * index.time_base)
            raise MediaError(f"{path}: the frame at {at:.3f} s is damaged.")
        if frame.pts == target:
            return frame
    at = float((target - int(index.pts[0])) * index.time_base)
    raise IndexMismatchError(f"the frame at {at:.3f} s cannot be decoded")


def _upright(pixels: NDArray[np.uint8], quarter_turns: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    rgb: NDArray[np.uint8] = np.rot90(pixels, quarter_turns)
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BICUBIC))


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets that carry data. An input error ends the stream here; what the header promises beyond it is missed."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return


def _frames(container: InputContainer, stream: VideoStream, failures: list[str] | None = None) -> Iterator[VideoFrame]:
    """Decoded frames in the order shown. A packet that fails to decode loses its frame and adds to `failures`."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            if failures is not None:
                failures.append(error.strerror or type(error).__name__)


def _build(path: Path, container: InputContainer, stream: VideoStream, listing: _Listing) -> FrameIndex:
    shown, base = listing.shown, listing.time_base
    if not shown or base is None:
        raise MediaError(f"{path}: the video has no frames.")
    pts = np.array([frame.pts for frame in shown], np.int64)
    last = shown[-1].duration
    if last <= 0:
        rate = stream.average_rate or Fraction(1)
        last = int(np.median(np.diff(pts))) if len(pts) > 1 else max(1, round(1 / (rate * base)))
    end = int(pts[-1]) + last
    turns, size, notes = _first_look(path)
    keys = [] if listing.counted else [frame.pts for frame in shown if frame.key]
    longest = float(int(np.diff(pts).max(initial=0)) * base)
    truncated = _missing(container, stream, float((end - int(pts[0])) * base), longest, listing.whole)
    return FrameIndex(pts=pts, keyframes=np.array(keys or [pts[0]], np.int64), end=end, time_base=base, size=size,
                      quarter_turns=turns, truncated=truncated, notes=(*listing.notes, *notes), counted=listing.counted)


def _missing(container: InputContainer, stream: VideoStream, available: float, longest: float,
             whole: int) -> str | None:
    """What the header promises beyond the `whole` packets and the `available` seconds that are there, if anything.

    `longest` is the longest that a frame but the last is shown, in seconds.
    """
    if stream.frames:
        return f"{whole} of {stream.frames} frames are there" if whole < stream.frames else None
    promised = _promised_seconds(container, stream)
    # Durations are rounded and may include a last frame's long stay; a second and two frames are no sign of loss.
    if promised is not None and promised - available > 1.0 + 2 * longest:
        return f"the header promises {promised:.2f} s, the frames end at {available:.2f} s"
    return None


def _promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska: hours:minutes:seconds
    if clock := _CLOCK.fullmatch(tag):
        hours, minutes, seconds = clock.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None


def _first_look(path: Path) -> tuple[int, tuple[int, int], tuple[str, ...]]:
    """Quarter turns, size as shown and notes, from the first frame: the display matrix travels with the frames."""
    with closing(open_container(path)) as container:
        stream = best_video(container)
        first = next(_frames(container, stream), None)
        if first is None:
            raise MediaError(f"{path}: the video has no frame that can be decoded.")
        size, shape_notes = displayed_size(first.width, first.height, stream.sample_aspect_ratio)
        colours = colour_notes(first, stream.codec_context)
    turns, rest = divmod(first.rotation, 90)
    if rest:
        return 0, size, (*shape_notes, f"rotation by {first.rotation} degrees not applied", *colours)
    turns %= 4
    turned = (f"rotated {90 * turns} degrees counterclockwise to upright",) if turns else ()
    return turns, size[::-1] if turns % 2 else size, (*shape_notes, *turned, *colours)


def displayed_size(width: int, height: int, aspect: Fraction | None) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Size in square pixels of a frame whose pixels are `aspect` times as wide as high, and a note if they are not.

    The height stays, as in ffmpeg's `scale=iw*sar:ih`. An aspect beyond 8:1 is taken for a mistake.
    """
    shown = round(width * aspect) if aspect else width
    if aspect is None or shown == width:
        return (width, height), ()
    ratio = f"{aspect.numerator}:{aspect.denominator}"
    if not 1 / _STRANGEST_ASPECT <= aspect <= _STRANGEST_ASPECT:
        return (width, height), (f"pixels of {ratio} (sample aspect ratio) shown as squares",)
    return (shown, height), (f"pixels of {ratio} (sample aspect ratio): {width}x{height} shown as {shown}x{height}",)

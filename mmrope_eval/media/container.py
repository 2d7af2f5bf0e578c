"""Opening a video file: its container, and the one stream that is decoded."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

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

"""Video frames to RGB, each with its own matrix and range.

A frame says in which matrix (BT.601, BT.709, BT.2020 ...) and range (tv: 16-235, pc: 0-255) its luma and chroma are
coded. PyAV's own conversion ignores both: it takes BT.601 in tv range for whatever it is given, up to 50 of 255 off
for saturated colours. Here swscale gets the frame's tags, and its bicubic filter for chroma as libavfilter does, so
that frames are equal to `ffmpeg -vf scale,format=rgb24`.

**Without tags**: BT.601 in tv range, whatever the size, which is what swscale, and so ffmpeg, OpenCV, decord and
torchvision, take for granted; published scores were made so. Players guess BT.709 from 720 lines on; there a note says
what was assumed. The yuvj formats (motion JPEG) are full range by their name.

**Beyond SDR**: PQ and HLG levels and BT.2020 primaries are not mapped to a narrower display, since there is no one
way to do it; a note says so.
"""

from __future__ import annotations

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

# Code points of ISO/IEC 23091-2 (H.273), which ffmpeg's enumerations follow.
_BT601, _BT709, _BT2020_CONSTANT = 5, 1, 10
_UNSPECIFIED = (2, 3)
_MATRICES = frozenset({_BT709, 4, _BT601, 6, 7, 9, _BT2020_CONSTANT})
"""What swscale has coefficients for: BT.709, FCC, BT.601 (625 and 525 lines), SMPTE 240M, BT.2020. All others, and
frames without a tag, are converted as BT.601."""
_FULL = 2
_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020_PRIMARIES = 9
_HD_LINES = 720


class RgbConverter:
    """Converts frames one after another; keeps swscale's tables between equal ones. One thread at a time."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8 (height, width, 3). Alpha is dropped."""
        if not is_luma_chroma(frame.format):
            made = self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BICUBIC)
        else:
            matrix = int(frame.colorspace) if int(frame.colorspace) in _MATRICES else _BT601
            full = int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj")
            made = self._reformatter.reformat(
                frame,
                format="rgb24",
                src_colorspace=matrix,
                # RGB has no matrix, but PyAV hands the source's to swscale only where the two differ.
                dst_colorspace=_BT601 if matrix != _BT601 else _BT709,
                src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=Interpolation.BICUBIC,
            )
        return np.asarray(made.to_ndarray(), np.uint8)


def is_luma_chroma(form: VideoFormat) -> bool:
    """Whether a pixel format needs a matrix: neither RGB, nor a palette, nor grey, nor XYZ."""
    return not (form.is_rgb or form.has_palette or form.name.startswith("xyz")) and len(form.components) >= 3


def colour_notes(frame: VideoFrame, context: VideoCodecContext) -> tuple[str, ...]:
    """One sentence for each way in which the colours may not be those that were meant."""
    notes = []
    tag = int(frame.colorspace)
    if is_luma_chroma(frame.format):
        if tag in _UNSPECIFIED and frame.height >= _HD_LINES and not frame.format.name.startswith("yuvj"):
            notes.append("the file names no colour matrix: BT.601 assumed, as ffmpeg does")
        elif tag == _BT2020_CONSTANT:
            notes.append("constant-luminance BT.2020 converted as if it were not constant")
        elif tag not in _MATRICES and tag not in _UNSPECIFIED:
            notes.append(f"colour matrix {tag} (H.273) is not known here: BT.601 used")
    transfer = _TRANSFERS.get(int(context.color_trc))
    if transfer:
        notes.append(f"HDR levels ({transfer}) shown without tone mapping")
    if int(context.color_primaries) == _BT2020_PRIMARIES:
        notes.append("BT.2020 primaries shown as if they were BT.709's")
    return tuple(notes)

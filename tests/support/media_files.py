"""Videos and pictures for the media tests, written by the tests themselves."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

SHADES = 24
"""Frame number n is a flat grey of level 16 + 9 * (n mod 24): far enough apart to survive compression."""


def shade(number: int) -> int:
    """The grey level of frame `number`."""
    return 16 + 9 * (number % SHADES)

SAME_FILE: Final = {"fflags": "+bitexact"}
"""Options of a container that is the same in every process: neither a time, a random id nor a version in it."""
SAME_STREAM: Final = {"threads": "1", "mbtree": "0"}
"""The same of an encoder. x264's macroblock tree spends bits otherwise from call to call, with one thread too."""


def write_video(
    path: Path,
    ticks: Sequence[int],
    *,
    time_base: Fraction = Fraction(1, 1000),
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    gop: int = 12,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video whose frame n is shown from ticks[n] * time_base seconds on, in a shade that tells n."""
    import av

    with av.open(str(path), "w", options={**SAME_FILE, **(container_options or {})}) as container:
        stream = container.add_stream(codec, rate=30, options={**SAME_STREAM, **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        stream.codec_context.gop_size = gop
        for number, tick in enumerate(ticks):
            pixels = np.full((size[1], size[0], 3), shade(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frame_numbers(frames: np.ndarray) -> list[int]:
    """Which frames (modulo SHADES) the pixels show, by their shade."""
    levels = frames.reshape(len(frames), -1).mean(axis=1)
    return [int(np.argmin([abs(level - shade(number)) for number in range(SHADES)])) for level in levels]


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """An image of that mode that no filter leaves as it is."""
    rng = np.random.default_rng(width * 1009 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims this size: enough for whoever reads headers, nothing for a decoder."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))

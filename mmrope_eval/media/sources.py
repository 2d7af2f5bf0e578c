"""What stands between a path and a decoder: regular files only, what a file is instead of a picture, a strict Pillow.

Every sentence made here is the same for the same fault, in every run and for every sample: no address, no byte count.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageFile, UnidentifiedImageError

from mmrope_eval.media.policy import MediaError
from mmrope_eval.words import flat

Result = TypeVar("Result")

HEAD_BYTES = 64
"""So much of a file is looked at to say what it is."""

_SHOWN = 23
"""Characters of a text file that are quoted: as many as `version https://git-lfs` has."""

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
"""How files begin that are pictures; one of these that Pillow cannot identify is damaged or cut off in its head."""


def require_regular(path: Path, what: str) -> None:
    """MediaError, `what` ("image", "video") named, unless `path` is a regular file or a link to one.

    A pipe would block for ever, a device may never end.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: the {what} cannot be read ({reason}).") from error
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise MediaError(f"{path}: the {what} cannot be read (it is {kind}, not a file).")


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def beginning(head: bytes) -> str:
    """A clause on what a file is, from its first bytes: "it begins with 'version https://git-lfs'"."""
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return f"it begins with {_quoted(head[4:12])}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    printable = re.match(rb"[\x20-\x7e]+", text)
    if printable and len(printable[0].strip()) > 1:
        return f"it begins with {_quoted(printable[0])}"
    return f"it begins with the bytes {head[:4].hex(' ')}"


def _quoted(text: bytes) -> str:
    return "'" + text[:_SHOWN].decode("ascii", "replace").rstrip() + "'"


def open_picture(data: bytes, work: Callable[[Image.Image], Result]) -> Result:
    """`work` on the opened picture, which ends in an error where the file ends before the picture does.

    A PNG is not refused for a wrong checksum on a chunk that its pixels do not need. Raises what Pillow and `work` do.
    """
    try:
        return open_strictly(data, work)
    except MediaError:
        raise
    except Exception:
        mended = with_right_checksums(data)
        if mended == data:
            raise
        return open_strictly(mended, work)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG with the checksums of its ancillary chunks (a small first letter) set right; all else as it is."""
    if not data.startswith(_PNG):
        return data
    mended, at = bytearray(data), len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if kind[:1].islower():
            struct.pack_into(">I", mended, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def open_strictly(data: bytes, work: Callable[[Image.Image], Result]) -> Result:
    """`work` on the opened picture, with Pillow refusing files that end before the picture does.

    `ImageFile.LOAD_TRUNCATED_IMAGES`, which importing lmms-eval switches on for the whole process, makes Pillow fill
    what is missing with grey and say nothing. The switch is off for as long as any thread is in here, and set back by
    the last one to leave. A reader that raises at the end of the file instead would refuse what decoders read to the
    end on purpose: JPEG 2000, PNG without its last chunk.
    """
    while True:
        with _strict():
            result = work(Image.open(io.BytesIO(data)))
            if not _lenient():
                return result
        # Some import switched it on in between: what was decoded may be filler.


_lock = threading.Lock()
_threads_inside = 0
_switch_before = False


@contextmanager
def _strict() -> Iterator[None]:
    global _threads_inside, _switch_before
    with _lock:
        _switch_before = _lenient() or (_threads_inside > 0 and _switch_before)
        _threads_inside += 1
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        with _lock:
            _threads_inside -= 1
            _switch_before = _switch_before or _lenient()
            ImageFile.LOAD_TRUNCATED_IMAGES = _switch_before and not _threads_inside


def _lenient() -> bool:
    return ImageFile.LOAD_TRUNCATED_IMAGES


def check_codestream(image: Image.Image, data: bytes) -> None:
    """OSError for JPEG 2000 without its end marker: OpenJPEG shows what tiles there are and grey for the others.

    Between the start and the end marker coded data never holds the bytes ff d9 (ISO/IEC 15444-1, B.10.1).
    """
    if image.format == "JPEG2000" and data.find(b"\xff\xd9", max(0, data.find(b"\xff\x4f\xff\x51"))) < 0:
        raise OSError("truncated codestream")


def picture_fault(error: BaseException, data: bytes) -> str:
    """A clause on why Pillow could not open or decode `data`, the same for all files with the same fault."""
    if isinstance(error, UnidentifiedImageError):
        webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
        if data.startswith(_PICTURES) or webp:
            return "not a complete, readable image (its head is damaged or cut off)"
        return f"not a picture ({beginning(data[:HEAD_BYTES])})"
    text = (str(error) or type(error).__name__).splitlines()[0]
    if "truncated" in text.lower() or isinstance(error, EOFError):
        text = "the file ends before the picture does"
    return f"not a complete, readable image ({_without_particulars(text)})"


def _without_particulars(text: str) -> str:
    """A library's words without addresses of objects and counts of bytes, which differ between equal faults."""
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "it", text)
    text = re.sub(r"\s*\bat 0x[0-9a-fA-F]+|\s*\([^()]*\b\d+ bytes?\b[^()]*\)", "", text)
    return flat(text)

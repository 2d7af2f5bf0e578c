"""Images and videos, decoded once, exactly as asked, with a note for everything that was lost on the way.

This is the module to import from; videos live in `video`, the disk cache in `cache`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mmrope_eval.media.cache import MediaCache
from mmrope_eval.media.policy import MEDIA_VERSION, MediaError, MediaPolicy, fit_size
from mmrope_eval.media.sources import check_codestream, open_picture, picture_fault, require_regular
from mmrope_eval.media.video import LoadedVideo, load_video, video_fingerprint
from mmrope_eval.messages import ImageSource, MediaFacts, VideoSource

if TYPE_CHECKING:
    from mmrope_eval.models.family import VisionGeometry

__all__ = ["LoadedImage", "LoadedVideo", "MediaCache", "MediaError", "MediaPolicy", "fingerprint", "load_image",
           "load_video"]  # fmt: skip

_ORIENTATION_TAG = 0x0112
_TWELVE_BITS = 4095
"""The brightest level of cameras and scanners that keep 12 bits in 16 without saying so."""


@dataclass(frozen=True)
class LoadedImage:
    """`pixels` is uint8 (height, width, 3) RGB, already at the size the vision encoder takes."""

    pixels: NDArray[np.uint8]
    facts: MediaFacts

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self.pixels.nbytes


def load_image(source: ImageSource, policy: MediaPolicy, geometry: VisionGeometry) -> LoadedImage:
    """Decode one image to RGB and resize it with Pillow's bicubic filter (the processors' own) where sizes demand it.

    EXIF orientation is applied; transparency is laid over `policy.background`; 16-bit greys are scaled to 8 bits. Of an
    animation the first frame is used. Raises MediaError for a missing, unreadable, truncated or oversized image.
    """
    name, data = _read(source)
    fingerprint = image_fingerprint(source.digest or hashlib.sha256(data).hexdigest(), policy, geometry)
    notes: list[str] = []
    image = _decode(name, data, policy, notes)
    factor = geometry.factor
    try:
        size = fit_size(*image.size, factor, policy.image_min_pixels, policy.image_max_pixels)
    except ValueError as error:
        raise MediaError(f"{name}: {error}, the limit of the models' resizing rule.") from error
    if size != image.size:
        notes.append(resize_note(image.size, size, policy.image_min_pixels, policy.image_max_pixels))
    pixels = np.array(image.resize(size, Image.Resampling.BICUBIC) if size != image.size else image)
    grid = (1, size[1] // geometry.patch_size, size[0] // geometry.patch_size)
    facts = MediaFacts(kind="image", fingerprint=fingerprint, source_size=image.size, used_size=size, grid_thw=grid,
                       tokens=grid[1] * grid[2] // geometry.merge_size**2, notes=tuple(notes))
    return LoadedImage(pixels, facts)


def image_fingerprint(digest: str, policy: MediaPolicy, geometry: VisionGeometry) -> str:
    """sha256 over an encoded image, by its own sha256, and all that decides what becomes of it."""
    key = [MEDIA_VERSION, "image", digest, policy.image_key(), geometry.factor]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def fingerprint(source: ImageSource | VideoSource, policy: MediaPolicy, geometry: VisionGeometry) -> str:
    """The fingerprint that an image or a video will have (`MediaFacts`), before it is decoded. Raises MediaError."""
    if isinstance(source, VideoSource):
        return video_fingerprint(source, policy, geometry)
    digest = source.digest or hashlib.sha256(_read(source)[1]).hexdigest()
    return image_fingerprint(digest, policy, geometry)


def image_size(source: ImageSource) -> tuple[int, int]:
    """(width, height) in pixels as an image's head says. Raises MediaError where there is none."""
    name, data = _read(source)
    try:
        return open_picture(data, lambda image: image.size)
    except Exception as error:
        raise MediaError(f"{name}: {picture_fault(error, data)}.") from error


def resize_note(source: tuple[int, int], used: tuple[int, int], min_pixels: int, max_pixels: int) -> str:
    """One sentence on a resize and its reason."""
    area = source[0] * source[1]
    why = "above" if area > max_pixels else "below" if area < min_pixels else ""
    limit = max_pixels if why == "above" else min_pixels
    reason = f"{why} the limit of {limit} pixels" if why else "sides rounded to whole merged patches"
    return f"resized {source[0]}x{source[1]} -> {used[0]}x{used[1]} ({reason})"


def _read(source: ImageSource) -> tuple[str, bytes]:
    if isinstance(source.data, bytes):
        return "image", source.data  # no length: the causes of one fault must be equal
    require_regular(source.data, "image")
    try:
        return str(source.data), source.data.read_bytes()
    except OSError as error:
        raise MediaError(f"{source.data}: the image cannot be read ({error.strerror or error}).") from error


def _decode(name: str, data: bytes, policy: MediaPolicy, notes: list[str]) -> Image.Image:
    """The upright RGB image; what was changed is appended to `notes`."""
    made: list[str] = []

    def whole(image: Image.Image) -> tuple[Image.Image, int]:
        made.clear()  # a second attempt begins anew
        return _load_whole(name, image, data, policy, made)

    try:
        image, orientation = open_picture(data, whole)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name}: too many pixels to decode ({error}).") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise MediaError(f"{name}: {picture_fault(error, data)}.") from error
    notes.extend(made)
    try:
        if image.getexif().get(_ORIENTATION_TAG) in range(2, 9):
            orientation = image.getexif()[_ORIENTATION_TAG]
            image = ImageOps.exif_transpose(image)
        if orientation in range(2, 9):
            notes.append(f"EXIF orientation {orientation} applied")
        return _to_rgb(name, image, policy.background, notes)
    except MediaError:
        raise
    except Exception as error:  # Pillow asserts that a palette is there, among other things
        paletted = image.mode in ("P", "PA")
        why = "its palette is missing or damaged" if paletted else f"{type(error).__name__}, mode {image.mode}"
        raise MediaError(f"{name}: the pixels cannot be converted to RGB ({why}).") from error


def _load_whole(name: str, image: Image.Image, data: bytes, policy: MediaPolicy,
                notes: list[str]) -> tuple[Image.Image, int]:
    """The first frame, decoded, and the EXIF orientation that decoding applies itself (1 for none)."""
    if image.width * image.height > policy.decode_max_pixels:
        raise MediaError(f"{name}: {image.width}x{image.height} is {image.width * image.height / 1e6:.0f} megapixels; "
                         f"the limit is {policy.decode_max_pixels / 1e6:g} (decode_max_pixels).")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames used")
        image.seek(0)
    # Pillow turns a TIFF upright while it decodes, and forgets that it did.
    orientation = image.getexif().get(_ORIENTATION_TAG, 1) if image.format == "TIFF" else 1
    check_codestream(image, data)
    image.load()
    return image, orientation


def _to_rgb(name: str, image: Image.Image, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    if image.mode == "F":
        raise MediaError(f"{name}: floating-point pixels have no agreed white; convert the image to 8 or 16 bits.")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise MediaError(f"{name}: grey levels from {levels.min()} to {levels.max()} exceed 16 bits.")
        notes.append("16-bit grey levels scaled to 8 bits")
        if 0 < levels.max() <= _TWELVE_BITS:
            notes.append(f"nearly black: the brightest level is {levels.max()} of 65535, as of 12 bits kept in 16")
        # 65535 / 255 = 257; adding half of it rounds to nearest.
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            notes.append("transparent pixels laid over the background #{:02x}{:02x}{:02x}".format(*background))
            canvas = Image.new("RGBA", layer.size, (*background, 255))
            layer = Image.alpha_composite(canvas, layer)
        return layer.convert("RGB")
    if image.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    return image if image.mode == "RGB" else image.convert("RGB")

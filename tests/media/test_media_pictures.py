"""Which picture files are taken: all that are whole, none that is cut off; and the words for those that are not."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import encoded
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo
from waiting import PATIENCE

from mmrope_eval.media.image import MediaError, MediaPolicy, load_image
from mmrope_eval.media.sources import open_strictly
from mmrope_eval.messages import ImageSource
from mmrope_eval.models.family import VisionGeometry

GEOMETRY = VisionGeometry(14, 2, 2)


def load(data: bytes | Path) -> Any:
    return load_image(ImageSource(data), MediaPolicy(image_min_pixels=1), GEOMETRY)


def fault(data: bytes | Path) -> str:
    with pytest.raises(MediaError) as caught:
        load(data)
    return str(caught.value)


def photo(mode: str = "RGB", width: int = 84, height: int = 56) -> Image.Image:
    """Smooth with some noise, so that every format has something to compress and nothing is flat."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3) + rng.integers(0, 60, (height, width, 3))
    return Image.fromarray((ramp % 256).astype(np.uint8)).convert(mode)


def animated(form: str) -> bytes:
    return encoded(photo(), form, save_all=True, append_images=[photo().rotate(180)])


JP2 = "JPEG2000"
FORMATS: dict[str, bytes] = {
    "jpeg": encoded(photo(), "JPEG"), "progressive": encoded(photo(), "JPEG", progressive=True),
    "cmyk": encoded(photo("CMYK"), "JPEG"), "png": encoded(photo()), "palette": encoded(photo("P")),
    "gif": encoded(photo("P"), "GIF"), "animation": animated("GIF"), "apng": animated("PNG"),
    "bmp": encoded(photo(), "BMP"), "webp": encoded(photo(), "WEBP"), "webp2": animated("WEBP"),
    "lossless": encoded(photo(), "WEBP", lossless=True), "jp2": encoded(photo(), JP2),
    "jp2-lossy": encoded(photo(), JP2, irreversible=True, quality_layers=[40, 20, 5]),
    "jp2-tiles": encoded(photo(), JP2, tile_size=(32, 32)), "j2k": encoded(photo(), JP2, no_jp2=True),
    "j2k-tiles": encoded(photo(), JP2, no_jp2=True, tile_size=(32, 32)), "avif": encoded(photo(), "AVIF"),
    "tga": encoded(photo(), "TGA"), "tga-rle": encoded(photo(), "TGA", compression="tga_rle"),
    "pcx": encoded(photo(), "PCX"), "sgi": encoded(photo(), "SGI"), "ppm": encoded(photo(), "PPM"),
    "qoi": encoded(photo(), "QOI"), "dds": encoded(photo(), "DDS"), "ico": encoded(photo(), "ICO"),
    "msp": encoded(photo("1"), "MSP"), "mpo": animated("MPO"),
    **{f"tiff-{name}": encoded(photo(), "TIFF", compression=name)
       for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")},
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["", "LOAD_TRUNCATED_IMAGES on"])
def lenient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Importing lmms-eval switches Pillow's leniency on for the whole process."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", request.param)
    return bool(request.param)


@pytest.mark.parametrize("name", FORMATS)
def test_whole_pictures_are_taken_and_cut_ones_never_filled(name: str, lenient: bool) -> None:
    """At some 40 lengths, among them where a tile or the coded data ends: refused, or every pixel is there."""
    data = FORMATS[name]
    whole = load(data).pixels
    lengths = {*range(1, len(data), max(1, len(data) // 30)), *range(max(1, len(data) - 8), len(data))}
    lengths |= {at for mark in (b"\xff\x90", b"IEND", b"\xff\xd9") if (at := data.rfind(mark)) > 0}
    taken = 0
    for length in sorted(lengths):
        try:
            pixels = load(data[:length]).pixels
        except MediaError:
            continue
        taken += 1
        assert np.array_equal(pixels, whole), length
    if name not in ("animation", "apng", "mpo"):  # of which the first frame is used
        assert taken <= 20
    assert lenient == ImageFile.LOAD_TRUNCATED_IMAGES


def test_valid_pictures_whose_decoders_read_to_the_end(lenient: bool) -> None:
    """The report's: JPEG 2000, and PNG without its last chunk."""
    halves = np.zeros((56, 84, 3), np.uint8)
    halves[:28], halves[28:] = (255, 0, 0), (0, 0, 255)
    picture = Image.fromarray(halves)
    for data in (encoded(picture, JP2), encoded(picture)[:-12], encoded(picture.convert("P"))[:-12]):
        assert np.array_equal(load(data).pixels, halves)
    assert not load(encoded(picture, JP2) + b"\0" * 9).facts.notes


@pytest.mark.parametrize("kind", [b"tEXt", b"pHYs", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_taken(kind: bytes, lenient: bool) -> None:
    """Pillow takes it with its leniency on, as in a run that has imported lmms-eval."""
    about = PngInfo()
    about.add_text("made", "here")
    data = bytearray(encoded(photo(), pnginfo=about, dpi=(72, 72)))
    at = data.index(kind)
    data[at + 4 + int.from_bytes(data[at - 4 : at])] ^= 255
    assert np.array_equal(load(bytes(data)).pixels, np.asarray(photo()))
    data[data.index(b"IHDR") + 20] ^= 255
    assert "not a complete, readable image" in fault(bytes(data))


def test_the_switch_stays_off_while_any_thread_decodes(lenient: bool) -> None:
    inside, go_on = threading.Barrier(3), threading.Event()
    switches = []

    def slow(image: Image.Image) -> None:
        if not go_on.is_set():
            inside.wait(PATIENCE)
            assert go_on.wait(PATIENCE)
        switches.append(ImageFile.LOAD_TRUNCATED_IMAGES)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(open_strictly, FORMATS["png"], slow) for _ in range(2)]
        inside.wait(PATIENCE)
        open_strictly(FORMATS["png"], lambda image: switches.append(ImageFile.LOAD_TRUNCATED_IMAGES))
        go_on.set()
        for future in waiting:
            future.result(PATIENCE)
    assert switches == [False] * 3 and lenient == ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_import_that_switches_it_on_in_between_costs_a_second_attempt(lenient: bool) -> None:
    seen = []

    def work(image: Image.Image) -> bool:
        seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)
        if len(seen) == 1:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
        return True

    assert open_strictly(FORMATS["png"], work) and seen == [False, False]
    assert ImageFile.LOAD_TRUNCATED_IMAGES


# ---- words


@pytest.mark.parametrize(("content", "clause"), [
    (b"", "not a picture (the file is empty)"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n",
     "not a picture (it begins with 'version https://git-lfs')"),
    (b"\n <!DOCTYPE html>\r\n<html>404</html>", "not a picture (it begins with '<!DOCTYPE html>')"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a picture (it begins with '<svg xmlns="),
    (b"\xef\xbb\xbfAccess denied", "not a picture (it begins with 'Access denied')"),
    (b"PK\x03\x04\x14\0\0\0", "not a picture (it begins with 'PK')"),
    (b"\x1f\x8b\x08\0abc", "not a picture (it begins with the bytes 1f 8b 08 00)"),
    (FORMATS["jpeg"][:400], "not a complete, readable image (the file ends before the picture does)"),
    (FORMATS["webp"][:14], "not a complete, readable image (its head is damaged or cut off)"),
])  # fmt: skip
def test_a_fault_has_the_same_words_every_time(content: bytes, clause: str, tmp_path: Path) -> None:
    assert fault(content) == fault(content)
    assert fault(content).startswith(f"image: {clause}")
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    assert fault(path).startswith(f"{path}: ") and clause in fault(path)


def test_equal_faults_of_different_pictures_are_grouped() -> None:
    cut = [FORMATS["jpeg"], encoded(photo(width=300, height=200), "JPEG"), FORMATS["png"], FORMATS["bmp"]]
    assert len({fault(data[: len(data) * 2 // 3]) for data in cut}) == 1
    pointers = [b"version https://git-lfs.github.com/spec/v1\noid sha256:%d\nsize %d\n" % (n, n) for n in (1, 2, 12345)]
    assert len({fault(data) for data in pointers}) == 1


@pytest.mark.parametrize(("make", "kind"), [
    (lambda path: os.mkfifo(path), "a named pipe"), (lambda path: path.mkdir(), "a folder"),
    (lambda path: path.symlink_to("/dev/zero"), "a device"), (lambda path: path.symlink_to("/dev/null"), "a device"),
])  # fmt: skip
def test_only_regular_files_are_opened(make: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    make(path)
    assert fault(path) == f"{path}: the image cannot be read (it is {kind}, not a file)."


def test_a_palette_picture_without_a_palette() -> None:
    assert "its palette is missing" in fault(encoded(Image.new("P", (64, 64)), "ICNS"))


# ---- notes


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_tiff_is_turned_upright_with_the_note_that_the_others_get(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    tiff, png = load(encoded(photo(), "TIFF", exif=exif)), load(encoded(photo(), exif=exif))
    assert tiff.facts.notes == png.facts.notes == (f"EXIF orientation {orientation} applied",)
    assert np.array_equal(tiff.pixels, png.pixels)


@pytest.mark.parametrize(("top", "noted"), [(4095, True), (1023, True), (65535, False), (5000, False), (0, False)])
def test_twelve_bits_in_sixteen_are_noted_as_nearly_black(top: int, noted: bool) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, top, 56 * 56).reshape(56, 56).astype(np.uint16)).save(buffer, "PNG")
    notes = load(buffer.getvalue()).facts.notes
    assert notes[0] == "16-bit grey levels scaled to 8 bits"
    assert (f"nearly black: the brightest level is {top} of 65535, as of 12 bits kept in 16" in notes) == noted

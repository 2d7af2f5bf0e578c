"""Images, and the arithmetic of sizes and budgets (videos: test_media_video.py, cache: test_media_cache.py)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copied_product import copy_product, said_by
from hypothesis import given
from hypothesis import strategies as st
from media_files import encoded, noise, png_header
from PIL import Image, ImageFile

from mmrope_eval.errors import UserError
from mmrope_eval.media.image import MediaError, MediaPolicy, load_image
from mmrope_eval.media.policy import MEDIA_VERSION, fit_size, spend_budget
from mmrope_eval.messages import ImageSource
from mmrope_eval.models.family import VisionGeometry

QWEN25: Any = VisionGeometry(14, 2, 2)
QWEN3: Any = VisionGeometry(16, 2, 2)
GEOMETRIES = pytest.mark.parametrize("geometry", [QWEN25, QWEN3], ids=["qwen2.5-vl", "qwen3-vl"])

sides = st.integers(1, 6000)
factors = st.sampled_from([28, 32])


def load(data: bytes | Path, geometry: Any = QWEN25, **policy: Any) -> Any:
    return load_image(ImageSource(data), MediaPolicy(**policy), geometry)


# ---- policy


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"image_min_pixels": 0}, "image_min_pixels"),
        ({"video_fps": float("nan")}, "video_fps"),
        ({"video_fps": -1.0}, "video_fps"),
        ({"video_max_tokens": 0}, "video_max_tokens"),
        ({"image_min_pixels": 1000, "image_max_pixels": 999}, "above image_max_pixels"),
        ({"frame_min_pixels": 10**9}, "above frame_max_pixels"),
        ({"video_min_frames": 9, "video_max_frames": 8}, "above video_max_frames"),
        ({"video_frames": 0}, "video_frames"),
        ({"background": (0, 0, 256)}, "background"),
    ],
)
def test_contradictory_policies_are_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        MediaPolicy(**fields)


# ---- the resizing rule


@given(sides, sides, factors, st.integers(1, 400), st.integers(0, 4000))
def test_sizes_are_whole_multiples_within_bounds(width: int, height: int, factor: int, low: int, span: int) -> None:
    minimum, maximum = low * factor**2, (low + span) * factor**2
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ValueError, match="200 times"):
            fit_size(width, height, factor, minimum, maximum)
        return
    used_width, used_height = fit_size(width, height, factor, minimum, maximum)
    assert used_width % factor == used_height % factor == 0
    assert min(used_width, used_height) >= factor
    if min(used_width, used_height) > factor and span >= 3 * math.isqrt(200 * low) + 200:
        # away from slivers, and with room for rounding up between the limits
        assert minimum <= used_width * used_height <= maximum


@given(st.integers(28, 3000), st.integers(28, 3000), factors)
def test_native_resolution_is_kept_to_the_nearest_multiple(width: int, height: int, factor: int) -> None:
    used = fit_size(width, height, factor, 1, 10**9)
    for side, used_side in zip((width, height), used, strict=True):
        assert abs(side - used_side) <= factor / 2 or used_side == factor


@given(st.integers(100, 3000), st.integers(100, 3000), factors, st.integers(64, 1280))
def test_aspect_ratio_survives_to_one_multiple(width: int, height: int, factor: int, cells: int) -> None:
    used_width, used_height = fit_size(width, height, factor, 4 * factor**2, cells * factor**2)
    if min(used_width, used_height) > factor:
        scale = math.sqrt(used_width * used_height / (width * height))
        assert abs(used_width - width * scale) <= 1.5 * factor * max(1, width / height)
        assert abs(used_height - height * scale) <= 1.5 * factor * max(1, height / width)


@given(sides, sides, factors, st.integers(1, 400), st.integers(0, 4000))
def test_the_rule_is_transformers_own(width: int, height: int, factor: int, low: int, span: int) -> None:
    """Oracle: smart_resize of transformers' Qwen2-VL image processor, which both families use for images."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    minimum, maximum = low * factor**2, (low + span) * factor**2
    try:
        theirs = smart_resize(height, width, factor, minimum, maximum)
    except ValueError:
        theirs = None
    try:
        ours = fit_size(width, height, factor, minimum, maximum)
    except ValueError:
        ours = None
    assert ours == (theirs and (theirs[1], theirs[0]))


@given(
    st.integers(1, 900),
    st.integers(16, 2000),
    st.integers(16, 2000),
    st.integers(1, 20000),
    st.sampled_from([QWEN25, QWEN3]),
)
def test_a_token_budget_is_never_exceeded_and_never_wasted(
    frames: int, width: int, height: int, budget: int, geometry: Any
) -> None:
    policy = MediaPolicy(video_max_tokens=budget)
    plan = spend_budget(frames, (width, height), policy, geometry)
    factor, patch = geometry.patch_size * geometry.merge_size, geometry.temporal_patch_size
    grids = plan.frames // patch
    columns, rows = plan.size[0] // factor, plan.size[1] // factor
    assert plan.frames % patch == 0
    assert plan.size == (columns * factor, rows * factor)
    assert plan.tokens == grids * columns * rows <= budget
    asked = math.ceil(frames / patch)
    if grids < asked:  # frames are given up only where a share would fall below the smallest frame
        assert (grids + 1) * policy.frame_min_pixels > budget * factor**2
    share = budget // grids
    native = round(width / factor) * round(height / factor)
    if columns * rows < min(native, policy.frame_max_pixels // factor**2):  # shrunk: one step larger must not fit
        limit = min(share, policy.frame_max_pixels // factor**2)
        assert (columns + 1) * (rows + 1) > limit


# ---- images


@GEOMETRIES
def test_an_image_arrives_at_native_resolution_with_its_facts(geometry: Any) -> None:
    factor = geometry.patch_size * 2
    picture = noise(10 * factor, 7 * factor)
    loaded = load(encoded(picture), geometry)
    assert loaded.pixels.dtype == np.uint8
    assert np.array_equal(loaded.pixels, np.asarray(picture))
    facts = loaded.facts
    assert (facts.kind, facts.source_size, facts.used_size) == ("image", picture.size, picture.size)
    assert (facts.grid_thw, facts.tokens, facts.notes) == ((1, 14, 20), 70, ())


@pytest.mark.parametrize(
    ("size", "policy", "used", "note"),
    [
        ((1600, 1200), {}, (1596, 1204), "resized 1600x1200 -> 1596x1204 (sides rounded to whole merged patches)"),
        ((600, 400), {"image_max_pixels": 78400}, (336, 224), "above the limit of 78400 pixels"),
        ((40, 30), {"image_min_pixels": 56 * 56}, (84, 56), "below the limit of 3136 pixels"),
    ],
)
def test_every_resize_is_noted(size: tuple[int, int], policy: dict[str, Any], used: tuple[int, int], note: str) -> None:
    loaded = load(encoded(noise(*size)), **policy)
    assert loaded.facts.used_size == used
    assert loaded.pixels.shape == (used[1], used[0], 3)
    assert len(loaded.facts.notes) == 1
    assert note in loaded.facts.notes[0]


def test_resizing_is_the_processors_bicubic_filter() -> None:
    """Oracle: torchvision's antialiased bicubic resize, which transformers' image processor applies."""
    import torch
    from torchvision.transforms.v2 import functional

    picture = noise(600, 400)
    loaded = load(encoded(picture), image_max_pixels=78400)
    tensor = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
    theirs = functional.resize(tensor, [224, 336], functional.InterpolationMode.BICUBIC, antialias=True)
    difference = np.abs(loaded.pixels.astype(int) - theirs.permute(1, 2, 0).numpy().astype(int))
    assert difference.max() <= 1


def half_transparent() -> bytes:
    picture = Image.new("RGBA", (56, 56), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 0), (0, 0, 28, 56))
    return encoded(picture)


def palette_with_transparency() -> bytes:
    picture = Image.new("P", (56, 56), 1)
    picture.putpalette([0, 0, 255, 255, 0, 0])
    picture.paste(0, (0, 0, 28, 56))
    return encoded(picture, transparency=0)


def deep_grey() -> bytes:
    ramp = np.linspace(0, 65535, 56 * 56).reshape(56, 56).astype(np.uint16)
    return encoded(Image.fromarray(ramp))


@pytest.mark.parametrize(
    ("data", "left", "right", "note"),
    [
        (half_transparent(), (255, 255, 255), (255, 0, 0), "laid over the background #ffffff"),
        (palette_with_transparency(), (255, 255, 255), (255, 0, 0), "laid over the background #ffffff"),
        (encoded(Image.new("CMYK", (56, 56), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), (255, 0, 0), "CMYK"),
        (encoded(Image.new("L", (56, 56), 77)), (77, 77, 77), (77, 77, 77), None),
        (encoded(Image.new("1", (56, 56), 1)), (255, 255, 255), (255, 255, 255), None),
        (encoded(Image.new("RGBA", (56, 56), (1, 2, 3, 255))), (1, 2, 3), (1, 2, 3), None),
        (deep_grey(), (0, 0, 0), None, "16-bit grey levels scaled to 8 bits"),
    ],
    ids=["rgba", "palette", "cmyk", "grey", "bilevel", "opaque rgba", "16 bits"],
)
def test_every_colour_mode_becomes_rgb(data: bytes, left: Any, right: Any, note: str | None) -> None:
    loaded = load(data)
    assert tuple(loaded.pixels[0, 0]) == left
    if right:
        assert tuple(loaded.pixels[55, 55]) == right
    else:
        assert tuple(loaded.pixels[55, 55]) == (255, 255, 255)  # 65535 is white, not an overflow
    assert [note in text for text in loaded.facts.notes] == ([True] if note else [])


def test_the_background_is_the_policys() -> None:
    assert tuple(load(half_transparent(), background=(0, 128, 0)).pixels[0, 0]) == (0, 128, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_noted(orientation: int) -> None:
    upright = np.asarray(noise(84, 56))
    # How the upright picture is stored under each orientation (Exif 2.3, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load(encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
    assert np.array_equal(loaded.pixels, upright)
    assert loaded.facts.source_size == (84, 56)
    assert loaded.facts.notes == (() if orientation == 1 else (f"EXIF orientation {orientation} applied",))


def test_of_an_animation_the_first_frame_is_used_and_noted() -> None:
    first, second = Image.new("P", (56, 56), 0), Image.new("P", (56, 56), 1)
    for frame in (first, second):
        frame.putpalette([10, 20, 30, 200, 100, 50])
    loaded = load(encoded(first, "GIF", save_all=True, append_images=[second]))
    assert tuple(loaded.pixels[0, 0]) == (10, 20, 30)
    assert loaded.facts.notes == ("first of 2 frames used",)


JPEG = encoded(noise(300, 200), "JPEG")
PNG = encoded(noise(300, 200))
HUGE = png_header(10_000, 10_000)
ENORMOUS = png_header(20_000, 10_000)


@pytest.mark.parametrize("lenient", [False, True], ids=["", "LOAD_TRUNCATED_IMAGES on"])
@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (JPEG[: len(JPEG) // 2], "not a complete, readable image"),
        (JPEG[:-2000], "not a complete, readable image"),
        (PNG[: len(PNG) // 2], "not a complete, readable image"),
        (PNG[:40], "not a complete, readable image"),
        (encoded(noise(300, 200), "BMP")[:5000], "not a complete, readable image"),
        (encoded(noise(300, 200), "GIF")[:5000], "not a complete, readable image"),
        (encoded(noise(300, 200), "WEBP")[:5000], "not a complete, readable image"),
        (encoded(noise(300, 200), "TIFF")[:5000], "not a complete, readable image"),
        (b"", "not a picture (the file is empty)"),
        (b"<html>404</html>", "not a picture (it begins with '<html>404</html>')"),
        (HUGE, "10000x10000 is 100 megapixels; the limit is 64 (decode_max_pixels)"),
        (ENORMOUS, "too many pixels to decode"),
        (encoded(noise(2, 600)), "more than 200 times as long as wide"),
    ],
    ids=[
        "jpeg",
        "jpeg tail",
        "png",
        "png header",
        "bmp",
        "gif",
        "webp",
        "tiff",
        "empty",
        "html",
        "100MP",
        "200MP",
        "thin",
    ],
)
def test_bad_images_are_refused_in_one_sentence(
    data: bytes, cause: str, lenient: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also with Pillow's leniency on, which importing lmms-eval switches on for the whole process."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    path = tmp_path / "picture.bin"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(MediaError) as caught:
            load(source)
        message = str(caught.value)
        assert cause in message
        assert "\n" not in message
    assert str(path) in message


def test_a_complete_jpeg_is_accepted_with_trailing_bytes() -> None:
    assert np.array_equal(load(JPEG + b"\0" * 100).pixels, load(JPEG).pixels)


def test_a_100_megapixel_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(MediaError, match="100 megapixels"):
        load(HUGE)


def test_a_missing_image_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.png: the image cannot be read \(No such file"):
        load(tmp_path / "gone.png")


IDENTITIES = """
from pathlib import Path
from types import SimpleNamespace as Some

from mmrope_eval.media.image import MediaPolicy, load_image
from mmrope_eval.messages import ImageSource
from mmrope_eval.models.family import VisionGeometry
from mmrope_eval.rope import load_variant
from mmrope_eval.run.cells import response_context

config = Some(options=Some(dtype="auto", head_dtype="auto", max_model_len=9))
print(response_context(config, Some(fingerprint="w"), load_variant("vanilla"), MediaPolicy()))
print(load_image(ImageSource(Path("picture.png")), MediaPolicy(), VisionGeometry(14, 2, 2)).facts.fingerprint)
"""


def test_answers_of_another_media_version_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    """Pictures and frames decoded otherwise: the media's fingerprints and the identity of every answer change."""
    product = copy_product(tmp_path, "configs")
    (product / "picture.png").write_bytes(PNG)
    before = said_by(product, IDENTITIES)
    policy = product / "mmrope_eval/media/policy.py"
    text = policy.read_text()
    assert text.count(f"MEDIA_VERSION = {MEDIA_VERSION}\n") == 1
    policy.write_text(text.replace(f"MEDIA_VERSION = {MEDIA_VERSION}", f"MEDIA_VERSION = {MEDIA_VERSION + 1}"))
    after = said_by(product, IDENTITIES)
    assert len(before) == len(after) == 2 and before[0] != after[0] and before[1] != after[1]


def test_fingerprints_follow_content_policy_and_geometry() -> None:
    base = load(PNG).facts.fingerprint
    assert load(PNG).facts.fingerprint == base
    assert load(PNG, video_fps=1.0).facts.fingerprint == base  # does not concern images
    others = [
        load(JPEG).facts.fingerprint,
        load(PNG, QWEN3).facts.fingerprint,
        load(PNG, image_max_pixels=78400).facts.fingerprint,
        load(PNG, background=(0, 0, 0)).facts.fingerprint,
    ]
    assert len({base, *others}) == 5

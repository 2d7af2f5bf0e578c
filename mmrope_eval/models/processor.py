"""Processor settings of a checkpoint: how pixels are normalised and cut, and the limits on pictures and videos.

Pictures and frames are resized before a processor sees them, so its limits have to be read and obeyed here. Files and
their order are transformers': the nested part of processor_config.json, then the file of its own, and for videos at
last the pictures' file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import ConfigPart, Count, JsonFiles, parse_part
from mmrope_eval.models.family import ModelFamily, VisionGeometry
from mmrope_eval.words import shown

IMAGE_FILE = "preprocessor_config.json"
VIDEO_FILE = "video_preprocessor_config.json"
NESTED_FILE = "processor_config.json"

BICUBIC = (3, "bicubic", "BICUBIC")

_LIMITS = {"size", "min_pixels", "max_pixels", "fps", "num_frames", "min_frames", "max_frames", "do_resize", "resample",
           "do_sample_frames", "cap_pixels_per_frame", "max_video_tokens", "image_processor_type",
           "video_processor_type", "processor_class"}  # fmt: skip

_SHARED = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
"""What a video file may leave out; transformers then takes its class's own, which are the pictures'."""

Pixels = Annotated[int, Field(gt=0, lt=2**53)]
Channels = Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=3, max_length=3)]


class ProcessorPart(ConfigPart):
    """What image and video processors have in common."""

    patch_size: Count
    temporal_patch_size: Count
    merge_size: Count
    image_mean: Channels
    image_std: Channels
    size: Mapping[str, Pixels | None] | None = None
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    processor_class: str | None = None
    do_resize: bool | None = None
    do_center_crop: bool | None = None
    resample: int | str | None = None

    def limits(self) -> tuple[int | None, int | None]:
        """(fewest, most) pixels; a number of its own goes before `size`, as in transformers."""
        size = self.size or {}
        low = (self.min_pixels, size.get("shortest_edge"), size.get("min_pixels"))
        high = (self.max_pixels, size.get("longest_edge"), size.get("max_pixels"))
        first, last = (next((value for value in given if value is not None), None) for given in (low, high))
        return first, last


class VideoPart(ProcessorPart):
    """A video processor's own."""

    fps: Annotated[float, Field(gt=0, le=1e6)] | None = None
    num_frames: Count | None = None
    min_frames: Count | None = None
    max_frames: Count | None = None
    cap_pixels_per_frame: bool | None = None
    max_video_tokens: Count | None = None


@dataclass(frozen=True)
class ProcessorSettings:
    """What a checkpoint's processor files say."""

    limits: Mapping[str, int | float]
    """Fields of `MediaPolicy` that they decide."""
    sources: Mapping[str, str]
    """By such a field: file and key."""
    pixels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a processor still does with pictures and frames that were resized before: normalise, cut into patches."""
    mended: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Files that an engine must see otherwise, with their content: names of classes that transformers dropped."""
    remarks: tuple[str, ...] = ()


def read_processor(folder: Path, files: JsonFiles, family: ModelFamily, geometry: VisionGeometry) -> ProcessorSettings:
    """Check a checkpoint's processor `files`. Raises `UserError` naming the file, the key and what to do."""
    image_place, image_raw = _part(folder, files, "image_processor", IMAGE_FILE)
    if image_raw is None:
        raise UserError(f"checkpoint '{folder}' has no {IMAGE_FILE}: copy it from the model that it was trained from, "
                        f"for example 'hf download {family.base} {IMAGE_FILE} --local-dir .'")  # fmt: skip
    _agree(folder, image_raw, files.get(IMAGE_FILE, {}))
    image = parse_part(ProcessorPart, image_raw, image_place)
    _check(image, image_place, geometry)
    low, high = _pixels(image, image_place, family)
    limits: dict[str, int | float] = {"image_min_pixels": low, "image_max_pixels": high}
    sources = dict.fromkeys(limits, image_place)
    video_place, video_raw = _part(folder, files, "video_processor", VIDEO_FILE)
    if video_raw is not None:
        unsaid = {name: getattr(image, name) for name in _SHARED}
        video = parse_part(VideoPart, {**unsaid, **video_raw}, video_place)
        _check(video, video_place, geometry)
        video_limits = _video_limits(video, image, video_place, family, geometry)
        limits |= video_limits
        sources |= dict.fromkeys(video_limits, video_place)
    pixels = {"image": _left_to_do(image_raw), "video": _left_to_do(image_raw if video_raw is None else video_raw)}
    mended, remarks = _mend(folder, files, family)
    return ProcessorSettings(limits, sources, pixels, mended, remarks)


def _left_to_do(part: Mapping[str, Any]) -> dict[str, Any]:
    """A processor's settings without its limits, which are obeyed before, and without the names of classes."""
    return {key: value for key, value in part.items() if key not in _LIMITS}


def _part(folder: Path, files: JsonFiles, kind: str, file: str) -> tuple[str, Mapping[str, Any] | None]:
    """Where a processor's settings stand, and what they are: the nested part before the file of its own."""
    inside = files.get(NESTED_FILE, {}).get(kind)
    if isinstance(inside, Mapping):
        return f"{folder / NESTED_FILE} ({kind})", inside
    return str(folder / file), files.get(file)


def _agree(folder: Path, read: Mapping[str, Any], image_file: Mapping[str, Any]) -> None:
    """Two copies of the pictures' settings must say the same, of what bears on pixels."""
    for key in (*_SHARED, "min_pixels", "max_pixels", "size"):
        if None not in (image_file.get(key), read.get(key)) and image_file[key] != read[key]:
            raise UserError(f"{folder}: {key} is {shown(image_file[key])} in {IMAGE_FILE} and {shown(read[key])} in "
                            f"{NESTED_FILE} (which transformers reads first): make them one")  # fmt: skip


def _check(part: ProcessorPart, place: str, geometry: VisionGeometry) -> None:
    config = {"patch_size": geometry.patch_size, "merge_size": geometry.merge_size,
              "temporal_patch_size": geometry.temporal_patch_size}  # fmt: skip
    names = {"merge_size": "spatial_merge_size"}
    for key, expected in config.items():
        if getattr(part, key) != expected:
            raise UserError(f"{place}: {key} is {getattr(part, key)}, and vision_config of config.json has "
                            f"{names.get(key, key)} {expected}: put the files of one model together")  # fmt: skip
    if not all(value > 0 for value in part.image_std):
        raise UserError(f"{place}: image_std must be three numbers above zero, not {part.image_std}")
    if part.size is not None and None in part.limits():
        raise UserError(f"{place}: size must say shortest_edge and longest_edge, in pixels, not "
                        f"{shown(dict(part.size))}")
    if part.do_resize is False:
        raise UserError(f"{place}: do_resize is false, but pictures of any size are asked here and have to be "
                        "resized: take it out")  # fmt: skip
    if part.do_center_crop:
        raise UserError(f"{place}: do_center_crop is true, which cuts pictures; this project shows them whole: take "
                        "it out")
    if part.resample is not None and part.resample not in BICUBIC:
        raise UserError(f"{place}: resample is {shown(part.resample)}, but pictures are resized with the bicubic "
                        "filter here: put 3 there")


def _pixels(part: ProcessorPart, place: str, family: ModelFamily) -> tuple[int, int]:
    low, high = (unsaid if given is None else given
                 for given, unsaid in zip(part.limits(), family.processor_limits, strict=True))
    if low > high:
        raise UserError(f"{place}: min_pixels (shortest_edge) is {low}, above max_pixels (longest_edge), {high}")
    return low, high


def _video_limits(video: VideoPart, image: ProcessorPart, place: str, family: ModelFamily, geometry: VisionGeometry
                  ) -> dict[str, int | float]:
    """Limits on videos as fields of `MediaPolicy`.

    A processor of transformers 4.52 or later that found no file for videos took the pictures' limits and saved them as
    the videos' own; such a copy says nothing.
    """
    names = {"fps": "video_fps", "num_frames": "video_frames", "min_frames": "video_min_frames",
             "max_frames": "video_max_frames"}  # fmt: skip
    limits: dict[str, int | float] = {ours: value for key, ours in names.items()
                                     if (value := getattr(video, key)) is not None}  # fmt: skip
    if video.limits() in ((None, None), image.limits()):
        return limits
    low, high = _pixels(video, place, family)
    if family.video.limits == "frame":
        limits |= {"frame_min_pixels": low, "frame_max_pixels": high}
        if video.cap_pixels_per_frame and video.max_video_tokens:
            limits["video_max_tokens"] = video.max_video_tokens
        return limits
    cell = geometry.factor**2
    limits |= {"video_max_tokens": max(1, high // (geometry.temporal_patch_size * cell)), "video_min_pixels": low,
              "frame_min_pixels": cell, "frame_max_pixels": max(cell, high)}  # fmt: skip
    if video.cap_pixels_per_frame and video.max_video_tokens:
        limits["frame_max_pixels"] = video.max_video_tokens * cell
    return limits


def _mend(folder: Path, files: JsonFiles, family: ModelFamily
          ) -> tuple[dict[str, Mapping[str, Any]], tuple[str, ...]]:
    """Processor files with classes that the installed transformers has. `UserError` for another family's class."""
    remarks: list[str] = []

    def mended(part: Mapping[str, Any], kind: str, file: str) -> Mapping[str, Any]:
        key, given, right = f"{kind}_type", part.get(f"{kind}_type"), present[kind]
        if given == right or (kind == "image_processor" and given in (f"{right}Fast", f"{right}Pil")):
            return part
        if given not in (*family.image_processors, *family.video.processors, None):
            raise UserError(f"{folder / file}: {key} is {shown(given)}, which is not {family.title}'s: put {right} "
                            "there, or copy the file from the model that it was trained from")  # fmt: skip
        remarks.append(f"{key} {'(absent)' if given is None else repr(given)} of {file} read as {right}")
        return {**part, key: right}

    present = {"image_processor": family.image_processors[0], "video_processor": family.video.processors[0]}
    alone = {"image_processor": IMAGE_FILE, "video_processor": VIDEO_FILE}
    read = {file: mended(files[file], kind, file) for kind, file in alone.items() if file in files}
    nested = files.get(NESTED_FILE, {})
    inside = {kind: mended(nested[kind], kind, NESTED_FILE) for kind in alone if isinstance(nested.get(kind), Mapping)}
    read[NESTED_FILE] = {**nested, **inside}
    return {file: content for file, content in read.items() if content != files.get(file, {})}, tuple(remarks)

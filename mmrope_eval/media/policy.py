"""How large, how many, how long: the limits on media, and the arithmetic that spends them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass

from mmrope_eval.errors import UserError
from mmrope_eval.models.families import DEFAULT_FAMILY
from mmrope_eval.util.config import sentence

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.models.family import ModelFamily, VisionGeometry

MAX_ASPECT_RATIO = 200
"""Qwen's own limit on long side / short side; beyond it the processors raise."""

MEDIA_VERSION = 2
"""Part of every fingerprint: raise it when decoding, selection or resizing changes its result."""


class MediaError(Exception):
    """An image or video that cannot be used; one sentence naming the file and the cause."""


_MOST = 2**53
"""Above every limit that means something, and still exact as a float."""
Count = Annotated[int, Field(gt=0, lt=_MOST)]
Channel = Annotated[int, Field(ge=0, le=255)]


@typed_dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class MediaPolicy:
    """Every limit that can make the model see something other than the source. Pixel counts are width * height.

    The defaults are those of the default family's published files and of its team's video sampling, except
    `video_max_tokens`, which bounds one whole video.
    Raises UserError for a limit that cannot be, and when limits contradict each other.
    """

    image_min_pixels: Count = DEFAULT_FAMILY.image_limits[0]
    image_max_pixels: Count = DEFAULT_FAMILY.image_limits[1]
    decode_max_pixels: Count = 64_000_000
    """Larger images and video frames are refused before anything is decoded."""
    background: Annotated[tuple[Channel, Channel, Channel], Field(strict=False)] = (255, 255, 255)
    """RGB that shows through transparent pixels."""
    video_fps: Annotated[float, Field(gt=0, lt=_MOST)] = 2.0
    """Frames per second to sample; `video_frames` takes precedence."""
    video_frames: Count | None = None
    """Exact number of frames, spread from the first to the last of the span."""
    video_min_frames: Count = 4
    video_max_frames: Count = 768
    video_max_tokens: Count = 16384
    """Vision tokens one video may take in the language model's sequence."""
    frame_min_pixels: Count = DEFAULT_FAMILY.video.frame_limits[0]
    frame_max_pixels: Count = DEFAULT_FAMILY.video.frame_limits[1]
    video_min_pixels: Count | None = None
    """Fewest pixels of all frames of a video together; frames of a smaller one are enlarged (Qwen3-VL's rule)."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, fields: Any, made: Callable[[Any], MediaPolicy]) -> MediaPolicy:
        try:
            return made(fields)
        except ValidationError as error:
            raise UserError(f"Media policy: {sentence(error, cls)}") from error

    def __post_init__(self) -> None:
        for low, high in (
            ("image_min_pixels", "image_max_pixels"), ("frame_min_pixels", "frame_max_pixels"),
            ("video_min_frames", "video_max_frames"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise UserError(f"Media policy: {low} is {getattr(self, low)}, above {high}, which is "
                                f"{getattr(self, high)}; lower the one or raise the other.")

    def image_key(self) -> tuple[object, ...]:
        """The fields that change what an image becomes."""
        return (self.image_min_pixels, self.image_max_pixels, self.background)

    def video_key(self) -> tuple[object, ...]:
        """The fields that change what a video becomes."""
        return (
            self.video_fps, self.video_frames, self.video_min_frames, self.video_max_frames, self.video_max_tokens,
            self.frame_min_pixels, self.frame_max_pixels,
            # Kept answers and frames of policies without this limit stay what they are called.
            *(() if self.video_min_pixels is None else (self.video_min_pixels,)),
        )  # fmt: skip

    def record(self) -> dict[str, object]:
        """The policy as part of an answer's identity: its fields, those without a limit left out."""
        return {name: value for name, value in dataclasses.asdict(self).items()
                if not (name == "video_min_pixels" and value is None)}  # fmt: skip


MEDIA_KEY = "mm_media"
"""Key of config.json by which a checkpoint carries a media policy: fields of `MediaPolicy`."""


def checkpoint_policy(checkpoint: Checkpoint, given: Mapping[str, Any], demanded: Mapping[str, Any] | None = None,
                      protocol: str = "") -> tuple[MediaPolicy, dict[str, str]]:
    """The media policy of a checkpoint, and by field where it was said.

    Its processor files, then its `mm_media`, then the fields `demanded` by this `protocol`, then those
    `given` on the command line; what nobody says is the family's or this project's default. Raises UserError for fields
    that there are not, and for limits that contradict each other.
    """
    declared, where = checkpoint.declared(MEDIA_KEY), f"{checkpoint.path / 'config.json'} ({MEDIA_KEY})"
    declared = {} if declared is None else declared
    if not isinstance(declared, Mapping):
        raise UserError(f"{where} must be a mapping of media limits, not {declared!r}")
    unsaid = dict(zip(("frame_min_pixels", "frame_max_pixels"), checkpoint.family.video.frame_limits, strict=True))
    fields = {**unsaid, **checkpoint.processor.limits, **declared, **(demanded or {}), **given}
    sources = {**checkpoint.processor.sources, **dict.fromkeys(declared, where),
               **dict.fromkeys(demanded or (), protocol), **dict.fromkeys(given, "the command line")}  # fmt: skip
    try:
        return MediaPolicy(**fields), sources
    except UserError as error:
        limits = [name for name in sources if name in str(error)]
        places = "; ".join(dict.fromkeys(f"{name} is from {sources[name]}" for name in limits))
        raise UserError(f"checkpoint '{checkpoint.path}': {error} ({places})" if places else str(error)) from error


def published_size(width: int, height: int, family: ModelFamily) -> tuple[int, int]:
    """What a family's published preprocessor makes of a picture, where no checkpoint says otherwise."""
    return fit_size(width, height, family.published.factor, *family.image_limits)


def largest_item(policy: MediaPolicy, geometry: VisionGeometry) -> int:
    """Vision tokens of the largest picture or video that a policy allows."""
    return max(policy.image_max_pixels // geometry.factor**2, policy.video_max_tokens)


def fit_size(width: int, height: int, factor: int, min_pixels: float, max_pixels: float) -> tuple[int, int]:
    """Qwen's smart-resize rule: (width, height) in pixels, both multiples of `factor`, near the aspect ratio.

    Round each side to the nearest multiple. Where the area then exceeds `max_pixels`, scale the source down to that
    area and round down (never below one multiple); where it falls short of `min_pixels`, scale up and round up.
    A very long image may still exceed `max_pixels`, since no side can be shorter than `factor`.
    Raises ValueError when one side is more than 200 times the other.
    """
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ValueError(f"{width}x{height} is more than {MAX_ASPECT_RATIO} times as long as wide")
    columns, rows = round(width / factor), round(height / factor)
    if columns * rows * factor * factor > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        columns = max(1, math.floor(width / shrink / factor))
        rows = max(1, math.floor(height / shrink / factor))
    elif columns * rows * factor * factor < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        columns = math.ceil(width * grow / factor)
        rows = math.ceil(height * grow / factor)
    return max(1, columns) * factor, max(1, rows) * factor


@dataclass(frozen=True)
class FramePlan:
    """How a token budget is spent: `frames` frames (a multiple of the temporal patch) of `size` pixels."""

    frames: int
    size: tuple[int, int]
    tokens: int


def spend_budget(frames: int, size: tuple[int, int], policy: MediaPolicy, geometry: VisionGeometry) -> FramePlan:
    """Spend `policy.video_max_tokens` on at most `frames` frames of a `size` (width, height) video.

    Frames come first: each temporal patch gets an even share of the budget, as many pixels as that buys within the
    per-frame limits. Only where the share falls below `frame_min_pixels` are frames given up. Never over budget.
    """
    factor = geometry.factor
    grids = math.ceil(frames / geometry.temporal_patch_size)
    affordable = policy.video_max_tokens * factor * factor // policy.frame_min_pixels
    grids = max(1, min(grids, affordable))
    share = policy.video_max_tokens / grids  # a fraction, as in transformers: rounding down comes with the sides
    max_pixels = min(policy.frame_max_pixels, share * factor * factor)
    even_share = math.ceil((policy.video_min_pixels or 0) / (grids * geometry.temporal_patch_size))
    min_pixels = min(max(policy.frame_min_pixels, even_share), max_pixels)
    width, height = fit_size(*size, factor, min_pixels, max_pixels)
    columns, rows = width // factor, height // factor
    # The rule may overshoot by a row or a column (rounding up, very long frames); a budget may not.
    while columns * rows > share:
        columns, rows = (columns - 1, rows) if columns >= rows else (columns, rows - 1)
    return FramePlan(grids * geometry.temporal_patch_size, (columns * factor, rows * factor), grids * columns * rows)

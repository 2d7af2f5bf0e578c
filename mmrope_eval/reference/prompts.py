"""Prompts for the reference: rendered, tokenised and laid out by transformers' processors alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmrope_eval.media.image import LoadedImage, LoadedVideo
from mmrope_eval.messages import MediaFacts
from mmrope_eval.models.families import family_of_config
from mmrope_eval.models.template import turns
from mmrope_eval.rope.segments import MediaSpan, Segment, Text, segments_from_tokens

if TYPE_CHECKING:
    from transformers import ProcessorMixin

MEDIA_TENSORS = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt with its media; the same for every variant."""

    token_ids: tuple[int, ...]
    segments: tuple[Segment, ...]
    media: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """Of pixel_values, image_grid_thw, pixel_values_videos and video_grid_thw those that the prompt has."""
    facts: tuple[MediaFacts, ...] = ()


def text_prompt(token_ids: Sequence[int]) -> Prompt:
    """A prompt of text tokens alone."""
    return Prompt(tuple(token_ids), (Text(len(token_ids)),))


def prepare(processor: ProcessorMixin, config: Any, content: Sequence[str | LoadedImage | LoadedVideo],
            system: str | None) -> Prompt:
    """Render one user turn with the processor's chat template and tokenise it; nothing is resized or sampled again."""
    messages = turns([_template_item(part) for part in content], system)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    images = [part for part in content if isinstance(part, LoadedImage)]
    videos = [part for part in content if isinstance(part, LoadedVideo)]
    inputs = processor(text=[text], return_tensors="pt", **_media_arguments(images, videos))
    token_ids = inputs["input_ids"][0].tolist()
    media = {name: inputs[name] for name in MEDIA_TENSORS if name in inputs}
    return Prompt(token_ids=tuple(token_ids),
                  segments=tuple(segments_from_tokens(token_ids, _spans(config, token_ids, media, videos))),
                  media=media, facts=tuple(part.facts for part in content if not isinstance(part, str)))


def _spans(config: Any, token_ids: Sequence[int], media: Mapping[str, Tensor],
           videos: Sequence[LoadedVideo]) -> list[MediaSpan]:
    merge = config.vision_config.spatial_merge_size
    family = family_of_config(config)
    rule, rate = family.video, family.tokens_per_second(config.vision_config.to_dict())
    steps = iter([(video.facts.seconds_per_grid or 1.0) * rate if rule.timed else 1.0 for video in videos])
    none = torch.empty(0, 3)
    pending = {
        config.image_token_id: iter(media.get("image_grid_thw", none).tolist()),
        config.video_token_id: iter(media.get("video_grid_thw", none).tolist()),
    }
    spans = []
    runs = _runs(token_ids, tuple(pending))
    for start, stop in runs:
        pad = token_ids[start]
        t, h, w = next(pending[pad])
        h, w = h // merge, w // merge
        # Where frames are blocks, a video is one run a frame, with a timestamp between them.
        missing = t * h * w - (stop - start)
        while missing > 0:
            first, stop = next(runs)
            missing -= stop - first
        step = next(steps) if pad == config.video_token_id else 1.0
        spans.append(MediaSpan(start, stop - start, t, h, w, step, pad))
    return spans


def _template_item(part: str | LoadedImage | LoadedVideo) -> dict[str, str]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image" if isinstance(part, LoadedImage) else "video"}


def _media_arguments(images: Sequence[LoadedImage], videos: Sequence[LoadedVideo]) -> dict[str, Any]:
    """Arguments of a transformers processor that make it take media as they are."""
    from PIL import Image
    from transformers.video_utils import VideoMetadata

    arguments: dict[str, Any] = {}
    if images:
        arguments["images"] = [Image.fromarray(image.pixels) for image in images]
        arguments["images_kwargs"] = {"do_resize": False}
    if videos:
        names = ("total_num_frames", "fps", "duration", "video_backend", "frames_indices")
        # The processor appends to the list of indices: each video gets a fresh one.
        metadata = [
            VideoMetadata(**{k: list(x) if k == "frames_indices" else x for k, x in v.metadata.items() if k in names})
            for v in videos
        ]
        arguments["videos"] = [video.frames for video in videos]
        arguments["videos_kwargs"] = {"video_metadata": metadata, "do_sample_frames": False, "do_resize": False}
    return arguments


def _runs(token_ids: Sequence[int], pads: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, stop) of every run of one media placeholder, in order."""
    start = 0
    for i in range(1, len(token_ids) + 1):
        if i == len(token_ids) or token_ids[i] != token_ids[start]:
            if token_ids[start] in pads:
                yield start, i
            start = i

"""Requests for tests of the live engine: small pictures and a short video, made here."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from media_files import noise, write_video
from PIL import Image

from mmrope_eval.engine.live import EngineOptions, LiveEngine
from mmrope_eval.media.image import MediaPolicy
from mmrope_eval.messages import Failure, Generation, ImageSource, Part, Request, Response, VideoSource

POLICY = MediaPolicy(image_max_pixels=150 * 28 * 28, video_max_tokens=240, frame_min_pixels=4 * 28 * 28)


def options(**changes: object) -> EngineOptions:
    """Settings under which a tiny engine starts in seconds."""
    settings: dict[str, object] = {"max_model_len": 1024, "kv_cache_gib": 0.1, "policy": POLICY, "max_num_seqs": 8}
    return EngineOptions(**{**settings, **changes})  # type: ignore[arg-type]


def picture(width: int, height: int) -> ImageSource:
    """An image whose content depends on its size."""
    buffer = io.BytesIO()
    image: Image.Image = noise(width, height)
    image.save(buffer, "PNG")
    return ImageSource(buffer.getvalue())


def clip(folder: Path) -> VideoSource:
    """3.6 seconds at 5 frames per second."""
    path = folder / "clip.mp4"
    if not path.exists():
        write_video(path, [200 * i for i in range(18)])
    return VideoSource(path)


def ask(name: str, *content: Part, max_tokens: int = 12, **generation: object) -> Request:
    """One request that also returns log-probabilities."""
    return Request(name, content, Generation(max_tokens, logprobs=True, **generation))  # type: ignore[arg-type]


def every_kind(folder: Path, max_tokens: int = 12) -> list[Request]:
    """Text, one image, two images, a video, and an image beside a video.

    Of so many tokens whatever they are: random weights may repeat one, which elsewhere is no answer.
    """
    contents: dict[str, tuple[Part, ...]] = {
        "text": ("Where is the red bicycle?",),
        "image": (picture(100, 75), "What is it?"),
        "two images": (picture(100, 75), "or", picture(60, 130), "?"),
        "video": (clip(folder), "What happens?"),
        "mixed": (picture(90, 90), clip(folder), "Does it appear?"),
    }
    return [ask(name, *content, max_tokens=max_tokens, ignore_eos=True) for name, content in contents.items()]


def answers(engine: LiveEngine, requests: Iterable[Request]) -> dict[str, Response]:
    """All responses by request; fails on the first failure."""
    response_by_id = {}
    for result in engine.stream(requests):
        assert isinstance(result, Response), result
        response_by_id[result.id] = result
    return response_by_id


def alone(engine: LiveEngine, requests: Iterable[Request]) -> dict[str, Response]:
    """The same, one request at a time: nothing else in the batch, so results are equal to the last bit."""
    return {request.id: answers(engine, [request])[request.id] for request in requests}


def outcomes(engine: LiveEngine, requests: Iterable[Request]) -> dict[str, Response | Failure]:
    """All outcomes by request."""
    return {result.id: result for result in engine.stream(requests)}

"""What the shipped task files name for lmms-eval's own evaluator: `doc_to_visual`, `doc_to_text`, `doc_to_target`.

A run uses the functions of `task.template` and `task.parts` directly.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.data.media_files import MediaFolder
from mmrope_eval.messages import ImageSource, VideoSource
from mmrope_eval.models.families import asked_as
from mmrope_eval.task.parts import build_parts, read_image, with_subtitles
from mmrope_eval.task.template import Doc, build_target, render


def doc_to_visual(doc: Doc, lmms_eval_specific_kwargs: Mapping[str, Any]) -> list[Any]:
    """lmms-eval: decoded RGB pictures, or the path of the video file."""
    from PIL import Image

    media, files = _media(lmms_eval_specific_kwargs)
    # Under lmms-eval the pictures go before the text, wherever a placeholder names them.
    prompt = render(lmms_eval_specific_kwargs["prompt"], doc) if "placeholder" in media else ""
    shown: list[Any] = []
    for part in build_parts(media, prompt, doc, files):
        if isinstance(part, ImageSource):
            data = io.BytesIO(part.data) if isinstance(part.data, bytes) else part.data
            shown.append(Image.open(data).convert("RGB"))
        elif isinstance(part, VideoSource):
            shown.append(str(part.path))
    return shown


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: Mapping[str, Any]) -> str:
    """lmms-eval: the prompt."""
    media, files = _media(lmms_eval_specific_kwargs)
    return render(lmms_eval_specific_kwargs["prompt"], with_subtitles(media, doc, files))


def _media(kwargs: Mapping[str, Any]) -> tuple[Mapping[str, Any], MediaFolder | None]:
    media, roots = kwargs["media"], kwargs.get("media_roots")
    return media, MediaFolder(tuple(map(Path, roots)), tuple(media.get("folders", ()))) if roots else None


def doc_to_target(doc: Doc, model_specific_target_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """lmms-eval: the scorer's target, with the scorer's name in it for `metrics.Metric`. Boxes need the size of the
    resized picture; under lmms-eval nobody reports it, so it follows from the default media policy. `evaluate.py` uses
    the size that was really fed."""
    kwargs = model_specific_target_kwargs
    target = build_target(kwargs["target"], doc)
    if kwargs["scorer"] == "box":
        target |= {"coordinates": kwargs["coordinates"], **_sizes(doc, kwargs.get("image", "image"), kwargs["family"])}
    return {"scorer": kwargs["scorer"], **target}


def _sizes(doc: Doc, field: str, family: str) -> dict[str, tuple[int, int]]:
    from PIL import Image

    from mmrope_eval.media.policy import published_size

    source = read_image(doc, field).data
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
        size = picture.size
    return {"source_size": size, "used_size": published_size(*size, asked_as(family))}

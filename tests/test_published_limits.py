"""Under the published processor settings of every family, media get the sizes that transformers' own processors give."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from media_files import encoded
from PIL import Image

from mmrope_eval.demo.checkpoints import FAMILIES, Family, build_checkpoint
from mmrope_eval.engine.media import load_image
from mmrope_eval.engine.media_policy import checkpoint_policy, spend_budget
from mmrope_eval.engine.types import ImageSource
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint

PIXELS = {"min_pixels": 3136, "max_pixels": 12845056}
SIZE = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}}
PUBLISHED: Mapping[Family, Mapping[str, Mapping[str, Any]]] = {
    "qwen2-vl": {"preprocessor_config.json": PIXELS},
    "qwen2.5-vl": {"preprocessor_config.json": PIXELS},
    "qwen3-vl": {
        "preprocessor_config.json": SIZE,
        "video_preprocessor_config.json": {"size": {"shortest_edge": 4096, "longest_edge": 25165824}},
    },
}
"""What the files of Qwen/Qwen2-VL-7B-Instruct, Qwen2.5-VL-7B-Instruct and Qwen3-VL-8B-Instruct say of sizes."""

PICTURES = [(112, 112), (1, 1), (3, 2), (28, 28), (20, 45), (55, 57), (84, 84), (256, 256), (640, 480), (1275, 1651),
            (4096, 4096), (6000, 4200), (28, 5600), (5600, 28), (2000, 10), (7, 1400), (8000, 64)]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, Checkpoint]:
    """Tiny checkpoints of all families whose processor files say what the published ones do."""
    root, found = tmp_path_factory.mktemp("published"), {}
    for family in FAMILIES:
        folder = build_checkpoint(family, root / family)
        if "video_preprocessor_config.json" not in PUBLISHED[family]:
            (folder / "video_preprocessor_config.json").unlink(missing_ok=True)
        for name, limits in PUBLISHED[family].items():
            given = json.loads((folder / name).read_text())
            kept = {key: value for key, value in given.items() if key not in ("size", "min_pixels", "max_pixels")}
            (folder / name).write_text(json.dumps({**kept, **limits}))
        found[family] = read_checkpoint(folder)
    return found


@pytest.fixture(scope="module")
def processors(published: Mapping[Family, Checkpoint]) -> Mapping[Family, Any]:
    import transformers

    return {family: transformers.AutoProcessor.from_pretrained(one.served) for family, one in published.items()}


@pytest.mark.parametrize("size", PICTURES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_has_the_grid_that_transformers_makes_of_it(
    published: Mapping[Family, Checkpoint], processors: Mapping[Family, Any], family: Family, size: tuple[int, int]
) -> None:
    checkpoint, picture = published[family], Image.new("RGB", size, (90, 120, 30))
    policy, _ = checkpoint_policy(checkpoint, {})
    ours = load_image(ImageSource(encoded(picture)), policy, checkpoint.geometry).facts
    theirs = processors[family].image_processor(images=[picture], return_tensors="pt")["image_grid_thw"]
    assert ours.grid_thw == tuple(theirs[0].tolist())


def test_limits_of_pictures_are_the_files_own(published: Mapping[Family, Checkpoint]) -> None:
    for family, (low, high) in {"qwen2-vl": (3136, 12845056), "qwen2.5-vl": (3136, 12845056),
                                "qwen3-vl": (65536, 16777216)}.items():  # fmt: skip
        policy, sources = checkpoint_policy(published[family], {})  # type: ignore[index]
        assert (policy.image_min_pixels, policy.image_max_pixels) == (low, high)
        assert sources["image_max_pixels"].endswith("preprocessor_config.json")
        assert published[family].family.image_limits == (low, high)  # type: ignore[index]


# --- Qwen3-VL's limit on all frames of a video together -------------------------------------------------------------

FRAMES = (2, 4, 6, 10, 14, 32, 50, 100, 128, 250, 256, 512, 700, 768)
FRAME_SIZES = ((64, 48), (128, 128), (320, 240), (640, 360), (854, 480), (1280, 720), (1920, 1080), (1080, 1920),
               (3840, 2160), (2000, 100))  # fmt: skip
SMALLER = {(14, (3840, 2160)), (50, (854, 480)), (100, (1280, 720)), (250, (640, 360)), (250, (1080, 1920))}


def sizes(checkpoint: Checkpoint, frames: int, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) by us and by transformers."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

    policy, _ = checkpoint_policy(checkpoint, {})
    plan = spend_budget(frames, size, policy, checkpoint.geometry)
    assert plan.frames == frames
    height, width = smart_resize(frames, size[1], size[0], 2, 32, 4096, 25165824)
    return plan.size, (width, height)


@pytest.mark.parametrize("size", FRAME_SIZES, ids=str)
def test_a_video_has_the_size_that_transformers_gives_it(
    published: Mapping[Family, Checkpoint], size: tuple[int, int]
) -> None:
    for frames in FRAMES:
        ours, theirs = sizes(published["qwen3-vl"], frames, size)
        print(frames, size, ours, theirs)

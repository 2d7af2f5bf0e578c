"""Under the published processor settings of every family, media get the sizes that transformers' processors give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from media_files import encoded
from PIL import Image

from mmrope_demo.checkpoints import FAMILIES, Family, build_checkpoint
from mmrope_eval.media.image import load_image
from mmrope_eval.media.policy import checkpoint_policy, spend_budget
from mmrope_eval.messages import ImageSource
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
    root, checkpoints = tmp_path_factory.mktemp("published"), {}
    for family in FAMILIES:
        folder = build_checkpoint(family, root / family)
        if "video_preprocessor_config.json" not in PUBLISHED[family]:
            (folder / "video_preprocessor_config.json").unlink(missing_ok=True)
        for name, limits in PUBLISHED[family].items():
            given = json.loads((folder / name).read_text())
            kept = {key: value for key, value in given.items() if key not in ("size", "min_pixels", "max_pixels")}
            (folder / name).write_text(json.dumps({**kept, **limits}))
        checkpoints[family] = read_checkpoint(folder)
    return checkpoints


@pytest.fixture(scope="module")
def processors(published: Mapping[Family, Checkpoint]) -> Mapping[Family, Any]:
    import transformers

    from_pretrained = transformers.AutoProcessor.from_pretrained
    return {family: from_pretrained(checkpoint.served) for family, checkpoint in published.items()}


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

MOST = 25165824
FRAMES = (2, 4, 6, 10, 14, 32, 50, 100, 128, 250, 256, 512, 700, 768)
FRAME_SIZES = ((64, 48), (128, 128), (320, 240), (640, 360), (854, 480), (1280, 720), (1920, 1080), (1080, 1920),
               (3840, 2160), (2000, 100))  # fmt: skip


def both(checkpoint: Checkpoint, frames: int, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of a frame by us and by transformers' rule."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

    policy, _ = checkpoint_policy(checkpoint, {})
    plan = spend_budget(frames, size, policy, checkpoint.geometry)
    assert plan.frames == frames, "no frame is given up for the budget"
    height, width = smart_resize(frames, size[1], size[0], 2, 32, 4096, MOST)
    return plan.size, (width, height)


@pytest.mark.parametrize("size", FRAME_SIZES, ids=str)
def test_a_video_has_the_size_that_transformers_gives_it(
    published: Mapping[Family, Checkpoint], size: tuple[int, int]
) -> None:
    sizes = {frames: both(published["qwen3-vl"], frames, size) for frames in FRAMES}
    assert {frames: ours for frames, (ours, _) in sizes.items()} == {f: theirs for f, (_, theirs) in sizes.items()}


@pytest.mark.parametrize("frames", [2, 4, 14, 34])
@pytest.mark.parametrize("size", [(40, 50), (320, 240), (854, 480), (1920, 1080)], ids=str)
def test_the_processor_itself_gives_that_grid(
    published: Mapping[Family, Checkpoint], processors: Mapping[Family, Any], size: tuple[int, int], frames: int
) -> None:
    width, height = both(published["qwen3-vl"], frames, size)[0]
    video = torch.zeros(1, dtype=torch.uint8).expand(frames, 3, size[1], size[0])
    theirs = processors["qwen3-vl"].video_processor(videos=[video], do_sample_frames=False, return_tensors="pt")
    assert theirs["video_grid_thw"][0].tolist() == [frames // 2, height // 16, width // 16]


@given(st.integers(1, 384), st.integers(32, 4000), st.integers(32, 4000))
def test_sizes_differ_only_where_transformers_goes_over_its_own_budget(
    published: Mapping[Family, Checkpoint], grids: int, width: int, height: int
) -> None:
    """By design: its frames, never thinner than one cell, may be too many tokens where they are very long."""
    if max(width, height) > 200 * min(width, height):
        return
    ours, theirs = both(published["qwen3-vl"], 2 * grids, (width, height))
    assert 2 * grids * ours[0] * ours[1] <= MOST
    if 2 * grids * theirs[0] * theirs[1] <= MOST:
        assert ours == theirs
    else:
        assert ours[0] * ours[1] < theirs[0] * theirs[1]


def test_an_odd_number_of_frames_counts_with_its_repeated_last_one(published: Mapping[Family, Checkpoint]) -> None:
    """transformers resizes five frames and then repeats the fifth: the six that the model sees are over budget."""
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

    policy, _ = checkpoint_policy(published["qwen3-vl"], {})
    plan = spend_budget(5, (3840, 2160), policy, published["qwen3-vl"].geometry)
    theirs = smart_resize(5, 2160, 3840, 2, 32, 4096, MOST)
    assert plan.frames == 6
    assert 6 * plan.size[0] * plan.size[1] <= MOST < 6 * theirs[0] * theirs[1]

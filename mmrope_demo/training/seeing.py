"""Pixels for the vision encoder, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmrope_demo.training.lessons import Lessons
from mmrope_demo.training.recipe import GEOMETRY
from mmrope_eval.util.files import whole

if TYPE_CHECKING:
    import torch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
CELL = GEOMETRY.merge_size**2
"""Patches of one merged cell."""


def patches(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Frames (2t, side, side, 3) as Qwen2.5-VL's processor hands them over: (t * (side / 14)^2, 3 * 2 * 14 * 14)."""
    count, side = frames.shape[:2]
    p, m, f = GEOMETRY.patch_size, GEOMETRY.merge_size, GEOMETRY.temporal_patch_size
    values = (frames.astype(np.float32) / np.float32(255) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    blocks = values.reshape(count // f, f, side // p // m, m, p, side // p // m, m, p, 3)
    ordered: npt.NDArray[np.float32] = np.ascontiguousarray(blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7))
    return ordered.reshape(-1, 3 * f * p * p)


def group_frames(lessons: Lessons, index: int) -> npt.NDArray[np.uint8]:
    """What a group shows, a whole number of frame pairs; a picture is shown twice."""
    group = lessons.groups[index]
    if not lessons.video:
        return np.repeat(lessons.frames[group.start : group.start + 1], GEOMETRY.temporal_patch_size, 0)
    return np.asarray(lessons.frames[group.start : group.start + group.t * GEOMETRY.temporal_patch_size])


def encoder_input(lessons: Lessons, groups: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(pixel values, grid_thw) of some groups, in order."""
    import torch

    pixels = np.concatenate([patches(group_frames(lessons, index)) for index in groups])
    m = GEOMETRY.merge_size
    grids = [(lessons.groups[i].t, lessons.groups[i].h * m, lessons.groups[i].w * m) for i in groups]
    return torch.from_numpy(pixels), torch.tensor(grids)


def before_connector(visual: Any, pixels: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
    """The encoder's output before its connector, (patches, hidden), in the order of the patches."""
    kept: list[torch.Tensor] = []
    handle = visual.merger.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    try:
        visual(pixels, grid_thw=grids)
    finally:
        handle.remove()
    return kept[0]


def features(visual: Any, lessons: Lessons, path: Path, batch: int = 32) -> npt.NDArray[np.float16]:
    """`before_connector` of all groups, float16 (patches, hidden), kept in `path` and memory-mapped."""
    import torch

    if not path.is_file():
        made = []
        with torch.inference_mode():
            for start in range(0, len(lessons.groups), batch):
                indices = range(start, min(start + batch, len(lessons.groups)))
                made.append(before_connector(visual, *encoder_input(lessons, indices)).to(torch.float16).numpy())
        with whole(path) as draft, draft.open("wb") as stream:
            np.save(stream, np.concatenate(made))
    return np.asarray(np.load(path, mmap_mode="r"))


def patch_starts(lessons: Lessons) -> npt.NDArray[np.int64]:
    """Where each group's patches begin among all, and the end."""
    counts = [group.t * group.h * group.w * CELL for group in lessons.groups]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

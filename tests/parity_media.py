"""Pictures and videos already at the size that the tiny checkpoints' vision encoders take."""

from __future__ import annotations

import numpy as np

from mmrope_eval.media.image import LoadedImage, LoadedVideo
from mmrope_eval.messages import MediaFacts

PATCH = {"qwen2.5-vl": 14, "qwen3-vl": 16}


def texture(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (frames, height, width, 3): coarse random blobs that drift, unlike in every place and frame."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    waves = sum(
        np.sin(0.7 * a * t + b * y / 9 + c * x / 9 + d)[..., None] * np.array([e, f, g])
        for a, b, c, d, e, f, g in rng.normal(size=(6, 7))
    )
    drawn: np.ndarray = np.clip(127 + 45 * waves, 0, 255).astype(np.uint8)
    return drawn


def image(family: str, rows: int, columns: int, seed: int = 0) -> LoadedImage:
    """An image of rows x columns merged grid cells."""
    cell = 2 * PATCH[family]
    pixels = texture(1, rows * cell, columns * cell, seed)[0]
    facts = MediaFacts("image", str(seed), pixels.shape[1::-1], pixels.shape[1::-1], (1, 2 * rows, 2 * columns), rows)
    return LoadedImage(pixels, facts)


def video(family: str, frames: int, rows: int, columns: int, *, interval: float = 0.5, seed: int = 0) -> LoadedVideo:
    """A video whose frames (an even number) lie `interval` seconds apart; every fifth frame of the source was used."""
    cell = 2 * PATCH[family]
    pixels = texture(frames, rows * cell, columns * cell, seed)
    metadata = {
        "fps": 5 / interval,
        "total_num_frames": 5 * frames,
        "duration": frames * interval,
        "frames_indices": [5 * i for i in range(frames)],
        "video_backend": "pyav",
        "do_sample_frames": False,
    }
    facts = MediaFacts(
        kind="video",
        fingerprint=str(seed),
        source_size=pixels.shape[2:0:-1],
        used_size=pixels.shape[2:0:-1],
        grid_thw=(frames // 2, 2 * rows, 2 * columns),
        tokens=frames // 2 * rows * columns,
        seconds_per_grid=2 * interval,
    )
    return LoadedVideo(pixels, metadata, facts)

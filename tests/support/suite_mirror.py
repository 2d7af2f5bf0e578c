"""A miniature mirror in the hub's layout for tests of the suite: a few rows of each dataset, in its true columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from media_files import SAME_FILE, SAME_STREAM
from PIL import Image

from mmrope_eval.data.lmudata import features
from mmrope_synth.schemas import CHARADES_FIELDS, CHARTQA_FIELDS, REFCOCO_FIELDS

TASKS = ("refcoco_val", "chartqa", "charades_sta")
"""What `build` makes the data of: boxes, text and spans of time, on pictures and on videos."""


def png(seed: int, size: tuple[int, int] = (96, 64)) -> bytes:
    """A noisy picture, different for every seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize(size).save(out, "PNG")
    return out.getvalue()


def jpeg(seed: int, size: tuple[int, int] = (96, 64)) -> bytes:
    """The same as a JPEG."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png(seed, size))).save(out, "JPEG")
    return out.getvalue()


def write_video(path: Path, *, frames: int = 16, fps: int = 8, size: tuple[int, int] = (64, 48), seed: int = 0) -> None:
    """An mp4 of noise."""
    import av

    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=SAME_FILE) as container:
        stream = container.add_stream("mpeg4", rate=fps, options=SAME_STREAM)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            pixels = np.array(Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize(size))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def write_split(folder: Path, split: str, rows: list[dict[str, Any]], features: Any) -> None:
    """One parquet file, named as the hub names them."""
    from datasets import Dataset

    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = Dataset.from_list(rows, features=features)
    table.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))


def refcoco(folder: Path, rows: list[tuple[bytes, list[str], list[float]]], split: str = "val") -> None:
    """RefCOCO rows from (image, expressions, [x, y, w, h])."""
    write_split(folder, split, [
        {"question_id": str(i), "image": {"bytes": data, "path": None}, "question": "describe the region",
         "answer": texts, "segmentation": [0.0], "bbox": box, "iscrowd": 0, "file_name": f"{i}.jpg"}
        for i, (data, texts, box) in enumerate(rows)
    ], features(REFCOCO_FIELDS))


def chartqa(folder: Path, rows: list[tuple[bytes, str, str, str]]) -> None:
    """ChartQA rows from (image, question, answer, type)."""
    write_split(folder, "test", [
        {"type": kind, "question": question, "answer": answer, "image": {"bytes": data, "path": None}}
        for data, question, answer, kind in rows
    ], features(CHARTQA_FIELDS))


def charades(folder: Path, rows: list[tuple[str, str, list[float]]]) -> None:
    """Charades-STA rows from (video, caption, [start, end])."""
    moments = [{"video": video, "caption": caption, "timestamp": span} for video, caption, span in rows]
    write_split(folder, "test", moments, features(CHARADES_FIELDS))


def build(root: Path, *, n: int = 6) -> Path:
    """A good mirror: `n` objects with two expressions each, `n` charts, `n` captions over two videos."""
    refcoco(root / "lmms-lab-encoder/RefCOCO",
            [(png(i), [f"left thing {i}", f"the thing number {i}"], [10.0, 8.0, 40.0, 30.0]) for i in range(n)])
    chartqa(root / "lmms-lab-encoder/ChartQA",
            [(png(100 + i), f"What is bar {i}?", str(i * 10), "human_test" if i % 2 else "augmented_test")
             for i in range(n)])
    videos = root / "lmms-eval/charades_sta"
    charades(videos, [(f"V{i % 2}.mp4", f"person opens door {i}", [0.5, 9.5]) for i in range(n)])
    for i in range(2):
        write_video(videos / "Charades_v1_480" / f"V{i}.mp4", seed=i)
    return root

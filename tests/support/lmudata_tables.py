"""The miniature world as VLMEvalKit keeps its benchmarks: LMUData with TSV files.

Written after ms-vlmeval 0.0.20 and not after our reader: names of files and columns by its data set classes, what its
prompts and scorers expect of them, RefCOCO by a row in its issue 1330, RealWorldQA's columns and MMMU's by readers of
the files, BLINK's tasks by the scores in its issue 649 (what stands in BLINK's `question` was not seen). pandas writes
them, as VLMEvalKit does.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmrope_synth.schemas import TABLES

Row = dict[str, Any]
INSTRUCTIONS = (
    "\nPlease answer directly with only the letter of the correct option and nothing else.",
    "\nPlease answer directly with a single word or number.",
)
WHERE = "Please provide the bounding box coordinate of the region this sentence describes"
REFCOCO = {"refcoco": "RefCOCO", "refcocoplus": "RefCOCO+", "refcocog": "RefCOCOg"}
PLACES = {"val": "val", "test": "test", "testA": "test-A", "testB": "test-B"}
FOLDERS = {"Video-MME": "datasets--lmms-lab--Video-MME", "MLVU_MCQ": "datasets--MLVU--MVLU",
           "MVBench_MP4": "datasets--OpenGVLab--MVBench/snapshots/0123abc"}  # fmt: skip
"""VLMEvalKit writes these tables into the hub's cache, which many have moved into LMUData."""


def hub_rows(world: Path, column: str) -> list[Row]:
    """The rows of a column, one configuration after the other."""
    import pyarrow.parquet as pq

    table = TABLES[column]
    folder = world / table.dataset
    paths = [folder / config / Path(table.path).name for config in table.configs.values()] or [folder / table.path]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def base64_of(picture: Mapping[str, Any]) -> str:
    return base64.b64encode(picture["bytes"]).decode()


class Once:
    """VLMEvalKit's way to save space: a picture that another row has is that row's index."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}

    def __call__(self, index: Any, text: str) -> str:
        holder = self.first.setdefault(text, str(index))
        return text if holder == str(index) else holder


def lettered(options: list[str]) -> Row:
    return dict(zip(string.ascii_uppercase, options, strict=False))


def mmmu(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        pictures = [base64_of(row[f"image_{n}"]) for n in range(1, 8) if row[f"image_{n}"]]
        made = {"id": row["id"], "index": index, "question": row["question"], "split": "validation",
                **dict.fromkeys("ABCDEFGHI"), **lettered(ast.literal_eval(row["options"])), "answer": row["answer"],
                "question_type": row["question_type"],
                "image": pictures[0] if len(pictures) == 1 else str(pictures),
                "image_path": str([f"{row['id']}_{n + 1}.jpg" for n in range(len(pictures))]),
                "category": row["id"].split("_")[1], "l2-category": row["subfield"]}  # fmt: skip
        yield {**made, "id": made["id"].replace("validation", "dev"), "index": 10_000 + index, "split": "dev"}
        yield made


def mmbench(rows: list[Row]) -> Iterator[Row]:
    once = Once()
    for row in rows:
        texts = {name: None if row[name] == "nan" else row[name] for name in ("hint", *"ABCD", "comment")}
        yield {"index": row["index"], "question": row["question"], **texts, "answer": row["answer"],
               "category": row["category"], "image": once(row["index"], base64_of(row["image"])),
               "source": row["source"], "l2-category": row["L2-category"], "split": row["split"]}  # fmt: skip


def mmstar(rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        question, _, listed = row["question"].partition("\nOptions: ")
        options = [option.partition(": ")[2] for option in listed.split(", ")]
        yield {"index": row["index"], "question": question, "image": base64_of(row["image"]), "answer": row["answer"],
               **{letter: None if text == "nan" else text for letter, text in lettered(options).items()},
               "category": row["category"], "l2_category": row["l2_category"]}  # fmt: skip


def ocrbench(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        yield {"index": index, "image": base64_of(row["image"]), "question": row["question"], "answer": row["answer"],
               "category": row["question_type"]}  # fmt: skip


def ai2d(rows: list[Row]) -> Iterator[Row]:
    once = Once()
    for index, row in enumerate(rows):
        yield {"index": index, "image": once(index, base64_of(row["image"])), "question": row["question"],
               **dict.fromkeys("ABCD"), **lettered(row["options"]), "answer": "ABCD"[int(row["answer"])]}  # fmt: skip


def realworldqa(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        question = row["question"]
        for instruction in INSTRUCTIONS:
            question = question.removesuffix(instruction)
        stem, *options = question.split("\n")
        assert all(option[:3] == f"{letter}. " for letter, option in zip("ABCD", options, strict=False))
        yield {"image": base64_of(row["image"]), "answer": row["answer"], "index": index, **dict.fromkeys("ABCD"),
               **lettered([option[3:] for option in options]), "question": stem}  # fmt: skip


def reading(rows: list[Row]) -> Iterator[Row]:
    once = Once()
    for index, row in enumerate(rows):
        yield {"index": index, "image": once(index, base64_of(row["image"])), "question": row["question"],
               "answer": row["answers"]}  # fmt: skip


def chartqa(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        half = {"human_test": "test_human", "augmented_test": "test_augmented"}[row["type"]]
        yield {"index": index, "image": base64_of(row["image"]), "question": row["question"], "answer": row["answer"],
               "split": half}  # fmt: skip


def blink(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        pictures = [base64_of(row[f"image_{n}"]) for n in range(1, 5) if row[f"image_{n}"]]
        yield {"index": index, "question": row["prompt"].partition("\n(A)")[0], **dict.fromkeys("ABCD"),
               **lettered(row["choices"]), "answer": row["answer"].strip("()"), "category": row["sub_task"],
               "image": pictures[0] if len(pictures) == 1 else str(pictures)}  # fmt: skip


def mlvu(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        yield {"task_type": row["task_type"], "prefix": "./MLVU/video/1_plotQA", "duration": row["duration"],
               "video": row["video_name"], "question": row["question"].partition("\n(A) ")[0],
               "answer": row["candidates"]["ABCD".index(row["answer"])], "candidates": row["candidates"],
               "index": index}  # fmt: skip


def videomme(rows: list[Row]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        yield {"index": index, "video": row["videoID"], "video_path": f"./video/{row['videoID']}.mp4",
               "duration": row["duration"], "domain": row["domain"], "candidates": row["options"],
               "sub_category": row["sub_category"], "task_type": row["task_type"],
               "subtitle_path": f"./subtitle/{row['videoID']}.srt", "question": row["question"],
               "answer": row["answer"]}  # fmt: skip


def mvbench(world: Path) -> list[Row]:
    """The tables of the twenty kinds one after the other, as in the hub's test.json."""
    rows: list[Row] = []
    for path in sorted((world / TABLES["mvbench"].dataset / "json").glob("*.json")):
        kind = path.stem.replace("_", " ").title().replace("Fine Grained", "Fine-grained")
        rows += [{"task_type": kind, "prefix": "video/", **row} for row in json.loads(path.read_text())]
    return [{**row, "index": index} for index, row in enumerate(rows)]


def refcoco(world: Path) -> list[Row]:
    """All eight splits in one table, each counted from 0, one expression a row."""
    from PIL import Image

    rows: list[Row] = []
    for column in (name for name in TABLES if name.startswith("refcoco")):
        name, _, split = column.partition("_")
        start = len(rows)
        for row in hub_rows(world, column):
            with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
                width, height = picture.size
            x, y, w, h = row["bbox"]
            corners = (x / width, y / height, (x + w) / width, (y + h) / height)
            for text in row["answer"]:
                rows.append({"index": len(rows) - start, "image": base64_of(row["image"]),
                             "question": f"{WHERE}: <ref>{text}</ref>",
                             "answer": "[{:.6f}, {:.6f}, {:.6f}, {:.6f}]".format(*corners),
                             "category": f"{REFCOCO[name]} {PLACES[split]}"})  # fmt: skip
    return rows


ROWS: Mapping[str, tuple[str, Callable[[list[Row]], Iterator[Row]]]] = {
    "mmmu": ("MMMU_DEV_VAL", mmmu),
    "mmbench": ("MMBench_DEV_EN", mmbench),
    "mmbench_cn": ("MMBench_DEV_CN", mmbench),
    "mmstar": ("MMStar", mmstar),
    "ocrbench": ("OCRBench", ocrbench),
    "ai2d": ("AI2D_TEST", ai2d),
    "realworldqa": ("RealWorldQA", realworldqa),
    "docvqa": ("DocVQA_VAL", reading),
    "infovqa": ("InfoVQA_VAL", reading),
    "textvqa": ("TextVQA_VAL", reading),
    "chartqa": ("ChartQA_TEST", chartqa),
    "blink": ("BLINK", blink),
    "videomme": ("Video-MME", videomme),
    "mlvu": ("MLVU_MCQ", mlvu),
}


def write_tsv(path: Path, rows: list[Row], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False, **options)
    return path


VIDEOS = {"videomme": {"video": "data", "subtitle": "subtitle"}, "mlvu": {"MLVU/video/1_plotQA": "."}}
"""Folder of VLMEvalKit's, beside the table -> folder of the world's data set."""


def link_videos(world: Path, root: Path) -> None:
    """The videos where VLMEvalKit unpacks them."""
    mvbench = world / TABLES["mvbench"].dataset
    clips = {f"video/{entry.name}": entry.name for entry in mvbench.iterdir() if entry.is_dir()}
    for column, name in (("mvbench", "MVBench_MP4"), ("videomme", "Video-MME"), ("mlvu", "MLVU_MCQ")):
        for theirs, ours in (VIDEOS | {"mvbench": clips})[column].items():
            link = root / FOLDERS[name] / theirs
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((world / TABLES[column].dataset / ours).resolve())


def build(world: Path, root: Path) -> Path:
    """Every table that VLMEvalKit has of the world's columns, and their videos."""
    tables = {name: list(make(hub_rows(world, column))) for column, (name, make) in ROWS.items()}
    tables |= {"MVBench_MP4": mvbench(world), "RefCOCO": refcoco(world)}
    for name, rows in tables.items():
        write_tsv(root / FOLDERS.get(name, ".") / f"{name}.tsv", rows)
    link_videos(world, root)
    return root

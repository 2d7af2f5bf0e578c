"""Data sets as people have them on disk, a few rows each: for tests of what is found where.

Layouts are from the documentation of huggingface_hub and datasets, lmms-eval 0.7.3's task files and the hub's pages.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite_mirror import png, write_video

SHA = "0123456789abcdef0123456789abcdef01234567"
STAR_KINDS = ("interaction", "sequence", "prediction", "feasibility")
WORDS = ("CENTRE", "EXIT", "SALE")


def table(rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any], path: Path) -> None:
    """One parquet file."""
    from datasets import Dataset, Features

    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list([dict(row) for row in rows], features=Features(dict(features))).to_parquet(str(path))


def card(folder: Path, configs: Mapping[str, Mapping[str, str]]) -> None:
    """README.md with configurations in its head."""
    lines = ["---", "configs:"]
    for name, splits in configs.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        lines += [line for split, path in splits.items() for line in (f"  - split: {split}", f"    path: {path}")]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join([*lines, "---", "", "# A data set", ""]))


def ocrbench(folder: Path, words: Sequence[str] = WORDS) -> None:
    """echo840/OCRBench's repository."""
    from datasets import Image, List, Value

    text = Value("string")
    rows = [{"dataset": "IIIT5K", "question": "what is written in the image?", "answer": [word],
             "question_type": "Regular Text Recognition", "image": {"bytes": png(i), "path": None}}
            for i, word in enumerate(words)]  # fmt: skip
    features = {"dataset": text, "question": text, "question_type": text, "answer": List(text), "image": Image()}
    table(rows, features, folder / "data/test-00000-of-00001.parquet")
    card(folder, {"default": {"test": "data/test-*"}})


def textvqa(folder: Path, splits: Sequence[str], shards: int = 1, missing: int = 0) -> None:
    """lmms-lab's textvqa: the card names three splits, whichever of them are there."""
    from datasets import Image, List, Value

    features = {"image_id": Value("string"), "question_id": Value("int32"), "question": Value("string"),
                "image": Image(), "answers": List(Value("string"))}  # fmt: skip
    for split in splits:
        for shard in range(shards - missing):
            rows = [{"image_id": f"{split}{shard}", "question_id": shard, "question": "what is the brand?",
                     "image": {"bytes": png(shard), "path": None}, "answers": ["dell"] * 10}]  # fmt: skip
            table(rows, features, folder / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet")
    card(folder, {"default": {split: f"data/{split}-*" for split in ("train", "validation", "test")}})


def star(root: Path, videos: str | None = "lmms-eval/charades_sta/Charades_v1_480") -> None:
    """zechen-nlp/star_bench: four configurations, no default, no videos; Charades' videos where they lie."""
    from datasets import List, Value

    text, number = Value("string"), Value("float64")
    folder = root / "zechen-nlp/star_bench"
    features = {"question_id": text, "question": text, "video_id": text, "start": number, "end": number, "answer": text,
                "choices": List({"choice_id": Value("int64"), "choice": text})}  # fmt: skip
    choices = [{"choice_id": i, "choice": c} for i, c in enumerate(("The bag.", "The table.", "The shoe."))]
    for kind in STAR_KINDS:
        rows = [{"question_id": f"{kind.title()}_T1_{i}", "question": "Which object was tidied up?",
                 "video_id": "6H78U", "start": 0.5, "end": 1.9, "answer": "The table.", "choices": choices}
                for i in range(3)]  # fmt: skip
        for split in ("train", "validation"):
            table(rows, features, folder / kind / f"{split}-00000-of-00001.parquet")
    card(folder, {kind: {split: f"{kind}/{split}-*" for split in ("train", "validation")} for kind in STAR_KINDS})
    if videos is not None:
        write_video(root / videos / "6H78U.mp4")


def lvbench(folder: Path, unpacked: str | None = None, zipped: str | None = None) -> None:
    """LVBench's rows, and its two videos in a folder or in an archive below it."""
    from datasets import List, Value

    text, keys = Value("string"), ("Cm73ma6Ibcs", "idZkam9zqAs")
    rows = [{"key": key, "uid": str(i), "question": "What is shown?\n(A) a cat\n(B) a dog\n(C) a car\n(D) a tree",
             "answer": "D", "question_type": ["entity recognition"], "time_reference": "00:01-00:02",
             "video_path": f"{key}.mp4"} for i, key in enumerate(keys)]  # fmt: skip
    names = ("key", "uid", "question", "answer", "time_reference", "video_path")
    table(rows, {**dict.fromkeys(names, text), "question_type": List(text)},
          folder / "data/train-00000-of-00001.parquet")  # fmt: skip
    card(folder, {"default": {"train": "data/train-*"}})
    for i, key in enumerate(keys):
        made = folder / "made.mp4"
        write_video(made, seed=i)
        if unpacked is not None:
            target = folder / unpacked / f"{key}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made, target)
        if zipped is not None:
            (folder / zipped).parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(folder / zipped, "a") as archive:
                archive.writestr(zipfile.ZipInfo(f"all_videos/{key}.mp4"), made.read_bytes())  # dated 1980
        made.unlink()


def hub_cache(home: Path, dataset: str, fill: Any, revision: str = "main") -> Path:
    """A repository as `hf download` leaves it below `home`: a snapshot of links to blobs."""
    base = home / f"datasets--{dataset.replace('/', '--')}"
    made = base / "made"
    fill(made)
    snapshot = base / "snapshots" / SHA
    for number, path in enumerate(sorted(made.rglob("*"))):
        if path.is_file():
            blob = base / "blobs" / f"{number:040x}"
            blob.parent.mkdir(exist_ok=True)
            path.replace(blob)
            link = snapshot / path.relative_to(made)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    shutil.rmtree(made)
    (base / "refs").mkdir()
    (base / "refs" / revision).write_text(SHA)
    return snapshot


def arrow_cache(cache: Path, name: str, repository: Path, config: str = "default") -> None:
    """A repository's rows as `datasets` keeps them below `cache` once it has loaded them: `ORG___snake_name`."""
    from datasets import load_dataset

    loaded = repository.with_name("arrow")
    load_dataset(str(repository), cache_dir=str(loaded))
    (made,) = loaded.glob("*/*/0.0.0/*/dataset_info.json")
    shutil.copytree(made.parent, cache / name / config / "0.0.0" / SHA)

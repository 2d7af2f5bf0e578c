"""Where each column's data lies and in which fields, as the hub's data sets and lmms-eval 0.7.3's tasks have it.

Sources: the data sets' own cards, and the fields that the stock tasks read. STAR has no stock task; its fields are
those of the authors' `STAR_val.json` (csbobby/STAR_Benchmark) without programs and situation graphs, plus `video`, the
file name, as the hub's copy has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mmrope_synth.fields import Fields
from mmrope_synth.glances import TASKS
from mmrope_synth.sample import Sample
from mmrope_synth.shows import MVBENCH, STAR


@dataclass(frozen=True)
class Table:
    """One split of one configuration of one data set."""

    dataset: str
    split: str
    fields: Fields
    config: str = "default"
    folder: str = "data"
    """Folder of the parquet file within the data set."""
    file: str | None = None
    """The file's name where it is not `SPLIT-00000-of-00001.parquet`."""
    jpeg: bool = False
    """Whether pictures are JPEG files (of high quality) and not PNG files."""
    video: str | None = None
    """The field that names the video."""
    video_folder: str = "."
    video_dataset: str | None = None
    """The data set that holds the videos, where it is another one."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Kind of sample -> configuration, where the rows are spread over several; each has a folder of its name."""

    @property
    def path(self) -> str:
        """Of the parquet file, relative to the data set's folder."""
        return f"{self.folder}/{self.file or f'{self.split}-00000-of-00001.parquet'}".removeprefix("./")


REFCOCO_FIELDS: Final[Fields] = {
    "question_id": "string",
    "image": "image",
    "question": "string",
    "answer": ["string"],
    "segmentation": ["float32"],
    "bbox": ["float32"],
    "iscrowd": "int8",
    "file_name": "string",
}
MMMU_FIELDS: Final[Fields] = {
    "id": "string",
    "question": "string",
    "options": "string",
    "explanation": "string",
    **{f"image_{i}": "image" for i in range(1, 8)},
    "img_type": "string",
    "answer": "string",
    "topic_difficulty": "string",
    "question_type": "string",
    "subfield": "string",
}
MMBENCH_FIELDS: Final[Fields] = {
    "index": "int64",
    "question": "string",
    "hint": "string",
    "answer": "string",
    **dict.fromkeys("ABCD", "string"),
    "category": "string",
    "image": "image",
    "source": "string",
    "L2-category": "string",
    "comment": "string",
    "split": "string",
}
MMSTAR_FIELDS: Final[Fields] = {
    "index": "int64",
    "question": "string",
    "image": "image",
    "answer": "string",
    "category": "string",
    "l2_category": "string",
    "meta_info": {"source": "string", "split": "string", "image_path": "string"},
}
OCRBENCH_FIELDS: Final[Fields] = {
    "dataset": "string",
    "question": "string",
    "question_type": "string",
    "answer": ["string"],
    "image": "image",
}
DOCVQA_FIELDS: Final[Fields] = {
    "questionId": "string",
    "question": "string",
    "question_types": ["string"],
    "image": "image",
    "docId": "int64",
    "ucsf_document_id": "string",
    "ucsf_document_page_no": "string",
    "answers": ["string"],
    "data_split": "string",
}
INFOVQA_FIELDS: Final[Fields] = {
    "questionId": "string",
    "question": "string",
    "answers": ["string"],
    "answer_type": ["string"],
    "image": "image",
    "image_url": "string",
    "operation/reasoning": ["string"],
    "ocr": "string",
    "data_split": "string",
}
TEXTVQA_FIELDS: Final[Fields] = {
    "image_id": "string",
    "question_id": "int32",
    "question": "string",
    "question_tokens": ["string"],
    "image": "image",
    "image_width": "int32",
    "image_height": "int32",
    "flickr_original_url": "string",
    "flickr_300k_url": "string",
    "answers": ["string"],
    "image_classes": ["string"],
    "set_name": "string",
    "ocr_tokens": ["string"],
}
BLINK_FIELDS: Final[Fields] = {
    "idx": "string",
    "question": "string",
    "sub_task": "string",
    **{f"image_{i}": "image" for i in range(1, 5)},
    "choices": ["string"],
    "answer": "string",
    "prompt": "string",
    "explanation": "string",
}
MVBENCH_FIELDS: Final[Fields] = {"video": "string", "question": "string", "candidates": ["string"], "answer": "string"}
STAR_FIELDS: Final[Fields] = {
    "question_id": "string",
    "question": "string",
    "video_id": "string",
    "video": "string",
    "start": "float64",
    "end": "float64",
    "answer": "string",
    "choices": [{"choice_id": "int64", "choice": "string"}],
}
VIDEOMME_FIELDS: Final[Fields] = {
    "video_id": "string",
    "duration": "string",
    "domain": "string",
    "sub_category": "string",
    "url": "string",
    "videoID": "string",
    "question_id": "string",
    "task_type": "string",
    "question": "string",
    "options": ["string"],
    "answer": "string",
}
LVBENCH_FIELDS: Final[Fields] = {
    "key": "string",
    "type": "string",
    "uid": "string",
    "question": "string",
    "answer": "string",
    "question_type": ["string"],
    "time_reference": "string",
    "video_path": "string",
}
MLVU_FIELDS: Final[Fields] = {
    "video_name": "string",
    "duration": "float64",
    "question": "string",
    "candidates": ["string"],
    "answer": "string",
    "task_type": "string",
}
CHARADES_FIELDS: Final[Fields] = {"video": "string", "caption": "string", "timestamp": ["float64"]}
"""The hub's times are float16; here a moment is asked for as it was drawn."""
CHARTQA_FIELDS: Final[Fields] = {"type": "string", "question": "string", "answer": "string", "image": "image"}
AI2D_FIELDS: Final[Fields] = {"question": "string", "options": ["string"], "answer": "string", "image": "image"}
REALWORLDQA_FIELDS: Final[Fields] = {
    "image": "image",
    "image_path": "string",
    "question": "string",
    "answer": "string",
}


def _refcoco(name: str, split: str) -> Table:
    return Table(f"lmms-lab-encoder/{name}", split, REFCOCO_FIELDS, jpeg=True)


TABLES: Final[dict[str, Table]] = {
    "mmmu": Table("lmms-lab-encoder/MMMU", "validation", MMMU_FIELDS),
    "mmbench": Table("lmms-lab-encoder/MMBench", "dev", MMBENCH_FIELDS, config="en", folder="en", jpeg=True),
    "mmbench_cn": Table("lmms-lab-encoder/MMBench", "dev", MMBENCH_FIELDS, config="cn", folder="cn", jpeg=True),
    "mmstar": Table(
        "Lin-Chen/MMStar", "val", MMSTAR_FIELDS, config="val", folder=".", file="mmstar.parquet", jpeg=True
    ),
    "ocrbench": Table("echo840/OCRBench", "test", OCRBENCH_FIELDS),
    "ai2d": Table("lmms-lab-encoder/ai2d", "test", AI2D_FIELDS),
    "realworldqa": Table("lmms-lab-encoder/RealWorldQA", "test", REALWORLDQA_FIELDS, jpeg=True),
    "docvqa": Table("lmms-lab-encoder/DocVQA", "validation", DOCVQA_FIELDS, config="DocVQA", folder="DocVQA"),
    "textvqa": Table("lmms-lab-encoder/textvqa", "validation", TEXTVQA_FIELDS, jpeg=True),
    "infovqa": Table(
        "lmms-lab-encoder/DocVQA", "validation", INFOVQA_FIELDS, config="InfographicVQA", folder="InfographicVQA"
    ),
    "chartqa": Table("lmms-lab-encoder/ChartQA", "test", CHARTQA_FIELDS),
    "blink": Table("BLINK-Benchmark/BLINK", "val", BLINK_FIELDS, jpeg=True, configs={task: task for task in TASKS}),
    "mvbench": Table("OpenGVLab/MVBench", "train", MVBENCH_FIELDS, folder="json", video="video"),
    "star": Table(
        "zechen-nlp/star_bench", "validation", STAR_FIELDS, video="video", video_folder="Charades_v1_480",
        video_dataset="lmms-eval/charades_sta", configs={kind: kind.lower() for kind in STAR},
    ),
    "videomme": Table(
        "lmms-eval/Video-MME", "test", VIDEOMME_FIELDS, config="videomme", folder="videomme",
        video="videoID", video_folder="data",
    ),
    "lvbench": Table("lmms-eval/LVBench", "train", LVBENCH_FIELDS, video="video_path"),
    "mlvu": Table("sy1998/MLVU_dev", "test", MLVU_FIELDS, folder="mlvu", video="video_name"),
    "charades_sta": Table(
        "lmms-eval/charades_sta", "test", CHARADES_FIELDS, video="video", video_folder="Charades_v1_480"
    ),
    "refcoco_val": _refcoco("RefCOCO", "val"),
    "refcoco_testA": _refcoco("RefCOCO", "testA"),
    "refcoco_testB": _refcoco("RefCOCO", "testB"),
    "refcocoplus_val": _refcoco("RefCOCOplus", "val"),
    "refcocoplus_testA": _refcoco("RefCOCOplus", "testA"),
    "refcocoplus_testB": _refcoco("RefCOCOplus", "testB"),
    "refcocog_val": _refcoco("RefCOCOg", "val"),
    "refcocog_test": _refcoco("RefCOCOg", "test"),
}  # fmt: skip
"""Column -> its table. MVBench's rows are JSON files in `json/`, one a sub-task; these are its configurations."""


def video_path(column: str, sample: Sample) -> str:
    """Where a sample's video lies within a mirror: in the folder of the data set that holds the videos."""
    table = TABLES[column]
    name = str(sample.row[table.video or ""])
    folder = MVBENCH[sample.kind][0] if column == "mvbench" else table.video_folder
    dataset = table.video_dataset or table.dataset
    return f"{dataset}/{folder}/{name if name.endswith('.mp4') else name + '.mp4'}".replace("/./", "/")

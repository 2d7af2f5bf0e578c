"""The small world as data: true schemas, equal bytes for equal seeds, nothing shared with training, full marks."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_samples import KNOBS, identity, media_hash, samples_of

from mmrope_eval.data.lmudata import features
from mmrope_synth import CATEGORIES, COLUMNS, Difficulty, Sample, build_world, contact_sheet, training_samples
from mmrope_synth.columns import DRAWN, EXTRA
from mmrope_synth.core import generator, side_of
from mmrope_synth.errors import SynthError
from mmrope_synth.fields import Fields, arrow_schema
from mmrope_synth.needle import needle_table
from mmrope_synth.schemas import TABLES
from mmrope_synth.writer import distinct_rows, eval_samples

N = 4
SOME: dict[str, Any] = {"columns": ("chartqa", "docvqa", "refcocog_val", "charades_sta"), "n": 7}

REFCOCO = {
    "question_id": "string", "image": "image", "question": "string", "answer": "list<string>",
    "segmentation": "list<float32>", "bbox": "list<float32>", "iscrowd": "int8", "file_name": "string",
}  # fmt: skip
EXPECTED: dict[str, tuple[str, str | None, str, dict[str, str]]] = {
    "mmmu": ("lmms-lab-encoder/MMMU", None, "validation", {
        "id": "string", "question": "string", "options": "string", "explanation": "string",
        "image_1": "image", "image_2": "image", "image_3": "image", "image_4": "image", "image_5": "image",
        "image_6": "image", "image_7": "image", "img_type": "string", "answer": "string",
        "topic_difficulty": "string", "question_type": "string", "subfield": "string"}),
    "mmbench": ("lmms-lab-encoder/MMBench", "en", "dev", {
        "index": "int64", "question": "string", "hint": "string", "answer": "string", "A": "string", "B": "string",
        "C": "string", "D": "string", "category": "string", "image": "image", "source": "string",
        "L2-category": "string", "comment": "string", "split": "string"}),
    "mmbench_cn": ("lmms-lab-encoder/MMBench", "cn", "dev", {
        "index": "int64", "question": "string", "hint": "string", "answer": "string", "A": "string", "B": "string",
        "C": "string", "D": "string", "category": "string", "image": "image", "source": "string",
        "L2-category": "string", "comment": "string", "split": "string"}),
    "mmstar": ("Lin-Chen/MMStar", None, "val", {
        "index": "int64", "question": "string", "image": "image", "answer": "string", "category": "string",
        "l2_category": "string", "meta_info": "struct<source:string,split:string,image_path:string>"}),
    "ocrbench": ("echo840/OCRBench", None, "test", {
        "dataset": "string", "question": "string", "question_type": "string", "answer": "list<string>",
        "image": "image"}),
    "ai2d": ("lmms-lab-encoder/ai2d", None, "test", {
        "question": "string", "options": "list<string>", "answer": "string", "image": "image"}),
    "realworldqa": ("lmms-lab-encoder/RealWorldQA", None, "test", {
        "image": "image", "image_path": "string", "question": "string", "answer": "string"}),
    "docvqa": ("lmms-lab-encoder/DocVQA", "DocVQA", "validation", {
        "questionId": "string", "question": "string", "question_types": "list<string>", "image": "image",
        "docId": "int64", "ucsf_document_id": "string", "ucsf_document_page_no": "string",
        "answers": "list<string>", "data_split": "string"}),
    "infovqa": ("lmms-lab-encoder/DocVQA", "InfographicVQA", "validation", {
        "questionId": "string", "question": "string", "answers": "list<string>", "answer_type": "list<string>",
        "image": "image", "image_url": "string", "operation/reasoning": "list<string>", "ocr": "string",
        "data_split": "string"}),
    "textvqa": ("lmms-lab-encoder/textvqa", None, "validation", {
        "image_id": "string", "question_id": "int32", "question": "string", "question_tokens": "list<string>",
        "image": "image", "image_width": "int32", "image_height": "int32", "flickr_original_url": "string",
        "flickr_300k_url": "string", "answers": "list<string>", "image_classes": "list<string>",
        "set_name": "string", "ocr_tokens": "list<string>"}),
    "chartqa": ("lmms-lab-encoder/ChartQA", None, "test", {
        "type": "string", "question": "string", "answer": "string", "image": "image"}),
    **{f"blink/{name}": ("BLINK-Benchmark/BLINK", name, "val", {
        "idx": "string", "question": "string", "sub_task": "string", "image_1": "image", "image_2": "image",
        "image_3": "image", "image_4": "image", "choices": "list<string>", "answer": "string", "prompt": "string",
        "explanation": "string"})
       for name in ("Counting", "Multi-view_Reasoning", "Jigsaw", "Forensic_Detection")},
    **{f"mvbench/{name}": ("OpenGVLab/MVBench", name, "train", {
        "video": "string", "question": "string", "candidates": "list<string>", "answer": "string"})
       for name in ("action_antonym", "object_shuffle", "egocentric_navigation")},
    **{f"star/{name}": ("zechen-nlp/star_bench", name, "validation", {
        "question_id": "string", "question": "string", "video_id": "string", "video": "string", "start": "float64",
        "end": "float64", "answer": "string", "choices": "list<struct<choice_id:int64,choice:string>>"})
       for name in ("interaction", "sequence", "prediction", "feasibility")},
    "videomme": ("lmms-eval/Video-MME", None, "test", {
        "video_id": "string", "duration": "string", "domain": "string", "sub_category": "string", "url": "string",
        "videoID": "string", "question_id": "string", "task_type": "string", "question": "string",
        "options": "list<string>", "answer": "string"}),
    "lvbench": ("lmms-eval/LVBench", None, "train", {
        "key": "string", "type": "string", "uid": "string", "question": "string", "answer": "string",
        "question_type": "list<string>", "time_reference": "string", "video_path": "string"}),
    "mlvu": ("sy1998/MLVU_dev", None, "test", {
        "video_name": "string", "duration": "float64", "question": "string", "candidates": "list<string>",
        "answer": "string", "task_type": "string"}),
    "charades_sta": ("lmms-eval/charades_sta", None, "test", {
        "video": "string", "caption": "string", "timestamp": "list<float64>"}),
    **{f"refcoco_{split}": ("lmms-lab-encoder/RefCOCO", None, split, REFCOCO) for split in ("val", "testA", "testB")},
    **{f"refcocoplus_{split}": ("lmms-lab-encoder/RefCOCOplus", None, split, REFCOCO)
       for split in ("val", "testA", "testB")},
    **{f"refcocog_{split}": ("lmms-lab-encoder/RefCOCOg", None, split, REFCOCO) for split in ("val", "test")},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All columns, with `N` rows each."""
    return build_world(tmp_path_factory.mktemp("world"), n=N)


@pytest.fixture(scope="module", autouse=True)
def datasets_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `datasets` converts on loading goes into a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        import datasets

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        datasets.disable_progress_bars()
        yield


def spelled(feature: Any) -> str:
    """A `datasets` feature as text."""
    from datasets import Image, Sequence, Value

    if isinstance(feature, Value):
        return str(feature.dtype)
    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, dict):
        return f"struct<{','.join(f'{name}:{spelled(inner)}' for name, inner in feature.items())}>"
    inner = feature[0] if isinstance(feature, list) else feature.feature
    assert isinstance(feature, list | Sequence) or hasattr(feature, "feature")
    return f"list<{spelled(inner)}>"


def tree_hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --------------------------------------------------------------------------------------------------------------
# Files


def test_every_column_has_its_expected_schema_here() -> None:
    assert {name.partition("/")[0] for name in EXPECTED} == {*COLUMNS, *EXTRA} == set(TABLES)
    assert len(COLUMNS) == 25
    assert [len(names) for names in CATEGORIES.values()] == [11, 6, 8]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_columns_and_types_are_those_of_the_data_set(world: Path, name: str) -> None:
    from datasets import load_dataset

    dataset, config, split, fields = EXPECTED[name]
    rows = load_dataset(str(world / dataset), config)[split]
    assert {field: spelled(feature) for field, feature in rows.features.items()} == fields
    assert len(rows) == (1 if name.startswith(("mvbench", "star", "blink")) else N)


@pytest.mark.parametrize("fields", [*(table.fields for table in TABLES.values()), needle_table().fields])
def test_datasets_would_write_the_same_types(fields: Fields) -> None:
    assert arrow_schema(fields).equals(features(fields).arrow_schema)


def test_lists_are_written_as_every_version_of_datasets_reads_them(world: Path) -> None:
    """`List` of version 4 is unknown to version 3."""
    import pyarrow.parquet as pq

    for path in world.rglob("*.parquet"):
        assert b'"List"' not in pq.read_schema(path).metadata[b"huggingface"], path


def test_pictures_are_real_png_and_jpeg_files(world: Path) -> None:
    from datasets import load_dataset

    for column, kind in (("chartqa", "PNG"), ("refcoco_val", "JPEG"), ("mmmu", "PNG")):
        table = TABLES[column]
        picture = load_dataset(str(world / table.dataset))[table.split][0]["image_1" if column == "mmmu" else "image"]
        assert (picture.format, picture.size, picture.mode) == (kind, (112, 112), "RGB")


def test_the_manifest_names_every_column(world: Path) -> None:
    about = json.loads((world / "world.json").read_text())
    assert list(about["columns"]) == [*COLUMNS, *EXTRA]
    rows = {name: entry["rows"] for name, entry in about["columns"].items()}
    assert rows == {**dict.fromkeys((*COLUMNS, *EXTRA), N), "mvbench": 20, "blink": 14}


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_bytes(world: Path, tmp_path: Path) -> None:
    first = tree_hashes(build_world(tmp_path / "a", seed=3, **SOME))
    assert first == tree_hashes(build_world(tmp_path / "b", seed=3, **SOME))
    other = tree_hashes(build_world(tmp_path / "c", seed=4, **SOME))
    assert set(first) == set(other)
    differing = {name for name in first if first[name] != other[name]}
    assert {name for name in first if name.endswith((".parquet", ".mp4"))} <= differing


def test_a_column_is_the_same_whether_built_alone_or_with_all(world: Path, tmp_path: Path) -> None:
    alone = tree_hashes(build_world(tmp_path / "alone", n=N, columns=("chartqa", "mlvu")))
    together = tree_hashes(world)
    assert all(together[name] == digest for name, digest in alone.items() if name != "world.json")
    assert len(alone) > 5


def test_two_worlds_do_not_share_the_cache_of_datasets(tmp_path: Path) -> None:
    """`datasets` keys its cache of a local folder by the card alone; a second world must not be read as the first."""
    from datasets import load_dataset

    for column in ("chartqa", "mvbench"):
        config = "action_count" if column == "mvbench" else None
        table, seen = TABLES[column], []
        for seed in range(2):
            folder = build_world(tmp_path / f"{column}{seed}", n=1, seed=seed, columns=(column,)) / table.dataset
            seen.append(load_dataset(str(folder), config)[table.split].to_list())
        assert seen[0] != seen[1]


def test_a_second_build_replaces_its_own_data_sets_only(tmp_path: Path) -> None:
    build_world(tmp_path, n=2, columns=("chartqa",))
    build_world(tmp_path, n=3, columns=("ai2d",))
    build_world(tmp_path, n=1, columns=("ai2d",))
    columns = json.loads((tmp_path / "world.json").read_text())["columns"]
    assert {name: entry["rows"] for name, entry in columns.items()} == {"chartqa": 2, "ai2d": 1}
    assert (tmp_path / TABLES["chartqa"].dataset / TABLES["chartqa"].path).is_file()


@pytest.mark.parametrize(
    ("bad", "says"),
    [({"columns": ("chartq",)}, "no column 'chartq'"), ({"n": 0}, "at least one row"), ({}, "something other than")],
)
def test_bad_requests_are_one_clear_sentence(tmp_path: Path, bad: dict[str, Any], says: str) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(SynthError, match=says):
        build_world(tmp_path if not bad else tmp_path / "new", **bad)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_the_world_loads_nothing_heavy() -> None:
    code = (
        "import sys, mmrope_synth;"
        "print([m for m in ('av', 'datasets', 'matplotlib', 'pyarrow', 'torch', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------------------
# Training


def test_training_and_evaluation_share_no_picture_or_video() -> None:
    """The same seed on both sides, and several seeds against each other."""
    for column in COLUMNS:
        groups = 6 if column == "lvbench" else 25
        evaluated = {media_hash(s) for seed in (0, 1) for s in samples_of(column, groups, seed)}
        trained = {media_hash(s) for seed in (0, 1) for s in samples_of(column, groups, seed, "train")}
        assert len(evaluated) >= 2 * groups * 0.95 and not evaluated & trained


@given(seed=st.integers(0, 10**6))
def test_the_side_is_a_property_of_the_content_not_of_the_seed(seed: int) -> None:
    for side in ("eval", "train"):
        for sample in COLUMNS["refcoco_val"](generator(seed, side, "refcoco_val", 0), KNOBS, side, 0):
            assert isinstance(sample.proof, partial)
            assert side_of(sample.proof.args[1]) == side


def test_the_training_stream_is_repeatable_and_keeps_groups_together() -> None:
    first = list(islice(training_samples(5, ("grounding", "chartqa", "video")), 120))
    again = list(islice(training_samples(5, ("grounding", "chartqa", "video")), 120))
    assert [(s.group, s.row, s.answer) for s in first] == [(s.group, s.row, s.answer) for s in again]
    assert [media_hash(s) for s in first[:20]] == [media_hash(s) for s in again[:20]]
    assert {s.column for s in first} & set(CATEGORIES["video"]) and "chartqa" in {s.column for s in first}
    starts = [first[0].group] + [b.group for a, b in pairwise(first) if a.group != b.group]
    assert len(starts) == len(set(starts))
    for a, b in pairwise(first):
        if a.group == b.group and a.images:
            assert a.images["image"] is b.images["image"]
    other = list(islice(training_samples(6, ("grounding",)), 20))
    assert not {media_hash(s) for s in other} & {media_hash(s) for s in first if s.column in CATEGORIES["grounding"]}


@pytest.mark.parametrize("kinds", [("grounds",), ()])
def test_unknown_kinds_of_training_samples_are_refused(kinds: tuple[str, ...]) -> None:
    with pytest.raises(SynthError, match="kind"):
        training_samples(0, kinds)


@pytest.mark.parametrize("bad", [{"video_size": 85}, {"min_things": 5, "max_things": 4}, {"image_size": 20}])
def test_impossible_difficulties_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Difficulty(**bad)


def test_difficulty_changes_the_world() -> None:
    easy = Difficulty(min_things=2, max_things=2, colors=3, shapes=3, image_size=84)
    for serial in range(20):
        for sample in COLUMNS["mmbench"](generator(0, "train", "mmbench", serial), easy, "train", serial):
            assert sample.images["image"].shape == (84, 84, 3)


# --------------------------------------------------------------------------------------------------------------
# The same task files and scorers


def perfect(column: str) -> list[tuple[Sample, dict[str, Any]]]:
    """Samples of the evaluation side with their data set rows."""
    samples = [s for group in islice(eval_samples(column, 0, KNOBS), 2) for s in distinct_rows(group)]
    return [(sample, dict(sample.row)) for sample in samples]


@pytest.mark.parametrize("column", [name for name in DRAWN if name != "star"])
def test_right_answers_earn_full_marks_from_lmms_eval_itself(column: str) -> None:
    """The stock tasks' own code reads these rows; MMBench's is left out where it would call a paid service."""
    from mmrope_eval.run.side_by_side import SECONDS, second_number
    from mmrope_eval.scorer.all import SecondItem
    from mmrope_eval.task.registry import Registry

    items = []
    for sample, row in perfect(column)[:6]:
        answer = sample.answer
        if column == "mlvu" and answer in "EFGH":  # the stock task reads letters to D only
            continue
        if sample.box is not None:
            row["image"] = {"width": 112, "height": 112}
            answer = f"[{answer}]"
        items.append(SecondItem(row, answer, sample.kind if column in ("mvbench", "blink") else None))
    theirs = second_number(SECONDS["stock"], Registry().tasks[column], items)
    assert theirs.samples == pytest.approx([1.0] * len(items))


def test_right_answers_earn_full_marks_from_every_task_file(world: Path) -> None:
    """Each task file of the project whose data set is in the world, through lmms-eval's machinery."""
    from mmrope_eval.scorer.all import METRICS, SCORERS
    from mmrope_eval.task.dataset import load_docs
    from mmrope_eval.task.parts import build_parts
    from mmrope_eval.task.registry import Registry
    from mmrope_eval.task.template import build_target, render

    registry = Registry()
    family = registry.family("qwen3-vl")
    tasks = [spec for spec in registry.tasks.values() if spec.name in DRAWN]
    assert {spec.name for spec in tasks} == set(DRAWN)
    for spec in tasks:
        docs = load_docs(spec, world, family)
        groups = eval_samples(spec.name, 0, KNOBS)
        sample_by_identity = {identity(s.row): s for group in islice(groups, len(docs.rows)) for s in group}
        for row in docs.rows:
            sample = sample_by_identity[identity(row)]
            prompt = render(spec.prompt(family.prompts), row)
            assert prompt == render(spec.prompt(family.prompts), sample.row), "training sees the evaluation's prompts"
            shown = [part for part in build_parts(spec.media, prompt, row, docs.files) if not isinstance(part, str)]
            assert len(shown) == max(1, len(sample.images))
            target = build_target(spec.target, row)
            if spec.scorer == "box":
                target |= {"coordinates": "absolute", "source_size": (112, 112), "used_size": (112, 112)}
            score = SCORERS[spec.scorer](sample.answer, target)
            assert score.values[METRICS[spec.scorer][0]] == pytest.approx(1.0), (spec.name, sample.answer, target)


def test_the_contact_sheet_shows_every_column_asked_for(tmp_path: Path) -> None:
    from PIL import Image

    page = contact_sheet(tmp_path / "sheet.png", columns=("refcoco_val", "chartqa", "mvbench", "mmmu"))
    with Image.open(page) as picture:
        assert picture.size == (4 * 336, 4 * 290)
        assert np.asarray(picture).std() > 20

"""VLMEvalKit's LMUData as a source: the same questions, pictures and answers as from the hub, and its odd rows."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lmudata_tables as tables
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from suite_mirror import png

from mmrope_eval import cli
from mmrope_eval.data.lmudata import PROBLEM, as_hub_folder, find_table
from mmrope_eval.data.recipe import Recipe, read_recipe, xywh
from mmrope_eval.data.tsv import picture_text, scan
from mmrope_eval.errors import UserError
from mmrope_eval.task.dataset import (
    absence,
    hub_folder,
    load_docs,
    needed_columns,
    task_recipe,
    task_table,
    why_no_table,
)
from mmrope_eval.task.plan import plan_samples
from mmrope_eval.task.registry import Registry, TaskSpec
from mmrope_eval.task.sample import Sample
from mmrope_eval.task.template import evaluate
from mmrope_synth import build_world
from mmrope_synth.schemas import TABLES

REGISTRY = Registry()
QWEN = REGISTRY.family("qwen2.5-vl")
WITH_TABLE = [name for name, spec in REGISTRY.tasks.items() if spec.lmudata is not None]
N = 10


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("lmudata")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        world = build_world(root / "world", n=N)
        name_missing_options(world)
        yield world


@pytest.fixture(scope="module")
def lmudata(world: Path) -> Path:
    return tables.build(world, world.parent / "LMUData")


def name_missing_options(world: Path) -> None:
    """MMStar as it is on the hub, where a question of fewer than four options reads "D: nan" (MMStar's issue 12)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = world / TABLES["mmstar"].dataset / TABLES["mmstar"].path
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        for letter in "CD":
            row["question"] += "" if f", {letter}: " in row["question"] else f", {letter}: nan"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def planned(spec: TaskSpec, root: Path) -> list[Sample]:
    """Every sample as it is asked of two families, whose prompts differ most."""
    docs = load_docs(spec, root, REGISTRY.family("qwen2.5-vl"))
    families = map(REGISTRY.family, ("qwen2.5-vl", "qwen3-vl"))
    return [sample for family in families for sample in plan_samples(spec, docs, family, None).samples]


# --------------------------------------------------------------------------------------------------------------
# The same as from the hub


def test_the_benchmarks_without_a_table() -> None:
    """No class of ms-vlmeval 0.0.20 reads one of STAR, LVBench or Charades-STA; the needle is ours."""
    assert set(REGISTRY.tasks) - set(WITH_TABLE) == {"star", "lvbench", "charades_sta", "needle"}


@pytest.mark.parametrize("task", WITH_TABLE)
def test_what_is_made_are_the_fields_that_the_task_reads_in_the_hubs_types(task: str) -> None:
    spec = REGISTRY.tasks[task]
    recipe = task_recipe(spec)
    assert recipe is not None
    later = {"subset", "folder", "expression"}  # added by SubsetTask and by one_per_expression
    assert needed_columns(spec) - later <= set(recipe.fields)
    on_the_hub = TABLES[task.removesuffix("_subtitles")].fields
    assert recipe.kinds() == {name: on_the_hub[name] for name in recipe.fields}


@pytest.mark.parametrize("task", WITH_TABLE)
def test_every_question_is_the_hubs(task: str, world: Path, lmudata: Path) -> None:
    spec = REGISTRY.tasks[task]
    hub, made = planned(spec, world), planned(spec, lmudata)
    assert [sample.problem for sample in made] == [None] * len(hub)
    assert [(s.prompt, s.media) for s in made] == [(s.prompt, s.media) for s in hub]
    assert [told_apart(s.target) for s in made] == [told_apart(s.target) for s in hub]


def told_apart(target: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A target as its scorer tells it from others: of OCRBench's sources only the handwritten formulas matter."""
    assert target is not None
    return {**target, "dataset": target["dataset"] == "HME100k"} if "dataset" in target else target


def test_the_formulas_of_ocrbench_are_among_the_questions(world: Path) -> None:
    assert "HME100k" in {row["dataset"] for row in tables.hub_rows(world, "ocrbench")}


def test_an_objects_expressions_are_one_row_again(world: Path, lmudata: Path) -> None:
    spec = REGISTRY.tasks["refcoco_testA"]
    rows = load(hub_folder(spec, lmudata), "default", "testA")
    assert [(row["answer"], row["bbox"]) for row in rows] == [
        (row["answer"], row["bbox"]) for row in tables.hub_rows(world, "refcoco_testA")]


def test_only_the_split_that_is_asked_for(lmudata: Path) -> None:
    """MMMU's table also has the dev split."""
    rows = load(hub_folder(REGISTRY.tasks["mmmu"], lmudata), "default", "validation")
    assert len(rows) == N and all(row["id"].startswith("validation") for row in rows)


def load(folder: Path, config: str = "default", split: str = "test") -> list[dict[str, Any]]:
    from datasets import Image, load_dataset

    rows = load_dataset(str(folder), config, split=split, cache_dir=str(folder.parent / "loaded"))
    for name in [name for name, kind in rows.features.items() if isinstance(kind, Image)]:
        rows = rows.cast_column(name, Image(decode=False))
    return list(rows)


# --------------------------------------------------------------------------------------------------------------
# Odd rows

RECIPE: Mapping[str, Any] = {
    "tables": ["Mini"],
    "fields": {"index": "index | int", "question": "question", "hint": "hint or 'nan'", "image": "picture(1)"},
    "types": {"index": "int64", "image": "image"},
}


def recipe(**changes: Any) -> Recipe:
    return read_recipe({**RECIPE, **changes}, Path("mini.yaml"))


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def made(root: Path, rows: list[dict[str, Any]], recipe: Recipe | None = None, **options: Any) -> list[dict[str, Any]]:
    rows = [{"index": i, "question": f"question {i}", "hint": None, **row} for i, row in enumerate(rows)]
    tables.write_tsv(root / "LMUData" / "Mini.tsv", rows, **options)
    return read(root, recipe)


def read(root: Path, wanted: Recipe | None = None) -> list[dict[str, Any]]:
    folder = as_hub_folder(wanted or recipe(), root / "LMUData", root / "cache", evaluate, split="test")
    return load(folder)


def data(row: Mapping[str, Any]) -> bytes | None:
    picture: bytes | None = row["image"] and row["image"]["bytes"]
    return picture


A, B = png(1), png(2)


@pytest.mark.parametrize("cell", [
    text(A),
    f"data:image/png;base64,{text(A)}",
    f"data:image/png;name=a.png;base64,{text(A)}",
    "\n".join(text(A)[i : i + 76] for i in range(0, len(text(A)), 76)),
    str([text(A)]),
])
def test_pictures_however_they_are_written(cell: str, tmp_path: Path) -> None:
    (row,) = made(tmp_path, [{"image": cell}])
    assert data(row) == A and row[PROBLEM] is None


def test_a_picture_may_be_another_rows(tmp_path: Path) -> None:
    """Before it or after it, and through a third row."""
    rows = made(tmp_path, [{"image": "2"}, {"image": text(B)}, {"image": text(A)}, {"image": "1"}, {"image": "0"}])
    assert [data(row) for row in rows] == [A, B, A, B, A]


@pytest.mark.parametrize(("cells", "problem"), [
    (["7", text(A)], "line 2 of Mini.tsv: its picture is that of row '7', which the table does not have."),
    (["0", text(A)], "line 2 of Mini.tsv: its picture is that of row 0, which leads back to it."),
    (["2", text(A), "0"], "its picture is that of row 2, which leads back to it."),
    (["not base64!" * 9, text(A)], "its picture is no base64 text"),
    (["data:image/png;base64,", text(A)], "row 'data:image/png;base64,', which the table does not have."),
    (["data:image/png;base64," + " " * 99, text(A)], "one of its pictures is too short to be one."),
    ([None, text(A)], "line 2 of Mini.tsv: it has no picture."),
    (["['" + text(A), text(A)], "its picture is no base64 text"),
    (["[" + "a" * 99 + "]", text(A)], "its list of pictures cannot be read."),
    ([str([text(A), text(B)]), text(A)], "it has 2 pictures, and the task shows 1."),
])
def test_a_bad_picture_is_its_rows_problem(cells: list[str | None], problem: str, tmp_path: Path) -> None:
    rows = made(tmp_path, [{"image": cell} for cell in cells])
    assert problem in rows[0][PROBLEM] and rows[0][PROBLEM].startswith("line 2 of Mini.tsv: ")
    assert rows[1][PROBLEM] is None and data(rows[1]) == A
    assert [row["question"] for row in rows] == [f"question {i}" for i in range(len(cells))]


def test_an_index_that_two_rows_have_is_no_picture(tmp_path: Path) -> None:
    same = made(tmp_path, [{"image": text(A), "index": 5}, {"image": text(A), "index": 5}, {"image": "5"}])
    assert data(same[2]) == A
    other = made(tmp_path, [{"image": text(A), "index": 5}, {"image": text(B), "index": 5}, {"image": "5"}])
    assert "row '5', but 2 rows have this index" in other[2][PROBLEM]


def test_a_row_that_cannot_be_made_is_a_failed_sample(world: Path, lmudata: Path, tmp_path: Path) -> None:
    """It is planned, listed with its cause and counted; the others are asked."""
    spec = REGISTRY.tasks["ai2d"]
    rows = list(tables.ai2d(tables.hub_rows(world, "ai2d")))
    rows[3]["answer"] = "D"
    rows[3]["D"] = rows[3]["C"] = None
    rows[4] |= {"A": None}
    rows[5]["question"] = None
    tables.write_tsv(tmp_path / "LMUData" / "AI2D_TEST.tsv", rows)
    docs = load_docs(spec, tmp_path / "LMUData", QWEN)
    samples = plan_samples(spec, docs, QWEN, None).samples
    assert {s.index: s.problem for s in samples if s.problem} == {
        3: ("prompt", "line 5 of AI2D_TEST.tsv: its answer is none of its options."),
        4: ("prompt", "line 6 of AI2D_TEST.tsv: an option between two others is missing."),
        5: ("prompt", "line 7 of AI2D_TEST.tsv: its field 'question' cannot be made: the table says nothing."),
    }
    assert len(samples) == len(rows)


def test_a_bad_box_keeps_its_expression(world: Path, tmp_path: Path) -> None:
    """A row that cannot be joined to its object is still one expression of the split's number."""
    spec = REGISTRY.tasks["refcoco_val"]
    rows = [row for row in tables.refcoco(world) if row["category"] == "RefCOCO val"]
    rows[2]["answer"] = "[0.1, 0.2, 0.3]"
    rows[4]["image"] = "99999"
    rows[6]["question"] = "Where is it?"
    tables.write_tsv(tmp_path / "LMUData" / "RefCOCO.tsv", rows)
    docs = load_docs(spec, tmp_path / "LMUData", QWEN)
    samples = plan_samples(spec, docs, QWEN, None).samples
    assert len(samples) == len(rows)
    assert sorted(s.problem[1] for s in samples if s.problem) == [
        "line 4 of RefCOCO.tsv: its field 'bbox' cannot be made: a box has four numbers, not 3.",
        "line 6 of RefCOCO.tsv: its field 'bbox' cannot be made: its picture is that of row '99999', which the table "
        "does not have.",
        "line 8 of RefCOCO.tsv: its field 'answer' cannot be made: list object has no element 1.",
    ]


def test_texts_come_through(tmp_path: Path) -> None:
    """What pandas quotes; words that pandas reads as missing; cells longer than the csv module's usual limit."""
    odd = ['a\tb\n"c" \\n', "None", "NA", "nan", " spaced ", "naïve 数学 🎓", "x" * 200_000, "'", '"']
    rows = made(tmp_path, [{"question": cell, "hint": cell, "image": text(A)} for cell in odd])
    assert [row["question"] for row in rows] == odd and [row["hint"] for row in rows] == odd
    assert csv.field_size_limit() == 131072, "the limit of the process is as it was"


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_whatever_pandas_writes_is_read(cells: list[tuple[str, str]], quoting: int) -> None:
    """Every record's texts, and its pictures from the place in the file that the scan remembers."""
    rows = [{"index": i, "question": q, "image": h * 65} for i, (q, h) in enumerate(cells)]
    with tempfile.TemporaryDirectory() as folder:
        table = scan(tables.write_tsv(Path(folder) / "Mini.tsv", rows, quoting=quoting))
        assert [record.fields["question"] for record in table.records] == [q for q, _ in cells]
        with table.path.open("rb") as stream:
            read = [picture_text(stream, table, record) for record in reversed(table.records)]
        assert read == [h * 65 for _, h in reversed(cells)]


def test_an_empty_cell_is_nothing(tmp_path: Path) -> None:
    (row,) = made(tmp_path, [{"image": text(A), "hint": float("nan")}])
    assert row["hint"] == "nan"


@pytest.mark.parametrize("options", [
    {"quoting": csv.QUOTE_ALL}, {"encoding": "utf-8-sig"}, {"lineterminator": "\r\n"},
])
def test_dialects(options: Mapping[str, Any], tmp_path: Path) -> None:
    rows = made(tmp_path, [{"image": text(A), "question": "a\nb"}, {"image": "0"}], **options)
    assert [row["question"] for row in rows] == ["a\nb", "question 1"] and data(rows[1]) == A


def test_pictures_in_files(tmp_path: Path) -> None:
    """Where there is no base64: below `images`, by a name, or by a path of where LMUData lay when it was written."""
    folder = tmp_path / "LMUData" / "images" / "Mini"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(A)
    (folder / "c.png").write_bytes(B)
    (tmp_path / "secret.png").write_bytes(B)
    names = ["a.png", str(["a.png"]), str(folder / "a.png"), "/elsewhere/LMUData/images/Mini/a.png",
             "../../../secret.png", str(tmp_path / "secret.png"), "b.png", "c.png"]  # fmt: skip
    rows = made(tmp_path, [{"image_path": name} for name in names])
    for row in rows[:4]:
        assert row[PROBLEM] is None and Path(row["image"]["path"]).read_bytes() == A
    for row in rows[4:6]:
        assert "lies outside" in row[PROBLEM] and row["image"] is None
    assert "its picture 'b.png' is not in" in rows[6][PROBLEM]
    assert Path(rows[7]["image"]["path"]).read_bytes() == B


# --------------------------------------------------------------------------------------------------------------
# Odd tables


@pytest.mark.parametrize(("damage", "message"), [
    (lambda raw: raw[:-10], "the file ends within a line"),
    (lambda raw: raw[: raw.rindex(b"question 1") + 3], "the record has 2 fields, the header 4"),
    (lambda raw: raw.replace(b"question 1", b'"question 1'), "line 3: unexpected end of data"),
    (lambda raw: raw.replace(b"question 1", b"question\xff"), "line 3: 'utf-8' codec can't decode"),
    (lambda raw: raw.replace(b"question 1", b"question\t1"), "line 3: the record has 5 fields, the header 4"),
    (lambda raw: b"", "the file is empty"),
    (lambda raw: raw.replace(b"hint", b"index"), "two columns have one name"),
    (lambda raw: raw[: raw.index(b"\n") + 1], "has no row of the split that is asked for"),
    (lambda raw: raw.replace(b"question\t", b"frage\t"), "no row can be read; line 2: its field 'question'"),
    (lambda raw: raw.replace(b"image", b"bild"), "has no column 'image'; it has index, question, hint, bild"),
])
def test_a_damaged_table_is_one_sentence(damage: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    rows = [{"index": i, "question": f"question {i}", "hint": None, "image": text(A)} for i in range(2)]
    path = tables.write_tsv(tmp_path / "LMUData" / "Mini.tsv", rows)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not [*(tmp_path / "cache").glob("*")], "nothing half made is left"


def test_rows_that_belong_nowhere_end_it(tmp_path: Path) -> None:
    rows = [{"index": i, "question": "q", "hint": None, "image": text(A), "part": part} for i, part in enumerate("ab")]
    tables.write_tsv(tmp_path / "Mini.tsv", rows)
    for changes, message in (({"config": "part"}, "line 3: 'b' is none of the parts that the data set has (a)"),
                             ({"where": {"place": 1}}, "line 2: what it is of cannot be told (place: it uses a field"),
                             ({"where": {"part": "c"}}, "no row of the split that is asked for (part = c)")):
        with pytest.raises(UserError) as caught:
            as_hub_folder(recipe(**changes), tmp_path, tmp_path / "c", evaluate, split="test", configs=["a"])
        assert message in str(caught.value)


def test_a_part_without_rows_is_no_whole_table(tmp_path: Path) -> None:
    row = {"index": 1, "question": "q", "hint": None, "image": text(A), "part": "a"}
    tables.write_tsv(tmp_path / "Mini.tsv", [row])
    folder = as_hub_folder(recipe(config="part"), tmp_path, tmp_path / "c", evaluate, split="test", configs=["a"])
    assert len(load(folder, "a")) == 1
    with pytest.raises(UserError, match=r"Mini\.tsv has no row of the part 'b', which the data set has"):
        as_hub_folder(recipe(config="part"), tmp_path, tmp_path / "c", evaluate, split="test", configs=["a", "b"])


@pytest.mark.parametrize(("names", "taken"), [
    (["Mini.tsv", "mini.tsv"], "Mini.tsv"),
    (["mini.tsv"], "mini.tsv"),
    (["sub/Mini.tsv", "mini.tsv"], "sub/Mini.tsv"),
    (["Mini.tsv", "sub/Mini.tsv"], "Mini.tsv"),
    (["datasets--x--Mini/snapshots/0a/Mini.tsv"], "datasets--x--Mini/snapshots/0a/Mini.tsv"),
    (["Mini_V11.tsv", "Mini.tsv.part", "Mini.csv", "xMini.tsv", "Mini_local.tsv", "MINI.tsv"], None),
    ([], None),
])
def test_only_the_declared_tables_are_taken(names: list[str], taken: str | None, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = find_table(tmp_path, recipe(others={"Mini_V11": "another benchmark", "MINI": "in capitals"}))
    assert table == (None if taken is None else tmp_path / taken)


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a/Mini.tsv", "b/Mini.tsv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"a/Mini.tsv and .*b/Mini.tsv are both the table Mini; keep one"):
        find_table(tmp_path, recipe())


@pytest.mark.parametrize(("task", "name", "sentence"), [
    ("mmbench", "MMBench_DEV_EN_V11", "its MMBench_DEV_EN_V11.tsv is MMBench V1.1, another benchmark"),
    ("mmbench", "MMBench_dev_en", "its MMBench_dev_en.tsv is the English part of the Multilingual MMBench"),
    ("mvbench", "MVBench", "its MVBench.tsv is of the hub's revision with whole videos"),
    ("ai2d", "AI2D_TEST_NO_MASK", "its AI2D_TEST_NO_MASK.tsv is the diagrams without the letters"),
    ("textvqa", "TextVQA_VAL_local", "TextVQA_VAL_local.tsv were written anew as JPEG files"),
    ("chartqa", "Other", "has no table ChartQA_TEST.tsv of VLMEvalKit."),
    ("star", "STAR", "VLMEvalKit has no table of STAR."),
])
def test_another_table_is_not_mistaken_for_it(task: str, name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.tsv").touch()
    spec = REGISTRY.tasks[task]
    assert task_table(spec, tmp_path) is None and sentence in why_no_table(spec, tmp_path)
    with pytest.raises(UserError, match="VLMEvalKit"):
        hub_folder(spec, tmp_path)


def test_an_earlier_upload_is_refused(tmp_path: Path) -> None:
    made(tmp_path, [{"image": text(A)}])
    md5 = hashlib.md5((tmp_path / "LMUData" / "Mini.tsv").read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"Mini\.tsv is an earlier upload: options are lost in it; fetch it anew"):
        read(tmp_path, recipe(outdated={md5: "options are lost in it"}))


@pytest.mark.parametrize("published", [None, "", "other"])
def test_the_folder_says_where_it_is_from(published: str | None, tmp_path: Path) -> None:
    made(tmp_path, [{"image": text(A)}])
    md5 = hashlib.md5((tmp_path / "LMUData" / "Mini.tsv").read_bytes()).hexdigest()
    table = recipe(md5=published if published is None else published or md5)
    folder = as_hub_folder(table, tmp_path / "LMUData", tmp_path / "c", evaluate, split="test")
    sentences = {None: f"(md5 {md5}).", "": "as VLMEvalKit publishes it).", "other": "not the table that VLMEvalKit"}
    assert sentences[published] in (folder / "README.md").read_text()


# --------------------------------------------------------------------------------------------------------------
# The cache


def test_a_table_is_read_once(tmp_path: Path) -> None:
    def folder(**changes: Any) -> Path:
        return as_hub_folder(recipe(**changes), tmp_path / "LMUData", tmp_path / "cache", evaluate, split="test")

    made(tmp_path, [{"image": text(A)}])
    first = folder()
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert folder() == first and {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    assert folder(fields={"image": "picture(1)"}, types={"image": "image"}) != first, "another recipe, other rows"
    made(tmp_path, [{"image": text(B)}])
    os.utime(tmp_path / "LMUData" / "Mini.tsv", ns=(1, 1))
    assert data(load(folder())[0]) == B, "another table in the same place"


def test_a_large_table_is_never_held(tmp_path: Path) -> None:
    """96 MB of pictures in a table; a row group of them and its columns are held, not the table."""
    path = tmp_path / "LMUData" / "Mini.tsv"
    path.parent.mkdir()
    with path.open("w") as stream:
        stream.write("index\tquestion\thint\timage\n")
        for i in range(48):
            stream.write(f"{i}\tquestion {i}\t\t{text(os.urandom(1_500_000))}\n")
    tracemalloc.start()
    try:
        as_hub_folder(recipe(), tmp_path / "LMUData", tmp_path / "cache", evaluate, split="test")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 95e6 and peak < 48e6


# --------------------------------------------------------------------------------------------------------------
# Recipes


@pytest.mark.parametrize(("changes", "message"), [
    ({"tabels": ["x"]}, "unknown key 'tabels', did you mean 'tables'? (see tasks/README.md)"),
    ({"tables": "Mini"}, "'tables' must be a list, not 'Mini' (see tasks/README.md)"),
    ({"tables": []}, "'tables' is empty"),
    ({"names": {"part": 3}}, "'names.part' must be text, not 3"),
    ({"types": {"nope": "int64"}}, "'nope' is none of its fields"),
    ({"join": "nope"}, "'nope' is none of its fields"),
    ({"include": "nope.yaml"}, "nope.yaml cannot be read as YAML: No such file"),
])
def test_a_wrong_recipe_names_its_file(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"Task file mini\.yaml, metadata lmudata: ") as caught:
        recipe(**changes)
    assert message in str(caught.value)


def test_a_box_is_cocos_again() -> None:
    """The row of VLMEvalKit's issue 1330, whose picture has 640 x 426 pixels; a box in pixels stays as it is."""
    corners = [0.088250, 0.033709, 0.469672, 0.474155]
    assert xywh(corners, (640, 426)) == [56.48, 14.36, 244.11, 187.63]
    assert xywh([56.48, 14.36, 300.59, 201.99], (640, 426)) == [56.48, 14.36, 244.11, 187.63]


# --------------------------------------------------------------------------------------------------------------
# The commands


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = cli.main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_folder_is_checked_as_a_mirror_is(lmudata: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = "mmmu,mvbench,videomme_subtitles,refcocog_test"
    _, printed = command(capsys, "data", "check", "--data-root", lmudata, "--tasks", tasks, "--json")
    report_by_task = {report["task"]: report for report in json.loads(printed.rpartition("}")[0] + "}")["tasks"]}
    assert [report["problems"] + report["missing_columns"] for report in report_by_task.values()] == [[]] * 4
    assert report_by_task["mmmu"]["counts"] == {"samples": N} and report_by_task["mvbench"]["videos"] > 0
    assert report_by_task["refcocog_test"]["counts"]["objects"] == N


def test_a_column_without_its_table_is_that_columns_failure(
    lmudata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(lmudata / "MMBench_DEV_EN.tsv", tmp_path / "MMBench_DEV_EN_V11.tsv")
    (tmp_path / "AI2D_TEST.tsv").write_text("index\timage\n1\t")
    code, printed = command(capsys, "data", "check", "--data-root", tmp_path, "--tasks", "mmbench,ai2d,star")
    assert code == 1 and "0 of 3 tasks are whole" in printed
    assert "its MMBench_DEV_EN_V11.tsv is MMBench V1.1, another benchmark with other questions." in printed
    assert "AI2D_TEST.tsv, line 2: the file ends within a line" in printed
    assert "VLMEvalKit has no table of STAR." in printed
    with pytest.raises(UserError, match=r"Task mmbench: .*MMBench V1\.1, another benchmark .*fetch it with: hf downl"):
        load_docs(REGISTRY.tasks["mmbench"], tmp_path, QWEN)


def test_listing_and_planning_read_no_table(
    lmudata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert absence(REGISTRY.tasks["mmbench"], lmudata) is None and absence(REGISTRY.tasks["lvbench"], lmudata)
    code, printed = command(capsys, "data", "plan", "--data-root", lmudata, "--tasks", "mmbench,chartqa")
    assert code == 0 and "missing" not in printed
    assert not list(tmp_path.rglob("*.arrow"))

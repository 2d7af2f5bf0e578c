"""BLINK: several pictures a question, the authors' average, both releases of its answers, and its options' wordings.

Facts by the authors: eval/val_answers.json and eval/saved_outputs of github.com/zeyofu/BLINK_Benchmark, and the
validation numbers of its README.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from suite_mirror import png

from mmrope_eval.data.recipe import columns_and_options
from mmrope_eval.data.rows import round_robin
from mmrope_eval.errors import MissingMediumError, TargetError, UserError
from mmrope_eval.messages import ImageSource
from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.run.side_by_side import SECONDS, second_item, second_number
from mmrope_eval.scorer import chance
from mmrope_eval.scorer.choice import extract
from mmrope_eval.task.dataset import fetch_command, load_docs, task_recipe
from mmrope_eval.task.parts import build_parts
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.targets import check_target
from mmrope_eval.task.template import build_target, evaluate
from mmrope_synth import build_world

REGISTRY = Registry()
BLINK = REGISTRY.tasks["blink"]
QWEN = REGISTRY.family("qwen2.5-vl")

ASKED = {
    "Art_Style": (117, 2), "Counting": (120, 4), "Forensic_Detection": (132, 4), "Functional_Correspondence": (130, 4),
    "IQ_Test": (150, 4), "Jigsaw": (150, 2), "Multi-view_Reasoning": (133, 2), "Object_Localization": (122, 2),
    "Relative_Depth": (124, 2), "Relative_Reflectance": (134, 3), "Semantic_Correspondence": (139, 4),
    "Spatial_Relation": (143, 2), "Visual_Correspondence": (172, 4), "Visual_Similarity": (135, 2),
}  # fmt: skip
"""Task -> validation questions, and options of each."""
RIGHT = {
    "GPT-4o": (60.0, (97, 59, 105, 53, 47, 83, 79, 73, 92, 50, 75, 99, 129, 98)),
    "GPT-4 Turbo": (54.6, (93, 69, 84, 32, 49, 104, 70, 64, 82, 44, 43, 99, 90, 109)),
    "GPT-4 (vision preview)": (51.1, (93, 73, 45, 34, 34, 105, 74, 67, 74, 52, 40, 104, 58, 106)),
    "LLaVA-1.6-34B": (46.8, (51, 80, 59, 27, 39, 82, 83, 72, 84, 42, 33, 107, 53, 66)),
    "Qwen-VL-MAX": (40.3, (45, 68, 58, 37, 32, 7, 69, 59, 72, 49, 32, 100, 54, 69)),
    "LLaVA-1.5-7B": (37.1, (55, 48, 31, 26, 30, 17, 69, 69, 65, 53, 32, 88, 44, 64)),
}
"""Model -> the published validation number, and right answers by task in the order of `ASKED`."""
FIRST_ANSWERS = (
    "ACBACBCCCBCAABCAABBBABCBBAACCCABCCAABBAABBBCCCCCACBCCCABAABAAAAAAAABCCCBCCAABCBAACBBCCBCCCAACCCCBCBBABBBBCCBBCCABABBCBC"
    "CBCBAAACCCBCAAC"
)
"""To Relative_Reflectance, questions 1 to 134, before 3 September 2025."""


# ----------------------------------------------------------------------------------------------------- several pictures


def shown(row: Mapping[str, Any]) -> list[Any]:
    """The pictures of a row in the order in which a checkpoint gets them."""
    parts = build_parts(BLINK.media, "?", row, None)
    assert parts[-1] == "?", "pictures go before the text, which calls them first, second, third and fourth"
    return [part.data for part in parts if isinstance(part, ImageSource)]


def pictures(*contents: bytes | None) -> dict[str, Any]:
    """The four fields of a row; None for a picture that there is not."""
    given = [None if content is None else {"bytes": content, "path": None} for content in contents]
    return {f"image_{n + 1}": value for n, value in enumerate([*given, None, None, None, None][:4])}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_row_shows_the_pictures_that_it_has(count: int) -> None:
    contents = [f"picture {n}".encode() for n in range(count)]
    assert shown(pictures(*contents)) == contents


@pytest.mark.parametrize(("row", "says"), [
    (pictures(), "the row has no image in any of the fields image_1, image_2, image_3, image_4."),
    (pictures(None, b"2"), "the row has no image in field 'image_1', but one in 'image_2'."),
    (pictures(b"1", None, b"3"), "the row has no image in field 'image_2', but one in 'image_3'."),
    (pictures(b"1", b""), "the row has no image in field 'image_2'."),
])
def test_a_row_that_has_lost_a_picture_is_not_asked_without_it(row: dict[str, Any], says: str) -> None:
    with pytest.raises(MissingMediumError) as raised:
        shown(row)
    assert str(raised.value) == says


def test_a_configuration_without_a_column_of_pictures_loses_nobodys() -> None:
    """Counting has one picture a question: the table may have no second column, or one typed as empty."""
    from datasets import Dataset, Features, Image, Value

    picture = {"bytes": png(0), "path": None}
    features = {"q": Value("string"), "image_1": Image(), "image_2": Image()}
    parts = {
        "absent": Dataset.from_dict({"q": ["a"], "image_1": [picture]},
                                    Features({name: features[name] for name in ("q", "image_1")})),
        "empty": Dataset.from_dict({"q": ["b"], "image_1": [picture], "image_2": [None]},
                                   Features({**features, "image_2": Value("null")})),
        "full": Dataset.from_dict({"q": ["c"], "image_1": [picture], "image_2": [picture]}, Features(features)),
    }  # fmt: skip
    rows = round_robin(parts, dict.fromkeys(parts, "."))
    assert [(row["q"], row["image_1"] is not None, row["image_2"] is not None) for row in rows] == [
        ("a", True, False), ("b", True, False), ("c", True, True)]
    assert rows.features["image_2"] == Image()


# ----------------------------------------------------------------------------------------------------- rows and average


def test_the_split_is_the_fourteen_tasks_of_the_authors() -> None:
    assert list(BLINK.subsets) == list(BLINK.groups) == list(ASKED)
    assert BLINK.expected == {"samples": sum(asked for asked, _ in ASKED.values())} == {"samples": 1901}


def items(right: tuple[int, ...]) -> list[Item]:
    """The samples of a model that has so many right answers in each task."""
    pairs = zip(ASKED.items(), right, strict=True)
    return [Item(float(n < good), (task,)) for (task, (asked, _)), good in pairs for n in range(asked)]


@pytest.mark.parametrize(("published", "right"), RIGHT.values(), ids=RIGHT)
def test_the_number_is_the_authors_mean_of_the_fourteen(published: float, right: tuple[int, ...]) -> None:
    assert round(100 * AGGREGATES["macro"](items(right)).value, 1) == published
    assert round(100 * AGGREGATES["micro"](items(right)).value, 1) != published, "right of all asked is another number"


def test_chance_is_the_authors_random_choice() -> None:
    targets = [{"answer": "A", "options": ["?"] * options, "group": task}
               for task, (asked, options) in ASKED.items() for _ in range(asked)]
    level = 100 * chance.chance_level("macro", targets, [None] * len(targets))
    assert round(level, 1) == BLINK.chance == 38.1


@pytest.mark.parametrize("place", [{"subset": "Jigsaw"}, {"sub_task": "Jigsaw"}])
def test_a_rows_task_is_its_configuration_or_what_the_row_says(place: dict[str, str]) -> None:
    row = {"answer": "(B)", "choices": ["left", "right"], **place}
    assert build_target(BLINK.target, row) == {"answer": "B", "options": ["left", "right"], "group": "Jigsaw"}


def test_lmms_evals_number_is_the_mean_of_its_fourteen_tasks() -> None:
    """Its group is an unweighted mean (`weight_by_size` is false unless a file says otherwise)."""
    rows = [("Jigsaw", "A"), ("Jigsaw", "B"), ("Jigsaw", "B"), ("Counting", "B")]
    made = [{"idx": f"val_{task}_{n}", "subset": task, "sub_task": task, "choices": ["x", "y"], "answer": f"({answer})"}
            for n, (task, answer) in enumerate(rows)]
    given = [second_item(BLINK.stock, row, "B", None) for row in made]
    assert second_number(SECONDS["stock"], BLINK, given).value == pytest.approx(100 * (2 / 3 + 1) / 2)


# ---------------------------------------------------------------------------------------------- two releases of answers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_world(tmp_path_factory.mktemp("blink") / "world", n=14, columns=("blink",))


def with_answers(world: Path, root: Path, letters: str) -> Path:
    """A copy of the data set in which Relative_Reflectance has as many rows as letters, and these answers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = root / "BLINK-Benchmark" / "BLINK"
    shutil.copytree(world / "BLINK-Benchmark" / "BLINK", folder)
    path = folder / "Relative_Reflectance" / "val-00000-of-00001.parquet"
    table = pq.read_table(path)
    (row,) = table.to_pylist()
    rows = [{**row, "idx": f"val_Relative_Reflectance_{n + 1}", "answer": f"({letter})"}
            for n, letter in enumerate(letters)]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return root


def test_a_copy_with_the_first_answers_is_refused(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError) as raised:
        load_docs(BLINK, with_answers(world, tmp_path / "old", FIRST_ANSWERS), QWEN)
    message = str(raised.value)
    assert message.startswith("BLINK: the answers to Relative_Reflectance are those of before 3 September 2025")
    assert "hf download BLINK-Benchmark/BLINK --repo-type dataset --include 'Relative_Reflectance/val-*'" in message
    corrected = FIRST_ANSWERS.replace("A", "x").replace("B", "A").replace("x", "B")
    assert len(load_docs(BLINK, with_answers(world, tmp_path / "new", corrected), QWEN).rows) == 134 + 13


def test_only_the_validation_files_are_fetched_and_found_without_a_card(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fetch_command(BLINK, None) == "hf download BLINK-Benchmark/BLINK --repo-type dataset --include '*/val-*'"
    folder = tmp_path / "BLINK-Benchmark" / "BLINK"
    shutil.copytree(world / "BLINK-Benchmark" / "BLINK", folder)
    (folder / "README.md").unlink()
    rows = load_docs(BLINK, tmp_path, QWEN).rows
    assert [row["subset"] for row in rows] == list(ASKED), "each task's first question before anybody's second"


def test_the_hidden_answers_of_the_test_split_are_no_answers() -> None:
    row = {"choices": ["left", "right"], "answer": "hidden", "sub_task": "Jigsaw"}
    with pytest.raises(TargetError, match="the right answer 'hidden' is none of the options A, B"):
        check_target(BLINK.scorer, build_target(BLINK.target, row))


# ----------------------------------------------------------------------------------------------------------- VLMEvalKit


@pytest.mark.parametrize("question", [
    "Which is it?", "Which is it?\nSelect from the following choices.",
    "Which is it?\nSelect from the following choices.\n(A) left\n(B) right",
], ids=["question", "and its last line", "and the options"])
def test_whatever_vlmevalkits_table_has_for_a_question_the_prompt_is_the_authors(question: str) -> None:
    recipe = task_recipe(BLINK)
    assert recipe is not None
    names = columns_and_options({"question": question, "A": "left", "B": "right", "C": None})
    prompt = evaluate(recipe.fields["prompt"], names)
    assert prompt == "Which is it?\nSelect from the following choices.\n(A) left\n(B) right"


# ------------------------------------------------------------------------------------------------------------- readings

CLOSER = ["A is closer", "B is closer"]
DARKER = ["A is darker", "B is darker", "About the same"]
POINTS = [f"Point {letter}" for letter in "ABCD"]
IMAGES = ["the second image", "the third image"]
READ = [
    ("A is closer. The point labeled 'A' is closer to the camera than the point labeled 'B'.", CLOSER, "A"),
    ('A is closer to the camera than B. The group circled and labeled "A" appears larger compared to the one circled '
     'and labeled "B", indicating that group A is closer.', CLOSER, "A"),
    ("(A) A is darker. The surface labeled 'A' appears darker compared to the surface labeled 'B'.", DARKER, "A"),
    ("(B) B is darker. The point labeled as B is on a poster, darker relative to the point labeled as A, on a wall.",
     DARKER, "B"),
    ("About the same.", DARKER, "C"),
    ("The corresponding point is the one labeled B.", POINTS, "B"),
    ("So, the corresponding point for the reference point REF is Point C.", POINTS, "C"),
    ("(A) the second image", IMAGES, "A"),
    ("The third image shares the style of the first.", IMAGES, "B"),
    ("The second and the third image look alike.", IMAGES, None),
    ("Box A and Box B overlap; neither is exact.", ["Box A", "Box B"], None),
    ("right", ["left", "right"], "B"),
]
"""Worded after the authors' responses."""


@pytest.mark.parametrize(("response", "options", "letter"), READ)
def test_options_that_are_called_by_letters_are_read_as_they_are_meant(
    response: str, options: list[str], letter: str | None
) -> None:
    assert extract(response, dict(zip("ABCD", options, strict=False))) == letter

"""The demo mirror: true schemas, true pictures, boxes inside them, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmrope_demo.charts import CHARTS, png
from mmrope_demo.mirror import (
    CHARADES,
    CHARTQA,
    REFCOCO,
    REFCOCO_G,
    REFCOCO_PLUS,
    VIDEO_FOLDER,
    build_mirror,
    mirror_is_current,
)
from mmrope_demo.mirror_content import PEOPLE, THINGS
from mmrope_eval.errors import UserError

pytest.importorskip("datasets")

SPLITS = {
    REFCOCO: {"val", "test", "testA", "testB"},
    REFCOCO_PLUS: {"val", "testA", "testB"},
    REFCOCO_G: {"val", "test"},
    CHARTQA: {"test"},
    CHARADES: {"test"},
}
REFERRING = ["question_id", "image", "question", "answer", "segmentation", "bbox", "iscrowd", "file_name"]
WHERE = {"left", "right", "top", "bottom", "middle", "center", "upper", "lower", "first", "last", "behind her"}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_mirror(tmp_path_factory.mktemp("demo") / "mirror")


def load(mirror: Path, dataset: str, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(mirror / dataset), cache_dir=str(cache))


@pytest.mark.parametrize("dataset", SPLITS)
def test_the_hubs_splits_load_offline(mirror: Path, dataset: str, tmp_path: Path) -> None:
    loaded = load(mirror, dataset, tmp_path)
    assert set(loaded) == SPLITS[dataset]
    assert all(8 <= len(rows) <= 24 for rows in loaded.values()), {name: len(rows) for name, rows in loaded.items()}


@pytest.mark.parametrize("dataset", [REFCOCO, REFCOCO_PLUS, REFCOCO_G])
def test_referring_rows_have_the_hubs_columns_and_boxes_inside_their_pictures(
    mirror: Path, dataset: str, tmp_path: Path
) -> None:
    from datasets import Image, Value

    for split in load(mirror, dataset, tmp_path).values():
        assert split.column_names == REFERRING
        assert isinstance(split.features["image"], Image)
        assert split.features["iscrowd"] == Value("int8")
        assert split.features["bbox"].feature == Value("float32")
        for row in split:
            picture = row["image"].convert("RGB")  # decodes the whole file
            x, y, width, height = row["bbox"]
            assert 0 <= x < x + width <= picture.width, row["answer"]
            assert 0 <= y < y + height <= picture.height, row["answer"]
            assert width * height >= 100
            assert row["answer"] and all(text.strip() for text in row["answer"])
            assert row["question_id"].isdigit()


def test_people_are_testA_and_things_are_testB(mirror: Path, tmp_path: Path) -> None:  # noqa: N802
    loaded = load(mirror, REFCOCO_PLUS, tmp_path)
    people = {text for referent in PEOPLE for text in referent.plus}
    things = {text for referent in THINGS for text in referent.plus}
    assert {text for row in loaded["testA"] for text in row["answer"]} <= people
    assert {text for row in loaded["testB"] for text in row["answer"]} <= things


@pytest.mark.parametrize("referent", [*PEOPLE, *THINGS], ids=lambda referent: referent.plus[0])
def test_refcoco_plus_expressions_never_say_where(referent: Any) -> None:
    for text in referent.plus:
        assert not WHERE & set(text.split()), text


def test_val_and_tests_share_no_object(mirror: Path, tmp_path: Path) -> None:
    loaded = load(mirror, REFCOCO, tmp_path)
    objects = {name: set(rows["question_id"]) for name, rows in loaded.items()}
    assert not objects["val"] & objects["test"]
    assert objects["testA"] | objects["testB"] == objects["test"]


@pytest.mark.parametrize("flavour", ["refcoco", "plus", "described"])
def test_no_expression_names_two_objects_of_one_picture(flavour: str) -> None:
    expressions = []
    for referent in (*PEOPLE, *THINGS):
        value = getattr(referent, flavour)
        expressions += [(referent.photo, text) for text in ([value] if isinstance(value, str) else value)]
    assert len(expressions) == len(set(expressions))


def test_chart_rows_have_the_hubs_columns_human_questions_first(mirror: Path, tmp_path: Path) -> None:
    rows = load(mirror, CHARTQA, tmp_path)["test"]
    assert rows.column_names == ["type", "question", "answer", "image"]
    kinds = rows["type"]
    assert list(kinds) == sorted(kinds, reverse=True)
    assert set(kinds) == {"human_test", "augmented_test"}
    assert all(row["image"].convert("RGB").size == (560, 400) for row in rows)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_chart_answers_follow_from_the_numbers_drawn(chart: Any) -> None:
    values = [f"{value:g}" for _, series in chart.series for value in series]
    for kind, question, answer in chart.questions:
        if kind == "augmented":
            assert answer in values, question  # generated questions ask for a value that is in the chart
    assert png(chart) == png(chart)


def test_computed_chart_answers() -> None:
    numbers = {chart.name: dict(zip(chart.labels, chart.series[0][1], strict=True)) for chart in CHARTS}
    asked = {question: answer for chart in CHARTS for _, question, answer in chart.questions}
    rain, energy, library, budget = (numbers[name] for name in ("rainfall", "energy", "library", "budget"))
    trains = next(chart for chart in CHARTS if chart.name == "trains")
    fell = [label for label, a, b in zip(trains.labels, *(v for _, v in trains.series), strict=True) if b < a]
    assert asked["Which month had the least rainfall?"] == min(rain, key=rain.__getitem__)
    assert float(asked["How much more rain fell in May than in January?"]) == rain["May"] - rain["Jan"]
    assert float(asked["What is the sum of wind and solar?"]) == energy["Wind"] + energy["Solar"]
    assert float(asked["What is the difference between 2019 and 2020?"]) == library["2019"] - library["2020"]
    assert asked["In which year was the number of visitors the lowest?"] == min(library, key=library.__getitem__)
    assert [asked["In which region did the share fall from 2022 to 2023?"]] == fell
    assert asked["What takes the largest part of the budget?"] == max(budget, key=budget.__getitem__)
    ratio = asked["How many times as large is the share of schools as that of roads?"]
    assert float(ratio) == budget["Schools"] / budget["Roads"]


def test_moments_lie_within_their_videos(mirror: Path, tmp_path: Path) -> None:
    import av

    rows = load(mirror, CHARADES, tmp_path)["test"]
    assert rows.column_names == ["video", "caption", "timestamp"]
    lengths = {}
    for name in set(rows["video"]):
        with av.open(str(mirror / CHARADES / VIDEO_FOLDER / name)) as container:
            assert container.duration
            lengths[name] = container.duration / av.time_base
    for row in rows:
        start, end = row["timestamp"]
        assert 0 <= start < end <= lengths[row["video"]] + 0.05, row["caption"]


def test_the_manifest_accounts_for_every_file_and_source(mirror: Path) -> None:
    manifest = json.loads((mirror / "manifest.json").read_text())
    on_disk = {str(path.relative_to(mirror)) for path in mirror.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == on_disk
    for source in manifest["sources"]:
        assert all(source[field] for field in ("package", "version", "file", "licence", "sha256"))


def test_two_builds_are_the_same_bytes(mirror: Path, tmp_path: Path) -> None:
    again = build_mirror(tmp_path / "again")
    assert (again / "manifest.json").read_bytes() == (mirror / "manifest.json").read_bytes()


def test_a_current_mirror_is_recognised_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    out = tmp_path / "mirror"
    assert not mirror_is_current(out)
    build_mirror(out)
    assert mirror_is_current(out)
    victim = out / CHARADES / VIDEO_FOLDER / "bikes.mp4"
    victim.write_bytes(victim.read_bytes()[:-1])
    assert not mirror_is_current(out)
    build_mirror(out)  # replaces its own earlier work
    assert mirror_is_current(out)
    (out / CHARTQA / "data" / "test-00000-of-00001.parquet").unlink()
    assert not mirror_is_current(out)


def test_somebody_elses_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        build_mirror(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_missing_package_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"scikit-image.*pip install"):
        build_mirror(tmp_path / "mirror")

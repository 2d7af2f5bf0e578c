"""The trained demo checkpoints: their files, the engine against the reference on them, and the committed scores."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmrope_demo.agreement import compare
from mmrope_demo.run import checkpoints, demo_config, demo_definition
from mmrope_demo.training import language, naming
from mmrope_demo.training.model import START, demo_variant, named_variant, read_start
from mmrope_demo.training.recipe import DIFFICULTY, TABLE_2, Recipe, carried_policy, media_policy
from mmrope_eval import cli
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import checkpoint_policy
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_eval.report.definitions import Row, load_definition
from mmrope_eval.run.run import run
from mmrope_synth import build_world

HOME = Path(__file__).resolve().parents[2] / "checkpoints"
RESULTS = HOME.parent / "results" / "demo"
MANIFEST = json.loads((HOME / "manifest.json").read_text())
ASKED = ("refcoco_val", "mmstar", "charades_sta")
TESTED = ("vanilla", "mrope-i", "mhrope")


def test_every_row_of_table_2_has_a_checkpoint() -> None:
    assert set(TABLE_2) <= set(MANIFEST["checkpoints"])


def test_checkpoints_are_small() -> None:
    sizes = {path.parent.name: path.stat().st_size for path in HOME.glob("*/model.safetensors")}
    assert set(sizes) == set(MANIFEST["checkpoints"])
    assert max(sizes.values()) <= 3_000_000
    assert sum(path.stat().st_size for path in HOME.rglob("*") if path.is_file()) <= 60_000_000
    assert all(about["parameters"] <= 1_500_000 for about in MANIFEST["checkpoints"].values())


@pytest.mark.parametrize("name", MANIFEST["checkpoints"])
def test_a_checkpoint_is_what_the_manifest_says(name: str) -> None:
    about = MANIFEST["checkpoints"][name]
    assert hashlib.sha256((HOME / name / "model.safetensors").read_bytes()).hexdigest() == about["sha256"]
    assert json.loads((HOME / name / "training.json").read_text()) == about
    chosen = resolve_variant(read_checkpoint(HOME / name), None)
    assert chosen.variant.fingerprint == demo_variant(about["variant"]).fingerprint == about["variant_fingerprint"]
    assert "mm_rope" in chosen.how
    log = [json.loads(line) for line in (HOME / name / "training.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == about["steps"]
    assert log[-1]["loss"] == about["training_loss"] < log[0]["loss"] / 2


@pytest.mark.parametrize("name", MANIFEST["checkpoints"])
def test_a_checkpoint_says_that_it_was_trained_by_the_clock(name: str) -> None:
    """And is the checkpoint that it was before it said so: whoever has its answers keeps them."""
    checkpoint = read_checkpoint(HOME / name)
    chosen = resolve_variant(checkpoint, None)
    kept = json.loads((RESULTS / "scores" / f"{name}.json").read_text())
    assert chosen.variant.time in ("seconds", None) and (chosen.variant.time is None) == name.startswith("vanilla")
    assert kept["checkpoint"]["fingerprint"] == checkpoint.fingerprint
    assert kept["variant"]["fingerprint"] == chosen.variant.fingerprint
    assert chosen.variant.timeless_fingerprint == chosen.variant.fingerprint
    assert json.loads((HOME / name / "config.json").read_text())["mm_rope"] == named_variant(chosen.variant.name) or (
        name == "mhrope")  # whose definition was written in full by version 0.2


@pytest.mark.parametrize("name", ["2", "3", "4"])
def test_the_demo_s_tables_are_the_paper_s_up_to_what_was_trained(name: str) -> None:
    ours, paper = demo_definition(name), load_definition(name)
    filled = {Row(checkpoint, demo_variant(about["variant"])).design
              for checkpoint, about in MANIFEST["checkpoints"].items()}
    missing = {"2": set(), "3": {"+modality-interval"}, "4": {"ilrope-like"}}[name]
    assert {row.label for row in ours.rows if row.design not in filled} == missing
    others = [(row.label, published.label)
              for row, published in zip(ours.rows, paper.rows, strict=True) if row != published]
    assert others == ([("circlerope-upstream", "circlerope")] if name == "2" else [])


@pytest.mark.parametrize("name", MANIFEST["checkpoints"])
def test_a_checkpoint_carries_the_limits_on_videos_that_it_was_taught_under(name: str) -> None:
    policy, sources = checkpoint_policy(read_checkpoint(HOME / name), {})
    carried = carried_policy()
    assert {field: getattr(policy, field) for field in carried} == carried
    assert all("mm_media" in sources[field] for field in carried)
    pictures = ("image_min_pixels", "image_max_pixels")
    assert dataclasses.replace(policy, **{name: getattr(media_policy(), name) for name in pictures}) == media_policy()


def test_all_were_taught_alike_and_as_the_recipe_says_now() -> None:
    made = MANIFEST["checkpoints"].values()
    assert {training["recipe"] for training in made} == {Recipe().fingerprint}
    for shared in ("lessons", "steps", "products"):
        assert len({training[shared] for training in made}) == 1


def test_further_trainings_start_where_these_did() -> None:
    """The encoder of every checkpoint is the kept one, rounded to bfloat16."""
    recipe = Recipe()
    kept = read_start(HOME / START, naming.key(recipe, language.read_tokenizer(HOME / "mrope-i")))
    assert kept is not None, f"{START} belongs to another recipe"
    encoder = {name: tensor for name, tensor in kept.items() if ".visual." in name and ".merger." not in name}
    assert encoder
    for name in MANIFEST["checkpoints"]:
        weights = load_file(HOME / name / "model.safetensors")
        assert all(torch.equal(weights[part], tensor.to(torch.bfloat16)) for part, tensor in encoder.items())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The columns that are asked here, as many rows as the committed scores rest on."""
    n = json.loads((RESULTS / "about.json").read_text())["rows_a_column"]
    return build_world(tmp_path_factory.mktemp("world"), n=n, columns=ASKED, difficulty=DIFFICULTY)


def answered(
    world: Path, output: Path, limit: Limit | None = None, names: tuple[str, ...] = TESTED, **changes: Any
) -> dict[str, Path]:
    """The cells of some checkpoints through the real engine, by variant."""
    config = demo_config(checkpoints(HOME, list(names)), world, output, limit)
    options = dataclasses.replace(config.options, **changes)
    result = run(dataclasses.replace(config, tasks=ASKED, options=options))
    assert result.failed == 0
    return {json.loads((folder / "scores.json").read_text())["variant"]["name"]: folder
            for folder in result.folders.values()}  # fmt: skip


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return answered(world, tmp_path_factory.mktemp("run") / "results")


@pytest.mark.parametrize("name", TESTED)
def test_scores_are_those_committed(finished: dict[str, Path], name: str) -> None:
    """Within a few answers: other processors round sums differently."""
    now = json.loads((finished[name] / "scores.json").read_text())["tasks"]
    kept = json.loads((RESULTS / "scores" / f"{name}.json").read_text())["tasks"]
    for task in ASKED:
        assert now[task]["data_fingerprint"] == kept[task]["data_fingerprint"]
        main = kept[task]["main"]
        assert now[task]["metrics"][main]["value"] == pytest.approx(kept[task]["metrics"][main]["value"], abs=3), task


def test_a_second_run_answers_the_same(finished: dict[str, Path], world: Path, tmp_path: Path) -> None:
    again = answered(world, tmp_path / "results", limit=Limit(20))
    for name in TESTED:
        for task in ASKED:
            first, second = (
                [json.loads(line) for line in (cells[name] / "samples" / f"{task}.jsonl").read_text().splitlines()]
                for cells in (finished, again)
            )
            answers = {row["id"]: row["prediction"] for row in first}
            assert second and all(answers[row["id"]] == row["prediction"] for row in second)


def test_evaluate_alone_gives_the_demos_answers(finished: dict[str, Path], world: Path, tmp_path: Path) -> None:
    """The documented command, with no limits given: a checkpoint carries its own."""
    argv = ["run", "--model", str(HOME / "mrope-i"), "--tasks", ",".join(ASKED), "--limit", "24",
            "--data-root", str(world), "--max-model-len", "2048", "--output", str(tmp_path)]  # fmt: skip
    assert cli.main(argv) == 0
    for task in ASKED:
        first, second = ([json.loads(line) for line in (folder / "samples" / f"{task}.jsonl").read_text().splitlines()]
                         for folder in (finished["mrope-i"], tmp_path))  # fmt: skip
        answers = {row["id"]: (row["prediction"], row["media"][0]["grid_thw"]) for row in first}
        assert len(second) == 24
        assert all(answers[row["id"]] == (row["prediction"], row["media"][0]["grid_thw"]) for row in second)


@pytest.mark.parametrize("name", TESTED)
def test_the_engine_answers_as_the_reference_does(finished: dict[str, Path], world: Path, name: str) -> None:
    """Every greedy answer, in float32; benchmarks/agreement.py asks all columns, and bfloat16."""
    torch.set_num_threads(1)
    comparison = compare(HOME / name, finished[name], world, ASKED, limit=Limit(40), dtype=torch.float32)
    assert comparison.questions >= 3 * 40
    assert comparison.different == ()
    assert comparison.same_tokens == comparison.tokens > comparison.questions


def test_bfloat16_answers_are_the_references_where_it_rounds_as_vllm_does(world: Path, tmp_path: Path) -> None:
    """Asked one at a time; what a kernel rounds depends on the processor, and the reference follows one with AMX."""
    torch.set_num_threads(1)
    folder = answered(world, tmp_path / "results", Limit(24), ("mrope-i",), dtype="bfloat16", head_dtype="float32",
                      max_num_seqs=1, enable_prefix_caching=False)["mrope-i"]  # fmt: skip
    alike, plain = (
        compare(HOME / "mrope-i", folder, world, ASKED, limit=Limit(24), dtype=torch.bfloat16, wide_head=True,
                rounding=whose)
        for whose in ("vllm", "transformers")
    )
    assert plain.questions == alike.questions >= 3 * 24
    assert plain.same_tokens / plain.tokens > 0.95
    if torch.cpu._is_amx_tile_supported():
        assert alike.same_tokens / alike.tokens >= 0.99
        assert len(alike.different) < len(plain.different)
    else:
        assert alike.same_tokens / alike.tokens > 0.93


def test_a_float32_output_matrix_keeps_apart_what_bfloat16_ties(world: Path, tmp_path: Path) -> None:
    """On both sides: wherever they part, the two tokens are then nearer than bfloat16 could tell."""
    torch.set_num_threads(1)
    folders = answered(world, tmp_path / "results", Limit(24), ("mrope-i",), dtype="bfloat16", head_dtype="float32")
    folder = folders["mrope-i"]
    wide = compare(HOME / "mrope-i", folder, world, ASKED, limit=Limit(24), dtype=torch.bfloat16, wide_head=True)
    assert wide.same_tokens / wide.tokens > 0.95
    assert all(abs(difference.margin) < 0.05 for difference in wide.different)
    assert all(difference.margin % 0.03125 != 0 for difference in wide.different), "steps of a bfloat16 logit"


def committed(table: str) -> dict[tuple[str, str], dict[str, str]]:
    with (RESULTS / f"table{table}.csv").open() as lines:
        return {(line["row"], line["column"]): line for line in csv.DictReader(lines)}


def test_committed_tables_hold_every_row() -> None:
    cells = committed("2")
    assert all(cells[row, column]["score"] for row in TABLE_2 for column in ("Image", "Video", "Grounding", "Overall"))


def test_the_trained_models_are_well_above_chance() -> None:
    cells = committed("2")
    for column in ("Image", "Video", "Grounding"):
        cell = cells["mrope-i", column]
        assert float(cell["score"]) >= float(cell["chance"]) + 15, column
    assert float(cells["mrope-i", "Grounding"]["score"]) >= 60
    for row in TABLE_2:
        for column in ("Image", "Video", "Grounding"):
            assert float(cells[row, column]["score"]) <= 95, "the demo would be at its ceiling"


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint .*mrope-i is missing.*demo train --variant mrope-i"):
        checkpoints(tmp_path, ["mrope-i"])
    assert cli.main(["demo", "--checkpoints", str(tmp_path), "--output", str(tmp_path / "out")]) == 2

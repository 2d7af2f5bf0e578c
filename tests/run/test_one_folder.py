"""One folder, many commands: scores are added to, rows of other checkpoints stand beside, nothing scored disappears."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from installed import install
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.record.files import write_manifest
from mmrope_eval.report.compare.pairing import match_cells
from mmrope_eval.report.runs import load_run
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.manifest import versions

N = 4
IMAGE, VIDEO = ("chartqa", "refcoco_val"), ("charades_sta",)
COUNTS = {"chartqa": N, "refcoco_val": 2 * N, "charades_sta": N}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=N)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ck")
    return build_checkpoint("qwen2.5-vl", folder / "A"), build_checkpoint("qwen2.5-vl", folder / "B", seed=1)


@pytest.fixture
def base(checkpoints: tuple[Path, Path], mirror: Path, tmp_path: Path) -> RunConfig:
    """Checkpoint A under MRoPE on the columns with pictures."""
    return RunConfig((str(checkpoints[0]),), IMAGE, tmp_path / "out", ("mrope",), data_root=mirror,
                     options=EngineOptions(), command=("run", "image"))  # fmt: skip


def go(config: RunConfig, fail: frozenset[str] = frozenset(), **changes: Any) -> list[str]:
    """Run a command; what it asked."""
    start = FakeStart({"fail": fail})
    result = running.run(dataclasses.replace(config, **changes), start)
    assert not result.broken
    return sorted(start.asked)


def refused(config: RunConfig, **changes: Any) -> str:
    """The sentence that a command is refused with, before anything is asked or changed."""
    before = {path: path.read_bytes() for path in config.output.rglob("*") if path.is_file() and path.suffix != ".txt"}
    start = FakeStart()
    with pytest.raises(UserError) as caught:
        running.run(dataclasses.replace(config, **changes), start)
    after = {path: path.read_bytes() for path in config.output.rglob("*") if path.is_file() and path.suffix != ".txt"}
    after.pop(config.output / ".lock"), before.pop(config.output / ".lock")
    assert start.engines == [] and after == before
    return str(caught.value)


def record(folder: Path, name: str = "scores.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())  # type: ignore[no-any-return]


def files(folder: Path) -> dict[str, bytes]:
    paths = [folder / "scores.json", *sorted(folder.glob("samples/*")), *folder.glob("failures.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# ------------------------------------------------------------------------------------------------------- other tasks


def test_a_second_command_with_other_tasks_adds_to_the_scores(base: RunConfig, tmp_path: Path) -> None:
    failing = frozenset({"chartqa/1", "charades_sta/2"})
    go(base, failing)
    go(base, failing, tasks=VIDEO, command=("run", "video"))
    whole = dataclasses.replace(base, output=tmp_path / "whole", tasks=(*IMAGE, *VIDEO))
    go(whole, failing)
    assert files(base.output) == files(whole.output), "as one command would have written"
    assert [command["command"] for command in record(base.output, "manifest.json")["commands"]] == [
        ["run", "image"], ["run", "video"]]  # fmt: skip
    assert set(load_run(base.output).scores["task"]) == {*IMAGE, *VIDEO}
    assert len(load_run(base.output).samples) == sum(COUNTS.values())


def test_the_same_commands_again_change_nothing(base: RunConfig) -> None:
    go(base)
    go(base, tasks=VIDEO, command=("run", "video"))
    before = files(base.output)
    for tasks, word in ((IMAGE, "image"), (VIDEO, "video"), (IMAGE, "image")):
        assert go(base, tasks=tasks, command=("run", word)) == []
        assert files(base.output) == before
    assert [command["command"][1] for command in record(base.output, "manifest.json")["commands"]] == ["video", "image"]


def test_a_task_that_both_ask_is_the_later_one_s(base: RunConfig) -> None:
    go(base, limit=Limit(2, "first"))
    go(base, tasks=("chartqa", *VIDEO))
    assert {name: entry["n"] for name, entry in record(base.output)["tasks"].items()} == {
        "refcoco_val": 2, "chartqa": N, "charades_sta": N}  # fmt: skip
    scores = load_run(base.output).scores.set_index("task")
    assert scores["limited"].to_dict() == {"refcoco_val": True, "chartqa": False, "charades_sta": False}


def test_each_task_is_rescored_with_the_data_and_the_limit_of_its_own_command(
    base: RunConfig, mirror: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(mirror, tmp_path / "other"))
    go(base, limit=Limit(3))
    go(base, tasks=VIDEO, data_root=other)
    before = files(base.output)
    tasks = record(base.output, "manifest.json")["tasks"]
    assert {name: (task["limit"], task["data_root"]) for name, task in tasks.items()} == {
        **dict.fromkeys(IMAGE, ("3", str(mirror))), "charades_sta": (None, str(other))}  # fmt: skip
    assert cli.main(["rescore", str(base.output)]) == 0
    assert files(base.output) == before
    assert cli.main(["rescore", str(base.output), "--output", str(tmp_path / "new")]) == 0
    assert files(tmp_path / "new") == before


def test_a_row_of_version_0_3_is_added_to(base: RunConfig) -> None:
    go(base)
    manifest = record(base.output, "manifest.json")
    for name in ("code", "commands", "sha256"):
        del manifest[name]
    for task in manifest["tasks"].values():
        for name in ("limit", "seed", "data_root"):
            del task[name]
    (base.output / "manifest.json").write_text(json.dumps(manifest))
    go(base, tasks=VIDEO, command=("run", "video"))
    assert set(record(base.output)["tasks"]) == {*IMAGE, *VIDEO}
    manifest = record(base.output, "manifest.json")
    assert [command["command"][1] for command in manifest["commands"]] == ["image", "video"]
    assert manifest["tasks"]["chartqa"]["data_root"] == str(base.data_root)


def test_a_command_that_is_killed_between_its_two_records_loses_no_scores(base: RunConfig) -> None:
    go(base)
    manifest = (base.output / "manifest.json").read_bytes()
    go(base, tasks=VIDEO)
    (base.output / "manifest.json").write_bytes(manifest)  # scores.json is written, manifest.json is not
    go(base, tasks=("chartqa",))
    assert set(record(base.output)["tasks"]) >= set(IMAGE)
    go(base, tasks=VIDEO)
    assert set(load_run(base.output).scores["task"]) == {*IMAGE, *VIDEO}


# --------------------------------------------------------------------------------------------------- damaged records


def test_scores_that_were_changed_are_not_kept_and_that_is_said(
    base: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    go(base)
    path = base.output / "samples" / "chartqa.jsonl"
    path.write_text(path.read_text().replace('"relaxed": 0.0', '"relaxed": 1.0', 1))
    go(base, tasks=VIDEO)
    assert set(record(base.output)["tasks"]) == {"refcoco_val", "charades_sta"}
    assert "what was scored of chartqa is not kept in scores.json: " in capsys.readouterr().err
    go(base)
    assert set(load_run(base.output).scores["task"]) == {*IMAGE, *VIDEO}


@pytest.mark.parametrize("name", ["scores.json", "manifest.json"])
def test_records_that_cannot_be_read_are_said_where_they_may_have_held_more(
    base: RunConfig, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    go(base)
    (base.output / name).write_text("{")
    go(base, tasks=VIDEO)
    printed = capsys.readouterr().err
    assert "what other commands scored is not kept in scores.json, start them again: " in printed and name in printed
    (base.output / name).write_text("{")
    go(base, tasks=(*IMAGE, *VIDEO))
    assert "what other commands scored" not in capsys.readouterr().err, "this one covers all of it"
    assert set(load_run(base.output).scores["task"]) == {*IMAGE, *VIDEO}


# --------------------------------------------------------------------------------------------------------- other rows


def test_another_checkpoint_stands_beside_in_a_folder_of_its_own(
    base: RunConfig, checkpoints: tuple[Path, Path]
) -> None:
    go(base)
    before = files(base.output)
    assert len(go(base, models=(str(checkpoints[1]),))) == 3 * N
    assert files(base.output) == before
    assert record(base.output / "B--mrope")["checkpoint"]["path"] == str(checkpoints[1])
    scores = load_run(base.output).scores
    assert sorted(set(zip(scores["model"], scores["task"], strict=True))) == sorted(
        (model, task) for model in ("A", "B") for task in IMAGE)  # fmt: skip
    assert go(base, models=(str(checkpoints[1]),)) == [], "and is found there again"
    assert go(base) == [] and files(base.output) == before


def test_another_variant_does_too(base: RunConfig) -> None:
    go(base)
    go(base, variants=("hope",))
    go(base, overrides={"temporal_stride": 2.0})
    cells = load_run(base.output).cells
    assert sorted(cell.path.name for cell in cells) == ["hope", "mrope--temporal_stride=2.0", "out"]
    assert sorted(load_run(base.output).labels) == ["hope", "mrope", "mrope--temporal_stride=2.0"]
    for changes in ({}, {"variants": ("hope",)}, {"overrides": {"temporal_stride": 2.0}}):
        assert go(base, **changes) == []


def test_parameters_that_a_command_sets_stand_in_its_rows_names(
    base: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Any] = {"variants": ("mrope", "mrope-i"),
                               "overrides": {"temporal_stride": 0.5, "scaling": {"type": "yarn"}}}
    go(base, **changes)
    assert "variant mrope-i with temporal_stride=0.5, " in capsys.readouterr().err
    names = {name: f"{name}--temporal_stride=0.5,type=yarn" for name in ("mrope", "mrope-i")}
    assert {*load_run(base.output).labels} == {*names.values()}
    for name, label in names.items():  # as up to 0.3 they were called
        (base.output / label).rename(base.output / name)
    (base.output / "progress.json").unlink()
    assert go(base, **changes) == [], "and are found there"
    assert {cell.path.name for cell in load_run(base.output).cells} == {*names} == {*load_run(base.output).labels}
    assert go(base, **changes) == []


def test_compare_names_the_parameters_that_two_rows_of_one_variant_differ_in(base: RunConfig, tmp_path: Path) -> None:
    go(base)
    go(base, output=tmp_path / "half", overrides={"temporal_stride": 0.5})
    plain, half = load_run(base.output), load_run(tmp_path / "half")
    assert [name for name, *_ in match_cells(plain, half)] == ["mrope -> mrope with temporal_stride=0.5"]
    assert [name for name, *_ in match_cells(plain, plain)] == ["mrope"]


def test_two_variants_of_one_name_are_told_apart_by_their_parameters(base: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text("name: mrope\nextends: mrope\nposition: {temporal_stride: 0.5}\n")
    both: dict[str, Any] = {"variants": ("mrope", str(tmp_path / "half.yaml"))}
    go(base, **both)
    assert [*load_run(base.output).labels] == ["mrope", "mrope--temporal_stride=0.5"]
    (base.output / "mrope--temporal_stride=0.5").rename(base.output / "mrope-2")  # as up to 0.3
    assert go(base, **both) == []
    assert [*load_run(base.output).labels] == ["mrope", "mrope-2"]


def test_rows_find_their_folders_whatever_else_is_asked_with_them(
    base: RunConfig, checkpoints: tuple[Path, Path]
) -> None:
    both = tuple(map(str, checkpoints))
    go(base)
    assert len(go(base, models=both)) == 3 * N, "one of the two is asked"
    assert {str(path.relative_to(base.output)) for path in base.output.rglob("scores.json")} == {
        "scores.json", "B/scores.json"}  # fmt: skip
    assert len(go(base, models=both, tasks=VIDEO)) == 2 * N
    assert go(base, models=both[1:], tasks=(*IMAGE, *VIDEO)) == []
    assert len(load_run(base.output).scores) == 6


def test_a_single_row_goes_beside_the_rows_of_an_earlier_command(
    base: RunConfig, checkpoints: tuple[Path, Path]
) -> None:
    go(base, variants=("mrope", "hope"))
    go(base, variants=("vanilla",))
    assert sorted(cell.path.name for cell in load_run(base.output).cells) == ["hope", "mrope", "vanilla"]
    assert go(base, variants=("hope",), tasks=("chartqa",)) == []
    assert set(record(base.output / "hope")["tasks"]) == set(IMAGE)


def test_what_a_stopped_command_left_is_nobody_else_s(base: RunConfig, checkpoints: tuple[Path, Path]) -> None:
    start = FakeStart({"lose_power_after": 5})
    assert running.run(base, start).broken
    go(base, models=(str(checkpoints[1]),))
    assert (base.output / "B--mrope" / "scores.json").is_file() and not (base.output / "scores.json").exists()
    assert len(go(base)) == 3 * N - 5


def test_a_checkpoint_that_was_moved_is_the_same_one(base: RunConfig, tmp_path: Path) -> None:
    go(base)
    moved = Path(shutil.copytree(base.models[0], tmp_path / "moved"))
    assert go(base, models=(str(moved),), tasks=(*IMAGE, *VIDEO)) == sorted(f"charades_sta/{i}" for i in range(N))
    assert list(base.output.rglob("scores.json")) == [base.output / "scores.json"]


def test_what_rescore_writes_below_a_row_is_no_other_row(base: RunConfig) -> None:
    go(base)
    assert cli.main(["rescore", str(base.output), "--output", str(base.output / "new")]) == 0
    assert len(load_run(base.output).cells) == 1


# ----------------------------------------------------------------------------------------------------- what is refused


def test_a_smaller_limit_does_not_replace_the_full_score(base: RunConfig) -> None:
    go(base)
    assert refused(base, limit=Limit(2)) == (
        f"{base.output} holds chartqa over 4 samples; --limit 2 would replace that score by one over 2 at most: choose "
        "another --output.")  # fmt: skip
    assert go(base, limit=Limit(2), tasks=VIDEO) != [], "of another task it replaces nothing"
    assert go(base, limit=Limit(100)) == []


def test_nor_do_fewer_data(base: RunConfig, tmp_path: Path) -> None:
    go(base)
    fewer = suite_mirror.build(tmp_path / "fewer", n=2)
    assert "this command would replace that score by one over 2 at most" in refused(base, data_root=fewer)


@pytest.mark.parametrize(("changes", "expected"), [
    ({"options": EngineOptions(policy=MediaPolicy(image_max_pixels=50176))}, "image_max_pixels is 50176, was "),
    ({"options": EngineOptions(dtype="float32")}, "dtype is float32, was auto"),
    ({"options": EngineOptions(max_model_len=4096)}, "max_model_len is 4096, was None"),
    ({"prompts": "qwen3-vl", "tasks": ("refcoco_val",)}, "prompts is qwen3-vl, was qwen2.5-vl"),
])
def test_other_settings_of_the_same_row_are_refused(base: RunConfig, changes: dict[str, Any], expected: str) -> None:
    go(base)
    message = refused(base, **changes)
    assert message.startswith(f"{base.output} holds scores of mrope that were made with other settings (")
    assert expected in message and message.endswith("): choose another --output.")


def retrain(base: RunConfig, tmp_path: Path) -> RunConfig:
    """The base on a checkpoint that is trained anew in its place after its first run."""
    copy = Path(shutil.copytree(base.models[0], tmp_path / "latest"))
    config = dataclasses.replace(base, models=(str(copy),))
    go(config)
    build_checkpoint("qwen2.5-vl", copy, seed=2)
    return config


def test_a_checkpoint_that_changed_in_its_place_is_scored_anew_with_all_its_tasks(
    base: RunConfig, tmp_path: Path
) -> None:
    config = retrain(base, tmp_path)
    message = refused(config, tasks=VIDEO)
    assert message == (
        f"{base.output} holds scores of chartqa, refcoco_val, which cannot stand beside new ones: they are of other "
        "checkpoint files. Choose another --output, or add chartqa,refcoco_val to --tasks, so that all are made anew.")
    before = record(base.output)["checkpoint"]["fingerprint"]
    assert len(go(config, tasks=(*IMAGE, *VIDEO))) == 4 * N
    assert record(base.output)["checkpoint"]["fingerprint"] != before
    assert set(record(base.output)["tasks"]) == {*IMAGE, *VIDEO}


def test_so_is_what_other_versions_made(base: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(base)
    installed = versions()
    install(tmp_path / "other", {"torch": "99.0"}, monkeypatch)
    assert f"torch is 99.0, was {installed['torch']}" in refused(base, tasks=VIDEO)
    assert len(go(base)) == 3 * N


def test_answers_are_read_anew_with_other_coordinates_and_not_mixed(
    base: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    go(base)
    assert "coordinates is thousand, was absolute" in refused(base, tasks=("refcoco_val",), coordinates="thousand")
    assert go(base, coordinates="thousand") == []
    assert "are read in another way than for" in capsys.readouterr().err
    assert record(base.output)["coordinates"] == "thousand"


# ---------------------------------------------------------------------------------------------------- rows that fail


def test_a_row_that_fails_later_keeps_what_it_had(base: RunConfig) -> None:
    go(base)
    before = files(base.output)
    assert running.run(dataclasses.replace(base, tasks=VIDEO), FakeStart({"lose_power_after": 1})).broken
    assert {name: content for name, content in files(base.output).items() if name != "failures.jsonl"} == before
    run = load_run(base.output)
    assert set(run.scores["task"]) == set(IMAGE) and "is a row that failed" in run.left_out()[0]
    go(base, tasks=VIDEO)
    assert set(load_run(base.output).scores["task"]) == {*IMAGE, *VIDEO} and load_run(base.output).left_out() == []


def test_a_checkpoint_that_cannot_be_read_for_a_while_gets_its_scores_back(
    base: RunConfig, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(checkpoints[1], tmp_path / "B"))
    both = dataclasses.replace(base, models=(base.models[0], str(copy)))
    go(both)
    (copy / "config.json").rename(copy / "config.away")
    result = running.run(dataclasses.replace(both, tasks=VIDEO), FakeStart())
    assert list(result.broken) == ["B"] and not (base.output / "B" / "scores.json").exists()
    (copy / "config.away").rename(copy / "config.json")
    go(both, tasks=VIDEO)
    assert set(record(base.output / "B")["tasks"]) == {*IMAGE, *VIDEO}
    assert not list(base.output.rglob("earlier-*"))


def test_a_row_that_fails_leaves_others_of_its_name_alone(
    base: RunConfig, checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    go(base, models=tuple(map(str, checkpoints)))
    other = tmp_path / "elsewhere" / "B"
    other.mkdir(parents=True)
    before = files(base.output / "B")
    result = running.run(dataclasses.replace(base, models=(base.models[0], str(other))), FakeStart())
    assert len(result.broken) == 1 and files(base.output / "B") == before
    assert (base.output / "B-2" / "failed.json").is_file()


def test_the_manifest_of_a_merged_row_is_sealed(base: RunConfig) -> None:
    go(base)
    go(base, tasks=VIDEO)
    manifest = record(base.output, "manifest.json")
    assert {f"samples/{name}.jsonl" for name in (*IMAGE, *VIDEO)} < set(manifest["sha256"])
    write_manifest(base.output, manifest, record(base.output))
    assert record(base.output, "manifest.json") == manifest

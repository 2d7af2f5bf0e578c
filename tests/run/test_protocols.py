"""Named protocols: what they hold, how they set a run, what is said where a run departs from them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import Family, build_checkpoint
from mmrope_eval import cli
from mmrope_eval.cli.run import configured
from mmrope_eval.errors import UserError
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.record.protocols import Asked, Protocol, decoding_of, departures, label, load_protocol
from mmrope_eval.report.compare.protocol_notes import asked_of, label_of
from mmrope_eval.report.runs import load_run
from mmrope_eval.rope import load_variant
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.manifest import time_of
from mmrope_eval.task.registry import Registry

NAMES = ("paper", "qwen2.5-vl", "qwen3-vl")
TASKS = ("refcoco_val", "chartqa", "charades_sta")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    root = tmp_path_factory.mktemp("ck")
    families: tuple[Family, ...] = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl")
    return {family: build_checkpoint(family, root / family) for family in families}


@pytest.fixture(scope="module")
def checkpoints(folders: dict[Family, Path]) -> dict[Family, Checkpoint]:
    return {family: read_checkpoint(folder) for family, folder in folders.items()}


def config(folder: Path, mirror: Path, output: Path, *argv: str) -> RunConfig:
    """A run as the command line would make it."""
    given = ["run", "--model", str(folder), "--tasks", ",".join(TASKS), "--data-root", str(mirror), "--output",
             str(output), "--assume-stock", *argv]
    return configured(cli.parse(given))


def manifest(config: RunConfig) -> dict[str, Any]:
    running.run(config, FakeStart())
    content: dict[str, Any] = json.loads((config.output / "manifest.json").read_text())
    return content


# ------------------------------------------------------------------------------------------------------ what they hold


def test_the_papers_protocol_is_section_3_1() -> None:
    paper = load_protocol("paper")
    limits = paper.limits
    assert (limits.image_max_tokens, limits.video_max_tokens, limits.video_fps, limits.video_max_frames) == (
        24 * 1024, 24 * 1024, 2, 768)
    assert (paper.time, paper.prompts, paper.decoding) == ("index", "paper", "greedy decoding")


@pytest.mark.parametrize(("name", "tokens", "frames", "time"), [
    ("paper", 24_576, 768, "index"), ("qwen2.5-vl", 24_576, 768, "seconds"), ("qwen3-vl", 224 * 1024, 2048, None),
])
def test_as_many_frames_as_a_protocol_allows_fit_into_its_tokens(
    name: str, tokens: int, frames: int, time: str | None
) -> None:
    protocol = load_protocol(name)
    assert (protocol.limits.video_max_tokens, protocol.limits.video_max_frames, protocol.time) == (tokens, frames, time)
    floor = protocol.limits.frame_min_tokens or 4
    assert frames // 2 * floor <= tokens, "two frames share a step of time"
    assert protocol.source


@pytest.mark.parametrize(("family", "side"), [("qwen2-vl", 28), ("qwen2.5-vl", 28), ("qwen3-vl", 32)])
def test_limits_are_tokens_whatever_a_token_covers(
    family: Family, side: int, checkpoints: dict[Family, Checkpoint]
) -> None:
    assert checkpoints[family].geometry.factor == side
    fields = load_protocol("paper").policy_fields(side)
    assert fields["image_max_pixels"] == 24_576 * side * side and fields["frame_max_pixels"] == 768 * side * side
    assert fields["video_max_tokens"] == 24_576 and fields["video_fps"] == 2


def test_the_wording_of_the_paper_is_qwen2_vls_where_it_has_none() -> None:
    tasks = Registry().tasks
    assert tasks["chartqa"].prompt("paper") == tasks["chartqa"].prompt("qwen2-vl") != tasks["chartqa"].prompt("none")
    assert "JSON" in tasks["refcoco_val"].prompt("paper")
    assert tasks["charades_sta"].prompt("paper") == tasks["charades_sta"].prompts["default"]


# ------------------------------------------------------------------------------------------------------ what a run does


@pytest.mark.parametrize("family", ["qwen2.5-vl", "qwen3-vl"])
def test_a_run_takes_the_protocol_for_the_checkpoints_own(
    family: Family, folders: dict[Family, Path], mirror: Path, tmp_path: Path
) -> None:
    record = manifest(config(folders[family], mirror, tmp_path, "--protocol", "paper"))
    side = record["media"]["token_side"]
    assert record["media"]["policy"]["image_max_pixels"] == 24_576 * side**2
    assert (record["media"]["policy"]["video_max_frames"], record["media"]["policy"]["video_fps"]) == (768, 2.0)
    assert record["media"]["sources"]["video_max_tokens"] == "protocol paper"
    assert record["family"]["prompts"] == "paper" and record["protocol"]["name"] == "paper"
    clock = ["time by seconds instead of index"] if family == "qwen2.5-vl" else []
    assert record["protocol"]["departures"] == clock


def test_without_a_protocol_nothing_changes(folders: dict[Family, Path], mirror: Path, tmp_path: Path) -> None:
    record = manifest(config(folders["qwen2.5-vl"], mirror, tmp_path))
    assert record["protocol"] is None and label_of(load_run(tmp_path).cells[0]) is None
    assert record["family"]["prompts"] == "qwen2.5-vl" and record["time"] == "seconds"


def test_options_go_before_the_protocol_and_the_label_says_so(
    folders: dict[Family, Path], mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = config(folders["qwen3-vl"], mirror, tmp_path, "--protocol", "paper", "--max-frames", "32", "--fps", "4",
                   "--prompts", "qwen3-vl")
    result = running.run(asked, FakeStart())
    record = json.loads((tmp_path / "manifest.json").read_text())
    sentence = ("paper, but videos of at most 32 frames instead of 768; 4 frames a second instead of 2; "
                "the wording qwen3-vl instead of paper")
    assert label_of(load_run(tmp_path).cells[0]) == sentence == label("paper", record["protocol"]["departures"])
    assert record["media"]["policy"]["video_max_frames"] == 32 and record["family"]["prompts"] == "qwen3-vl"
    assert record["media"]["sources"]["video_fps"] == "the command line"
    assert f"protocol: {sentence}" in capsys.readouterr().err and result.notes[-1] == f"protocol: {sentence}"


def test_qwen3_vls_own_answers_are_long_and_what_we_cannot_do_is_said(
    folders: dict[Family, Path], mirror: Path, tmp_path: Path
) -> None:
    record = manifest(config(folders["qwen3-vl"], mirror, tmp_path / "own", "--protocol", "qwen3-vl",
                             "--max-model-len", "65536"))
    assert {task["generation"]["max_tokens"] for task in record["tasks"].values()} == {32_768}
    assert record["tasks"]["chartqa"]["own_max_tokens"] == 32
    assert record["protocol"]["departures"] == [
        "charades_sta: 2 frames a second instead of 4",
        "greedy decoding instead of sampling (temperature 0.7, top_p 0.8, top_k 20, presence penalty 1.5)"]
    short = config(folders["qwen3-vl"], mirror, tmp_path / "short", "--protocol", "qwen3-vl", "--max-tokens",
                   "chartqa:64", "--max-model-len", "65536", "--fps", "4")
    assert manifest(short)["protocol"]["departures"][:2] == [
        "4 frames a second instead of 2", "greedy decoding instead of sampling (temperature 0.7, top_p 0.8, top_k 20, "
        "presence penalty 1.5)"]
    assert "chartqa: answers of at most 64 tokens instead of 32,768" in str(
        label_of(load_run(tmp_path / "short").cells[0]))


def test_kept_answers_stay_valid_under_a_protocol_that_changes_nothing(
    folders: dict[Family, Path], mirror: Path, tmp_path: Path
) -> None:
    same = tmp_path / "same.yaml"
    same.write_text("title: as it is\nprompts: qwen2.5-vl\n")
    first, again = FakeStart(), FakeStart()
    running.run(config(folders["qwen2.5-vl"], mirror, tmp_path / "out"), first)
    running.run(config(folders["qwen2.5-vl"], mirror, tmp_path / "out", "--protocol", str(same)), again)
    assert first.asked and not again.asked
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["protocol"] == {
        "name": "same", "source": str(same), "departures": []}


# ------------------------------------------------------------------------------------------------------------- the time


@pytest.mark.parametrize(("family", "variant", "time"), [
    ("qwen2-vl", "mrope", "index"), ("qwen2.5-vl", "qwen2.5-vl", "seconds"), ("qwen2.5-vl", "mrope-i", "index"),
    ("qwen2.5-vl", "mrope-i@seconds", "seconds"), ("qwen3-vl", "mrope-i@seconds", "index"),
    ("qwen2.5-vl", "vanilla", "index"), ("qwen3-vl", "mrope-i", "index"), ("qwen2.5-vl", "circlerope@seconds", "index"),
])
def test_which_time_a_row_follows(
    family: Family, variant: str, time: str, checkpoints: dict[Family, Checkpoint]
) -> None:
    name, _, clock = variant.partition("@")
    chosen = load_variant(name, **({"time": clock} if clock else {}))
    assert time_of(checkpoints[family], chosen) == time



# ------------------------------------------------------------------------------------------------------------ the words


def asked(**changes: Any) -> Asked:
    """A row that follows the paper's protocol."""
    paper = load_protocol("paper")
    greedy = decoding_of([0.0])
    followed = Asked(policy=paper.policy_fields(28), side=28, time="index", prompts="paper", decoding=greedy)
    return dataclasses.replace(followed, **changes)


@pytest.mark.parametrize(("changes", "sentences"), [
    ({}, []),
    ({"time": "seconds"}, ["time by seconds instead of index"]),
    ({"prompts": "qwen3-vl"}, ["the wording qwen3-vl instead of paper"]),
    ({"system": "Answer briefly."}, ["a system prompt of its own"]),
    ({"decoding": decoding_of([0.0, 0.7])}, ["sampling (temperature 0.7) instead of greedy decoding"]),
    ({"side": 32}, ["pictures of at most 18,816 tokens instead of 24,576", "frames of at least 49 tokens instead of 64",
                    "frames of at most 588 tokens instead of 768"]),
    ({"side": None}, ["not recorded: pictures of at most 24,576 tokens, frames of at least 64 tokens, "
                      "frames of at most 768 tokens"]),
    ({"policy": None, "time": None}, [
        "not recorded: pictures of at most 24,576 tokens, frames of at least 64 tokens, frames of at most 768 tokens, "
        "videos of at most 24,576 tokens, videos of at most 768 frames, 2 frames a second, time by index"]),
])
def test_departures_are_said_in_words(changes: dict[str, Any], sentences: list[str]) -> None:
    assert departures(load_protocol("paper"), asked(**changes), ["chartqa"]) == sentences


def test_a_manifest_is_read_back_as_the_row_was_asked(
    folders: dict[Family, Path], mirror: Path, tmp_path: Path
) -> None:
    manifest(config(folders["qwen3-vl"], mirror, tmp_path, "--protocol", "paper"))
    cell = load_run(tmp_path).cells[0]
    recorded = asked_of(cell.record.manifest)
    assert departures(load_protocol("paper"), recorded, cell.tasks) == []
    assert departures(load_protocol("qwen2.5-vl"), recorded, cell.tasks)[1:3] == [
        "pictures of at most 24,576 tokens instead of 16,384", "time by index instead of seconds"]


@pytest.mark.parametrize(("text", "words"), [
    ("limits: {video_fsp: 2}", "unknown key 'limits.video_fsp', did you mean 'video_fps'?"),
    ("limits: {video_fps: fast}", "'limits.video_fps' must be a number, not 'fast'"),
    ("limits: {video_max_frames: 0}", "'limits.video_max_frames' must be above 0, not 0"),
    ("time: clock", "'time' must be 'index' or 'seconds', not 'clock'"),
    ("- 1", "must hold a YAML mapping"),
    ("a: [", "cannot be read"),
])
def test_a_bad_protocol_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as raised:
        load_protocol(str(tmp_path / "x.yaml"))
    assert words in str(raised.value) and "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)


def test_an_unknown_protocol_or_wording_is_refused_before_anything_starts(
    folders: dict[Family, Path], mirror: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no protocol 'papper'; choose one of paper, qwen2\.5-vl, qwen3-vl"):
        config(folders["qwen3-vl"], mirror, tmp_path, "--protocol", "papper")
    (tmp_path / "x.yaml").write_text("prompts: poems\n")
    with pytest.raises(UserError, match="poems: no task has such a wording"):
        running.run(config(folders["qwen3-vl"], mirror, tmp_path, "--protocol", str(tmp_path / "x.yaml")), FakeStart())


def test_limits_that_contradict_a_checkpoints_own_name_both(
    folders: dict[Family, Path], mirror: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text("limits: {frame_max_tokens: 1}\n")
    asked = config(folders["qwen2.5-vl"], mirror, tmp_path, "--protocol", str(tmp_path / "x.yaml"))
    with pytest.raises(UserError, match="frame_max_pixels is from protocol x"):
        running.run(asked, FakeStart())


def test_every_name_is_a_protocol_of_wordings_and_tasks_that_there_are() -> None:
    registry = Registry()
    for name in NAMES:
        protocol = load_protocol(name)
        assert isinstance(protocol, Protocol) and protocol.prompts in registry.families
        assert set(protocol.task_limits) <= set(registry.tasks)

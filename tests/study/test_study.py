"""A study: one file, one engine, weights changed as seldom as possible, and the same answers as ordinary runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
import yaml
from hypothesis import given
from hypothesis import strategies as st
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure
from mmrope_eval.run import run as running
from mmrope_eval.run.asking import schedule
from mmrope_eval.run.config import RunConfig
from mmrope_eval.study.study import read_study, run_configs, run_study

N = 3
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ckpts/a and ckpts/b with different weights, and a mirror."""
    root = tmp_path_factory.mktemp("study")
    build_checkpoint("qwen2.5-vl", root / "ckpts" / "a")
    build_checkpoint("qwen2.5-vl", root / "ckpts" / "b", seed=1)
    suite_mirror.build(root / "mirror", n=N)
    return root


def write(place: Path, out: Path, **content: Any) -> Path:
    file = place / f"{out.name}.yaml"
    base = {"output": str(out), "data_root": "mirror", "checkpoints": ["ckpts/a", "ckpts/b"],
            "variants": ["mrope", "mrope-i"], "runs": [{"tasks": ["refcoco_val"]}]}
    file.write_text(yaml.safe_dump({**base, **content}))
    return file


def files(folder: Path) -> dict[str, bytes]:
    """Everything that may not differ between identical runs."""
    paths = [*folder.rglob("scores.json"), *folder.rglob("samples/*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


# ------------------------------------------------------------------------------------------------------------ the order


@dataclass(frozen=True)
class Named:
    fingerprint: str


@dataclass(frozen=True)
class FakeCell:
    checkpoint: Named
    variant: Named
    policy: str


def cells(words: str) -> list[Any]:
    return [FakeCell(Named(word[0]), Named(word[1]), word[2]) for word in words.split()]


@pytest.mark.parametrize(("rows", "asked"), [
    ("Axp Ayp Bxp Byp", "Axp Ayp Bxp Byp"),
    ("Axp Bxp Axq Bxq", "Axp Axq Bxp Bxq"),
    ("Axp Bxp Ayp Axq", "Axp Axq Ayp Bxp"),
    ("Ayq Axp Bxp Byq Ayp", "Ayq Ayp Axp Byq Bxp"),
    ("Bxp", "Bxp"), ("", ""),
])
def test_weights_change_first_then_variants_then_policies(rows: str, asked: str) -> None:
    unordered = cells(rows)
    assert [unordered[at] for at in schedule(unordered)] == cells(asked)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("xyz"), st.sampled_from("pq"))))
def test_no_checkpoint_and_no_variant_of_one_comes_back(rows: list[tuple[str, str, str]]) -> None:
    order = schedule(cells(" ".join(map("".join, rows))))
    assert sorted(order) == list(range(len(rows)))
    for depth in (1, 2, 3):
        groups = ["".join(rows[at][:depth]) for at in order]
        starts = [group for place, group in enumerate(groups) if place == 0 or groups[place - 1] != group]
        assert len(starts) == len(set(starts))


# ----------------------------------------------------------------------------------------------------------------- runs


def test_two_runs_share_one_engine_and_load_each_checkpoint_once(place: Path, tmp_path: Path) -> None:
    file = write(place, tmp_path / "out", runs=[{"tasks": ["refcoco_val"]},
                                                {"tasks": ["chartqa"], "name": "few", "limit": 2, "max_pixels": 50176}])
    start = FakeStart()
    results = run_study(file, start_engine=start)
    (engine,) = start.engines
    switches = [line for line in engine.log if line.startswith("switch")]
    assert len(switches) == 7 and sum("weights" in line for line in switches) == 1
    assert [sorted(result.rows) for result in results] == [["a--mrope", "a--mrope-i", "b--mrope", "b--mrope-i"]] * 2
    assert [result.asked for result in results] == [4 * 2 * N, 4 * 2]
    assert (tmp_path / "out" / "few" / "b--mrope" / "samples" / "chartqa.jsonl").is_file()


def test_a_study_writes_what_a_run_writes_and_neither_asks_again(place: Path, tmp_path: Path) -> None:
    config = RunConfig(models=(str(place / "ckpts/a"), str(place / "ckpts/b")), tasks=("refcoco_val",),
                       output=tmp_path / "run", variants=("mrope", "mrope-i"), data_root=place / "mirror")
    running.run(config, FakeStart())
    run_study(write(place, tmp_path / "study"), start_engine=FakeStart())
    assert files(tmp_path / "study") == files(tmp_path / "run") and len(files(tmp_path / "run")) == 8
    never = FakeStart()
    run_study(write(place, tmp_path / "run"), start_engine=never)
    running.run(replace(config, output=tmp_path / "study"), never)
    assert never.engines == []


def test_a_lone_row_of_an_ordinary_run_is_continued_where_it_lies(place: Path, tmp_path: Path) -> None:
    config = RunConfig(models=(str(place / "ckpts/a"),), tasks=("refcoco_val",), output=tmp_path / "run",
                       variants=("mrope",), data_root=place / "mirror")
    running.run(config, FakeStart())
    start = FakeStart()
    run_study(write(place, tmp_path / "run", checkpoints=["ckpts/a"], variants=["mrope"]), start_engine=start)
    assert start.engines == []


def test_runs_of_one_folder_add_tasks_to_one_row(place: Path, tmp_path: Path) -> None:
    file = write(place, tmp_path / "out", checkpoints=["ckpts/a", "ckpts/b"], variants=[], runs=[
        {"tasks": ["refcoco_val"], "variants": ["mrope"]},
        {"tasks": ["chartqa"], "variants": ["mrope", "mrope-i"]}])
    run_study(file, start_engine=FakeStart())
    tasks = {path.parent.name: sorted(json.loads(path.read_text())["tasks"])
             for path in (tmp_path / "out").rglob("scores.json")}
    assert tasks == {"a": ["chartqa", "refcoco_val"], "b": ["chartqa", "refcoco_val"], "a--mrope-i": ["chartqa"],
                     "b--mrope-i": ["chartqa"]}


def test_a_row_that_fails_does_not_end_the_study(place: Path, tmp_path: Path) -> None:
    file = write(place, tmp_path / "out", runs=[{"tasks": ["refcoco_val"]}, {"tasks": ["chartqa"]}])
    start = FakeStart({"fail": frozenset({"refcoco_val/0", "refcoco_val/1"})})
    first, second = run_study(file, {"max_failures": 1}, start)
    assert len(first.broken) == 4 and "--max-failures 1" in first.broken["a--mrope"] and first.code == 1
    assert len(second.rows) == 4 and second.code == 0


def test_a_broken_checkpoint_is_a_failed_row(place: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    file = write(place, tmp_path / "out", checkpoints=["ckpts/a", str(broken)])
    (result,) = run_study(file, start_engine=FakeStart())
    assert sorted(result.rows) == ["a--mrope", "a--mrope-i"] and len(result.broken) == 2


def test_a_store_that_cannot_be_used_is_one_failed_row(place: Path, tmp_path: Path) -> None:
    study = write(place, tmp_path / "out")
    folders = [folder for result in run_study(study, start_engine=FakeStart()) for folder in result.folders.values()]
    (folders[0] / "responses.sqlite").write_bytes(b"no database " * 1000)
    (result,) = run_study(study, start_engine=FakeStart())
    assert (result.code, len(result.broken), len(result.rows)) == (1, 1, len(folders) - 1)
    assert "is no response store" in next(iter(result.broken.values()))


def test_answers_that_all_fail_are_not_the_end(place: Path, tmp_path: Path) -> None:
    start = FakeStart({"fail_all": Failure("", "engine", "no kernel.")})
    (result,) = run_study(write(place, tmp_path / "out"), start_engine=start)
    assert result.code == 1 and result.failed == 8 * N


# ------------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"varients": ["mrope"]}, "unknown key 'varients', did you mean 'variants'?"),
    ({"runs": [{"tasks": ["chartqa"], "protokol": "paper"}]},
     "runs, entry 1: unknown key 'protokol', did you mean 'protocol'?"),
    ({"runs": [{"limit": 3}]}, "runs, entry 1: key 'tasks' is missing"),
    ({"runs": [{"tasks": ["chartqa"], "limit": 0}]}, "runs, entry 1: --limit 0"),
    ({"runs": [{"tasks": ["chartqa"], "limit": "some"}]}, "runs, entry 1: --limit some"),
    ({"runs": [{"tasks": ["chartqa"], "name": "../up"}]}, "name '../up' cannot name a folder"),
    ({"runs": [{"tasks": ["chartqa"], "protocol": "none-such"}]}, "runs, entry 1: There is no protocol 'none-such'"),
    ({"runs": [{"tasks": ["chratqa"]}]}, "chratqa"),
    ({"runs": [{"tasks": ["chartqa"]}, {"tasks": ["chartqa"]}]}, "two runs ask a--mrope for chartqa"),
    ({"runs": [{"tasks": ["chartqa"]}, {"tasks": ["refcoco_val"], "max_pixels": 50176}]}, "two runs would mix in"),
    ({"checkpoints": ["ckpts/c"]}, "checkpoints, entry 1: checkpoint 'ckpts/c' is not a folder"),
    ({"checkpoints": []}, "checkpoints"), ({"runs": []}, "runs"), ({"seeds": [1, 1]}, "seeds: 1 stands twice"),
    ({"seeds": ["one"]}, "seeds"), ({"data_root": "nowhere"}, "data_root 'nowhere' is not a folder"),
    ({"output": None}, "has no `output`"), ({"variants": ["mropee"]}, "mropee"),
])
def test_bad_input_is_one_sentence_before_anything_starts(
    place: Path, tmp_path: Path, changes: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, start = write(place, tmp_path / "out", **changes), FakeStart()
    with pytest.raises(Exception, match=re.escape(sentence)) as caught:
        run_study(file, start_engine=start)
    assert cli.bad_input(caught.value) is not None and start.engines == []
    assert cli.main(["study", str(file)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("mmrope-eval: error: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no study file"):
        run_study(tmp_path / "none.yaml")


def test_greedy_tasks_are_asked_once_and_tasks_that_sample_under_every_seed(place: Path, tmp_path: Path) -> None:
    task_file = place / "hot.yaml"
    shipped = (DOCS.parent / "tasks" / "chartqa.yaml").read_text()
    for cold, hot in (("task: mmrope_chartqa", "task: mmrope_hot"), ("column: ChartQA", "column: Hot"),
                      ("temperature: 0\n  do_sample: false", "temperature: 0.7\n  do_sample: true")):
        assert cold in shipped
        shipped = shipped.replace(cold, hot)
    task_file.write_text(shipped)
    file = write(place, tmp_path / "out", seeds=[3, 4], max_tokens={"chartqa": 8, "hot": 9},
                 runs=[{"tasks": ["chartqa", "hot.yaml"]}])
    configs = run_configs(read_study(file), file)
    asked = [(config.seed, str(config.output.relative_to(tmp_path / "out")), config.max_tokens) for config in configs]
    assert asked == [
        (3, ".", (("chartqa", 8),)), (3, "seed-3", (("hot", 9),)), (4, "seed-4", (("hot", 9),))]


def test_a_run_goes_before_the_study_and_says_what_run_says(place: Path, tmp_path: Path) -> None:
    file = write(place, tmp_path / "out", limit=5, thinking=False, runs=[
        {"tasks": ["chartqa"]}, {"tasks": ["chartqa"], "protocol": "paper", "limit": "first:2", "fps": 1}])
    plain, held = run_configs(read_study(file), file)
    assert (str(plain.limit), plain.thinking, plain.output) == ("5", "off", tmp_path / "out")
    assert (str(held.limit), held.media, held.output) == ("first:2", {"video_fps": 1}, tmp_path / "out" / "paper")


def test_the_example_of_the_page_runs(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "study.md").read_text()
    text = re.search(r"^    # study.yaml\n(    .*\n)+", page, re.MULTILINE)
    assert text is not None
    for name in ("ckpts", "mirror"):
        (tmp_path / name).symlink_to(place / name)
    (tmp_path / "study.yaml").write_text(re.sub("^    ", "", text[0], flags=re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    mmrope-eval ([^\n]*)", page, re.MULTILINE)
    assert [line.split()[0] for line in commands if cli.parse(line.split())] == ["study", "status", "status"]
    assert [len(result.rows) for result in run_study(Path("study.yaml"), start_engine=FakeStart())] == [4, 4]
    assert cli.main(commands[1].split()) == 0
    assert "8/8 rows done" in capsys.readouterr().out
    assert cli.main(commands[2].split()) == 0 and len(json.loads(capsys.readouterr().out)["rows"]) == 8


def test_two_checkpoints_times_two_variants_through_the_real_engine(place: Path, tmp_path: Path) -> None:
    flags = {"max_model_len": 1024}
    file = write(place, tmp_path / "study", max_pixels=50176, runs=[{"tasks": ["refcoco_val"], "limit": 2},
                                                                   {"tasks": ["chartqa"], "limit": 2}])
    first, second = run_study(file, flags)
    assert (first.code, second.code, first.asked, second.asked) == (0, 0, 8, 8)
    starts = [json.loads(path.read_text())["sessions"][0] for path in (tmp_path / "study").rglob("manifest.json")]
    assert len(starts) == 4
    again = run_study(file, flags)
    assert [result.asked for result in again] == [0, 0]

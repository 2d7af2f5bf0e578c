"""A benchmark of one's own: by path or by folder in every command that knows tasks, and never in another's place."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_benchmark import TASK, write_data, write_task
from run_command import run_command
from suite_fakes import FakeEngine, FakeStart

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure, Request, Response
from mmrope_eval.run import results
from mmrope_eval.run.config import RunConfig
from mmrope_eval.scorer import score
from mmrope_eval.sweep.config import read_sweep
from mmrope_eval.sweep.sweep import Sweep
from mmrope_eval.task.file import read_task
from mmrope_eval.task.parts import LazyDocs
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Registry, open_registry
from mmrope_eval.task.sample import Sample

SHIPPED = Registry()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A folder with colours.yaml and its data."""
    write_data(tmp_path / "bench" / "colours")
    return write_task(tmp_path / "bench").parent


def names(words: list[str], *folders: Path) -> list[str]:
    return [spec.name for spec in open_registry(words, folders).select(words)]


# --------------------------------------------------------------------------------------------------------------
# What names and paths mean


def test_paths_stand_beside_names_suites_and_exclusions(bench: Path) -> None:
    mine, other = str(bench / "colours.yaml"), str(write_task(bench, "shades.yaml", colours="shades", Colours="Shades"))
    assert names([mine, "chartqa"]) == ["colours", "chartqa"]
    assert names(["chartqa", mine, mine, "colours"]) == ["chartqa", "colours"]
    assert names(["grounding", mine, "-refcoco*"]) == ["colours"]
    assert names([f"{bench}/*.yaml", f"-{mine}"]) == ["shades"]
    assert names(["sha*", other]) == ["shades"]
    assert names([str(SHIPPED.tasks_dir / "chartqa.yaml")]) == ["chartqa"], "a shipped file by its path is the shipped"


def test_a_folder_of_files_joins_the_shipped_ones(bench: Path, tmp_path: Path) -> None:
    write_task(bench, "_part.yaml")
    (bench / "table.yaml").write_text("rows: [hope]\ncolumns: [Colours]\n")
    (bench / "half.yaml").write_text("extends: mrope-i\nposition: {temporal_stride: 0.5}\n")
    write_task(bench / "below", "below.yaml", colours="below")
    more = write_task(tmp_path / "more", "shades.yml", colours="shades", Colours="Shades").parent
    registry = open_registry(folders=[bench, more])
    assert list(registry.tasks) == [*SHIPPED.tasks, "colours", "shades"]
    assert [spec.name for spec in registry.added] == ["colours", "shades"]
    twice = names([str(bench / "colours.yaml"), "shades"], bench, more)
    assert twice == ["colours", "shades"], "a file that is named twice counts once"


def test_files_may_found_a_suite_or_join_one(bench: Path) -> None:
    write_task(bench, Colours="Colours, suites: [mine, image]")
    write_task(bench, "shades.yaml", colours="shades", Colours="Shades, suites: mine")
    assert names(["mine"], bench) == ["colours", "shades"]
    assert names(["image", "-*qa", "-mm*", "-ai2d", "-ocr*", "-blink"], bench) == ["colours"]
    assert [len(SHIPPED.select([name])) for name in ("image", "table2")] == [11, 25]


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"task: colours": "task: mmrope_chartqa"}, "Two task files have 'task: chartqa', SHIPPED/chartqa.yaml and OWN: "),
    ({"task: colours": "task: ChartQA"}, "Two task files have 'task: ChartQA', SHIPPED/chartqa.yaml and OWN: "),
    ({"Colours": "MMMU"}, "Two task files have 'metadata.column: MMMU', SHIPPED/mmmu.yaml and OWN: "),
    ({"task: colours": "task: grounding"}, "OWN: 'task: grounding' is the name of a suite; call the task otherwise."),
    ({"Colours": "Overall"}, "OWN: 'metadata.column: Overall' is the name of an average in tables; call the column "),
    ({"Colours": "Colours, suites: colours"}, "OWN: 'task: colours' is the name of a suite; call the task otherwise."),
    ({"  default:\n    media": "  qwen2_5-vl: {prompt: x}\n  default:\n    media"},
     "OWN: 'lmms_eval_specific_kwargs.qwen2_5-vl' is the wording of no family; did you mean 'qwen2.5-vl'?"),
    ({"scorer: choice": "scorer: choise"}, "OWN: There is no scorer 'choise'; did you mean 'choice'?"),
])
def test_a_file_that_would_take_anothers_place_is_refused(bench: Path, changes: dict[str, str], sentence: str) -> None:
    path = write_task(bench, **changes)
    for words, folders in (([str(path)], []), ([], [bench])):
        with pytest.raises(UserError) as caught:
            open_registry(words, folders)
        assert sentence.replace("SHIPPED", str(SHIPPED.tasks_dir)).replace("OWN", str(path)) in str(caught.value)


def test_a_copied_file_whose_task_was_forgotten_does_not_replace_the_first(tmp_path: Path) -> None:
    copy = Path(shutil.copy(SHIPPED.tasks_dir / "chartqa.yaml", tmp_path / "mine.yaml"))
    copy.write_text(copy.read_text().replace("column: ChartQA", "column: Mine"))
    with pytest.raises(UserError, match=rf"'task: chartqa', \S+/tasks/chartqa.yaml and {copy}: give one of them "):
        open_registry([str(copy)])


def test_two_own_files_collide_like_any_two(bench: Path, tmp_path: Path) -> None:
    other = write_task(tmp_path / "copy")
    with pytest.raises(UserError, match=rf"'task: colours', {bench}/colours.yaml and {other}: "):
        open_registry([str(other)], [bench])


def test_a_wording_of_ones_own_is_no_misspelling(bench: Path) -> None:
    path = write_task(bench, **{"  default:\n    media": "  terse: {prompt: x}\n  default:\n    media"})
    assert open_registry([str(path)]).tasks["colours"].prompt("terse") == "x"


@pytest.mark.parametrize(("words", "folders", "sentence"), [
    (["BENCH/colour.yaml"], [], "There is no task file 'BENCH/colour.yaml'; did you mean 'BENCH/colours.yaml'?"),
    (["BENCH/zzz*.yaml"], [], "There is no task file 'BENCH/zzz*.yaml'; give the path of a YAML file."),
    (["BENCH"], [], "--tasks BENCH is a folder; --tasks-dir BENCH adds the task files in it."),
    ([], ["BENCH/none"], "--tasks-dir BENCH/none is not a folder: give the folder that holds your task files."),
    ([], ["BENCH/colours"], "--tasks-dir BENCH/colours holds no task file (NAME.yaml; one with '_' before it is only "),
    (["colour"], ["BENCH"], "There is no task or suite 'colour'; did you mean 'colours'?"),
])
def test_what_is_not_there_is_one_sentence(bench: Path, words: list[str], folders: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        names([word.replace("BENCH", str(bench)) for word in words],
              *(Path(folder.replace("BENCH", str(bench))) for folder in folders))
    assert sentence.replace("BENCH", str(bench)) in str(caught.value) and "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------------------
# What decides how it counts


@pytest.mark.parametrize("name", ["mystar", "star_v2", "mmstar_hard", "mmmu_pro", "mmbench_cn", "refcoco_own"])
def test_nothing_is_decided_by_a_tasks_name(name: str, bench: Path) -> None:
    """The name's first part made `star_v2` a mean over groups and `mmmu_pro` one with MMMU's counterpart."""
    spec = read_task(write_task(bench, f"{name}.yaml", **{"task: colours": f"task: {name}"}))
    plain = Sample(f"{name}/0", name, 0, "", None, (), spec.generation, None)
    scored = [
        results.ScoredSample(plain, Response("0", "A", (1,), "stop", 1), {"answer": "A", "options": 4, "group": group},
                       score.Score({"accuracy": value}, "A"))
        for group, value in (("a", 1.0), ("b", 0.0), ("b", 0.0), ("b", 0.0))
    ]  # fmt: skip
    for declared, value in (("micro", 25.0), ("macro", 50.0), ("circular", 50.0)):
        averaged = dataclasses.replace(spec, average=declared)
        plan = TaskPlan(averaged, SHIPPED.family("qwen2.5-vl"), (), LazyDocs(lambda: pytest.fail("no rows are needed")))
        summary = results.summarize(plan, scored)
        assert (summary["average"], summary["metrics"]["accuracy"]["value"]) == (declared, value)
    assert (spec.average, spec.stock) == ("micro", None)


# --------------------------------------------------------------------------------------------------------------
# The commands


def test_list_and_show(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = str(bench / "colours.yaml")
    assert cli.main(["list", "tasks", "--tasks-dir", str(bench)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("colours ")]
    assert line.split()[:3] == ["colours", "Colours", "image"] and line.split()[-1] == "yes"
    assert cli.main(["list", "tasks", "--tasks-dir", str(bench), "--json"]) == 0
    (facts,) = [facts for facts in json.loads(capsys.readouterr().out)["tasks"] if facts["name"] == "colours"]
    assert facts["dataset"] == f"{bench}/colours" and facts["present"]
    assert cli.main(["list", "--tasks-dir", str(bench)]) == 0
    assert "\n  colours " in capsys.readouterr().out
    for argv in ([mine], ["colours", "--tasks-dir", str(bench)]):
        assert cli.main(["show", *argv, "--n", "2"]) == 0
        shown = capsys.readouterr().out
        assert "average: micro" in shown and "colours/0  (scorer choice, " in shown
        assert "target: {'answer': 'A'" in shown
        assert "content" not in shown
    assert cli.main(["show", "colours"]) == 2, "without the folder there is no such name"


def test_show_still_takes_the_path_of_a_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "half.yaml").write_text("extends: mrope-i\nposition: {temporal_stride: 0.5}\n")
    assert cli.main(["show", str(tmp_path / "half.yaml")]) == 0
    assert capsys.readouterr().out.startswith("half: ")


def test_a_field_that_the_data_do_not_have_is_one_sentence_before_any_sample(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_task(bench, **{"image: image": "image: images"})
    assert cli.main(["show", str(path), "--n", "2"]) == 2
    assert "has no column 'images', which the task uses; did you mean 'image'? It has image, " in (
        capsys.readouterr().err)


def test_data_check_and_plan_need_no_mirror_for_a_folder(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = str(bench / "colours.yaml")
    assert cli.main(["data", "check", "--tasks", mine]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"ok      colours  {bench}/colours  8 samples, ") and err == "1 of 1 tasks are whole\n"
    assert cli.main(["data", "plan", "--tasks", mine]) == 0
    out = capsys.readouterr().out
    assert f"# {bench}/colours: here (" in out and "hf download" not in out and "unzip" not in out
    shutil.rmtree(bench / "colours")
    assert cli.main(["data", "check", "--tasks", mine]) == 1
    assert f"there is no folder {bench}/colours" in capsys.readouterr().out
    assert cli.main(["data", "plan", "--tasks", mine]) == 1


def test_a_mirror_may_hold_it_too(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(bench / "colours", tmp_path / "mirror" / "me" / "colours")
    mine = str(write_task(bench, **{"./colours": "me/colours"}))
    assert cli.main(["data", "check", "--tasks", mine, "--data-root", str(tmp_path / "mirror")]) == 0
    assert capsys.readouterr().out.startswith("ok      colours  me/colours  8 samples, ")


@pytest.mark.parametrize(("damage", "sentence"), [
    ("test_split: test", "bench/colours has no file of split 'dev'; it has data/test-00000-of-00001.parquet. It is "),
    ("empty", "bench/colours holds no table (.parquet, .json, .jsonl, .csv or .arrow). It is the 'dataset_path' of "),
    ("process_docs", "cannot be read (ZeroDivisionError: division by zero); docs/benchmark.md says what "),
])
def test_data_that_cannot_be_loaded_are_one_sentence(
    bench: Path, damage: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = bench / "colours.yaml"
    if damage == "empty":
        shutil.rmtree(bench / "colours" / "data")
    elif damage == "process_docs":
        (bench / "mine.py").write_text("def rows(dataset):\n    return 1 / 0\n")
        mine.write_text(TASK + "process_docs: !function mine.rows\n")
    else:
        mine.write_text(TASK.replace(damage, "test_split: dev"))
    assert cli.main(["show", str(mine), "--n", "1"]) == 2
    err = capsys.readouterr().err
    assert sentence in err and len(err.splitlines()) == 1, err


def test_doctor_knows_its_data(bench: Path) -> None:
    from mmrope_eval.cli.machine import data_findings

    findings = list(data_findings(None, [bench]))
    assert [finding.state for finding in findings if finding.topic == f"{bench}/colours"] == ["ok"]
    assert [finding.state for finding in findings if "lmms-lab-encoder/ChartQA" in finding.text] == ["note"]
    shutil.rmtree(bench / "colours")
    lost = next(finding for finding in data_findings(None, [bench]) if finding.topic == f"{bench}/colours")
    assert (lost.state, lost.text) == ("note", "not there")


@pytest.mark.parametrize("argv", [
    ["run", "--model", "m", "--tasks", "a.yaml,chartqa"], ["analyze", "--tasks", "a.yaml"], ["sweep", "s.yaml"],
    ["score", "a.yaml", "f.jsonl"], ["rescore", "r"], ["list"], ["show", "a.yaml"], ["doctor"],
    ["data", "check", "--data-root", "d"], ["data", "plan"],
], ids=lambda argv: " ".join(argv[:2]))  # fmt: skip
def test_every_command_that_knows_tasks_takes_folders_of_them(argv: list[str]) -> None:
    args = cli.parse([*argv, "--tasks-dir", "one", "--tasks-dir", "two"])
    assert [*map(str, args.tasks_dir)] == ["one", "two"] and not cli.parse(argv).tasks_dir


def test_score_takes_its_path(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"doc": {"answer": "A", "options": ["red", "blue"], "kind": "dark"}, "response": text} for text in "AB"]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for task in ([str(bench / "colours.yaml")], ["colours", "--tasks-dir", str(bench)]):
        assert cli.main(["score", *task, str(tmp_path / "r.jsonl")]) == 0
        assert "Colours accuracy: 50.00" in capsys.readouterr().err
    assert cli.main(["score", str(bench / "colours.yaml"), str(tmp_path / "r.jsonl"), "--scorer", "stock"]) == 1
    assert "lmms-eval has no task for 'colours': its file names none (`metadata: stock`)." in capsys.readouterr().err


def test_a_sweep_file_names_tasks_and_variants_beside_it(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench / "half.yaml").write_text("extends: mrope-i\nposition: {temporal_stride: 0.5}\n")
    (tmp_path / "here.yaml").write_text(TASK)
    config = {"contexts": [96], "train_context": 96, "tasks": ["colours.yaml", "-colours.yaml", "here.yaml", "lvbench"],
              "variants": ["half.yaml", "hope"]}  # fmt: skip
    (bench / "sweep.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    sweep = read_sweep("bench/sweep.yaml")
    assert sweep.tasks == ("bench/colours.yaml", "-bench/colours.yaml", "here.yaml", "lvbench")
    assert sweep.variants == ("bench/half.yaml", "hope")


def test_a_sweep_takes_a_task_of_ones_own_that_has_videos(bench: Path, tmp_path: Path) -> None:
    write_task(bench, "clips.yaml", colours="clips", Colours="Clips", **{"{image: image}": "{video: image}"})
    for tasks, dirs, names in ((["clips.yaml"], (), ["clips"]), (["clips", "lvbench"], (bench,), ["clips", "lvbench"])):
        config = {"contexts": [96], "train_context": 96, "tasks": tasks}
        (bench / "sweep.yaml").write_text(yaml.safe_dump(config))
        settings = RunConfig((), (), tmp_path / "out", tasks_dirs=dirs)
        never: Any = None
        assert [spec.name for spec in Sweep(read_sweep(str(bench / "sweep.yaml")), settings, never, never, never).tasks
                ] == names  # fmt: skip
    (bench / "sweep.yaml").write_text(yaml.safe_dump({**config, "tasks": ["colours.yaml"]}))
    sweep = Sweep(read_sweep(str(bench / "sweep.yaml")), RunConfig((), (), tmp_path / "out"), never, never, never)
    with pytest.raises(UserError, match="task colours has no videos"):
        _ = sweep.tasks


def test_a_wrong_file_ends_a_run_before_a_checkpoint_is_looked_for(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_task(bench, **{"| lettered": "| leterd"})
    assert cli.main(["run", "--model", "nowhere", "--tasks", f"{path},chartqa"]) == 2
    assert capsys.readouterr().err == (
        f"mmrope-eval: error: Task file {path}: 'lmms_eval_specific_kwargs.default.prompt': There is no filter called "
        "'leterd'; did you mean 'lettered'?\n")


def test_a_plan_is_made_anew_when_the_code_beside_the_file_changes(bench: Path) -> None:
    path = bench / "colours.yaml"
    path.write_text(TASK + "process_docs: !function mine.rows\n")
    counts = []
    for n in (3, 5, 5):
        (bench / "mine.py").write_text("from mmrope_eval.data.rows import encoded\n\n\n"
                                       f"def rows(dataset):\n    return encoded(dataset).select(range({n}))\n")
        plan = Plans([read_task(path)], None, None).of(SHIPPED.family("qwen2.5-vl"))["colours"]
        counts.append(len(plan.samples))
    assert counts == [3, 5, 5]


# --------------------------------------------------------------------------------------------------------------
# A run, and what becomes of it


@dataclasses.dataclass
class Right(FakeEngine):
    """Says the letter of the option that the picture shows, and of the first two also its name."""

    def reply(self, request: Request) -> Response | Failure:
        response = super().reply(request)
        assert isinstance(response, Response)
        return dataclasses.replace(response, text="ABCD"[int(request.id.partition("/")[2]) % 4])


@pytest.fixture
def finished(bench: Path, checkpoint: Path, tmp_path: Path) -> Path:
    """A run of two variants made by the command, with the task given by its path."""
    assert run_command(lambda checkpoint, variant, options: Right(checkpoint, variant), "--model", str(checkpoint),
                       "--variant", "mrope,hope", "--tasks", str(bench / "colours.yaml"), "--output",
                       str(tmp_path / "out")) == 0
    return tmp_path / "out"


def scores(run: Path) -> dict[str, Any]:
    task_scores: dict[str, Any] = json.loads((run / "mrope" / "scores.json").read_text())["tasks"]["colours"]
    return task_scores


def test_a_run_records_the_file_and_resumes(finished: Path, bench: Path, checkpoint: Path) -> None:
    entry = scores(finished)
    assert (entry["column"], entry["category"], entry["average"], entry["n"]) == ("Colours", "image", "micro", 8)
    assert (entry["metrics"]["accuracy"]["value"], entry["chance"]) == (100, 25)
    assert entry["groups"] == {"dark": {"value": 100, "n": 6}, "light": {"value": 100, "n": 2}}
    recorded = json.loads((finished / "mrope" / "manifest.json").read_text())["tasks"]["colours"]["file"]
    assert recorded == {"path": str(bench / "colours.yaml"), "sha256": read_task(bench / "colours.yaml").fingerprint()}
    again = FakeStart()
    write_task(bench, Colours="Shades")  # another column's name asks nothing anew
    assert run_command(again, "--model", str(checkpoint), "--variant", "mrope,hope", "--tasks", "colours",
                       "--tasks-dir", str(bench), "--output", str(finished)) == 0
    assert again.engines == [] and scores(finished)["column"] == "Shades"


def test_shipped_tasks_record_no_file(tmp_path: Path) -> None:
    from mmrope_eval.run.manifest import own_file

    assert own_file(SHIPPED.tasks["chartqa"]) == {}


def test_a_table_of_ones_own_has_its_column(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.yaml").write_text("title: Mine\nrows: [mrope, hope]\ncolumns: [Colours, Both]\n"
                                      "averages: {Both: [Colours, ChartQA]}\n")
    assert cli.main(["table", str(tmp_path / "my.yaml"), str(finished), "--format", "csv"]) == 0
    assert "100.0" in capsys.readouterr().out
    assert cli.main(["compare", str(finished / "mrope"), str(finished / "hope")]) == 0
    assert "Colours" in capsys.readouterr().out


def test_rescoring_reads_the_file_that_the_run_recorded(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("scores.json")}
    assert cli.main(["rescore", str(finished)]) == 0
    assert {path: path.read_bytes() for path in before} == before
    out, err = capsys.readouterr()
    assert "100.00" in out and "has changed" not in err
    assert cli.main(["rescore", str(finished / "mrope"), "--scorer", "stock"]) == 0
    assert "colours: lmms-eval has no task for 'colours'" in capsys.readouterr().out


def test_a_file_that_changed_since_is_said_and_counts_as_it_is_now(
    finished: Path, bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(bench, **{"answer: answer": "answer: \"'A'\"", "category: image": "category: image, average: macro"})
    assert cli.main(["rescore", str(finished / "mrope")]) == 0
    err = capsys.readouterr().err
    assert f"the task file {bench}/colours.yaml has changed since the run; answers to questions that are " in err
    entry = scores(finished)
    assert (entry["average"], entry["metrics"]["accuracy"]["value"]) == ("macro", pytest.approx(100 * 2 / 6 / 2))
    (bench / "colours.yaml").write_text(TASK.replace("{{ question }}", "{{ question }}?"))
    assert cli.main(["rescore", str(finished / "mrope")]) == 2
    assert "holds no response to 8 of the 8 questions of colours as they are asked now" in capsys.readouterr().err


def test_a_file_that_is_gone_or_moved(
    finished: Path, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.move(bench, tmp_path / "moved")
    assert cli.main(["rescore", str(finished)]) == 2
    err = capsys.readouterr().err
    assert f"the task file {bench}/colours.yaml is gone; name the folder that it is in now with --tasks-dir." in err
    assert len(err.splitlines()) == 1
    assert cli.main(["rescore", str(finished), "--tasks-dir", str(moved)]) == 0
    bench.mkdir()
    write_task(bench, **{"task: colours": "task: other"})
    assert cli.main(["rescore", str(finished)]) == 2
    assert f"{bench}/colours.yaml is no longer the file of a task 'colours'" in capsys.readouterr().err

"""docs/benchmark.md: its example is made, checked, shown, run through the engine, tabled and compared as it stands."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmrope_eval import cli
from mmrope_eval.record.aggregate import AGGREGATES
from mmrope_eval.scorer.all import METRICS, TARGETS
from mmrope_eval.task.registry import Registry, open_registry
from mmrope_eval.task.spec import Media, Metadata, TaskKeys

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "benchmark.md").read_text()
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    ((?:python evaluate\.py|mmrope-eval) .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of the page: its three files in bench/, the data made, the demo's checkpoints beside."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "bench").mkdir()
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    names = ("make_colours.py", "colours.yaml", "table.yaml")
    for name, (kind, text) in zip(names, BLOCKS[:-1], strict=True):
        assert name in PAGE and kind == ("python" if name.endswith(".py") else "yaml")
        (folder / "bench" / name).write_text(text)
    runpy.run_path(str(folder / "bench" / "make_colours.py"), run_name="__main__")
    return folder


@pytest.fixture(autouse=True)
def here(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench)
    monkeypatch.setenv("XDG_CACHE_HOME", str(bench / "cache"))


@pytest.fixture(scope="module")
def runs(bench: Path) -> Path:
    """The page's run, by what its own command is given and through the real engine."""
    (line,) = (line for line in COMMANDS if line.startswith("python evaluate.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(bench)
        patch.setenv("XDG_CACHE_HOME", str(bench / "cache"))
        assert cli.main(["run", *shlex.split(line)[2:]]) == 0
    return bench / "runs" / "colours"


def command(word: str) -> list[str]:
    """The arguments of the page's one `mmrope-eval WORD` command."""
    (line,) = (line for line in COMMANDS if line.startswith(f"mmrope-eval {word}"))
    return shlex.split(line)[1:]


def test_every_command_on_the_page_is_understood() -> None:
    assert len(COMMANDS) == 5
    for line in COMMANDS:
        words = shlex.split(line)
        assert cli.parse(["run", *words[2:]] if words[0] == "python" else words[1:])


def test_the_data_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command("data check")) == 0
    assert capsys.readouterr().out.startswith("ok      colours ")


def test_what_is_shown_is_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"<!-- show -->\n((?:    .*\n)+)", PAGE)
    assert block is not None
    assert cli.main(command("show")) == 0
    assert capsys.readouterr().out.endswith("\n\n" + re.sub("(?m)^    ", "", block[1]))


def test_the_run_the_table_and_the_comparison(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for row, parts in (("vanilla--vanilla", {"square": 50, "circle": 75}),
                       ("mrope-i--mrope-i", {"square": 75, "circle": 50})):
        entry = json.loads((runs / row / "scores.json").read_text())["tasks"]["colours"]
        assert (entry["column"], entry["average"], entry["n"], entry["expected"]) == ("Colours", "macro", 8, 8)
        assert (entry["chance"], entry["n_failed"]) == (25, 0)
        assert entry["metrics"]["accuracy"]["value"] == 62.5
        assert {name: group["value"] for name, group in entry["groups"].items()} == parts
    assert cli.main(command("table")) == 0
    out = capsys.readouterr().out
    assert "**Colours**" in out and re.search(r"\| mrope-i *\| *62\.50ᵃ \|", out)
    assert "are unread" in out and "Colours (mrope-i 1 of 8)" in out
    assert cli.main(command("compare")) == 0
    assert re.search(r"A difference of [6-9]\d\.\d\d here alone would probably have shown\.", capsys.readouterr().out)


def test_rescoring_finds_the_file(runs: Path) -> None:
    recorded = json.loads((runs / "mrope-i--mrope-i" / "manifest.json").read_text())["tasks"]["colours"]["file"]
    assert Path(recorded["path"]) == Path("bench/colours.yaml").resolve()
    before = (runs / "mrope-i--mrope-i" / "scores.json").read_bytes()
    assert cli.main(["rescore", str(runs)]) == 0
    assert (runs / "mrope-i--mrope-i" / "scores.json").read_bytes() == before


def test_the_files_own_wording_counts_for_its_family() -> None:
    spec = open_registry(["bench/colours.yaml"]).tasks["colours"]
    assert spec.prompt("qwen3-vl").startswith("Question: ") and spec.prompt("qwen2-vl") == spec.prompts["default"]


@pytest.fixture
def included(bench: Path, tmp_path: Path) -> Path:
    """A folder for `include_path`: the page's file as lmms-eval can load it, with what it includes."""
    text = (bench / "bench" / "colours.yaml").read_text()
    (tmp_path / "colours.yaml").write_text(text.replace("task: colours", "task: mmrope_colours")
                                           .replace("./colours", str(bench / "bench" / "colours")))
    for name in ("_choice.yaml", "_common.yaml"):
        shutil.copy(ROOT / "tasks" / name, tmp_path)
    return tmp_path


def test_lmms_evals_own_evaluator_loads_such_a_file(included: Path) -> None:
    from mmrope_eval.lmms.loader import quiet_lmms_eval

    quiet_lmms_eval()
    from lmms_eval.tasks import TaskManager

    task = TaskManager(include_path=str(included), include_defaults=False).load_task_or_group("mmrope_colours")[
        "mmrope_colours"]  # fmt: skip
    row = task.test_docs()[1]
    assert task.doc_to_text(row).startswith("What colour is the square?\nA. green\n")
    assert task.doc_to_target(row)["answer"] == "A" and task.doc_to_visual(row)[0].size == (112, 112)
    assert task._metric_fn_list["accuracy"]([task.doc_to_target(row)], ["A"]) == 1.0


def test_lmms_evals_own_evaluator_asks_our_engine_and_finds_our_score(included: Path) -> None:
    """The page's last block as it stands, but for the checkpoint, the folder and the task that this machine has."""
    kind, code = BLOCKS[-1]
    assert kind == "python"
    for placeholder, value in (("CKPT", str(ROOT / "checkpoints" / "mrope-i")), ('"tasks"', repr(str(included))),
                               ("mmrope_chartqa", "mmrope_colours")):  # fmt: skip
        assert placeholder in code
        code = code.replace(placeholder, value)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=included, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = re.search(r"'accuracy,none': ([0-9.]+)", done.stdout)
    assert theirs is not None, done.stdout
    assert "both have 5 of 8 right, 62.50" in PAGE and 100 * float(theirs[1]) == 62.5


# --------------------------------------------------------------------------------------------------------------
# What the page lists is all there is


def table_rows(title: str) -> dict[str, list[str]]:
    """The rows of a section's tables by their first cell, the other cells without markup."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines()
            if line.startswith("| `")]  # fmt: skip
    return {row[0]: row[1:] for row in rows}


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_key_is_explained() -> None:
    explained = {name for cell in table_rows("Every key") for name in ticked(cell)}
    words = {re.split(r"[:.]", name.removeprefix("metadata."))[0] for name in explained}
    fields = {field.alias or name for name, field in TaskKeys.model_fields.items()}
    optional = {"tag", "task_alias", "output_type", "process_results_use_image", "doc_to_visual", "doc_to_text",
                "doc_to_target", "validation_split"}  # fmt: skip
    assert fields - optional - words == {"metadata"}, "which has a table of its own"
    assert set(Metadata.model_fields) - words == set()
    media = set(Media.model_fields)
    assert media - words == {"placeholder"} and "`placeholder: " in PAGE


def test_every_scorer_average_and_included_file_is_listed() -> None:
    listed = {ticked(name)[0]: cells for name, cells in table_rows("Scorers").items() if name != "`scorer`"}
    assert set(listed) == set(TARGETS)
    for name, (needs, metrics, *_) in listed.items():
        assert ticked(metrics) == list(METRICS[name])
        assert set(ticked(needs)) == set(TARGETS[name].known) - {"group"}
    assert set(AGGREGATES) == set(ticked(table_rows("Every key")["`average`"][0]))
    shipped = {path.name for path in Registry().tasks_dir.glob("_*.yaml") if not path.name.startswith("_lmudata")}
    assert {ticked(name)[0] for name in table_rows("What is shipped to include")} == shipped


def test_the_task_file_is_about_25_lines() -> None:
    text = dict(BLOCKS[1:2])["yaml"]
    assert len(text.splitlines()) <= 28 and yaml.safe_load(text)["metadata"]["column"] == "Colours"

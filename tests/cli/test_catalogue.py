"""What `list`, `show` and `doctor` print for someone who sees them for the first time."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from own_benchmark import write_task

from mmrope_eval import cli
from mmrope_eval.analysis.options import NAMINGS, USES, AnalyzeOptions
from mmrope_eval.cli import machine
from mmrope_eval.cli.catalogue import LISTS, SHOWN, ListOptions, ShowOptions
from mmrope_eval.task.registry import Registry
from mmrope_eval.util.keys import Keys


def test_a_suite_is_as_large_as_its_benchmarks_are_many(capsys: pytest.CaptureFixture[str]) -> None:
    """table2 is three suites: 25 columns, and not 3."""
    assert cli.main(["list", "suites"]) == 0
    shown = capsys.readouterr().out
    registry = Registry()
    for suite in registry.suites.values():
        (line,) = [line for line in shown.splitlines() if line.split()[:1] == [suite.name]]
        assert line.endswith(f"({len(registry.select(suite.tasks))})")
    assert "all 25 columns of Table 2 (25)" in shown


def test_the_star_of_a_parameter_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "mrope-i"]) == 0
    shown = capsys.readouterr().out
    assert "  * spatial_reset: True" in shown and "\n* differs from the default of its kind\n" in shown


@pytest.mark.parametrize(("words", "heads"), [
    (["mrope-i"], 4), (["mhrope"], 8), (["mhrope", "--set", "mrope_section=[4,4,4]"], 12)])
def test_a_variant_is_shown_for_the_model_that_it_is_analysed_for(
    words: list[str], heads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The paper's, with more KV heads where the variant deals out more."""
    assert cli.main(["show", *words]) == 0
    assert f"(head_dim 128, {heads} KV heads)" in capsys.readouterr().out


def test_doctor_names_absent_data_sets_in_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (finding,) = machine.data_findings(None)
    names = machine.datasets_of_tasks()
    assert finding.topic == f"{len(names)} data sets" and all(name in finding.text for name in names)
    assert "--data-root" in finding.remedy


def test_the_page_of_variants_shows_how_lists_are_set() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "variants.md").read_text()
    assert "`--set 'mrope_section=[8,4,4]'`" in page
    assert cli.parse(["analyze", "mrope-i", "--set", "mrope_section=[8,4,4]"]).set == {"mrope_section": [8, 4, 4]}


def test_tasks_fit_a_terminal_of_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Licences, which are sentences, stand in --json and in `show`, and the table says so."""
    assert cli.main(["list", "tasks"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert all(name in shown for name in Registry().tasks) and "list tasks --json" in shown.splitlines()[-1]
    assert cli.main(["list", "tasks", "--json"]) == 0
    (chartqa,) = [task for task in json.loads(capsys.readouterr().out)["tasks"] if task["name"] == "chartqa"]
    assert chartqa["licence"] == "GPL-3.0" and chartqa["dataset"] == "lmms-lab-encoder/ChartQA"
    assert cli.main(["show", "chartqa"]) == 0
    assert "licence: GPL-3.0" in capsys.readouterr().out


def test_samples_that_are_not_here_are_wanted_with_data_root_or_a_download(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cli.main(["show", "chartqa", "--n", "2"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "--data-root" in printed and "hf download lmms-lab-encoder/ChartQA" in printed


# -- options that nothing would read ---------------------------------------------------------------------------------

READ_ALWAYS: list[tuple[type[Keys], list[Mapping[str, Collection[str]]], set[str]]] = [
    (AnalyzeOptions, [USES, NAMINGS], {"variants", "set", "format", "output", "model"}),
    (ShowOptions, [SHOWN], {"name"}),
    (ListOptions, [LISTS], {"kind", "as_json"}),
]
"""What a command is asked, its options by use, and what it reads for every use."""
COMMANDS = {
    "an analysis without --tasks": ["analyze", "mrope"], "variants by name": ["analyze", "mrope"],
    "attention on --tasks": ["analyze", "mrope", "--tasks", "chartqa", "--model", "nowhere"],
    "the variant of a --model": ["analyze", "--model", "nowhere"],
    "a variant": ["show", "mrope-i"], "a suite": ["show", "table2"], "a task": ["show", "chartqa"],
    "samples of a task (--n, --model)": ["show", "chartqa", "--n", "1"],
    "variants": ["list", "variants"], "tasks": ["list", "tasks"], "suites": ["list", "suites"], "all names": ["list"],
    "all as --json": ["list", "--json"],
}
VALUES = {"assume_stock": [], "section": ["growth"], "dtype": ["float16"], "set": ["theta=2"], "figures": ["drawn"],
          "layout": ["image:2x2"], "prompts": ["qwen3-vl"], "tasks_dir": ["bench"]}  # fmt: skip
UNREAD = [(use, name) for _, tables, _ in READ_ALWAYS for uses in tables for use, read in uses.items()
          for name in sorted({name for names in uses.values() for name in names} - {*read, "tasks", "n", "model"})]


@pytest.mark.parametrize(("kind", "tables", "always"), READ_ALWAYS)
def test_of_every_option_it_is_known_for_what_it_is_read(
    kind: type[Keys], tables: list[Mapping[str, Collection[str]]], always: set[str],
) -> None:
    assert {name for uses in tables for names in uses.values() for name in names} | always == set(kind.model_fields)


@pytest.mark.parametrize(("use", "name"), [*UNREAD, ("a variant", "n"), ("a suite", "n"), ("a suite", "model")])
def test_an_option_that_nothing_would_read_is_refused_by_name(
    use: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    write_task(tmp_path / "bench")
    monkeypatch.chdir(tmp_path)
    flag = f"--{name.replace('_', '-')}"
    assert cli.main([*COMMANDS[use], flag, *VALUES.get(name, ["3"])]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{flag} is not read for {use}, only for " in err and err.endswith("; leave it out.\n")

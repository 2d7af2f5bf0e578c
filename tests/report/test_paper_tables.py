"""The paper's tables by name: numbering, who fills which row, what is not shown, and the tables that no run fills."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paper_runs import change_variant, every_column
from report_files import write_cell

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.record.files import sealed
from mmrope_eval.record.protocols import load_protocol
from mmrope_eval.report.definitions import Row, listed, load_definition
from mmrope_eval.report.published import load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.steps.steps import load_steps
from mmrope_eval.report.sweep.figures import write_files
from mmrope_eval.report.sweep.read import load_sweep
from mmrope_eval.report.sweep.table import sweep_table
from mmrope_eval.report.table.attention import attention_table
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.notes import Note, footnotes, remarks
from mmrope_eval.rope import Variant, load_variant

V2 = {"2": "overall", "3": "position", "4": "frequency", "5": "attention", "6": "ratio", "7": "stride"}
V3 = {"2": "overall", "3": "families", "4": "position", "5": "frequency", "6": "yarn", "7": "attention", "8": "ratio",
      "9": "stride", "10": "families-4b", "11": "families-8b"}
FEW = {"chartqa": [1, 0], "mvbench": [1, 1]}


def table(name: str, folder: Path, **options: Any) -> Table:
    return build(load_definition(name), [load_run(folder)], Options(**options))


def note(built_table: Table, kind: str) -> Note:
    return next(footnote for footnote in footnotes(built_table) if footnote.kind == kind)


def command(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = cli.main(["table", *map(str, argv)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(("numbering", "numbers"), [("v2", V2), ("v3", V3)])
def test_a_table_has_a_name_and_the_number_of_each_version(numbering: Any, numbers: Mapping[str, str]) -> None:
    for number, name in numbers.items():
        for word in (number, f"table{number}", name):
            assert load_definition(word, numbering).name == name
    unknown = {"v2": "8", "v3": "12"}[numbering]
    with pytest.raises(UserError, match=rf"no table '{unknown}'; choose one of overall \(2\).* as in {numbering} of"):
        load_definition(unknown, numbering)


def test_the_title_says_the_number_of_both_versions() -> None:
    assert load_definition("3").source == "arXiv 2510.23095 v3, table 4, table 3 in v2"
    assert load_definition("2").source == "arXiv 2510.23095 v3, table 2"
    assert load_definition("yarn").source == "arXiv 2510.23095 v3, table 6"


def test_every_reported_table_has_its_table(tmp_path: Path) -> None:
    published = load_published()
    assert set(published.tables) == set(V3.values())
    for number, name in V3.items():
        definition, reported = load_definition(name), published.tables[name]
        assert reported.number == int(number)
        assert set(reported.cells) == {row.label for row in definition.rows}
        columns = {column for cells in reported.cells.values() for column in cells}
        if definition.groups:
            assert {f"{group} {column}" for group in definition.groups for column in definition.columns} <= columns
        else:
            assert columns <= set(definition.columns)


def test_a_table_of_one_s_own_can_be_like_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("like: overall\ntitle: Mine\nrows: [hope]\n")
    definition = load_definition(str(tmp_path / "mine.yaml"))
    assert [row.label for row in definition.rows] == ["hope"]
    assert definition.columns == load_definition("overall").columns
    with pytest.raises(UserError, match=r"There is no table nowhere\.yaml"):
        load_definition("nowhere.yaml")


# ------------------------------------------------------------------------------------------------- what is shown


def new_idea(folder: Path, name: str = "myrope") -> Path:
    """A run of a variant that no table of the paper has."""
    write_cell(folder, "mrope-i", FEW)
    definition = {**load_variant("mrope-i", temporal_stride=3.0).to_dict(), "name": name}
    for file in ("manifest.json", "scores.json"):
        record = json.loads((folder / file).read_text())
        record["variant"] |= {"name": name, "fingerprint": Variant.from_dict(definition).fingerprint}
        if file == "manifest.json":
            record["variant"]["definition"] = definition
        (folder / file).write_text(json.dumps(record))
    return folder


def test_a_new_idea_is_shown_and_not_a_page_of_dashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_idea(tmp_path / "mine")
    code, text = command(capsys, "2", tmp_path / "mine", "--partial")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert code == 0 and "myrope" in lines[0] and "vanilla" not in lines[0]
    assert len(lines) == 2 + 5 and not any("— |" in line for line in lines[2:])


def test_a_new_idea_stands_below_the_rows_of_the_table_other_rows_of_the_paper_do_not(tmp_path: Path) -> None:
    for name in ("videorope-like", "interleave", "hope"):
        write_cell(tmp_path / name, name, FEW)
    new_idea(tmp_path / "mine")
    built_table = table("frequency", tmp_path, partial=True)
    assert built_table.rows == ("videorope-like", "interleave", "myrope") and built_table.left_out == ("hope",)
    assert load_variant("hope") is not None and table("frequency", tmp_path, partial=True, every_variant=True).rows == (
        "videorope-like", "interleave", "hope", "myrope")


def test_rows_of_other_tables_are_shown_where_no_row_is_filled(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "hope", FEW)
    write_cell(tmp_path / "b", "mrope", FEW)
    assert table("frequency", tmp_path, partial=True).rows == ("hope", "mrope")


def test_rows_and_columns_that_nobody_fills_go_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cell(tmp_path / "a", "vanilla", FEW)
    built_table = table("overall", tmp_path, reported=load_published())
    assert (built_table.rows, built_table.columns) == (("vanilla",), ("ChartQA", "MVBench"))
    assert {"mrope", "hope", "MMMU", "Image"} <= set(built_table.hidden)
    assert not np.isnan(built_table.cell("vanilla", "ChartQA")["reported"])
    every = table("overall", tmp_path, trim=False)
    assert len(every.rows) == 7 and every.hidden == () and "Image" in every.columns
    code, text = command(capsys, "overall", tmp_path, "--all", "--format", "json")
    assert code == 0 and len(json.loads(text)["cells"]) == 7 * 29


def test_a_footnote_that_no_cell_carries_is_not_there(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "mhrope", FEW)
    write_cell(tmp_path / "b", "interleave", {"refcoco_val": [1, 0]})
    built_table = table("position", tmp_path, every_variant=True)
    shown = {(row, column) for row in (*built_table.rows, None) for column in (*built_table.columns, None)}
    assert all(footnote.places & shown for footnote in footnotes(built_table))


def test_nothing_to_show_is_an_error_with_its_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path / "a", "interleave", FEW)
    code, text = command(capsys, "frequency", tmp_path)
    assert code == 2 and "these runs have ChartQA, MVBench; --partial averages the benchmarks that every row" in text
    code, text = command(capsys, "position", write_cell(tmp_path / "b", "+3d", {"star": [1]}), "--partial")
    assert code == 0 and "Video avg (1)" in text


def test_a_baseline_that_no_run_fills_is_said(tmp_path: Path) -> None:
    write_cell(tmp_path / "a", "mrope", FEW)
    assert "No difference from vanilla, which no run fills." in remarks(table("overall", tmp_path, baseline="vanilla"))


def test_every_row_of_the_paper_s_tables_is_known() -> None:
    designs = listed()
    assert {row.design for name in ("overall", "position", "ratio") for row in load_definition(name).rows} <= designs
    assert Row("", load_variant("circlerope-upstream", time="seconds")).design in designs, "no new idea: the package's"
    assert Row("", load_variant("mrope-i", temporal_stride=3.0)).design not in designs


# ------------------------------------------------------------------------------------------------------------ families


def test_families_are_the_averages_of_each_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every_column(tmp_path / "a", "mrope-i", model="Qwen3-VL-4B-mrope-i")
    every_column(tmp_path / "b", "mrope-i", model="out-8b/checkpoint-100", leave=("STAR",))
    every_column(tmp_path / "c", "hope", model="Qwen3-VL-4B-hope")
    built_table = build(load_definition("families"), [load_run(tmp_path)], Options(reported=load_published()))
    assert built_table.rows == ("hope", "mrope-i")
    assert built_table.columns == ("4B Image", "4B Video", "4B Grounding", "8B Image", "8B Grounding")
    assert built_table.cell("mrope-i", "4B Image")["reported"] == 48.82
    assert built_table.cell("hope", "4B Video")["reported"] == 50.25
    assert built_table.cell("mrope-i", "8B Image")["difference"] == pytest.approx(50 - 64.82)
    assert built_table.labels["4B Image"] == "4B Image avg (11)"
    assert ("Groups by the checkpoints' names (--group changes them): 4B: Qwen3-VL-4B-mrope-i, Qwen3-VL-4B-hope; "
            "8B: checkpoint-100.") in remarks(built_table)


def test_a_checkpoint_of_another_name_is_put_into_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every_column(tmp_path / "a", "mrope-i", model="small")
    assert "| mrope-i" in command(capsys, "families", tmp_path, "--no-chance")[1]
    assert "other Image avg (11)" in command(capsys, "families", tmp_path)[1]
    code, text = command(capsys, "families", tmp_path, "--group", "4B=sm*", "--reported")
    assert code == 0 and "4B Image avg (11)" in text and "/ 48.82" in text


def test_the_tables_of_every_benchmark_on_qwen3_vl(tmp_path: Path) -> None:
    every_column(tmp_path, "vanilla", model="Qwen3-VL-4B-vanilla")
    built_table = build(load_definition("11", "v3"), [load_run(tmp_path)], Options(reported=load_published()))
    assert built_table.cell("vanilla", "MMMU")["reported"] == 51.18 and len(built_table.columns) == 29


# ------------------------------------------------------------------------------------------------------------ protocol


def asked(folder: Path, variant: str, protocol: str | None, **changes: Any) -> Path:
    """A run that was asked as the paper asks, and says so where `protocol` is named."""
    write_cell(folder, variant, FEW)
    paper = load_protocol("paper")
    record = json.loads((folder / "manifest.json").read_text())
    record |= {"time": "index", "family": {"prompts": "paper"}, "media": {
        "policy": paper.policy_fields(28), "token_side": 28}, "tasks": {
            task: {"generation": {"max_tokens": 32, "temperature": 0.0}} for task in FEW}, **changes}
    record["protocol"] = protocol and {"name": protocol, "source": "", "departures": []}
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder


def test_rows_under_different_protocols_are_footnoted(tmp_path: Path) -> None:
    asked(tmp_path / "a", "vanilla", "paper")
    asked(tmp_path / "b", "mrope", None)
    footnote = note(table("overall", tmp_path), "protocols")
    assert footnote.text == "the rows were not asked under one protocol: paper (vanilla); none named (mrope)"
    assert footnote.places == {("vanilla", None), ("mrope", None)}


def test_rows_under_one_protocol_are_not(tmp_path: Path) -> None:
    for name in ("vanilla", "mrope"):
        asked(tmp_path / name, name, "paper")
    kinds = {footnote.kind for footnote in footnotes(table("overall", tmp_path, protocol=load_protocol("paper")))}
    assert not kinds & {"protocols", "protocol"}


def test_what_departs_from_the_protocol_that_was_demanded_is_footnoted(tmp_path: Path) -> None:
    asked(tmp_path / "a", "vanilla", None)
    asked(tmp_path / "b", "mrope", None, time="seconds")
    footnote = note(table("overall", tmp_path, protocol=load_protocol("paper")), "protocol")
    assert footnote.text == "not as protocol paper has it: mrope: time by seconds instead of index"
    assert footnote.places == {("mrope", None)}


# -------------------------------------------------------------------------------------------------------------- sweeps


def point(folder: Path, variant: str, scaling: str, factor: float, rule: str | None, task: str,
          values: list[float], context: int = 262_144) -> dict[str, Any]:
    """A measured point of a sweep, with its run."""
    name = variant if factor == 1 else f"{variant}--{scaling}-{rule}"
    place = folder / str(context) / task / name
    if not place.exists():
        write_cell(place, variant, {task: values})
        if factor != 1:
            scaled = {"type": scaling, "factor": factor, "original_max_position": 32_768}
            definition = {**load_variant(variant).to_dict(), "scaling": scaled}
            for file in ("manifest.json", "scores.json"):
                record = json.loads((place / file).read_text())
                record["variant"]["fingerprint"] = Variant.from_dict(definition).fingerprint
                if file == "manifest.json":
                    record["variant"]["definition"] = definition
                (place / file).write_text(json.dumps(record))
    return {"checkpoint": "/models/tiny", "model": "tiny", "variant": variant, "scaling": scaling, "task": task,
            "column": {"lvbench": "LVBench", "mlvu": "MLVU"}[task], "chance": 25.0, "context": context, "frames": 2048,
            "planned_tokens": context - 9, "factor": factor, "factor_rule": rule, "status": "done", "cause": None,
            "folder": str(place.relative_to(folder))}


def sweep(folder: Path, points: list[dict[str, Any]]) -> Path:
    content = {"format": 1, "title": "YaRN", "train_context": 32_768, "points": points}
    (folder / "sweep.json").write_text(json.dumps(sealed(content, "sweep.json", {})))
    return folder


@pytest.fixture
def yarn(tmp_path: Path) -> Path:
    """MRoPE and MRoPE-I on two benchmarks at 256K, unscaled and scaled by the context."""
    folder = tmp_path / "yarn"
    points = [point(folder, variant, scaling, factor, rule, task, [1.0] * right + [0.0] * (10 - right))
              for variant, better in (("mrope", 0), ("mrope-i", 1))
              for scaling, factor, rule, more in (("none", 1.0, None, 0), ("yarn", 8.0, "context", 1))
              for task, right in (("lvbench", 4 + better + more), ("mlvu", 6 + better + more))]
    return sweep(folder, points)


def test_the_table_of_yarn_takes_a_sweep(yarn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Options(reported=load_published(), baseline="mrope")
    built_table = sweep_table(load_definition("yarn"), [yarn], options, None)
    assert built_table.rows == ("mrope", "mrope+yarn (x8 by context)", "mrope-i", "mrope-i+yarn (x8 by context)")
    cell = built_table.cell("mrope-i+yarn (x8 by context)", "LVBench")
    assert (cell["score"], cell["reported"], cell["delta"]) == (60, 43.6, 20)
    assert any("By context it is how much longer the context is" in remark for remark in built_table.extra_remarks)
    code, text = command(capsys, "6", yarn, "--numbering", "v3", "--reported", "--intervals")
    assert code == 0 and "x8 by context" in text and "2,048 frames" in text


def test_points_without_a_definition_are_as_many_variants_as_they_have_fingerprints(tmp_path: Path) -> None:
    points = [point(tmp_path, variant, "none", 1.0, None, "lvbench", values)
              for variant, values in (("mrope", [1.0, 0.0]), ("mrope-i", [1.0, 1.0]))]
    for manifest in tmp_path.rglob("manifest.json"):
        content = json.loads(manifest.read_text())
        del content["variant"]["definition"]
        manifest.write_text(json.dumps(content))
    built_table = sweep_table(load_definition("yarn"), [sweep(tmp_path, points)], Options(), None)
    assert {row: built_table.cell(row, "LVBench")["score"] for row in built_table.rows} == {"mrope": 50, "mrope-i": 100}


def test_a_scaling_that_changed_nothing_says_so(tmp_path: Path) -> None:
    points = [point(tmp_path, "mrope", scaling, 1.0, rule, "lvbench", [1.0, 0.0])
              for scaling, rule in (("none", None), ("yarn", "reach"))]
    built_table = sweep_table(load_definition("yarn"), [sweep(tmp_path, points)], Options(), None)
    assert built_table.rows == ("mrope", "mrope+yarn (x1 by reach)")
    assert {built_table.cell(row, "LVBench")["score"] for row in built_table.rows} == {50}


def test_both_rules_of_a_factor_stand_side_by_side(yarn: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    points = [point(other, "mrope", "yarn", 4.0, "x4", "lvbench", [1.0, 0.0])]
    options = Options(reported=load_published())
    built_table = sweep_table(load_definition("yarn"), [yarn, sweep(other, points)], options, None)
    assert {"mrope+yarn (x8 by context)", "mrope+yarn (x4)"} <= set(built_table.rows)
    assert {built_table.cell(row, "LVBench")["reported"] for row in built_table.rows if "mrope+yarn" in row} == {41.2}


def test_another_variant_or_context_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = [point(tmp_path, "hope", "none", 1.0, None, "lvbench", [1.0, 0.0], context=640)]
    sweep(tmp_path, points)
    code, text = command(capsys, "yarn", tmp_path)
    assert code == 2
    assert "no points of yarn at a context of 262,144 tokens; they have 640: choose one with --context" in text
    code, text = command(capsys, "yarn", tmp_path, "--context", "640")
    assert code == 0 and "| hope" in text and "mrope" not in text.split("\n\n")[1]


# ----------------------------------------------------------------------------------------------------------- attention


def analysis(file: Path, variants: Mapping[str, Any], layers: int = 28, tasks: tuple[str, ...] = ("docvqa",),
             described: bool = True) -> Path:
    """What `analyze --tasks --format json` writes: in layer n every variant attends to n per mille more."""
    rows = [{"variant": name, "task": task, "layer": layer, "samples": 64, "text": start + 0.001 * (
        layers if layer == "all" else layer), "last": 0.5, "even_text": 0.9, "even_last": 0.9}
            for name, (start, _) in variants.items() for task in tasks for layer in (*range(1, layers + 1), "all")]
    definitions = {name: variant.to_dict() for name, (_, variant) in variants.items()}
    content = {"model": "/models/m", "fingerprint": "f", "variants": list(variants), "attention": {
        "notes": [], "rows": rows}} | ({"definitions": definitions} if described else {})
    file.write_text(json.dumps(content))
    return file


def test_the_table_of_attention_takes_analyses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = analysis(tmp_path / "a.json", {"mhrope": (0.3, load_variant("mhrope", mrope_section=[1, 1, 2]))})
    second = analysis(tmp_path / "b.json", {"mrope-i": (0.4, load_variant("mrope-i")),
                                            "qwen3-vl": (0.2, load_variant("qwen3-vl"))})
    built_table = attention_table(load_definition("5"), [first, second], Options(reported=load_published()))
    assert built_table.rows == ("mhrope", "mrope-i", "mrope-i without spatial-reset")
    assert built_table.columns == ("Layer 4", "Layer 12", "Layer 20", "Layer 28")
    cell = built_table.cell("mrope-i without spatial-reset", "Layer 28")
    assert (round(cell["score"], 9), cell["reported"], cell["n"]) == (22.8, 11.69, 64)
    code, text = command(capsys, "attention", first, second, "--reported", "--baseline", "mrope-i")
    assert code == 0 and "A cell: per cent of attention (difference from mrope-i)" in text
    assert "On 64 samples of docvqa: mean over heads, samples and the text tokens" in text and "chance" not in text


def test_an_analysis_without_definitions_is_read_by_the_names(tmp_path: Path) -> None:
    variants = {"mrope-i": (0.4, load_variant("mrope-i")), "mine": (0.1, load_variant("hope"))}
    file = analysis(tmp_path / "a.json", variants, described=False)
    built_table = attention_table(load_definition("attention"), [file], Options())
    assert built_table.rows == ("mrope-i", "mine")


def test_a_model_without_these_layers_shows_those_it_has(tmp_path: Path) -> None:
    file = analysis(tmp_path / "a.json", {"mrope-i": (0.4, load_variant("mrope-i"))}, layers=3)
    assert attention_table(load_definition("attention"), [file], Options()).columns == ("Layer 1", "Layer 2", "Layer 3")


@pytest.mark.parametrize(("content", "words"), [
    ("{", "cannot be read"), ("[]", "is not"), ('{"model": "m"}', "is not an analysis of attention (key 'attention'"),
    ('{"model": "m", "attention": {"rows": [{"variant": "v", "task": "t", "layer": 0, "samples": 1, "text": 2}]}}',
     "is not an analysis of attention"),
    ('{"model": "m", "attention": {"rows": []}}', "has attention on nothing, not on docvqa"),
])
def test_a_file_that_is_no_analysis_is_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError) as raised:
        attention_table(load_definition("attention"), [tmp_path / "x.json"], Options())
    assert words in str(raised.value) and "analyze" in str(raised.value) and "\n" not in str(raised.value)


def test_one_row_of_two_analyses_is_never_chosen_from(tmp_path: Path) -> None:
    files = [analysis(tmp_path / name, {"mrope-i": (0.4, load_variant("mrope-i"))}) for name in ("a.json", "b.json")]
    with pytest.raises(UserError, match=r"mrope-i: .*a\.json and .*b\.json both have it"):
        attention_table(load_definition("attention"), files, Options())
    both = analysis(tmp_path / "c.json", {"mrope-i": (0.4, load_variant("mrope-i"))}, tasks=("chartqa", "ai2d"))
    with pytest.raises(UserError, match="has attention on chartqa, ai2d, not on docvqa"):
        attention_table(load_definition("attention"), [both], Options())


# --------------------------------------------------------------------------------------------------------------- LaTeX


@pytest.mark.parametrize("name", ["overall", "position", "families", "yarn", "attention"])
def test_latex_of_every_kind_of_table_compiles(
    name: str, yarn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every_column(tmp_path / "runs" / "a", "mrope-i", model="Qwen3-VL-4B", leave=("BLINK",))
    every_column(tmp_path / "runs" / "b", "+3d", model="Qwen3-VL-8B", leave=("BLINK",))
    source = {"yarn": yarn, "attention": analysis(tmp_path / "a.json", {"mrope-i": (0.4, load_variant("mrope-i"))})}
    options = ["--reported", *([] if name == "attention" else ["--protocol", "paper"])]
    given = source.get(name, tmp_path / "runs")
    code, text = command(capsys, name, given, *options, "--format", "latex", "--standalone")
    assert code == 0 and text.isascii()
    if shutil.which("pdflatex"):
        (tmp_path / "table.tex").write_text(text)
        made = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"], cwd=tmp_path,
                              capture_output=True, text=True, timeout=120)
        assert made.returncode == 0 and "Overfull \\hbox" not in made.stdout, made.stdout[-2000:]


def test_a_stride_is_a_row_of_the_paper_and_no_new_idea(tmp_path: Path) -> None:
    change_variant(write_cell(tmp_path / "a", "mrope-i", FEW), temporal_stride=2.0)
    write_cell(tmp_path / "b", "hope", FEW)
    assert table("overall", tmp_path).left_out == ("mrope-i with temporal_stride=2.0",)


# ------------------------------------------------------------------------------------------------------------- figures


def picture(path: Path) -> bytes:
    assert path.read_bytes().startswith(b"\x89PNG")
    return path.read_bytes()


def test_the_figure_of_steps_has_the_reported_scores_of_its_designs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, right in ((100, 20), (200, 25)):
        write_cell(tmp_path / "runs" / str(number), "mrope-i", {"chartqa": [1.0] * right + [0.0] * (40 - right)},
                   model=f"out/checkpoint-{number}")
    made = []
    for options in ([], ["--reported"]):
        figure = tmp_path / f"{len(options)}.png"
        argv = ["steps", str(tmp_path / "runs"), "--columns", "ChartQA", "--figure", str(figure), *options]
        assert cli.main(argv) == 0
        made.append(picture(figure))
    assert made[0] != made[1] and "/ 62.12 (" in capsys.readouterr().out
    steps = load_steps([load_run(tmp_path / "runs")], ["ChartQA"], reported=load_published())
    assert steps.reported(steps.curves[0], "ChartQA") == 62.12


def test_the_figure_of_a_sweep_has_the_reported_scores_at_their_context(yarn: Path) -> None:
    made = []
    for published in (None, load_published()):
        write_files(load_sweep(yarn), yarn, published=published)
        made.append(picture(yarn / "sweep.png"))
    assert made[0] != made[1]

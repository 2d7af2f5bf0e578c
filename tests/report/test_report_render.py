"""What a table looks like in each format, and the command that prints it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_files import COLUMNS, sample, write_cell

from mmrope_eval import cli
from mmrope_eval.report.csv_text import csv_text
from mmrope_eval.report.table.as_latex import latex_escape
from mmrope_eval.report.table.as_markdown import superscript
from mmrope_eval.report.table.page import number

VARIANTS = {"vanilla": 0.25, "mrope": 0.5, "hope": 0.5, "mhrope": 0.75, "mrope-i": 1.0}
"""variant -> the share of right answers; VideoRoPE and CircleRoPE are missing"""
LINES = 25 + 4 + 2
"""The benchmarks, the averages, and as the runs have it MMBench CN with its mean."""
IMAGE = "Image avg (11)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every benchmark for five variants; hope lacks MLVU, fails one sample and has one answer cut off."""
    folder = tmp_path_factory.mktemp("runs")
    for variant, share in VARIANTS.items():
        tasks = {task: [sample(task, i, float(i < 4 * share)) for i in range(4)] for task in COLUMNS}
        if variant == "hope":
            del tasks["mlvu"]
            tasks["star"][3]["failure"] = {"stage": "media", "cause": "no"}
            tasks["docvqa"][3]["truncated"] = True
        write_cell(folder / variant, variant, tasks, model=f"demo_{variant}", limit=4)
    return folder


def table(runs: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(["table", *argv[:1], str(runs), *argv[1:]]) == 0
    return capsys.readouterr().out


def pipe_table(text: str) -> list[list[str]]:
    """The cells of a markdown table, its rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def test_markdown_is_one_well_formed_table(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = table(runs, capsys, "2")
    rows = pipe_table(text)
    assert len({len(row) for row in rows}) == 1 and len(rows) == 1 + LINES
    assert rows[0][2:] == ["chance", "vanilla", "mrope", "hope", "mhrope", "mrope-i"]
    by_name = {re.sub("[ᵃᵇᶜᵈ,]", "", row[1]): row for row in rows}
    assert by_name["AI2D"][2:] == ["25.00", "25.00", "50.00", "50.00", "<ins>75.00</ins>", "**100.00**"]
    assert by_name["MLVU"][5] == "—" and by_name["Video avg (6)"][5] == "—" and by_name["Overall"][5] == "—"
    assert by_name["STAR"][5] == "50.00ᵇ" and by_name["DocVQA"][5] == "50.00ᶜ" and by_name[IMAGE][5] == "50.00ᶜ"
    assert "Not shown, as no run fills them: videorope, circlerope" in text
    assert [row[0] for row in rows if row[0]] == ["Image", "Video", "Grounding"]
    assert "ᵇ with failed samples, counted wrong: STAR (hope 1 of 4)" in text
    assert "ᶜ with answers cut off at the token limit: DocVQA (hope 1 of 4)" in text


def test_markdown_with_everything(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = table(runs, capsys, "2", "--baseline", "vanilla", "--reported", "--intervals")
    rows = {re.sub("[ᵃᵇᶜᵈ,]", "", row[1]): row for row in pipe_table(text)}
    assert re.fullmatch(r"\*\*100.00\*\* \(\+75.00\) \[\d+.\d\d, 100.00\] / 53.22 \(\+46.78\)", rows["MMMU"][7])
    assert re.fullmatch(r"25.00 \[\d.\d\d, \d+.\d\d\] / 50.56 \(−25.56\)", rows["MMMU"][3])
    assert rows["Video avg (6)"][5] == "— / 52.95", "ours is unknown, the reported score is not"
    assert "Reported: arXiv 2510.23095 v3 (6 April 2026), table 2 of Qwen2.5-VL's ViT" in text
    assert "(P = printed in the paper; R = recomputed here" in text


def test_rows_across_when_the_table_says_so(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[re.sub("[ᵃᵇᶜᵈ,]", "", cell) for cell in row]
            for row in pipe_table(table(runs, capsys, "frequency", "--no-chance"))]
    assert [row[0] for row in rows] == ["", "multi-head", "interleave"]
    assert rows[0][1:] == [IMAGE, "Video avg (6)", "Grounding avg (8)", "Overall"]
    assert rows[1][1:] == ["75.00"] * 4 and rows[2][1:] == ["**100.00**"] * 4
    every = pipe_table(table(runs, capsys, "frequency", "--no-chance", "--all"))
    assert [row[0].rstrip("ᵃᵇᶜᵈᵉ,") for row in every[1:5]] == [
        "videorope-like", "ilrope-like", "multi-head", "interleave"] and every[1][1] == "—"
    assert [row[0] for row in pipe_table(table(runs, capsys, "4"))][1] == "chance"


def test_partial_hides_what_nobody_has(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path / "few", "mrope-i", {"chartqa": [1, 0], "mvbench": [1, 1]})
    text = table(tmp_path / "few", capsys, "2", "--partial")
    assert [row[1] for row in pipe_table(text)[1:]] == ["ChartQAᵃ", "Image avg (1)ᵃ,ᵇ", "MVBenchᵃ",
                                                        "Video avg (1)ᵃ,ᵇ", "Overallᵃ,ᵇ"]
    assert re.search("Not shown, as no run fills them: vanilla, .*, MMMU, ", text)
    assert "Overall 2 of 25 (ChartQA, MVBench)" in text


def test_csv_holds_every_cell_unrounded(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = table(runs, capsys, "2", "--format", "csv", "--reported", "--baseline", "vanilla")
    rows = {(row["row"], row["column"]): row for row in csv.DictReader(io.StringIO(text))}
    assert len(rows) == len(VARIANTS) * LINES
    cell = rows["mrope-i", "MMMU"]
    assert [float(cell[name]) for name in ("score", "reported", "delta")] == [100, 53.22, 75] and cell["source"] == "P"
    assert (cell["n"], cell["expected"], cell["rank"], cell["models"]) == ("4", "900", "1", "demo_mrope-i")
    assert rows["hope", "MLVU"]["score"] == "" and rows["hope", "STAR"]["notes"] == "incomplete;failed"
    assert rows["mrope-i", "Image"]["benchmarks"].split(";")[0] == "MMMU"


def test_json_holds_cells_notes_and_remarks(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(table(runs, capsys, "2", "--format", "json", "--intervals"))
    cells = {(cell["row"], cell["column"]): cell for cell in report["cells"]}
    assert cells["hope", "Overall"]["score"] is None and cells["mrope", "Overall"]["score"] == 50
    assert cells["mrope", "MMMU"]["low"] < 50 < cells["mrope", "MMMU"]["high"]
    assert report["level"] == 0.95 and [note["mark"] for note in report["notes"]][:3] == ["a", "b", "c"]
    assert ["hope", "STAR"] in report["notes"][1]["places"] and report["remarks"]


def test_html_reads_back_as_the_same_table(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Cells(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[list[str]] = []
            self.inside: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.inside.append(tag)
            if tag == "tr":
                self.rows.append([])
            if tag in ("td", "th"):
                self.rows[-1].append("")

        def handle_endtag(self, tag: str) -> None:
            while self.inside.pop() != tag:
                pass

        def handle_data(self, data: str) -> None:
            if {"td", "th"} & set(self.inside) and "sup" not in self.inside:
                self.rows[-1][-1] += data

    page = table(runs, capsys, "4", "--format", "html", "--no-chance", "--all")
    parser = Cells()
    parser.feed(page)
    rows = {row[0]: row[1:] for row in parser.rows if row}
    assert rows["interleave"] == ["100.00"] * 4 and rows["ilrope-like"] == ["—"] * 4
    assert "<b>100.00</b>" in page and "<u>75.00</u>" in table(runs, capsys, "2", "--format", "html")
    assert page.startswith("<!doctype html>") and "</sup> multi-head: from the run of mhrope" in page


# --------------------------------------------------------------------------------------------------------------- LaTeX


@pytest.mark.parametrize("argv", [
    ("2",), ("2", "--baseline", "vanilla", "--reported", "--intervals"), ("3", "--reported", "--all"), ("4",), ("6",),
    ("7", "--partial"),
], ids=" ".join)
def test_latex_is_sound(argv: tuple[str, ...], runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = table(runs, capsys, *argv, "--format", "latex", "--standalone")
    assert text.isascii(), "no character that a plain LaTeX does not know"
    tabular = re.search(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert tabular is not None
    lines = [line for line in tabular[2].splitlines() if not line.startswith("\\") or line.startswith("\\textbf")]
    assert {line.count("&") for line in lines} == {len(tabular[1]) - 1}
    rules = re.findall(r"\\(toprule|midrule|bottomrule|cline)", tabular[2])
    assert rules[0] == "toprule" and rules[-1] == "bottomrule" and set(rules[1:-1]) == {"midrule"}
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    if shutil.which("pdflatex"):
        pdf = compiled(text, tmp_path)
        assert pdf.stat().st_size > 10_000


def compiled(text: str, folder: Path, program: str = "pdflatex") -> Path:
    """The document compiled; no warning of a line that leaves the page."""
    (folder / "table.tex").write_text(text, encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
    return folder / "table.pdf"


def test_a_fragment_says_what_it_needs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = table(runs, capsys, "4", "--format", "latex")
    assert text.startswith("% needs \\usepackage{booktabs}") and "\\documentclass" not in text
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 1


@pytest.mark.parametrize(("text", "escaped"), [
    ("50 % of a_b & c#1", r"50 \% of a\_b \& c\#1"), ("—", "---"), ("−1.00", "$-$1.00"), ("--all", "-{}-all"),
    ("a\\b{c}~^", r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}"),
    ("a<b|c", r"a\textless{}b\textbar{}c"),
])
def test_latex_escapes(text: str, escaped: str) -> None:
    assert latex_escape(text) == escaped


@pytest.mark.parametrize(("value", "sign", "text"), [
    (12.345, False, "12.35"), (float("nan"), True, "—"), (-0.001, True, "+0.00"), (-3.0, True, "−3.00"),
    (-0.004, False, "0.00"), (100.0, False, "100.00"),
])
def test_numbers(value: float, sign: bool, text: str) -> None:
    assert number(value, sign=sign) == text


@pytest.mark.parametrize(("value", "cell"), [
    ("=1+1", "'=1+1"), ("+3d", "'+3d"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", r"\t=1"), ("\r=1", r"\r=1"),
    ("mrope-i", "mrope-i"), ("", ""), ("a=b", "a=b"), (-1.5, "-1.5"), (-3, "-3"), (None, ""),
])
def test_no_cell_of_csv_begins_a_formula(value: Any, cell: str) -> None:
    text = csv_text(pd.DataFrame({"a": [value], "=b": [1.25]}))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "'=b"], [cell, "1.25"]]


def test_rows_that_would_be_formulas_are_guarded_in_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path / "a", "+3d", {"chartqa": [1, 0]}, model="=cmd/checkpoint-1")
    text = table(tmp_path, capsys, "3", "--partial", "--format", "csv")
    row_by_name = {row["row"]: row for row in csv.DictReader(io.StringIO(text)) if row["models"]}
    assert set(row_by_name) == {"'+3d"} and row_by_name["'+3d"]["variants"] == "'+3d"
    assert cli.main(["steps", str(tmp_path), "--columns", "chartqa", "--format", "csv"]) == 0
    assert not re.search(r"(^|,)[=+@-](?![0-9.]+(,|$))", capsys.readouterr().out, re.MULTILINE)


def test_marks_are_letters() -> None:
    assert superscript("a,z") == "ᵃ,ᶻ"


LETTERS = {
    "latin": (("ünïé ß œ č", "Ärger — “x”", "a_b&c"), ""),
    "greek": (("λ-rope", "b", "c"), "λ"),
    "chinese": (("模型", "にほん", "한국"), "模型にほん한국"),
    "beyond T1": (("«þ»", "b", "c"), "«þ»"),
    "mathematics": (("𝛼-rope", "b ≤ 2", "c"), "𝛼≤"),
}


@pytest.mark.parametrize("name", LETTERS)
def test_letters_that_pdflatex_does_not_know_are_said_to_need_lualatex(
    name: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, foreign = LETTERS[name]
    rows = "".join(f'  - {{label: "{label}", variant: {variant}}}\n'
                   for label, variant in zip(labels, ("mrope-i", "mrope", "vanilla"), strict=True))
    definition = tmp_path / "own.yaml"
    definition.write_text(f"title: T\nrows:\n{rows}columns: [ChartQA, MVBench]\n", encoding="utf-8")
    capsys.readouterr()
    for extra in ((), ("--standalone",)):
        assert cli.main(["table", str(definition), str(runs), "--format", "latex", *extra]) == 0
        text, err = capsys.readouterr()
        warning = f"pdflatex does not know {foreign}: compile this with lualatex or xelatex"
        assert err == (f"mmrope-eval: {warning}.\n" if foreign else "") and (f"% {warning}\n" in text) == bool(foreign)
        assert set(foreign) <= set(text)
    assert ("\\usepackage{fontspec}" in text) == bool(foreign) != ("inputenc" in text)
    if shutil.which("lualatex" if foreign else "pdflatex"):
        assert compiled(text, tmp_path, "lualatex" if foreign else "pdflatex").stat().st_size > 3_000
    if foreign and shutil.which("pdflatex"):
        line = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, errors="replace")
        assert done.returncode != 0 and "! Compile this with lualatex or xelatex." in done.stdout


# ------------------------------------------------------------------------------------------------------------- command


def test_output_goes_to_a_file(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "table.csv"
    assert table(runs, capsys, "3", "--format", "csv", "--output", str(target)) == ""
    assert len(pd.read_csv(target)) == 2 * 6


def test_a_run_that_did_not_finish_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path / "hope", "hope", {"chartqa": [1]})
    (tmp_path / "mrope").mkdir()
    (tmp_path / "mrope" / "responses.sqlite").touch()
    assert cli.main(["table", "2", str(tmp_path)]) == 0
    assert "mrope is a run that did not finish; it is not in the table" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "words"), [
    (["table", "8", "."], "There is no table '8'; choose one of overall (2), position (3), frequency (4), "),
    (["table", "postion", "."], "There is no table 'postion'"),
    (["table", "5", "."], ". is not a file; table attention takes what mmrope-eval analyze wrote"),
    (["table", "yarn", "{runs}"], "holds no sweep.json; name the --output of a sweep"),
    (["table", "2", "{runs}", "--context", "9"], "--context has no meaning for table overall"),
    (["table", "2", "{runs}", "--group", "4B=x"], "--group has no meaning for table overall"),
    (["table", "attention", "x.json", "--intervals"], "--intervals has no meaning for table attention"),
    (["table", "2", "nowhere"], "nowhere is not a folder"),
    (["table", "2", "{runs}", "--baseline", "none"], "--baseline none is no row"),
    (["table", "2", "{runs}", "--model", "x*"], "--model x* matches none"),
    (["table", "2", "{runs}", "--standalone"], "--standalone is for --format latex, not markdown"),
])
def test_bad_input_is_one_sentence(
    argv: list[str], words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([argument.format(runs=runs) for argument in argv]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1

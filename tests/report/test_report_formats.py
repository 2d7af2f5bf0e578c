"""A format of tables is one file and one line of the register."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_files import write_cell

import mmrope_eval.report.table as room
from mmrope_eval import cli
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.formats import FORMATS, Format
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.page import page_of
from mmrope_eval.report.table.render import render

TABS = '''
def write(page, standalone):
    """Names and scores between tabs, with the letters of footnotes."""
    rows = [[heading.text, *(cell.score + cell.mark for cell in line)] for heading, line in page.lines]
    head = ["alone" if standalone else page.title, *(heading.text for heading in page.columns)]
    return "\\n".join("\\t".join(row) for row in [head, *rows])
'''


@pytest.fixture
def filled(tmp_path: Path) -> Table:
    for variant, values in {"mrope": [1, 0], "hope": [1, 1]}.items():
        write_cell(tmp_path / variant, variant, {"chartqa": values, "ai2d": values})
    return build(load_definition("overall"), [load_run(tmp_path)], Options(partial=True))


class TestAddingAFormat:
    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "table_between_tabs.py").write_text(TABS)
        monkeypatch.syspath_prepend(tmp_path)

    def test_takes_its_file_and_a_line(self, filled: Table) -> None:
        text = render(filled, "tabs", formats={**FORMATS, "tabs": Format("table_between_tabs")})
        lines = [line.split("\t") for line in text.split("\n")]
        assert lines[0] == ["RoPE variants on every benchmark (arXiv 2510.23095 v3, table 2)", "AI2D", "ChartQA",
                            "Image avg (2)", "Overall"]
        assert [line[0] for line in lines[1:]] == ["mrope", "hope"]
        assert [line[1:] for line in lines[1:]] == [["50.00"] * 4, ["100.00"] * 4]

    def test_says_in_the_line_whether_it_makes_documents(self, filled: Table) -> None:
        with pytest.raises(ValueError, match="tabs has no documents"):
            render(filled, "tabs", standalone=True, formats={"tabs": Format("table_between_tabs")})
        text = render(filled, "tabs", standalone=True, formats={"tabs": Format("table_between_tabs", standalone=True)})
        assert text.startswith("alone\t")


def test_every_file_of_a_format_is_registered() -> None:
    files = {path.stem for folder in room.__path__ for path in Path(folder).glob("as_*.py")}
    assert {form.module for form in FORMATS.values()} == {f"{room.__name__}.{name}" for name in files}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_score(form: str, filled: Table) -> None:
    text = render(filled, form, standalone=FORMATS[form].standalone)
    assert text.count("100.0") >= 4 and "ChartQA" in text and "hope" in text


def test_the_command_line_offers_the_register(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["table", "--help"])
    assert f"{{{','.join(FORMATS)}}}" in "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_a_table_without_notes_has_no_letters_either_and_stderr_counts_them(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for variant, values in {"mrope": [1, 0], "hope": [1, 1]}.items():
        write_cell(tmp_path / variant, variant, {"chartqa": values, "ai2d": values})

    def table(*options: str) -> tuple[str, str]:
        assert cli.main(["table", "overall", str(tmp_path), "--partial", "--format", form, *options]) == 0
        return capsys.readouterr()

    whole, bare = table(), table("--no-notes")
    page = page_of(build(load_definition("overall"), [load_run(tmp_path)], Options(partial=True)))
    count = len(page.footnotes) + len(page.remarks)
    assert page.footnotes and page.remarks and whole[1] == ""
    assert bare[1] == f"mmrope-eval: {count} notes on these scores left out (--no-notes).\n"
    raised = {"markdown": "ᵃ", "latex": r"\textsuperscript", "html": "<sup>"}[form]
    assert raised in whole[0] and raised not in bare[0] and "50.00" in bare[0]
    assert not any(note.text[:20] in bare[0] for _, note in page.footnotes)
    assert r"\begin{minipage}" not in bare[0]

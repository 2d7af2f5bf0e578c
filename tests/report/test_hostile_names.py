"""Names that act: what a checkpoint, variant, label or column is called is read as it is, wherever it is shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval import cli
from mmrope_eval.report import markdown_text
from mmrope_eval.words import visible

RECORD = Path(__file__).resolve().parents[1] / "cases" / "records" / "0.3"
TRICKS = r"""\|*_`<>[](){}~&#!"' """


@pytest.mark.parametrize(("text", "escaped"), [
    ("a|b", r"a\|b"),
    ("*x*", r"\*x\*"),
    ("<img onerror=x>", r"\<img onerror=x>"),
    ("`rm`", r"\`rm\`"),
    ("a_b acc_50", "a_b acc_50"),
    ("_a_ __init__", r"\_a\_ \_\_init\_\_"),
    ("[here](http://x)", r"[here\](http://x)"),
    ("![x](y)", r"![x\](y)"),
    ("[0.1, 0.9]", "[0.1, 0.9]"),
    ("~~gone~~", r"\~\~gone\~\~"),
    ("&lt;b&gt; &#60; R&D a & b", r"\&lt;b\&gt; \&#60; R&D a & b"),
    ("a\\|b", r"a\\\|b"),
    ("end\\", r"end\\"),
    ("C:\\dir \\n", r"C:\dir \n"),
    ("two\nlines", "two lines"),
])
def test_markdown_shows_a_text_as_it_is(text: str, escaped: str) -> None:
    assert markdown_text.escape(text) == escaped


@given(st.text(st.sampled_from(TRICKS + "ab"), max_size=20))
def test_no_name_ends_a_cell(name: str) -> None:
    """As GitHub cuts a row into cells: at every bar that no backslash stands before, where two of them are one."""
    row = f"| {markdown_text.escape(name)} | 1 |"
    assert len(re.findall(r"(?:\\[!-/:-@\[-`{-~]|[^|\\]|\\)+(?=\|)", row)) == 2


@given(st.text(st.sampled_from("`ab "), min_size=1, max_size=12))
def test_no_name_ends_a_span_of_code(name: str) -> None:
    span = markdown_text.code(name)
    fence = re.match("`+", span)
    assert fence is not None and span.endswith(fence[0])
    inside = span[len(fence[0]):-len(fence[0])]
    assert fence[0] not in re.findall("`+", inside) and name.strip() in inside


@pytest.mark.parametrize("name", [
    "mrope\u200b", "\ufeffmrope", "mr\u2060ope", "mr\u00adope", "mrope\U000e0041", "mrope\u180e", "mrope\u2063",
])
def test_a_name_that_looks_like_another_shows_that_it_is_none(name: str) -> None:
    """Two rows called the same on paper cannot be told apart."""
    assert visible(name) != name and visible(name).isascii()
    assert json.loads(f'"{visible(name)}"') == name


@pytest.mark.parametrize("name", ["می\u200cخواهم", "क्\u200dष", "👩\u200d🔬", "Ñandú", "模型"])
def test_what_spells_a_word_stays(name: str) -> None:
    assert visible(name) == name


@pytest.mark.parametrize("name", [r"a\|b", "_a_|`c`", "<script>alert(1)</script>", "[x](javascript:y)"])
def test_a_table_has_a_column_of_that_name_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = Path(shutil.copytree(RECORD, tmp_path / "run"))
    for file in ("scores.json", "manifest.json"):
        record = json.loads((folder / file).read_text())
        record["variant"] = {"name": name, "fingerprint": "f"}
        (folder / file).write_text(json.dumps(record))
    assert cli.main(["table", "overall", str(folder), "--partial"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    counts = {len(re.findall(r"(?:\\[!-/:-@\[-`{-~]|[^|\\]|\\)+(?=\|)", row)) for row in rows}
    assert len(counts) == 1 and markdown_text.escape(name) in rows[0]

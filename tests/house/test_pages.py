"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import pages  # noqa: E402


def test_the_pages_are_up_to_date() -> None:
    """If not: python scripts/pages.py."""
    command = [sys.executable, str(ROOT / "scripts" / "pages.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rooms_that_import_each_other_are_no_order() -> None:
    assert pages.lowest_first({"b": {"a"}, "a": set(), "c": {"a", "b"}}) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="these rooms import each other: a, b"):
        pages.lowest_first({"a": {"b"}, "b": {"a"}, "c": set()})


def test_what_stands_outside_the_marks_is_kept() -> None:
    begin, end = pages.MARKS
    assert pages.between_marks(f"x\n{begin}\nold\n{end}\ny", "new") == f"x\n{begin}\n\nnew\n\n{end}\ny"


def test_every_file_that_a_page_sends_a_newcomer_to_exists() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", (ROOT / "docs" / "architecture.md").read_text())
    named += re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 20
    assert [name for name in named if not any((root / name).is_file() for root in (ROOT, ROOT / "mmrope_eval"))] == []


def test_a_record_s_field_has_its_type_and_the_sentence_below_it() -> None:
    (record,) = ast.parse('class A(Record):\n    x: int | None = None\n    """Said\n    of x."""\n    y: str\n').body
    assert isinstance(record, ast.ClassDef)
    assert list(pages.fields(record)) == [r"| `x` | `int \| None` | Said of x. |", "| `y` | `str` |  |"]


def test_a_record_s_key_is_the_one_in_the_file() -> None:
    (record,) = ast.parse('class A(Record):\n    medium: str | None = Field(default=None, alias="kind")\n').body
    assert isinstance(record, ast.ClassDef)
    assert [row.split(" | ")[0] for row in pages.fields(record)] == ["| `kind`"]


@pytest.mark.parametrize("word, file", [
    ("subtitles", "task/parts.py"), ("seeds", "run/prepared.py"), ("errors.log", "run/runlog.py"),
    ("32 first failures", "run/asking.py"), ("dry run", "run/dry_run.py"), ("lock", "store/lock.py"),
    ("--reported", "report/published.py"), ("intervals", "report/compare/intervals.py"),
    ("progress.json", "run/progress.py"), ("did-you-mean", "words.py"), ("--max-failures", "run/execute.py"),
])  # fmt: skip
def test_a_behaviour_is_found_by_its_word(word: str, file: str) -> None:
    rows = [line for line in pages.files_page().splitlines() if word.lower() in line.lower()]
    assert any(f"| `{file}` |" in row for row in rows) and len(rows) < 12


def test_every_file_has_a_sentence() -> None:
    rows = [line for line in pages.files_page().splitlines() if line.startswith("| `")]
    assert len(rows) == sum(map(len, pages.files_of_rooms().values())) > 250
    assert [row for row in rows if len(row.split(" | ")[1].split()) < 4] == []

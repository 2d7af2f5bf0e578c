"""docs/troubleshooting.md: what it quotes is what the code prints, and its options are there."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_benchmark import write_data, write_task
from report_files import sample, write_cell
from suite_fakes import FakeStart
from suite_mirror import build

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.results import remarks

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTES = [line.removeprefix("> ") for line in PAGE.splitlines() if line.startswith("> ")]
GAP = "…"


def texts(tree: ast.Module) -> Iterator[str]:
    """Every text of a file but its docstrings, with a gap for what an f-string puts in."""
    remarks_only = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in (node for node in ast.walk(tree) if id(node) not in remarks_only):
        if isinstance(node, ast.JoinedStr):
            yield from map("".join, itertools.product(*map(wordings, node.values)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.replace("{n}", GAP)


def wordings(part: ast.expr) -> list[str]:
    """What may stand in one place of an f-string: its letters, both ends of a choice ('is' or 'are'), else a gap."""
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp):
        ends = part.value.body, part.value.orelse
        return [str(end.value) if isinstance(end, ast.Constant) else GAP for end in ends]
    return [str(part.value) if isinstance(part, ast.Constant) else GAP]


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """What the code can say."""
    return [text for path in (ROOT / "mmrope_eval").rglob("*.py") for text in texts(ast.parse(path.read_text()))]


@pytest.mark.parametrize("quote", QUOTES)
def test_every_quoted_line_is_the_code_s(quote: str, messages: list[str]) -> None:
    words = quote.strip(f"{GAP}: ")
    assert len(words) > 12
    assert any(words in text for text in messages), words


def test_every_option_and_link_is_there() -> None:
    _, parsers = cli.command_line.build_parser()
    options = {word for parser in parsers.values() for word in re.findall(r"--[a-z][a-z-]*", parser.format_help())}
    named = set(re.findall(r"--[a-z][a-z-]*", re.sub(r"Slurm a larger `--mem`", "", PAGE)))
    assert len(named) > 15 and named <= options, named - options
    titles = {re.sub(r"[^a-z ]", "", line[3:].lower()).replace(" ", "-")
              for line in PAGE.splitlines() if line.startswith("## ")}  # fmt: skip
    assert set(re.findall(r"\]\(#([a-z-]+)\)", PAGE)) == titles
    for page in ("README.md", "docs/quickstart.md"):
        assert "troubleshooting.md" in (ROOT / page).read_text()


# --------------------------------------------------------------------------------------------------------------------
# The commonest of them, provoked


def quoted(beginning: str) -> re.Pattern[str]:
    """The page's quote that begins so, as a pattern."""
    (quote,) = [quote for quote in QUOTES if quote.startswith(beginning)]
    return re.compile(re.escape(quote).replace(GAP, ".+"))


def config(checkpoint: Path, folder: Path, **changes: Any) -> RunConfig:
    data = folder / "mirror" if (folder / "mirror").exists() else build(folder / "mirror", n=20)
    given: dict[str, Any] = {"models": (str(checkpoint),), "tasks": ("refcoco_val",), "output": folder / "out",
                             "variants": ("mrope",), "data_root": data}  # fmt: skip
    return RunConfig(**{**given, **changes})


def test_everything_fails(checkpoint: Path, tmp_path: Path) -> None:
    broken = Failure("", "engine", "ValueError: patch 14 does not fit 16")
    result = running.run(config(checkpoint, tmp_path), FakeStart({"fail_all": broken}))
    assert quoted("its first").match(result.broken["mrope"])


def test_all_answers_are_unread() -> None:
    rows = {"mrope": {"chartqa": {"column": "ChartQA", "n": 40, "n_failed": 0, "n_truncated": 0, "n_unparsed": 9}}}
    (line,) = [line for line in remarks(rows) if line.startswith("†")]
    assert quoted("more than").search(line) and quoted("the wording").search(line)
    rows["mrope"]["chartqa"]["n_truncated"] = 9
    assert any(quoted("likely cut off").search(line) for line in remarks(rows))


def test_everything_is_asked_again(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path / "colours")
    task = write_task(tmp_path)
    asked = config(checkpoint, tmp_path, tasks=(str(task),))
    running.run(asked, FakeStart())
    task.write_text(task.read_text().replace("Answer with", "Reply with"))
    capsys.readouterr()
    assert running.run(asked, FakeStart()).asked == 8
    assert quoted("… asked again").search(capsys.readouterr().err)
    with pytest.raises(UserError, match=quoted("holds scores of").pattern):
        running.run(config(checkpoint, tmp_path, tasks=(str(task),), prompts="qwen3-vl"), FakeStart())


def test_engines_die(checkpoint: Path, tmp_path: Path) -> None:
    result = running.run(config(checkpoint, tmp_path), FakeStart(lives=(4, 4, 4)))
    assert quoted("… engines died").match(result.broken["mrope"])


def test_a_table_of_dashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path / "run", "mrope", {"chartqa": [sample("chartqa", i, float(i % 2)) for i in range(8)]})
    assert cli.main(["table", "overall", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert quoted("Not shown").search(shown) and "| mrope" not in shown.splitlines()[-1]
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "responses.sqlite").touch()
    assert cli.main(["table", "overall", str(tmp_path / "half")]) == 2
    assert quoted("… holds a run that").search(capsys.readouterr().err)

"""What reaches a terminal: no character that acts, on any encoding, full disk or closed pipe."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_files import write_cell

from mmrope_eval import cli
from mmrope_eval.cli import command_line
from mmrope_eval.errors import UserError
from mmrope_eval.util.console import write_file
from mmrope_eval.words import shortened, visible

ROOT = Path(__file__).resolve().parents[2]
ODD = "é 模 x\x1b[2J\x1b]0;t\x07\x9b31m\u202eb\r\nPassed: 9 cells"
TABLE = ["table", "2", "RUN", "--partial"]
COMMANDS = {
    "table": TABLE, "json": [*TABLE, "--format", "json"],
    "html": [*TABLE, "--format", "html"], "latex": [*TABLE, "--format", "latex", "--standalone"],
    "compare": ["compare", "RUN", "BASE"], "compare as json": ["compare", "RUN", "BASE", "--json"],
    "check": ["check", "RUN", "--against", "BASE"],
    "steps": ["steps", "RUN", "--columns", "chartqa"],
    "steps as csv": ["steps", "RUN", "--columns", "chartqa", "--format", "csv"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run that lost everything against its baseline; its names hold all that is bad."""
    root = tmp_path_factory.mktemp("odd")
    for name, value in (("RUN", 0.0), ("BASE", 1.0)):
        write_cell(root / name, ODD, {"chartqa": [value] * 40}, model=f"{ODD}/checkpoint-7")
    return {"RUN": str(root / "RUN"), "BASE": str(root / "BASE")}


def words(name: str, folders: dict[str, str]) -> list[str]:
    return [folders.get(word, word) for word in COMMANDS[name]]


def start(argv: list[str], **settings: str) -> list[str]:
    return ["env", *(f"{key}={value}" for key, value in settings.items()), sys.executable, "-m", "mmrope_eval", *argv]


def shell(command: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command with the command line in "$@", whose streams are buffered as they are for people."""
    line = ["env", "-u", "PYTHONUNBUFFERED", "bash", "-c", command, "sh", sys.executable, "-m", "mmrope_eval", *argv]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300)


# -- text ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "shown"), [
    ("mrope-i 模型 λ é", "mrope-i 模型 λ é"), ("a\x1b[31mb", r"a\u001b[31mb"), ("a\nb\tc\rd", r"a\nb\tc\rd"),
    ("\x7f\x9b", r"\u007f\u009b"), ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"), ("\u2028", r"\u2028"),
    ("half \ud83d", r"half \ud83d"), ("\x00", r"\u0000"),
])
def test_what_acts_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(), max_size=30))
def test_visible_text_is_printable_enough_and_json_stays_json(text: str) -> None:
    codes = [ord(character) for character in visible(text)]
    assert not any(code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 for code in codes)
    assert visible(visible(text)) == visible(text)
    assert json.loads(visible(json.dumps([text], ensure_ascii=False))) == [text]


@given(st.text(max_size=400), st.integers(4, 50))
def test_short_text_is_short(text: str, most: int) -> None:
    short_text = shortened(text, most)
    assert len(short_text) <= most and "\n" not in short_text


# -- names out of files ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_acts_on_the_terminal(
    name: str, folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(name, folders)) == int(name == "check")
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x07\x9b\u202e\r")
    assert r"u001b[2J" in out
    assert not any(line.startswith("Passed: 9 cells") for line in out.splitlines()), "a name stays on its line"


def test_an_error_shows_a_name_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "2", str(tmp_path / ODD)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and r"x\u001b[2J" in err and "\x1b" not in err


def test_everything_is_printed_through_the_console() -> None:
    """Only the progress of reading weights, which turns back on its line, prints by itself."""
    for path in sorted((ROOT / "mmrope_eval").rglob("*.py")):
        if path.parts[-2:] == ("models", "files.py") or path.name == "console.py":
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"], path


# -- encodings ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("name", ["table", "json", "compare", "check"])
def test_narrow_encodings_get_escapes(name: str, encoding: str, folders: dict[str, str]) -> None:
    done = subprocess.run(start(words(name, folders), PYTHONIOENCODING=encoding), capture_output=True, cwd=ROOT)
    text = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (int(name == "check"), b"")
    assert r"\u6a21" in text and ("é" if encoding == "latin-1" else r"\u00e9") in text
    if name == "json":
        wide = subprocess.run(start(words(name, folders), PYTHONIOENCODING="utf-8"), capture_output=True, cwd=ROOT)
        assert json.loads(text) == json.loads(wide.stdout)


# -- full and closed ------------------------------------------------------------------------------------------------

FULL = "mmrope-eval: error: The standard output cannot be written (No space left on device)"


@pytest.mark.parametrize("buffered", ["", "PYTHONUNBUFFERED=1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("name", ["table", "compare", "check", "steps"])
def test_a_full_disk_is_one_sentence(name: str, buffered: str, folders: dict[str, str]) -> None:
    done = shell(f'{buffered} "$@" > /dev/full', *words(name, folders))
    assert done.returncode == 2 and done.stderr.startswith(FULL) and done.stderr.count("\n") == 1


@pytest.mark.parametrize("argv", [["--help"], ["list"], ["list", "tasks"], ["show", "mrope"]], ids=" ".join)
def test_a_full_disk_under_other_commands(argv: list[str]) -> None:
    done = shell('"$@" > /dev/full', *argv)
    assert done.returncode == 2 and done.stderr.startswith(FULL) and done.stderr.count("\n") == 1


def test_where_errors_cannot_be_shown_the_exit_code_stays(folders: dict[str, str]) -> None:
    assert shell('"$@" 2> /dev/full', "table", "2", "nowhere").returncode == 2
    assert shell('"$@" > /dev/full 2> /dev/full', *words("table", folders)).returncode == 2


@pytest.mark.parametrize("option", [
    ("table", "--output"), ("check", "--junit"), ("check", "--summary"),
], ids=" ".join)
def test_a_file_that_cannot_be_written_is_one_sentence(
    option: tuple[str, str], folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    below, long = tmp_path / "file" / "below", tmp_path / ("n" * 300)
    for place in ("/dev/full", below, "/proc/nope/x", long, tmp_path / "folder"):
        assert cli.main([*words(option[0], folders), option[1], str(place)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"{place} cannot be written (" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"], "nothing half written is left"


@pytest.mark.parametrize("line", [
    ["analyze", "mrope", "--figures"], ["steps", "RUN", "--columns", "chartqa", "--figure"],
], ids=["analyze", "steps"])
def test_figures_that_cannot_be_written_are_one_sentence(
    line: list[str], folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    place = tmp_path / "file" / "below.png"
    assert cli.main([*(folders.get(word, word) for word in line), str(place)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"{place} cannot be written (" in err


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path, link = tmp_path / "new" / "x.md", tmp_path / "link"
    write_file(path, "one\n")
    link.symlink_to(path)
    write_file(link, "two \ud83d\n")
    assert link.is_symlink() and path.read_text() == "two \\ud83d\n"
    assert [file.name for file in path.parent.iterdir()] == ["x.md"]
    with pytest.raises(UserError, match="cannot be written"):
        write_file(path.parent, "three")


@pytest.mark.parametrize("argv", [["list", "tasks"], ["show", "table2"], ["--help"]], ids=" ".join)
def test_a_closed_pipe_is_silent(argv: list[str]) -> None:
    done = shell('set -o pipefail; "$@" | true', *argv)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_verdict_outlives_its_reader(folders: dict[str, str], tmp_path: Path) -> None:
    junit = tmp_path / "check.xml"
    done = shell('set -o pipefail; "$@" | true', *words("check", folders), "--junit", str(junit))
    assert (done.returncode, done.stderr) == (1, "") and junit.is_file()


def test_no_standard_output_at_all(folders: dict[str, str]) -> None:
    done = shell('"$@" >&-', *words("check", folders))
    assert (done.returncode, done.stderr) == (1, "")


def test_a_broken_pipe_of_another_kind_is_not_taken_for_a_reader_who_left() -> None:
    def died() -> int:
        raise BrokenPipeError("a worker process is gone")

    with pytest.raises(BrokenPipeError):
        command_line.ended(died)

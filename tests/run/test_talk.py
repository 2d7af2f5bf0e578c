"""`--quiet`, `--verbose`, `--log-file`: what reaches the terminal, and what the logs have all the same."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import eventually

from mmrope_eval import cli
from mmrope_eval.cli.run import configured
from mmrope_eval.errors import UserError
from mmrope_eval.run.runlog import ErrorLog, added, run_log
from mmrope_eval.util import console

RUN = ["run", "--model", "CKPT", "--tasks", "chartqa"]
LINES = [
    ("[1/2] mrope: variant mrope (--variant)", False),
    ("mrope: 3/61, 0.1 samples/s, 2 failed, 5:00 left", False),
    ("mrope: the kept answers are read in another way", False),
    ("mrope: warning: its chat template opens a thought", True),
    ("hope failed: no engine could be started on it", True),
    ("mmrope-eval: error: nothing works", True),
]
"""(line on stderr, whether a quiet command prints it)"""


def test_quiet_prints_errors_failures_and_warnings(tmp_path: Path) -> None:
    terminal = io.StringIO()
    with contextlib.redirect_stderr(terminal):
        with console.quiet(True), run_log(tmp_path, ()):
            for line, _ in LINES:
                console.say(line[:4], file=sys.stderr, end="")
                console.say(line[4:], file=sys.stderr)
        assert sys.stderr is terminal
        assert terminal.getvalue().splitlines() == [line for line, shown in LINES if shown]
        log = (tmp_path / "log.txt").read_text()
        assert all(line in log for line, _ in LINES)
        with console.quiet(False):
            console.say("all of it", file=sys.stderr)
    assert terminal.getvalue().endswith("all of it\n")


def test_quiet_reaches_the_terminal_while_descriptor_2_leads_elsewhere() -> None:
    code = (
        "import os, sys; from mmrope_eval.util import console\n"
        "with console.quiet(True):\n"
        "    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
        "    print('x failed: y', file=sys.stderr); print('no word', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "x failed: y\n")


def test_a_log_may_be_another_file(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.log"
    with run_log(tmp_path / "out", (), place) as path:
        assert path == place
        console.say("said", file=sys.stderr)
    assert "said\n" in place.read_text() and not (tmp_path / "out").exists()
    errors = ErrorLog(tmp_path, place)
    errors.note("somewhere", ValueError("no"))
    assert errors.where() == [f"  tracebacks in {tmp_path / 'errors.log'}, what vLLM said in {place}"]


@pytest.mark.parametrize("name", ["missing/run.log", "."])
def test_a_log_that_cannot_be_written_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--log-file .* cannot be written \(.*\): name another file"), run_log(
            tmp_path, (), tmp_path / name):  # fmt: skip
        pass


def test_verbose_shows_what_others_write_into_the_logs_once(tmp_path: Path) -> None:
    terminal = io.StringIO()
    (tmp_path / "log.txt").write_text("INFO of an earlier run\n")
    with contextlib.redirect_stderr(terminal), run_log(tmp_path, (), verbose=True) as path:
        assert path is not None
        console.say("said by the run", file=sys.stderr)
        with path.open("a") as vllm:
            vllm.write("INFO 11-27 loading weights\nnot yet a li")
        eventually(lambda: "loading weights" in terminal.getvalue(), "what vLLM wrote")
        with path.open("a") as vllm:
            vllm.write("ne\n")
        ErrorLog(tmp_path).note("mrope", ValueError("a cause"))
    shown = terminal.getvalue().splitlines()
    assert shown[:2] == ["said by the run", "INFO 11-27 loading weights"]
    assert "not yet a line" in shown and "ValueError: a cause" in shown
    assert len(shown) == len(set(shown)) and not any("earlier run" in line for line in shown)


def test_a_file_that_was_shortened_is_followed_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("3\n")
    lines, place = added(path, len("1\n2\n3\n"))
    assert lines == []
    with path.open("a") as stream:
        stream.write("4\n2026-11-27 10:00:00 ours\n5")
    lines, place = added(path, place)
    assert lines == ["4"] and place == path.stat().st_size - len("5")
    assert added(tmp_path / "gone", place) == ([], 0)


def test_verbose_shows_where_bad_input_was_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "--model", "no/such/folder", "--tasks", "chartqa"]
    assert cli.main(argv) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert cli.main([*argv, "--verbose"]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "Traceback (most recent call last):" and shown[-1] == sentence


def test_options_reach_the_run_and_exclude_each_other() -> None:
    config = configured(cli.parse([*RUN, "--verbose", "--log-file", "x.log"]))
    assert config.verbose and config.log_file == Path("x.log")
    plain = configured(cli.parse(RUN))
    assert (plain.verbose, plain.log_file) == (False, None)
    for command in (RUN, ["study", "FILE"], ["sweep", "demo"]):
        assert cli.parse([*command, "--quiet"]).quiet
        sentence = f"{command[0]}: --quiet and --verbose exclude each other: give one of them"
        with pytest.raises(UserError, match=sentence):
            cli.parse([*command, "--quiet", "--verbose"])

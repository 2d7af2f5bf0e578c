"""What a run says of itself: its log, its tracebacks, the causes of failures, its progress."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine.process import Unfamiliar, output_to
from mmrope_eval.errors import LONGEST, UserError, kind, sentence
from mmrope_eval.messages import EngineDiedError
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.progress import Progress
from mmrope_eval.run.row import causes
from mmrope_eval.run.runlog import ErrorLog, Tee, readable, run_log, shorten

ROOT = Path(__file__).resolve().parents[2]


# --- log.txt ------------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_log_and_a_second_start_adds_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "ck")
    mirror = suite_mirror.build(tmp_path / "mirror", n=2)
    config = RunConfig((str(checkpoint),), ("chartqa",), tmp_path / "out", ("mrope",), data_root=mirror,
                       command=("mmrope-eval", "run", "--model", "a b"))  # fmt: skip
    capsys.readouterr()
    running.run(config, FakeStart())
    printed = capsys.readouterr().err
    assert "mrope: 2/2" in printed
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "=== mmrope-eval run --model 'a b'\n" in log
    assert re.search(r"=== mmrope-eval \d\S* torch \S+ transformers \S+ vllm \S+, Python 3\S+, pid \d+ on \S+\n", log)
    assert log.splitlines()[-1].endswith("=== ended")
    for line in filter(None, printed.splitlines()):
        assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {re.escape(line)}$", log, re.MULTILINE), line
    running.run(config, FakeStart())
    again = (tmp_path / "out" / "log.txt").read_text()
    assert again.startswith(log) and again.count("=== mmrope-eval run") == 2


def test_how_a_run_ended_is_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), run_log(tmp_path, ()):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no"), run_log(tmp_path, ()):
        raise ValueError("no")
    lines = [line[20:] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines[0] == "=== from Python" and lines[2] == "=== ended by KeyboardInterrupt: "
    assert lines[-1] == "=== ended by ValueError: no"


@pytest.mark.parametrize(("written", "shown"), [
    ("plain", "plain"),
    ("\x1b[1;31mred\x1b[0m", "red"),
    ("\rmrope  5%\rmrope 10%", "mrope 10%"),
    ("mrope \x1b[38;5;197m━━━╸\x1b[0m 3/61 0.1 samples/s", ""),
    ("\x1b[?25l", ""),
    ("\x1b[2K\rmrope: the engine died", "mrope: the engine died"),
    ("   ", ""),
])  # fmt: skip
def test_a_log_holds_what_a_terminal_shows_but_for_its_bar(written: str, shown: str) -> None:
    assert readable(written) == shown


def test_a_log_stays_below_a_size_and_keeps_its_end(tmp_path: Path) -> None:
    with run_log(tmp_path, (), largest=10_000) as path:
        assert path is not None
        with path.open("a") as other:  # as an engine's process writes
            for number in range(2000):
                print(f"line {number}", file=sys.stderr)
                other.write(f"engine {number}\n")
                other.flush()
        text = path.read_text()
    assert len(text) <= 10_100 and text.startswith("... earlier lines left out\n")
    assert "line 1999\n" in text and "engine 1999\n" in text and "\0" not in text


def test_shortening_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number:05}\n" for number in range(1000)))
    shorten(path, 10_000)
    assert len(path.read_text()) == 6000
    shorten(path, 3000)
    lines = path.read_text().splitlines()
    assert lines[0] == "... earlier lines left out" and lines[1:] == [f"{n:05}" for n in range(751, 1000)]
    shorten(tmp_path / "none", 10)


SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from mmrope_eval.engine.process import output_to
from mmrope_eval.run.runlog import run_log

with run_log(Path("."), ()) as log:
    print("before", file=sys.stderr)
    with output_to(log):
        os.write(1, b"native out\\n")
        os.write(2, b"native err\\n")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1); print('late words', flush=True)"])
        print("ours", file=sys.stderr)
    os.write(2, b"native after\\n")
    print("result")
    child.wait()
"""


def test_words_of_an_engine_go_to_the_log_and_ours_to_both(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)  # fmt: skip
    assert (done.stdout, done.stderr.splitlines()) == ("result\n", ["before", "ours", "native after"])
    log = (tmp_path / "log.txt").read_text()
    for words in ("before", "native out", "native err", "late words", "ours"):
        assert log.count(words) == 1, words
    assert "native after" not in log


def test_output_comes_back_when_a_start_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="no start"), output_to(tmp_path / "log"):
        os.write(2, b"hidden\n")
        raise RuntimeError("no start")
    os.write(2, b"seen\n")
    assert capfd.readouterr().err == "seen\n" and (tmp_path / "log").read_text() == "hidden\n"


def test_who_keeps_the_stream_of_a_run_writes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    with run_log(tmp_path, ()):
        handler = logging.StreamHandler()
    assert sys.stderr is before
    capsys.readouterr()
    handler.emit(logging.makeLogRecord({"msg": "later"}))
    assert capsys.readouterr().err == "later\n" and "later" not in (tmp_path / "log.txt").read_text()


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").mkdir()
    with run_log(tmp_path, ()) as path:
        print("said", file=sys.stderr)
    assert path is None and capsys.readouterr().err == "said\n"
    with Path("/dev/full").open("w") as full:
        tee = Tee(io.StringIO(), tmp_path / "none", full)
        tee.write("line\n")
        tee.end()


def test_what_vllm_repeats_is_logged_a_few_times_and_errors_always() -> None:
    def passed(level: int, line: int) -> int:
        record = {"levelno": level, "pathname": "x.py", "lineno": line}
        return sum(once.filter(logging.makeLogRecord(record)) for _ in range(50))

    once = Unfamiliar()
    assert [passed(logging.WARNING, 3), passed(logging.INFO, 4), passed(logging.ERROR, 5)] == [5, 5, 50]


# --- causes and tracebacks ----------------------------------------------------------------------------------------


def chained(*errors: BaseException) -> BaseException:
    """The first raised from the second, that from the third, ..."""
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


BURIED = "Failed to apply Qwen3VLProcessor on data={'images': [<PIL.Image at 0x7F3A>]} " + "x" * 400


@pytest.mark.parametrize(("error", "expected"), [
    (ValueError("too wide"), "ValueError: too wide"),
    (ValueError("too\n  wide"), "ValueError: too wide"),
    (ValueError(), "ValueError"),
    (chained(ValueError(BURIED), RuntimeError("shape [4, 6] is invalid")), "RuntimeError: shape [4, 6] is invalid"),
    (chained(ValueError("a"), OSError("b"), KeyError("c")), "KeyError: 'c'"),
    (chained(UserError("the file x is no table"), OSError("b")), "the file x is no table"),
    (chained(ValueError("a"), UserError("the file x is no table"), OSError("b")), "the file x is no table"),
    (chained(EngineDiedError("its process was killed"), RuntimeError("gone")), "its process was killed"),
    (ValueError("no <Image object at 0x7F3A12> here"), "ValueError: no <Image object> here"),
    (ValueError("a\x1b[31mb\x00c"), r"ValueError: a\u001b[31mb\u0000c"),
])  # fmt: skip
def test_a_cause_is_the_innermost_error_whole(error: BaseException, expected: str) -> None:
    assert sentence(error) == expected


def test_a_cause_is_whole_unless_it_is_endless() -> None:
    whole = "y" * (LONGEST - 10)
    assert sentence(ValueError(whole)) == f"ValueError: {whole}"
    short = sentence(ValueError("begin " + "z" * 200_000 + " the reason"))
    assert len(short) < LONGEST + 60 and short.startswith("ValueError: begin z") and short.endswith("z the reason")
    assert "characters left out]" in short


def test_an_error_that_is_its_own_cause_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert sentence(first) in ("ValueError: a", "ValueError: b")


@pytest.mark.parametrize(("first", "second", "same"), [
    ("its prompt of 1234 tokens", "its prompt of 99 tokens", True),
    ("took 1.5 s", "took 12,000.25 s", True),
    ("<Image at 0x7f12>", "<Image at 0x8a>", True),
    ("KeyError: 'a'", "KeyError: 'b'", False),
])  # fmt: skip
def test_kinds_of_causes(first: str, second: str, same: bool) -> None:
    assert (kind(first) == kind(second)) == same


def test_causes_of_one_kind_are_one_line(tmp_path: Path) -> None:
    messages = [f"its prompt of {1000 + n} tokens exceeds" for n in range(5)] + ["/data/a.mp4: cut", "/data/b.mp4: cut"]
    lines = [json.dumps({"id": f"t/{n}", "stage": "prompt", "cause": cause}) for n, cause in enumerate(messages)]
    (tmp_path / "failures.jsonl").write_text("\n".join(lines))
    assert causes(tmp_path) == ["  5 x t/0: its prompt of 1000 tokens exceeds", "  2 x t/5: cut",
                                f"  all 7 in {tmp_path / 'failures.jsonl'}"]  # fmt: skip


def raised(message: str) -> BaseException:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_the_first_traceback_of_each_kind_is_kept(tmp_path: Path) -> None:
    log = ErrorLog(tmp_path)
    assert log.where() == []
    for number in range(3):
        log.note(f"chartqa/{number}", raised(f"cannot fit {number}"))
    log.note("row b", raised("something else"))
    log.note("chartqa/9", "Traceback (most recent call last):\n  File 'x'\nKeyError: 'told as text'\n")
    log.note("chartqa/9", "")
    text = log.path.read_text()
    assert text.count("Traceback") == 3 and text.count("in raised") == 2
    assert re.findall(r"^--- \S+Z (.*)$", text, re.MULTILINE) == ["chartqa/0", "row b", "chartqa/9"]
    assert log.where() == [f"  tracebacks in {log.path}"]
    ErrorLog(tmp_path).note("again", raised("cannot fit 7"))
    assert log.path.read_text().startswith(text) and log.path.read_text().count("Traceback") == 4


def test_an_endless_traceback_keeps_its_end_and_endless_kinds_stop(tmp_path: Path) -> None:
    log = ErrorLog(tmp_path)
    log.note("a", "Traceback\n" + "frame\n" * 100_000 + "ValueError: the reason\n")
    assert len(log.path.read_text()) < 21_000 and "ValueError: the reason" in log.path.read_text()
    for number in range(1000):
        log.note("b", f"ValueError: {'x' * number}")
    assert log.path.read_text().count("---") == 100
    (tmp_path / "file").write_text("")
    ErrorLog(tmp_path / "file").note("a", raised("nowhere to write"))


# --- progress -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


class TestProgress:
    def lines(self, stream: io.StringIO) -> list[str]:
        return stream.getvalue().splitlines()

    def test_the_clock_starts_with_the_first_answer(self, clock: Callable[[float], None]) -> None:
        stream = io.StringIO()
        with Progress("row", 11, stream=stream) as progress:
            clock(300)  # an engine's start
            progress.advance()
            for _ in range(10):
                clock(0.5)
                progress.advance()
        assert self.lines(stream) == ["row: 1/11", "row: 11/11, 2.0 samples/s"]

    def test_a_run_of_one_sample_says_so_once(self, clock: Callable[[float], None]) -> None:
        stream = io.StringIO()
        with Progress("row", 1, stream=stream) as progress:
            clock(30)
            progress.advance(failed=True)
        assert self.lines(stream) == ["row: 1/1, 1 failed"]

    def test_what_was_not_asked_is_no_speed(self, clock: Callable[[float], None]) -> None:
        stream = io.StringIO()
        with Progress("row", 108, done=3, stream=stream) as progress:
            for _ in range(100):
                progress.advance(failed=True, asked=False)
            clock(60)
            for _ in range(3):
                progress.advance()
                clock(4)
            progress.advance()
        assert self.lines(stream) == ["row: 104/108, 100 failed", "row: 107/108, 0.2 samples/s, 100 failed, 0:04 left"]

    def test_lines_come_now_and_then(self, clock: Callable[[float], None]) -> None:
        stream = io.StringIO()
        with Progress("row", 100, stream=stream) as progress:
            for _ in range(40):
                clock(1)
                progress.advance()
        lines = self.lines(stream)
        assert lines[0] == "row: 10/100, 1.0 samples/s, 1:30 left" and len(lines) == 4
        assert lines[-1] == "row: 40/100, 1.0 samples/s, 1:00 left"

    def test_nothing_is_said_of_nothing(self, clock: Callable[[float], None]) -> None:
        stream = io.StringIO()
        with Progress("row", 5, done=5, stream=stream):
            clock(100)
        assert stream.getvalue() == ""

    def test_a_bar_on_a_terminal_counts_from_the_first_answer(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        stream: Any = Terminal()
        with Progress("row", 3, stream=stream) as progress:
            began = [progress._bar.tasks[0].start_time]
            for _ in range(3):
                progress.advance()
            began.append(progress._bar.tasks[0].start_time)
            assert began[0] is None and began[1] is not None
        assert "3/3" in stream.getvalue()

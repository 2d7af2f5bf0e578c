"""The process around vLLM: what it reads from the environment, what it prints, the threads it computes with."""

from __future__ import annotations

import faulthandler
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType


def usable_cores() -> int:
    """Logical processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Bytes that a new process can have, as Linux estimates it; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


FAMILIAR = 5
"""A log says what one line of vLLM's code has to say so many times: on CPU it warns once for every prompt."""


_settings: list[dict[str, str]] = []
"""What every open `environment` has set, in the order of their starts."""
_unset: dict[str, str] = {}
"""The environment before the first of them."""
_setting = threading.Lock()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time that vLLM reads them; child processes inherit them.

    Blocks may overlap in threads and end in any order: each takes back its own values. After the last one the
    environment is as it was before the first: vLLM leaves a dozen variables of its own, LD_PRELOAD among them.
    """
    settings = dict(values)
    with _setting:
        if not _settings:
            _unset.clear()
            _unset.update(os.environ)
        _settings.append(settings)
        os.environ.update(settings)
    try:
        yield
    finally:
        with _setting:
            _settings[:] = [setting for setting in _settings if setting is not settings]
            wanted = dict(ChainMap(*reversed(_settings), _unset))
            for name in settings if _settings else {*os.environ, *wanted}:
                if name in wanted:
                    os.environ[name] = wanted[name]
                else:
                    os.environ.pop(name, None)


@contextmanager
def words_of_start(log: Path | None, asked: str | None) -> Iterator[None]:
    """While an engine starts: what is written to this process's output goes to `log`, for its processes for good.

    Without a log only vLLM's errors are said, on the screen: it warns of things that are meant here (eager mode, no
    Triton on CPU). `asked` is what the user's VLLM_LOGGING_LEVEL says.
    """
    level = (asked or ("ERROR" if log is None else "INFO")).upper()
    # Set before vLLM is imported, for what it says while it has not configured its logging yet; again for a second one.
    logger = logging.getLogger("vllm")
    logger.setLevel(level)
    for handler in logger.handlers:
        handler.setLevel(level)
    values = {"VLLM_LOGGING_LEVEL": level}
    if log is not None:
        values |= {"VLLM_LOGGING_STREAM": "ext://sys.__stdout__"}  # whoever took sys.stdout has not taken descriptor 1
        if not logger.handlers:  # until vLLM brings its own: Python would show its first warnings on the screen
            logger.addHandler(logging.StreamHandler(sys.__stdout__))
    if asked is None:
        values |= {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore::FutureWarning"}
    with environment(values), warnings.catch_warnings(), output_to(log):
        if asked is None:
            warnings.simplefilter("ignore", FutureWarning)
        try:
            yield
        finally:
            for handler in logger.handlers if asked is None else ():  # made meanwhile, if it was the first start
                handler.setLevel(logging.ERROR)


@contextmanager
def uncollected() -> Iterator[None]:
    """Python collects no garbage by itself within the block: importing vLLM makes next to none and a million objects,
    and walking them again and again takes a sixth of a start."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


class _InterruptedError(BaseException):
    """Ctrl-C under a name that vLLM does not know."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends what is inside.

    While vLLM waits for its processes it takes KeyboardInterrupt for a reason to go on waiting (`zmq_socket_ctx`,
    0.32), for as long as a start may take. In the main thread only, which is where signals arrive.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _InterruptedError

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    except _InterruptedError:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def output_to(path: Path | None) -> Iterator[None]:
    """File descriptors 1 and 2 lead to the end of a file; a process started meanwhile keeps them so."""
    if path is None:
        yield
        return
    _flush()
    target = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    saved = [(os.dup(number), number) for number in (1, 2)]
    try:
        for _, number in saved:
            os.dup2(target, number)
        yield
    finally:
        _flush()
        for copy, number in saved:
            os.dup2(copy, number)
            os.close(copy)
        os.close(target)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


@contextmanager
def words_of_engine(log: Path | None) -> Iterator[None]:
    """While an engine runs: vLLM's words in this process go to `log` as well; the screen has its errors."""
    if log is None:
        yield
        return
    logger = logging.getLogger("vllm")
    try:
        writer = logging.FileHandler(log, encoding="utf-8", errors="replace")
    except OSError:  # a log is not worth a run
        yield
        return
    writer.addFilter(Unfamiliar())
    writer.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s:%(lineno)d %(message)s"))
    logger.addHandler(writer)
    try:
        yield
    finally:
        logger.removeHandler(writer)
        writer.close()


class Unfamiliar(logging.Filter):
    """Lets through what one line of code logs, but not for ever; errors always."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record."""
        place = (record.pathname, record.lineno)
        self._seen[place] = self._seen.get(place, 0) + 1
        return self._seen[place] <= FAMILIAR or record.levelno >= logging.ERROR


def leave(sentence: str, log: Path | None) -> None:
    """End this process, whose engine is stuck in a call that nothing can end; where it is stuck goes to the log."""
    with suppress(Exception), (log or Path(os.devnull)).open("a") as stream:
        faulthandler.dump_traceback(stream, all_threads=True)
    with suppress(Exception):
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
        sys.stderr.write(f"{shown}\nmmrope-eval: {sentence}\n")
        sys.stderr.flush()
    os._exit(1)


LEAVE_WITH_PARENT = "MMROPE_EVAL_LEAVE_WITH_PARENT"
"""Set in processes that a live engine started, and in theirs."""


def leave_with_parent() -> None:
    """In a process that was started for an engine: end when its parent does, however that ended.

    vLLM's own wait for messages of a parent that was killed, for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None or os.environ.get(LEAVE_WITH_PARENT) != "1":
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="leave-with-parent", daemon=True).start()


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """This many compute threads for an engine in this process (None: as many as there are), then as before.

    vLLM's CPU worker replaces `torch.set_num_threads` by a function that only warns; it is given back too.
    """
    import torch

    set_threads, before = torch.set_num_threads, torch.get_num_threads()
    set_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads = set_threads
        set_threads(before)


@contextmanager
def no_dynamo() -> Iterator[None]:
    """torch.compile off in this process, where it was imported before its environment variable was set."""
    import torch._dynamo.config

    before = torch._dynamo.config.disable
    torch._dynamo.config.disable = True
    try:
        yield
    finally:
        torch._dynamo.config.disable = before

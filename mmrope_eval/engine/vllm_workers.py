"""The processes of a vLLM engine that does not run in ours: whether they live, what they said, how they end.

vLLM's client looks at its process too, but does not end a call that waits for it (0.32). This is the other file, beside
`vllm_compat`, that knows vLLM's internals: the queue and the futures that its client waits on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.errors import plain

LAST_WORDS = 256 * 1024
"""So many bytes at the end of a log are searched for an engine's last words."""


class WorkerProcesses:
    """What `Watch` needs to know of an engine that runs in processes of its own."""

    def __init__(self, engine: Any, log: Path | None = None, log_size: int = 0) -> None:
        """`log`: where the processes write; what they said begins at byte `said`."""
        self._client = engine.engine_core
        self._processes = tuple(self._client.resources.engine_manager.processes)
        self._tree = with_descendants(process.pid for process in self._processes)
        self._log, self._said = log, log_size

    def gone(self) -> str | None:
        """Why the engine cannot answer any more; None while it can."""
        if self._client.resources.engine_dead:
            for process in self._processes:  # it reported its own end, which follows
                process.join(2.0)
        codes = [code for process in self._processes if (code := process.exitcode) is not None]
        if codes and codes[0] < 0:
            return f"its process {ended(codes[0])}"
        if not codes and not self._client.resources.engine_dead:
            return None
        what = ended(codes[0]) if codes else "reported a fatal error"
        words = last_words(self._log, self._said)
        return f"its process {what}" + (f": {words}" if words else "")

    def kill(self) -> None:
        """SIGKILL for all of them; one that was stopped takes no other signal."""
        kill(self._tree | with_descendants(self._tree))

    def release(self) -> None:
        """End every call that waits for their answer."""
        error = RuntimeError("the engine is gone")
        self._client.outputs_queue.put_nowait(error)
        for future in list(self._client.utility_results.values()):
            with contextlib.suppress(Exception):  # answered in this moment
                future.set_exception(error)


class StartingProcesses:
    """What `Watch` needs to know of an engine that is being started."""

    def __init__(self) -> None:
        self._before = {process.pid for process in multiprocessing.active_children()}

    def gone(self) -> str | None:
        """None: while it starts, vLLM itself notices when a process ends."""
        return None

    def kill(self) -> None:
        """SIGKILL for every child that there was not before."""
        pids = {process.pid for process in multiprocessing.active_children()} - self._before
        kill(with_descendants(pids))

    def release(self) -> None:
        """Nothing waits for them but vLLM's start, which sees that they are gone."""


def ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        return "was killed (signal 9, as the system does when memory runs out)"
    try:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was ended by signal {-code}"


def lost(error: BaseException) -> str:
    """What became of processes that ended without a word of why, by what vLLM says of them (`{'EngineCore': -9}`)."""
    code = re.search(r"'EngineCore\w*': (-\d+)", str(error))
    return f"its process {ended(int(code[1]))}" if code else "its processes ended without a word"


def last_words(log: Path | None, start: int = 0) -> str:
    """The error that an engine's processes ended with, out of what they wrote; nothing where they wrote none.

    Errors that only point to another one are none.

    vLLM's name for a worker that was killed goes before the errors that followed from it.
    """
    if log is None:
        return ""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - LAST_WORDS, start if start <= size else 0))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [re.sub(r"^\(.*?\) [A-Z]+ [\d: -]+ \[.*?\] ", "", line) for line in text.splitlines()]
    for line in lines:
        if match := re.search(r"Worker proc (\S+) died unexpectedly \(exit code: (-?\d+|None)\)", line):
            return f"its worker {match[1]} {'was lost' if match[2] == 'None' else ended(int(match[2]))}"
    errors = [line for line in lines if re.match(r"([A-Za-z_][\w.]*\.)?\w*(Error|Exception|Interrupt)(:|$)", line)]
    causes = [line for line in errors if "root cause" not in line]
    return plain(causes[-1]) if causes else ""


Pids = Mapping[int, str]
"""Process ids with the time that each was started at: an id alone may be somebody else's by now."""


def with_descendants(pids: Iterable[int | None]) -> dict[int, str]:
    """The processes that live of those, and all that descend from them."""
    table = _processes()
    descendants = {pid for pid in pids if pid in table}
    while more := {pid for pid, (parent, _) in table.items() if parent in descendants} - descendants:
        descendants |= more
    return {pid: table[pid][1] for pid in descendants if pid is not None}


def kill(pids: Pids, patience: float = 5.0) -> None:
    """SIGKILL for those that are still the same processes; returns when they are gone, or after so many seconds."""
    deadline = time.monotonic() + patience
    for pid in alive(pids):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)


def alive(pids: Pids) -> Collection[int]:
    """Which of them still run."""
    table = _processes()
    return [pid for pid, began in pids.items() if pid in table and table[pid][1] == began]


def _processes() -> dict[int, tuple[int, str]]:
    """(parent, start) of every process of this machine that has not ended, as Linux lists them."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue  # it ended while we looked
        if state not in "ZX":
            parents[int(folder.name)] = (int(parent), rest[17])
    return parents

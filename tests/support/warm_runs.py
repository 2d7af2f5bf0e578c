"""Runs of the command line, each in a process of its own, forked from one that has imported everything.

A process of its own is what can be killed; its imports take longer than all else that it does with a tiny model.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PARENT = """
import json, os, sys, traceback
import vllm.v1.engine.llm_engine
import mmrope_eval.engine.models
from mmrope_eval import cli
from mmrope_eval.lmms.loader import quiet_lmms_eval

quiet_lmms_eval()
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            code = cli.main(json.loads(line))
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmRun:
    """One such process, as subprocess.Popen has it; the next one is started when this one has been waited for."""

    def __init__(self, parent: subprocess.Popen[bytes], arguments: Sequence[str]) -> None:
        assert parent.stdin is not None and parent.stdout is not None
        self._said = parent.stdout
        parent.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
        parent.stdin.flush()
        self.pid = int(self._said.readline())

    def wait(self, timeout: float | None = None) -> int:
        if not select.select([self._said], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("run", timeout or 0)
        return int(self._said.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def warm_runs(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process to fork from, which works in a folder."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, bufsize=0, cwd=folder) as parent:  # fmt: skip
        assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
        try:
            yield parent
        finally:
            parent.kill()

"""Tracebacks of a run: the first of each kind, in a file beside the results."""

from __future__ import annotations

import time
from pathlib import Path

from mmrope_eval.errors import full_trace, kind
from mmrope_eval.run.runlog import ERRORS, LOG, shorten
from mmrope_eval.util.files import is_special

KINDS = 100
"""Of a session; more kinds than this are one kind."""
LONGEST = 20_000
"""Characters of a traceback; of a longer one the beginning is left out."""
LARGEST = 4 * 2**20
"""Bytes that a session may find; of a larger file it keeps the second half."""


class ErrorLog:
    """OUTPUT/errors.log: what Python printed of each error that nobody foresaw, once for each kind of error."""

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        """`log`: where the run's own log is, if not beside this one."""
        self.path = folder / ERRORS
        self._log = folder / LOG if log is None else log
        self._kinds: set[str] = set()

    def note(self, where: str, error: BaseException | str) -> None:
        """Keep a traceback, given as such or as an exception, unless one of its kind is kept; "" is none. The kind is
        an error's type and words without numbers and addresses. A file that cannot be written is no error."""
        trace = error if isinstance(error, str) else full_trace(error)
        same = kind(next((line for line in reversed(trace.splitlines()) if line.strip()), ""))
        if not same or same in self._kinds or len(self._kinds) >= KINDS:
            return
        if is_special(self.path):
            return
        try:
            if not self._kinds:
                shorten(self.path, LARGEST)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="replace") as stream:
                stream.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {where}\n{trace[-LONGEST:]}\n")
        except OSError:
            return
        self._kinds.add(same)

    def where(self) -> list[str]:
        """A line for people where this session has written something."""
        more = f", what vLLM said in {self._log}" if self._log.is_file() else ""
        return [f"  tracebacks in {self.path}{more}"] if self._kinds else []

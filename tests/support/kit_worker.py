"""A stand-in for the process in which VLMEvalKit scores: it gets a request's file and leaves its reply beside it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmrope_eval.vlmevalkit.scores import WORKER


def worker_replies(monkeypatch: pytest.MonkeyPatch, reply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """From now on this is what the worker makes of a request; all other processes run as they are."""
    run = subprocess.run

    def stand_in(command: list[str], **named: Any) -> Any:
        if str(WORKER) not in command:
            return run(command, **named)
        request, place = map(Path, command[-2:])
        place.write_text(json.dumps(reply(json.loads(request.read_text(encoding="utf-8")))), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", stand_in)

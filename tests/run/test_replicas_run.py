"""A run over two real engines, one of which is killed: the answers of one engine, once each, byte for byte."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import suite_mirror
from killed_replicas import OPTIONS, Murderous, files

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

pytestmark = pytest.mark.every_core


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_replicas_and_a_kill_give_the_answers_of_one_engine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "checkpoint")
    mirror = suite_mirror.build(tmp_path / "mirror", n=4)
    config = RunConfig((str(checkpoint),), suite_mirror.TASKS, tmp_path / "one", ("mrope", "mrope-i"), data_root=mirror,
                       options=OPTIONS)  # fmt: skip
    single = running.run(config)
    murderous = Murderous(replace(OPTIONS, replicas=2), after=4)
    several = running.run(replace(config, output=tmp_path / "two"), murderous)
    assert (single.failed, several.failed) == (0, 0)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    manifests = [json.loads((tmp_path / "two" / row / "manifest.json").read_text()) for row in ("mrope", "mrope-i")]
    # Where the first row was answered before the kill was noticed, the death is the second row's.
    assert sum(record["sessions"][0]["deaths"] for record in manifests) == 1
    assert "killed by signal 9; another one is started." in capfd.readouterr().err
    assert murderous.engines
    assert not any(alive(pid) for pid in murderous.engines if pid is not None)

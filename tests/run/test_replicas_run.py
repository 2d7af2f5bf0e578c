"""A run over two real engines, one of which is killed: the answers of one engine, once each, byte for byte."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import suite_mirror

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine.links import ProcessLink
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replicas import Replicas
from mmrope_eval.media.image import MediaPolicy
from mmrope_eval.messages import Deferred, Failure, Request, Response
from mmrope_eval.run import engines
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

POLICY = MediaPolicy(image_max_pixels=128 * 28 * 28, video_max_tokens=128, frame_min_pixels=2 * 28 * 28)
OPTIONS = EngineOptions(max_model_len=2048, policy=POLICY)


class Murderous:
    """Real replicas, of which the first is killed after so many answers."""

    def __init__(self, options: EngineOptions, after: int) -> None:
        self.options, self.after = options, after
        self.replicas: Replicas | None = None
        self.engines: list[int | None] = []
        """Process ids of the replicas that there were when it was done."""

    def __call__(self, checkpoint: Any, variant: Any, options: EngineOptions) -> Murderous:
        found = engines.start_engine(checkpoint, variant, replace(self.options, policy=options.policy))
        assert isinstance(found, Replicas)
        self.replicas = found
        return self

    @property
    def deaths(self) -> int:
        assert self.replicas is not None
        return self.replicas.deaths

    def stream(self, requests: Iterable[Request | Deferred]) -> Generator[Response | Failure, None, None]:
        assert self.replicas is not None
        for result in self.replicas.stream(requests):
            yield result
            self.after -= 1
            if self.after == 0:
                os.kill(self.pids()[0] or 0, signal.SIGKILL)

    def pids(self) -> list[int | None]:
        assert self.replicas is not None
        links = [one.link for one in self.replicas._replicas]
        return [link._process.pid for link in links if isinstance(link, ProcessLink)]

    def switch(self, **to: Any) -> None:
        assert self.replicas is not None
        self.replicas.switch(**to)

    def close(self) -> None:
        assert self.replicas is not None
        self.engines = self.pids()
        self.replicas.close()


def files(folder: Path) -> dict[str, bytes]:
    found = [*folder.rglob("scores.json"), *folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


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
    config = RunConfig((str(checkpoint),), ("demo",), tmp_path / "one", ("mrope", "mrope-i"), data_root=mirror,
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

"""Replicas of which one is killed while a run asks them, and what such a run leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from listening import wait_for_all

from mmrope_eval.engine.links import ProcessLink
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replicas import Replicas
from mmrope_eval.media.image import MediaPolicy
from mmrope_eval.messages import Deferred, Failure, Request, Response
from mmrope_eval.run import engines

POLICY = MediaPolicy(image_max_pixels=128 * 28 * 28, video_max_tokens=128, frame_min_pixels=2 * 28 * 28)

OPTIONS = EngineOptions(max_model_len=2048, policy=POLICY, max_num_seqs=2)
"""With four requests at a replica, there are others left to ask when one is killed, so that it must be noticed."""


class Murderous:
    """Real replicas, of which the first is killed after so many answers; both are ready before."""

    def __init__(self, options: EngineOptions, after: int) -> None:
        self.options, self.after = options, after
        self.replicas: Replicas | None = None
        self.engines: list[int | None] = []
        """Process ids of the replicas that there were when it was done."""

    def __call__(self, checkpoint: Any, variant: Any, options: EngineOptions) -> Murderous:
        replicas = engines.start_engine(checkpoint, variant, replace(self.options, policy=options.policy))
        assert isinstance(replicas, Replicas)
        wait_for_all(replicas, 2)
        self.replicas = replicas
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
        links = [replica.link for replica in self.replicas._replicas]
        return [link._process.pid for link in links if isinstance(link, ProcessLink)]

    def switch(self, **to: Any) -> None:
        assert self.replicas is not None
        self.replicas.switch(**to)

    def close(self) -> None:
        assert self.replicas is not None
        self.engines = self.pids()
        self.replicas.close()


def files(folder: Path) -> dict[str, bytes]:
    paths = [*folder.rglob("scores.json"), *folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}

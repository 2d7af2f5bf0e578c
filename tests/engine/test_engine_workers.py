"""vLLM in worker processes, which find our models through the plugin's entry point: the same answers as in process."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from engine_requests import answers, ask, every_kind, options, outcomes

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine import live
from mmrope_eval.engine.backend import Engine
from mmrope_eval.engine.live import LiveEngine
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.vllm_workers import WorkerProcesses, alive, with_descendants
from mmrope_eval.engine.watch import Limits
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Request, Response
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import Variant, load_variant
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

MHROPE, CIRCLE = load_variant("mhrope"), load_variant("circlerope")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Checkpoint, Checkpoint]:
    first, second = (build_checkpoint("qwen3-vl", folder / f"{seed}", seed=seed) for seed in (1, 2))
    return read_checkpoint(first), read_checkpoint(second)


@pytest.fixture(scope="module")
def workers(pair: tuple[Checkpoint, Checkpoint]) -> Iterator[LiveEngine]:
    with LiveEngine.start(pair[0], MHROPE, options(workers=True)) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(pair: tuple[Checkpoint, Checkpoint], folder: Path) -> dict[tuple[Variant, int], dict[str, Response]]:
    by_checkpoint = {}
    with LiveEngine.start(pair[0], MHROPE, options()) as engine:
        for variant, number in ((MHROPE, 0), (CIRCLE, 0), (CIRCLE, 1)):
            engine.switch(variant=variant, checkpoint=pair[number])
            by_checkpoint[variant, number] = answers(engine, every_kind(folder))
    return by_checkpoint


def test_workers_answer_and_switch_as_one_process_does(
    workers: LiveEngine,
    pair: tuple[Checkpoint, Checkpoint],
    expected: dict[tuple[Variant, int], dict[str, Response]],
    folder: Path,
) -> None:
    for variant, number in ((MHROPE, 0), (CIRCLE, 1), (CIRCLE, 0), (MHROPE, 0)):
        workers.switch(variant=variant, checkpoint=pair[number])
        answered = answers(workers, every_kind(folder))
        for name, response in expected[variant, number].items():
            assert answered[name].token_ids == response.token_ids
            assert answered[name].positions == response.positions
            assert answered[name].media == response.media
            assert answered[name].prompt_logprobs == pytest.approx(response.prompt_logprobs, abs=1e-4)
            assert answered[name].logprobs == pytest.approx(response.logprobs, abs=1e-4)


def test_a_stream_closed_early_leaves_the_workers_ready_to_switch(workers: LiveEngine, folder: Path) -> None:
    workers.switch(variant=MHROPE)
    before = answers(workers, every_kind(folder))
    stream = workers.stream(ask(f"{i}", f"{i}", max_tokens=300 if i else 1) for i in range(100))
    next(stream)
    stream.close()
    workers.switch(variant=CIRCLE)
    workers.switch(variant=MHROPE)
    after = answers(workers, every_kind(folder))
    assert {k: r.token_ids for k, r in before.items()} == {k: r.token_ids for k, r in after.items()}


def test_failures_do_not_reach_the_workers(workers: LiveEngine) -> None:
    results = outcomes(workers, [ask("long", "x" * 2000), ask("fine", "Hello"), ask("empty", "")])
    assert isinstance(results["fine"], Response)
    assert isinstance(results["long"], Failure)
    assert isinstance(results["empty"], Failure)


def test_workers_that_are_stuck_are_noticed_by_the_time_limit_and_ended(
    workers: LiveEngine, pair: tuple[Checkpoint, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of these workers."""
    monkeypatch.setattr(workers, "_limits", Limits(pair[0], options(workers=True, request_timeout=5), False))
    processes = workers._watch.workers
    assert isinstance(processes, WorkerProcesses)
    tree = dict(processes._tree)
    assert len(tree) == 2, "the engine's core and its worker"
    stream = workers.stream(ask(f"{i}", "Hello", max_tokens=900 if i else 1, ignore_eos=True) for i in range(9))
    next(stream)
    for pid in tree:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EngineDiedError, match="an answer took more than 5 s, so the engine was ended") as died:
        list(stream)
    assert time.monotonic() - began < 60 and died.value.in_flight
    workers.close()
    assert not alive(tree)


def test_workers_that_end_in_the_last_step_of_their_start_are_noticed(
    pair: tuple[Checkpoint, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM asks them something then, and waits for the answer without looking whether they live."""

    class Struck(WorkerProcesses):
        def __init__(self, engine: Any, log: Path | None = None, said: int = 0) -> None:
            super().__init__(engine, log, said)
            for process in self._processes:
                process.terminate()
                process.join()

    monkeypatch.setattr(live, "WorkerProcesses", Struck)
    began = time.monotonic()
    with pytest.raises(EngineDiedError, match=r"its process .* while it was started") as died:
        LiveEngine.start(pair[0], MHROPE, options(workers=True))
    assert died.value.in_flight == ()
    assert time.monotonic() - began < 300, "a start, and no wait for its limit of ten minutes"
    assert not [child for child in multiprocessing.active_children() if child.name == "EngineCore"]


class KilledOnce:
    """Starts engines. The core of the first is killed after five answers: most others cannot have been given then."""

    def __init__(self) -> None:
        self.started = 0

    def __call__(self, checkpoint: Checkpoint, variant: Variant, options: EngineOptions) -> Engine:
        engine = LiveEngine.start(checkpoint, variant, options)
        self.started += 1
        return engine if self.started > 1 else WithoutCore(engine)


class WithoutCore:
    """An engine in processes of its own, whose core is killed after five answers."""

    deaths = 0

    def __init__(self, engine: LiveEngine) -> None:
        self._engine = engine
        self.switch, self.close = engine.switch, engine.close

    def stream(self, requests: Iterable[Request | Deferred]) -> Generator[Response | Failure, None, None]:
        for number, outcome in enumerate(self._engine.stream(requests), 1):
            yield outcome
            if number == 5:
                (core,) = (child for child in multiprocessing.active_children() if child.name == "EngineCore")
                core.kill()
                core.join()


def test_a_run_whose_engine_is_killed_ends_as_one_that_was_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_LOGGING_LEVEL", raising=False)  # by which the log would lack what the engine says
    checkpoint = build_checkpoint("qwen2.5-vl", folder / "killed")
    mirror = suite_mirror.build(folder / "mirror", n=12)
    config = RunConfig((str(checkpoint),), ("refcoco_val", "chartqa"), folder / "whole", ("mrope-i",),
                       data_root=mirror, options=options())  # fmt: skip
    assert not running.run(config).broken
    start = KilledOnce()
    result = running.run(dataclasses.replace(config, output=folder / "run", options=options(workers=True)), start)
    assert start.started == 2 and not result.broken and result.failed == 0
    for name in ("scores.json", "samples/refcoco_val.jsonl", "samples/chartqa.jsonl"):
        assert (folder / "run" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    log = (folder / "run" / "log.txt").read_text()
    assert "its process was killed (signal 9" in log and "(EngineCore pid=" in log
    left = with_descendants(child.pid for child in multiprocessing.active_children())
    assert not [pid for pid in left if "VLLM" in Path(f"/proc/{pid}/cmdline").read_text()]

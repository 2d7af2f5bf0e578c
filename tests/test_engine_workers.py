"""vLLM in worker processes, which find our models through the plugin's entry point: the same answers as in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_requests import answers, ask, every_kind, options, outcomes

from mmrope_eval.demo.checkpoints import build_checkpoint
from mmrope_eval.engine.live import LiveEngine
from mmrope_eval.engine.types import Failure, Response
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import Variant, load_variant

MHROPE, CIRCLE = load_variant("mhrope"), load_variant("circlerope")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Checkpoint, Checkpoint]:
    one, two = (build_checkpoint("qwen3-vl", folder / f"{seed}", seed=seed) for seed in (1, 2))
    return read_checkpoint(one), read_checkpoint(two)


@pytest.fixture(scope="module")
def workers(pair: tuple[Checkpoint, Checkpoint]) -> Iterator[LiveEngine]:
    with LiveEngine.start(pair[0], MHROPE, options(workers=True)) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(pair: tuple[Checkpoint, Checkpoint], folder: Path) -> dict[tuple[Variant, int], dict[str, Response]]:
    found = {}
    with LiveEngine.start(pair[0], MHROPE, options()) as engine:
        for variant, number in ((MHROPE, 0), (CIRCLE, 0), (CIRCLE, 1)):
            engine.switch(variant=variant, checkpoint=pair[number])
            found[variant, number] = answers(engine, every_kind(folder))
    return found


def test_workers_answer_and_switch_as_one_process_does(
    workers: LiveEngine,
    pair: tuple[Checkpoint, Checkpoint],
    expected: dict[tuple[Variant, int], dict[str, Response]],
    folder: Path,
) -> None:
    for variant, number in ((MHROPE, 0), (CIRCLE, 1), (CIRCLE, 0), (MHROPE, 0)):
        workers.switch(variant=variant, checkpoint=pair[number])
        found = answers(workers, every_kind(folder))
        for name, response in expected[variant, number].items():
            assert found[name].token_ids == response.token_ids
            assert found[name].positions == response.positions
            assert found[name].media == response.media
            assert found[name].prompt_logprobs == pytest.approx(response.prompt_logprobs, abs=1e-4)
            assert found[name].logprobs == pytest.approx(response.logprobs, abs=1e-4)


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
    found = outcomes(workers, [ask("long", "x" * 2000), ask("fine", "Hello"), ask("empty", "")])
    assert isinstance(found["fine"], Response)
    assert isinstance(found["long"], Failure)
    assert isinstance(found["empty"], Failure)

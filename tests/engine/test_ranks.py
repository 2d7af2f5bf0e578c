"""Two tensor-parallel ranks answer as one does, and what cannot be split is refused by name before anything starts.

One engine of two ranks a family, on two cores: Qwen2.5-VL's with a vision encoder whose three heads cannot be split, as
in the demo's checkpoints, Qwen3-VL's with one that is. Table and weights are switched inside it.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_requests import answers, every_kind, options
from hypothesis import given
from hypothesis import strategies as st

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.cli import main
from mmrope_eval.engine import ranks
from mmrope_eval.engine.live import LiveEngine
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Request, Response
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.models.families.qwen2_5_vl import FAMILY as QWEN2_5_VL
from mmrope_eval.rope import load_variant

pytestmark = pytest.mark.every_core

VISION_HEADS = {"qwen2.5-vl": 3, "qwen3-vl": 2}
STOCK = "stock"
STEPS = [(STOCK, 1), ("mhrope", 1), ("circlerope", 1), ("v2pe", 2), ("mhrope", 2), (STOCK, 1)]
"""Variant and weights, one after the other: another table in every KV head, fractional positions, the way back."""


# --- two ranks are one ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """What two engines answered, step by step."""

    one: list[dict[str, Response]]
    two: list[dict[str, Response]]
    modes: tuple[str, int]
    """How the second one's vision encoder is shared out, and its number of ranks."""


def ask_all(
    checkpoints: Sequence[Checkpoint], requests: list[Request], number: int
) -> tuple[list[dict[str, Response]], tuple[str, int]]:
    stock = checkpoints[0].family.stock_variant
    by_step = []
    chosen = options(dtype="float32", tensor_parallel_size=number)
    with LiveEngine.start(checkpoints[0], load_variant(stock), chosen) as engine:
        for name, weights in STEPS:
            engine.switch(variant=load_variant(stock if name == STOCK else name), checkpoint=checkpoints[weights - 1])
            by_step.append(answers(engine, requests))
        if engine._watch.workers is not None:
            engine._watch.workers.kill()  # their orderly end takes seconds
        config = engine._engine.vllm_config
        mode = config.model_config.multimodal_config.mm_encoder_tp_mode
        return by_step, (mode, config.parallel_config.tensor_parallel_size)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Answered]:
    @cache
    def run(family: str) -> Answered:
        folder = tmp_path_factory.mktemp(family)
        heads = VISION_HEADS[family]
        checkpoints = [read_checkpoint(build_checkpoint(family, folder / f"{seed}", seed=seed, vision_heads=heads))  # type: ignore[arg-type]
                       for seed in (1, 2)]  # fmt: skip
        requests = every_kind(folder)
        one, _ = ask_all(checkpoints, requests, 1)
        two, modes = ask_all(checkpoints, requests, 2)
        return Answered(one, two, modes)

    return run


@pytest.mark.parametrize("step", range(len(STEPS)), ids=[f"{i} {name} {w}" for i, (name, w) in enumerate(STEPS)])
@pytest.mark.parametrize("family", VISION_HEADS)
def test_two_ranks_answer_as_one(answered: Callable[[str], Answered], family: str, step: int) -> None:
    one, two = answered(family).one[step], answered(family).two[step]
    assert set(one) == set(two) == {"text", "image", "two images", "video", "mixed"}
    for kind, answer in one.items():
        assert two[kind].token_ids == answer.token_ids, kind
        assert two[kind].positions == answer.positions, kind
        assert apart(answer, two[kind]) <= 1e-4, kind


@pytest.mark.parametrize("family", VISION_HEADS)
def test_every_switch_shows(answered: Callable[[str], Answered], family: str) -> None:
    """What makes the bound above mean something: a rank that kept its table or weights would be far off."""
    two = answered(family).two
    prompts = [np.concatenate([step[kind].prompt_logprobs for kind in ("image", "video", "mixed")]) for step in two]
    for i, (before, after) in enumerate(itertools.pairwise(prompts), 1):
        assert float(np.abs(before - after).max()) > 0.05, STEPS[i]
    assert float(np.abs(prompts[0] - prompts[-1]).max()) < 1e-5


@pytest.mark.parametrize(("family", "mode"), [("qwen2.5-vl", "data"), ("qwen3-vl", "weights")])
def test_an_encoder_that_does_not_divide_is_whole_in_every_rank(
    answered: Callable[[str], Answered], family: str, mode: str
) -> None:
    assert answered(family).modes == (mode, 2)


def apart(one: Response, other: Response) -> float:
    """The largest difference of log-probabilities of prompt and answer."""
    ours, theirs = (np.array((*(r.prompt_logprobs or ()), *(r.logprobs or ()))) for r in (one, other))
    return float(np.abs(ours - theirs).max())


# --- what cannot be split -------------------------------------------------------------------------------------------

SHAPE = {"num_attention_heads": 16, "num_key_value_heads": 8, "hidden_size": 1024, "intermediate_size": 768,
         "vocab_size": 151936}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "number", "named"),
    [
        ({}, 1, None),
        ({}, 2, None),
        ({}, 8, None),
        ({}, 16, None),  # each KV head in two ranks
        ({"vocab_size": 270}, 2, None),  # padded to 320
        ({}, 3, "the 16 query heads (num_attention_heads)"),
        ({"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 1536}, 3,
         "the 4 KV heads (num_key_value_heads)"),
        ({"num_attention_heads": 24, "num_key_value_heads": 4, "hidden_size": 1536}, 6,
         "the 4 KV heads (num_key_value_heads)"),
        ({"intermediate_size": 770}, 4, "the 770 channels of the feed-forward layers (intermediate_size)"),
        ({"num_attention_heads": 12, "num_key_value_heads": 3, "hidden_size": 1536, "vocab_size": 270}, 3,
         "the vocabulary of 270 tokens (vocab_size, padded to 320)"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_named(change: dict[str, Any], number: int, named: str | None) -> None:
    assert ranks.split_problem(QWEN2_5_VL.text(**{**SHAPE, **change}), number) == named


def test_the_refusal_says_what_would_do(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(build_checkpoint("qwen2.5-vl", tmp_path / "c"))
    with pytest.raises(UserError) as refused:
        ranks.require_split(checkpoint, 3)
    assert str(refused.value) == (
        f"--tensor-parallel-size 3: the 8 query heads (num_attention_heads) of '{checkpoint.path}' cannot be split "
        "over 3 ranks; it can over 1, 2, 4 or 8"
    )


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"])
@pytest.mark.parametrize(("heads", "mode"), [(2, "weights"), (3, "data"), (4, "weights")])
def test_how_an_encoder_is_shared_out(tmp_path: Path, family: Any, heads: int, mode: str) -> None:
    checkpoint = read_checkpoint(build_checkpoint(family, tmp_path / "c", vision_heads=heads))
    assert ranks.encoder_mode(checkpoint, 2) == mode


@pytest.mark.parametrize("family", ["qwen2.5-vl", "qwen3-vl"])
def test_an_encoder_with_an_odd_feed_forward_layer_is_not_split(tmp_path: Path, family: Any) -> None:
    checkpoint = read_checkpoint(build_checkpoint(family, tmp_path / "c"))
    config = json.loads(json.dumps(checkpoint.config))
    config["vision_config"]["intermediate_size"] = 127
    object.__setattr__(checkpoint, "config", config)
    assert ranks.encoder_mode(checkpoint, 2) == "data"


# --- what the machine has -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "cores", "said", "bound"),
    [
        (2, [0, 1], {}, "0|1"),
        (2, [0, 2, 4, 6], {}, "0,2|4,6"),
        (2, [0, 1, 2, 3, 4], {}, "0,1|2,3"),  # ranks wait for the slowest: equal shares
        (3, [5, 6, 7], {ranks.BIND: "auto"}, "5|6|7"),
        (2, [0, 1], {ranks.BIND: "nobind"}, None),
        (1, [0, 1], {ranks.BIND: "0"}, None),
    ],
)
def test_every_rank_gets_cores_of_its_own(number: int, cores: list[int], said: dict[str, str], bound: str) -> None:
    assert ranks.core_binding(number, cores, said) == bound


@given(number=st.integers(1, 9), cores=st.lists(st.integers(0, 99), unique=True, max_size=40))
def test_cores_are_shared_out_equally_and_none_twice(number: int, cores: list[int]) -> None:
    if len(cores) < number:
        with pytest.raises(UserError, match=f"may use {len(cores)}; give at most"):
            ranks.core_binding(number, cores, {})
        return
    shares = [share.split(",") for share in str(ranks.core_binding(number, cores, {})).split("|")]
    given_out = [int(core) for share in shares for core in share]
    assert len(shares) == number and len({len(share) for share in shares}) == 1
    assert given_out == cores[: len(given_out)] and len(cores) - len(given_out) < number


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("0", "cores for 1 ranks, and --tensor-parallel-size is 2"),
        ("0|1|2", "cores for 3 ranks, and --tensor-parallel-size is 2"),
        ("0;1", "give the cores of each rank, such as 0-3|4-7"),
        ("0|", "give the cores of each rank"),
        ("0-|1", "give the cores of each rank"),
        ("0|4000-4001", "may not use core 4000"),
    ],
)
def test_a_binding_that_cannot_be_is_refused(said: str, sentence: str) -> None:
    with pytest.raises(UserError, match=ranks.BIND) as refused:
        ranks.core_binding(2, [0, 1], {ranks.BIND: said})
    assert sentence in str(refused.value)


def test_the_cores_of_this_process_are_counted_once_each() -> None:
    cores = ranks.physical_cores()
    assert cores and len(set(cores)) == len(cores) and set(cores) <= os.sched_getaffinity(0)


@pytest.mark.parametrize(("gpus", "number", "refused"), [(1, 2, True), (4, 4, False), (4, 8, True)])
def test_more_gpus_than_there_are(gpus: int, number: int, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    if not refused:
        ranks.require_devices(number)
        return
    with pytest.raises(UserError, match=f"sees {gpus} GPUs? .*; give at most {gpus}"):
        ranks.require_devices(number)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [("4096", "give at most"), ("3", "it can over 1, 2, 4 or 8")],
)
def test_the_command_refuses_before_it_reads_a_task(
    tmp_path: Path, number: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranks, "physical_cores", lambda: list(range(8)))
    checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "c")
    command = ["run", "--model", str(checkpoint), "--tasks", "chartqa", "--tensor-parallel-size", number,
               "--data-root", str(tmp_path), "--output", str(tmp_path / "out")]  # fmt: skip
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert f"--tensor-parallel-size {number}: " in printed and sentence in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- what the ranks say ---------------------------------------------------------------------------------------------

RECORD = ("key", "print", 4.0, 1.0)


@pytest.mark.parametrize(
    ("lists", "kept"),
    [
        ([[RECORD]], [RECORD]),
        ([[RECORD], [list(RECORD)]], [RECORD]),
        ([[RECORD], [("key", "other", 4.0, 1.0)]], []),
        ([[RECORD, ("two", "print", 1.0, 0.0)], [("two", "print", 1.0, 0.0)]], [("two", "print", 1.0, 0.0)]),
        ([[], [RECORD]], []),
    ],
)
def test_positions_that_a_rank_used_otherwise_are_no_record(lists: list[list[Any]], kept: list[Any]) -> None:
    assert ranks.agreed(lists) == kept

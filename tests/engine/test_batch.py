"""How many answers an engine works on at once, how far ahead it is fed, and where it runs."""

from __future__ import annotations

import importlib.metadata
import os
from types import SimpleNamespace
from typing import Any

import pytest

from mmrope_eval import cli
from mmrope_eval.cli.run import configured
from mmrope_eval.engine import plugin, settings, vllm_compat
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError

RUN = ["run", "--model", "CKPT", "--tasks", "chartqa"]
TINY: Any = SimpleNamespace(weight_bytes=4 * 2**20)
LARGE: Any = SimpleNamespace(weight_bytes=2**30)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ([], "max_num_seqs", None),
        (["--max-num-seqs", "48"], "max_num_seqs", 48),
        ([], "max_num_batched_tokens", None),
        (["--max-num-batched-tokens", "4096"], "max_num_batched_tokens", 4096),
        ([], "workers", None),
        (["--workers"], "workers", True),
        (["--no-workers"], "workers", False),
    ],
)
def test_the_command_line_sets_the_engine(given: list[str], name: str, value: object) -> None:
    assert getattr(configured(cli.parse([*RUN, *given])).options, name) == value


@pytest.mark.parametrize("name", ["max_num_seqs", "max_num_batched_tokens", "lookahead"])
def test_none_at_a_time_is_refused(name: str) -> None:
    given: dict[str, Any] = {name: 0}
    with pytest.raises(UserError, match=f"{name} is 0: it must be at least 1"):
        EngineOptions(**given)


@pytest.mark.parametrize(
    ("checkpoint", "cuda", "most"), [(TINY, False, 128), (LARGE, False, 32), (TINY, True, 256), (LARGE, True, 256)]
)
def test_answers_in_one_step_by_default(checkpoint: Any, cuda: bool, most: int) -> None:
    assert settings.most_at_once(checkpoint, cuda) == most


@pytest.mark.parametrize(
    ("checkpoint", "questions", "cores", "expected"),
    [
        (TINY, settings.MANY, 2, True),
        (TINY, settings.MANY - 1, 2, False),  # the start would cost more than it saves
        (LARGE, settings.MANY, 2, False),  # its steps are no Python code
        (TINY, settings.MANY, 1, False),  # there is nothing to share
    ],
)
def test_many_questions_to_a_tiny_model_are_worth_processes(
    checkpoint: Any, questions: int, cores: int, expected: bool
) -> None:
    machine = settings.Machine(cuda=False, plugin=True, cores=cores)
    assert settings.in_workers(checkpoint, EngineOptions(questions=questions), machine) == expected
    assert not settings.in_workers(checkpoint, EngineOptions(questions=questions, workers=False), machine)


@pytest.mark.parametrize(
    ("options", "cuda", "installed", "expected"),
    [
        ({}, False, True, False),
        ({}, True, True, True),
        ({}, True, False, False),  # its processes would not find our models
        ({"workers": False}, True, True, False),
        ({"workers": True}, False, True, True),
        ({"workers": False, "tensor_parallel_size": 2}, False, True, True),  # ranks are processes
    ],
)
def test_where_the_engine_runs(
    options: dict[str, Any], cuda: bool, installed: bool, expected: bool
) -> None:
    machine = settings.Machine(cuda, installed, cores=8)
    assert settings.in_workers(LARGE, EngineOptions(**options), machine) == expected


def test_this_machine_is_as_it_says_of_itself() -> None:
    cores = len(os.sched_getaffinity(0))
    assert settings.this_machine() == settings.Machine(vllm_compat.is_cuda(), plugin.installed(), cores)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], False), (["other:register"], False), (["other:register", "mmrope_eval.engine.plugin:register"], True)],
)
def test_whether_our_plugin_is_installed(values: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points = [SimpleNamespace(value=value) for value in values]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: entry_points)
    assert plugin.installed() == expected


def test_tokens_of_log_probabilities_are_not_written_out() -> None:
    """vLLM's name for a request inside is another than ours."""
    scores = SimpleNamespace(tokenizer=object())
    inside = SimpleNamespace(logprobs_processor=scores, detokenizer="kept")
    states = {"7-inside": inside, "other": None}
    engine = SimpleNamespace(add_request=lambda name, prompt, params: f"{name}-inside",
                             output_processor=SimpleNamespace(request_states=states))  # fmt: skip
    vllm_compat.add_request(engine, "7", {}, None)
    assert scores.tokenizer is None and inside.detokenizer == "kept"
    vllm_compat.add_request(engine, "8", {}, None)  # a version that keeps them elsewhere

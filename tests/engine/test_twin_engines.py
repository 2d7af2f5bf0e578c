"""The same requests through three engines: ours eager, ours compiled as on a GPU, and vLLM's own untouched model class.

Pixels, prompts and video metadata are the same; all in float32 on CPU. Compiled and eager agree over switches of table
and of weights; the stock variant of a family agrees with the class of that family that nobody here wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from engine_requests import POLICY, answers, every_kind, options

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine import process, vllm_compat, vllm_model
from mmrope_eval.engine.live import LiveEngine
from mmrope_eval.engine.prepare import Prepared, Preparer, RenderedPrompts
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.engine.settings import engine_settings, this_machine
from mmrope_eval.messages import Request, Response
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import load_variant

FAMILIES = ["qwen2.5-vl", "qwen3-vl"]
STOCK = "stock"
STEPS = [(STOCK, 1), ("vanilla", 1), ("mhrope", 1), ("circlerope", 1), ("mhrope", 2), (STOCK, 2), (STOCK, 1)]
"""Variant and weights, one after the other in one engine: one row of cos and sin and many, fractional positions too."""
STEP_NAMES = [f"{i} {name} {weights}" for i, (name, weights) in enumerate(STEPS)]


@dataclass(frozen=True)
class Answer:
    """Tokens, and log-probabilities of prompt and generated tokens end to end."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: np.ndarray


def answer_of(response: Response) -> Answer:
    """With the log-probabilities of prompt and answer, end to end."""
    assert response.prompt_logprobs is not None and response.logprobs is not None
    scores = np.array((*response.prompt_logprobs, *response.logprobs))
    return Answer(response.prompt_token_ids, response.token_ids, scores)


Answers = dict[str, Answer]
"""By kind of request."""


@dataclass(frozen=True)
class Twins:
    """What the engines of one family answered; ours once a step."""

    eager: list[Answers]
    compiled: list[Answers]
    stock: Answers


def ask_ours(
    checkpoints: list[Checkpoint], requests: list[Request], *, compiled: bool
) -> tuple[list[Answers], vllm_model.ModelShape]:
    """Our engine through all steps, and how it runs the model."""
    stock = checkpoints[0].family.stock_variant
    answers_by_step = []
    with LiveEngine.start(checkpoints[0], load_variant(stock), options(enforce_eager=not compiled)) as engine:
        assert engine._shape.compiled == compiled
        for name, weights in STEPS:
            engine.switch(variant=load_variant(stock if name == STOCK else name), checkpoint=checkpoints[weights - 1])
            responses = answers(engine, requests)
            answers_by_step.append({
                kind: answer_of(response) for kind, response in responses.items()
            })
        return answers_by_step, engine._shape


@contextmanager
def stock_engine(checkpoint: Checkpoint) -> Iterator[Any]:
    """vLLM with the model class that config.json names: none of our architectures, workers or tables."""
    ours, variables = engine_settings(checkpoint, load_variant("vanilla"), options(), POLICY, this_machine())
    left_out = {"hf_overrides", "worker_extension_cls"}
    with ExitStack() as resources:
        resources.enter_context(process.words_of_start(None, None))
        resources.enter_context(process.torch_threads(1))
        resources.enter_context(process.no_dynamo())
        engine = vllm_compat.start_engine({k: v for k, v in ours.items() if k not in left_out}, variables)
        resources.callback(vllm_compat.stop_engine, engine)
        (model,) = engine.apply_model(lambda model: type(model).__name__)
        assert model == checkpoint.family.hf_class
        yield engine


def ask_stock(checkpoint: Checkpoint, shape: vllm_model.ModelShape, requests: list[Request]) -> Answers:
    """vLLM's own class on prompts and pixels as our engine gets them; positions are its own affair."""
    answer_by_id: Answers = {}
    with stock_engine(checkpoint) as engine:
        variant = load_variant(checkpoint.family.stock_variant)
        preparer = Preparer(engine, shape, checkpoint, PromptWriter(checkpoint), variant, options(), POLICY,
                            RenderedPrompts(0))  # fmt: skip
        for request in requests:
            prepared = preparer.prepare(request)
            assert isinstance(prepared, Prepared), prepared
            engine.add_request(request.id, prepared.engine_input, prepared.params)
        while len(answer_by_id) < len(requests):
            for output in engine.step():
                completion, prompt = output.outputs[0], output.prompt_token_ids
                scored = [*zip(output.prompt_logprobs[1:], prompt[1:], strict=True),
                          *zip(completion.logprobs, completion.token_ids, strict=True)]  # fmt: skip
                logprobs = np.array([choices[token].logprob for choices, token in scored])
                answer_by_id[output.request_id] = Answer(tuple(prompt), tuple(completion.token_ids), logprobs)
    return answer_by_id


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Twins]:
    """All three engines of a family, one after the other, when it is first asked for."""

    @cache
    def run(family: str) -> Twins:
        folder = tmp_path_factory.mktemp(family)
        checkpoints = [read_checkpoint(build_checkpoint(family, folder / f"{i}", seed=i)) for i in (1, 2)]  # type: ignore[arg-type]
        requests = every_kind(folder)
        eager, shape = ask_ours(checkpoints, requests, compiled=False)
        compiled, _ = ask_ours(checkpoints, requests, compiled=True)
        return Twins(eager, compiled, ask_stock(checkpoints[0], shape, requests))

    return run


def check_same(ours: Answers, theirs: Answers, tolerance: float) -> None:
    assert set(ours) == set(theirs) == {"text", "image", "two images", "video", "mixed"}
    for kind, answer in ours.items():
        assert answer.prompt == theirs[kind].prompt, kind
        assert answer.tokens == theirs[kind].tokens, kind
    assert apart(ours, theirs) <= tolerance


def apart(ours: Answers, theirs: Answers) -> float:
    """The largest difference of log-probabilities of prompts, which are the same whatever was generated."""
    ends = {kind: len(answer.prompt) - 1 for kind, answer in ours.items()}
    same = all(answer.tokens == theirs[kind].tokens for kind, answer in ours.items())
    return max(
        float(np.abs(answer.logprobs - theirs[kind].logprobs)[: None if same else ends[kind]].max())
        for kind, answer in ours.items()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_variant_is_the_stock_model(twins: Callable[[str], Twins], family: str) -> None:
    run = twins(family)
    check_same(run.eager[0], run.stock, 1e-5)
    assert all(apart(run.eager[i], run.stock) > 0.05 for i in (1, 2, 3)), "other variants are not"


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEP_NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_layers_answer_as_eager_ones(twins: Callable[[str], Twins], family: str, step: int) -> None:
    run = twins(family)
    check_same(run.compiled[step], run.eager[step], 3e-5)
    before = run.compiled[step - 1] if step else run.compiled[1]
    assert apart(run.compiled[step], before) > 0.05, "every switch shows"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_way_back_leads_to_the_first_answers(twins: Callable[[str], Twins], family: str) -> None:
    run = twins(family)
    assert apart(run.compiled[0], run.compiled[-1]) < 1e-5

"""One engine in this process: what it answers, what it refuses, and that a switch leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_requests import POLICY, alone, answers, ask, clip, every_kind, options, outcomes, picture

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine import prepare, vllm_compat
from mmrope_eval.engine.live import LiveEngine, SwitchError
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure, Generation, ImageSource, Request, Response, VideoSource
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import MediaSpan, Variant, VariantError, load_variant, segments_from_tokens
from mmrope_eval.rope.encoding import PositionCodec
from mmrope_eval.scorer.box import first_box

A, B = load_variant("mrope"), load_variant("circlerope")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def one(folder: Path) -> Checkpoint:
    return read_checkpoint(build_checkpoint("qwen2.5-vl", folder / "one", seed=1))


@pytest.fixture(scope="module")
def two(folder: Path) -> Checkpoint:
    return read_checkpoint(build_checkpoint("qwen2.5-vl", folder / "two", seed=2))


SCHEDULES: dict[str, dict[str, Any]] = {
    "prompts in chunks of 48 tokens": {"max_num_batched_tokens": 48},
    "no prefix cache": {"enable_prefix_caching": False},
    "two at a time": {"max_num_seqs": 2},
}


@pytest.fixture(scope="module")
def fresh(one: Checkpoint, two: Checkpoint, folder: Path) -> dict[str, dict[str, Response]]:
    """Answers to every kind of request by engines that never ran anything else; a process holds one at a time."""

    def run(
        checkpoint: Checkpoint, variant: Variant, requests: list[Request] | None = None, **changes: Any
    ) -> dict[str, Response]:
        with LiveEngine.start(checkpoint, variant, options(**changes)) as engine:
            return (alone if not changes else answers)(engine, requests or every_kind(folder))

    by_schedule = {name: run(one, B, **changes) for name, changes in SCHEDULES.items()}
    first, second = (
        read_checkpoint(build_checkpoint("qwen2.5-vl", folder / f"tied {seed}", seed=seed, tie_word_embeddings=True))
        for seed in (1, 2)
    )
    # Untrained and tied, they repeat one token: short answers, as long ones of that kind are failures.
    brief = every_kind(folder, max_tokens=4)
    with LiveEngine.start(first, A, options()) as engine:
        alone(engine, brief)
        engine.switch(checkpoint=second)
        by_schedule["tied two, switched to"] = alone(engine, brief)
    return {**by_schedule, "variant B": run(one, B), "checkpoint two": run(two, A), "tied two": run(second, A, brief)}


@dataclass(frozen=True)
class Qwen2Run:
    """What engines of Qwen2-VL checkpoints answered to every kind of request; one was switched, the others fresh."""

    first: dict[str, Response]
    """Variant A, checkpoint one."""
    other_variant: dict[str, Response]
    other_weights: dict[str, Response]
    again: dict[str, Response]
    """As the first, after both switches."""
    refusal: str
    after_refusal: dict[str, Response]
    rotation: bool
    fresh_variant: dict[str, Response]
    fresh_weights: dict[str, Response]


@pytest.fixture(scope="module")
def qwen2(one: Checkpoint, folder: Path) -> Qwen2Run:
    """One checkpoint's tensors are named as published, the other's as transformers names them now."""
    first, second = (
        read_checkpoint(build_checkpoint("qwen2-vl", folder / f"qwen2 {seed}", seed=seed, old_names=seed == 1))
        for seed in (1, 2)
    )
    requests = every_kind(folder)
    observed: dict[str, Any] = {}
    with LiveEngine.start(first, A, options()) as engine:
        observed["rotation"] = rotates_as_transformers(engine)
        observed["first"] = alone(engine, requests)
        engine.switch(variant=B)
        observed["other_variant"] = alone(engine, requests)
        engine.switch(variant=A, checkpoint=second)
        observed["other_weights"] = alone(engine, requests)
        engine.switch(checkpoint=first)
        observed["again"] = alone(engine, requests)
        with pytest.raises(SwitchError) as refused:
            engine.switch(checkpoint=one)
        observed["refusal"] = str(refused.value)
        observed["after_refusal"] = alone(engine, requests)
    for name, checkpoint, variant in (("fresh_variant", first, B), ("fresh_weights", second, A)):
        with LiveEngine.start(checkpoint, variant, options()) as engine:
            observed[name] = alone(engine, requests)
    return Qwen2Run(**observed)


@pytest.fixture(scope="module")
def live(one: Checkpoint, fresh: object, qwen2: object) -> Iterator[LiveEngine]:
    before = dict(os.environ)
    with LiveEngine.start(one, A, options(lookahead=3, preparers=2)) as engine:
        assert dict(os.environ) == before, "the environment is as it was once the engine runs"
        yield engine


@pytest.fixture
def engine(live: LiveEngine, one: Checkpoint) -> LiveEngine:
    live.switch(variant=A, checkpoint=one)
    return live


def same(ours: dict[str, Response], theirs: dict[str, Response]) -> bool:
    return ours.keys() == theirs.keys() and all(
        (ours[k].token_ids, ours[k].logprobs, ours[k].prompt_logprobs, ours[k].positions)
        == (theirs[k].token_ids, theirs[k].logprobs, theirs[k].prompt_logprobs, theirs[k].positions)
        for k in ours
    )


def rotates_as_transformers(live: LiveEngine) -> bool:
    """Whether the vision encoder rotates bfloat16 as transformers does (one function in all families), to the bit."""
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

    def rotate(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = model.visual
        cos, sin = (part.repeat(1, 2) for part in encoder.rotary_pos_emb.get_cos_sin(40))
        x = torch.randn(1, 40, 3, cos.shape[1] * 2, generator=torch.Generator().manual_seed(0)).bfloat16()
        ours = [block.attn.apply_rotary_emb(x, cos, sin)[0] for block in encoder.blocks]
        theirs, _ = apply_rotary_pos_emb_vision(x[0], x[0], cos.repeat(1, 2), sin.repeat(1, 2))
        return torch.stack(ours), theirs

    ((ours, theirs),) = live._engine.apply_model(rotate)
    assert ours.dtype == torch.bfloat16
    return all(torch.equal(table, theirs) for table in ours)


def test_the_vision_encoder_rotates_in_float32_as_transformers_does(live: LiveEngine, qwen2: Qwen2Run) -> None:
    """Whatever dtype its activations have."""
    assert rotates_as_transformers(live)
    assert qwen2.rotation


# --- switching ----------------------------------------------------------------------------------------------------


def test_switch_of_variant_equals_fresh_engines(
    engine: LiveEngine, folder: Path, fresh: dict[str, dict[str, Response]]
) -> None:
    requests = every_kind(folder)
    first = alone(engine, requests)
    engine.switch(variant=B)
    second = alone(engine, requests)
    engine.switch(variant=A)
    third = alone(engine, requests)
    assert same(first, third)
    assert same(second, fresh["variant B"])
    assert not same(first, second)


def noting(made: list[str], name: str, load: Callable[..., Any]) -> Callable[..., Any]:
    """The same, which says that it was called."""

    def noted(*given: Any) -> Any:
        made.append(name)
        return load(*given)

    return noted


def test_what_a_processor_made_is_not_made_again_for_another_variant_or_other_weights(
    engine: LiveEngine, two: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = every_kind(folder)
    made: list[str] = []
    for name in ("load_image", "load_video"):
        load = getattr(prepare, name)
        monkeypatch.setattr(prepare, name, noting(made, name, load))
    engine._reuse._kept.clear()
    alone(engine, requests)
    before = len(made)
    assert before > 0
    engine.switch(variant=B, checkpoint=two)
    alone(engine, requests)
    assert len(made) == before
    engine.switch(policy=replace(POLICY, image_max_pixels=POLICY.image_max_pixels // 2))
    alone(engine, requests)
    engine.switch(policy=POLICY)
    assert len(made) == 2 * before


def test_switch_of_weights_equals_fresh_engines(
    engine: LiveEngine, one: Checkpoint, two: Checkpoint, folder: Path, fresh: dict[str, dict[str, Response]]
) -> None:
    requests = every_kind(folder)
    first = alone(engine, requests)
    engine.switch(checkpoint=two)
    assert engine.checkpoint == two
    assert engine.variant == A
    second = alone(engine, requests)
    engine.switch(variant=B, checkpoint=one)
    engine.switch(variant=A, checkpoint=one)
    third = alone(engine, requests)
    assert same(first, third)
    assert same(second, fresh["checkpoint two"])
    assert not same(first, second)


def test_an_output_matrix_that_is_the_word_embeddings_is_switched_too(fresh: dict[str, dict[str, Response]]) -> None:
    assert same(fresh["tied two, switched to"], fresh["tied two"])


def test_a_qwen2_vl_engine_is_switched_as_well(qwen2: Qwen2Run) -> None:
    assert same(qwen2.other_variant, qwen2.fresh_variant)
    assert same(qwen2.other_weights, qwen2.fresh_weights)
    assert same(qwen2.first, qwen2.again)
    assert not same(qwen2.first, qwen2.other_variant)
    assert not same(qwen2.first, qwen2.other_weights)


def test_a_qwen2_vl_engine_refuses_qwen2_5_vl_and_goes_on(qwen2: Qwen2Run) -> None:
    assert "cannot take" in qwen2.refusal
    assert "describe different networks" in qwen2.refusal
    assert same(qwen2.first, qwen2.after_refusal)


def test_videos_of_qwen2_vl_count_frames_and_not_seconds(qwen2: Qwen2Run) -> None:
    """A block takes up as many positions as it has pairs of frames, if that is more than its rows and columns."""
    response = qwen2.first["video"]
    (facts,) = response.media
    t, h, w = facts.grid_thw[0], facts.grid_thw[1] // 2, facts.grid_thw[2] // 2
    assert len(facts.frame_indices) == len(set(facts.frame_indices)) + 1, "an odd number: the last frame is repeated"
    assert t > max(h, w)
    assert response.positions is not None
    assert response.positions.delta == t - t * h * w


def test_a_checkpoint_of_another_shape_is_refused_and_the_engine_goes_on(
    engine: LiveEngine, folder: Path, one: Checkpoint
) -> None:
    other = read_checkpoint(build_checkpoint("qwen2.5-vl", folder / "deeper", num_layers=3))
    before = answers(engine, [ask("q", "Hello")])
    with pytest.raises(SwitchError, match=r"cannot take .*deeper.*different networks"):
        engine.switch(checkpoint=other)
    assert engine.checkpoint == one
    assert same(before, answers(engine, [ask("q", "Hello")]))


def test_a_variant_that_does_not_fit_is_refused_and_the_engine_goes_on(engine: LiveEngine) -> None:
    with pytest.raises(VariantError, match="KV heads"):
        engine.switch(variant=load_variant("mhrope", mrope_section=[4, 4, 4]))
    assert engine.variant == A
    assert answers(engine, [ask("q", "Hello")])


# --- answers ------------------------------------------------------------------------------------------------------


def test_positions_in_a_response_are_those_of_the_variant(engine: LiveEngine, folder: Path, one: Checkpoint) -> None:
    engine.switch(variant=B)
    for response in answers(engine, every_kind(folder)).values():
        ids = list(response.prompt_token_ids)
        media, at = [], 0
        for facts in response.media:
            pad = one.config[f"{facts.kind}_token_id"]
            t, h, w = facts.grid_thw[0], facts.grid_thw[1] // 2, facts.grid_thw[2] // 2
            at = ids.index(pad, at)
            step = 1.0 if facts.seconds_per_grid is None else facts.seconds_per_grid * one.tokens_per_second
            media.append(MediaSpan(at, t * h * w, t, h, w, step, pad))
            at += t * h * w
        positions, delta = B.positions(segments_from_tokens(ids, media))
        digest = hashlib.sha256(np.ascontiguousarray(PositionCodec().encode(positions)).tobytes()
                                + str(PositionCodec().encode_delta(delta)).encode())
        assert response.positions is not None
        assert response.positions.fingerprint == digest.hexdigest()
        assert response.positions.delta == delta
        assert response.positions.max_position == positions.max()
        assert response.prompt_tokens == len(ids)
        assert response.prompt_logprobs is not None
        assert len(response.prompt_logprobs) == len(ids) - 1


def test_generation_settings_are_kept_exactly(engine: LiveEngine) -> None:
    long = answers(engine, [ask("q", "Hello", max_tokens=9)])["q"]
    assert (len(long.token_ids), long.finish_reason) == (9, "length")
    assert long.logprobs is not None
    assert len(long.logprobs) == 9
    stop = long.text[3:5]
    cut = answers(engine, [ask("q", "Hello", max_tokens=9, stop=(stop,))])["q"]
    assert (cut.text, cut.finish_reason) == (long.text[: long.text.index(stop)], "stop")
    assert answers(engine, [Request("q", ("Hello",), ask("", "", max_tokens=1).generation)])["q"].token_ids == (
        long.token_ids[:1]
    )


def test_the_end_token_ends_unless_it_is_ignored(engine: LiveEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    free = answers(engine, [ask("q", "Hello", max_tokens=6)])["q"]
    monkeypatch.setattr(engine._preparer, "_eos", [free.token_ids[2]])
    ended = answers(engine, [ask("q", "Hello", max_tokens=6)])["q"]
    end = free.token_ids.index(free.token_ids[2]) + 1
    assert (ended.token_ids, ended.finish_reason) == (free.token_ids[:end], "stop")
    ignored = answers(engine, [ask("q", "Hello", max_tokens=6, ignore_eos=True)])["q"]
    assert ignored.token_ids == free.token_ids


def test_company_in_the_batch_does_not_change_an_answer(engine: LiveEngine, folder: Path) -> None:
    requests = every_kind(folder)
    single = alone(engine, requests)
    together = answers(engine, [*requests, *(ask(f"more {i}", picture(60 + 28 * i, 90), "?") for i in range(6))])
    for name, response in single.items():
        assert together[name].token_ids == response.token_ids
        assert together[name].prompt_logprobs == pytest.approx(response.prompt_logprobs, abs=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_scheduling_does_not_change_fractional_positions(
    engine: LiveEngine, folder: Path, fresh: dict[str, dict[str, Response]], schedule: str
) -> None:
    engine.switch(variant=B)
    plain = alone(engine, every_kind(folder))
    # Again without log-probabilities, which bypass the prefix cache: now the second pass is answered from it.
    quick = [Request(r.id, r.content, Generation(12)) for r in every_kind(folder)]
    answers(engine, quick)
    cached = answers(engine, quick)
    other = fresh[schedule]
    for name, response in plain.items():
        assert cached[name].token_ids == response.token_ids
        assert other[name].token_ids == response.token_ids
        assert other[name].positions == response.positions
        assert other[name].prompt_logprobs == pytest.approx(response.prompt_logprobs, abs=1e-4)
        assert other[name].logprobs == pytest.approx(response.logprobs, abs=1e-4)


def test_a_box_between_special_tokens_can_be_read_from_the_text_of_an_answer(qwen2: object, folder: Path) -> None:
    """Qwen2-VL writes them; an engine leaves them out of the text."""
    from transformers import AutoTokenizer

    written = "<|object_ref_start|>player 23<|object_ref_end|><|box_start|>(176,106),(232,160)<|box_end|><|im_end|>"
    tokenizer = AutoTokenizer.from_pretrained(folder / "qwen2 1")
    ids = tokenizer(written)["input_ids"]
    assert len(ids) == len("player 23(176,106),(232,160)") + 5
    assert vllm_compat.sampling_params(max_tokens=1).skip_special_tokens
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "player 23(176,106),(232,160)"
    assert first_box(text) == first_box(written) == (176, 106, 232, 160)


# --- failures -----------------------------------------------------------------------------------------------------


def test_failing_samples_are_listed_and_the_others_answered(engine: LiveEngine, folder: Path) -> None:
    good = every_kind(folder)
    whole = picture(100, 75).data
    assert isinstance(whole, bytes)
    bad = {
        "truncated": (ask("truncated", ImageSource(whole[: len(whole) // 2]), "?"), "media"),
        "missing": (ask("missing", VideoSource(folder / "none.mp4"), "?"), "media"),
        "empty": (ask("empty", " \n"), "prompt"),
        "reserved": (ask("reserved", "what is <|image_pad|>?"), "prompt"),
        "too long": (ask("too long", "x" * 2000), "prompt"),
        "no room": (ask("no room", "x" * 900, max_tokens=500), "prompt"),
    }
    expected = answers(engine, good)
    mixed = [r for pair in zip(good, (b for b, _ in bad.values()), strict=False) for r in pair]
    mixed += [request for request, _ in list(bad.values())[len(good) :]]
    results = outcomes(engine, mixed)
    assert results.keys() == {r.id for r in mixed}
    for name, (_, stage) in bad.items():
        failure = results[name]
        assert isinstance(failure, Failure)
        assert (failure.stage, failure.cause.count("\n")) == (stage, 0), failure
    for name, response in expected.items():
        result = results[name]
        assert isinstance(result, Response)
        assert result.token_ids == response.token_ids


def test_positions_out_of_range_name_the_sample(engine: LiveEngine, folder: Path) -> None:
    engine.switch(variant=load_variant("mrope", temporal_stride=1e12))
    results = outcomes(engine, [ask("far", clip(folder), "?"), ask("near", "Hello")])
    failure = results["far"]
    assert isinstance(failure, Failure)
    assert failure.stage == "positions"
    assert "outside" in failure.cause
    assert failure.media[0].kind == "video"
    assert isinstance(results["near"], Response)


@pytest.mark.parametrize("error", [SystemExit(3), AssertionError(), MemoryError("too much")], ids=repr)
def test_whatever_a_library_raises_is_one_failure(
    engine: LiveEngine, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def explode(*_: object) -> None:
        raise error

    monkeypatch.setattr("mmrope_eval.engine.prepare.load_image", explode)
    results = outcomes(engine, [ask("a", "Hello"), ask("b", picture(60, 60), "?"), ask("c", "Hello")])
    failure = results["b"]
    assert isinstance(failure, Failure)
    assert type(error).__name__ in failure.cause
    assert isinstance(results["a"], Response)
    assert isinstance(results["c"], Response)


def test_a_step_that_fails_costs_only_the_request_that_caused_it(
    engine: LiveEngine, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    expected = alone(engine, every_kind(folder))
    model = engine._engine.model_executor.driver_worker.get_model()
    encode_media = model.embed_multimodal

    def fragile(**inputs: Any) -> Any:
        grids = inputs.get("image_grid_thw")
        if grids is not None and [1, 10, 4] in grids.tolist():
            raise RuntimeError("the encoder broke")
        return encode_media(**inputs)

    monkeypatch.setattr(model, "embed_multimodal", fragile)
    engine.switch(variant=A)  # forget what the encoder made of the same pictures
    results = outcomes(engine, every_kind(folder))
    failure = results.pop("two images")
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.cause) == ("engine", "RuntimeError: the encoder broke")
    for name, result in results.items():
        assert isinstance(result, Response)
        assert result.token_ids == expected[name].token_ids
    monkeypatch.undo()
    assert same(expected, alone(engine, every_kind(folder)))


# --- feeding ------------------------------------------------------------------------------------------------------


def test_requests_are_pulled_a_bounded_distance_ahead(engine: LiveEngine) -> None:
    pulled = []

    def endless() -> Iterator[Request]:
        for i in range(10_000):
            pulled.append(threading.current_thread())
            yield ask(f"{i}", picture(60, 60), f"{i}?", max_tokens=4)

    stream = engine.stream(endless())
    for done in range(1, 30):
        next(stream)
        # In the engine, ready, and being prepared.
        assert len(pulled) <= done + 8 + 3 + 2
    stream.close()
    assert threading.main_thread() not in pulled


def test_closing_a_stream_early_leaves_the_engine_usable(engine: LiveEngine, folder: Path) -> None:
    expected = alone(engine, every_kind(folder))
    stream = engine.stream(ask(f"{i}", picture(60 + i, 60), "?", max_tokens=200) for i in range(100))
    next(stream)
    with pytest.raises(RuntimeError, match="stream is open"):
        engine.switch(variant=B)
    stream.close()
    assert not engine._engine.has_unfinished_requests()
    engine.switch(variant=A)
    assert same(expected, alone(engine, every_kind(folder)))


def test_an_error_of_the_iterable_comes_after_the_answers_to_what_it_gave(engine: LiveEngine) -> None:
    def broken() -> Iterator[Request]:
        yield ask("a", "Hello")
        yield ask("b", picture(60, 60), "?")
        raise LookupError("no more rows")

    answered: list[str] = []
    with pytest.raises(LookupError, match="no more rows"):
        answered.extend(result.id for result in engine.stream(broken()))
    assert sorted(answered) == ["a", "b"]
    assert answers(engine, [ask("q", "Hello")])


def test_a_second_engine_in_this_process_is_refused(engine: LiveEngine, one: Checkpoint) -> None:
    with pytest.raises(UserError, match="close it first"):
        LiveEngine.start(one, A, options())
    assert answers(engine, [ask("q", "Hello")])


def test_a_closed_engine_says_so(one: Checkpoint, live: LiveEngine) -> None:
    idle = LiveEngine(live._engine, one, A, options(), POLICY)
    idle.close()
    idle.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(idle.stream([]))

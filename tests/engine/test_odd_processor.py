"""A processor's output that is not what it should be costs the sample it was made of, and no other."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_requests import POLICY, ask, clip, options

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine import vllm_model
from mmrope_eval.engine.prepare import Loaded, Prepared, Preparer, RenderedPrompts
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.engine.run import RequestQueue
from mmrope_eval.media.image import load_video
from mmrope_eval.messages import Failure, Request
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import load_variant

Rendered = dict[str, Any]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("odd")))


def as_rendered(checkpoint: Checkpoint, request: Request, token_ids: list[int]) -> Rendered:
    """The prompt of a request with one video as vLLM's renderer gives it."""
    facts = load_video(request.content[0], POLICY, checkpoint.geometry).facts  # type: ignore[arg-type]
    pad = checkpoint.vocabulary.ids.video_token_id
    start = token_ids.index(pad)
    seconds = torch.tensor(facts.seconds_per_grid)
    tensors = {"video_grid_thw": torch.tensor(facts.grid_thw), "second_per_grid_ts": seconds}
    return {
        "type": "multimodal",
        "prompt_token_ids": [*token_ids[:start], *[pad] * facts.tokens, *token_ids[start + 1 :]],
        "mm_kwargs": {"video": [{name: SimpleNamespace(data=tensor) for name, tensor in tensors.items()}]},
        "mm_hashes": {"video": [vllm_model.media_identifier(facts.fingerprint, facts.seconds_per_grid)]},
        "mm_placeholders": {"video": [SimpleNamespace(offset=start, length=facts.tokens)]},
    }


def preparer(checkpoint: Checkpoint, damage: Callable[[Rendered], Any]) -> Preparer:
    """Prepares for an engine whose processor damages what it makes of requests called "odd"."""
    writer = PromptWriter(checkpoint)
    requests = iter(requests_of(checkpoint))

    def render(prompts: list[dict[str, Any]]) -> tuple[Any]:
        request = next(requests)
        given = as_rendered(checkpoint, request, prompts[0]["prompt_token_ids"])
        if request.id == "odd":
            damage(given)
        return (given,)

    engine = SimpleNamespace(
        vllm_config=SimpleNamespace(model_config=SimpleNamespace(max_model_len=1024)),
        renderer=SimpleNamespace(render_cmpl=render),
    )
    values: dict[str, Any] = dict.fromkeys(vllm_model.ModelShape.__dataclass_fields__, 1)
    ids = checkpoint.vocabulary.ids
    values |= {"merge_size": 2, "tokens_per_second": 2.0, "position_bits": 64,
               "image_token_id": ids.image_token_id, "video_token_id": ids.video_token_id}  # fmt: skip
    shape = vllm_model.ModelShape(**values)
    return Preparer(engine, shape, checkpoint, writer, load_variant("qwen2.5-vl"), options(), POLICY,
                    RenderedPrompts(0))  # fmt: skip


def requests_of(checkpoint: Checkpoint) -> list[Request]:
    return [ask(name, clip(checkpoint.path), "What happens?") for name in ("before", "odd", "after")]


def video(given: Rendered) -> dict[str, Any]:
    item: dict[str, Any] = given["mm_kwargs"]["video"][0]
    return item


ODD: dict[str, Callable[[Rendered], Any]] = {
    "nothing": lambda given: given.clear(),
    "no tokens": lambda given: given.pop("prompt_token_ids"),
    "tokens that are none": lambda given: given.update(prompt_token_ids=["a", None]),
    "no type": lambda given: given.pop("type"),
    "no places": lambda given: given.pop("mm_placeholders"),
    "no names": lambda given: given["mm_hashes"].clear(),
    "a place outside the prompt": lambda given: given["mm_placeholders"].update(
        video=[SimpleNamespace(offset=9000, length=4)]
    ),
    "a place more than media": lambda given: given["mm_placeholders"]["video"].append(
        SimpleNamespace(offset=0, length=1)
    ),
    "no grid": lambda given: video(given).pop("video_grid_thw"),
    "a grid of two": lambda given: video(given).update(video_grid_thw=SimpleNamespace(data=torch.tensor([1, 2]))),
    "seconds of 24 frames a second": lambda given: video(given).update(
        second_per_grid_ts=SimpleNamespace(data=torch.tensor(1 / 12))
    ),
    "seconds that are not one number": lambda given: video(given).update(
        second_per_grid_ts=SimpleNamespace(data=torch.tensor([0.4, 0.4]))
    ),
    "a tensor whose size cannot be told": lambda given: video(given).update(extra=Sizeless()),
}


class Sizeless:
    """As a field that holds no tensor."""

    @property
    def data(self) -> Any:
        raise SystemExit("no data")


@pytest.mark.parametrize("damage", ODD.values(), ids=ODD)
def test_one_odd_sample_fails_alone(checkpoint: Checkpoint, damage: Callable[[Rendered], Any]) -> None:
    requests = requests_of(checkpoint)
    item_by_name: dict[str, Prepared | Failure] = {}
    with RequestQueue(requests, preparer(checkpoint, damage).prepare, ahead=1, max_bytes=10**9, threads=1) as queue:
        while (item := queue.take(wait=True)) is not None:
            assert not isinstance(item, Loaded)
            item_by_name[item.request.id if isinstance(item, Prepared) else item.id] = item
    odd = item_by_name.pop("odd")
    assert isinstance(odd, Failure) and odd.stage in ("prompt", "positions") and odd.cause
    assert {name: type(item) for name, item in item_by_name.items()} == {"before": Prepared, "after": Prepared}


def test_where_the_processor_misread_the_time_the_failure_says_so(checkpoint: Checkpoint) -> None:
    prepare = preparer(checkpoint, ODD["seconds of 24 frames a second"]).prepare
    _, odd, _ = (prepare(request) for request in requests_of(checkpoint))
    assert isinstance(odd, Failure) and odd.stage == "positions"
    assert "the processor found 0.08" in odd.cause and "the video was loaded with 1.0" in odd.cause

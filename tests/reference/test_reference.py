"""The reference: stock transformers under the variants that transformers knows, our positions under all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import parity_media
import pytest
import torch
from parity_harness import tiny_checkpoint

from mmrope_demo.checkpoints import FAMILIES, build_checkpoint
from mmrope_eval.errors import UserError
from mmrope_eval.media.image import LoadedImage, LoadedVideo
from mmrope_eval.messages import Generation
from mmrope_eval.reference import (
    Batch,
    ReferenceModel,
    Rounding,
    attend_as_flash,
    attend_fused,
    attend_plainly,
    load_reference,
    new_reference,
    text_prompt,
)
from mmrope_eval.rope import Text, VariantError, Vision, load_variant, variant_names

NATIVE = {"qwen2-vl": "mrope", "qwen2.5-vl": "qwen2.5-vl", "qwen3-vl": "qwen3-vl"}
SIXTEEN = Generation(max_tokens=16, ignore_eos=True, logprobs=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices on several threads spend their time waiting for one another: ten times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: tiny_checkpoint(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def references(checkpoints: dict[str, Path]) -> dict[str, ReferenceModel]:
    return {family: load_reference(path, load_variant(NATIVE[family])) for family, path in checkpoints.items()}


def drawn_for(family: str) -> str:
    """Qwen2-VL takes the pictures and videos that Qwen2.5-VL takes."""
    return "qwen2.5-vl" if family == "qwen2-vl" else family


def image(family: str, rows: int, columns: int, seed: int = 0) -> LoadedImage:
    return parity_media.image(drawn_for(family), rows, columns, seed)


def video(family: str, frames: int, rows: int, columns: int, *, interval: float = 0.5, seed: int = 0) -> LoadedVideo:
    return parity_media.video(drawn_for(family), frames, rows, columns, interval=interval, seed=seed)


def content(family: str, kind: str) -> list[Any]:
    first, second, clip = image(family, 3, 2, 1), image(family, 2, 4, 2), video(family, 6, 2, 3, seed=3)
    contents: dict[str, list[Any]] = {
        "text": ["What is the answer to everything, and who asked?"],
        "image": [first, "Where is the third wave?"],
        "two images": ["Compare ", first, " with ", second, " please."],
        "video": [clip, "When does it begin to drift?"],
        "image after video": [clip, "When? And here: ", first, "?"],
    }
    return contents[kind]


def stock_logits(path: Path, reference: ReferenceModel, kind: str, family: str, attention: str) -> torch.Tensor:
    """Logits of the untouched transformers model with the positions that it computes for itself."""
    import transformers

    prompt = reference.prepare(content(family, kind))
    stock = transformers.AutoModelForImageTextToText.from_pretrained(
        path, dtype=torch.float32, attn_implementation=attention
    ).eval()
    token_ids = torch.tensor([prompt.token_ids])
    config = stock.config
    kinds = (token_ids == config.image_token_id).int() + 2 * (token_ids == config.video_token_id).int()
    with torch.no_grad():
        logits: torch.Tensor = stock(input_ids=token_ids, mm_token_type_ids=kinds, **prompt.media).logits
    return logits


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("qwen2-vl", "text"),
        ("qwen2-vl", "image"),
        ("qwen2-vl", "two images"),
        ("qwen2-vl", "video"),
        ("qwen2-vl", "image after video"),
        ("qwen2.5-vl", "text"),
        ("qwen2.5-vl", "image"),
        ("qwen2.5-vl", "two images"),
        ("qwen3-vl", "text"),
        ("qwen3-vl", "image"),
        ("qwen3-vl", "two images"),
        ("qwen3-vl", "video"),
        ("qwen3-vl", "image after video"),
    ],
)
def test_equals_stock_transformers_where_that_is_right(
    checkpoints: dict[str, Path], family: str, kind: str, attention: Literal["sdpa", "eager"]
) -> None:
    reference = load_reference(checkpoints[family], load_variant(NATIVE[family]), attention=attention)
    with torch.no_grad():
        ours = reference.forward(reference.collate([reference.prepare(content(family, kind))]))
    stock = stock_logits(checkpoints[family], reference, kind, family, attention)
    assert (ours.log_softmax(-1) - stock.log_softmax(-1)).abs().max() <= 1e-5


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen2.5-vl"])
def test_stock_transformers_loses_count_after_a_video(references: dict[str, ReferenceModel], family: str) -> None:
    """transformers 5.19 goes on max(h, w) after a video, whatever its length. When this fails, it has been repaired.

    Of Qwen2-VL's videos, which count frames, only those with more pairs of frames than rows and columns suffer.
    """
    reference = references[family]
    long_clip = video(family, 12, 1, 1, interval=1.0)
    seconds = {"second_per_grid_ts": [long_clip.facts.seconds_per_grid]} if family == "qwen2.5-vl" else {}
    prompt = reference.prepare([long_clip, "And then?"])
    coordinates, _ = reference.variant.positions(prompt.segments)
    stock = reference.model.model.get_rope_index(
        torch.tensor([prompt.token_ids]),
        (torch.tensor([prompt.token_ids]) == reference.model.config.video_token_id).int() * 2,
        video_grid_thw=prompt.media["video_grid_thw"],
        **seconds,
    )[0][:, 0].numpy()
    last_of_video = prompt.segments[0].n + prompt.segments[1].n - 1
    assert np.array_equal(stock[:, : last_of_video + 1], coordinates[:, : last_of_video + 1])
    assert stock[0, last_of_video + 1] < stock[0, last_of_video]
    assert coordinates[0, last_of_video + 1] > coordinates[0, last_of_video]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("qwen2-vl", [Vision(1, 3, 2), Vision(3, 2, 3, 1.0)]),
        ("qwen2.5-vl", [Vision(1, 3, 2), Vision(3, 2, 3, 2.0)]),
        ("qwen3-vl", [Vision(1, 3, 2), Vision(1, 2, 3), Vision(1, 2, 3), Vision(1, 2, 3)]),
    ],
)
def test_a_prompt_is_laid_out_as_the_family_writes_it(
    references: dict[str, ReferenceModel], family: str, expected: list[Vision]
) -> None:
    prompt = references[family].prepare([image(family, 3, 2), "then ", video(family, 6, 2, 3, interval=0.5), "?"])
    assert [s for s in prompt.segments if isinstance(s, Vision)] == expected
    assert sum(s.n for s in prompt.segments) == len(prompt.token_ids)
    ids, config = prompt.token_ids, references[family].model.config
    cursor = 0
    for before, block in zip(prompt.segments[:-1], prompt.segments[1:], strict=True):
        cursor += before.n
        if isinstance(block, Vision):
            assert ids[cursor - 1] == config.vision_start_token_id
            assert ids[cursor + block.n] == config.vision_end_token_id


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", variant_names())
def test_a_cache_changes_nothing(references: dict[str, ReferenceModel], family: str, name: str) -> None:
    """Every generated token follows, in position too, from one pass over everything before it."""
    reference = references[family]
    reference.set_variant(load_variant(name))
    prompt = reference.prepare(content(family, "image after video"))
    response = reference.generate(prompt, SIXTEEN)
    assert len(response.token_ids) == 16
    whole = reference.score(prompt, response.token_ids)
    assert response.prompt_logprobs is not None and response.logprobs is not None
    assert np.abs(np.array(whole.logprobs) - (*response.prompt_logprobs, *response.logprobs)).max() <= 2e-5
    assert whole.best[-16:] == response.token_ids


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(references: dict[str, ReferenceModel], family: str) -> None:
    reference = references[family]
    reference.set_variant(load_variant("mhrope"))
    prompts = [reference.prepare(content(family, kind)) for kind in ("text", "two images", "video")]
    batch = reference.collate(prompts)
    assert batch.attention_mask is not None
    with torch.no_grad():
        together = reference.forward(batch).log_softmax(-1)
        for row, prompt in zip(together, prompts, strict=True):
            alone = reference.forward(reference.collate([prompt])).log_softmax(-1)[0]
            assert (row[: len(alone)] - alone).abs().max() <= 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_variants_differ(references: dict[str, ReferenceModel], family: str) -> None:
    """The test checkpoints notice a change of positions or frequencies; if they did not, no parity would mean much."""
    reference = references[family]
    prompt = reference.prepare(content(family, "two images"))
    scores = {}
    for name in ("vanilla", "mrope", "mrope-i", "mhrope", "videorope", "circlerope"):
        reference.set_variant(load_variant(name))
        scores[name] = np.array(reference.score(prompt).logprobs)
    names = list(scores)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(scores[name] - scores[other]).max() > 0.5, (name, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_alone_is_the_same_under_text_compatible_variants(
    references: dict[str, ReferenceModel], family: str
) -> None:
    reference = references[family]
    prompt = text_prompt(list(range(40, 90)))
    reference.set_variant(load_variant("vanilla"))
    vanilla = np.array(reference.score(prompt).logprobs)
    for name in ("mrope", "mrope-i", "mhrope", "circlerope"):
        reference.set_variant(load_variant(name))
        assert np.abs(np.array(reference.score(prompt).logprobs) - vanilla).max() <= 1e-5, name


def test_stop_strings_and_stop_tokens_end_a_generation(references: dict[str, ReferenceModel]) -> None:
    reference = references["qwen2.5-vl"]
    reference.set_variant(load_variant("mrope"))
    prompt = reference.prepare(["Say something."])
    free = reference.generate(prompt, SIXTEEN, "a")
    assert (free.id, free.finish_reason, free.prompt_tokens) == ("a", "length", len(prompt.token_ids))
    assert free.text == reference.processor.tokenizer.decode(free.token_ids, skip_special_tokens=True)
    stop = free.text[1]
    cut = reference.generate(prompt, Generation(max_tokens=16, stop=(stop,)))
    assert (cut.finish_reason, cut.text) == ("stop", free.text[: free.text.index(stop)])
    assert cut.logprobs is None and cut.prompt_logprobs is None
    with pytest.raises(UserError, match="temperature"):
        reference.generate(prompt, Generation(max_tokens=1, temperature=0.7))


@pytest.mark.parametrize("family", FAMILIES)
def test_learns_from_random_initialisation(checkpoints: dict[str, Path], family: str) -> None:
    """A few steps on one batch: gradients reach every parameter that the batch uses, and the loss falls."""
    torch.manual_seed(0)
    reference = new_reference(checkpoints[family], load_variant("mhrope"))
    prompts = [reference.prepare(content(family, kind)) for kind in ("image", "video")]
    batch = reference.collate(prompts)
    optimiser = torch.optim.AdamW(reference.model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        logits = reference.forward(batch)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.token_ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses
    silent = [name for name, p in reference.model.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias adds the same to all scores of a row, which softmax ignores, unless it is rotated: it is.
    assert not silent


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen3-vl"])
def test_the_trained_model_is_a_stock_one(checkpoints: dict[str, Path], tmp_path: Path, family: str) -> None:
    """The exchanged modules leave no trace in the weights: what is saved loads into transformers as it is."""
    import transformers

    reference = load_reference(checkpoints[family], load_variant(NATIVE[family]))
    reference.model.save_pretrained(tmp_path)
    stock = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    ours, theirs = reference.model.state_dict(), stock.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_packed_branches_see_what_their_mask_shows(references: dict[str, ReferenceModel]) -> None:
    """Two questions on one image in one sequence, each blind to the other, score as if they were asked alone."""
    reference = references["qwen2.5-vl"]
    reference.set_variant(load_variant("mrope-i"))
    shared = reference.prepare([image("qwen2.5-vl", 2, 2), "Q: "])
    n, tails = len(shared.token_ids), ([70, 71, 72], [80, 81, 82, 83])
    single = [reference.collate([shared], [tail]) for tail in tails]
    a, b = len(tails[0]), len(tails[1])
    mask = torch.ones(n + a + b, n + a + b, dtype=torch.bool).tril()
    mask[n + a :, n : n + a] = False
    packed = Batch(
        torch.cat((single[0].token_ids, single[1].token_ids[:, n:]), dim=1),
        torch.cat((single[0].positions, single[1].positions[:, :, n:]), dim=2),
        mask[None, None],
        shared.media,
    )
    with torch.no_grad():
        logits = reference.forward(packed)[0]
        alone = [reference.forward(batch)[0] for batch in single]
    assert (logits[: n + a] - alone[0]).abs().max() <= 1e-4
    assert (logits[n + a :] - alone[1][n:]).abs().max() <= 1e-4


@pytest.mark.parametrize("masked", ["none", "boolean", "additive"])
@pytest.mark.parametrize(("heads", "kv_heads", "n", "m"), [(4, 4, 5, 5), (8, 2, 5, 5), (8, 2, 1, 7), (6, 3, 3, 3)])
def test_both_attentions_agree(heads: int, kv_heads: int, n: int, m: int, masked: str) -> None:
    torch.manual_seed(heads + n)
    q, k, v = torch.randn(2, heads, n, 16), torch.randn(2, kv_heads, m, 16), torch.randn(2, kv_heads, m, 16)
    visible = torch.ones(2, 1, n, m, dtype=torch.bool).tril(m - n)
    mask = {"none": None, "boolean": visible, "additive": torch.zeros(2, 1, n, m).masked_fill(~visible, -1e9)}[masked]
    fused, plain, flash = (attend(q, k, v, mask) for attend in (attend_fused, attend_plainly, attend_as_flash))
    assert (fused - plain).abs().max() <= 1e-5
    assert (flash - plain).abs().max() <= 1e-5
    half = attend_as_flash(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert half.dtype == torch.bfloat16 and (half - plain).abs().max() <= 0.03


@pytest.mark.parametrize("kind", ["text", "two images", "image after video"])
def test_whose_rounding_it_is_matters_in_half_precision_only(checkpoints: dict[str, Path], kind: str) -> None:
    """Both are as far from float32, and further from each other than float32 rounds."""
    path, variant = checkpoints["qwen2.5-vl"], load_variant(NATIVE["qwen2.5-vl"])
    plain = load_reference(path, variant)
    prompt = plain.prepare(content("qwen2.5-vl", kind))
    continuation = prompt.token_ids[:4]
    exact = torch.tensor(plain.score(prompt, continuation).logprobs)

    def error(dtype: torch.dtype, rounding: Rounding) -> float:
        reference = load_reference(path, variant, dtype=dtype, rounding=rounding, wide_head=True)
        return float((torch.tensor(reference.score(prompt, continuation).logprobs) - exact).abs().max())

    assert error(torch.float32, "vllm") <= 1e-4
    ours, stock = error(torch.bfloat16, "vllm"), error(torch.bfloat16, "transformers")
    assert ours != stock and 1e-4 < ours < 2 * stock


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen3-vl"])
def test_rounding_as_vllm_is_for_qwen2_5_only(checkpoints: dict[str, Path], family: str) -> None:
    with pytest.raises(UserError, match=r"written for Qwen2\.5-VL"):
        load_reference(checkpoints[family], load_variant(NATIVE[family]), rounding="vllm")


def test_a_wide_head_gives_float32_logits_of_the_same_weights(checkpoints: dict[str, Path]) -> None:
    variant = load_variant(NATIVE["qwen2.5-vl"])
    plain, wide = (
        load_reference(checkpoints["qwen2.5-vl"], variant, dtype=torch.bfloat16, wide_head=head)
        for head in (False, True)
    )
    batch = plain.collate([plain.prepare(content("qwen2.5-vl", "image"))])
    with torch.no_grad():
        coarse, fine = plain.forward(batch), wide.forward(batch)
    assert (coarse.dtype, fine.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(fine, fine.float()) and not torch.equal(fine, fine.bfloat16().float())
    assert (coarse - fine).abs().max() <= fine.abs().max() / 128


def test_two_builds_give_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    first, second = (build_checkpoint("qwen3-vl", tmp_path / name) for name in "ab")
    other = build_checkpoint("qwen3-vl", tmp_path / "c", seed=1, mm_rope="mhrope")
    names = sorted(p.name for p in first.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert {n for n in names if (first / n).read_bytes() != (other / n).read_bytes()} == {
        "config.json",
        "model.safetensors",
    }


def test_bad_input_is_one_sentence(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load_reference(tmp_path / "nowhere", load_variant("mrope"))
    with pytest.raises(UserError, match="family"):
        build_checkpoint("llava", tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="heads"):
        build_checkpoint("qwen3-vl", tmp_path / "x", num_heads=9)
    small = build_checkpoint("qwen3-vl", tmp_path / "small", num_kv_heads=2)
    with pytest.raises(VariantError, match="head"):
        load_reference(small, load_variant("mhrope"))
    reference = load_reference(small, load_variant("mrope"))
    reference.processor = None
    with pytest.raises(UserError, match="processor"):
        reference.prepare(["x"])


def test_positions_of_generated_tokens_follow_the_layout(references: dict[str, ReferenceModel]) -> None:
    reference = references["qwen2.5-vl"]
    reference.set_variant(load_variant("circlerope"))
    prompt = reference.prepare(content("qwen2.5-vl", "image"))
    batch = reference.collate([prompt], [[50, 51]])
    expected, _ = reference.variant.positions([*prompt.segments, Text(2)])
    _, delta = reference.variant.positions(prompt.segments)
    assert torch.equal(batch.positions[:, 0], torch.from_numpy(expected))
    assert np.allclose(expected[:, -2], len(prompt.token_ids) + delta)

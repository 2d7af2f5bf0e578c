"""Attention on visual tokens: against transformers' own attention weights, and by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import suite_mirror
import torch
from parity_media import image, video

from mmrope_demo.checkpoints import Family, build_checkpoint
from mmrope_eval.analysis.attention import observed, row_shares, visual_attention
from mmrope_eval.cli import main
from mmrope_eval.errors import UserError
from mmrope_eval.reference import Prompt, ReferenceModel, load_reference, text_prompt
from mmrope_eval.reference.modules import attention_weights
from mmrope_eval.rope import Text, Vision, load_variant

FAMILY: Family = "qwen2.5-vl"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(FAMILY, tmp_path_factory.mktemp("checkpoint"), num_kv_heads=4, num_heads=8)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def reference(request: pytest.FixtureRequest, checkpoint: Path) -> ReferenceModel:
    return load_reference(checkpoint, load_variant("mrope"), attention=request.param)


def mixed_prompt(reference: ReferenceModel) -> Prompt:
    clip, picture = video(FAMILY, 4, 2, 3), image(FAMILY, 3, 2)
    return reference.prepare(["Look: ", picture, " and then ", clip, " What is it?"])


def weights_of(reference: ReferenceModel, prompt: Prompt) -> list[torch.Tensor]:
    """Every layer's full attention weights (heads, n, n)."""
    weights: list[torch.Tensor] = []

    def keep(_: int, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> None:
        weights.append(attention_weights(q, k, mask)[0])

    with torch.no_grad(), observed(reference, keep):
        reference.forward(reference.collate([prompt]))
    return weights


def test_weights_equal_those_of_stock_transformers(checkpoint: Path, reference: ReferenceModel) -> None:
    import transformers

    # One picture: where transformers' own positions are right.
    prompt = reference.prepare([image(FAMILY, 3, 4), "Where is the third wave?"])
    stock = transformers.AutoModelForImageTextToText.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    token_ids = torch.tensor([prompt.token_ids])
    kinds = (token_ids == stock.config.image_token_id).int()
    with torch.no_grad():
        theirs = stock(
            input_ids=token_ids, mm_token_type_ids=kinds, output_attentions=True, **prompt.media
        ).attentions
    ours = weights_of(reference, prompt)
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other[0]).abs().max() < 1e-5

    is_vision = (token_ids[0] == stock.config.image_token_id).numpy()
    rows = np.flatnonzero(~is_vision & (np.cumsum(is_vision) > 0))
    measured = visual_attention(reference, prompt)
    for layer, other in enumerate(theirs):
        shares = other[0].mean(0).double().numpy()[rows][:, is_vision].sum(1)
        assert measured.text[layer] == pytest.approx(shares.mean(), abs=1e-5)
        assert measured.last[layer] == pytest.approx(shares[-1], abs=1e-5)


@pytest.mark.parametrize("name", ["mrope", "mrope-i", "qwen3-vl", "hope", "circlerope"])
def test_shares_are_shares(reference: ReferenceModel, name: str) -> None:
    reference.set_variant(load_variant(name))
    prompt = mixed_prompt(reference)
    for weights in weights_of(reference, prompt):
        assert weights.shape == (8, len(prompt.token_ids), len(prompt.token_ids))
        assert (weights.sum(-1) - 1).abs().max() < 1e-5
        assert weights.triu(1).abs().max() == 0
    shares = visual_attention(reference, prompt)
    for share in (*shares.text, *shares.last, shares.even_text, shares.even_last):
        assert 0 < share < 1
    reference.set_variant(load_variant("mrope"))


def test_variants_differ_on_the_same_weights(reference: ReferenceModel) -> None:
    prompt = mixed_prompt(reference)
    by_variant = {}
    for name in ("mrope-i", "qwen3-vl"):
        reference.set_variant(load_variant(name))
        by_variant[name] = visual_attention(reference, prompt)
    reference.set_variant(load_variant("mrope"))
    assert np.abs(by_variant["mrope-i"].text - by_variant["qwen3-vl"].text).max() > 1e-3
    assert by_variant["mrope-i"].even_text == by_variant["qwen3-vl"].even_text


def test_observing_changes_nothing_and_ends(reference: ReferenceModel) -> None:
    prompt = mixed_prompt(reference)
    batch = reference.collate([prompt])
    with torch.no_grad():
        before = reference.forward(batch)
        with observed(reference, lambda *_: None):
            assert torch.equal(reference.forward(batch), before)
    layers = [layer.self_attn for layer in reference.model.model.language_model.layers]
    assert all(layer.observer is None for layer in layers)
    with pytest.raises(RuntimeError, match="stop"), observed(reference, stop):
        reference.forward(batch)
    assert all(layer.observer is None for layer in layers)


def stop(*_: Any) -> None:
    raise RuntimeError("stop")


def test_share_by_hand() -> None:
    """Keys along one direction with lengths whose scores are ln 1, ln 2, ln 3, ln 4: weights 1:2:3:4."""
    d = 4
    keys = torch.tensor([1.0, 2.0, 3.0, 4.0]).log()[None, None, :, None] * torch.eye(d)[0]
    queries = torch.eye(d)[0].expand(1, 2, 4, d) * d**0.5  # two heads on one KV head
    vision = torch.tensor([False, True, True, False])
    shares = row_shares(queries, keys, None, torch.tensor([0, 1, 2, 3]), vision)
    expected = [0, 2 / 3, 5 / 6, 5 / 10]
    assert shares.shape == (2, 4)
    assert torch.allclose(shares, torch.tensor(expected, dtype=torch.float64).expand(2, 4), atol=1e-6)
    # A mask may forbid more than the future: here nothing sees token 0.
    allowed = torch.ones(4, 4, dtype=torch.bool).tril()
    allowed[1:, 0] = False
    masked = row_shares(queries, keys, allowed[None, None], torch.tensor([3]), vision)
    assert masked[0, 0] == pytest.approx(5 / 9, abs=1e-6)
    added = torch.zeros(4, 4).masked_fill(~allowed, float("-inf"))[None, None]
    assert torch.allclose(row_shares(queries, keys, added, torch.tensor([3]), vision), masked)


def test_long_prompts_go_in_pieces(reference: ReferenceModel) -> None:
    prompt = mixed_prompt(reference)
    whole = visual_attention(reference, prompt)
    pieces = visual_attention(reference, prompt, 8 * len(prompt.token_ids) * 3)
    assert np.allclose(whole.text, pieces.text, atol=1e-7)
    assert np.allclose(whole.last, pieces.last, atol=1e-7)


def test_even_attention_is_counted(reference: ReferenceModel) -> None:
    prompt = reference.prepare([image(FAMILY, 2, 3), "?"])
    before, block, after = prompt.segments
    assert (type(before), type(block), type(after)) == (Text, Vision, Text)
    measured = visual_attention(reference, prompt)
    seen = [before.n + 6 + i for i in range(1, after.n + 1)]
    assert measured.even_last == pytest.approx(6 / seen[-1])
    assert measured.even_text == pytest.approx(np.mean([6 / n for n in seen]))


def test_text_alone_is_refused(reference: ReferenceModel) -> None:
    with pytest.raises(UserError, match="without image or video"):
        visual_attention(reference, text_prompt([1, 2, 3]))


def test_a_checkpoint_gives_the_geometry(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "mrope", "--model", str(checkpoint), "--format", "json"]) == 0
    geometry = json.loads(capsys.readouterr().out)["geometry"]
    assert geometry == {"head_dim": 32, "num_kv_heads": 4, "rope_theta": 1e5, "rotary_dim": 32}
    assert main(["analyze", "mrope", "--model", str(checkpoint), "--theta", "50", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["geometry"] == {**geometry, "rope_theta": 50}


def test_a_checkpoint_alone_is_analysed_under_its_own_rope(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not under the rows of Table 2; as a run would take it, with the scaling that its config.json asks for."""
    copied = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    config = json.loads((copied / "config.json").read_text())
    stride = {"name": "mrope-i", "temporal_stride": 0.5}
    (copied / "config.json").write_text(json.dumps({**config, "mm_rope": stride}))

    def growth(*argv: str) -> list[tuple[str, float]]:
        assert main(["analyze", *argv, "--section", "growth", "--layout", "video:5x1x1", "--format", "json"]) == 0
        return [(row["variant"], row["advance"]) for row in json.loads(capsys.readouterr().out)["growth"]["rows"]]

    assert growth("--model", str(copied)) == growth("mrope-i", "--model", str(copied), "--set", "temporal_stride=0.5")
    assert growth("--model", f"{copied}=vanilla") == growth("vanilla", "--model", str(copied))
    assert growth("--model", str(copied)) != growth("mrope-i", "--model", str(copied)) != growth()


def test_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(suite_mirror.png(seed), f"How many in {seed}?", "3", "human") for seed in range(3)]
    suite_mirror.chartqa(tmp_path / "lmms-lab-encoder/ChartQA", rows)
    command = ["analyze", "mrope-i", "qwen3-vl", "--model", str(checkpoint), "--tasks", "chartqa", "--limit", "2",
               "--data-root", str(tmp_path)]  # fmt: skip
    assert main([*command, "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    values = {(r["variant"], r["item"], r["quantity"]): float(r["value"]) for r in lines}
    for name in ("mrope-i", "qwen3-vl"):
        layers = [values[name, f"chartqa {layer}", "text"] for layer in (1, 2)]
        assert values[name, "chartqa all", "text"] == pytest.approx(np.mean(layers))
        assert values[name, "chartqa 1", "samples"] == 2
        assert all(0 < share < 1 for share in layers)
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "chartqa, 2 samples" in table
    for which in ("text", "last"):
        assert f"{100 * values['mrope-i', 'chartqa 2', which]:.2f}" in table


def test_a_sample_that_the_processor_cannot_take_is_left_out(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(suite_mirror.png(seed), f"How many in {seed}?{'<|image_pad|>' * (seed == 1)}", "3", "human")
            for seed in range(3)]  # fmt: skip
    suite_mirror.chartqa(tmp_path / "lmms-lab-encoder/ChartQA", rows)
    command = ["analyze", "mrope-i", "--model", str(checkpoint), "--tasks", "chartqa", "--data-root", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr()
    # A picture asked for that is not there; which error that is differs between versions of transformers.
    assert re.search(r"chartqa/1 left out: (StopIteration|\w+Error)", printed.err)
    assert "chartqa, 2 samples" in printed.out

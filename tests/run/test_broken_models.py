"""Models that pass every check of their files and are broken all the same, through the real engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
import torch
from safetensors.torch import load_file, save_file

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.messages import REPEATS, Failure, Response, no_answer
from mmrope_eval.store.store import Outcome, ResponseStore

TASK = "chartqa"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("ck") / "whole", mm_rope="mrope-i")


def changed(whole: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None], **config: Any) -> Path:
    shutil.copytree(whole, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **config}))
    return folder


def overflowing(weights: dict[str, torch.Tensor]) -> None:
    """Finite in every file, too large for float16 once multiplied."""
    for name in weights:
        if "layers.1.mlp.down_proj" in name or "layers.1.mlp.up_proj" in name:
            weights[name] *= 3e3


def mute(weights: dict[str, torch.Tensor]) -> None:
    """All logits equal, so that greedy decoding repeats the first token."""
    weights["model.language_model.norm.weight"].zero_()


def evaluate(models: list[Path], mirror: Path, output: Path, *more: str) -> int:
    named = [str(model) for model in models]
    limits = ["--max-model-len", "1024", "--max-pixels", "50176"]
    return cli.main(["run", "--tasks", TASK, "--data-root", str(mirror), *limits, "--output", str(output), "--model",
                     *named, *more])  # fmt: skip


def causes(folder: Path) -> set[str]:
    return {json.loads(line)["cause"] for line in (folder / "failures.jsonl").read_text().splitlines()}


def test_every_answer_of_a_broken_model_is_a_failure_with_its_cause_and_the_whole_one_is_not_touched(
    whole: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot, dumb = changed(whole, tmp_path / "hot", overflowing), changed(whole, tmp_path / "dumb", mute)
    code = evaluate([hot, dumb, whole], mirror, tmp_path / "out", "--dtype", "float16")
    shown = capsys.readouterr().out
    folders = {json.loads((path / "manifest.json").read_text())["checkpoint"]["named"].rpartition("/")[2]: path
               for path in (tmp_path / "out").iterdir() if path.is_dir()}  # fmt: skip
    assert code == 1
    assert all("logits are not finite" in cause and "bfloat16" in cause for cause in causes(folders["hot"]))
    assert all("repeats token" in cause for cause in causes(folders["dumb"]))
    assert not (folders["whole"] / "failures.jsonl").exists(), "after two broken ones in the same engine"
    assert "0.00*" in shown and "logits are not finite" in shown


def test_a_network_that_vllm_refuses_fails_alone(whole: Path, mirror: Path, tmp_path: Path) -> None:
    models = [changed(whole, tmp_path / name, lambda weights: None, **config) for name, config in
              (("a", {}), ("b", {"vision_config": {**json.loads((whole / "config.json").read_text())["vision_config"],
                                                   "hidden_act": "no such thing"}}), ("c", {}))]  # fmt: skip
    assert evaluate(models, mirror, tmp_path / "out") == 1
    finished = {path.parent.name for path in (tmp_path / "out").glob("*/scores.json")}
    assert finished == {"a", "c"}
    record = json.loads((tmp_path / "out" / "b" / "failed.json").read_text())
    assert "no engine could be started on it" in record["cause"] and "no such thing" in record["cause"]


@pytest.mark.parametrize(
    ("token_ids", "reason", "answer"),
    [
        ((5,) * REPEATS, "length", False),
        ((5,) * 64, "length", False),
        ((5,) * (REPEATS - 1), "length", True),
        ((5,) * 64, "stop", True),
        ((5,) * 63 + (6,), "length", True),
        ((), "length", True),
    ],
)
def test_one_token_to_the_limit_is_no_answer(token_ids: tuple[int, ...], reason: str, answer: bool) -> None:
    assert (no_answer(token_ids, reason) is None) == answer


def test_such_an_answer_that_an_earlier_version_kept_is_a_failure_and_is_not_asked_again(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        store.put_all([Outcome("key", Response("chartqa/0", "!!!!!!!!", (0,) * 8, "length", 3))])
        store.put_all([Outcome("key", Response("chartqa/1", "no", (4, 5), "stop", 3))])
        results = store.get([("key", "chartqa/0"), ("key", "chartqa/1")])
        final = store.known({"chartqa/0": "key"})["chartqa/0"].final
    assert isinstance(results["chartqa/0"], Failure) and final
    assert isinstance(results["chartqa/1"], Response)

"""A small sweep through the command line and the real engine: what was planned is what the model saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.report.sweep.read import load_sweep

SWEEP = """
title: Small
contexts: [320, 480, 4096]
train_context: 320
needle: {depths: [0, 100], questions: 2}
scaling: [none, yarn]
frames: {cells: 2, fps: 4}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Where the sweep lies, and its command line."""
    root = tmp_path_factory.mktemp("sweep")
    checkpoint = build_checkpoint("qwen2.5-vl", root / "tiny")
    (root / "small.yaml").write_text(SWEEP)
    argv = ["sweep", str(root / "small.yaml"), "--model", str(checkpoint), "--variant", "mrope,vanilla",
            "--output", str(root / "out"), "--max-model-len", "2048", "--no-cache"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        assert cli.main(argv) == 0
    return root / "out", argv


def test_the_plan_is_what_the_model_saw(swept: tuple[Path, list[str]]) -> None:
    points = load_sweep(swept[0]).points
    done = points[points["status"] == "done"]
    assert len(done) == 8 and set(done["context"]) == {320, 480} and (done["failed"] == 0).all()
    # The longest prompt fills the budget to the token, and never exceeds the context.
    assert (done["tokens_max"] == done["planned_tokens"]).all()
    assert (done["tokens_max"] <= done["context"]).all() and (done["context"] - done["tokens_max"] < 4).all()
    # By hand: vanilla gives every token a position, MRoPE one to each temporal grid at four frames a second.
    seen = done["max_position"] + 1
    vanilla = done["variant"] == "vanilla"
    assert (seen == done["target_reach"]).all() and (seen[vanilla] == done["tokens_max"][vanilla]).all()
    assert (seen[~vanilla] == (done["text_tokens"] + done["frames"] / 2)[~vanilla]).all()


def test_the_factor_is_the_variant_s_own_growth(swept: tuple[Path, list[str]]) -> None:
    points = load_sweep(swept[0]).points.set_index(["variant", "scaling", "context"])

    def at(variant: str, scaling: str, context: int, column: str) -> float:
        value: Any = points.loc[(variant, scaling, context), column]
        return float(value)

    for variant in ("mrope", "vanilla"):
        short, long = (at(variant, "none", context, "max_position") + 1 for context in (320, 480))
        assert at(variant, "yarn", 480, "factor") == pytest.approx(long / short, abs=1e-6)
        assert at(variant, "none", 480, "factor") == at(variant, "yarn", 320, "factor") == 1
    assert at("vanilla", "yarn", 480, "factor") > at("mrope", "yarn", 480, "factor")


def test_scaling_reaches_the_model(swept: tuple[Path, list[str]]) -> None:
    def answers(scaling: str) -> list[str]:
        lines = (swept[0] / "480/needle" / f"vanilla{scaling}/samples/needle.jsonl").read_text().splitlines()
        return [json.loads(line)["prediction"] for line in lines]

    assert answers("") != answers("--yarn")


def test_what_is_excluded_is_said(swept: tuple[Path, list[str]]) -> None:
    points = load_sweep(swept[0]).points
    assert set(points[points["context"] == 4096]["status"]) == {"excluded"}


def test_again_without_an_engine(
    swept: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vllm.v1.engine.llm_engine.LLMEngine", None)
    before = (swept[0] / "sweep.csv").read_bytes()
    assert cli.main(swept[1]) == 0
    assert (swept[0] / "sweep.csv").read_bytes() == before
    out = capsys.readouterr().out
    assert "Needle, accuracy" in out and "needle.png" in out
    assert cli.main(["sweep", "x", "--report-only", "--output", str(swept[0])]) == 0
    assert capsys.readouterr().out == out


def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["sweep", "demo"]) == 2
    assert "at least one checkpoint with --model" in capsys.readouterr().err
    assert cli.main(["sweep", "demo", "--report-only", "--output", str(tmp_path)]) == 2
    assert "holds no sweep.json" in capsys.readouterr().err

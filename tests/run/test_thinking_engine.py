"""Thoughts through the real engine: what the template opened is in the prompt, in every response and in the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import pytest
from thinking_templates import ASSISTANT, template

from mmrope_eval import cli
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.scorer.all import SCORERS
from mmrope_eval.scorer.answer_part import whole_turn
from mmrope_eval.task.registry import Registry
from mmrope_synth import build_world

TASK, N, LIMIT = "ocrbench", 6, 24
# The demo's checkpoints know no thoughts: they answer where their own token stands last, and end the turn elsewhere.
OPENS = "{%- if add_generation_prompt -%}{{ '<think>' }}<|im_start|>{%- endif -%}"
DECIDES = ("{%- if add_generation_prompt -%}{%- if enable_thinking is defined and not enable_thinking -%}"
           "{{ '<think></think>' }}{%- else -%}{{ '<think>' }}{%- endif -%}<|im_start|>{%- endif -%}")  # fmt: skip
ROWS = {"plain": ASSISTANT, "opens": OPENS, "decides": DECIDES}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    build_world(root, n=N, columns=(TASK,))
    return root


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    folders = {name: copies.copy(copies.TRAINED, root / name) for name in ROWS}
    for name, turn in ROWS.items():
        (folders[name] / "chat_template.jinja").write_text(template(turn))
    return folders


@pytest.fixture(scope="module")
def runs(world: Path, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three as they are, and the one that can be told not to think told so; one engine start each."""
    out = tmp_path_factory.mktemp("runs")
    options = EngineOptions(max_model_len=2048)
    shared: dict[str, Any] = {"tasks": (TASK,), "data_root": world, "options": options, "max_tokens": ((None, LIMIT),)}
    running.run(RunConfig(tuple(map(str, checkpoints.values())), output=out / "own", **shared))
    running.run(RunConfig((str(checkpoints["decides"]),), output=out / "off", thinking="off", **shared))
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples" / f"{TASK}.jsonl").read_text().splitlines()]


def test_every_response_says_how_its_prompt_ended(runs: Path) -> None:
    opened = {name: {row["thought_open"] for row in rows(runs / "own" / name)} for name in ROWS}
    assert opened == {"plain": {False}, "opens": {True}, "decides": {True}}
    assert {row["thought_open"] for row in rows(runs / "off")} == {False}


def test_the_prompts_differ_by_what_the_template_writes(runs: Path) -> None:
    """The tokenizer of the demo writes a token a byte, and <think> so too."""
    tokens = {name: [row["prompt_tokens"] for row in rows(runs / "own" / name)] for name in ROWS}
    off = [row["prompt_tokens"] for row in rows(runs / "off")]
    assert [b - a for a, b in zip(tokens["plain"], tokens["opens"], strict=True)] == [len("<think>")] * N
    assert [b - a for a, b in zip(tokens["plain"], off, strict=True)] == [len("<think></think>")] * N


def test_a_thought_that_was_not_closed_is_unread_in_run_and_rescore(runs: Path) -> None:
    scorer = SCORERS[Registry().tasks[TASK].scorer]
    for name in ("opens", "decides"):
        samples = rows(runs / "own" / name)
        assert [row["parsed"] for row in samples] == [None] * N
        answered = [row for row in samples if row["prediction"].strip()]
        assert len(answered) >= N // 2 and not any("think" in row["prediction"] for row in answered)
        # The same words are an answer where no thought was opened.
        for row in answered:
            assert scorer(whole_turn(row["prediction"], thought_open=False), row["target"]).parsed is not None
    for folder in (runs / "own" / "plain", runs / "off"):
        assert all(row["parsed"] is not None for row in rows(folder))

    before = (runs / "own" / "opens" / "scores.json").read_bytes()
    assert json.loads(before)["tasks"][TASK]["n_unparsed"] == N
    assert cli.main(["rescore", str(runs / "own" / "opens")]) == 0
    assert (runs / "own" / "opens" / "scores.json").read_bytes() == before


def test_the_limit_is_what_the_engine_generated_up_to(runs: Path) -> None:
    samples = [row for name in ROWS for row in rows(runs / "own" / name)]
    cut = [row["generated_tokens"] for row in samples if row["finish_reason"] == "length"]
    assert set(cut) <= {LIMIT} and max(row["generated_tokens"] for row in samples) <= LIMIT


def test_the_record_says_it(runs: Path) -> None:
    told = {name: json.loads((runs / "own" / name / "manifest.json").read_text())["thinking"] for name in ROWS}
    assert {name: (record["asked"], record["told"], record["thought_open"]) for name, record in told.items()} == {
        "plain": (None, None, False), "opens": (None, None, True), "decides": (None, None, True)}
    off = json.loads((runs / "off" / "manifest.json").read_text())
    assert [off["thinking"]["told"], *(off[part]["enable_thinking"] for part in ("context", "family"))] == [False] * 3

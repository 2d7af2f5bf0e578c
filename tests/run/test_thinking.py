"""Thoughts: what a chat template opens, what `--thinking` makes of it, and that a cut-off thought is no answer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import checkpoint_copies as copies
import pytest
import suite_mirror
from right_answers import RIGHT
from suite_fakes import FakeEngine
from thinking_templates import ASSISTANT, PLAIN, template

from mmrope_eval import cli
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.prompt import PromptWriter, thought_open
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure, Generation, Request, Response
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.template import ChatTemplate, heeds, opens_thought
from mmrope_eval.models.thoughts import prompt_opens
from mmrope_eval.run import run as running
from mmrope_eval.run.answer_limits import Thinking, read_thinking
from mmrope_eval.run.config import RunConfig
from mmrope_eval.scorer.all import METRICS, SCORERS
from mmrope_eval.scorer.answer_part import whole_turn
from mmrope_eval.store.file import decode, encode

assert PLAIN.rstrip().endswith(ASSISTANT)


OPENS = "{%- if add_generation_prompt -%}<|im_start|>{{ '<think>\\n' }}{%- endif -%}"
"""As Qwen3-VL's Thinking checkpoints do."""
CLOSES = ("{%- if add_generation_prompt -%}<|im_start|>{%- if enable_thinking is defined and enable_thinking is false "
          "-%}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}{%- endif -%}")
"""As Qwen3's hybrid checkpoints do: they open their thoughts themselves, unless told not to think."""
DECIDES = CLOSES.replace("</think>\\n\\n' }}{%- endif", "</think>\\n\\n' }}{%- else -%}{{ '<think>\\n' }}{%- endif")
"""As Qwen3.5's do."""
ON_DEMAND = "{%- if add_generation_prompt -%}<|im_start|>{{ '<think>' if enable_thinking else '' }}{%- endif -%}"
PREFILLED = "{%- if add_generation_prompt -%}<|im_start|>{{ '<think>\\nOkay, ' }}{%- endif -%}"
ALWAYS = "<|im_start|>{{ '<think>' }}"
"""Whether a generation prompt is asked for or not."""
CLOSED = "{%- if add_generation_prompt -%}<|im_start|>{{ '<think></think>' }}{%- endif -%}"
MENTIONS = "{%- set thinking = enable_thinking -%}" + ASSISTANT

TEMPLATES = {
    "plain": (ASSISTANT, {None: False, True: False, False: False}, set()),
    "opens": (OPENS, {None: True, True: True, False: True}, set()),
    "closes when told": (CLOSES, {None: False, True: False, False: False}, {False}),
    "decides": (DECIDES, {None: True, True: True, False: False}, {False}),
    "on demand": (ON_DEMAND, {None: False, True: True, False: False}, {True}),
    "prefilled": (PREFILLED, {None: True, True: True, False: True}, set()),
    "always": (ALWAYS, {None: True, True: True, False: True}, set()),
    "closed": (CLOSED, {None: False, True: False, False: False}, set()),
    "mentions the name without use": (MENTIONS, {None: False, True: False, False: False}, set()),
}
"""Name -> (beginning of the assistant's turn, what it opens when told so, which values change the prompt)."""


@pytest.mark.parametrize(("turn", "opened", "heeded"), TEMPLATES.values(), ids=TEMPLATES.keys())
def test_what_a_template_opens_is_seen_by_rendering_it(
    turn: str, opened: dict[bool | None, bool], heeded: set[bool]
) -> None:
    chat_template = ChatTemplate(template(turn), "chat_template.jinja")
    assert {told: opens_thought(chat_template, {}, told) for told in (None, True, False)} == opened
    assert {told for told in (True, False) if heeds(chat_template, {}, told)} == heeded


def test_a_template_that_heeds_only_with_a_system_prompt_heeds() -> None:
    turn = "{%- if messages[0].role == 'system' and enable_thinking is defined -%}!{%- endif -%}" + ASSISTANT
    assert heeds(ChatTemplate(template(turn), "x"), {}, True)
    refusing = "{%- if messages[0].role == 'system' -%}{{ raise_exception('no') }}{%- endif -%}" + ON_DEMAND
    assert heeds(ChatTemplate(template(refusing), "x"), {}, True)


PROMPTS = [
    ("What is it?<|im_end|>\n<|im_start|>assistant\n<think>\n", "What is it?", True),
    ("What is it?<|im_end|>\n<|im_start|>assistant\n", "What is it?", False),
    ("What is it?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "What is it?", False),
    ("Write <think> and the answer.<|im_end|>\n<|im_start|>assistant\n", "Write <think> and the answer.", False),
    ("Reason in <think> </think>.<|im_end|><|im_start|>", " Reason in <think> </think>.\n", False),
    ("Do not <think>.<|im_start|>◁think▷", "Do not <think>.", True),
    ("What?[INST][/INST][THINK]", "What?", True),
    ("What is it? assistant: <thinking>", "changed by the template", True),
    ("<|im_start|><think>", "", True),
    ("<|im_start|>", "", False),
]


@pytest.mark.parametrize(("prompt", "question", "opened"), PROMPTS)
def test_what_follows_the_question_decides(prompt: str, question: str, opened: bool) -> None:
    assert prompt_opens(prompt, question) is opened


def thinks(asked: Any, turn: str) -> Thinking:
    checkpoint = SimpleNamespace(template=ChatTemplate(template(turn), "chat_template.jinja"),
                                 vocabulary=SimpleNamespace(special={}), path="CKPT")  # fmt: skip
    return read_thinking(asked, checkpoint)  # type: ignore[arg-type]


NEITHER = "neither opens a thought nor reads enable_thinking"
ASKED = [
    (None, ASSISTANT, Thinking()),
    (None, OPENS, Thinking(thought_open=True)),
    (None, DECIDES, Thinking(thought_open=True)),
    (None, CLOSES, Thinking()),
    ("on", ASSISTANT, NEITHER),
    ("on", MENTIONS, NEITHER),
    ("on", CLOSED, NEITHER),
    ("on", OPENS, Thinking("on", None, thought_open=True, raised=True)),
    ("on", CLOSES, Thinking("on", None, thought_open=False, raised=True)),
    ("on", DECIDES, Thinking("on", None, thought_open=True, raised=True)),
    ("on", ON_DEMAND, Thinking("on", True, thought_open=True, raised=True)),
    ("off", ASSISTANT, Thinking("off")),
    ("off", OPENS, "opens a thought whatever it is told"),
    ("off", CLOSES, Thinking("off", False)),
    ("off", DECIDES, Thinking("off", False)),
    ("off", ON_DEMAND, Thinking("off")),
    ("auto", ASSISTANT, Thinking("auto")),
    ("auto", OPENS, Thinking("auto", None, thought_open=True, raised=True)),
    ("auto", ON_DEMAND, Thinking("auto", True, thought_open=True, raised=True)),
]


@pytest.mark.parametrize(("asked", "turn", "expected"), ASKED)
def test_the_option_asks_of_a_template_what_it_can_do(asked: Any, turn: str, expected: Thinking | str) -> None:
    if isinstance(expected, Thinking):
        assert thinks(asked, turn) == expected
        return
    with pytest.raises(UserError, match=expected) as refused:
        thinks(asked, turn)
    assert "CKPT" in str(refused.value) and "--" in str(refused.value)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's checkpoint with other templates, by their names here."""
    root = tmp_path_factory.mktemp("thinking")
    folders = {}
    for name, turn in (("plain", ASSISTANT), ("opens", OPENS), ("decides", DECIDES), ("demand", ON_DEMAND)):
        folders[name] = copies.copy(copies.TRAINED, root / name)
        (folders[name] / "chat_template.jinja").write_text(template(turn))
    return folders


@pytest.mark.parametrize(("name", "told", "opened"), [
    ("plain", None, False), ("opens", None, True), ("decides", None, True), ("decides", False, False),
    ("demand", None, False), ("demand", True, True),
])  # fmt: skip
def test_a_request_is_written_as_its_template_is_told(
    checkpoints: dict[str, Path], name: str, told: bool | None, opened: bool
) -> None:
    request = Request("q", ("A tag: <think>. What is it?",), Generation(4), None, told)
    text, ids = PromptWriter(read_checkpoint(checkpoints[name])).write(request)
    assert thought_open(text, request) is opened
    assert text.rstrip().endswith("<think>") is opened
    assert len(ids) > 10


# --------------------------------------------------------------------------------------------- what is read of it

CUT = ["Let me see. At first it is {right}. Wait, I should", "{right}", "So: {right}\n\n", "**{right}**", ""]
CLOSED_ANSWERS = ["it is {wrong}?</think>{right}", "</think>\n\n{right}", "{wrong}\n</think>\n\n{right}<|im_end|>"]


def values(scorer: str, form: str, opened: bool) -> tuple[float | None, Any]:
    target, right, wrong = RIGHT[scorer]
    turn = whole_turn(form.format(right=right, wrong=wrong), thought_open=opened)
    score = SCORERS[scorer](turn, target)
    return score.values[METRICS[scorer][0]], score.parsed


@pytest.mark.parametrize("form", CUT)
@pytest.mark.parametrize("scorer", RIGHT)
def test_an_answer_cut_off_inside_a_thought_that_the_template_opened_is_unread(scorer: str, form: str) -> None:
    assert values(scorer, form, opened=True) == (0.0, None)


@pytest.mark.parametrize("form", CLOSED_ANSWERS)
@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("scorer", RIGHT)
def test_what_follows_the_thought_is_read_whoever_opened_it(scorer: str, form: str, opened: bool) -> None:
    assert values(scorer, form, opened)[0] == 1.0


@pytest.mark.parametrize("text", ["Let me see. The answer is A.", "Let me see. The answer is A. I shall look ag"])
def test_without_its_tag_such_a_thought_looks_like_an_answer(text: str) -> None:
    target = {"answer": "A", "options": ["x", "y"]}
    assert SCORERS["choice"](text, target).parsed == "A"
    assert SCORERS["choice"](whole_turn(text, thought_open=True), target).parsed is None


DOC = {"candidates": ["red", "blue"], "answer": "blue", "subset": "state_change"}


@pytest.mark.parametrize(("line", "options", "parsed"), [
    ({}, [], "B"),
    ({"thought_open": True}, [], None),
    ({"thought_open": False}, [], "B"),
    ({}, ["--thought-open"], None),
    ({"thought_open": False}, ["--thought-open"], "B"),
    ({"thought_open": True, "response": "A?</think>B"}, [], "B"),
    ({"response": None}, ["--thought-open"], None),
])  # fmt: skip
def test_responses_from_elsewhere_may_begin_inside_a_thought(
    line: dict[str, Any], options: list[str], parsed: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text(json.dumps({"doc": DOC, "response": "The answer is B.", **line}))
    assert cli.main(["score", "mvbench", str(path), *options]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["parsed"] == parsed
    unread = parsed is None and line.get("response", "") is not None
    assert ("† more than 5 % of the answers are unread and count as wrong: 1 of 1" in printed.err) is unread


def test_a_line_that_says_it_wrongly_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text(json.dumps({"doc": DOC, "response": "B", "thought_open": "yes"}))
    assert cli.main(["score", "mvbench", str(path)]) == 1
    assert "line 1: its `thought_open` is neither true nor false." in capsys.readouterr().err


@pytest.mark.parametrize("opened", [True, False])
def test_the_store_keeps_it_and_older_stores_have_none(opened: bool) -> None:
    response = Response("chartqa/0", "so", (1, 2), "length", 7, thought_open=opened)
    kept = encode(response)
    assert ("thought_open" in json.loads(kept)) is opened
    assert decode("ok", kept) == response


# ----------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=2)


@dataclasses.dataclass
class Thinker(FakeEngine):
    """Opens a thought where its template does, as the real engine says it; half of the thoughts are cut off."""

    def reply(self, request: Request) -> Response | Failure:
        response = super().reply(request)
        template, special = self.checkpoint.template, self.checkpoint.vocabulary.special
        assert isinstance(response, Response)
        text = "It is 0. Wait" if request.id.endswith("/0") else "hm</think>10"
        ASKED_OF[request.id] = request
        return dataclasses.replace(response, text=text, finish_reason="length",
                                   thought_open=opens_thought(template, special, request.enable_thinking))  # fmt: skip


ASKED_OF: dict[str, Request] = {}


def start(checkpoint: Any, variant: Any, options: Any) -> Thinker:
    return Thinker(checkpoint, variant)


def configure(checkpoint: Path, mirror: Path, output: Path, **changes: Any) -> RunConfig:
    settings = {"models": (str(checkpoint),), "tasks": ("chartqa",), "output": output, "data_root": mirror,
                "options": EngineOptions()}
    return RunConfig(**{**settings, **changes})


def parsed(folder: Path) -> list[Any]:
    lines = (folder / "samples" / "chartqa.jsonl").read_text().splitlines()
    return [(row["thought_open"], row["parsed"]) for row in map(json.loads, lines)]


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


RUNS = [
    ("plain", None, 32, None, [(False, "It is 0. Wait"), (False, "10")]),
    ("opens", None, 32, None, [(True, None), (True, "10")]),
    ("opens", "on", 32768, None, [(True, None), (True, "10")]),
    ("decides", "off", 32, False, [(False, "It is 0. Wait"), (False, "10")]),
    ("demand", "on", 32768, True, [(True, None), (True, "10")]),
    ("demand", None, 32, None, [(False, "It is 0. Wait"), (False, "10")]),
    ("plain", "auto", 32, None, [(False, "It is 0. Wait"), (False, "10")]),
]


@pytest.mark.parametrize(("name", "asked", "limit", "told", "read"), RUNS)
def test_a_run_reads_and_records_thoughts_and_rescore_reads_them_alike(
    checkpoints: dict[str, Path], mirror: Path, tmp_path: Path, name: str, asked: Any, limit: int, told: bool | None,
    read: list[Any],
) -> None:
    running.run(configure(checkpoints[name], mirror, tmp_path, thinking=asked), start)
    assert parsed(tmp_path) == read
    request, record = ASKED_OF["chartqa/0"], manifest(tmp_path)
    assert (request.generation.max_tokens, request.enable_thinking) == (limit, told)
    assert record["thinking"] == {"asked": asked, "told": told, "thought_open": read[0][0], "raised": limit > 32,
                                  "max_tokens": []}  # fmt: skip
    assert record["tasks"]["chartqa"]["generation"]["max_tokens"] == limit
    assert record["tasks"]["chartqa"]["own_max_tokens"] == 32
    assert record["context"].get("enable_thinking", "absent") == ("absent" if told is None else told)

    before = (tmp_path / "scores.json").read_bytes()
    assert cli.main(["rescore", str(tmp_path)]) == 0
    assert (tmp_path / "scores.json").read_bytes() == before and parsed(tmp_path) == read


def test_a_run_of_an_earlier_version_is_rescored_as_not_opened(
    checkpoints: dict[str, Path], mirror: Path, tmp_path: Path
) -> None:
    running.run(configure(checkpoints["plain"], mirror, tmp_path), start)
    record = manifest(tmp_path)
    del record["thinking"], record["family"]["enable_thinking"], record["tasks"]["chartqa"]["own_max_tokens"]
    del record["sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    before = (tmp_path / "scores.json").read_bytes()
    assert cli.main(["rescore", str(tmp_path)]) == 0
    assert (tmp_path / "scores.json").read_bytes() == before


def test_kept_answers_are_asked_anew_only_where_the_prompt_or_the_limit_changes(
    checkpoints: dict[str, Path], mirror: Path, tmp_path: Path
) -> None:
    def asked(name: str, **changes: Any) -> int:
        return running.run(configure(checkpoints[name], mirror, tmp_path / name, **changes), start).asked

    assert [asked("plain"), asked("plain", thinking="auto"), asked("plain", thinking="off")] == [2, 0, 0]
    limited = (("chartqa", 32768),)
    assert [asked("decides"), asked("decides", thinking="on"), asked("decides", max_tokens=limited)] == [2, 2, 0]
    (tmp_path / "off").mkdir()  # a folder with scores refuses it; the kept answers alone are not taken for its own
    shutil.copy(tmp_path / "decides" / "responses.sqlite", tmp_path / "off")
    off = configure(checkpoints["decides"], mirror, tmp_path / "off", thinking="off")
    assert [running.run(off, start).asked for _ in range(2)] == [2, 0]


def test_a_template_told_otherwise_asks_otherwise(checkpoints: dict[str, Path], mirror: Path, tmp_path: Path) -> None:
    for told in (None, "off"):
        running.run(configure(checkpoints["decides"], mirror, tmp_path / str(told), thinking=told), start)
    hashes = [json.loads((tmp_path / name / "scores.json").read_text())["tasks"]["chartqa"]["prompt_hash"]
              for name in ("None", "off")]  # fmt: skip
    assert hashes[0] != hashes[1]


def test_a_thinking_checkpoint_without_the_option_is_warned_of_before_it_runs(
    checkpoints: dict[str, Path], mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = "warning: its chat template opens a thought, and answers have 32 tokens"
    warned: dict[tuple[str, tuple[tuple[str, object], ...]], bool] = {}
    for name, changes in (("opens", {}), ("plain", {}), ("decides", {"thinking": "off"}),
                          ("opens", {"thinking": "on"}), ("opens", {"max_tokens": ((None, 4096),)})):  # fmt: skip
        running.run(configure(checkpoints[name], mirror, tmp_path / f"{name}{len(warned)}", **changes), start)
        warned[name, tuple(changes.items())] = warning in capsys.readouterr().err
    assert list(warned.values()) == [True, False, False, False, False]


def test_rows_are_refused_one_by_one(
    checkpoints: dict[str, Path], mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = (str(checkpoints["opens"]), str(checkpoints["plain"]))
    config = configure(checkpoints["opens"], mirror, tmp_path / "on", models=both, thinking="on")
    result = running.run(config, start)
    assert len(result.rows) == len(result.broken) == 1 and NEITHER in next(iter(result.broken.values()))
    auto = dataclasses.replace(config, output=tmp_path / "auto", thinking="auto")
    assert len(running.run(auto, start).rows) == 2
    shutil.rmtree(tmp_path / "on")
    argv = ["run", "--model", str(checkpoints["plain"]), "--tasks", "chartqa", "--data-root", str(mirror), "--output",
            str(tmp_path / "on"), "--thinking"]  # fmt: skip
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("raise the answer limit: --max-tokens 32768")

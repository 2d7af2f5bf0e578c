"""`--max-tokens` and the limits that `--thinking` raises: which task gets which, what is refused, what is recorded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import suite_mirror
from suite_fakes import FakeStart
from two_tasks import POLICY, configure, tasks

from mmrope_eval import cli
from mmrope_eval.cli.command_line import option_names
from mmrope_eval.cli.foreign import FOREIGN as FOREIGN_OPTIONS
from mmrope_eval.cli.foreign import answer
from mmrope_eval.cli.run import configured
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.report.runs import load_run
from mmrope_eval.run import run as running
from mmrope_eval.run.answer_limits import THINKING_TOKENS, Room, Thinking, row_limits
from mmrope_eval.task.by_task import values_by_task
from mmrope_eval.task.registry import Registry

REGISTRY = Registry()
SPECS = REGISTRY.select(["chartqa", "ocrbench", "refcoco_val"])
OWN = {"chartqa": 32, "ocrbench": 128, "refcoco_val": 128}
RUN = ["run", "--model", "CKPT", "--tasks", "chartqa"]

GIVEN = [
    ([], {}),
    (["512"], {"chartqa": 512, "ocrbench": 512, "refcoco_val": 512}),
    (["chartqa:64"], {"chartqa": 64}),
    (["chartqa:64,512"], {"chartqa": 64, "ocrbench": 512, "refcoco_val": 512}),
    (["512, chartqa:64"], {"chartqa": 64, "ocrbench": 512, "refcoco_val": 512}),
    (["512", "256"], {"chartqa": 256, "ocrbench": 256, "refcoco_val": 256}),
    (["grounding:256"], {"refcoco_val": 256}),
    (["refcoco*:256", "mmrope_chartqa:8"], {"refcoco_val": 256, "chartqa": 8}),
    (["chartqa:64,chartqa:65"], {"chartqa": 65}),
]
"""(words after --max-tokens, limits by task)"""


@pytest.mark.parametrize(("words", "expected"), GIVEN)
def test_a_tasks_own_word_goes_before_the_one_for_all(words: list[str], expected: dict[str, int]) -> None:
    args = cli.parse([*RUN, *(part for word in words for part in ("--max-tokens", word))])
    assert {spec.name: spec.generation.max_tokens for spec in SPECS} == OWN
    assert values_by_task("--max-tokens", configured(args).max_tokens, SPECS, REGISTRY) == expected


@pytest.mark.parametrize(("name", "sentence"), [
    ("mmmu", "--max-tokens mmmu:64: 'mmmu' is none of the tasks of this run (chartqa, ocrbench, refcoco_val)."),
    ("chartq", "There is no task or suite 'chartq'; did you mean 'chartqa'?"),
])  # fmt: skip
def test_a_name_that_is_no_task_of_the_run_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        values_by_task("--max-tokens", ((name, 64),), SPECS, REGISTRY)
    assert str(refused.value) == sentence


FOREIGN = {
    "--max_new_tokens": "--max-tokens or --max-new-tokens",
    "--max_new_tokens=64": "--max-tokens or --max-new-tokens",
    "--max_gen_toks": "--max-tokens N",
    "--gen_kwargs": "--temperature F, --max-tokens N",
    "--gen-kwargs": "--temperature F, --max-tokens N",
    "--max_tokens": "--max-tokens",
    "--enable_thinking": "--thinking on and --thinking off",
    "--chat-template-kwargs": "--thinking on and --thinking off",
}


@pytest.mark.parametrize("command", [RUN, ["sweep", "demo"]])
@pytest.mark.parametrize(("word", "advice"), FOREIGN.items())
def test_other_harnesses_names_are_told_ours(
    command: list[str], word: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, word, "64"])
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and len(printed.splitlines()) == 1
    assert f"unknown argument '{word}': " in printed and advice in printed


def test_every_option_of_lmms_eval_is_ours_too_or_is_answered() -> None:
    """Read from its parser's source: importing it starts much else."""
    spec = importlib.util.find_spec("lmms_eval")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).with_name("__main__.py").read_text()
    _, parsers = cli.build_parser()
    ours = re.findall(r"--[a-z][a-z-]*", parsers["run"].format_help())
    theirs = {word.replace("_", "-") for word in re.findall(r'"(--[a-zA-Z_-]+)"', source)}
    assert len(theirs) > 40
    assert sorted(word for word in theirs if word not in ours and not answer(word, ours)) == []


@pytest.mark.parametrize(("argv", "said"), [
    (["run", "--device", "cuda:0"], "CUDA_VISIBLE_DEVICES"), (["run", "--launcher_args", "tp=8"], "no judge model"),
    (["run", "--force_simple"], "in one way"), (["run", "--timezone", "UTC"], "UTC"),
    (["table", "overall", "RUN", "--json"], "it is --format json"), (["steps", "RUN", "--json"], "it is --format json"),
    (["compare", "A", "B", "--format", "json"], "it is --json"), (["list", "--format=json"], "it is --json"),
])  # fmt: skip
def test_the_answer_is_about_what_was_asked(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(argv)
    printed = capsys.readouterr().err
    assert said in printed and "the checkpoint is --model" not in printed


def test_the_name_in_transformers_is_another_spelling() -> None:
    assert cli.parse([*RUN, "--max-new-tokens", "64"]).max_tokens == cli.parse([*RUN, "--max-tokens", "64"]).max_tokens


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_an_answer_names_only_options_that_the_command_has(command: str) -> None:
    parser = cli.build_parser()[1][command]
    for part in cli.COMMANDS[command].parts or (None,):
        options = option_names(parser, part)
        for word in FOREIGN_OPTIONS:
            own_words = re.sub("'[^']*'", "", answer(word, options))
            assert set(re.findall("--[a-z][a-z-]*", own_words)) <= set(options), word
    assert not answer("--resume", option_names(cli.build_parser()[1]["check"]))


def test_a_command_without_the_option_does_not_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check", "RUN", "--against", "B", "--max-new-tokens", "3"])
    assert "--max-tokens" not in capsys.readouterr().err


@pytest.mark.parametrize(("word", "sentence"), [
    ("0", "with commas between, not '0'"), ("64k", "must be a number of tokens, TASK:N, or several of them"),
    (":5", "with commas between, not ':5'"), ("chartqa:", "with commas between, not 'chartqa:'"),
    (",", "the list is empty"),
])  # fmt: skip
def test_a_limit_that_is_no_number_is_refused(word: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([*RUN, "--max-tokens", word])
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("thinking", "given", "most", "expected"), [
    (Thinking(), {}, 99, {}),
    (Thinking(), {"chartqa": 64}, 99, {"chartqa": 64}),
    (Thinking(), {"chartqa": 32}, 99, {}),
    (Thinking(thought_open=True), {}, 99, {}),
    (Thinking("off", False), {}, 99, {}),
    (Thinking("on", raised=True), {}, 4096, {"chartqa": 4096, "ocrbench": 4096, "refcoco_val": 4096}),
    (Thinking("on", raised=True), {"chartqa": 8}, 4096, {"chartqa": 8, "ocrbench": 4096, "refcoco_val": 4096}),
    (Thinking("on", raised=True), {}, 100, {"chartqa": 100}),
])  # fmt: skip
def test_thoughts_raise_limits_and_the_command_line_wins(
    thinking: Thinking, given: dict[str, int], most: int, expected: dict[str, int]
) -> None:
    assert row_limits(thinking, SPECS, given, most) == expected


ON = Thinking("on", raised=True)
ROOM = [
    (Room(128_000, 17_408), {}, ON, THINKING_TOKENS, ""),
    (Room(32_768, 17_408), {}, ON, 15_360, "have 15,360 tokens, not 32,768"),
    (Room(32_768, 17_408), {"chartqa": 512}, Thinking(), None, ""),
    (Room(32_768, 17_408), {"chartqa": 20_000}, Thinking(), None, "leave 12,768 of the context for a prompt"),
    (Room(32_768, 17_408), {"chartqa": 32_704}, Thinking(), None, "leave 64 of the context"),
    (Room(32_768, 17_408), {"chartqa": 32_705}, Thinking(), None, UserError("--max-tokens 32705 for chartqa ")),
    (Room(18_000, 17_408), {}, ON, None, UserError("leaves less than 1024 for thoughts")),
    (Room(18_000, 17_408), {}, Thinking("auto"), None, ""),
    (Room(2_048, 17_408), {}, Thinking(), None, ""),
]


@pytest.mark.parametrize(("room", "given", "thinking", "limit", "expected"), ROOM)
def test_prompts_and_answers_share_the_context(
    room: Room, given: dict[str, int], thinking: Thinking, limit: int | None, expected: str | UserError
) -> None:
    if isinstance(expected, UserError):
        with pytest.raises(UserError, match=str(expected)):
            room.check(thinking, given)
        return
    room.check(thinking, given)
    assert limit is None or room.thinking == limit
    remarks = list(room.remarks(thinking, given))
    assert len(remarks) == bool(expected) and (not expected or expected in remarks[0])


# ----------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=2)


def test_only_the_answers_whose_limit_changes_are_asked_anew(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    def asked(*given: tuple[str | None, int]) -> list[str]:
        start = FakeStart()
        running.run(configure(checkpoint, mirror, tmp_path, max_tokens=given), start)
        return sorted(start.asked)

    charts, boxes = [f"chartqa/{i}" for i in range(2)], [f"refcoco_val/{i}" for i in range(4)]
    assert asked() == charts + boxes
    assert asked(("chartqa", 32)) == []
    assert asked(("chartqa", 64)) == charts
    assert asked((None, 64)) == boxes
    assert asked((None, 64)) == asked() == []


def test_a_limit_is_in_the_record_and_changes_no_hash_of_data_and_prompts(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    for name, given in (("own", ()), ("more", (("chartqa", 64),))):
        running.run(configure(checkpoint, mirror, tmp_path / name, max_tokens=given), FakeStart())
    plain, more = tasks(tmp_path / "own"), tasks(tmp_path / "more")
    assert [record["chartqa"]["generation"]["max_tokens"] for record in (plain, more)] == [32, 64]
    assert [record["chartqa"]["own_max_tokens"] for record in (plain, more)] == [32, 32]
    assert more["refcoco_val"] == plain["refcoco_val"]
    for key in ("data_fingerprint", "prompt_hash"):
        assert plain["chartqa"][key] == more["chartqa"][key]
    scores = load_run(tmp_path / "more").scores.set_index("task")
    assert scores[["max_tokens", "own_max_tokens"]].values.tolist() == [[64, 32], [128, 128]]


def test_rescore_finds_the_answers_under_their_limit(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    running.run(configure(checkpoint, mirror, tmp_path, max_tokens=((None, 77),)), FakeStart())
    before = [(tmp_path / name).read_bytes() for name in ("scores.json", "samples/chartqa.jsonl")]
    record = tasks(tmp_path)
    assert cli.main(["rescore", str(tmp_path)]) == 0
    assert [(tmp_path / name).read_bytes() for name in ("scores.json", "samples/chartqa.jsonl")] == before
    assert tasks(tmp_path) == record


def test_a_limit_without_room_is_one_sentence_before_an_engine_starts(
    checkpoint: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["run", "--model", str(checkpoint), "--tasks", "chartqa", "--data-root", str(mirror), "--output",
            str(tmp_path / "out"), "--max-tokens", "4000", "--max-model-len", "4000"]  # fmt: skip
    assert cli.main(argv) == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed == ["mmrope-eval: error: --max-tokens 4000 for chartqa leaves no room for a prompt in the context "
                       "of 4000 tokens (max_model_len): lower it, or raise --max-model-len"]
    assert not (tmp_path / "out").exists()


def test_little_room_is_said_and_the_run_goes_on(
    checkpoint: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = EngineOptions(policy=POLICY, max_model_len=2048)
    running.run(configure(checkpoint, mirror, tmp_path, max_tokens=((None, 1900),), options=options), FakeStart())
    assert "answers of up to 1,900 tokens leave 148 of the context for a prompt" in capsys.readouterr().err

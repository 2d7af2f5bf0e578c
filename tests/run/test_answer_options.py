"""`--temperature` and its like: who is asked otherwise than the tasks say, what is recorded, what is asked again."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from suite_fakes import FakeStart
from two_tasks import BOXES, CHARTS, TASKS, configure, tasks

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.cli.run import configured
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Generation
from mmrope_eval.record.comparable import differing
from mmrope_eval.report.runs import load_run
from mmrope_eval.run import run as running
from mmrope_eval.run.config import read_system
from mmrope_eval.task.by_task import read_limits, values_by_task
from mmrope_eval.task.parts import LazyDocs
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.sample import Sample

REGISTRY = Registry()
RUN = ["run", "--model", "CKPT", "--tasks", "chartqa"]

@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=2)


# --------------------------------------------------------------------------------------------------- temperature


@pytest.mark.parametrize(("words", "expected"), [([], None), (["0"], 0.0), (["0.7"], 0.7), (["1", "0.2"], 0.2)])
def test_a_temperature_is_a_number_and_the_last_one_counts(words: list[str], expected: float | None) -> None:
    args = cli.parse([*RUN, *(part for word in words for part in ("--temperature", word))])
    assert configured(args).temperature == expected


@pytest.mark.parametrize(("word", "rule"), [
    ("-1", "at least 0, not -1"), ("warm", "a number, not 'warm'"), ("nan", "a finite number, not nan"),
    ("inf", "a finite number, not inf"), ("", "a number, not ''"),
])  # fmt: skip
def test_what_is_no_temperature_is_refused(word: str, rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.parse([*RUN, "--temperature", word])
    assert stopped.value.code == 2
    assert f"argument --temperature: must be {rule}" in capsys.readouterr().err


@pytest.mark.parametrize(("declared", "asked", "seed", "now"), [
    (Generation(8), 0.7, 3, Generation(8, 0.7, seed=3)),
    (Generation(8), 0.0, 3, Generation(8)),
    (Generation(8, 0.5, seed=3), 0.0, 3, Generation(8)),
    (Generation(8, 0.5, seed=3), 0.7, 3, Generation(8, 0.7, seed=3)),
])  # fmt: skip
def test_a_plan_at_another_temperature_asks_the_same_questions(
    declared: Generation, asked: float, seed: int, now: Generation
) -> None:
    sample = Sample("chartqa/0", "chartqa", 0, "How many?", None, (), declared, {})
    plan = TaskPlan(REGISTRY.tasks["chartqa"], REGISTRY.family("qwen2.5-vl"), (sample,),
                    LazyDocs(lambda: pytest.fail("no rows are needed")))
    heated = plan.heated(asked, seed)
    assert [question.generation for question in heated.samples] == [now]
    assert (heated.fingerprint(), heated.prompt_hash()) == (plan.fingerprint(), plan.prompt_hash())
    assert (heated is plan) == (declared == now)
    again = heated.heated(declared.temperature, seed)
    assert again.samples == plan.samples and again.task_generation is None
    limited = heated.limited(9)
    assert limited.samples[0].generation.max_tokens == 9 and limited.fingerprint() == plan.fingerprint()


def test_another_temperature_and_another_seed_of_it_are_asked_anew(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    def asked(temperature: float | None, seed: int = 0) -> list[str]:
        start = FakeStart()
        running.run(configure(checkpoint, mirror, tmp_path, temperature=temperature, seed=seed), start)
        return sorted(start.asked)

    assert asked(None) == CHARTS + BOXES
    assert asked(0.0) == asked(0.0, seed=5) == []
    assert asked(0.7) == CHARTS + BOXES
    assert asked(0.7, seed=1) == CHARTS + BOXES
    assert asked(0.7) == asked(None) == []


def by_name(row: Any) -> dict[str, Any]:
    """A row of a frame by the names of its columns."""
    value_by_column: dict[str, Any] = row.to_dict()
    return value_by_column


def test_a_temperature_is_in_both_records_and_rescoring_finds_its_answers(
    checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    for name, temperature in (("own", None), ("hot", 0.7)):
        running.run(configure(checkpoint, mirror, tmp_path / name, temperature=temperature, seed=4), FakeStart())
    plain, hot = tasks(tmp_path / "own"), tasks(tmp_path / "hot")
    assert [record["chartqa"]["generation"]["temperature"] for record in (plain, hot)] == [0.0, 0.7]
    assert [record["chartqa"]["own_temperature"] for record in (plain, hot)] == [0.0, 0.0]
    assert plain["chartqa"]["data_fingerprint"] == hot["chartqa"]["data_fingerprint"]
    recorded = [tasks(tmp_path / name, "scores.json")["chartqa"] for name in ("own", "hot")]
    assert [entry.get("temperature") for entry in recorded] == [None, 0.7]
    frames = [load_run(tmp_path / name).scores.set_index("task") for name in ("own", "hot")]
    cold, warm = (by_name(frame.loc["chartqa"]) for frame in frames)
    assert (warm["temperature"], warm["own_temperature"]) == (0.7, 0.0)
    assert differing([cold, warm]) == ("decoding",)
    before = [(tmp_path / "hot" / name).read_bytes() for name in ("scores.json", "samples/chartqa.jsonl")]
    assert cli.main(["rescore", str(tmp_path / "hot")]) == 0
    assert [(tmp_path / "hot" / name).read_bytes() for name in ("scores.json", "samples/chartqa.jsonl")] == before


def test_tables_and_protocols_say_that_answers_were_drawn(
    checkpoint: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.run(configure(checkpoint, mirror, tmp_path, temperature=0.7), FakeStart())
    assert cli.main(["table", "2", str(tmp_path), "--all", "--protocol", "paper"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "drawn (0: greedily), other than the task's own: 0.7 instead of 0 (ChartQA; RefCOCO val)" in shown
    assert "sampling (temperature 0.7) instead of greedy decoding" in shown


# --------------------------------------------------------------------------------------------------- system prompt


def test_a_system_prompt_is_words_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "terse.txt").write_text("Answer in one word.\n")
    (tmp_path / "two.txt").write_text("One word.\n\n")
    cases = {"terse.txt": "Answer in one word.", str(tmp_path / "terse.txt"): "Answer in one word.", "": "",
             "You are terse.": "You are terse.", "/no_think please": "/no_think please", "a\nb": "a\nb",
             "x" * 300: "x" * 300, "\0": "\0"}  # fmt: skip
    assert {word: read_system(word) for word in cases} == cases
    assert read_system("two.txt") == "One word.\n"
    assert read_system(None) is None


@pytest.mark.parametrize("word", ["terze.txt", "./terse", "/no/such/file", "~/prompt.md"])
def test_a_file_that_is_not_there_is_no_system_prompt(word: str) -> None:
    with pytest.raises(UserError, match=f"--system {re.escape(word)}: there is no such file; name a"):
        read_system(word)


def test_a_file_that_is_no_text_is_no_system_prompt(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"cannot be read as text .*: save it as UTF-8"):
        read_system(str(tmp_path / "it.txt"))


def test_another_system_prompt_is_asked_anew_and_recorded(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    def asked(system: str | None, name: str) -> list[str]:
        start = FakeStart()
        running.run(configure(checkpoint, mirror, tmp_path / name, system=system, tasks=("chartqa",)), start)
        return sorted(start.asked)

    assert asked(None, "own") == asked("Be terse.", "terse") == asked("", "empty") == CHARTS
    assert asked(None, "own") == asked("Be terse.", "terse") == []
    with pytest.raises(UserError, match=r"system is Be brief\., was Be terse\.\): choose another --output"):
        asked("Be brief.", "terse")
    records = [json.loads((tmp_path / name / "scores.json").read_text()) for name in ("own", "terse", "empty")]
    assert [record.get("system") for record in records] == [None, "Be terse.", ""]
    manifest = json.loads((tmp_path / "terse" / "manifest.json").read_text())
    assert manifest["family"]["system"] == "Be terse."
    plain, terse = (by_name(load_run(tmp_path / name).scores.loc[0]) for name in ("own", "terse"))
    assert "prompts" in differing([plain, terse])


def test_a_system_prompt_departs_from_every_protocol(
    checkpoint: Path, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.run(configure(checkpoint, mirror, tmp_path, system="Be terse."), FakeStart())
    assert cli.main(["table", "2", str(tmp_path), "--all", "--protocol", "paper"]) == 0
    assert "a system prompt of its own" in " ".join(capsys.readouterr().out.split())


DEAF = (
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif c.type == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}<|im_start|>assistant\n"
)
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + DEAF


@pytest.mark.parametrize("template", [DEAF, REFUSING], ids=["deaf", "refusing"])
def test_a_template_without_a_system_role_is_one_sentence(
    template: str, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deaf = build_checkpoint("qwen2.5-vl", tmp_path / "deaf")
    (deaf / "chat_template.jinja").write_text(template)
    argv = ["run", "--model", str(deaf), "--tasks", "chartqa", "--data-root", str(mirror), "--output",
            str(tmp_path / "out"), "--system", "Be terse."]  # fmt: skip
    assert cli.main(argv) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert f"checkpoint '{deaf}': its chat template (chat_template.jinja) does not write a system prompt" in printed[0]
    assert not (tmp_path / "out").exists()
    running.run(configure(deaf, mirror, tmp_path / "out"), FakeStart())  # without one it is asked as ever


# ---------------------------------------------------------------------------------------------- limits of some tasks

SPECS = REGISTRY.select(["chartqa", "ocrbench", "refcoco_val"])
LIMITS = [
    ([], {}),
    (["200"], {"chartqa": "200", "ocrbench": "200", "refcoco_val": "200"}),
    (["chartqa:50"], {"chartqa": "50"}),
    (["200,chartqa:50"], {"chartqa": "50", "ocrbench": "200", "refcoco_val": "200"}),
    (["chartqa:50", "first:9"], {"chartqa": "50", "ocrbench": "first:9", "refcoco_val": "first:9"}),
    (["chartqa:first:3"], {"chartqa": "first:3"}),
    (["grounding:7, mmrope_ocrbench : 8"], {"ocrbench": "8", "refcoco_val": "7"}),
    (["refcoco*:7,refcoco_val:8"], {"refcoco_val": "8"}),
    (["5,6"], {"chartqa": "6", "ocrbench": "6", "refcoco_val": "6"}),
]
"""(words after --limit, limits by task)"""


@pytest.mark.parametrize(("words", "expected"), LIMITS)
def test_limits_are_given_as_answer_limits_are(words: list[str], expected: dict[str, str]) -> None:
    args = cli.parse([*RUN, *(part for word in words for part in ("--limit", word))])
    config = configured(args)
    limit_by_task = values_by_task("--limit", [(None, config.limit), *config.limits], SPECS, REGISTRY)
    assert {name: str(limit) for name, limit in limit_by_task.items() if limit is not None} == expected


@pytest.mark.parametrize(("word", "sentence"), [
    ("0", "--limit 0: give a number of samples, as 200, or first:200 for the first 200 rows."),
    ("chartqa:some", "--limit chartqa:some: give a number of samples"),
    ("chartqa:", "--limit chartqa:: give a number of samples"),
    ("chartqa:first:0", "--limit chartqa:first:0: give a number of samples"),
    (":5", "--limit :5: name a task before the colon, as in chartqa:50"),
])  # fmt: skip
def test_what_is_no_limit_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}"):
        read_limits([word])


def test_a_limit_for_no_task_of_the_run_is_refused(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    config = configure(checkpoint, mirror, tmp_path / "out", limits=(("mmmu", Limit(5)),))
    with pytest.raises(UserError, match=r"^--limit mmmu:5: 'mmmu' is none of the tasks of this run \(chartqa, refcoco"):
        running.run(config, FakeStart())
    assert not (tmp_path / "out").exists()


def test_every_task_is_asked_and_recorded_with_its_own_limit(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    start = FakeStart()
    limits = (("image", Limit(1)),)
    running.run(configure(checkpoint, mirror, tmp_path, limit=Limit(3, "first"), limits=limits), start)
    asked = sorted(start.asked)
    assert [len([sample_id for sample_id in asked if sample_id.startswith(task)]) for task in TASKS] == [1, 3]
    assert {name: task["limit"] for name, task in tasks(tmp_path).items()} == {"chartqa": "1", "refcoco_val": "first:3"}
    before = (tmp_path / "scores.json").read_bytes()
    assert cli.main(["rescore", str(tmp_path)]) == 0
    assert (tmp_path / "scores.json").read_bytes() == before
    more = FakeStart()
    running.run(configure(checkpoint, mirror, tmp_path, limit=Limit(3, "first")), more)
    assert sorted(more.asked) == sorted({*CHARTS} - {*asked})


def test_fewer_of_one_task_do_not_replace_its_score(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    running.run(configure(checkpoint, mirror, tmp_path), FakeStart())
    with pytest.raises(UserError, match="holds chartqa over 2 samples; --limit chartqa:1 would replace that score"):
        running.run(configure(checkpoint, mirror, tmp_path, limits=(("chartqa", Limit(1)),)), FakeStart())


# ------------------------------------------------------------------------------------------------------------ seeds


@pytest.mark.parametrize(("word", "expected"), [("3", (3,)), ("0,1,2", (0, 1, 2)), ("-1", (-1,)), ("4, 5", (4, 5))])
def test_seeds_are_whole_numbers(word: str, expected: tuple[int, ...]) -> None:
    config = configured(cli.parse([*RUN, "--seed", word]))
    assert config.seeds == expected and config.seed == config.options.seed == expected[0]


@pytest.mark.parametrize(("word", "sentence"), [
    ("some", "must be a whole number, or several with commas between, not 'some'"), ("1,,x", "between, not '1,,x'"),
    (",", "is empty: it takes at least one entry"), (str(2**64), f"does not fit into 64 bits: {2**64}"),
])  # fmt: skip
def test_what_is_no_seed_is_refused(word: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse([*RUN, "--seed", word])
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("changes", "sentence"), [
    ({}, r"--seed 0,1: chartqa, refcoco_val would have the same answers under every seed, as nothing is drawn"),
    ({"temperature": 0.0}, "as nothing is drawn at temperature 0: give --temperature F, or one seed"),
    ({"temperature": 0.7, "seeds": (0, 1, 0)}, "--seed 0,1,0: 0 stands twice"),
])  # fmt: skip
def test_seeds_that_change_nothing_are_refused(
    changes: dict[str, Any], sentence: str, checkpoint: Path, mirror: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        running.run(configure(checkpoint, mirror, tmp_path / "out", **{"seeds": (0, 1), **changes}), FakeStart())
    assert not (tmp_path / "out").exists()


def test_every_seed_has_a_row_that_says_it(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    def asked(**changes: Any) -> tuple[running.RunResult, int]:
        start = FakeStart()
        config = configure(checkpoint, mirror, tmp_path, temperature=0.7, tasks=("chartqa",), **changes)
        return running.run(config, start), len(start.asked)

    result, count = asked(seeds=(3, 4))
    assert count == 2 * len(CHARTS) and result.asked == count
    assert list(result.rows) == ["mrope--seed-3", "mrope--seed-4"]
    assert [path.relative_to(tmp_path).as_posix() for path in result.folders.values()] == [
        "seed-3/mrope--seed-3", "seed-4/mrope--seed-4"]  # fmt: skip
    for label, folder in result.folders.items():
        assert json.loads((folder / "scores.json").read_text())["label"] == label
        assert tasks(folder)["chartqa"]["seed"] == int(label[-1])
    assert asked(seeds=(3, 4))[1] == 0 and asked(seeds=(4, 5))[1] == len(CHARTS)
    assert len(load_run(tmp_path).cells) == 3
    with pytest.raises(UserError, match=r"holds rows of several seeds \(seed-3, seed-4, seed-5\), beside which"):
        asked()


def test_rows_of_several_seeds_do_not_lie_beside_one_of_one(checkpoint: Path, mirror: Path, tmp_path: Path) -> None:
    config = configure(checkpoint, mirror, tmp_path, temperature=0.7, tasks=("chartqa",))
    running.run(config, FakeStart())
    with pytest.raises(UserError, match="holds a row of one seed, beside which those of several cannot lie: choose"):
        running.run(dataclasses.replace(config, seeds=(0, 1)), FakeStart())


def test_a_sweep_has_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "demo", "--model", "CKPT", "--seed", "0,1"]) == 2
    assert "sweep: --seed 0,1: a sweep has one seed; start it for each" in capsys.readouterr().err

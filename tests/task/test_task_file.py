"""A task file: what it may say, what may be left out, and one sentence for everything that is wrong with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.errors import UserError
from mmrope_eval.messages import Generation
from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer.all import METRICS, SCORERS, TARGETS
from mmrope_eval.task.dataset import lmms_config
from mmrope_eval.task.file import read_task, templates
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.spec import Counterpart
from mmrope_eval.task.yaml_text import Function, read_yaml

GOOD = """
task: mmrope_new
dataset_path: someone/new
test_split: test
generation_kwargs: {max_new_tokens: 8}
lmms_eval_specific_kwargs: {default: {media: {image: picture}, prompt: "{{ q }}"}}
model_specific_target_kwargs: {default: {scorer: relaxed, question: q, target: {answer: a}}}
metric_list: [{metric: !function mmrope_eval.lmms.metrics.relaxed}]
metadata: {version: 1, column: New, category: image}
"""
FAMILY = Registry().family("qwen2.5-vl")


def write(folder: Path, text: str, name: str = "new.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def refusal(path: Path) -> str:
    """The one sentence on a file, without the file's name, which it must have."""
    with pytest.raises(UserError) as caught:
        read_task(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(path) in sentence
    return sentence.replace(str(path), "FILE")


def test_a_new_benchmark_is_a_yaml_file(tmp_path: Path) -> None:
    spec = read_task(write(tmp_path, GOOD))
    assert (spec.name, spec.dataset, spec.split) == ("new", "someone/new", "test")
    assert (spec.metrics, spec.media, spec.prompts) == (("relaxed",), {"image": "picture"}, {"default": "{{ q }}"})
    assert (spec.average, spec.stock, spec.suites, spec.version) == ("micro", None, (), 1)
    assert spec.generation == Generation(max_tokens=8)


LEFT_OUT = """
dataset_path: someone/new
validation_split: val
generation_kwargs: {max_new_tokens: 8, temperature: 0.5, until: "."}
lmms_eval_specific_kwargs: {default: {media: {}, prompt: "{{ q }}"}}
model_specific_target_kwargs: {default: {scorer: choice, target: {answer: a, options: 4}}}
metadata: {column: New, category: text, stock: mmstar, suites: mine}
"""


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """The name is the file's, the metric the scorer's main one, and lmms-eval gets the usual functions."""
    spec = read_task(write(tmp_path, LEFT_OUT, "colour_words.yaml"))
    assert (spec.name, spec.split, spec.metrics) == ("colour_words", "val", ("accuracy",))
    assert (spec.media, spec.question, spec.target) == ({}, None, {"answer": "a", "options": "4"})
    assert (spec.stock, spec.suites) == (Counterpart(task="mmstar"), ("mine",))
    assert spec.generation == Generation(max_tokens=8, temperature=0.5, stop=(".",))
    config, shipped = (lmms_config(task, FAMILY, (), None) for task in (spec, Registry().tasks["mmstar"]))
    for key in ("output_type", "process_docs", "doc_to_visual", "doc_to_text", "doc_to_target", "metric_list"):
        assert config[key] == shipped[key], key
    assert config["task"] == "mmrope_colour_words"


@pytest.mark.parametrize("declared", ["mmrope_new", "new"])
def test_lmms_evals_prefix_need_not_be_typed(declared: str, tmp_path: Path) -> None:
    spec = read_task(write(tmp_path, GOOD.replace("task: mmrope_new", f"task: {declared}")))
    assert (spec.name, lmms_config(spec, FAMILY, (), None)["task"]) == ("new", "mmrope_new")


TARGET, MEDIA = "model_specific_target_kwargs.default.target", "lmms_eval_specific_kwargs.default.media"
SUBSETS = "!function mmrope_eval.lmms.subsets.SubsetTask"
FAULTS: list[tuple[str, str, str]] = [
    # Keys that are missing.
    ("dataset_path: someone/new\n", "", "key 'dataset_path' is missing: the data set's name on the hub, or a folder."),
    ("{max_new_tokens: 8}", "{}", "key 'generation_kwargs.max_new_tokens' is missing: the longest answer, in tokens."),
    ("column: New, ", "", "key 'metadata.column' is missing: what tables call the benchmark."),
    ("scorer: relaxed, ", "", "key 'model_specific_target_kwargs.default.scorer' is missing: what reads the answers."),
    ("test_split: test", "", "'test_split' is missing: the split that is asked (or 'validation_split')."),
    ("default: {media", "qwen3-vl: {media", "'lmms_eval_specific_kwargs' has no 'default': "),
    ("media: {image: picture}, ", "", "'lmms_eval_specific_kwargs.default' has no 'media': {image: FIELD}, "),
    # Keys that nothing reads.
    ("test_split: test", "test_splt: test", "unknown key 'test_splt', did you mean 'test_split'?"),
    ("category: image", "categry: image", "unknown key 'metadata.categry', did you mean 'category'?"),
    ("category: image", "category: image, license: MIT", "unknown key 'metadata.license', did you mean "
                                                         "'licence'?"),
    ("category: image", "category: image, expected: {sample: 3}",
     "unknown key 'metadata.expected.sample', did you mean 'samples'?"),
    ("image: picture", "imge: picture", f"unknown key '{MEDIA}.imge', did you mean 'image'?"),
    ("image: picture", "sound: picture",
     f"unknown key '{MEDIA}.sound', the keys are image, images, "),
    ("question: q", "questn: q", "unknown key 'model_specific_target_kwargs.default.questn', did you mean "
                                 "'question'?"),
    ('prompt: "{{ q }}"', 'prompt: "{{ q }}", pre_prompt: x',
     "unknown key 'lmms_eval_specific_kwargs.default.pre_prompt', did you mean 'prompt'?"),
    ("max_new_tokens: 8", "max_new_tokens: 8, top_p: 0.9", "unknown key 'generation_kwargs.top_p', the keys are "),
    ("task: mmrope_new", "task: mmrope_new\nnum_fewshot: 2",
     "'num_fewshot' is a key of lmms-eval that is not obeyed here, for every question is asked by itself; leave it "),
    ("task: mmrope_new", "task: mmrope_new\ndescription: Answer.",
     "not obeyed here, for the wording is `prompt`, whole;"),
    ("task: mmrope_new", "task: mmrope_new\ndataset_kwargs: {data_files: x.json}",
     "unknown key 'dataset_kwargs.data_files', the keys are "),
    ("{answer: a}", "{answer: a, optoins: o}",
     f"'{TARGET}.optoins' is not read by scorer 'relaxed'; it reads answer, group."),
    ("{answer: a}", "{anwser: a}", f"'{TARGET}.anwser' is not read by scorer 'relaxed'; did you mean 'answer'?"),
    ("{answer: a}", "{group: a}", f"'{TARGET}' has no 'answer', which scorer 'relaxed' reads."),
    ("image: picture}", "image: picture, folders: [x]}", f"'{MEDIA}' has 'folders', which is only read with 'video'."),
    ("image: picture", "image: a, video: b",
     f"'{MEDIA}' must have one of image, images and video, not image and video."),
    ("image: picture", "video: a, start: s",
     f"'{MEDIA}' needs both 'start' and 'end' of a span, in seconds, or neither."),
    ("image: picture", "images: a, placeholder: <image>", f"'{MEDIA}' needs '{{}}' in 'placeholder', "),
    ('prompt: "{{ q }}"}}', 'prompt: "{{ q }}"}, qwen3-vl: {prompt: x, media: {image: other}}}',
     "'lmms_eval_specific_kwargs.qwen3-vl.media' is not read: all families are shown the default's."),
    # Names that there are not.
    ("scorer: relaxed", "scorer: relaxd", "There is no scorer 'relaxd'; did you mean 'relaxed'?"),
    ("metrics.relaxed}", "metrics.relaxt}", "There is no metric of scorer 'relaxed' called 'relaxt'; did you mean "),
    ("version: 1", "average: macro_", "'metadata.average': There is no average 'macro_'; did you mean 'macro'?"),
    ("version: 1", "average: macro",
     f"'metadata.average: macro' needs groups to average over: '{TARGET}' has no 'group'."),
    ("version: 1", "stock: chart_qa",
     "'metadata.stock': There is no lmms-eval task called here 'chart_qa'; did you mean "
                                      "'chartqa'?"),
    ("version: 1", "subsets: {a: .}", f"'metadata.subsets' needs 'class: {SUBSETS}', which joins them."),
    ("task: mmrope_new", f"class: {SUBSETS}",
     "'class' joins configurations of a data set, and 'metadata.subsets' does not "),
    # Values of the wrong type.
    ("task: mmrope_new", "task: 3", "'task' must be text, not 3: put it in quotes."),
    ("task: mmrope_new", "task: a/b", "'task: a/b' cannot name a task: "),
    ("max_new_tokens: 8", "max_new_tokens: many",
     "'generation_kwargs.max_new_tokens' must be a whole number, not 'many'."),
    ("max_new_tokens: 8", "max_new_tokens: 0", "'generation_kwargs.max_new_tokens' must be at least 1, not 0."),
    ("version: 1", "chance: 120", "'metadata.chance' must be at most 100, not 120."),
    ("{answer: a}", "[a]", f"'{TARGET}' must be a mapping, not ['a']."),
    ("{answer: a}", "{answer: [a]}", f"'{TARGET}.answer' must be text, not ['a']."),
    ("image: picture", "image: 3", f"'{MEDIA}.image' must be text or a list of texts, not 3."),
    ("{image: picture}", "picture", f"'{MEDIA}' must be a mapping, not 'picture'."),
    ("category: image", "category: ''", "'metadata.category' is empty: it takes text."),
    ("task: mmrope_new", "output_type: loglikelihood", "'output_type' must be 'generate_until', not 'loglikelihood'."),
    ("task: mmrope_new", "process_docs: encoded",
     "'process_docs' must be a Python function, '!function module.name', not "
                                                  "'encoded'."),
    ("task: mmrope_new", "doc_to_text: !function utils.text",
     "'doc_to_text' must be !function mmrope_eval.task.lmms_hooks.doc_to_text, or be left out: `prompt` is the "),
    ("metrics.relaxed}", "metrics.relaxed, aggregation: median}",
     "metric_list, entry 1: 'aggregation' must be mean, not 'median': other averages are 'metadata.average'."),
    ("metrics.relaxed}", "metrics.relaxed, higher_is_better: false}",
     "metric_list, entry 1: 'higher_is_better' must be True, not False."),
    # What Jinja cannot read.
    ("{{ q }}", "{{ q | leterd }}",
     "'lmms_eval_specific_kwargs.default.prompt': There is no filter called 'leterd'; did you "
                                    "mean 'lettered'?"),
    ("{{ q }}", "{% if q is defind %}x{% endif %}",
     ".prompt': There is no test called 'defind'; did you mean 'defined'?"),
    ("{{ q }}", "{{ q }", "'lmms_eval_specific_kwargs.default.prompt': Jinja cannot read it: unexpected '}'."),
    ("{{ q }}", "a\\n{% if q %}", ".prompt': Jinja cannot read it in line 2: Unexpected end of template. "),
    ("{{ q }}", "{% include 'x' %}", ".prompt': a template stands alone here, without include, extends and import."),
    ("{answer: a}", "{answer: a | lettred}", f"'{TARGET}.answer': There is no filter called 'lettred'; did you mean "
                                             "'lettered'?"),
    ("{answer: a}", "{answer: 'a b'}", f"'{TARGET}.answer': Jinja cannot read it: chunk after expression."),
    ("image: picture", "video: '{{ v | uper }}.mp4'",
     f"'{MEDIA}.video': There is no filter called 'uper'; did you mean "),
    # What YAML cannot read, or would read in silence.
    ("task: mmrope_new", "task: [", "FILE cannot be read as YAML: "),
    ("task: mmrope_new", "task: mmrope_new\ntest_split: train",
     "FILE cannot be read as YAML: the key 'test_split' stands "
                                                                "twice in line 5."),
    ("task: mmrope_new", "include: _choic.yaml",
     "'include: _choic.yaml' is neither beside this file nor among the shipped "
                                                 "ones; did you mean '_choice.yaml'?"),
    ("task: mmrope_new", "include: my/own.yml", "; those that are shipped are _choice.yaml, _common.yaml, "),
    ("task: mmrope_new", "include: {a: b}", "FILE: 'include' must be a file's name or a list of them, not {'a': 'b'}."),
    ("task: mmrope_new", "include: new.yaml", "'include: new.yaml' comes back to a file that includes it."),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), FAULTS, ids=[new[:40] or old[:40] for old, new, _ in FAULTS])
def test_a_wrong_task_file_is_named_with_its_fault(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in refusal(write(tmp_path, GOOD.replace(old, new, 1)))


@pytest.mark.parametrize(("text", "message"), [
    ("", "FILE must hold a YAML mapping"), ("- a\n- b\n", "FILE must hold a YAML mapping"),
    ("title: A table\nrows: [hope]\ncolumns: [ChartQA]\n", "it is none, for it has no 'dataset_path'"),
    ("position: {layout: grid}\n", "it is none, for it has no 'dataset_path'"),
])
def test_another_kind_of_file(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(write(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_bytes(b"task: \xff\xfe")
    assert "FILE cannot be read as YAML" in refusal(tmp_path / "new.yaml")
    assert "FILE cannot be read as YAML: No such file or directory." in refusal(tmp_path / "gone.yaml")


KEYS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 200) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5,
)


@given(data=st.data())
def test_any_value_anywhere_is_accepted_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever stands at a key, reading the file ends in a TaskSpec or in one sentence."""
    content = yaml.safe_load(GOOD.replace("!function ", ""))
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
    place[data.draw(st.just(key) | st.text(max_size=6))] = data.draw(KEYS)
    path = write(tmp_path_factory.mktemp("any"), yaml.safe_dump(content))
    try:
        assert read_task(path).scorer in SCORERS
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)


# --------------------------------------------------------------------------------------------------------------
# Includes, functions, folders


def test_a_file_anywhere_includes_the_shipped_ones_and_those_beside_it_first(tmp_path: Path) -> None:
    text = GOOD.replace("task: mmrope_new", "include: _choice.yaml")
    text = text.replace("generation_kwargs: {max_new_tokens: 8}\n", "")
    text = text.replace("scorer: relaxed", "scorer: choice")
    text = text.replace("metric_list: [{metric: !function mmrope_eval.lmms.metrics.relaxed}]\n", "")
    path = write(tmp_path, text)
    assert read_task(path).generation.max_tokens == 64
    write(tmp_path, "generation_kwargs: {max_new_tokens: 5}\n", "_choice.yaml")
    assert read_task(path).generation.max_tokens == 5


def test_of_several_included_files_the_first_wins_and_the_file_itself_over_all(tmp_path: Path) -> None:
    write(tmp_path, "a: 1\nb: 1\n", "_one.yaml")
    write(tmp_path, "b: 2\nc: 2\nd: 2\n", "_two.yaml")
    content = read_yaml(write(tmp_path, "include: [_one.yaml, _two.yaml]\nd: 3\n"))
    assert content == {"a": 1, "b": 1, "c": 2, "d": 3}


def test_a_file_in_the_working_folder_is_not_included_by_a_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "generation_kwargs: {max_new_tokens: 5}\n", "_choice.yaml")
    monkeypatch.chdir(tmp_path)
    assert lmms_config(Registry().tasks["ai2d"], FAMILY, (), None)["generation_kwargs"]["max_new_tokens"] == 64


def test_functions_come_from_a_python_file_beside_the_task_file(tmp_path: Path) -> None:
    write(tmp_path, "def halved(dataset):\n    return 'half'\n", "mine.py")
    spec = read_task(write(tmp_path, GOOD + "process_docs: !function mine.halved\n"))
    assert lmms_config(spec, FAMILY, (), None)["process_docs"](None) == "half"
    before = spec.fingerprint()
    write(tmp_path, "def halved(dataset):\n    return 'third'\n", "mine.py")
    assert read_task(spec.path).fingerprint() != before, "the code is part of what the file says"


@pytest.mark.parametrize(("name", "message"), [
    ("mine.halvd", "!function mine.halvd: There is no name in 'mine' called 'halvd'; did you mean 'halved'?"),
    ("no_such_module.f",
     "!function no_such_module.f: module 'no_such_module' cannot be imported (ModuleNotFoundError: "),
    ("broken.f", "!function broken.f: module 'broken' cannot be imported (SyntaxError: "),
    ("mmrope_eval.data.rows.encodd", "There is no name in 'mmrope_eval.data.rows' called 'encodd'; did you mean "),
])
def test_a_function_that_is_not_there_is_one_sentence(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, "def halved(dataset):\n    return dataset\n", "mine.py")
    write(tmp_path, "def f(:\n", "broken.py")
    spec = read_task(write(tmp_path, GOOD + f"process_docs: !function {name}\n"))
    with pytest.raises(UserError) as caught:
        lmms_config(spec, FAMILY, (), None)
    assert message in str(caught.value) and str(spec.path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_data_set_is_a_hub_name_or_a_folder_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, work = tmp_path / "bench", tmp_path / "work"
    for folder in (bench / "beside", work / "here", work / "beside"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(work)
    for declared, meant in (("someone/new", None), ("/data/new", Path("/data/new")), ("./beside", bench / "beside"),
                            ("./here", work / "here"), ("../work/here", work / "here"), ("./gone", bench / "gone"),
                            ("~/new", Path.home() / "new")):
        spec = read_task(write(bench, GOOD.replace("someone/new", declared)))
        assert (spec.local, spec.dataset) == (meant is not None, declared if meant is None else str(meant)), declared


def test_what_plans_depend_on_leaves_the_metadata_out(tmp_path: Path) -> None:
    """A licence or a column's name changes no question, so nothing is planned or asked anew."""
    first = read_task(write(tmp_path, GOOD))
    other = read_task(write(tmp_path, GOOD.replace("column: New", "column: Other, licence: MIT, stock: chartqa")))
    asked = read_task(write(tmp_path, GOOD.replace("{{ q }}", "{{ q }}?")))
    assert first.planned_by() == other.planned_by() != asked.planned_by()
    assert first.fingerprint() != other.fingerprint()


# --------------------------------------------------------------------------------------------------------------
# What scorers read, and what shipped files say


def test_every_scorer_says_what_it_reads_of_a_target() -> None:
    assert set(TARGETS) == set(SCORERS) == set(METRICS)
    whole = {"answer": "A", "answers": ["A"], "options": ["x", "y"], "box": [0, 0, 1, 1], "span": [0, 1],
             "dataset": "d", "group": "g"}
    given_by_the_run = {"coordinates": "unit", "source_size": (1, 1), "used_size": (1, 1)}
    for name, fields in TARGETS.items():
        target = {key: whole[key] for key in fields.known}
        full = SCORERS[name]("A", {**target, **given_by_the_run})
        assert set(full.values) == set(METRICS[name])
        least = {field.split("|")[0]: whole[field.split("|")[0]] for field in fields.needed}
        assert set(SCORERS[name]("A", {**least, **given_by_the_run}).values) == set(METRICS[name])
        assert fields.lacking(target) is None and fields.lacking({}) is not None


def test_a_failed_sample_has_every_metric() -> None:
    for name in SCORERS:
        assert set(scorers.score_failure(name, None).values) == set(METRICS[name])


def test_functions_are_read_as_the_strings_they_name(tmp_path: Path) -> None:
    function = read_yaml(write(tmp_path, "f: !function a.b.c\n"))["f"]
    assert function == "a.b.c" and isinstance(function, Function) and (function.module, function.file) == ("a.b", None)


def test_shipped_templates_are_all_looked_at() -> None:
    tasks = Registry().tasks
    seen = {key.rpartition(".")[2] for spec in tasks.values() for key, _, _ in templates(spec)}
    assert {"prompt", "answer", "options", "group", "span", "box", "video", "subtitles"} <= seen


def test_a_copy_of_a_shipped_file_is_still_a_task_file(tmp_path: Path) -> None:
    for path in Registry().tasks_dir.glob("[a-z]*.yaml"):
        shutil.copy(path, tmp_path)
        copy, shipped = read_task(tmp_path / path.name), read_task(path)
        assert copy.fingerprint() == shipped.fingerprint()

"""How checkpoints are named: every form, what each means, what is said of a mistake, and the labels of rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants, errors
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.errors import UserError
from mmrope_eval.models.naming import ModelChoice, make_labels, resolve_models
from mmrope_eval.util.row_names import (
    checkpoint_name,
    distinct_names,
    numbered,
    training_run,
    training_step,
    usable,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def checkpoint(*folders: Path) -> Path:
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    return folders[0]


def snapshot(cache: Path, repo: str, commit: str = COMMIT, files: tuple[str, ...] = ("config.json", "a.safetensors"),
             ref: str = "main") -> Path:
    """A repository as the hub's cache holds it."""
    home = cache / f"models--{repo.replace('/', '--')}"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text("{}")
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / ref).write_text(commit)
    return folder


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with checkpoints under all kinds of names, an empty hub's cache, and no network."""
    work = tmp_path / "work"
    checkpoint(*(work / name for name in (
        "ckpt", "other", "a=b/ckpt", "run/checkpoint-2", "run/checkpoint-10", "run/checkpoint-100", "odd[1]",
        "home/mine", "org/local", "half/checkpoint-5", "lr=1/checkpoint-7")))
    (work / "half" / "checkpoint-9" / "global_step9").mkdir(parents=True)
    (work / "dead" / "checkpoint-1").mkdir(parents=True)
    (work / "bare").mkdir()
    (work / "run" / "logs").mkdir()
    (work / "run" / "checkpoint-notes.txt").touch()
    (work / "lora").mkdir()
    (work / "lora" / "adapter_config.json").touch()
    (work / "my.yaml").touch()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(work / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return work


def said(choices: list[ModelChoice]) -> list[tuple[str, str | None]]:
    return [(os.path.relpath(choice.path), choice.variant) for choice in choices]


STEPS = ["run/checkpoint-2", "run/checkpoint-10", "run/checkpoint-100"]

FORMS: dict[str, tuple[list[tuple[str, str | None]], str]] = {
    "ckpt": ([("ckpt", None)], ""),
    "./ckpt/": ([("ckpt", None)], ""),
    "~/mine": ([("home/mine", None)], ""),
    "bare": ([("bare", None)], ""),  # what it lacks, its reader says
    "lora": ([("lora", None)], ""),
    "ckpt=mrope-i": ([("ckpt", "mrope-i")], ""),
    "ckpt=+3d+spatial-reset": ([("ckpt", "+3d+spatial-reset")], ""),
    "ckpt=my/v1.5.yaml": ([("ckpt", "my/v1.5.yaml")], ""),
    "~/mine=hope": ([("home/mine", "hope")], ""),
    "a=b/ckpt": ([("a=b/ckpt", None)], ""),
    "a=b/ckpt=hope": ([("a=b/ckpt", "hope")], ""),
    "odd[1]": ([("odd[1]", None)], ""),
    "run/checkpoint-*": ([(name, None) for name in STEPS], ""),
    "run/checkpoint-?": ([("run/checkpoint-2", None)], ""),
    "run/checkpoint-*=hope": ([(name, "hope") for name in STEPS], ""),
    "lr=1/checkpoint-*": ([("lr=1/checkpoint-7", None)], ""),
    "lr=*/checkpoint-*=hope": ([("lr=1/checkpoint-7", "hope")], ""),
    "run": ([(name, None) for name in STEPS], ""),
    "run=mrope": ([(name, "mrope") for name in STEPS], ""),
    "run*": ([(name, None) for name in STEPS], ""),
    "run/*": ([(name, None) for name in STEPS], "'run/*' also matches what holds no config.json, left out: run/logs"),
    "half": ([("half/checkpoint-5", None)], "'half': left out, as they hold no config.json: checkpoint-9"),
    "org/local": ([("org/local", None)], ""),
}


@pytest.mark.parametrize("word", FORMS)
def test_every_form_names_its_folders(word: str, tree: Path) -> None:
    heard: list[str] = []
    choices = resolve_models([word], say=heard.append)
    assert said(choices) == FORMS[word][0]
    assert "; ".join(heard) == FORMS[word][1]
    assert all(choice.named == word and choice.path.is_dir() for choice in choices)


def test_words_keep_their_order_and_may_share_a_folder_under_several_variants(tree: Path) -> None:
    assert said(resolve_models(["other", "ckpt=hope", "ckpt", "ckpt=mrope"])) == [
        ("other", None), ("ckpt", "hope"), ("ckpt", None), ("ckpt", "mrope")]


MISTAKES = {
    "": "a checkpoint's name is empty",
    "nothing": "checkpoint 'nothing' is not a folder: give the path of a downloaded checkpoint",
    "ckp": "checkpoint 'ckp' is not a folder, did you mean 'ckpt'?",
    "rnu/checkpoint-10": "checkpoint 'rnu/checkpoint-10' is not a folder, did you mean 'run/checkpoint-10'?",
    "no/such/ckpt": "checkpoint 'no/such/ckpt' is not a folder: give",
    "ckp=hope": "checkpoint 'ckp' is not a folder, did you mean 'ckpt'?",
    "a=b/ckp": "checkpoint 'a=b/ckp' is not a folder, did you mean 'a=b/ckpt'?",
    "ckpt=": "checkpoint 'ckpt=' names no variant after its '='",
    "=hope": "checkpoint '=hope' names no folder before its '='",
    "ckpt/config.json": "checkpoint 'ckpt/config.json' is a file: give its folder, 'ckpt'",
    "my.yaml": "checkpoint 'my.yaml' is a file: give its folder, '.', or read it with --models",
    "run/step-*": "checkpoint 'run/step-*' matches nothing: give a folder, or a pattern that folders match",
    "run/step-*=hope": "checkpoint 'run/step-*' matches nothing",
    "run/*.txt": "'run/*.txt' matches files only (checkpoint-notes.txt): give folders",
    "dead": "'dead' is a training's folder, and none of its checkpoints (checkpoint-1) holds a config.json",
    "x" * 300: "cannot be read (File name too long)",
}


@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_one_sentence(word: str, tree: Path) -> None:
    with pytest.raises(UserError) as raised:
        resolve_models([word])
    assert MISTAKES[word] in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("words", [["ckpt", "./ckpt"], ["run/checkpoint-2", "run"], ["ckpt=hope", "../work/ckpt=hope"]])
def test_one_checkpoint_twice_under_one_variant_is_a_mistake(words: list[str], tree: Path) -> None:
    with pytest.raises(UserError, match=r"is named twice.* by '.*' and by '.*'") as raised:
        resolve_models(words)
    assert all(word in str(raised.value) for word in words)


# --------------------------------------------------------------------------------------------------------- the hub


def test_the_hubs_cache_answers_without_a_network(tree: Path) -> None:
    folder = snapshot(tree.parent / "cache", "Qwen/Qwen2.5-VL-3B-Instruct")
    older = snapshot(tree.parent / "cache", "Qwen/Qwen2.5-VL-3B-Instruct", OTHER, ref="v1")
    name = "Qwen/Qwen2.5-VL-3B-Instruct"
    words = [name, f"{name}=mrope", f"{name}@v1", f"{name}@{OTHER}=hope"]
    choices = resolve_models(words)
    assert [(choice.path, choice.variant, choice.revision) for choice in choices] == [
        (folder, None, COMMIT), (folder, "mrope", COMMIT), (older, None, OTHER), (older, "hope", OTHER)]
    assert resolve_models([str(folder)])[0].revision == COMMIT


def test_a_folder_of_that_name_wins_over_the_hub(tree: Path) -> None:
    snapshot(tree.parent / "cache", "org/local")
    snapshot(tree.parent / "cache", "org/remote")
    assert said(resolve_models(["org/local"])) == [("org/local", None)]
    assert resolve_models(["org/remote"])[0].revision == COMMIT, "its owner's folder here does not hide it"


@pytest.mark.parametrize(("files", "state"), [
    (None, "not in the hub's cache"),
    (("tokenizer.json", "a.safetensors"), "in the hub's cache only in part (config.json is missing)"),
    (("config.json", "tokenizer.json"), "in the hub's cache only in part (the weights are missing)"),
    (("config.json", "model-1.safetensors", "model.safetensors.index.json"),
     "in the hub's cache only in part (model-2.safetensors missing)"),
])
def test_what_cannot_be_had_comes_with_the_command(files: tuple[str, ...] | None, state: str, tree: Path) -> None:
    if files is not None:
        folder = snapshot(tree.parent / "cache", "Qwen/Model", files=files, ref="v1")
        index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        if "model.safetensors.index.json" in files:
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError) as raised:
        resolve_models(["Qwen/Model@v1=hope"], say=str)
    assert str(raised.value) == (
        f"checkpoint 'Qwen/Model@v1' is no folder here and {state}, and the hub is switched off by HF_HUB_OFFLINE: "
        "get it with `hf download Qwen/Model --revision v1`")


def test_what_is_not_whole_is_downloaded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(tree.parent / "cache", "Qwen/Model", files=("config.json",))

    def download(repo: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if not local_files_only:
            (folder / "model.safetensors").touch()
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    heard: list[str] = []
    for _ in range(2):
        assert resolve_models(["Qwen/Model"], say=heard.append)[0].path == folder
    assert heard == ["'Qwen/Model' is in the hub's cache only in part (the weights are missing): downloading it"]


@pytest.mark.parametrize(("error", "words"), [
    (errors.LocalEntryNotFoundError("no network"), "and the hub cannot be reached: get it with `hf download a1/b2`"),
    (errors.RevisionNotFoundError, "the hub's model has no such revision"),
    (errors.RepositoryNotFoundError, "the hub has no such model, or not without `hf auth login`"),
    (errors.GatedRepoError, "terms accepted (https://huggingface.co/a1/b2, then `hf auth login`)"),
    (OSError("No space left on device"), "the download failed (No space left on device)"),
    (RuntimeError("proxy"), "the download failed (proxy)"),
])
def test_a_failed_download_says_why(
    error: Exception | type[Exception], words: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised_error = error.__new__(error) if isinstance(error, type) else error  # made without a response

    def download(*_: object, local_files_only: bool = False, **__: object) -> str:
        raise errors.LocalEntryNotFoundError("no") if local_files_only else raised_error

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError) as raised:
        resolve_models(["a1/b2"], say=str)
    assert words in str(raised.value) and "`hf download a1/b2`" in str(raised.value)


@pytest.mark.parametrize(("word", "hint"), [
    ("org/lokal", "did you mean 'org/local'?"), ("rum/checkpoint-10", "did you mean 'run/checkpoint-10'?"),
    ("org/another", "give the path of a downloaded checkpoint"),
])
def test_a_misspelt_path_starts_no_download(word: str, hint: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, local_files_only: bool = False, **__: object) -> str:
        assert local_files_only
        raise errors.LocalEntryNotFoundError("no")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=rf"is not a folder.*hf download {word}") as raised:
        resolve_models([word])
    assert hint in str(raised.value)


# ------------------------------------------------------------------------------------------------------- --models FILE


def listed(tree: Path, text: str) -> list[ModelChoice]:
    (tree / "lists").mkdir(exist_ok=True)
    (tree / "lists" / "models.yaml").write_text(text)
    return resolve_models([], [Path("lists/models.yaml")], say=str)


def test_a_file_lists_words_and_mappings_relative_to_itself(tree: Path) -> None:
    choices = listed(tree, f"""
- ../ckpt
- ../other=hope
- ../run/checkpoint-*=my.yaml
- {{path: ../a=b/ckpt, variant: mrope-i, label: ours, coordinates: thousand, prompts: qwen3-vl}}
- path: {tree}/ckpt
  variant: ../my.yaml
- path: ~/mine
""")
    assert said(choices) == [("ckpt", None), ("other", "hope"), *((name, "my.yaml") for name in STEPS),
                           ("a=b/ckpt", "mrope-i"), ("ckpt", "lists/../my.yaml"), ("home/mine", None)]
    assert (choices[5].label, choices[5].coordinates, choices[5].prompts) == ("ours", "thousand", "qwen3-vl")


def test_one_checkpoint_may_be_asked_twice_under_two_labels(tree: Path) -> None:
    choices = listed(tree, "- {path: ../ckpt, label: pixels}\n- {path: ../ckpt, label: thousand}\n- ../ckpt\n")
    assert [choice.label for choice in choices] == ["pixels", "thousand", None]


BAD_FILES = {
    "[": "--models lists/models.yaml cannot be read as YAML: ",
    "": "must hold a list of checkpoints",
    "[]": "must hold a list of checkpoints, each a folder or a mapping of path, variant, label, coordinates, prompts",
    "path: ../ckpt": "must hold a list of checkpoints",
    "- ../ckpt\n- 3": "entry 2: a folder or a mapping of path, variant, label, coordinates, prompts is needed, not 3",
    "- {pth: ../ckpt}": "entry 1: unknown key 'pth', did you mean 'path'?",
    "- {path: ../ckpt, colour: red}": "entry 1: unknown key 'colour', the keys are path, variant, label",
    "- {path: ../ckpt, 3: red}": "entry 1: unknown key '3'",
    "- {variant: hope}": "entry 1: key 'path' is missing",
    "- {path: ../ckpt, label: 100}": "entry 1: 'label' must be text, not 100: put it in quotes",
    "- {path: ../ckpt, variant: [hope, mrope]}": "entry 1: 'variant' must be text, not ['hope', 'mrope']",
    "- {path: ../ckpt, variant: ''}": "entry 1: 'variant' is empty: it takes text",
    "- {path: ../ckpt, coordinates: pixels}":
        "entry 1: 'coordinates' must be 'absolute', 'thousand' or 'unit', not 'pixels'",
    "- {path: ../ckpt, label: a/b}": "entry 1: label 'a/b' cannot name a folder",
    "- {path: ../ckpt, label: .b}": "entry 1: label '.b' cannot name a folder",
    "- {path: ../ckpt, label: x}\n- {path: ../other, label: x}":
        "entry 2: label 'x' is taken by lists/models.yaml, entry 1: give another",
    "- {path: ../run, label: x}": "entry 1: label 'x' is for one checkpoint, and path '../run' means 3",
    "- zzzz": "entry 1: checkpoint 'zzzz' is not a folder, neither beside the file, in '",
    "- zzzz ": "/lists', nor in the working folder: give the path of a downloaded checkpoint",
    "- ../ckpt\n- ../ckpt": "is named twice, by '../ckpt' and by '../ckpt'",
    "- {path: ../ckpt=hope}": "entry 1: checkpoint '../ckpt=hope' is not a folder",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_file_is_one_sentence(text: str, tree: Path) -> None:
    with pytest.raises(UserError) as raised:
        listed(tree, text)
    assert BAD_FILES[text] in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_not_beside_the_file_is_looked_for_in_the_working_folder(tree: Path) -> None:
    choices = listed(tree, "- ckpt\n- run/checkpoint-*=hope\n- path: other\n  variant: lists/mine.yaml\n")
    assert said(choices) == [("ckpt", None), *((name, "hope") for name in STEPS), ("other", "lists/mine.yaml")]


def test_a_folder_among_the_files_is_a_checkpoint_for_another_option(tree: Path) -> None:
    with pytest.raises(UserError, match=r"--models ckpt is a folder, .*: name a checkpoint itself with --model \(`mod"):
        resolve_models([], [Path("ckpt")])


def test_a_missing_file_is_named(tree: Path) -> None:
    with pytest.raises(UserError, match=r"--models no\.yaml cannot be read as YAML: No such file"):
        resolve_models([], [Path("no.yaml")])


# ------------------------------------------------------------------------------------------------------------ labels


def labels(*pairs: tuple[str, str] | tuple[str, str, str]) -> list[str]:
    return make_labels([(ModelChoice(Path(path), path, label=next(iter(label), None)), variant, ())
                        for path, variant, *label in pairs])


SNAPSHOTS = f"/hub/models--Qwen--VL-3B/snapshots/{COMMIT}", f"/hub/models--Qwen--VL-3B/snapshots/{OTHER}"

LABELS: dict[str, tuple[list[tuple[str, str] | tuple[str, str, str]], list[str]]] = {
    "one row": ([("/m/a", "mrope")], ["mrope"]),
    "variants differ": ([("/m/a", "mrope"), ("/m/a", "hope")], ["mrope", "hope"]),
    "checkpoints differ": ([("/m/a", "mrope"), ("/m/b", "mrope")], ["a", "b"]),
    "both differ": ([("/m/a", "mrope"), ("/m/b", "hope")], ["a--mrope", "b--hope"]),
    "a product": ([("/m/a", "x"), ("/m/a", "y"), ("/m/b", "x"), ("/m/b", "y")], ["a--x", "a--y", "b--x", "b--y"]),
    "steps of two trainings": ([(f"/m/{run}/checkpoint-{n}", "mrope") for run, n in (("A", 1), ("B", 1), ("B", 2))],
                               ["A-checkpoint-1", "B-checkpoint-1", "B-checkpoint-2"]),
    "steps of one training": ([(f"/m/A/checkpoint-{n}", "mrope") for n in (1, 2)], ["checkpoint-1", "checkpoint-2"]),
    "names repeat, others do not": ([("/m/A/x", "hope"), ("/m/B/x", "hope"), ("/m/y", "hope")], ["A-x", "B-x", "y"]),
    "further up": ([("/p/A/x", "hope"), ("/q/A/x", "hope")], ["p-A-x", "q-A-x"]),
    "a parent's name would repeat": ([("/p/a/c", "h"), ("/p/b/c", "h"), ("/q/a-c", "h")], ["p-a-c", "b-c", "q-a-c"]),
    "one name, two definitions": ([("/m/a", "mine"), ("/m/a", "mine")], ["mine", "mine-2"]),
    "a label": ([("/m/a", "mrope", "ours"), ("/m/b", "mrope")], ["ours", "b"]),
    "a label is somebody's name": ([("/m/a", "mrope", "b"), ("/m/b", "mrope")], ["b", "m-b"]),
    "a label under two variants": ([("/m/a", "x", "ours"), ("/m/a", "y", "ours")], ["ours--x", "ours--y"]),
    "the hub's name": ([(SNAPSHOTS[0], "mrope"), ("/m/b", "mrope")], ["VL-3B", "b"]),
    "two commits": ([(SNAPSHOTS[0], "h"), (SNAPSHOTS[1], "h")],
                    ["0123456789ab-Qwen-VL-3B", "ffffffffffff-Qwen-VL-3B"]),
    "no folder names": ([("/m/.a", "../x/y"), ("/m/b", "../x/y")], ["a", "b"]),
    "a variant with a slash": ([("/m/a", "x/y"), ("/m/a", ".z")], ["x-y", "z"]),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_name_what_differs(case: str) -> None:
    pairs, expected = LABELS[case]
    assert labels(*pairs) == expected


def test_variants_of_one_name_are_told_apart_by_their_parameters() -> None:
    choice = ModelChoice(Path("/m/a"), "a")
    changes = [("temporal_stride=0.5",), (), ("mrope_section=[24, 20, 20]", "time=seconds"), ("temporal_stride=0.5",)]
    assert make_labels([(choice, "mrope-i", changed) for changed in changes]) == [
        "mrope-i--temporal_stride=0.5", "mrope-i", "mrope-i--mrope_section=24-20-20,time=seconds",
        "mrope-i--temporal_stride=0.5-2"]
    assert make_labels([(choice, "mrope-i", changes[0])]) == ["mrope-i"]


PART = st.text("ab-.1/ é", min_size=0, max_size=4) | st.sampled_from(["checkpoint-1", "checkpoint-2", "..", "a-b"])
PAIRS = st.lists(st.tuples(st.lists(PART, max_size=4).map(lambda parts: "/" + "/".join(parts)), PART,
                           st.none() | st.sampled_from(["a", "checkpoint-1", "b-2"])), max_size=8)


@given(PAIRS)
def test_labels_are_unique_usable_and_stable(pairs: list[tuple[str, str, str | None]]) -> None:
    rows = [(ModelChoice(Path(path), path, label=label), variant, ("a=1", "b=[2, 3]")[:len(path) % 3])
            for path, variant, label in pairs]
    labels = make_labels(rows)
    assert len(set(labels)) == len(labels) == len(rows)
    assert all(label == usable(label) != "" for label in labels)
    assert make_labels(rows) == labels
    for (choice, *_), label in zip(rows, labels, strict=True):
        if choice.label and [row[0].label for row in rows].count(choice.label) == 1:
            assert label == choice.label


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("AB"), st.sampled_from(["x", "checkpoint-1"])),
                unique=True))
def test_the_order_of_checkpoints_does_not_change_their_names(parts: list[tuple[str, ...]]) -> None:
    paths = [Path("/", *names) for names in parts]
    named = dict(zip(paths, distinct_names(paths), strict=True))
    assert dict(zip(paths[::-1], distinct_names(paths[::-1]), strict=True)) == named
    assert len(set(named.values())) == len(paths)


@pytest.mark.parametrize(("names", "expected"), [
    (["a", "a", "a"], ["a", "a-2", "a-3"]), (["a", "a", "a-2"], ["a", "a-3", "a-2"]), ([], []),
])
def test_numbers_take_nobodys_name(names: list[str], expected: list[str]) -> None:
    assert numbered(names) == expected


def test_checkpoints_are_called_after_their_folder_or_repository() -> None:
    assert [checkpoint_name(path) for path in ("/m/a", SNAPSHOTS[0], f"{SNAPSHOTS[0]}/checkpoint-5", "/")] == [
        "a", "VL-3B", "checkpoint-5", "checkpoint"]


# ------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(("name", "step"), [
    ("checkpoint-100", 100), ("checkpoint_7", 7), ("Checkpoint-0", 0), ("global_step500", 500),
    ("global_step_500", 500), ("step-20", 20), ("step_20", 20), ("iter_0000300", 300), ("step3", None),
    ("checkpoint-last", None), ("checkpoint-100-merged", None), ("mrope-i", None), ("qwen-step-2", None),
])
def test_the_step_is_in_the_folders_name(name: str, step: int | None) -> None:
    path = Path("/runs/a") / name
    assert (training_step(path), training_run(path)) == (step, None if step is None else "/runs/a")


@pytest.mark.parametrize("state", [
    "{", "[]", "{}", '{"global_step": "9"}', '{"global_step": true}', '{"global_step": -1}',
])
def test_a_state_that_says_nothing_says_nothing(state: str, tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text(state)
    assert training_step(tmp_path) is None and training_run(tmp_path) is None


def finished(tmp_path: Path) -> dict[str, Path]:
    """Folders as trainings leave them, and links to them."""
    paths = {name: tmp_path / name for name in ("A", "A/checkpoint-100", "B", "A/final", "C/final", "C/checkpoint-9")}
    for name, path in paths.items():
        path.mkdir(parents=True, exist_ok=True)
        if name in ("A", "B", "A/final", "C/checkpoint-9"):
            (path / "trainer_state.json").write_text(json.dumps({"global_step": 5000}))
    paths["best"] = tmp_path / "best"
    paths["best"].symlink_to(paths["A/checkpoint-100"])
    paths["D/step_3"] = tmp_path / "D" / "step_3"
    paths["D/step_3"].parent.mkdir()
    paths["D/step_3"].symlink_to(paths["B"])
    return paths


@pytest.mark.parametrize(("name", "step", "training"), [
    ("A/checkpoint-100", 100, "A"), ("A", 5000, "A"), ("A/final", 5000, "A"), ("B", 5000, "B"), ("C/final", None, None),
    ("C/checkpoint-9", 9, "C"), ("best", 100, "A"), ("D/step_3", 3, "D"),
])
def test_the_training_is_the_folder_of_its_steps(name: str, step: int | None, training: str | None,
                                                 tmp_path: Path) -> None:
    path = finished(tmp_path)[name]
    expected = None if training is None else str((tmp_path / training).resolve())
    assert (training_step(path), training_run(path)) == (step, expected)


def test_naming_waits_for_nothing_heavy() -> None:
    code = ("import sys, mmrope_eval.models.naming; "
            "print([m for m in ('torch', 'transformers', 'vllm', 'huggingface_hub', 'pandas') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_left_out_is_said_on_stderr(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resolve_models(["half"])
    assert capsys.readouterr().err == "mmrope-eval: 'half': left out, as they hold no config.json: checkpoint-9\n"


def test_nothing_in_nothing_out() -> None:
    assert resolve_models([]) == [] and make_labels([]) == []

"""What counts as the same answer, in whole runs: code and settings, what is asked again and why, --fresh, losses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import suite_mirror
from installed import install
from suite_fakes import FakeEngine, FakeStart

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.run import manifest
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig
from mmrope_eval.store import answer_code
from mmrope_eval.task import plan

N = 3
TASKS = ("refcoco_val", "chartqa", "charades_sta")
ALL = 4 * N


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=N)


@pytest.fixture(scope="module")
def finished(checkpoint: Path, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    config = RunConfig((str(checkpoint),), TASKS, tmp_path_factory.mktemp("runs") / "one", ("mrope",),
                       data_root=mirror, options=EngineOptions())  # fmt: skip
    running.run(config, FakeStart())
    return config


@pytest.fixture
def config(finished: RunConfig, tmp_path: Path) -> RunConfig:
    """A finished run that a test may change."""
    return dataclasses.replace(finished, output=Path(shutil.copytree(finished.output, tmp_path / "run")))


@pytest.fixture
def start(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Start a command; how many questions it asked, and what it said of kept answers."""

    def go(config: RunConfig, **settings: Any) -> tuple[int, list[str]]:
        capsys.readouterr()
        asked = running.run(config, FakeStart(settings)).asked
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mrope: ")]
        return asked, [line.removeprefix("mrope: ") for line in told if "/" not in line.split()[1]]

    return go


Start = Callable[..., tuple[int, list[str]]]


def edit(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Some files of the package as if somebody had edited them."""
    read, paths = Path.read_bytes, {answer_code.package() / name for name in names}
    patch.setattr(Path, "read_bytes", lambda path: read(path) + b"\nEDITED = True\n" * (path in paths))


def declare(patch: pytest.MonkeyPatch, version: str) -> None:
    """The tree as if the register had it as an answer version."""
    read, register = Path.read_text, answer_code.package() / "store" / answer_code.REGISTER
    line = answer_code.Declared(version, answer_code.read_code(answer_code.package()).rooms).register_line("the same")
    patch.setattr(Path, "read_text", lambda path, *how, **named: read(path, *how, **named) + line * (path == register))


@contextmanager
def edited(*names: str, declared: str | None = None) -> Iterator[None]:
    """As if commands were started from a tree in which some files were edited, and which may be declared."""
    with pytest.MonkeyPatch.context() as patch:
        edit(patch, *names)
        if declared is not None:
            declare(patch, declared)
        answer_code.answer_code.cache_clear()
        try:
            yield
        finally:
            answer_code.answer_code.cache_clear()


def test_an_answer_belongs_to_the_code_that_made_it(config: RunConfig, start: Start) -> None:
    assert start(config) == (0, [])
    with edited("rope/positions.py"):
        assert start(config) == (ALL, [f"{ALL} kept answers are asked again, as other code gave them (what differs: "
                                       "mmrope_eval/rope/positions.py); see docs/same-answer.md."])  # fmt: skip
        assert start(config) == (0, [])
    with edited("rope/positions.py", "engine/prepare.py"):
        asked, printed = start(config)
        assert asked == ALL and "(what differs: mmrope_eval/engine/prepare.py)" in printed[0], "the nearest is named"
    assert start(config) == (0, []), "back to the old code, and its answers are there"


def test_a_declared_change_asks_nothing_again(config: RunConfig, start: Start) -> None:
    before = answer_code.answer_code().files["rope/positions.py"]
    with edited("rope/positions.py", declared=answer_code.answer_code().version):
        assert answer_code.answer_code().files["rope/positions.py"] != before
        assert start(config) == (0, [])


OLD_SHAPE = """
CREATE TABLE old (identity TEXT NOT NULL, sample TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
                  payload TEXT NOT NULL, PRIMARY KEY (identity, sample)) WITHOUT ROWID;
INSERT INTO old SELECT identity, sample, status, attempts, payload FROM responses;
DROP TABLE responses; DROP TABLE earlier; DROP TABLE contexts; DELETE FROM meta;
ALTER TABLE old RENAME TO responses; INSERT INTO meta VALUES ('schema', '1');
PRAGMA application_id = 0; PRAGMA user_version = 0;
"""


@pytest.fixture
def old(config: RunConfig) -> RunConfig:
    """The run as version 0.3.0 left it: the same identities, and nothing about what they were made of."""
    with sqlite3.connect(config.output / "responses.sqlite", isolation_level=None) as connection:
        connection.executescript(OLD_SHAPE)
    manifest = json.loads((config.output / "manifest.json").read_text())
    for name in ("code", "commands", "sha256"):
        del manifest[name]
    for task in manifest["tasks"].values():
        for name in ("limit", "seed", "data_root"):
            del task[name]
    (config.output / "manifest.json").write_text(json.dumps(manifest))
    assert manifest["context"]["versions"]["mmrope-eval"] == answer_code.answer_code().version
    return config


def test_answers_of_the_last_version_are_used(old: RunConfig, start: Start) -> None:
    assert start(old) == (0, [])


def test_why_they_are_not_is_said_from_the_manifest(old: RunConfig, start: Start) -> None:
    """Of the register's trees with the manifest's answer version the nearest is this one before it was edited."""
    with edited("rope/positions.py"):
        assert start(old) == (ALL, [f"{ALL} kept answers are asked again, as other code gave them (what differs: "
                                    "mmrope_eval's code for rope); see docs/same-answer.md."])  # fmt: skip


def test_without_a_manifest_it_is_said_that_nobody_knows(old: RunConfig, start: Start) -> None:
    (old.output / "manifest.json").unlink()
    with edited("rope/positions.py"):
        asked, printed = start(old)
    assert asked == ALL
    assert printed[0].startswith(f"{ALL} kept answers are asked again, as an earlier version kept them")


def test_settings_are_named_with_their_values(config: RunConfig, start: Start) -> None:
    (config.output / "scores.json").unlink()
    policy = MediaPolicy(image_max_pixels=50176, video_fps=1.0)
    before = json.loads((config.output / "manifest.json").read_text())["media"]["policy"]
    asked, printed = start(dataclasses.replace(config, options=EngineOptions(policy=policy, dtype="float32")))
    assert asked == ALL and len(printed) == 1
    assert f"image_max_pixels is 50176, was {before['image_max_pixels']}" in printed[0]
    assert f"video_fps is 1.0, was {before['video_fps']}" in printed[0] and "dtype is float32, was auto" in printed[0]


def test_versions_of_libraries_are_named(
    config: RunConfig, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = manifest.versions()
    install(tmp_path / "other", {"torch": "99.0"}, monkeypatch)
    asked, printed = start(config)
    assert asked == ALL
    assert printed == [f"{ALL} kept answers are asked again, as torch is 99.0, was {versions['torch']}; see "
                    "docs/same-answer.md."]  # fmt: skip


def test_a_changed_question_is_told_from_a_changed_setting(
    config: RunConfig, start: Start, mirror: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(mirror, tmp_path / "other"))
    suite_mirror.chartqa(other / "lmms-lab-encoder/ChartQA",
                         [(suite_mirror.png(100 + i), f"What is pie {i}?", "1", "human_test") for i in range(N)])
    assert start(dataclasses.replace(config, data_root=other)) == (
        N, [f"{N} kept answers are asked again, as the question, its media, its answer limit or its "
           "temperature changed; see "
            "docs/same-answer.md."])  # fmt: skip


def test_a_failure_that_is_tried_again_is_no_answer_asked_again(config: RunConfig, start: Start) -> None:
    new = dataclasses.replace(config, output=config.output / "new")
    for expected in (ALL, 1, 0):
        assert start(new, fail=frozenset({"chartqa/1"})) == (expected, [])


# ---------------------------------------------------------------------------------------------------------------- fresh


def stop(config: RunConfig, after: int) -> None:
    """Start a command whose engine dies after some answers."""
    assert running.run(config, FakeStart({"lose_power_after": after})).broken


def test_fresh_asks_everything_and_a_stopped_fresh_command_goes_on(config: RunConfig, start: Start) -> None:
    fresh = dataclasses.replace(config, fresh=True)
    stop(fresh, 5)
    assert start(fresh) == (ALL - 5, ["--fresh sets 0 kept answers aside until all are given anew; 5 are already"])
    assert start(config) == (0, [])
    assert start(fresh) == (ALL, [f"--fresh sets {ALL} kept answers aside until all are given anew"])


def test_what_a_fresh_command_began_the_plain_one_finishes(config: RunConfig, start: Start) -> None:
    stop(dataclasses.replace(config, fresh=True), 5)
    assert start(config) == (ALL - 5, [])
    with sqlite3.connect(config.output / "responses.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM earlier").fetchone() == (0,), "nothing is set aside any more"


def test_fresh_leaves_answers_that_it_does_not_ask_for(config: RunConfig, start: Start) -> None:
    narrower = dataclasses.replace(config, tasks=("chartqa",), fresh=True)
    assert start(narrower) == (N, [f"--fresh sets {N} kept answers aside until all are given anew"])
    assert start(config) == (0, [])


def test_kept_answers_of_other_helpers_count_and_that_is_said(
    config: RunConfig, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest.helpers()
    assert set(before) == {"av", "jinja2", "pillow", "tokenizers", "torchvision", "environment"}
    install(tmp_path / "other", {"pillow": "99.0"}, monkeypatch)
    assert start(config) == (0, [f"{ALL} kept answers count although pillow is 99.0, was {before['pillow']}; --fresh "
                                 "asks again; see docs/same-answer.md."])  # fmt: skip
    fresh = dataclasses.replace(config, fresh=True)
    assert start(fresh)[0] == ALL and start(config) == (0, []), "they are of these versions now"


def test_an_environment_that_computes_otherwise_is_recorded_and_said(
    config: RunConfig, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = manifest.helpers()["environment"]
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    asked, printed = start(config)
    assert asked == 0
    now = manifest.helpers()["environment"]
    assert printed == [f"{ALL} kept answers count although environment is {now}, was {was}; "
                       "--fresh asks again; see docs/same-answer.md."]  # fmt: skip
    assert json.loads((config.output / "manifest.json").read_text())["environment"]["NVIDIA_TF32_OVERRIDE"] == "1"


@pytest.mark.parametrize(("name", "counts"), [
    ("NVIDIA_TF32_OVERRIDE", True), ("VLLM_ATTENTION_BACKEND", True), ("VLLM_BATCH_INVARIANT", True),
    ("PYTHONOPTIMIZE", True), ("CUBLAS_WORKSPACE_CONFIG", True),
    ("VLLM_API_KEY", False), ("VLLM_LOGGING_LEVEL", False), ("VLLM_CACHE_ROOT", False), ("HF_TOKEN", False),
    ("PYTHONHASHSEED", False), ("LANG", False), ("TZ", False), ("HOME", False), ("ONEDNN_VERBOSE", False),
])
def test_which_variables_are_recorded(name: str, counts: bool) -> None:
    assert manifest.computing_variables({name: "1"}) == ({name: "1"} if counts else {})


# --------------------------------------------------------------------------------------------------------------- losses


def empty(store: Path) -> None:
    store.write_bytes(b"")


def gone(store: Path) -> None:
    store.unlink()


def fewer(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM responses WHERE sample LIKE 'chartqa/%'")


@pytest.mark.parametrize(("change", "count"), [(empty, ALL), (gone, ALL), (fewer, N)])
def test_answers_that_the_scores_were_made_of_and_that_are_gone_are_missed(
    config: RunConfig, start: Start, change: Callable[[Path], None], count: int
) -> None:
    change(config.output / "responses.sqlite")
    assert start(config) == (count, [f"{count} answers that the scores were made of are not in responses.sqlite any "
                                     "more (it was removed, replaced or damaged): asked again."])  # fmt: skip


def test_answers_under_another_limit_are_not_called_lost(config: RunConfig, start: Start) -> None:
    shorter = dataclasses.replace(config, max_tokens=((None, 5),))
    asked, printed = start(shorter)
    assert asked == ALL and printed == [f"{ALL} kept answers are asked again, as the question, its media, its answer "
                                     "limit or its temperature changed; see docs/same-answer.md."]  # fmt: skip


def test_an_output_that_vanishes_while_it_is_written_gets_no_scores(config: RunConfig, tmp_path: Path) -> None:
    new, count = tmp_path / "new", iter(range(100))

    def moved(_: Any) -> None:
        if next(count) == 5:
            new.rename(tmp_path / "moved")

    with pytest.raises(UserError, match="was removed, moved or replaced while answers were written to it"):
        running.run(dataclasses.replace(config, output=new), FakeStart({"asks": moved}))
    assert not (new / "scores.json").exists() and not (tmp_path / "moved" / "scores.json").exists()
    rest = FakeStart()
    running.run(dataclasses.replace(config, output=new), rest)
    assert len(rest.asked) < ALL, "what was answered is in its place again"


@pytest.mark.parametrize("name", ["scores.json", "manifest.json", "failures.jsonl", "samples", "responses.sqlite"])
def test_what_lies_in_the_way_of_a_file_is_said_before_anything_is_asked(
    config: RunConfig, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "new"
    output.mkdir()
    if name == "samples":
        (output / name).touch()
    else:
        (output / name).mkdir()
    start = FakeStart()
    with pytest.raises(UserError, match=rf"{output / name} is (a folder|no folder).*move it away"):
        running.run(dataclasses.replace(config, output=output), start)
    assert start.asked == []


def test_code_that_changes_while_an_engine_starts_stops_the_command(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = FakeStart()

    def meanwhile(*given: Any) -> FakeEngine:
        edit(monkeypatch, "rope/positions.py")
        return start(*given)

    with pytest.raises(answer_code.CodeChangedError, match=r"mmrope_eval/rope/positions\.py changed while this was"):
        running.run(dataclasses.replace(config, output=tmp_path / "new"), meanwhile)
    assert start.engines[0].log == ["close"], "nothing was asked of it"


# ------------------------------------------------------------------------------------------------ places of pictures


ROW = {"one": {"bytes": b"first"}, "two": {"bytes": b"second"}}
IMAGES: dict[str, Any] = {"images": ["one", "two"]}


def asked(media: dict[str, Any], prompt: str) -> tuple[tuple[str, ...], str]:
    """What a question's identity has of its pictures and its text."""
    spec: Any = SimpleNamespace(media=media)
    docs: Any = SimpleNamespace(files=None)
    return plan.fingerprints(spec, docs, prompt, ROW, {}), prompt


@pytest.mark.parametrize(("media", "prompt"), [
    (IMAGES, "Is [1] like [2]?"), (IMAGES, "Is this like that?"),
    ({**IMAGES, "placeholder": "<image {}>"}, "Is <image 1> like <image 2>?"),
])
def test_pictures_of_the_shipped_tasks_have_no_place_in_the_identity_as_before(
    media: dict[str, Any], prompt: str
) -> None:
    assert asked(media, prompt)[0] == tuple(hashlib.sha256(data).hexdigest() for data in (b"first", b"second"))


def test_the_places_of_pictures_are_part_of_a_question() -> None:
    """A task file of one's own that moves them, by its placeholder or by having none, asks other questions."""
    prompt = "Is <image 1> [1] (1) like <image 2> [2] (2)?"
    ways = [IMAGES, *({**IMAGES, "placeholder": placeholder} for placeholder in ("<image {}>", "[{}]", "({})"))]
    assert len({asked(media, prompt) for media in ways}) == len(ways)

"""One run said in three ways: options of the command line, a YAML file, keys in Python."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from run_command import run_command
from suite_fakes import FakeStart

import mmrope_eval
from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.cli.run import configured
from mmrope_eval.errors import UserError
from mmrope_eval.run.config import RunConfig, read_config
from mmrope_eval.run.keys import CHECKPOINTS, RunKeys

DOCS = Path(__file__).resolve().parents[2] / "docs"
NEEDED = {"tasks": ["chartqa"]}


@dataclass(frozen=True)
class Case:
    """One key with a value that is not its default."""

    key: str
    argv: list[str]
    value: Any
    field: str
    """Of RunConfig, or of what it holds, `options.dtype`, which is another than without the key."""
    needs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keys without which it would be refused."""


CASES = [
    Case("model", ["--model", "a", "b=mrope"], ["a", "b=mrope"], "models"),
    Case("models", ["--models", "x.yaml", "--models", "y.yaml"], ["x.yaml", "y.yaml"], "model_files"),
    Case("tasks", ["--tasks", "image,-chartqa"], ["image", "-chartqa"], "tasks"),
    Case("variants", ["--variant", "mrope,hope"], ["mrope", "hope"], "variants"),
    Case("set", ["--set", "radius=auto", "--set", "mrope_section=[24,20,20]"],
         {"radius": "auto", "mrope_section": [24, 20, 20]}, "overrides"),
    Case("protocol", ["--protocol", "paper"], "paper", "protocol"),
    Case("limit", ["--limit", "first:7"], "first:7", "limit"),
    Case("limit", ["--limit", "7"], 7, "limit"),
    Case("limit", ["--limit", "200,chartqa:50"], "200,chartqa:50", "limits"),
    Case("limit", ["--limit", "chartqa:50"], {"chartqa": 50}, "limits"),
    Case("system", ["--system", "Be brief."], "Be brief.", "system"),
    Case("system", ["--system", ""], "", "system"),
    Case("temperature", ["--temperature", "0.5"], 0.5, "temperature"),
    Case("temperature", ["--temperature", "0"], 0, "temperature"),
    Case("seed", ["--seed", "0,1"], [0, 1], "seeds"),
    Case("verbose", ["--verbose"], True, "verbose"),
    Case("log_file", ["--log-file", "log"], "log", "log_file"),
    Case("prompts", ["--prompts", "qwen3-vl"], "qwen3-vl", "prompts"),
    Case("coordinates", ["--coordinates", "unit"], "unit", "coordinates"),
    Case("max_tokens", ["--max-tokens", "64"], 64, "max_tokens"),
    Case("max_tokens", ["--max-tokens", "chartqa:64,mmmu:4096"], {"chartqa": 64, "mmmu": 4096}, "max_tokens"),
    Case("max_tokens", ["--max-tokens", "512", "--max-tokens", "mmmu:4096"], "512,mmmu:4096", "max_tokens"),
    Case("thinking", ["--thinking"], True, "thinking"),
    Case("thinking", ["--thinking", "off"], False, "thinking"),
    Case("thinking", ["--thinking", "auto"], "auto", "thinking"),
    Case("min_pixels", ["--min-pixels", "256*28*28"], "256*28*28", "media"),
    Case("max_pixels", ["--max-pixels", "1003520"], 1003520, "media"),
    Case("fps", ["--fps", "1"], 1, "media"),
    Case("max_frames", ["--max-frames", "16"], 16, "media"),
    Case("video_tokens", ["--video-tokens", "4096"], 4096, "media"),
    Case("min_frame_pixels", ["--min-frame-pixels", "784"], 784, "media"),
    Case("max_frame_pixels", ["--max-frame-pixels", "7840"], 7840, "media"),
    Case("data_root", ["--data-root", "."], ".", "data_root"),
    Case("cache_dir", ["--cache-dir", "cache"], "cache", "cache_dir"),
    Case("output", ["--output", "out"], "out", "output"),
    Case("tasks_dir", ["--tasks-dir", "."], ["."], "tasks_dirs"),
    Case("assume_stock", ["--assume-stock"], True, "assume_stock"),
    Case("fresh", ["--fresh"], True, "fresh"),
    Case("no_cache", ["--no-cache"], True, "options.media_cache_dir"),
    Case("max_failures", ["--max-failures", "3"], 3, "max_failures"),
    Case("max_failures", ["--max-failures", "0.05"], 0.05, "max_failures"),
    Case("seed", ["--seed", "5"], 5, "seed"),
    Case("seed", ["--seed", "5"], 5, "options.seed"),
    Case("scorer", ["--scorer", "stock"], "stock", "scorer"),
    Case("max_model_len", ["--max-model-len", "4096"], 4096, "options.max_model_len"),
    Case("dtype", ["--dtype", "float32"], "float32", "options.dtype"),
    Case("head_dtype", ["--head-dtype", "float32"], "float32", "options.head_dtype"),
    Case("tensor_parallel_size", ["--tensor-parallel-size", "2"], 2, "options.tensor_parallel_size"),
    Case("replicas", ["--replicas", "auto"], "auto", "options.replicas"),
    Case("replicas", ["--replicas", "2"], 2, "options.replicas"),
    Case("backend", ["--backend", "ray"], "ray", "options.backend"),
    Case("ray_address", ["--ray-address", "head:6379"], "head:6379", "options.ray_address", {"backend": "ray"}),
    Case("gpu_memory_utilization", ["--gpu-memory-utilization", "0.5"], 0.5, "options.gpu_memory_utilization"),
    Case("max_num_seqs", ["--max-num-seqs", "8"], 8, "options.max_num_seqs"),
    Case("max_num_batched_tokens", ["--max-num-batched-tokens", "4096"], 4096, "options.max_num_batched_tokens"),
    Case("workers", ["--no-workers"], False, "options.workers"),
    Case("workers", ["--workers"], True, "options.workers"),
    Case("request_timeout", ["--request-timeout", "30"], 30, "options.request_timeout"),
    Case("start_timeout", ["--start-timeout", "1.5"], 1.5, "options.start_timeout"),
    Case("trust_remote_code", ["--trust-remote-code"], True, "options.trust_remote_code"),
]  # fmt: skip

NO_KEYS = {"help", "config", "dry_run", "quiet"}
"""Options of the command alone."""
INSIDE = {"command", "said", "own_folders", "listed", "label_end"}
"""Fields of RunConfig that no single key sets: what was typed, and what a study or `checkpoints` makes of it."""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def options_of(keys: Mapping[str, Any]) -> list[str]:
    """Keys with text as command lines have them."""
    return [word for name, value in keys.items() for word in (f"--{name}", "".join(value))]


def same(config: RunConfig) -> RunConfig:
    """Without the words that it was typed in, and its paths from the working folder."""
    def short(path: Any) -> Any:
        inside = isinstance(path, Path | str) and Path(path).is_relative_to(Path.cwd())
        return type(path)(Path(path).relative_to(Path.cwd())) if inside else path

    plain = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name in ("output", "data_root", "cache_dir", "log_file"):
        plain[name] = short(plain[name])
    plain["tasks_dirs"] = tuple(map(short, config.tasks_dirs))
    root = short(config.options.data_root)
    frames = short(config.options.media_cache_dir)
    options = dataclasses.replace(config.options, data_root=root, media_cache_dir=frames)
    return RunConfig(**{**plain, "options": options, "command": (), "said": {}})


def by_options(argv: list[str]) -> RunConfig:
    return configured(cli.parse(["run", *argv]))


def by_file(keys: Mapping[str, Any]) -> RunConfig:
    Path("run.yaml").write_text(yaml.safe_dump(dict(keys)))
    return configured(cli.parse(["run", "--config", "run.yaml"]))


def field_of(config: RunConfig, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case.argv))
def test_a_key_means_the_same_in_all_three_ways(case: Case) -> None:
    needs = {**({} if case.key == "tasks" else NEEDED), **case.needs}
    keys = {**needs, case.key: case.value}
    argv = [*options_of(needs), *case.argv]
    told, filed, called = by_options(argv), by_file(keys), read_config(keys)
    assert same(told) == same(filed) == same(called)
    assert field_of(same(told), case.field) != field_of(same(read_config({**NEEDED, **case.needs})), case.field)


def test_no_key_no_option_and_no_field_is_forgotten() -> None:
    assert {case.key for case in CASES} | {"checkpoints"} == set(RunKeys.model_fields)
    options = {action.dest: action.default for action in cli.build_parser()[1]["run"]._actions}
    assert options.keys() - NO_KEYS | {"checkpoints"} == set(RunKeys.model_fields)
    assert {name for name, default in options.items() if default is not None} == {"help"}
    reached = {case.field.partition(".")[0] for case in CASES}
    assert reached | INSIDE == {field.name for field in dataclasses.fields(RunConfig)}


@given(st.lists(st.sampled_from(CASES), unique_by=lambda case: case.key))
@settings(max_examples=40, deadline=None)
def test_keys_together_mean_the_same_and_the_record_makes_the_run_again(cases: list[Case]) -> None:
    keys = {**NEEDED, "backend": "ray", **{case.key: case.value for case in cases}}
    keys |= {"backend": "ray"}
    argv = [*("--tasks", "chartqa") * ("tasks" not in [case.key for case in cases]), "--backend", "ray",
            *(word for case in cases if case.key != "backend" for word in case.argv)]  # fmt: skip
    told = by_options(argv)
    assert same(told) == same(by_file(keys))
    again = read_config(json.loads(json.dumps(told.said)))
    assert dataclasses.replace(again, command=told.command) == told


# ------------------------------------------------------------------------------------------- options beside a file


@pytest.mark.parametrize(("file", "argv", "field", "value"), [
    ({"limit": 5}, ["--limit", "2"], "limit.count", 2),
    ({"dtype": "float32"}, ["--dtype", "auto"], "options.dtype", "auto"),
    ({"tensor_parallel_size": 2}, ["--tensor-parallel-size", "1"], "options.tensor_parallel_size", 1),
    ({"seed": 4}, ["--seed", "0"], "seed", 0),
    ({"output": "there"}, ["--output", "here"], "output", Path("here")),
    ({"tasks": ["image"]}, ["--tasks", "chartqa"], "tasks", ("chartqa",)),
    ({"set": {"a": 1, "b": 2}}, ["--set", "b=3"], "overrides", {"a": 1, "b": 3}),
    ({"max_tokens": 512}, ["--max-tokens", "mmmu:64"], "max_tokens", ((None, 512), ("mmmu", 64))),
    ({"workers": True}, ["--no-workers"], "options.workers", False),
    ({"model": "a", "models": "list.yaml"}, ["--model", "b"], "models", ("b",)),
    ({"model": "a", "models": "list.yaml"}, ["--model", "b"], "model_files", ()),
    ({"fps": 1.5, "max_frames": 8}, ["--fps", "2"], "media", {"video_fps": 2.0, "video_max_frames": 8}),
])
def test_what_the_command_line_says_goes_before_the_file(
    file: dict[str, Any], argv: list[str], field: str, value: Any
) -> None:
    Path("run.yaml").write_text(yaml.safe_dump({**NEEDED, **file}))
    assert field_of(by_options(["--config", "run.yaml", *argv]), field) == value
    assert CHECKPOINTS == ("model", "models", "checkpoints")


@pytest.mark.parametrize("key", ["variant", "variants"])
def test_a_key_may_be_spelled_as_its_option(key: str) -> None:
    Path("run.yaml").write_text(yaml.safe_dump({**NEEDED, key: "mrope, hope"}))
    assert by_options(["--config", "run.yaml"]).variants == ("mrope", "hope")
    for other in ("variant", "variants"):
        assert read_config({other: "vanilla"}, Path("run.yaml")).variants == ("vanilla",)
    Path("run.yaml").write_text(yaml.safe_dump({**NEEDED, "variant": "mrope", "variants": "hope"}))
    with pytest.raises(UserError, match="unknown key 'variant', did you mean 'variants'"):
        by_options(["--config", "run.yaml"])


# ------------------------------------------------------------------------------------------------------------- paths


def test_paths_of_a_file_are_beside_it_else_in_the_working_folder(tmp_path: Path) -> None:
    files = tmp_path / "files"
    for name in ("data", "own", "ckpts/a"):
        (files / name).mkdir(parents=True)
    for name in ("half.yaml", "held.yaml", "ask.yaml", "list.yaml"):
        (files / name).write_text("{}")
    (files / "held.yaml").write_text("title: mine\nsource: me\n")
    Path("there.yaml").write_text("{}")
    Path("other").mkdir()
    keys = {"model": ["ckpts/a=mrope", "ckpts/*", "org/name", "ckpts/b"], "models": ["list.yaml", "there.yaml"],
            "variants": ["half.yaml", "there.yaml", "hope"], "tasks": ["ask.yaml", "-there.yaml", "chartqa"],
            "protocol": "held.yaml", "data_root": "data", "tasks_dir": ["own", "other"], "output": "out",
            "cache_dir": "cache"}  # fmt: skip
    (files / "run.yaml").write_text(yaml.safe_dump(keys))
    config = by_options(["--config", "files/run.yaml"])
    assert config.models == (f"{files}/ckpts/a=mrope", f"{files}/ckpts/*", "org/name", "ckpts/b")
    assert config.model_files == (files / "list.yaml", Path("there.yaml"))
    assert config.variants == (f"{files}/half.yaml", "there.yaml", "hope")
    assert config.tasks == (f"{files}/ask.yaml", "-there.yaml", "chartqa")
    assert config.protocol is not None and config.protocol.source == "me"
    assert (config.data_root, config.tasks_dirs) == (files / "data", (files / "own", Path("other")))
    assert (config.output, config.cache_dir) == (files / "out", files / "cache")
    assert config.options.media_cache_dir == files / "cache" / "frames"


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("keys", "sentence"), [
    ({"varients": ["mrope"]}, "config run.yaml: unknown key 'varients', did you mean 'variants'?"),
    ({"max_token": 3}, "config run.yaml: unknown key 'max_token', did you mean 'max_tokens'?"),
    ({"fps": 0}, "config run.yaml: 'fps' must be above 0, not 0"),
    ({"dtype": "int8"}, "config run.yaml: 'dtype' must be "),
    ({"max_tokens": {"chartqa": 0}}, "config run.yaml: 'max_tokens' has 0 for chartqa: give a whole number"),
    ({"max_tokens": "chartqa:"}, "config run.yaml: 'max_tokens' must be a number of tokens, TASK:N"),
    ({"min_pixels": "12x12"}, "config run.yaml: 'min_pixels' must be a whole number"),
    ({"seed": True}, "config run.yaml: 'seed' must be "),
    ({"limit": "some"}, "--limit some: give a number of samples"),
    ({"data_root": "nowhere"}, "config run.yaml: data_root 'nowhere' is not a folder, neither beside the file nor in"),
    ({"protocol": "none-such"}, "There is no protocol 'none-such'"),
    ({"checkpoints": ["gone"]}, "config run.yaml, checkpoints, entry 1: checkpoint 'gone' is not a folder"),
    ({"checkpoints": [{"path": "gone", "lable": "x"}]}, "config run.yaml, checkpoints, entry 1: unknown key 'lable'"),
    ({"tasks": []}, "name what is asked: --tasks LIST"),
])
def test_what_is_wrong_in_a_file_is_one_sentence(
    keys: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.yaml").write_text(yaml.safe_dump({"model": "CKPT", **NEEDED, **keys}))
    assert cli.main(["run", "--config", "run.yaml"]) == 2
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1


def test_a_file_that_is_not_there_and_a_key_that_python_misspells() -> None:
    with pytest.raises(UserError, match=r"there is no config file gone\.yaml"):
        mmrope_eval.run("gone.yaml")
    with pytest.raises(UserError, match="run: unknown key 'task', did you mean 'tasks'"):
        mmrope_eval.run(model="CKPT", task="chartqa")


# ----------------------------------------------------------------------------------------------------------- real runs


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What the page's example names: ckpts/a and a mirror."""
    build_checkpoint("qwen2.5-vl", tmp_path / "ckpts" / "a")
    suite_mirror.build(tmp_path / "mirror", n=2)
    return tmp_path


def records(folder: Path) -> dict[str, bytes]:
    """What may not differ between identical runs."""
    paths = [*folder.rglob("scores.json"), *folder.rglob("samples/*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def test_the_examples_of_the_page_are_one_run(place: Path) -> None:
    page = (DOCS / "configuration.md").read_text()
    file = re.search(r"^    # run.yaml\n(    .*\n)+", page, re.MULTILINE)
    python = re.search(r"^    import mmrope_eval\n(    .*\n)+", page, re.MULTILINE)
    commands = re.findall(r"^    python evaluate.py (.*)", page, re.MULTILINE)
    assert file is not None and python is not None and len(commands) == 3
    Path("run.yaml").write_text(re.sub("^    ", "", file[0], flags=re.MULTILINE))
    filed, told, beside = (by_options(shlex.split(line)) for line in commands)
    # A checkpoint that a file beside it names is called by its whole path.
    assert same(filed) == dataclasses.replace(same(told), models=filed.models)
    assert (beside.output, str(beside.limit)) == (Path("results/more"), "100")
    start = FakeStart()
    assert run_command(start, *shlex.split(commands[0])) == 0
    first = records(place / "results")
    assert len(start.asked) == 8 and len(first) == 6
    assert run_command(start, *shlex.split(commands[1])) == 0
    names: dict[str, Any] = {}
    exec(re.sub("^    ", "", python[0], flags=re.MULTILINE), names)
    assert len(start.asked) == 8 and records(place / "results") == first  # nothing was asked again
    assert sorted(names["run"].scores["variant"].unique()) == ["mrope", "mrope-i"]


def test_a_run_by_a_file_records_what_configured_it(place: Path) -> None:
    Path("run.yaml").write_text(yaml.safe_dump({
        "checkpoints": [{"path": "ckpts/a", "label": "ours", "variant": "mrope"}], "tasks": "chartqa",
        "data_root": "mirror", "output": "out", "max_tokens": {"chartqa": 9}, "max_pixels": "64*28*28"}))
    start = FakeStart()
    run = mmrope_eval.run("run.yaml", limit=1, start_engine=start)
    assert len(start.asked) == 1 and list(run.scores["n"]) == [1]
    config = json.loads((place / "out" / "manifest.json").read_text())["config"]
    assert config == {
        "checkpoints": [{"path": str(place / "ckpts" / "a"), "label": "ours", "variant": "mrope"}],
        "tasks": ["chartqa"], "data_root": str(place / "mirror"), "output": str(place / "out"), "limit": ["1"],
        "max_tokens": "chartqa:9", "max_pixels": 50176}

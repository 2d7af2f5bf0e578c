"""The command line: quick help, one-line errors, exit codes, and handlers that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from cpu_time import child_seconds
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval import __version__, cli
from mmrope_eval.cli import command_line
from mmrope_eval.errors import UserError
from mmrope_eval.rope import VariantError
from mmrope_eval.util.keys import DATA_ROOT

ROOT = Path(__file__).resolve().parents[2]
RUN = ["run", "--model", "CKPT", "--tasks", "chartqa"]


def call(*argv: str, script: tuple[str, ...] = ("-m", "mmrope_eval")) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *script, *argv], capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_help_takes_less_than_half_a_second_of_processor_time() -> None:
    def ask() -> None:
        done = call("--help", script=("evaluate.py",))
        assert done.returncode == 0
        assert "--model" in done.stdout and "examples:" in done.stdout

    assert min(child_seconds(ask) for _ in range(5)) < 0.5


def test_start_up_imports_nothing_heavy() -> None:
    heavy = {"torch", "vllm", "transformers", "lmms_eval", "datasets", "pandas", "av", "numpy", "yaml"}
    code = f"import sys, mmrope_eval.cli; print(sorted({heavy!r} & set(sys.modules)))"
    assert call(script=("-c", code)).stdout.strip() == "[]"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = call(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: mmrope-eval {command} ")


def test_help_waits_for_nothing_heavy() -> None:
    """The options of all commands, and none of what does them."""
    heavy = ("numpy", "pandas", "torch", "PIL", "jinja2", "huggingface_hub", "transformers", "mmrope_synth",
             "mmrope_demo")  # fmt: skip
    code = ("import sys; from mmrope_eval.cli import command_line; command_line.build_parser(); "
            f"print(*({{*sys.modules}} & {{{', '.join(map(repr, heavy))}}}))")
    assert call(script=("-c", code)).stdout == "\n"


@pytest.mark.parametrize("command", [*cli.COMMANDS.values(), *(
    part for command in cli.COMMANDS.values() for part in command.parts.values())])  # fmt: skip
def test_a_command_is_asked_what_its_function_takes(command: command_line.Command) -> None:
    if command.does is not None:
        hints = get_type_hints(command.work())
        assert [hints[name] for name in hints if name != "return"] == [command.options()]


def test_only_the_command_layer_knows_namespaces() -> None:
    """What others are handed is typed: `args.x` of a namespace could be anything."""
    rooms = ("mmrope_eval", "mmrope_demo", "mmrope_synth")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py") if path.parent != ROOT / "mmrope_eval/cli"]
    assert len(files) > 200
    assert [str(path) for path in files if re.search(r"\bargparse\b|\bNamespace\b", path.read_text())] == []
    layer = (ROOT / "mmrope_eval" / "cli").glob("*.py")
    assert {path.stem for path in layer if "Namespace" in path.read_text()} == {"options"}


def test_evaluate_starts_nothing_when_a_worker_process_imports_it() -> None:
    done = call(script=("-c", "import evaluate; print(evaluate.main.__module__)"))
    assert (done.returncode, done.stdout) == (0, "mmrope_eval.cli.command_line\n")


def test_version() -> None:
    assert call("--version").stdout.strip() == f"mmrope-eval {__version__}"


BAD_INPUT = {
    "no command": ([], "COMMAND"),
    "misspelt command": (["rum"], "unknown command 'rum', did you mean 'run'?"),
    "no model": (["run", "--tasks", "chartqa"], "--model"),
    "no tasks": (["run", "--model", "CKPT"], "--tasks"),
    "misspelt option": ([*RUN, "--limt", "3"], "unknown argument '--limt', did you mean '--limit'?"),
    "abbreviated option": ([*RUN, "--lim", "3"], "did you mean '--limit'?"),
    "limit of zero": ([*RUN, "--limit", "0"], "--limit 0: give a number of samples"),
    "fractional limit": ([*RUN, "--limit", "0.5"], "--limit 0.5: give a number of samples"),
    "pixels": ([*RUN, "--max-pixels", "12x12"], "argument --max-pixels: must be a whole number, not '12x12'"),
    "fps": ([*RUN, "--fps", "nan"], "argument --fps: must be a finite number, not nan"),
    "memory": ([*RUN, "--gpu-memory-utilization", "1.5"], "must be at most 1, not 1.5"),
    "dtype": ([*RUN, "--dtype", "int8"], "'int8'"),
    "setting": ([*RUN, "--set", "temporal_stride"], "'temporal_stride' is not of the form key=value"),
    "empty task list": (["run", "--model", "CKPT", "--tasks", ","], "the list is empty"),
    "unknown name": (["show", "mropei"], "did you mean 'mrope"),
    "unknown parameter": (["show", "mrope", "--set", "stride=2"], "has no parameter 'stride'"),
    "unknown kind": (["list", "models"], "'models'"),
    "missing mirror": (["doctor", "--data-root", "no/such/folder"], "--data-root no/such/folder is not a folder"),
}


@pytest.mark.parametrize(("argv", "expected"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_one_line_and_exit_code_2(argv: list[str], expected: str) -> None:
    done = call(*argv)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("mmrope-eval: error: ")
    assert expected in done.stderr


RUN_BAD_INPUT = {
    "missing checkpoint": (["--model", "no/such/checkpoint", "--tasks", "chartqa"], "no/such/checkpoint"),
    "unknown task": (["--model", "no/such/checkpoint", "--tasks", "chartq"], "did you mean 'chartqa'"),
}


@pytest.mark.parametrize(("argv", "expected"), RUN_BAD_INPUT.values(), ids=RUN_BAD_INPUT.keys())
def test_evaluate_refuses_bad_input_before_it_starts(argv: list[str], expected: str, tmp_path: Path) -> None:
    done = call(*argv, "--output", str(tmp_path), script=("evaluate.py",))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mmrope-eval: error: ")
    assert expected in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("error", [UserError("folder 'x' is missing:\n  create it"), VariantError("section is short")])
def test_errors_meant_for_the_user_lose_their_trace(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.ended(raiser(error)) == 2
    assert capsys.readouterr().err == f"mmrope-eval: error: {' '.join(str(error).split())}\n"


def test_other_errors_keep_their_trace() -> None:
    with pytest.raises(ValueError, match="a defect of ours"):
        command_line.ended(raiser(ValueError("a defect of ours")))


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.ended(raiser(KeyboardInterrupt())) == 130
    assert "the same command continues" in capsys.readouterr().err


def test_an_interpreter_without_the_packages_is_told_which_one_has_them() -> None:
    done = call("list", script=("-S", "-m", "mmrope_eval"))
    assert done.returncode == 2
    assert re.search(r"^mmrope-eval: error: the package '\w+' is missing from .*make setup", done.stderr)


def raiser(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"env -u PYTHONUNBUFFERED {sys.executable} -m mmrope_eval list; echo code $? >&2"
    done = subprocess.run(f"({command}) | true", shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "code 0\n"


def test_run_arguments_arrive_parsed() -> None:
    options = ["--variant", "mrope, hope", "--set", "mrope_section=[24,20,20]", "--set", "radius=auto"]
    args = cli.parse([*RUN[:-1], "image,-chartqa", *options, "--max-pixels", "1280*28*28", "--data-root", "mirror"])
    assert args.variants == ["mrope", "hope"]
    assert args.tasks == ["image", "-chartqa"]
    assert args.set == {"mrope_section": [24, 20, 20], "radius": "auto"}
    assert args.max_pixels == 1_003_520
    assert args.data_root == "mirror"
    assert "set" not in cli.parse(RUN).model_fields_set  # what is not said, a --config file may say


def test_an_option_given_twice_adds_up() -> None:
    args = cli.parse(["run", "--model", "a", "b", "--model", "c", "--tasks", "image", "--tasks", "docvqa,-chartqa",
                      "--variant", "mrope", "--variant", "hope"])  # fmt: skip
    assert args.model == ["a", "b", "c"]
    assert (args.tasks, args.variants) == (["image", "docvqa", "-chartqa"], ["mrope", "hope"])
    assert cli.parse(["table", "2", "runs", "--model", "a", "--model", "b,c*"]).model == ["a", "b", "c*"]
    assert cli.parse(["data", "plan", "--tasks", "image", "--tasks", "video"]).tasks == ["image", "video"]
    assert "variants" not in cli.parse(RUN).model_fields_set


def test_how_the_output_matrix_is_computed_reaches_the_engine() -> None:
    from mmrope_eval.cli import sweep
    from mmrope_eval.cli.run import configured

    assert configured(cli.parse([*RUN, "--head-dtype", "float32"])).options.head_dtype == "float32"
    assert configured(cli.parse(RUN)).options.head_dtype == "auto"
    swept = cli.parse(["sweep", "extrapolation", "--model", "a", "--head-dtype", "float32"])
    assert sweep.configured(swept).options.head_dtype == "float32"


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.integers() | st.booleans() | st.just("auto")))
def test_settings_read_back_what_was_written(wanted: dict[str, object]) -> None:
    words = {True: "true", False: "false"}
    options = [f"--set={k}={words[v] if isinstance(v, bool) else v}" for k, v in wanted.items()]
    assert (cli.parse([*RUN, *options]).set or {}) == wanted


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=3))
def test_pixels_are_products(factors: list[int]) -> None:
    product = 1
    for factor in factors:
        product *= factor
    assert cli.parse([*RUN, "--max-pixels", "*".join(map(str, factors))]).max_pixels == product


def test_list_and_show_print_what_exists() -> None:
    listed = call("list").stdout
    for name in ("mrope-i", "circlerope", "chartqa", "grounding"):
        assert f"\n  {name} " in listed
    told = json.loads(call("list", "--json").stdout)
    assert {kind: [entry["name"] for entry in entries] for kind, entries in told.items()} == {
        kind: re.findall(r"^  (\S+) ", text, re.MULTILINE)
        for kind, text in re.findall(r"^(\w+):\n((?:  .*\n)+)", listed, re.MULTILINE)
    }
    (chartqa,) = (task for task in told["tasks"] if task["name"] == "chartqa")
    assert (chartqa["n"], chartqa["metric"], chartqa["present"]) == (2500, "relaxed", False)
    assert list(json.loads(call("list", "suites", "--json").stdout)) == ["suites"]
    shown = call("show", "mrope", "--set", "mrope_section=[8,28,28]", "--set", "temporal_stride=2").stdout
    assert "* mrope_section: (8, 28, 28)" in shown
    assert "* temporal_stride: 2" in shown


@pytest.mark.parametrize(("argv", "says"), [
    (["data"], "demo data: name a folder with --out DIR, a page of samples with --sheet PNG, or both."),
    (["data", "--out", "x", "--columns", "chartq"], "there is no column 'chartq'"),
    (["data", "--out", "README.md"], "README.md is a file; name a folder for the miniature world."),
    (["needle", "--out", "x", "--depths", "half"], "--depths takes numbers from 0 to 100"),
    (["needle", "--out", "x", "--frames", "15"], "an even number of at least 16 frames, not 15."),
])
def test_what_the_miniature_world_refuses_is_one_sentence(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(["demo", *argv]) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1


@pytest.mark.parametrize(("name", "says"), [
    ("mmrope_demo", "run 'make demo' in a checkout"), ("mmrope_synth", "run 'make setup' once"),
])
def test_a_package_of_ours_that_was_not_installed_is_one_sentence(name: str, says: str) -> None:
    sentence = cli.bad_input(ModuleNotFoundError(f"No module named '{name}'", name=name))
    assert sentence is not None and says in sentence


@pytest.mark.parametrize("options", [[], ["--family", "all", "--limit", "2"]])
def test_the_demo_on_photographs_says_what_replaces_it(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "untrained", *options])
    message = capsys.readouterr().err
    assert ended.value.code == 2 and message.count("\n") == 1
    assert "'demo untrained' is gone: 'mmrope-eval demo' runs trained checkpoints" in message


def test_the_demo_names_a_checkpoint_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--checkpoints", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert f"checkpoint {tmp_path / 'vanilla'} is missing" in message
    assert "demo train --variant vanilla" in message


@pytest.mark.parametrize("command", ["run", "sweep", "analyze", "score"])
def test_where_data_are_looked_for_has_one_description(command: str) -> None:
    _, parsers = cli.build_parser()
    (action,) = [action for action in parsers[command]._actions if "--data-root" in action.option_strings]
    assert DATA_ROOT in str(action.help)

"""The house keeps its shape: imports run downwards, files and functions stay short, the wheel has everything."""

from __future__ import annotations

import ast
import importlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from rooms import NEVER, ORDER

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mmrope_eval"
BESIDE = ("mmrope_demo", "mmrope_synth")
"""Packages that are one room each."""
FILES = sorted(path for name in ("mmrope_eval", *BESIDE) for path in (ROOT / name).rglob("*.py"))



def part_of(path: Path) -> str:
    package, below = path.relative_to(ROOT).parts[:2]
    return package if package in BESIDE else below.removesuffix(".py")


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Every absolute module name imported anywhere in the file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_parts(path: Path) -> set[str]:
    names = [name.split(".") for name in imported_modules(ast.parse(path.read_text()))]
    inside = {parts[1] for parts in names if parts[0] == "mmrope_eval" and len(parts) > 1}
    return inside | {parts[0] for parts in names if parts[0] in BESIDE}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    room = part_of(path)
    assert own_parts(path) <= set(ORDER[: ORDER.index(room) + 1]) - NEVER.get(room, set())


REPORT_ORDER = ("", "compare", "table", "sweep", "steps")
"""The rooms of the report, lowest first: the files of its own folder are below all others."""


@pytest.mark.parametrize("path", sorted((PACKAGE / "report").rglob("*.py")),
                         ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards_in_the_report(path: Path) -> None:
    rooms = {name: name if (PACKAGE / "report" / name).is_dir() else "" for name in (
        module.split(".")[2] for module in imported_modules(ast.parse(path.read_text()))
        if module.startswith("mmrope_eval.report."))}
    room = path.parent.name if path.parent != PACKAGE / "report" else ""
    assert set(rooms.values()) <= set(REPORT_ORDER[: REPORT_ORDER.index(room) + 1])


@pytest.mark.parametrize("library, room", [("vllm", "engine"), ("lmms_eval", "lmms")])
def test_a_library_is_imported_in_one_room(library: str, room: str) -> None:
    users = {part_of(path) for path in FILES
             if any(name.split(".")[0] == library for name in imported_modules(ast.parse(path.read_text())))}
    assert users == {room}


def test_networks_of_transformers_are_built_in_the_reference_alone() -> None:
    """But for that of an adapter's base, without memory for weights, whose modules' names and shapes a merge needs: it
    is a checkpoint that is read, in a room below the reference, and whoever reads one would have to hand it in."""
    users = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if builds_networks(ast.parse(path.read_text()))}  # fmt: skip
    assert users == {"models/lora_merge.py", "reference/model.py"}


def builds_networks(tree: ast.Module) -> bool:
    """Whether a file takes a class of a network out of transformers, by its name or by a name that it is given."""
    written = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Call)]
    network = re.compile(r"getattr\(transformers,|transformers\.(AutoModel|models\b|\w+(For\w+|Model)$)")
    return any(network.match(words) for words in (*written, *imported_modules(tree)))


@pytest.mark.parametrize("code", [
    "import transformers\nx = transformers.AutoModelForImageTextToText.from_config(y)",
    "def f():\n    from transformers import Qwen2VLForConditionalGeneration",
    "from transformers.models.qwen2_vl import modeling_qwen2_vl",
    "import transformers\nx = getattr(transformers, name)(config)",
])  # fmt: skip
def test_a_network_is_seen_however_it_is_named(code: str) -> None:
    assert builds_networks(ast.parse(code))
    assert not builds_networks(ast.parse("import transformers\ntransformers.AutoConfig.from_pretrained(x)"))


def test_no_two_files_lead_to_each_other() -> None:
    """Imports inside functions and for types are counted too."""
    homes = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    ahead = {home: imported_files(path, homes.keys()) - {home} for home, path in homes.items()}
    list(TopologicalSorter(ahead).static_order())  # CycleError names the files


def imported_files(path: Path, homes: Collection[str]) -> set[str]:
    """The files that a file imports, by their modules' names: `from a import b` is `a.b` where that is a file."""
    return {name if name in homes else name.rpartition(".")[0] for name in imported_modules(ast.parse(path.read_text()))
            if name in homes or name.rpartition(".")[0] in homes}  # fmt: skip


def test_the_product_has_of_the_miniature_world_its_needles() -> None:
    names = {name for path in PACKAGE.rglob("*.py") for name in imported_modules(ast.parse(path.read_text()))}
    assert {name.split(".")[1] for name in names if name.startswith("mmrope_synth")} == {"errors", "needle"}


def test_rope_needs_only_numpy_and_torch() -> None:
    allowed = {"numpy", "pydantic", "torch", "triton", "yaml", "mmrope_eval"} | set(sys.stdlib_module_names)
    for path in (PACKAGE / "rope").rglob("*.py"):
        roots = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()))}
        assert roots <= allowed, path


def test_public_names_of_rope_come_from_their_modules_when_they_are_used() -> None:
    """Its kernels can be had without pydantic: tests/rope/test_gpu_benchmark.py takes it away."""
    from mmrope_eval import rope

    assert dir(rope) == sorted(rope.__all__)
    modules = {name: importlib.import_module(f"mmrope_eval.rope.{home}") for name, home in rope._HOME_OF.items()}
    assert {name: getattr(rope, name) for name in rope.__all__} == {n: vars(m)[n] for n, m in modules.items()}
    with pytest.raises(AttributeError, match="'no_such_name'"):
        rope.no_such_name  # noqa: B018


def test_report_can_be_read_without_an_engine() -> None:
    for path in (PACKAGE / "report").rglob("*.py"):
        roots = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()))}
        assert not roots & {"vllm", "lmms_eval", "transformers", "torch"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 50, f"{node.name} has {lines} lines"


RIDDLE = re.compile(r"The same\b|Those\b|Itself\b|Never known|Rule \d+\.$")
"""How a docstring begins that is understood only by whoever has read another one."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_is_understood_by_itself(path: Path) -> None:
    texts = [node.value.value for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]  # fmt: skip
    assert [text for text in texts if isinstance(text, str) and RIDDLE.match(text)] == []


def test_every_dependency_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0].lower().replace("-", "_") for requirement in requirements}
    other_names = {"PIL": "pillow", "yaml": "pyyaml"}
    # triton comes with CUDA builds of torch and is optional; _typeshed is what type checkers call Python's own types.
    allowed = declared | set(sys.stdlib_module_names) | {"mmrope_eval", *BESIDE, "triton", "_typeshed"}
    for path in FILES:
        roots = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()))}
        assert {other_names.get(root, root) for root in roots} <= allowed, path


def packages_below(*roots: str) -> set[str]:
    folders = [init.parent for root in roots for init in (ROOT / root).rglob("__init__.py")]
    return {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_every_package_of_the_wheel_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    beside = {"mmrope_eval.configs", "mmrope_eval.results", "mmrope_eval.tasks"}
    assert sorted(declared) == sorted(packages_below("mmrope_eval", "mmrope_synth") | beside)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built from, without what a build leaves behind."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("mmrope_demo", "mmrope_eval", "mmrope_synth", "configs", "results", "tasks"):
        # results/demo and results/demo-seeds are the record of one run, of no use to an installation.
        left_out = ("__pycache__", "demo*") if name == "results" else ("__pycache__",)
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*left_out))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(kind: str, source: Path, to: Path) -> Path:
    """An unpacked wheel, or unpacked editable wheel, as pip has it built."""
    code = f"from setuptools.build_meta import build_{kind}; build_{kind}({str(to)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(to.glob("*.whl"))) as wheel:
        wheel.extractall(to)
    return to


def python_beside(installed: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs code with this environment's packages and one installation, whatever this environment has of ours."""
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    # -S: this environment's own links to a checkout are not followed.
    return subprocess.run([sys.executable, "-S", "-c", code], cwd=installed, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path})  # fmt: skip


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel."""
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_works_outside_the_checkout(source: Path, installed: Path) -> None:
    assert (installed / "mmrope_eval" / "store" / "answer_versions.txt").is_file()
    for folder in ("configs", "results", "tasks"):
        inside = installed / "mmrope_eval"
        shipped = {path.relative_to(inside) for path in (inside / folder).rglob("*.*")}
        assert shipped == {path.relative_to(source) for path in (source / folder).rglob("*.*")}
    done = python_beside(installed, "import mmrope_eval.cli as cli; print(cli.__file__); cli.main(['list'])")
    assert done.stdout.startswith(str(installed)), done.stderr
    for name in ("mrope-i", "chartqa", "grounding"):
        assert f"\n  {name} " in done.stdout


def test_the_wheel_draws_needles_and_trains_nothing(installed: Path) -> None:
    assert not (installed / "mmrope_demo").exists()
    assert (installed / "mmrope_synth" / "py.typed").is_file()
    done = python_beside(installed, "from mmrope_eval.sweep.config import *; "
                             "print(GeneratedNeedles().rows(Needle())[0])")
    assert "What number is on the" in done.stdout, done.stderr


def test_an_installation_makes_data_of_the_miniature_world(installed: Path, tmp_path: Path) -> None:
    """`mmrope-eval run --tasks needle` says how its data are made."""
    argv = ["demo", "needle", "--out", str(tmp_path), "--frames", "16", "--n", "1", "--depths", "50"]
    done = python_beside(installed, f"import mmrope_eval.cli as cli; print(cli.main({argv}))")
    assert done.stdout.endswith("0\n") and len(list(tmp_path.rglob("*.mp4"))) == 1, done.stderr


@pytest.mark.parametrize("part", [[], ["train"]])
def test_the_demo_of_an_installation_says_where_it_is(installed: Path, part: list[str]) -> None:
    done = python_beside(installed, f"import sys, mmrope_eval.cli as cli; sys.exit(cli.main({['demo', *part]}))")
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "mmrope-eval: error: the demo is in a checkout of mmrope-eval and not in an installed one: "
        "run 'make demo' in a checkout\n"
    )


def test_an_editable_installation_has_all_packages(source: Path, tmp_path: Path) -> None:
    linked = build("editable", source, tmp_path)
    (finder,) = linked.glob("__editable__*finder.py")
    names = sorted(packages_below("mmrope_demo", "mmrope_eval", "mmrope_synth"))
    code = f"import {finder.stem} as finder; finder.install(); import importlib\n" + "\n".join(
        f"print(importlib.import_module({name!r}).__file__)" for name in names)  # fmt: skip
    done = python_beside(linked, code)
    assert done.stdout.split() == [str(source / name.replace(".", "/") / "__init__.py") for name in names], done.stderr


def test_evaluate_stays_four_lines() -> None:
    assert len((ROOT / "evaluate.py").read_text().splitlines()) == 4

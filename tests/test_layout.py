"""The house keeps its shape: imports run downwards, files and functions stay short, the wheel has everything."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mmrope_eval"
FILES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "rope": {"rope"},
    "words": set(),
    "errors": {"words"},
    "console": {"errors", "words"},
    "record": {"record", "errors", "words"},
    "environment": set(),
    "steps": set(),
    "unread": set(),
    "protocols": {"rope", "errors"},
    "models": {"environment", "models", "rope", "steps", "console", "errors", "words"},
    "data": {"environment", "data", "models", "console", "errors"},
    "engine": {"engine", "models", "rope", "errors"},
    "reference": {"reference", "engine", "models", "rope", "errors"},
    "suite": {"environment", "data", "suite", "record", "engine", "models", "protocols", "rope", "steps", "unread",
              "console", "errors", "words"},
    "report": {"report", "record", "protocols", "rope", "steps", "unread", "console", "errors", "words"},
    "demo": {"data", "demo", "suite", "report", "record", "reference", "engine", "models", "rope", "errors"},
    "analyze": {"data", "report", "suite", "reference", "engine", "models", "rope", "console", "errors"},
    "sweep": {"data", "suite", "report", "demo", "engine", "console", "errors"},
    "argument_types": {"record"},
    "arguments": {"argument_types", "model_arguments"},
    "report_arguments": {"argument_types"},
    "demo_arguments": {"argument_types"},
    "model_arguments": {"argument_types"},
    "inspection": {"suite", "engine", "models", "rope", "console", "errors"},
    "catalogue": {"suite", "rope", "console", "errors"},
    "doctor": {"doctor_nodes", "suite", "rope", "console", "errors"},
    "doctor_nodes": {"environment", "suite", "engine", "console", "errors"},
    "foreign": set(),
    "cli": {"environment", "foreign", "arguments", "report_arguments", "demo_arguments", "model_arguments", "console",
            "errors"},
    "__main__": {"cli"},
    "__init__": {"report"},
}
"""Which parts of the package each part may import; the package itself (its version) is open to all but rope."""


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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
    return {parts[1] for parts in names if parts[0] == "mmrope_eval" and len(parts) > 1} - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    assert own_parts(path) <= MAY_IMPORT[part_of(path)]


def test_rope_needs_only_numpy_and_torch() -> None:
    allowed = {"numpy", "pydantic", "torch", "triton", "yaml", "mmrope_eval"} | set(sys.stdlib_module_names)
    for path in (PACKAGE / "rope").rglob("*.py"):
        roots = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()))}
        assert roots <= allowed, path


def test_public_names_of_rope_come_from_their_modules_when_they_are_used() -> None:
    """Its kernels can be had without pydantic: tests/test_gpu_benchmark.py takes it away."""
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
            docstring = node.body[0] if ast.get_docstring(node) else None
            lines = length(node) - (length(docstring) if docstring else 0)
            assert lines < 50, f"{node.name} has {lines} lines besides its docstring"


def length(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_every_dependency_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.match(r"[\w-]+", requirement)[0].lower().replace("-", "_") for requirement in requirements}
    other_names = {"PIL": "pillow", "yaml": "pyyaml", "skimage": "scikit_image", "skvideo": "scikit_video"}
    # triton comes with CUDA builds of torch and is optional.
    known = declared | set(sys.stdlib_module_names) | {"mmrope_eval", "triton"}
    for path in FILES:
        roots = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()))}
        assert {other_names.get(root, root) for root in roots} <= known, path


def test_every_package_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(init.parent.relative_to(ROOT).parts) for init in PACKAGE.rglob("__init__.py")}
    assert declared == found | {"mmrope_eval.configs", "mmrope_eval.results", "mmrope_eval.tasks"}


def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("mmrope_eval", "configs", "results", "tasks"):
        # results/demo and results/demo-seeds are the record of one run, of no use to an installation.
        left_out = ("__pycache__", "demo*") if name == "results" else ("__pycache__",)
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*left_out))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True)
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(unpacked)

    assert (unpacked / "mmrope_eval" / "suite" / "answer_versions.txt").is_file()
    for folder in ("configs", "results", "tasks"):
        inside = unpacked / "mmrope_eval"
        shipped = {path.relative_to(inside) for path in (inside / folder).rglob("*.*")}
        assert shipped == {path.relative_to(source) for path in (source / folder).rglob("*.*")}
    code = "import mmrope_eval.cli as cli; print(cli.__file__); cli.main(['list'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=unpacked, capture_output=True, text=True)
    assert done.stdout.startswith(str(unpacked)), done.stderr
    for name in ("mrope-i", "chartqa", "grounding"):
        assert f"\n  {name} " in done.stdout


def test_evaluate_stays_four_lines() -> None:
    assert len((ROOT / "evaluate.py").read_text().splitlines()) == 4

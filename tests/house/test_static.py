"""ruff and mypy --strict find nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("tool", [("ruff", "check", "."), ("mypy",)], ids=["ruff", "mypy"])
def test_static_analysis_is_clean(tool: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "mmrope_eval").rglob("*.py")),
                         ids=lambda path: path.relative_to(ROOT).as_posix())  # fmt: skip
def test_a_parameter_that_is_called_says_with_what(path: Path) -> None:
    """mypy lets `Any` be called with anything."""
    assert called_without_a_type(ast.parse(path.read_text())) == []


def called_without_a_type(tree: ast.Module) -> list[str]:
    """Parameters of type Any that their function calls."""
    untyped: list[str] = []
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        called = {node.func.id for node in ast.walk(function)
                  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        untyped += [f"{function.name}({given.arg})" for given in (*function.args.args, *function.args.kwonlyargs)
                    if given.annotation and ast.unparse(given.annotation) == "Any" and given.arg in called]
    return untyped


def test_a_call_of_any_is_seen() -> None:
    assert called_without_a_type(ast.parse("def f(load: Any, row: Any) -> str:\n    return load(row)")) == ["f(load)"]

"""What is special to a family stands in its file in `models/families`: no other code knows its name or patch sizes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mmrope_demo", "mmrope_eval", "mmrope_synth")
MODELS = ROOT / "mmrope_eval" / "models"
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
               if not path.is_relative_to(MODELS / "families"))  # fmt: skip

WORDS = {
    # Writes checkpoints as each family publishes them: which keys a config.json has is in no record.
    "mmrope_demo/checkpoints.py": {"qwen2-vl", "qwen2.5-vl", "qwen3-vl"},
    # One of the families is the default, and the heads of commands say which without importing them all.
    "mmrope_eval/models/default_family.py": {"qwen2.5-vl"},
    # A wording, by its name in task files, which the paper says it follows.
    "mmrope_eval/task/spec.py": {"qwen2-vl"},
    # A variant, by its name in configs/variants: in an example, and offered in a message.
    "mmrope_eval/analysis/options.py": {"qwen3-vl"},
    "mmrope_eval/models/rope_config.py": {"qwen3-vl"},
}
"""By file: families' names in its code, and why."""

SIZES = {
    "mmrope_demo/checkpoints.py": {16},  # channels of a head, of which each axis gets an even share
    "mmrope_demo/training/primer.py": {14},  # pixels of small letters
    "mmrope_eval/media/colour.py": {16},  # a code of ITU-T H.273
    "mmrope_eval/store/answer_code.py": {16},  # bytes of a .pyc's header
    "mmrope_eval/store/file.py": {16},  # bytes of a digest
    "mmrope_eval/sweep/config.py": {16},  # vision cells of a frame, by default
    "mmrope_eval/analysis/command.py": {16},  # questions
    "mmrope_eval/rope/vectors.py": {16},  # rotary pairs
    "mmrope_eval/rope/sections.py": {16},  # the same
    "mmrope_eval/analysis/tables.py": {16},  # distances
    "mmrope_synth/core.py": {16},  # seconds of a clip
    "mmrope_synth/charts.py": {14},  # labels, as shares of a chart's side
    "mmrope_synth/documents.py": {16, 28},  # height of a receipt's lines; days of a month, degrees of a turn
    "mmrope_synth/needle.py": {28},  # the smallest frame on which a card's figures can be read
    "mmrope_synth/scenes.py": {14},  # width of a background's stripes
}
"""By file: numbers that a patch size could be and that are something else."""


def code_constants(tree: ast.Module) -> Iterator[object]:
    """Constants outside of docstrings."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told)


FAMILY_MODULES = {f"mmrope_eval.models.families.{path.stem}" for path in (MODELS / "families").glob("*.py")
                  if path.stem != "__init__"}  # fmt: skip


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """What is imported, and every package on the way to it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lengths(tree: ast.Module) -> set[int]:
    """Constants that count bits, bytes or letters: ends of slices, exponents, factors of GiB, arguments of `1 <<`."""
    counts: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Slice):
            parts = [node.lower, node.upper]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
            parts = [node.right]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            other = ast.unparse(node.right)
            parts = [node.left] if other == "_GIB" or other.startswith("2 **") else []
        counts |= {id(part) for part in parts if part is not None}
    return counts


def family_words(tree: ast.Module) -> set[str]:
    texts = [text for text in code_constants(tree) if isinstance(text, str)]
    names = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "Qwen2-VL", "Qwen2.5-VL-7B",
             "Qwen2.5-VL", "Qwen3-VL", "Qwen2VL", "Qwen2_5_VL", "Qwen3VL")  # fmt: skip
    words: set[str] = set()
    for text in texts:
        for name in names:
            if name in text:
                words.add(name)
                text = text.replace(name, "")
        if "qwen" in text.lower():
            words.add(text)
    return words


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_outside_of_the_families_files_knows_no_family(path: Path) -> None:
    """Neither by a name or class of one in a text, nor by importing its file."""
    tree, name = ast.parse(path.read_text()), path.relative_to(ROOT).as_posix()
    assert family_words(tree) == WORDS.get(name, set())
    assert not set(imported_modules(tree)) & FAMILY_MODULES
    assert not [module for module in imported_modules(tree) if re.match(r"(transformers|vllm)\..*qwen", module)]


@pytest.mark.parametrize("path", [path for path in FILES if not path.is_relative_to(MODELS)],
                         ids=lambda path: path.relative_to(ROOT).as_posix())  # fmt: skip
def test_code_outside_of_models_knows_no_patch_size(path: Path) -> None:
    tree, name = ast.parse(path.read_text()), path.relative_to(ROOT).as_posix()
    counts = lengths(tree)
    sizes = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in counts
             and node.value in (14, 16, 28) and type(node.value) in (int, float)}  # fmt: skip
    assert sizes == SIZES.get(name, set())


@pytest.mark.parametrize("code, words", [
    ('"""Of Qwen3-VL."""\nx = 1', set()),
    ('if kind != "qwen2_5_vl": pass', {"qwen2_5_vl"}),
    ('x = f"{y} of Qwen3-VL"', {"Qwen3-VL"}),
    ('PROCESSORS = ("Qwen2VLImageProcessor",)', {"Qwen2VL"}),
    ('x = "Qwen4"', {"Qwen4"}),
])  # fmt: skip
def test_words_are_found(code: str, words: set[str]) -> None:
    assert family_words(ast.parse(code)) == words

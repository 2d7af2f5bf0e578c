"""An answer belongs to the code that made it: what is hashed, what the hashes mean, and how an edit is noticed."""

from __future__ import annotations

import ast
import compileall
import contextlib
import py_compile
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loaded_scripts import load_script

from mmrope_eval.errors import UserError
from mmrope_eval.store import answer_code as code

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mmrope_eval"

SOURCE = '''
"""A module."""
import math


class Grid(Base):
    """A layout."""

    step: float = 1.0
    """Of the time axis."""

    def moves(self, n: int, *, odd: bool = False) -> list[int]:
        """Where it goes."""
        return [i + 1 for i in range(n) if odd or f"{i:>{n}}" != "x\\N{BULLET}"]  # always
'''


def digest(source: str) -> str:
    return code.source_digest(source.encode())


@pytest.mark.parametrize("other", [
    SOURCE.replace("  # always", ""),
    SOURCE.replace("# always", "# sometimes"),
    SOURCE.replace('"""A layout."""', '"""Another layout,\n    with more words."""'),
    SOURCE.replace('    """Of the time axis."""\n', ""),
    SOURCE.replace('        """Where it goes."""\n', ""),
    SOURCE.replace("[i + 1 for", "[\n            (i + 1) for"),
    SOURCE.replace("import math\n\n\n", "import math\n"),
    SOURCE.replace('"x\\N{BULLET}"', "'x•'"),
], ids=["no comment", "comment", "docstring", "no remark", "no docstring", "layout", "blank lines", "spelling"])
def test_what_cannot_change_an_answer_changes_no_hash(other: str) -> None:
    assert other != SOURCE and digest(other) == digest(SOURCE)


@pytest.mark.parametrize("other", [
    SOURCE.replace("i + 1", "i + 2"),
    SOURCE.replace("i + 1", "i + 1.0"),
    SOURCE.replace("i + 1", "i - 1"),
    SOURCE.replace("step: float = 1.0", "step: float = 1.5"),
    SOURCE.replace("step: float", "step: int"),
    SOURCE.replace("odd: bool = False", "odd: bool = True"),
    SOURCE.replace("*, odd", "odd"),
    SOURCE.replace("class Grid(Base)", "class Grid"),
    SOURCE.replace('{i:>{n}}', '{i:<{n}}'),
    SOURCE.replace("import math", "import cmath"),
    SOURCE.replace("return [", "return 'x' and ["),
    SOURCE.replace("    step: float = 1.0", "    step: float = 1.0\n    other = None"),
])
def test_what_can_changes_it(other: str) -> None:
    assert other != SOURCE and digest(other) != digest(SOURCE)


def test_every_python_writes_the_same() -> None:
    assert digest(SOURCE)[:16] == "837085d14114a79e"


def test_fields_that_newer_pythons_add_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `type_params` of Python 3.12."""
    before = digest(SOURCE)
    for kind in (ast.FunctionDef, ast.ClassDef):
        monkeypatch.setattr(kind, "_fields", (*kind._fields, "brand_new"))
        monkeypatch.setattr(kind, "brand_new", [], raising=False)
    code.source_digest.cache_clear()
    assert digest(SOURCE) == before


def test_the_tree_is_declared() -> None:
    """Who changes a file of these rooms says what it means for kept answers (docs/same-answer.md)."""
    read = code.read_code(PACKAGE)
    assert read.declared, (
        "The code that gives answers has changed. Where every answer stays what it was, say so with\n"
        "    make answers ARGS='--same-as VERSION \"what was changed\"'\n"
        "and kept answers of that version are used again. Where answers change, open a new answer version with --new."
    )


def test_answers_of_the_last_version_are_still_found() -> None:
    """Its name is what version 0.3.0 wrote into every identity."""
    assert "0.3.0" in {entry.version for entry in code.parse_register(register())}


def register() -> str:
    return (PACKAGE / "store" / code.REGISTER).read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------- every file that counts

BY_VALUE = {
    "task/yaml_text.py": "reads task files for the registry and for the rows, which are in the question",
    "task/registry.py": "what it reads of a task file is in the question: prompt, system prompt, answer limit, media",
    "scorer/choice_text.py": "lists options in prompts, which are in the question",
    "task/targets.py": "right answers are scored, not asked",
    "run/answer_limits.py": "limits are in the question, and what a template is told is in the context",
    "task/clusters.py": "names what samples are averaged by; its marks are in the question",
    "store/answer_code.py": "names the code",
    "store/store.py": "keeps outcomes as they are; every row has a checksum",
    "run/progress.py": "counts",
    "run/runlog.py": "logs and tracebacks",
    "util/console.py": "prints",
    "errors.py": "words",
    "words.py": "words",
    "util/config.py": "reads variants, which are in the answer's key by their fingerprint, and tasks, by the question",
    "util/files.py": "writes what is read back with a sum",
    "util/paths.py": "where files and the cache are",
    "util/strict_json.py": "reads lists in tables of VLMEvalKit's: texts and pictures of the question",
    "util/row_names.py": "names of rows and checkpoints",
}
"""Files that an answer's files import and that are in no room, each with the reason."""


def imported(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith("mmrope_eval.") and file.is_file():
                yield file


def test_no_file_that_an_answer_passes_through_is_left_out() -> None:
    counted = {name for names in code.room_files(PACKAGE).values() for name in names}
    outside = {str(file.relative_to(PACKAGE)) for name in counted for file in imported(PACKAGE / name)} - counted
    assert outside - set(BY_VALUE) == set()
    assert outside & code.NO_PART == frozenset()


def test_rooms_and_exceptions_name_files_that_exist() -> None:
    assert all(code.room_files(PACKAGE).values())
    for name in (*code.NO_PART, *BY_VALUE):
        assert (PACKAGE / name).is_file(), name


def test_no_docstring_is_read_by_the_code() -> None:
    """Else it could change an answer. The one that is set is of a class that vLLM shows."""
    counted = [PACKAGE / name for names in code.room_files(PACKAGE).values() for name in names]
    readers = [path.name for path in counted for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
               if isinstance(node, ast.Attribute) and node.attr in ("__doc__", "getdoc", "getsource")]
    assert readers == []


# ------------------------------------------------------------------------------------------------- trees and versions


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package that may be edited."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "mmrope_eval", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def script() -> Any:
    return load_script("scripts/answer_version.py")


def edit(tree: Path, name: str = "rope/positions.py") -> None:
    with (tree / name).open("a", encoding="utf-8") as file:
        file.write("\nEDITED = True\n")


def test_an_edited_tree_stands_on_its_own_and_going_back_finds_the_old_answers(tree: Path) -> None:
    before = code.read_code(tree)
    whole = (tree / "rope/positions.py").read_text()
    edit(tree)
    first = code.read_code(tree)
    edit(tree)
    second = code.read_code(tree)
    assert len({before.version, first.version, second.version}) == 3
    assert before.declared and not first.declared and not second.declared
    assert code.changed_files(before.files, second.files) == ["rope/positions.py"]
    assert [room for room in before.rooms if before.rooms[room] != second.rooms[room]] == ["rope"]
    (tree / "rope/positions.py").write_text(whole)
    assert code.read_code(tree) == before


@pytest.mark.parametrize("name", [
    "rope/kernels.py", "engine/prepare.py", "media/frames.py", "engine/vllm_compat.py",
    "models/families/qwen3_vl.py", "models/template.py", "data/media_files.py", "task/template.py",
    "task/sample.py", "task/plan.py", "run/execute.py",
])
def test_every_room_counts(tree: Path, name: str) -> None:
    edit(tree, name)
    assert not code.read_code(tree).declared


@pytest.mark.parametrize("name", ["scorer/score.py", "scorer/choice.py", "report/table/build.py", "cli.py",
                                  "rope/geometry.py", "rope/vectors.py"])  # fmt: skip
def test_what_reads_answers_does_not(tree: Path, name: str) -> None:
    edit(tree, name)
    assert code.read_code(tree).declared


def test_a_new_file_in_a_room_counts(tree: Path) -> None:
    (tree / "rope" / "more.py").write_text("X = 1\n")
    assert not code.read_code(tree).declared


@pytest.mark.parametrize("room", ["rope", "models", "engine"])
def test_a_package_without_sources_has_no_name(tree: Path, room: str) -> None:
    """All such packages would be one: their compiled code is not what is hashed."""
    compileall.compile_dir(tree / room, quiet=2, legacy=True)
    for path in (tree / room).rglob("*.py"):
        path.unlink()
    with pytest.raises(UserError, match="has no source files"):
        code.read_code(tree)


@pytest.mark.parametrize(("mode", "edited", "refused"), [
    (py_compile.PycInvalidationMode.UNCHECKED_HASH, True, True),
    (py_compile.PycInvalidationMode.UNCHECKED_HASH, False, False),
    (py_compile.PycInvalidationMode.CHECKED_HASH, True, False),
    (py_compile.PycInvalidationMode.TIMESTAMP, True, False),
])
def test_a_compiled_file_that_python_takes_unseen_is_of_its_source(
    tree: Path, mode: py_compile.PycInvalidationMode, edited: bool, refused: bool
) -> None:
    """Else a patch of an installed package would be named in the answers' identity and never run, or the reverse."""
    py_compile.compile(str(tree / "rope/positions.py"), invalidation_mode=mode)
    if edited:
        edit(tree)
    with pytest.raises(UserError, match=r"in place of .*positions\.py") if refused else contextlib.nullcontext():
        code.read_code(tree)


def test_declaring_a_refactoring_asks_nothing_again(tree: Path, script: Any) -> None:
    before = code.read_code(tree)
    edit(tree)
    assert script.main(["--package", str(tree)]) == 1
    assert script.main(["--package", str(tree), "--same-as", before.version, "a constant"]) == 0
    assert code.read_code(tree).version == before.version
    assert script.main(["--package", str(tree)]) == 0
    assert (tree / "store" / code.REGISTER).read_text().startswith(register()), "lines are only added"
    edit(tree)
    assert script.main(["--package", str(tree), "--new", "9.9.9", "another answer"]) == 0
    assert code.read_code(tree).version == "9.9.9"


@pytest.mark.parametrize(("argv", "expected"), [
    (["--same-as", "0.0.1", "x"], "0.0.1 is unknown"), (["--new", "0.3.0", "x"], "0.3.0 is taken"),
    (["--same-as", "0.3.0"], "what was changed"),
])
def test_a_declaration_that_cannot_be(
    tree: Path, script: Any, argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(tree)
    with pytest.raises(SystemExit):
        script.main(["--package", str(tree), *argv])
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("line", ["0.3.0", "0.3.0 rope", "0.3.0 rope=", "0.3.0 =1", "edited-1 rope=1"])
def test_a_register_that_is_none_is_refused(tree: Path, line: str) -> None:
    (tree / "store" / code.REGISTER).write_text(f"{register()}{line}\n")
    with pytest.raises(UserError, match=r"line \d+ is not VERSION"):
        code.read_code(tree)


def test_code_that_is_edited_while_it_runs_is_noticed(tree: Path) -> None:
    before = code.read_code(tree)
    code.require_unedited(before, tree)
    edit(tree)
    with pytest.raises(code.CodeChangedError, match=r"mmrope_eval/rope/positions.py changed while"):
        code.require_unedited(before, tree)


def test_what_changed_is_said_by_file_where_it_was_recorded_and_by_room_elsewhere(tree: Path) -> None:
    before = code.read_code(tree)
    edit(tree)
    now = code.read_code(tree)
    assert code.what_changed(before.version, before.record(), now) == "mmrope_eval/rope/positions.py"
    assert code.what_changed(before.version, None, now) == "mmrope_eval's code for rope"
    assert code.what_changed("unheard-of", None, now) == ""

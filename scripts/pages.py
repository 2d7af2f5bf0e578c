"""Write the pages made from the code: commands with options, files with a sentence, rooms' imports, records' keys.

    python scripts/pages.py [--check]

docs/commands.md comes from the parser of the command line, docs/files.md from docstrings, the table in
docs/architecture.md from the imports, those in docs/run-files.md from the types of the records. With `--check` nothing
is written, and the exit code is 1 where a page is not what the code says; a test runs it.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS_PAGE = ROOT / "docs" / "commands.md"
FILES_PAGE = ROOT / "docs" / "files.md"
ROOMS_PAGE = ROOT / "docs" / "architecture.md"
RECORDS_PAGE = ROOT / "docs" / "run-files.md"
RECORDS = {"record/schema.py": None, "messages.py": {"Generation", "MediaFacts", "PositionFacts"},
           "task/registry.py": {"Family"}, "media/policy.py": {"MediaPolicy"}, "engine/options.py": {"EngineOptions"},
           "run/answer_limits.py": {"Thinking"}, "run/status.py": {"RowStatus", "ProgressRecord"}}  # fmt: skip
"""Files with types of what a run writes, and which classes there are such; None: all."""
WIDTH = "110"
MARKS = ("<!-- made by scripts/pages.py -->", "<!-- end -->")
PACKAGE = "mmrope_eval"
BESIDE = ("mmrope_demo", "mmrope_synth")
"""Packages that are one room each."""


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    args = parser.parse_args()
    made = {COMMANDS_PAGE: commands_page(), FILES_PAGE: files_page(),
            ROOMS_PAGE: between_marks(ROOMS_PAGE.read_text(), rooms_table()),
            RECORDS_PAGE: between_marks(RECORDS_PAGE.read_text(), records_tables())}  # fmt: skip
    stale = [page for page, text in made.items() if not page.exists() or page.read_text() != text]
    for page in stale:
        if args.check:
            print(f"{page.relative_to(ROOT)} is not what the code says: run python scripts/pages.py")
        else:
            page.write_text(made[page])
            print(f"wrote {page.relative_to(ROOT)}")
    return int(args.check and bool(stale))


def commands_page() -> str:
    """Markdown: what every command says when it is asked for help."""
    sys.path.insert(0, str(ROOT))
    os.environ["COLUMNS"] = WIDTH
    from mmrope_eval.cli.command_line import COMMANDS, PROGRAM, build_parser

    _, parsers = build_parser()
    lines = ["# Every command", "",
             f"What `{PROGRAM} COMMAND --help` says, made from the parser by `python scripts/pages.py`. "
             "`python evaluate.py` is", f"`{PROGRAM} run`.", ""]  # fmt: skip
    lines += [f"- [{name}](#{name}): {command.summary}" for name, command in COMMANDS.items()]
    for command, parser in parsers.items():
        lines += ["", f"## {command}", "", "```text", parser.format_help().rstrip(), "```"]
    return "\n".join([*lines, *foreign_options()]) + "\n"


def foreign_options() -> list[str]:
    """Markdown: options of other harnesses, those with the same answer together."""
    from mmrope_eval.cli.foreign import FOREIGN

    lines = ["", "## Coming from lmms-eval or lm-eval", "",
             "What the command line answers to options that it does not have, in either spelling:", "",
             "| there | here |", "|---|---|"]  # fmt: skip
    for foreign in dict.fromkeys(FOREIGN.values()):
        names = ", ".join(f"`--{name}`" for name, answer in FOREIGN.items() if answer == foreign)
        lines.append(f"| {names} | {foreign.answer} |")
    page = "[benchmark.md](benchmark.md#under-lmms-eval-itself)"
    return [*lines, "", f"Our task files under lmms-eval's own evaluator: {page}."]


def between_marks(page: str, text: str) -> str:
    """A page with what stands between its marks exchanged."""
    begin, end = (re.escape(mark) for mark in MARKS)
    return re.sub(f"(?<={begin}\n).*?(?={end})", lambda _: f"\n{text}\n\n", page, flags=re.DOTALL)


def records_tables() -> str:
    """Markdown: every record with its fields, their types and what is said of them, in the order of the files."""
    lines: list[str] = []
    classes = [(node, names) for file, names in RECORDS.items()
               for node in ast.parse((ROOT / PACKAGE / file).read_text()).body if isinstance(node, ast.ClassDef)]
    for record, names in classes:
        if names is not None and record.name not in names:
            continue
        rows = list(fields(record))
        if rows:
            lines += [f"### {record.name}", "", one_line(ast.get_docstring(record) or ""), "",
                      "| key | type | |", "|---|---|---|", *rows, ""]  # fmt: skip
    return "\n".join(lines).rstrip()


def fields(record: ast.ClassDef) -> Iterator[str]:
    """A row for each field of a record, with the sentence below it."""
    for field, below in itertools.zip_longest(record.body, record.body[1:]):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        kind = ast.unparse(field.annotation)
        if kind.startswith("ClassVar"):
            continue
        sentence = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
        text = kind.replace("|", "\\|")
        yield f"| `{alias_of(field) or field.target.id}` | `{text}` | {one_line(str(sentence))} |"


def alias_of(field: ast.AnnAssign) -> str | None:
    """The key that a file has for a field, where its declaration gives it another name."""
    keywords = field.value.keywords if isinstance(field.value, ast.Call) else []
    return next((str(ast.literal_eval(word.value)) for word in keywords if word.arg == "alias"), None)


def one_line(text: str) -> str:
    """Words on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def files_page() -> str:
    """Markdown: every file with the first paragraph of its docstring, room by room, lowest first."""
    rooms = files_of_rooms()
    lines = ["# Every file", "",
             "What is in each file, by its own docstring (`python scripts/pages.py`): rooms as in "
             "[architecture.md](architecture.md),", "lowest first. Search this page for a word of what you look for."]
    for room in lowest_first(imports_of(rooms)):
        lines += ["", f"## {room}", "", "| file | what is in it |", "|---|---|"]
        for file in rooms[room]:
            path = file.relative_to(ROOT).as_posix().removeprefix(f"{PACKAGE}/")
            words = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
            lines.append(f"| `{path}` | {one_line(words)} |")
    return "\n".join(lines) + "\n"


def files_of_rooms() -> dict[str, list[Path]]:
    """The files of every room, in alphabetical order."""
    rooms: dict[str, list[Path]] = {}
    for file in sorted(path for package in (PACKAGE, *BESIDE) for path in (ROOT / package).rglob("*.py")):
        rooms.setdefault(room_of(file), []).append(file)
    return rooms


def imports_of(rooms: Mapping[str, list[Path]]) -> dict[str, set[str]]:
    """The other rooms that each one imports."""
    return {room: {name for file in files for name in imported_rooms(file)} - {room} for room, files in rooms.items()}


def rooms_table() -> str:
    """Markdown: every room, lowest first, with the number of its files and the rooms it imports."""
    rooms = files_of_rooms()
    imports = imports_of(rooms)
    lines = ["| room | files | imports |", "|---|--:|---|"]
    lines += [f"| {room} | {len(rooms[room])} | {', '.join(sorted(imports[room])) or '-'} |"
              for room in lowest_first(imports)]  # fmt: skip
    return "\n".join(lines)


def room_of(file: Path) -> str:
    """A folder of the package, one of its own files, or a package beside it."""
    package, below = file.relative_to(ROOT).parts[:2]
    return package if package in BESIDE else below.removesuffix(".py")


def imported_rooms(file: Path) -> Iterator[str]:
    """The rooms that a file imports from, anywhere in it; the package's own names (its version) are none."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] in BESIDE:
                yield parts[0]
            elif parts[0] == PACKAGE and len(parts) > 1 and not parts[1].startswith("__"):
                yield parts[1]


def lowest_first(imports: Mapping[str, set[str]]) -> list[str]:
    """Rooms so that each stands behind all that it imports. ValueError where they import each other in a circle."""
    order: list[str] = []
    for _ in itertools.repeat(None, len(imports)):
        ready = sorted(room for room in imports if room not in order and imports[room] <= set(order))
        if not ready:
            raise ValueError(f"these rooms import each other: {', '.join(sorted(set(imports) - set(order)))}")
        order.append(ready[0])
    return order


if __name__ == "__main__":
    sys.exit(main())

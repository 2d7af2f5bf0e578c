"""Write the pages made from the code: every command with its options, rooms with what they import, records' fields.

    python scripts/pages.py [--check]

docs/commands.md comes from the parser of the command line, the table in docs/architecture.md from the imports, that in
docs/run-files.md from the types of the records. With `--check` nothing is written, and the exit code is 1 where a page
is not what the code says; a test runs it.
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
ROOMS_PAGE = ROOT / "docs" / "architecture.md"
RECORDS_PAGE = ROOT / "docs" / "run-files.md"
SCHEMA = ROOT / "mmrope_eval" / "record" / "schema.py"
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
    made = {COMMANDS_PAGE: commands_page(), ROOMS_PAGE: between_marks(ROOMS_PAGE.read_text(), rooms_table()),
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
    """Markdown: every record with its fields, their types and what is said of them, in the order of the file."""
    lines: list[str] = []
    for record in ast.parse(SCHEMA.read_text()).body:
        if not isinstance(record, ast.ClassDef) or record.name == "Record":
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
        yield f"| `{field.target.id}` | `{text}` | {one_line(str(sentence))} |"


def one_line(text: str) -> str:
    """Words on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def rooms_table() -> str:
    """Markdown: every room, lowest first, with the number of its files and the rooms it imports."""
    files = sorted(path for package in (PACKAGE, *BESIDE) for path in (ROOT / package).rglob("*.py"))
    rooms: dict[str, list[Path]] = {}
    for file in files:
        rooms.setdefault(room_of(file), []).append(file)
    imports = {room: {name for file in held for name in imported_rooms(file)} - {room} for room, held in rooms.items()}
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

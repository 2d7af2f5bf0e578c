"""Which source code gives an answer, as a name: an answer belongs to the code that made it (docs/same-answer.md).

The files that a question and its answer pass through are hashed, room by room, without comments and docstrings. What
such hashes mean is written down in `answer_versions.txt`: trees that are declared to give the same answers share one
answer version. A tree that nobody declared is a version of its own, so that an edited checkout never meets the answers
of another.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError

ROOMS: Final[Mapping[str, tuple[str, ...]]] = {
    "rope": ("rope/*.py",),
    "media": ("media/*.py",),
    "engine": ("engine/*.py",),
    "models": ("models/*.py", "models/families/*.py"),
    "data": ("data/*.py", "lmms/loader.py", "lmms/subsets.py", "task/dataset.py"),
    "asking": ("messages.py", "run/asking.py", "run/execute.py", "sweep/engine.py",
               "task/lmms_hooks.py", "task/parts.py", "task/plan.py", "task/sample.py",
               "task/template.py"),
}
"""Patterns below the package; a file belongs to the first room that names it."""

NO_PART: Final = frozenset({"analysis/measures.py", "analysis/table1.py", "rope/geometry.py", "rope/vectors.py",
                           "models/description.py", "models/options.py", "models/stamp.py"})
"""Files of these rooms that no answer passes through: nothing in the rooms imports them, which a test checks."""

REGISTER: Final = "answer_versions.txt"
EDITED: Final = "edited-"
"""How the name of a tree begins that nobody declared."""


class CodeChangedError(UserError):
    """The code was edited while it ran; one sentence."""


@dataclass(frozen=True)
class AnswerCode:
    """The code of a tree that gives answers."""

    files: Mapping[str, str]
    """A hash of each file's statements, by its path below the package."""
    rooms: Mapping[str, str]
    version: str
    """The answer version that the tree is declared to be, or a name of its own."""

    @property
    def declared(self) -> bool:
        """Whether the register knows this tree."""
        return not self.version.startswith(EDITED)

    def record(self) -> dict[str, Any]:
        """What a store keeps beside its answers, so that a later start can say what changed."""
        return {"version": self.version, "rooms": dict(self.rooms), "files": dict(self.files)}


@functools.cache
def answer_code() -> AnswerCode:
    """The code that this process runs, as its files were when they were first asked for."""
    return read_code(package())


def require_unedited(before: AnswerCode | None = None, folder: Path | None = None) -> None:
    """CodeChangedError when the code in a package's folder was edited since it was read, this process's by default:
    what is loaded is nobody's tree then."""
    before, now = before or answer_code(), read_code(folder or package())
    if before.files != now.files:
        names = ", ".join(f"mmrope_eval/{name}" for name in changed_files(before.files, now.files))
        raise CodeChangedError(f"{names} changed while this was running, so nobody could say which code answers: start "
                               "the same command again, which keeps every answer under the name of its own code.")


def package() -> Path:
    """The folder of the package."""
    return Path(__file__).resolve().parents[1]


def read_code(folder: Path, register: Path | None = None) -> AnswerCode:
    """The code in a package's folder. UserError when the register or a file cannot be read, or when what Python would
    run is not what the files say."""
    try:
        require_sources(folder)
        rooms = {room: {name: source_digest((folder / name).read_bytes()) for name in names}
                 for room, names in room_files(folder).items()}  # fmt: skip
        declared = parse_register((register or folder / "store" / REGISTER).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"the code in {folder} cannot be read, so its answers have no name ({error}): install "
                        "mmrope-eval again.") from error
    digests = {room: short_digest(f"{name} {digest}" for name, digest in sorted(files_of_room.items()))
               for room, files_of_room in rooms.items()}  # fmt: skip
    files = {name: digest[:12] for files_of_room in rooms.values() for name, digest in files_of_room.items()}
    version = next((entry.version for entry in declared if entry.rooms == digests), None)
    if version is None:
        version = EDITED + short_digest(f"{room} {digest}" for room, digest in sorted(digests.items()))
    return AnswerCode(files, digests, version)


def require_sources(folder: Path) -> None:
    """UserError where the code that runs is not the source that is hashed: a package of compiled files alone, or a
    compiled file that Python takes without a look at the source that it was made of."""
    rooms = room_files(folder)
    for room, names in rooms.items():
        if not names:
            raise UserError(f"{folder} has no source files for its part '{room}', so nobody could say which code "
                            "answers: install mmrope-eval with its .py files.")
    for name in (name for names in rooms.values() for name in names):
        path = folder / name
        compiled = Path(importlib.util.cache_from_source(str(path)))
        if runs_unlooked(path, compiled):
            raise UserError(f"Python runs {compiled} in place of {path}, which says something else: remove the folder "
                            f"{compiled.parent}.")


def runs_unlooked(path: Path, compiled: Path) -> bool:
    """Whether a compiled file is of another source, and says that nobody is to check (PEP 552, `unchecked-hash`).
    Python compares all other compiled files with the source's time and size, or its hash."""
    try:
        with compiled.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        return False
    magic, flags, made_of = head[:4], head[4:8], head[8:16]
    if magic != importlib.util.MAGIC_NUMBER or flags != UNCHECKED:
        return False
    return made_of != importlib.util.source_hash(path.read_bytes())


UNCHECKED: Final = (1).to_bytes(4, "little")
"""The flags of a compiled file that is known by its source's hash, which is not to be checked."""


def room_files(folder: Path) -> dict[str, list[str]]:
    """The files of every room, by their paths below the package."""
    taken = set(NO_PART)
    rooms: dict[str, list[str]] = {}
    for room, patterns in ROOMS.items():
        names = {path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern)}
        rooms[room] = sorted(names - taken)
        taken |= names
    return rooms


def short_digest(lines: Iterable[str]) -> str:
    """The beginning of a sha256, long enough that two states never share it by chance."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------- what is hashed


@functools.lru_cache(maxsize=512)
def source_digest(source: bytes) -> str:
    """sha256 over a Python file's statements: comments, docstrings and layout leave it as it is. SyntaxError when it is
    none."""
    text = statements_text(ast.parse(source))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_NO_MEANING: Final = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def statements_text(tree: ast.AST) -> str:
    """A syntax tree as text that every Python from 3.11 on writes alike: left out are fields without a value, as newer
    versions' new fields are, and the empty texts that 3.12 puts into f-strings."""
    written: list[str] = []
    pending: list[ast.AST | str] = [tree]  # nodes and finished texts, the next one last
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            written.append(node)
            continue
        pieces: list[ast.AST | str] = [f"{type(node).__name__}("]
        for name in node._fields:
            value = getattr(node, name, None)
            if name in _NO_MEANING or (value is None and not isinstance(node, ast.Constant)):
                continue
            if isinstance(value, list):
                pieces += _list_pieces(name, value, isinstance(node, ast.JoinedStr))
            elif isinstance(value, ast.AST):
                pieces += (f"{name}=", value, ";")
            else:
                pieces.append(f"{name}={value!r};")
        pieces.append(")")
        pending += reversed(pieces)
    return "".join(written)


def _list_pieces(name: str, items: list[Any], of_f_string: bool) -> list[ast.AST | str]:
    """A field that is a list: without empty texts in an f-string, elsewhere without statements that are a text and
    nothing else, which are docstrings or stand below a field to explain it."""
    pieces: list[ast.AST | str] = []
    for item in items:
        text = item if of_f_string else item.value if isinstance(item, ast.Expr) else None
        if isinstance(text, ast.Constant) and (text.value == "" if of_f_string else isinstance(text.value, str)):
            continue
        pieces += (item if isinstance(item, ast.AST) else repr(item), ",")
    return [f"{name}[", *pieces, "];"] if pieces else []


# ------------------------------------------------------------------------------------------------------- the register


@dataclass(frozen=True)
class Declared:
    """One line of the register: a tree's rooms, and the answer version that they are."""

    version: str
    rooms: Mapping[str, str]

    def register_line(self, what: str) -> str:
        """The line of the register."""
        return " ".join([self.version, *(f"{room}={digest}" for room, digest in self.rooms.items()), "#", what])


def parse_register(text: str) -> list[Declared]:
    """The register's lines. ValueError for a line that is none."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        version, *rooms = words
        if not rooms or version.startswith(EDITED) or not all(0 < word.find("=") < len(word) - 1 for word in rooms):
            raise ValueError(f"{REGISTER}, line {number} is not VERSION ROOM=DIGEST...")
        entries.append(Declared(version, dict(word.split("=", 1) for word in rooms)))
    return entries


def known_rooms(version: str) -> list[Mapping[str, str]]:
    """The rooms of every tree that is declared to be an answer version."""
    register = (package() / "store" / REGISTER).read_text(encoding="utf-8")
    return [entry.rooms for entry in parse_register(register) if entry.version == version]


# ------------------------------------------------------------------------------------------------------- what changed


def what_changed(version: str, record: Mapping[str, Any] | None, now: AnswerCode) -> str:
    """In words, where `now` differs from the code of kept answers: files where the store recorded them, else rooms."""
    files, rooms = (record or {}).get("files"), (record or {}).get("rooms")
    if isinstance(files, Mapping):
        names = [f"mmrope_eval/{name}" for name in changed_files(files, now.files)]
        return listed(names, "file") if names else ""
    trees = [rooms] if isinstance(rooms, Mapping) else known_rooms(version)
    if not trees:
        return ""
    other = min(([room for room in now.rooms if tree.get(room) != now.rooms[room]] for tree in trees), key=len)
    return f"mmrope_eval's code for {listed(other, 'part')}" if other else ""


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Files that are new, gone or different."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


SHOWN: Final = 3


def listed(names: list[str], kind: str) -> str:
    """Names in a row, the first few of many."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more {kind}s"

"""YAML of tasks, suites, families and sweeps: `include`, `!function`, and what is wrong with a file in one sentence.

Included files are looked for beside the file that names them, then among those that are shipped, so that a task file
may lie anywhere. `!function` is resolved as lmms-eval resolves it: a Python file beside the YAML file, else a module.
Of ours that lmms-eval looks for, files name those in four modules.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.util.config import Loader, read_mapping
from mmrope_eval.util.paths import project_dir
from mmrope_eval.words import nearest

HOOKS: Final = "mmrope_eval.task.lmms_hooks"
LMMS_METRICS: Final = "mmrope_eval.lmms.metrics"
ROWS: Final = "mmrope_eval.data.rows"
SUBSETS: Final = "mmrope_eval.lmms.subsets"

MOVED: Final = {
    "mmrope_eval.suite.metrics": LMMS_METRICS,
    "mmrope_eval.suite.protocol": HOOKS,
    "mmrope_eval.suite.rows": ROWS,
    "mmrope_eval.suite.subsets": SUBSETS,
}
"""Modules that task files of version 0.3 name, and where they are now."""


def current_name(function: str) -> str:
    """A function by its present name."""
    module, _, name = function.rpartition(".")
    return f"{MOVED.get(module, module)}.{name}"


def first_name(function: str) -> str:
    """A function by the name that it had in version 0.3, so that a file which says the same has the same hash."""
    module, _, name = function.rpartition(".")
    return f"{next((old for old, new in MOVED.items() if new == module), module)}.{name}"


class Function(str):
    """What `!function a.b.c` names. As a string it is `a.b.c`."""

    folder: Path
    """Of the file that says so."""

    def __new__(cls, name: str, folder: Path) -> Function:
        made = super().__new__(cls, name)
        made.folder = folder
        return made

    def __reduce__(self) -> tuple[type[Function], tuple[str, Path]]:
        """How a copy is made in another process."""
        return Function, (str(self), self.folder)

    @property
    def module(self) -> str:
        """The module's name."""
        return self.rpartition(".")[0]

    @property
    def file(self) -> Path | None:
        """The Python file beside the YAML file, where it is that one that is meant."""
        path = self.folder / f"{self.module}.py"
        return path if path.is_file() else None

    def load(self) -> Any:
        """The function itself. Raises `UserError` where the module cannot be imported or has none of that name."""
        name = self.rpartition(".")[2]
        try:
            module = importlib.import_module(self.module) if self.file is None else _module_of(self.file)
        except Exception as error:  # a user's module may raise anything
            raise UserError(f"!function {self}: module '{self.module}' cannot be imported "
                            f"({type(error).__name__}: {' '.join(str(error).split())}).") from error
        if not hasattr(module, name):
            raise UserError(f"!function {self}: " + unknown(f"name in '{self.module}' called", name, vars(module),
                                                           str(self.file or self.module)))
        return getattr(module, name)


def _module_of(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def functions_in(content: Any) -> Iterator[Function]:
    """Every `!function` of a file's content."""
    if isinstance(content, Function):
        yield content
    elif isinstance(content, Mapping | list):
        for value in content.values() if isinstance(content, Mapping) else content:
            yield from functions_in(value)


def with_functions(content: Any, put: Callable[[Function], Any] = Function.load) -> Any:
    """The content with every `!function` loaded, or as `put` has it. Raises `UserError` for one that cannot be."""
    if isinstance(content, Function):
        return put(content)
    if isinstance(content, Mapping):
        return {key: with_functions(value, put) for key, value in content.items()}
    return [with_functions(value, put) for value in content] if isinstance(content, list) else content


def own_code(content: Any) -> dict[str, str]:
    """sha256 of the Python files, other than this package's, that a file's functions come from, by function."""
    hashes = {}
    for function in functions_in(content):
        if function.file is None and function.partition(".")[0] == __name__.partition(".")[0]:
            continue
        path = function.file or _origin(function.module)
        hashes[str(function)] = hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""
    return hashes


def _origin(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def content_hash(content: Mapping[str, Any]) -> str:
    """sha256 over a file's content, its included files' and its own functions' code; layout and comments aside."""
    named = with_functions(content, first_name)
    text = json.dumps([named, own_code(content)], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class _Loader(Loader):
    """YAML in which `!function` is a `Function`."""


_Loader.add_constructor("!function", lambda loader, node: Function(str(node.value), loader.folder))


def read_yaml(path: Path, _through: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML mapping with `include` resolved: the including file wins, key by key, and of several files the first.
    Raises `UserError` naming the file and the line for what is no YAML, the name for an include that is not there."""
    content = read_mapping(path, _Loader)
    included = content.pop("include", [])
    names = [included] if isinstance(included, str) else included
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: 'include' must be a file's name or a list of them, not {included!r}.")
    through = (*_through, path.resolve())
    merged: dict[str, Any] = {}
    for name in reversed(names):
        target = find_included(name, path)
        if target.resolve() in through:
            raise UserError(f"{path}: 'include: {name}' comes back to a file that includes it.")
        merged.update(read_yaml(target, through))
    return {**merged, **content}


def find_included(name: str, path: Path) -> Path:
    """The file that `include: name` in `path` means: one beside it, else a shipped one. `UserError` for none."""
    places = [path.parent, project_dir("tasks")]
    included = next((folder / name for folder in places if (folder / name).is_file()), None)
    if included is None:
        names = {file.name for folder in places for file in folder.glob("*.yaml")} - {path.name}
        close = nearest(name, sorted(names), 0.6)
        shipped = ", ".join(sorted(file.name for file in places[1].glob("_*.yaml")))
        hint = f"did you mean '{close}'?" if close else f"those that are shipped are {shipped}."
        raise UserError(f"{path}: 'include: {name}' is neither beside this file nor among the shipped ones; {hint}")
    return included


def unknown(kind: str, name: str, names: Iterable[str], where: str) -> str:
    """One sentence on an unknown name, with the nearest known one."""
    close = nearest(name, names)
    hint = f"did you mean '{close}'?" if close is not None else f"see {where}."
    return f"There is no {kind} '{name}'; {hint}"

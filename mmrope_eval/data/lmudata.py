"""VLMEvalKit's LMUData as a data set in the hub's layout: a table there, a recipe, and a folder of Arrow files here.

Everything after is the hub's path: the folder has a card and `CONFIG/SPLIT.arrow`, and loads as a mirror's does. A
row that cannot be made stays a row, with the reason in its field `lmudata_problem`: it is asked of nobody and counts
as wrong, as a row whose picture is missing does.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from mmrope_eval.data.cache import drop_older
from mmrope_eval.data.recipe import FUNCTIONS, Evaluate, Recipe, Shown, columns_and_options
from mmrope_eval.data.tsv import PATHS, PICTURES, PictureError, Pictures, Record, Table, scan
from mmrope_eval.errors import UserError
from mmrope_eval.models.files import file_state

if TYPE_CHECKING:
    from datasets import Features

Fields = Mapping[str, Any]
"""Field -> type: a name (`string`, `int64`, `image` ...), [type] for a list, {field: type} for a struct."""


def features(fields: Fields) -> Features:
    """The `datasets` features of a table."""
    from datasets import Features, Image, Value

    def feature(kind: Any) -> Any:
        if isinstance(kind, list):
            return [feature(kind[0])]
        if isinstance(kind, Mapping):
            return {name: feature(inner) for name, inner in kind.items()}
        return Image() if kind == "image" else Value(kind)

    return Features({name: feature(kind) for name, kind in fields.items()})


PROBLEM: Final = "lmudata_problem"
"""The field that says why a row could not be made; none where it could."""

LOCAL: Final = "_local"
"""The end of the names of VLMEvalKit's own copies of large tables, with the pictures written anew as JPEG files."""

_FORMAT: Final = 1
"""Of what is made: a higher number makes every folder anew."""

_ROWS, _BYTES = 256, 16 * 2**20
"""A batch ends with so many rows or picture bytes."""

_PLACES: Final = ("*.tsv", "*/*.tsv", "*/snapshots/*/*.tsv")
"""Where tables lie: LMUData itself; folders of video data sets that were put into it; those of the hub's cache."""

_EMPTY: Final[Mapping[str, Any]] = {"string": "", "int64": 0, "float64": 0.0, "float32": 0.0, "image": None}


def has_tables(root: Path) -> bool:
    """Whether a folder holds any table where VLMEvalKit keeps them."""
    return any(True for pattern in _PLACES for _ in root.glob(pattern))


def find_table(root: Path, recipe: Recipe) -> Path | None:
    """The benchmark's table below `root`: the first of the recipe's names that is there, else one in any case.

    UserError when two files have the name in equally deep places.
    """
    places = [[p for p in sorted(root.glob(pattern)) if p.stem not in recipe.others] for pattern in _PLACES]
    for name in recipe.tables:
        exact = [[path for path in paths if path.stem == name] for paths in places]
        cased = [[path for path in paths if path.stem.lower() == name.lower()] for paths in places]
        for matching in (*exact, *cased):
            if len(matching) > 1:
                raise UserError(f"{matching[0]} and {matching[1]} are both the table {name}; keep one of them.")
            if matching:
                return matching[0]
    return None


def why_absent(root: Path, recipe: Recipe) -> str:
    """One sentence on a table that `root` does not have, with what is there in its place."""
    stems = {path.stem for pattern in _PLACES for path in root.glob(pattern)}
    tables = " or ".join(f"{name}.tsv" for name in recipe.tables)
    text = f"{root} has no table {tables} of VLMEvalKit"
    for name, what in recipe.others.items():
        if name in stems:
            return f"{text}; its {name}.tsv is {what}."
    for name in recipe.tables:
        if name + LOCAL in stems:
            return (f"{text}; the pictures of its {name}{LOCAL}.tsv were written anew as JPEG files and are not the "
                    f"data set's: fetch {name}.tsv again.")  # fmt: skip
    return f"{text}."


def as_hub_folder(recipe: Recipe, root: Path, cache: Path, evaluate: Evaluate, *, split: str,
                  configs: Sequence[str] = ("default",)) -> Path:
    """The data set's folder in the hub's layout, made from the table below `root` if it has not been made yet.

    Its rows are the recipe's in the table's order, `split` their split and `configs` the configurations, of which a
    recipe without `config` has one. It lies below `cache`, one folder a table and part of it, in it one a state of the
    table's file and the recipe; those of earlier states are removed. Whatever is large stays on disk. UserError when
    there is no such table, or when it is not one that the recipe can read.
    """
    path = find_table(root, recipe)
    if path is None:
        raise UserError(why_absent(root, recipe))
    part = digest(str(path.resolve()), recipe.where, split, tuple(configs))
    state = digest(_FORMAT, *file_state(path.stat()), dict(recipe))
    folder = cache / f"{path.stem}-{part}" / state
    if not folder.is_dir():
        _make(folder, recipe, path, root, evaluate, split, configs)
        drop_older(folder)
    return folder


def digest(*values: object) -> str:
    """A short hash of values by how they are written."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _make(folder: Path, recipe: Recipe, path: Path, root: Path, evaluate: Evaluate, split: str,
          configs: Sequence[str]) -> None:
    """Write the folder whole or not at all."""
    table = scan(path)
    if table.md5 in recipe.outdated:
        raise UserError(f"{path} is an earlier upload: {recipe.outdated[table.md5]}; fetch it anew.")
    home = folder.parent.parent
    home.mkdir(parents=True, exist_ok=True)
    # A run that is stopped, or another that makes the same folder, must never be seen half done.
    with tempfile.TemporaryDirectory(dir=home, prefix=f".{path.stem}-") as temporary:
        made = Path(temporary) / folder.name
        with Pictures(table, root, recipe.folder) as pictures:
            rows = _rows(recipe, table, pictures, evaluate, configs)
            for config in configs:
                _write(made / config / f"{split}.arrow", recipe, [r for r in rows if r.config == config], pictures)
        (made / "README.md").write_text(_card(recipe, table, split, configs), encoding="utf-8")
        folder.parent.mkdir(exist_ok=True)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


@dataclass(frozen=True)
class _Row:
    """One row of the hub's table; pictures are still numbers."""

    record: Record
    config: str
    values: Mapping[str, Any]
    problem: str | None = None


def _rows(recipe: Recipe, table: Table, pictures: Pictures, evaluate: Evaluate, configs: Sequence[str]) -> list[_Row]:
    """The rows of the wanted split. UserError when it or one of its parts has none, or when none can be made."""
    if "image" in recipe.kinds().values() and not {PICTURES, PATHS} & set(table.columns):
        raise UserError(f"{table.path} has no column '{PICTURES}'; it has {', '.join(table.columns)}.")
    rows = []
    for record in table.records:
        names = {**columns_and_options(record.fields), **FUNCTIONS}
        names["size"] = lambda number, record=record: pictures.size(record, number)
        where = f"{table.path}, line {record.line}"
        try:
            for name, expression in recipe.names.items():
                names[name] = evaluate(expression, names)
            if any(evaluate(expression, names) != value for expression, value in recipe.where.items()):
                continue
            config = configs[0] if recipe.config is None else str(evaluate(recipe.config, names))
        except ValueError as error:
            raise UserError(f"{where}: what it is of cannot be told ({error}); is this VLMEvalKit's table?") from error
        if config not in configs:
            raise UserError(f"{where}: '{config}' is none of the parts that the data set has ({', '.join(configs)}).")
        rows.append(_row(recipe, record, config, names, evaluate))
    if missing := [config for config in configs if rows and config not in {row.config for row in rows}]:
        raise UserError(f"{table.path} has no row of the part '{missing[0]}', which the data set has; fetch it anew.")
    if not rows:
        conditions = ", ".join(f"{expression} = {value}" for expression, value in recipe.where.items())
        raise UserError(f"{table.path} has no row of the split that is asked for ({conditions or 'it is empty'}).")
    if all(row.problem for row in rows):
        raise UserError(f"{table.path}: no row can be read; line {rows[0].record.line}: {rows[0].problem}; it has the "
                        f"columns {', '.join(table.columns)}.")  # fmt: skip
    return list(_joined(rows, recipe.join, pictures)) if recipe.join else rows


def _row(recipe: Recipe, record: Record, config: str, names: Mapping[str, Any], evaluate: Evaluate) -> _Row:
    """A record's row: every field that can be made, and what is wrong with the first that cannot."""
    values: dict[str, Any] = {}
    problem: str | None = None
    for field, kind in recipe.kinds().items():
        try:
            values[field] = evaluate(recipe.fields[field], names)
            if values[field] is None and kind != "image":
                raise ValueError("the table says nothing")
        except ValueError as error:
            values[field] = [_EMPTY[kind[0]]] if isinstance(kind, list) else _EMPTY[kind]
            problem = problem or f"its field '{field}' cannot be made: {error}"
    for clause, expression in recipe.checks.items():
        with contextlib.suppress(ValueError):
            if not evaluate(expression, names):
                problem = problem or clause
    return _Row(record, config, values, problem)


def _joined(rows: Iterable[_Row], into: str, pictures: Pictures) -> Iterator[_Row]:
    """Rows that are equal but for `into`, their pictures among it, as one with all their lists; bad rows stay alone."""
    groups: dict[str, _Row] = {}
    for row in rows:
        others = sorted((name, repr(value)) for name, value in row.values.items() if name != into)
        key = repr(row.record.offset if row.problem else (row.config, pictures.key(row.record), others))
        if key in groups:
            first = groups[key]
            values = {**first.values, into: [*first.values[into], *row.values[into]]}
            groups[key] = replace(first, values=values)
        else:
            groups[key] = row
    yield from groups.values()


def _write(path: Path, recipe: Recipe, rows: Sequence[_Row], pictures: Pictures) -> None:
    """One Arrow file in the hub's types, which `datasets` maps and need not copy; a batch of pictures in memory."""
    import pyarrow as pa

    schema = features({**recipe.kinds(), PROBLEM: "string"}).arrow_schema
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        batch: list[dict[str, Any]] = []
        size = 0
        for row in rows:
            batch.append(_with_pictures(recipe, row, pictures))
            size += sum(len(value["bytes"] or b"") for value in batch[-1].values() if isinstance(value, Mapping))
            if len(batch) >= _ROWS or size >= _BYTES or row is rows[-1]:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch, size = [], 0


def _with_pictures(recipe: Recipe, row: _Row, pictures: Pictures) -> dict[str, Any]:
    """The row as it is written: its pictures read, and what is wrong with it in words."""
    values, problem = dict(row.values), row.problem
    shown = {name: value.number for name, value in values.items() if isinstance(value, Shown)}
    values.update(dict.fromkeys(shown))
    if shown:
        try:
            row_pictures = pictures.of(row.record)
            values |= {name: row_pictures[number - 1] for name, number in shown.items() if number <= len(row_pictures)}
            if len(row_pictures) > max(shown.values()):
                problem = problem or f"it has {len(row_pictures)} pictures, and the task shows {max(shown.values())}"
        except PictureError as error:
            problem = problem or str(error)
    place = f"line {row.record.line} of {pictures.table.path.name}"
    return {**values, PROBLEM: f"{place}: {problem}." if problem else None}


def _card(recipe: Recipe, table: Table, split: str, configs: Sequence[str]) -> str:
    """The folder's README: which files are which configuration and split, and where they come from."""
    listing = [{"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}.arrow"}]}
               for name in configs]  # fmt: skip
    origins = {None: "", True: ", as VLMEvalKit publishes it", False: ", not the table that VLMEvalKit publishes"}
    same = origins[None if recipe.md5 is None else table.md5 == recipe.md5]
    return f"---\n{yaml.safe_dump({'configs': listing})}---\n\nMade from {table.path} (md5 {table.md5}{same}).\n"

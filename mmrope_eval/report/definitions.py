"""What a table shows: its rows (variants), its columns (benchmarks and averages), from configs/tables/*.yaml."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmrope_eval.errors import UserError
from mmrope_eval.rope import Variant, VariantError, load_variant, load_variant_beside, variant_names
from mmrope_eval.util.config import read_mapping, typed
from mmrope_eval.util.paths import project_dir

Takes = Literal["runs", "sweep", "attention"]
"""What fills a table: finished runs, a sweep, or what `analyze --tasks` wrote."""
Numbering = Literal["v2", "v3"]
PAPER: Final = "arXiv 2510.23095"
AVERAGES: Final = "averages"
"""The file of averages, which is no table."""
Name = Annotated[str, Field(min_length=1)]
Listed = Annotated[tuple[Name, ...], Field(strict=False)]
Names = Annotated[Listed, Field(min_length=1)]


@dataclass(frozen=True)
class Row:
    """One row: its label and the variant that fills it; None where no variant can."""

    label: str
    variant: Variant | None = None
    scaling: str | None = None
    """In a table of a sweep, the context scaling of the row."""

    @cached_property
    def key(self) -> str | None:
        """What a run's variant must equal to fill this row."""
        return None if self.variant is None else variant_key(self.variant)

    @cached_property
    def design(self) -> str | None:
        """What a run's variant must equal to be of this row's design, whatever its `time` is."""
        return None if self.variant is None else variant_key(self.variant, time=False)


@dataclass(frozen=True)
class TableDefinition:
    """A table before it is filled."""

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    averages: Mapping[str, tuple[str, ...]]
    """Average -> the columns (or averages) that it is the plain mean of."""
    layout: Literal["across", "down"] = "across"
    """Whether benchmarks go across the page, one line a variant, or down it, one line a benchmark."""
    optional: frozenset[str] = frozenset()
    """Benchmarks that an average leaves out where no row has them."""
    takes: Takes = "runs"
    context: int | None = None
    """In a table of a sweep, the tokens of context that it is about."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Where columns are grouped by model: a group's name, and globs of checkpoints' names that belong to it."""
    derived: frozenset[str] = frozenset()
    """The averages that are part of no other, and never taken over fewer columns."""
    if_known: frozenset[str] = frozenset()
    """Columns that are left out without a word where nobody fills them."""

    @cached_property
    def benchmarks(self) -> Mapping[str, tuple[str, ...]]:
        """Of every column, average and part of an average, the benchmarks behind it."""
        return benchmarks_behind_all(self.columns, self.averages)

    @cached_property
    def benchmarks_in_order(self) -> tuple[str, ...]:
        """All benchmarks behind the columns, each once."""
        return tuple(dict.fromkeys(benchmark for column in self.columns for benchmark in self.benchmarks[column]))

    @cached_property
    def categories(self) -> Mapping[str, str]:
        """Of every column and average its category: the average of benchmarks that it is part of, or that it is.

        A derived mean, and a benchmark that is part of nothing else, stand with the first of its parts that has one.
        Empty where there is none.
        """
        plain = {name: parts for name, parts in self.averages.items()
                 if name not in self.derived and not set(parts) & set(self.averages)}
        means = {name: parts for name, parts in self.averages.items() if name in self.derived}

        def category(column: str) -> str:
            related = [part for name, parts in means.items() if column == name or column in parts for part in parts]
            return next((name for member in (column, *related) for name, parts in plain.items()
                         if member == name or member in parts), "")

        return {column: category(column) for column in (*self.columns, *self.averages)}


@dataclass(frozen=True)
class Averages:
    """What the file of averages says, for all tables."""

    over: Mapping[str, tuple[str, ...]]
    """Average, derived ones among them -> the columns (or averages) that it is the plain mean of."""
    optional: frozenset[str] = frozenset()
    """Benchmarks that an average leaves out where no row has them."""
    derived: frozenset[str] = frozenset()
    """Averages that are part of no other, and never taken over fewer columns."""


class File(BaseModel):
    """A YAML file of tables, or a part of one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class RowEntry(File):
    """An entry of `rows`."""

    label: Name
    variant: Name | None = None
    set: dict[str, Any] = {}
    scaling: Name | None = None


class AveragesFile(File):
    """The file of averages: every key that is none of these is one."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Names]
    optional: Listed = ()
    derived: dict[Name, Names] = {}


class TableFile(File):
    """A table's file."""

    like: Name | None = None
    """Another table, whose keys hold where this one does not say them."""
    title: str | None = None
    source: str | None = None
    numbers: dict[Literal["v2", "v3"], int] | None = None
    """The table's numbers in the versions of the paper."""
    rows: Annotated[list[Name | RowEntry], Field(min_length=1)]
    columns: Names
    averages: dict[Name, Names] = {}
    layout: Literal["across", "down"] = "across"
    takes: Takes = "runs"
    context: Annotated[int, Field(ge=1)] | None = None
    groups: dict[Name, Names] = {}
    if_known: Listed = ()


def make_up(column: str, averages: Mapping[str, Sequence[str] | None]) -> object | None:
    """What a column is the mean of, all the way down, equal for equal averages; None where nobody knows it."""
    if column not in averages:
        return column
    parts = averages[column]
    contents = [make_up(part, averages) for part in parts or ()]
    return None if not contents or None in contents else frozenset(contents)


def weights_of(column: str, averages: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """How much of a column or average each benchmark behind it is; averages of averages resolved."""
    if column not in averages:
        return {column: 1.0}
    weights: dict[str, float] = {}
    for part in averages[column]:
        for name, weight in weights_of(part, averages).items():
            weights[name] = weights.get(name, 0.0) + weight / len(averages[column])
    return weights


def benchmarks_behind(column: str, averages: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The benchmarks behind a column, each once: itself, or an average's, averages of averages resolved."""
    return tuple(weights_of(column, averages))


def benchmarks_behind_all(columns: Sequence[str], averages: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """`benchmarks_behind` of the columns, of the averages and of their parts."""
    parts = [part for names in averages.values() for part in names]
    return {name: benchmarks_behind(name, averages) for name in dict.fromkeys((*columns, *averages, *parts))}


def variant_key(variant: Variant, *, time: bool = True) -> str:
    """A name for all that a variant decides, equal for equal designs on models of different size.

    Sections and counted patterns are ratios here (24:20:20 pairs is 6:5:5). Sections that count KV heads depend on the
    model and are left out; words (name, summary, source) too, and without `time` what frames are counted in.
    """
    sections = {"position": variant.position, "frequency": variant.frequency, "scaling": variant.scaling}
    parts = {name: section.model_dump(mode="json") for name, section in sections.items()}
    frequency = parts["frequency"]
    section = frequency.pop("mrope_section", None)
    frequency.pop("exact", None)
    if section and frequency.get("allocation") != "heads":
        frequency["ratio"] = [count / math.gcd(*section) for count in section]
    if "pattern" in frequency:
        frequency["pattern"] = _ratio(frequency["pattern"])
    if not time:
        parts["position"].pop("time", None)
    return json.dumps(_floats(parts), sort_keys=True)


def _ratio(pattern: str) -> str:
    """A counted pattern with its counts as a ratio of pairs: ``hw*24 t*16`` is ``hw*3 t*1``, as ``hw*6 t*4`` is."""
    if "*" not in pattern:
        return pattern
    items = [(letters, int(count or 1) * len(letters)) for letters, _, count in
             (item.partition("*") for item in pattern.split())]  # fmt: skip
    whole = math.gcd(*(pairs for _, pairs in items))
    return " ".join(f"{letters}*{pairs // whole}" for letters, pairs in items)


def _floats(value: Any) -> Any:
    """Numbers as floats throughout: 1 and 1.0 are one parameter."""
    if isinstance(value, Mapping):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def folder() -> Path:
    """Where the tables are."""
    return project_dir("configs") / "tables"


def load_averages() -> Averages:
    """The averages of all tables. UserError when the file is bad."""
    path = folder() / f"{AVERAGES}.yaml"
    content = typed(AveragesFile, read_mapping(path), str(path))
    return Averages({**(content.model_extra or {}), **content.derived}, frozenset(content.optional),
                    frozenset(content.derived))


@functools.cache
def numbers() -> Mapping[str, Mapping[str, int]]:
    """The tables of the project by name, each with its numbers in the versions of the paper."""
    files = sorted(folder().glob("*.yaml"))
    return {path.stem: dict(read_mapping(path).get("numbers") or {}) for path in files if path.stem != AVERAGES}


def listing(numbering: Numbering) -> str:
    """All names in the paper's order, those that have a number in this numbering with it: `overall (2)`."""
    order = sorted(numbers().items(), key=lambda table: (table[1].get(numbering, 99), table[1].get("v3", 99)))
    return ", ".join(f"{name} ({in_paper[numbering]})" if numbering in in_paper else name for name, in_paper in order)


def load_definition(name: str, numbering: Numbering = "v2") -> TableDefinition:
    """A table by its name (`position`), its number in a version of the paper, or the path of a YAML file.

    UserError for one that there is not, naming those that there are, and for a bad file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"There is no table {name}.")
        return read_table(path)
    number = name.removeprefix("table")
    full_name = next((table for table, in_paper in numbers().items() if str(in_paper.get(numbering)) == number), name)
    if full_name not in numbers():
        raise UserError(f"There is no table '{name}'; choose one of {listing(numbering)}, numbered as in {numbering} "
                        "of the paper, or the path of a YAML file.")
    return read_table(folder() / f"{full_name}.yaml")


def read_table(path: Path) -> TableDefinition:
    """A table's file. UserError if it is bad."""
    raw = read_mapping(path)
    if isinstance(raw.get("like"), str):
        raw = {**read_mapping(folder() / f"{raw['like']}.yaml"), **raw}
    content = typed(TableFile, raw, str(path))
    shared = load_averages()
    rows = read_rows(content.rows, path)
    for kind, names in (("rows", [row.label for row in rows]), ("columns", list(content.columns))):
        if len(set(names)) < len(names):
            raise UserError(f"{path}: {kind} must be a list of different names.")
    for stray in set(content.if_known) - set(content.columns):
        raise UserError(f"{path}: if_known names '{stray}', which is none of its columns.")
    return TableDefinition(
        path.stem, path.stem if content.title is None else content.title, source_of(content), rows,
        tuple(content.columns), {**shared.over, **content.averages}, content.layout, shared.optional, content.takes,
        content.context, content.groups, shared.derived - set(content.averages), frozenset(content.if_known),
    )


def source_of(content: TableFile) -> str:
    """Where a table is from: its own words, or its numbers in the paper's versions."""
    in_paper = content.numbers or {}
    if content.source is not None or "v3" not in in_paper:
        return content.source or ""
    earlier = f", table {in_paper['v2']} in v2" if in_paper.get("v2", in_paper["v3"]) != in_paper["v3"] else ""
    return f"{PAPER} v3, table {in_paper['v3']}{earlier}"


def read_rows(content: Sequence[str | RowEntry], path: Path) -> tuple[Row, ...]:
    """`rows`: each a variant's name, or a mapping; a label alone is a row that no run fills."""
    rows = []
    for listed_row in content:
        entry = RowEntry(label=listed_row, variant=listed_row) if isinstance(listed_row, str) else listed_row
        try:
            variant = None if entry.variant is None else load_variant_beside(path.parent, entry.variant, **entry.set)
        except VariantError as error:
            raise UserError(f"{path}, row '{entry.label}': {error}.") from error
        rows.append(Row(entry.label, variant, None if variant is None else entry.scaling))
    return tuple(rows)


@functools.cache
def listed() -> frozenset[str | None]:
    """The designs of all rows of the project's tables, and of what published code has in their place: what is none of
    them is a new idea."""
    tables = [load_definition(name) for name in numbers()]
    upstream = [Row(name, load_variant(name)) for name in variant_names() if name.endswith("-upstream")]
    return frozenset(row.design for rows in (upstream, *(table.rows for table in tables if table.takes == "runs"))
                     for row in rows)

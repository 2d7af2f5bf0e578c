"""What a table shows: its rows (variants), columns (benchmarks and averages), read from configs/tables/*.yaml."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, cast

import yaml

from mmrope_eval.errors import UserError
from mmrope_eval.rope import Variant, VariantError, load_variant_beside, variants_dir

LAYOUTS: Final = ("across", "down")


@dataclass(frozen=True)
class Row:
    """One row: its label and the variant that fills it; None where no variant can."""

    label: str
    variant: Variant | None = None

    @cached_property
    def key(self) -> str | None:
        """What a run's variant must equal to fill this row."""
        return None if self.variant is None else definition_key(self.variant.to_dict())


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

    def benchmarks_in_order(self) -> tuple[str, ...]:
        """All benchmarks behind the columns, each once."""
        return tuple(dict.fromkeys(one for column in self.columns for one in self.benchmarks(column)))

    def label(self, column: str) -> str:
        """A column's name as people read it."""
        return f"{column} avg" if column in self.averages and self.category(column) == column else column

    def category(self, column: str) -> str:
        """The category of a column: the average of benchmarks that it is part of, or that it is."""
        plain = {name: parts for name, parts in self.averages.items() if not set(parts) & set(self.averages)}
        return next((name for name, parts in plain.items() if column == name or column in parts), "")

    def benchmarks(self, column: str) -> tuple[str, ...]:
        """The benchmarks behind a column: itself, or an average's, averages of averages resolved."""
        return benchmarks_behind(column, self.averages)


def benchmarks_behind(column: str, averages: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The benchmarks behind a column, each once: itself, or an average's, averages of averages resolved."""
    if column not in averages:
        return (column,)
    return tuple(dict.fromkeys(one for part in averages[column] for one in benchmarks_behind(part, averages)))


def home() -> Path:
    """The folder that holds configs/ and results/: the checkout, or the installed package."""
    return variants_dir().parents[1]


def definition_key(definition: Mapping[str, Any]) -> str:
    """A name for all that a variant's definition decides, equal for equal designs on models of different size.

    Sections are ratios here (24:20:20 pairs is 6:5:5). Sections that count KV heads depend on the model and are left
    out; words (name, summary, source) too. Records of any version are told by what they decide. VariantError for a
    definition that cannot be read.
    """
    read = Variant.from_dict(definition).to_dict()
    parts = {name: read[name] for name in ("position", "frequency", "scaling")}
    frequency = parts["frequency"]
    section = frequency.pop("mrope_section", None)
    frequency.pop("exact", None)
    if section and frequency.get("allocation") != "heads":
        frequency["ratio"] = [count / math.gcd(*section) for count in section]
    return json.dumps(_floats(parts), sort_keys=True)


def _floats(value: Any) -> Any:
    """Numbers as floats throughout: 1 and 1.0 are one parameter."""
    if isinstance(value, Mapping):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def load_definition(name: str) -> TableDefinition:
    """A table by its number (2 is configs/tables/table2.yaml) or by the path of a YAML file. UserError if it is bad."""
    folder = home() / "configs" / "tables"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"table{name.removeprefix('table')}.yaml"
    if not path.is_file():
        known = sorted(one.stem.removeprefix("table") for one in folder.glob("table*.yaml"))
        raise UserError(f"There is no table '{name}'; choose one of {', '.join(known)}, or the path of a YAML file.")
    content = read_yaml(path)
    averages = {key: _names(part, f"{path}: averages.{key}")
                for key, part in {**read_yaml(folder / "averages.yaml"), **(content.get("averages") or {})}.items()}
    layout = content.get("layout", "across")
    if layout not in LAYOUTS:
        raise UserError(f"{path}: layout must be one of {', '.join(LAYOUTS)}, not {layout!r}.")
    rows = tuple(read_row(one, path) for one in content.get("rows") or ())
    columns = _names(content.get("columns"), f"{path}: columns")
    labels = [row.label for row in rows]
    for kind, found in (("rows", labels), ("columns", list(columns))):
        if not found or len(set(found)) < len(found):
            raise UserError(f"{path}: {kind} must be a list of different names.")
    return TableDefinition(path.stem, str(content.get("title", path.stem)), str(content.get("source", "")), rows,
                           columns, averages, cast("Literal['across', 'down']", layout))


def read_row(content: Any, path: Path) -> Row:
    """One entry of `rows`: a variant's name, or {label, variant, set}; a label alone is a row that no run fills."""
    if isinstance(content, str):
        content = {"label": content, "variant": content}
    if not isinstance(content, Mapping) or "label" not in content or set(content) - {"label", "variant", "set"}:
        raise UserError(f"{path}: a row is a variant's name, or a mapping of label, variant and set, not {content!r}.")
    if "variant" not in content:
        return Row(str(content["label"]))
    try:
        variant = load_variant_beside(path.parent, str(content["variant"]), **(content.get("set") or {}))
    except VariantError as error:
        raise UserError(f"{path}, row '{content['label']}': {error}.") from error
    return Row(str(content["label"]), variant)


def read_yaml(path: Path) -> Mapping[str, Any]:
    """A YAML file's mapping. UserError when it holds none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} must hold a mapping.")
    return content


def _names(content: Any, where: str) -> tuple[str, ...]:
    if not isinstance(content, Sequence) or isinstance(content, str) or not content:
        raise UserError(f"{where} must be a list of names.")
    return tuple(map(str, content))

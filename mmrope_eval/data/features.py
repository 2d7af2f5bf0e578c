"""The types of a table's fields, in the short notation of the recipes and of the miniature world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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

"""The types of a table's fields, as Arrow has them and as the `datasets` library reads them from a file.

Written without `datasets`: its own notation of lists depends on its version, and versions before 4 cannot read the
newer one. The older one, which brackets a list's type, is read by all. So a miniature has the same bytes whichever is
installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Fields = Mapping[str, Any]
"""Field -> type: a name (`string`, `int64`, `image` ...), [type] for a list, {field: type} for a struct."""


def arrow_schema(fields: Fields) -> pa.Schema:
    """The Arrow schema of a table; its metadata tell `datasets` which fields are pictures."""
    import pyarrow as pa

    about = json.dumps({"info": {"features": hub_feature(fields)}})
    return pa.schema([(name, _arrow(kind)) for name, kind in fields.items()], metadata={"huggingface": about})


def hub_feature(kind: Any) -> Any:
    """A type as `datasets` writes it in JSON."""
    if isinstance(kind, list):
        return [hub_feature(kind[0])]
    if isinstance(kind, Mapping):
        return {name: hub_feature(inner) for name, inner in kind.items()}
    return {"_type": "Image"} if kind == "image" else {"dtype": kind, "_type": "Value"}


def _arrow(kind: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    if kind == "image":
        kind = {"bytes": "binary", "path": "string"}
    if isinstance(kind, Mapping):
        return pa.struct([(name, _arrow(inner)) for name, inner in kind.items()])
    return pa.type_for_alias(kind)

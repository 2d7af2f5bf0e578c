"""One line of a file of responses: what it says, and the data set's row that it is about.

The row is the line's own `doc`, or the one that its `id` names as runs do: `chartqa/17` is the 18th row of ChartQA's
split. A line of a run's samples/*.jsonl also has the `target` that it was scored by, from which it is seen whether the
data set at hand is that run's, and the coordinates in which its boxes were asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.run.side_by_side import light
from mmrope_eval.task.dataset import TaskRows, load_docs
from mmrope_eval.task.parts import LazyDocs
from mmrope_eval.task.plan import SEPARATOR
from mmrope_eval.task.registry import Family, TaskSpec, check_coordinates
from mmrope_eval.util.strict_json import strict_json


class LineError(Exception):
    """A line that cannot be scored; one sentence without the line's number."""


class RowsError(UserError):
    """The data set whose rows lines name by `id` cannot be read."""


class RowsById:
    """The rows of a task as runs number them; read when the first line needs one."""

    def __init__(self, spec: TaskSpec, family: Family, data_root: Path | None) -> None:
        self._spec, self._family = spec, family
        self._docs = LazyDocs(functools.partial(load_docs, spec, data_root, family))

    def of(self, name: Any, *, sized: bool) -> Mapping[str, Any]:
        """The row of an id, without pictures; of boxes with its picture's `image_size`, unless the line has it
        (`sized`). LineError for an id of no row, RowsError where there is no data set."""
        task, _, row = name.rpartition(SEPARATOR) if isinstance(name, str) else ("", "", "")
        if task != self._spec.name or not row.isdecimal() or not row.isascii():
            raise LineError(f"it has no `doc`, and its `id` is not {self._spec.name}{SEPARATOR}ROW with the row's "
                            "number, counted from 0.")
        docs = self._read()
        if int(row) >= len(docs.rows):
            raise LineError(f"its `id` names row {row} of {self._spec.name}, which has {len(docs.rows):,}.")
        doc = docs.rows[int(row)]
        sizes = {} if sized or self._spec.scorer != "box" else {"image_size": self._picture_size(docs, doc)}
        return {**light(doc), **sizes}

    def _read(self) -> TaskRows:
        try:
            return self._docs.get()
        except UserError as error:
            raise RowsError(f"The file names rows by `id`, and they cannot be read: {error}") from error

    def _picture_size(self, docs: TaskRows, doc: Mapping[str, Any]) -> tuple[int, int]:
        """(width, height) in pixels of a row's first picture, turned as its EXIF data say."""
        from mmrope_eval.media.image import load_image
        from mmrope_eval.media.policy import MediaError, MediaPolicy
        from mmrope_eval.messages import ImageSource
        from mmrope_eval.models.families import asked_as
        from mmrope_eval.task.parts import build_parts

        picture = next(part for part in build_parts(self._spec.media, "?", doc, docs.files)
                       if isinstance(part, ImageSource))
        try:
            return load_image(picture, MediaPolicy(), asked_as(self._family.name).published).facts.source_size
        except MediaError as error:
            raise LineError(f"its row's picture cannot be read ({error}).") from error


def parse(text: bytes, rows: RowsById | None = None) -> tuple[Mapping[str, Any], Mapping[str, Any], str | None]:
    """(whole object, doc, response) of a line, its doc by its id from `rows` where it has none; LineError when it is
    not of that form."""
    try:
        entry = strict_json(text)
    except RecursionError as error:
        raise LineError("it is not JSON that can be read (its brackets are nested too deeply).") from error
    except ValueError as error:
        raise LineError(f"it is not JSON ({error}).") from error
    if not isinstance(entry, Mapping):
        raise LineError("it is not a JSON object with `doc` and `response`.")
    if "doc" not in entry and ("id" not in entry or rows is None):
        raise LineError("it has no `doc`.")
    key = "prediction" if "prediction" in entry and "response" not in entry else "response"
    if key not in entry:
        raise LineError("it has no `response`.")
    response = entry[key]
    if response is not None and not isinstance(response, str):
        raise LineError(f"its `{key}` is neither a text nor null.")
    if "doc" not in entry and rows is not None:
        sized = any(entry.get(name) for name in ("media", "image_size", "source_size"))
        return entry, rows.of(entry["id"], sized=sized), response
    if not isinstance(entry["doc"], Mapping):
        raise LineError("its `doc` is not an object with the data set's fields.")
    return entry, entry["doc"], response


def check_said(entry: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    """LineError where a run's own line was scored by another target than its row now has."""
    written = entry.get("target")
    if "doc" in entry or not isinstance(written, Mapping):
        return
    now = json.loads(json.dumps(target))
    differing = next((name for name in now if name in written and written[name] != now[name]), None)
    if differing is not None:
        raise LineError(f"its `target` has another {differing} than row {entry['id']} has here: the data set is not "
                        "the run's; give the run's with --data-root.")


def family_of_line(entry: Mapping[str, Any], family: Family) -> Family:
    """The family with the coordinates that a run's line says its boxes were asked for in."""
    target = entry.get("target")
    written = target.get("coordinates") if isinstance(target, Mapping) else None
    if written is None:
        return family
    try:
        return dataclasses.replace(family, coordinates=check_coordinates(str(written), "`target`"))
    except UserError as error:
        raise LineError(f"its `target` cannot be used: {error}") from error


def in_thought(entry: Mapping[str, Any], otherwise: bool) -> bool:
    """Whether a response begins inside a thought, as its line says. LineError when it says neither true nor false."""
    opened = entry.get("thought_open", otherwise)
    if not isinstance(opened, bool):
        raise LineError("its `thought_open` is neither true nor false.")
    return opened

"""What a row is called, a checkpoint under a variant: in folders, tables of runs, frames, comparisons and sweeps.

What a checkpoint's folder says about it (what people call it, its training step, and of which training it is) a run
records, and a report reads, also of a run that was made before it was recorded: one rule, here, for both.
"""

from __future__ import annotations

import collections
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRAINER_STATE: Final = "trainer_state.json"
_STEP: Final = re.compile(r"(?:(?:checkpoint|step|iter|iteration)[-_]|global[-_]?step[-_]?)([0-9]{1,18})",
                          re.IGNORECASE)
"""checkpoint-100 (transformers), global_step100 (DeepSpeed), step-100, step_100, iter_0000100 (Megatron). `step` and
`iter` need a separator: step3 is a model's name."""
_COMMIT: Final = 12
"""How much of a commit's hash tells two of them apart."""


def step_of_name(name: str) -> int | None:
    """The training step that a folder's name says, or None."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


def training_step(path: str | Path) -> int | None:
    """The training step of a checkpoint folder: by its name, else by `global_step` in its trainer_state.json."""
    return _origin(Path(path))[0]


def training_run(path: str | Path) -> str | None:
    """The training that a checkpoint with a step is of: the resolved folder in which its steps lie. A folder whose step
    only trainer_state.json says is what a training left at its end: in the folder of its steps, or beside them. Two
    such folders are two trainings, whatever folder they share."""
    return _origin(Path(path))[1]


def _origin(path: Path) -> tuple[int | None, str | None]:
    whole = path.resolve()
    for folder in (whole, path.absolute()):  # a link may lead to the step's folder, or be called after the step
        step = step_of_name(folder.name)
        if step is not None:
            return step, str(folder.parent.resolve())
    step = _recorded_step(whole)
    if step is None:
        return None, None
    return step, str(whole.parent if _has_steps(whole.parent) else whole)


def _recorded_step(folder: Path) -> int | None:
    """`global_step` of the folder's trainer_state.json; None where there is no such thing."""
    try:
        content = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    step = content.get("global_step") if isinstance(content, dict) else None
    return step if type(step) is int and step >= 0 else None


def _has_steps(folder: Path) -> bool:
    try:
        return any(step_of_name(child.name) is not None and child.is_dir() for child in folder.iterdir())
    except OSError:
        return False


def checkpoint_name(path: str | Path) -> str:
    """What people call a checkpoint: its folder's name, or the repository's where it lies in the hub's cache."""
    return _parts(Path(path))[-1]


def distinct_names(paths: Sequence[Path], taken: Collection[str] = ()) -> list[str]:
    """A name for each folder, usable as a folder's name: its own, and where that repeats, parents before it.

    Parents are added until the names differ from each other and from `taken`. Where one folder named by a step needs
    its parent, all such folders get theirs: runA-checkpoint-100, runB-checkpoint-100 and runB-checkpoint-200. What
    still coincides (a/b-c and a-b/c, joined) the caller must number.
    """
    parts = {path: _parts(path) for path in paths}
    stepped = {path for path, names in parts.items() if step_of_name(names[-1]) is not None}
    depth = dict.fromkeys(parts, 1)
    while True:
        joined = {path: "-".join(names[-depth[path]:]) for path, names in parts.items()}
        counts = collections.Counter(joined.values())
        short = {path for path, name in joined.items() if counts[name] > 1 or name in taken}
        if short & stepped:
            short |= {path for path in stepped if depth[path] == 1}
        short = {path for path in short if depth[path] < len(parts[path])}
        if not short:
            return [joined[path] for path in paths]
        for path in short:
            depth[path] += 1


def numbered(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """The names, with -2, -3, ... after those that repeat an earlier one or one of `taken`."""
    used = set(taken)
    labels: list[str] = []
    for name in names:
        label, number = name, 1
        while label in used or (number > 1 and label in names):
            number += 1
            label = f"{name}-{number}"
        used.add(label)
        labels.append(label)
    return labels


def usable(name: str) -> str:
    """A name as a folder may have it: no slash, no control character, no dot before it; nothing where none is left."""
    return re.sub(r"[/\\\x00-\x1f\x7f]+", "-", name).lstrip(". ").rstrip(" ")


def _parts(path: Path) -> tuple[str, ...]:
    """The parts of a path as people know them, at least one; for the hub's cache its commit, owner and repository."""
    whole = path.resolve() if ".." in path.parts else path.absolute()
    left = [part for part in whole.parts if part != whole.anchor]
    names: list[str] = []
    while left:
        if len(left) > 2 and left[0].startswith("models--") and left[1] == "snapshots":
            names += [left[2][:_COMMIT], *left[0].split("--")[1:]]
            left = left[3:]
        else:
            names.append(left.pop(0))
    return tuple(filter(None, map(usable, names))) or ("checkpoint",)


@dataclass(frozen=True)
class RowName:
    """What a row can be called after."""

    path: Path
    """Its checkpoint's folder."""
    variant: str
    label: str | None = None
    """Given by somebody; it wins."""
    changes: tuple[str, ...] = ()
    """In which parameters the variant is not the one of its name, each as NAME=VALUE."""


def row_labels(rows: Sequence[RowName]) -> list[str]:
    """A short, unique name for each row, usable as a folder's name: the part in which they differ.

    A given label wins. Checkpoints are called after their folders, with parents where these repeat. Two variants of one
    name are told apart by their changed parameters, and by a number where nothing else does it.
    """
    pairs = [(row.path.resolve(), usable(row.variant) or "variant") for row in rows]
    pairs = [(path, changed_name(variant, row.changes) if pairs.count((path, variant)) > 1 else variant)
             for (path, variant), row in zip(pairs, rows, strict=True)]
    shown = {path: row.path for (path, _), row in zip(reversed(pairs), reversed(rows), strict=True)}
    given = [row.label for row in rows]
    names = dict(zip(shown, distinct_names(list(shown.values()), set(filter(None, given))), strict=True))
    several = {label for label in given if label and given.count(label) > 1}
    alone = {label for label in given if label} - several
    variants = {variant for _, variant in pairs}
    labels: list[str] = []
    for (path, variant), label in zip(pairs, given, strict=True):
        if label:
            labels.append(f"{label}--{variant}" if label in several else label)
        elif len(names) == 1:
            labels.append(variant)
        else:
            labels.append(names[path] if len(variants) == 1 else f"{names[path]}--{variant}")
    # Given labels keep their place: numbers go to the others.
    rest = iter(numbered([label for label, name in zip(labels, given, strict=True) if name not in alone], alone))
    return [label if name in alone else next(rest) for label, name in zip(labels, given, strict=True)]


def changed_name(variant: str, changes: Iterable[str]) -> str:
    """A variant's name with the parameters that were changed: mrope-i--temporal_stride=0.5."""
    words = ",".join("-".join(re.findall(r"[\w.=+-]+", change.replace("=[", "="))) for change in changes)
    return f"{variant}--{words}" if words else variant


@dataclass(frozen=True)
class RecordedRow:
    """A row that lies on disk."""

    folder: Path
    variant: str
    label: str
    """As its run called it; "" where no file says that."""


def recorded_labels(rows: Sequence[RecordedRow], output: Path) -> list[str]:
    """What rows that lie on disk are called: as their run called them, and by their folders below the `output` that
    they are read from where it did not, or two runs used one name. A row in `output` itself goes by its variant then.
    """
    counts = collections.Counter(row.label for row in rows)
    places = [row.variant if row.folder == output else os.path.relpath(row.folder, output) for row in rows]
    return [place if not row.label or counts[row.label] > 1 else row.label
            for row, place in zip(rows, places, strict=True)]  # fmt: skip

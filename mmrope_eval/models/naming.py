"""How people name checkpoints: folders, globs, a training's folder, names on the hub, FOLDER=VARIANT, a YAML file.

Nothing here reads a checkpoint; what comes out are folders, each with what was said about it. Everything wrong is one
sentence with the word as it was typed.
"""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmrope_eval.errors import UserError
from mmrope_eval.models import hub
from mmrope_eval.models.hub import CHECKPOINT, Say, is_checkpoint
from mmrope_eval.rope import beside
from mmrope_eval.util import console
from mmrope_eval.util.config import read_yaml, sentence
from mmrope_eval.util.row_names import RowName, row_labels, usable
from mmrope_eval.words import first_few, nearest

_SNAPSHOT: Final = re.compile(r".*/models--[^/]+/snapshots/([0-9a-f]{40})")
_MAGIC: Final = re.compile(r"[*?[]")


@dataclass(frozen=True)
class ModelChoice:
    """One checkpoint, as somebody chose it."""

    path: Path
    """An existing folder on this machine."""
    named: str
    """As it was typed."""
    variant: str | None = None
    """A variant's name or YAML path; None: what the command line or the checkpoint says."""
    label: str | None = None
    coordinates: str | None = None
    prompts: str | None = None
    revision: str | None = None
    """The commit of a snapshot in the hub's cache, whether it was named by the hub's name or by its folder."""


def one_model(word: str) -> ModelChoice:
    """The one checkpoint that a word names. Raises UserError for several."""
    choices = resolve_models([word])
    if len(choices) > 1:
        raise UserError(f"--model {word} names {len(choices)} checkpoints, {choices[0].path} and others: name one")
    return choices[0]


def resolve_models(words: Sequence[str], files: Sequence[Path] = (), listed: Sequence[ModelChoice] = (), *,
                   say: Say | None = None) -> list[ModelChoice]:
    """The checkpoints that words and YAML files name, in their order, then those that are `listed` already.

    `say` hears what is skipped or downloaded, a line each; default: stderr. Raises UserError for what is not there,
    cannot be read, or is named twice under the same variant and label.
    """
    tell = say or _to_stderr
    choices = [choice for word in words for choice in _resolve(word, None, tell)]
    labels: dict[str, str] = {}
    for file in files:
        choices += _read_file(Path(file), labels, tell)
    choices += listed
    seen: dict[tuple[Path, str | None, str | None], ModelChoice] = {}
    for choice in choices:
        key = (choice.path.resolve(), choice.variant, choice.label)
        if key in seen:
            variant = f" with the variant '{choice.variant}'" if choice.variant else ""
            raise UserError(f"checkpoint {choice.path} is named twice{variant}, by '{seen[key].named}' and by "
                            f"'{choice.named}': leave one out, or give them different labels in a --models file")
        seen[key] = choice
    return choices


def _to_stderr(line: str) -> None:
    console.say(f"mmrope-eval: {line}", file=sys.stderr)


def _resolve(word: str, base: Path | None, say: Say, splits: bool = True) -> list[ModelChoice]:
    """The checkpoints of one word. A relative path is looked for in `base` first; `splits`: FOLDER=VARIANT is allowed.
    """
    if not word.strip():
        raise UserError("a checkpoint's name is empty: give a folder")
    folders = _local(word, base, say)
    name, variant = word, None
    if folders is None and splits and "=" in word:
        name, variant = _split(word)
        folders = _local(name, base, say)
        if folders is None and "/" in variant and not variant.endswith((".yaml", ".yml")):
            name, variant = word, None  # a folder that is not there, below one with a '=' in its name
    if folders is None:
        folders = _remote(name, base, say)
    if folders is None:
        raise UserError(_no_folder(name, base))
    return [_choice(folder, word, variant) for folder in folders]


def _split(word: str) -> tuple[str, str]:
    """FOLDER=VARIANT at the last '='; a '=' before a wildcard belongs to the folder."""
    name, _, variant = word.rpartition("=")
    if not name or not variant:
        part = "folder before" if not name else "variant after"
        raise UserError(f"checkpoint '{word}' names no {part} its '=': write FOLDER=VARIANT, or the folder alone")
    return (word, "") if _MAGIC.search(variant) else (name, variant)


def _choice(folder: Path, named: str, variant: str | None) -> ModelChoice:
    snapshot = _SNAPSHOT.fullmatch(folder.absolute().as_posix())
    return ModelChoice(folder, named, variant or None, revision=snapshot[1] if snapshot else None)


def _places(base: Path | None) -> tuple[Path | None, ...]:
    """Where a name is looked for: beside the file that holds it, then in the working folder."""
    return (None,) if base is None else (base, None)


def _local(name: str, base: Path | None, say: Say) -> list[Path] | None:
    """The checkpoints of a path or a glob, in the first place that has some; None where there is nothing of that
    name."""
    return next((folders for place in _places(base) if (folders := _below(name, place, say)) is not None), None)


def _below(name: str, base: Path | None, say: Say) -> list[Path] | None:
    path = _path(name, base)
    try:
        if path.is_dir():
            return _checkpoints_in(path, say)
        if not path.exists():
            return _matches(name, base, say) if _MAGIC.search(name) else None
    except OSError as error:
        raise UserError(f"checkpoint '{name}' cannot be read ({error.strerror}): give a folder") from error
    also = ", or read it with --models" if path.suffix in (".yaml", ".yml") else ""
    raise UserError(f"checkpoint '{name}' is a file: give its folder, '{path.parent}'{also}")


def _path(name: str, base: Path | None) -> Path:
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # no such user
        path = Path(name)
    return path if base is None else base / path


def _matches(name: str, base: Path | None, say: Say) -> list[Path] | None:
    """The checkpoints that a glob matches, in natural order; None where it matches nothing."""
    pattern = _path(name, None)
    # Path.glob knows neither absolute patterns nor '..'.
    names = glob.glob(str(pattern), root_dir=base, recursive=True)  # noqa: PTH207
    paths = sorted((_path(match, base) for match in names), key=_natural)
    folders = [path for path in paths if path.is_dir()]
    if paths and not folders:
        raise UserError(f"'{name}' matches files only ({first_few([path.name for path in paths])}): give folders")
    below = {folder: _checkpoints_in(folder, say) for folder in folders}
    whole = {folder: inside for folder, inside in below.items() if any(map(is_checkpoint, inside))}
    if whole and len(whole) < len(below):
        say(f"'{name}' also matches what holds no config.json, left out: "
            f"{first_few([str(folder) for folder in below if folder not in whole])}")
    chosen = [folder for inside in (whole or below).values() for folder in inside]
    return list({folder.resolve(): folder for folder in reversed(chosen)}.values())[::-1] or None


def _checkpoints_in(folder: Path, say: Say) -> list[Path]:
    """The folder, or the checkpoints of a training where it is a training's folder, by step."""
    if is_checkpoint(folder):
        return [folder]
    steps = {child: int(match[1]) for child in folder.iterdir()
             if (match := CHECKPOINT.fullmatch(child.name)) and child.is_dir()}
    children = sorted(steps, key=lambda child: (steps[child], child.name))
    whole = [child for child in children if is_checkpoint(child)]
    if children and not whole:
        raise UserError(f"'{folder}' is a training's folder, and none of its checkpoints "
                        f"({first_few([child.name for child in children])}) holds a config.json: save them with "
                        "save_pretrained()")
    if len(whole) < len(children):
        say(f"'{folder}': left out, as they hold no config.json: "
            f"{first_few([child.name for child in children if child not in whole])}")
    return whole or [folder]


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts checkpoint-2 before checkpoint-10."""
    parts = re.split(r"([0-9]+)", path.as_posix())
    return [(0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part) for part in parts]


def _no_folder(name: str, base: Path | None) -> str:
    """What is said of a name that is nothing here; the first half as it always was."""
    apart = base is not None and base.resolve() != Path.cwd() and not _path(name, None).is_absolute()
    where = f", neither beside the file, in '{(base or Path()).resolve()}', nor in the working folder" if apart else ""
    close = _close(name, base)
    hint = f", did you mean '{close}'?" if close else ": give the path of a downloaded checkpoint"
    if _MAGIC.search(name):
        return f"checkpoint '{name}' matches nothing{where}: give a folder, or a pattern that folders match"
    return f"checkpoint '{name}' is not a folder{where}{hint}"


def _close(name: str, base: Path | None) -> Path | None:
    return next(filter(None, (close_folder(_path(name, place)) for place in _places(base))), None)


def close_folder(path: Path) -> Path | None:
    """The folder that a path most likely means: each part that is not there replaced by its closest sibling."""
    reached = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0:]:
        if (reached / part).is_dir():
            reached /= part
            continue
        try:
            siblings = [child.name for child in (reached if reached.parts else Path()).iterdir() if child.is_dir()]
        except OSError:
            return None
        match = nearest(part, siblings, 0.6)
        if match is None:
            return None
        reached /= match
    return reached


def _remote(name: str, base: Path | None, say: Say) -> list[Path] | None:
    """The checkpoints of a repository on the hub, out of its cache or downloaded; None for no repository's name."""
    repo = hub.parse(name)
    if repo is None:
        return None
    folder, lacks = hub.cached(repo)
    if folder is None:
        owners = [_path(repo.name.split("/")[0], place) for place in _places(base)]
        if not lacks and (any(owner.is_dir() for owner in owners) or _close(repo.name, base)):
            # A path with a mistake in it must not start a download of somebody's model.
            raise UserError(f"{_no_folder(name, base)}; the hub's model of that name comes with `{repo.command}`")
        folder = hub.download(repo, name, lacks, say)
    return _checkpoints_in(folder, say)


_Text = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    """A mapping in a --models file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    path: _Text
    variant: _Text | None = None
    label: _Text | None = None
    coordinates: Literal["absolute", "thousand", "unit"] | None = None
    prompts: _Text | None = None


def _read_file(file: Path, labels: dict[str, str], say: Say) -> list[ModelChoice]:
    """The checkpoints that a YAML file lists; `labels` are those given so far, with their places."""
    if file.is_dir():
        raise UserError(f"--models {file} is a folder, and takes YAML files that list checkpoints: name a checkpoint "
                        "itself with --model (`model` in Python and in a config file)")
    try:
        content = read_yaml(file)
    except UserError as error:
        raise UserError(f"--models {error}") from error
    if not isinstance(content, list) or not content:
        raise UserError(f"--models {file} must hold a list of checkpoints, each a folder or a mapping of "
                        f"{', '.join(_Entry.model_fields)}")
    return listed_models(content, f"--models {file}", file.parent, labels, say=say)


def listed_models(content: Sequence[Any], named: str, base: Path, labels: dict[str, str] | None = None, *,
                  say: Say | None = None) -> list[ModelChoice]:
    """The checkpoints of a list with entries as in a --models file, that may stand in another file. UserError as there.

    `named` is what messages call the list; its relative paths are looked for in the folder `base`, then in the working
    folder. `labels` gets theirs.
    """
    labels = {} if labels is None else labels
    choices: list[ModelChoice] = []
    for number, entry in enumerate(content, 1):
        where = f"{named}, entry {number}"
        chosen = _read_entry(entry, where, base, say or _to_stderr)
        for label in filter(None, (choice.label for choice in chosen)):
            if label in labels:
                raise UserError(f"{where}: label '{label}' is taken by {labels[label]}: give another")
            labels[label] = where.removeprefix("--models ")
        choices += chosen
    return choices


def _read_entry(content: Any, where: str, base: Path, say: Say) -> list[ModelChoice]:
    try:
        if isinstance(content, str):
            choices, given = _resolve(content, base, say), None
        elif isinstance(content, dict):
            given = _Entry.model_validate(content)
            choices = _resolve(given.path, base, say, splits=False)
        else:
            raise UserError(f"a folder or a mapping of {', '.join(_Entry.model_fields)} is needed, not {content!r}")
        return [_with_words(choice, given, base, len(choices)) for choice in choices]
    except ValidationError as error:
        raise UserError(f"{where}: {sentence(error, _Entry)}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _with_words(choice: ModelChoice, given: _Entry | None, base: Path, several: int) -> ModelChoice:
    """A choice with what its entry says; a variant's YAML path is looked for beside the file first, as a folder is."""
    variant, label = choice.variant, None
    if given is not None:
        variant, label = given.variant, given.label
    if label is not None and several > 1:
        raise UserError(f"label '{label}' is for one checkpoint, and path '{choice.named}' means {several}: leave the "
                        "label out")
    if label is not None and (label != usable(label) or not label):
        raise UserError(f"label '{label}' cannot name a folder: use letters and digits, without '/' and without a "
                        "dot or a space at its ends")
    if variant is not None:
        variant = beside(variant, base)
    named = replace(choice, variant=variant, label=label)
    return named if given is None else replace(named, coordinates=given.coordinates, prompts=given.prompts)


def make_labels(rows: Sequence[tuple[ModelChoice, str, tuple[str, ...]]]) -> list[str]:
    """The name of each checkpoint under a variant with changed parameters, unique and usable as a folder's (see
    `util.row_names`)."""
    return row_labels([RowName(choice.path, variant, choice.label, changes) for choice, variant, changes in rows])

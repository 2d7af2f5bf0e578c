"""A task's rows, through lmms-eval's own dataset machinery: from this machine's files, else from the hub.

`--data-root` may be a mirror (`DIR/org/name/...` with the repository's files as they are, so that `hf download` makes
one), a hub cache, an HF_HOME or VLMEvalKit's LMUData (see `data.places`). Public data need no login.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.data.cache import drop_older, require_writable, tables_home
from mmrope_eval.data.lmudata import as_hub_folder, find_table, has_tables, why_absent
from mmrope_eval.data.media_files import MediaFolder
from mmrope_eval.data.places import Found, NotHereError, find_split, hub_home, places
from mmrope_eval.data.recipe import Recipe, read_recipe
from mmrope_eval.data.tables import TableError
from mmrope_eval.errors import SampleError, UserError, plain, sentence
from mmrope_eval.models.files import file_state
from mmrope_eval.task.clusters import is_expression
from mmrope_eval.task.registry import PREFIX, Family, TaskSpec
from mmrope_eval.task.template import evaluate, expression_fields, template_fields
from mmrope_eval.task.yaml_text import with_functions
from mmrope_eval.words import nearest

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class TaskRows:
    """The rows of one task: `rows[i]` is a mapping; images are encoded bytes."""

    rows: Dataset
    files: MediaFolder
    """Where the media are that the rows name."""
    remarks: tuple[str, ...] = ()
    """What is not as it should be with the files that hold them, each in a sentence."""


def mirror_folder(spec: TaskSpec, data_root: Path) -> Path:
    """Where the task's dataset lies in a mirror that `hf download` makes."""
    return data_root / spec.dataset


def find_data(spec: TaskSpec, data_root: Path | None) -> Found:
    """The files of the task's split on this machine, made from VLMEvalKit's table where only that is here. NotHereError
    says where they were looked for; UserError what is wrong with that table."""
    try:
        return _find(spec, data_root)
    except NotHereError:
        missing = absence(spec, data_root)
        if missing is not None or data_root is None:
            raise NotHereError(missing or "") from None
    return find_split(str(hub_folder(spec, data_root)), None, spec.subsets or (spec.subset,), spec.split, None)


def _find(spec: TaskSpec, data_root: Path | None) -> Found:
    """The files of the task's split where the hub's layouts have them. NotHereError."""
    configs: Sequence[str | None] = spec.subsets or (spec.subset,)
    return find_split(spec.dataset, spec.dataset_kwargs.get("revision"), configs, spec.split, data_root)


def task_recipe(spec: TaskSpec) -> Recipe | None:
    """How the task's rows are made from VLMEvalKit's table; None for a benchmark of which it has none."""
    return None if spec.lmudata is None else read_recipe(spec.lmudata, spec.path)


def task_table(spec: TaskSpec, root: Path) -> Path | None:
    """The task's table, where `root` is an LMUData folder that has it. UserError for two tables of one name."""
    recipe = task_recipe(spec)
    return None if recipe is None else find_table(root, recipe)


def why_no_table(spec: TaskSpec, root: Path) -> str:
    """One sentence on why the task has no rows from `root`."""
    recipe = task_recipe(spec)
    return f"VLMEvalKit has no table of {spec.column}." if recipe is None else why_absent(root, recipe)


def hub_folder(spec: TaskSpec, root: Path) -> Path:
    """The task's data set in the hub's layout, made from its table below `root` (kept in the cache). It has the tables
    only: pictures are in them, videos stay where they are. UserError when there is no such table or it cannot be
    read."""
    recipe = task_recipe(spec)
    if recipe is None:
        raise UserError(f"Task {spec.name}: {why_no_table(spec, root)}")
    configs = (spec.subsets if recipe.config else ()) or (spec.subset or "default",)
    return as_hub_folder(recipe, root, tables_home(), evaluate, split=spec.split, configs=tuple(configs))


def absence(spec: TaskSpec, data_root: Path | None) -> str | None:
    """What is in the place of the task's rows, "" for nothing; None where they can be read without a network.
    VLMEvalKit's table is only looked for and not read, which costs no time."""
    try:
        _find(spec, data_root)
    except NotHereError as error:
        if data_root is None or spec.local or not has_tables(data_root):
            return str(error)
        if task_table(spec, data_root) is None:
            return f"{error} {why_no_table(spec, data_root)}".strip()
    return None


def missing_shards(spec: TaskSpec, data_root: Path | None) -> tuple[str, ...]:
    """Files of the task's split that are not with the others."""
    try:
        return _find(spec, data_root).missing_shards
    except NotHereError:
        return ()


def fetch_command(spec: TaskSpec, data_root: Path | None) -> str:
    """The exact command that fetches the task's split, or makes it where it is generated."""
    if spec.generated is not None:
        return f"{spec.generated} --out {shlex.quote(str(data_root or 'DIR'))}"
    folder = mirror_folder(spec, data_root) if data_root is not None else None
    return hub_command(spec.dataset, spec.dataset_kwargs.get("revision"), spec.files, folder)


def hub_command(dataset: str, revision: str | None, patterns: Iterable[str], folder: Path | None) -> str:
    """The exact command that fetches a data set's files, all without patterns, into a folder or the hub's cache."""
    at = f" --revision {revision}" if revision is not None else ""
    include = "".join(f" --include {shlex.quote(pattern)}" for pattern in patterns)
    where = f" --local-dir {shlex.quote(str(folder))}" if folder is not None else ""
    return f"hf download {dataset} --repo-type dataset{at}{include}{where}"


def require(spec: TaskSpec, data_root: Path | None) -> None:
    """UserError with the command to run when the task's rows are not here and cannot be fetched now."""
    lack = absence(spec, data_root)
    if lack is None:
        return
    if spec.local:
        problem = lack or f"there is no folder {spec.dataset}."
        raise UserError(f"Task {spec.name}: {problem} It is the 'dataset_path' of {spec.path}.")
    command, make = fetch_command(spec, data_root), "make" if spec.generated else "fetch"
    if data_root is not None:
        problem = lack or f"the mirror has no folder {mirror_folder(spec, data_root)};"
        raise UserError(f"Task {spec.name}: {problem} {make} it with: {command}")
    if spec.generated is not None:
        raise UserError(f"Task {spec.name}: its data are generated; make them with: {command}; then give --data-root.")
    if not _hub_has(spec):
        raise UserError(f"Task {spec.name}: dataset {spec.dataset} is not in the local cache and the hub cannot be "
                        f"asked for it; {f'{lack} ' if lack else ''}name a folder that holds it with --data-root, "
                        f"or, where the hub can be reached, fetch it with: {command}")


def _hub_has(spec: TaskSpec) -> bool:
    from huggingface_hub import HfApi

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    try:
        HfApi().dataset_info(spec.dataset, timeout=10)
    except Exception:  # noqa: BLE001 - a probe: however it fails, the hub cannot be asked
        return False
    return True


def load_docs(spec: TaskSpec, data_root: Path | None, family: Family) -> TaskRows:
    """The task's rows after its own row recipe, as lmms-eval loads them. UserError when they cannot be."""
    require_writable(tables_home())
    try:
        located: Found | None = find_data(spec, data_root)
    except NotHereError:
        located = None  # lmms-eval fetches the split from the hub
        require(spec, data_root)
    media = media_folder(spec, data_root)
    task = load_task(spec, data_root, family, media.roots, located)
    return TaskRows(task.eval_docs, media, () if located is None else remarks(located))


def columns_of(docs: TaskRows) -> list[str]:
    """The fields of a row; those that are only attached when a row is read among them."""
    return list(docs.rows[0]) if len(docs.rows) else list(docs.rows.column_names)


def missing_columns(spec: TaskSpec, docs: TaskRows) -> list[str]:
    """Fields that prompts, target or media of the task use and the data set does not have."""
    return sorted(needed_columns(spec) - set(columns_of(docs)))


def require_columns(spec: TaskSpec, docs: TaskRows) -> None:
    """UserError when rows lack a field that the task uses: no sample of it could be right."""
    for name in missing_columns(spec, docs)[:1]:
        close = nearest(name, columns_of(docs), 0.6)
        hint = f"did you mean '{close}'? It has" if close else "it has"
        raise UserError(f"Task {spec.name}: dataset {spec.dataset} has no column '{name}', which the task uses; {hint} "
                        f"{', '.join(columns_of(docs))}.")  # fmt: skip


def needed_columns(spec: TaskSpec) -> set[str]:
    """Fields that the task file reads of a row."""
    needed = {name for text in spec.prompts.values() for name in template_fields(text)}
    needed |= {name for text in spec.target.values() for name in expression_fields(text)}
    needed |= {spec.question} if spec.question else set()
    needed |= expression_fields(spec.cluster) if spec.cluster and is_expression(spec.cluster) else set()
    for key in ("image", "images", "video", "start", "end", "subtitles"):
        named = spec.media.get(key, [])
        for name in [named] if isinstance(named, str) else named:
            needed |= template_fields(name) if "{{" in name else {name}
    return needed - ({"subtitles"} if "subtitles" in spec.media else set())


def remarks(located: Found) -> tuple[str, ...]:
    """What is missing of the split's own files."""
    missing = located.missing_shards
    if not missing:
        return ()
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return (f"a part of the split is not here ({missing[0]}{more}): only the rows of the other files are asked.",)


def media_folder(spec: TaskSpec, data_root: Path | None) -> MediaFolder:
    """Where the task's media are looked for, in order: beside its tables; where the data set that shares its videos
    lies; where lmms-eval unpacks the hub's archives (its `cache_dir`), below `data_root` and below HF_HOME; beside
    VLMEvalKit's table of it."""
    roots: list[Path] = []
    for dataset, revision in ((spec.dataset, spec.dataset_kwargs.get("revision")), (spec.videos_from, None)):
        if dataset is not None:
            roots += [place.folder for place in places(dataset, revision, data_root) if place.kind != "arrow"]
    unpacked = str(spec.dataset_kwargs.get("cache_dir", spec.dataset))
    shared = [unpacked, *([spec.videos_from.rpartition("/")[2]] if spec.videos_from else [])]
    homes = [*([data_root] if data_root is not None else []), hub_home()]
    roots += [home / name for home in homes for name in shared if (home / name).is_dir()]
    if data_root is not None and (table := task_table(spec, data_root)) is not None:
        roots += [table.parent, data_root]
    if spec.videos_from and data_root is not None:
        roots.append(data_root / spec.videos_from)  # named in the sentence where it is not there
    if not roots:
        roots = [mirror_folder(spec, data_root) if data_root is not None else hub_home() / unpacked]
    distinct = dict.fromkeys(root.resolve() for root in roots)
    return MediaFolder(tuple(distinct), tuple(spec.media.get("folders", (".",))))


def load_task(spec: TaskSpec, data_root: Path | None, family: Family, roots: Sequence[Path],
              located: Found | None) -> Any:
    """lmms-eval's ConfigurableTask of a task's `lmms_config`. UserError for whatever is wrong with its data."""
    from tenacity import RetryError

    from mmrope_eval.lmms.loader import make_task, quiet_lmms_eval

    quiet_lmms_eval()
    config = lmms_config(spec, family, roots, located)
    try:
        return make_task(config)
    except SystemExit as stop:
        raise UserError(f"Task {spec.name}: lmms-eval gave up on the dataset {spec.dataset} ({stop}).") from stop
    except KeyError as error:
        raise UserError(f"Task {spec.name}: dataset {spec.dataset} has no split or column {error}; "
                        f"{remedy(spec, data_root)}") from error
    except SampleError as error:
        raise UserError(f"Task {spec.name}: dataset {spec.dataset}, first row: {error}") from error
    except TableError as error:
        advice = remedy(spec, data_root)
        raise UserError(f"Task {spec.name}: {error} {advice[0].upper()}{advice[1:]}") from error
    except UserError:
        raise
    except RetryError as error:
        cause = error.last_attempt.exception()
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(f"Task {spec.name}: dataset {spec.dataset} cannot be loaded ({plain(str(cause))}); "
                        f"{remedy(spec, data_root)}") from error  # fmt: skip
    except Exception as error:  # the task's own functions, and data that are of no use, may raise anything
        forbidden = isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError)
        raise UserError(f"Task {spec.name}: dataset {spec.dataset} cannot be read ({sentence(error)}); "
                        f"{'make it readable.' if forbidden else remedy(spec, data_root)}") from error  # fmt: skip


def remedy(spec: TaskSpec, data_root: Path | None) -> str:
    """What to do about a data set that is there and cannot be read."""
    if spec.local:
        return f"docs/benchmark.md says what {spec.path} and the folder must hold."
    return f"fetch it anew with: {fetch_command(spec, data_root)}"


def lmms_config(spec: TaskSpec, family: Family, roots: Sequence[Path], located: Found | None) -> dict[str, Any]:
    """What lmms-eval gets: the task file, where data and media are, the family's prompt and coordinates. UserError
    where a function that the file names cannot be loaded."""
    try:
        content = with_functions(spec.content)
    except UserError as error:
        raise UserError(f"Task file {spec.path}: {error}") from error
    shown = {"media": dict(spec.media), "media_roots": list(map(str, roots)), "prompt": spec.prompt(family.prompts)}
    target = {**spec.content["model_specific_target_kwargs"]["default"], "coordinates": family.coordinates,
              "family": family.name}  # fmt: skip
    config = {**content, "task": PREFIX + spec.name, "lmms_eval_specific_kwargs": {"default": shown},
              "model_specific_target_kwargs": {"default": target}}  # fmt: skip
    return config if located is None else config | local_config(located)


def local_config(located: Found) -> dict[str, Any]:
    """What makes lmms-eval read the files that were found."""
    from mmrope_eval.lmms.subsets import LocalTask

    parts = {config: {"format": part.format, "files": list(map(str, part.files))}
             for config, part in located.parts.items()}  # fmt: skip
    return {"class": LocalTask, "dataset_path": str(located.place.folder), "dataset_name": None,
            "dataset_kwargs": {"parts": parts, "cache_dir": str(table_cache(located))}}  # fmt: skip


def table_cache(located: Found) -> Path:
    """Where a split's tables are converted to: one folder a place and configuration, in it one a state of the files.
    Copies of earlier states are removed."""
    where = hashlib.sha256(repr((str(located.place.folder), list(located.parts))).encode()).hexdigest()[:16]
    folder = tables_home() / f"{located.place.folder.name}-{where}" / table_state(located)
    drop_older(folder)
    return folder


def table_state(located: Found) -> str:
    """A hash over the names, sizes and times of a split's files: another one whenever a file is another."""
    state = [(config, str(file), *file_state(file.stat()))
             for config, part in located.parts.items() for file in part.files]  # fmt: skip
    return hashlib.sha256(repr(state).encode()).hexdigest()[:24]

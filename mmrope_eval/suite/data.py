"""A task's rows, through lmms-eval's own dataset machinery: from the hub, or from an offline mirror of it.

A mirror (`--data-root`) has the hub's own layout, `DIR/org/name/...` with the repository's files as they are, so that
`hf download` makes one. Public data need no login.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.files import cache_home
from mmrope_eval.suite.protocol import SampleError
from mmrope_eval.suite.registry import PREFIX, Family, TaskSpec, project_dir
from mmrope_eval.suite.videos import VideoFolder

if TYPE_CHECKING:
    from datasets import Dataset

TRUTHY = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class Docs:
    """The rows of one task: `rows[i]` is a mapping; images are encoded bytes."""

    rows: Dataset
    videos: VideoFolder | None


def mirror_folder(spec: TaskSpec, data_root: Path) -> Path:
    """Where the task's dataset lies in a mirror."""
    return data_root / spec.dataset


def hub_folders(spec: TaskSpec) -> list[Path]:
    """Folders in which huggingface_hub and datasets keep this dataset once it was fetched."""
    from huggingface_hub import constants

    hub = Path(constants.HF_HUB_CACHE) / f"datasets--{spec.dataset.replace('/', '--')}"
    datasets = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    return [hub, datasets / spec.dataset.replace("/", "___")]


def data_folders(spec: TaskSpec, data_root: Path | None) -> list[Path]:
    """Every folder whose files decide what the task's rows and media are."""
    if data_root is not None:
        return [mirror_folder(spec, data_root)]
    return [*hub_folders(spec), *([media_root(spec, None)] if "video" in spec.media else [])]


def is_present(spec: TaskSpec, data_root: Path | None) -> bool:
    """Whether the task's data can be read without a network."""
    if data_root is not None:
        return mirror_folder(spec, data_root).is_dir()
    return any(folder.is_dir() for folder in hub_folders(spec))


def fetch_command(spec: TaskSpec, data_root: Path | None) -> str:
    """The exact command that fetches the dataset, or makes it where it is generated."""
    if spec.generated is not None:
        return f"{spec.generated} --out {shlex.quote(str(data_root or 'DIR'))}"
    revision = f" --revision {spec.dataset_kwargs['revision']}" if "revision" in spec.dataset_kwargs else ""
    where = f" --local-dir {shlex.quote(str(mirror_folder(spec, data_root)))}" if data_root is not None else ""
    return f"hf download {spec.dataset} --repo-type dataset{revision}{where}"


def require(spec: TaskSpec, data_root: Path | None) -> None:
    """UserError with the command to run when the dataset is not there and cannot be fetched now."""
    if is_present(spec, data_root):
        return
    command, make = fetch_command(spec, data_root), "make" if spec.generated else "fetch"
    if data_root is not None:
        folder = mirror_folder(spec, data_root)
        raise UserError(f"Task {spec.name}: the mirror has no folder {folder}; {make} it with: {command}")
    if spec.generated is not None:
        raise UserError(f"Task {spec.name}: its data are generated; make them with: {command}; then give --data-root.")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUTHY or not _hub_has(spec):
        raise UserError(
            f"Task {spec.name}: dataset {spec.dataset} is not in the local cache and the hub cannot be asked for it; "
            f"where the hub can be reached, fetch it with: {command}"
        )


def _hub_has(spec: TaskSpec) -> bool:
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(spec.dataset, timeout=10)
    except Exception:  # noqa: BLE001 - a probe: however it fails, the hub cannot be asked
        return False
    return True


def load_docs(spec: TaskSpec, data_root: Path | None, family: Family) -> Docs:
    """The task's rows after its own row recipe, loaded by lmms-eval's TaskManager. UserError when they cannot be."""
    require(spec, data_root)
    task = load_task(spec, data_root, family)
    return Docs(task.eval_docs, video_folder(spec, data_root))


def video_folder(spec: TaskSpec, data_root: Path | None) -> VideoFolder | None:
    """Where the task's videos lie: in the mirror, or where lmms-eval unpacks the hub's archives."""
    if "video" not in spec.media:
        return None
    return VideoFolder(media_root(spec, data_root), tuple(spec.media.get("folders", (".",))))


def media_root(spec: TaskSpec, data_root: Path | None) -> Path:
    """The folder below which a task's media files lie."""
    if data_root is not None:
        return mirror_folder(spec, data_root).resolve()
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    return home / str(spec.dataset_kwargs.get("cache_dir", spec.dataset))


def load_task(spec: TaskSpec, data_root: Path | None, family: Family) -> Any:
    """lmms-eval's ConfigurableTask for a task file, with the family's wording and coordinates put in."""
    quiet_lmms_eval()
    from lmms_eval.tasks import TaskManager
    from tenacity import RetryError

    manager = TaskManager(include_path=str(spec.path.parent), include_defaults=False)
    try:
        loaded = manager.load_config(task_config(spec, data_root, family))
    except SystemExit as stop:
        raise UserError(f"Task {spec.name}: lmms-eval gave up on the dataset {spec.dataset} ({stop}).") from stop
    except KeyError as error:
        raise UserError(f"Task {spec.name}: dataset {spec.dataset} has no split or column {error}; "
                        f"fetch it anew with: {fetch_command(spec, data_root)}") from error
    except SampleError as error:
        raise UserError(f"Task {spec.name}: dataset {spec.dataset}, first row: {error}") from error
    except RetryError as error:
        cause = error.last_attempt.exception()
        if isinstance(cause, UserError):
            raise cause from error
        text = " ".join(str(cause).split())[:300]
        raise UserError(
            f"Task {spec.name}: dataset {spec.dataset} cannot be loaded ({text}); "
            f"fetch it anew with: {fetch_command(spec, data_root)}"
        ) from error
    return next(iter(loaded.values()))


def task_config(spec: TaskSpec, data_root: Path | None, family: Family) -> dict[str, Any]:
    """What lmms-eval gets on top of the task file: where data and media are, the family's prompt and coordinates."""
    from mmrope_eval.suite.registry import read_yaml

    target: Mapping[str, Any] = read_yaml(spec.path)["model_specific_target_kwargs"]["default"]
    config: dict[str, Any] = {
        "task": PREFIX + spec.name,
        "lmms_eval_specific_kwargs": {
            "default": {
                "media": dict(spec.media),
                "media_root": str(media_root(spec, data_root)),
                "prompt": spec.prompt(family.prompts),
            }
        },
        "model_specific_target_kwargs": {"default": {**target, "coordinates": family.coordinates}},
    }
    if data_root is not None:
        folder = mirror_folder(spec, data_root).resolve()
        cache = cache_home() / "datasets" / table_state(folder)
        config |= {"dataset_path": str(folder), "dataset_kwargs": {"cache_dir": str(cache)}}
    return config


def table_state(folder: Path) -> str:
    """A hash over the names, sizes and times of a mirror's table files.

    `datasets` names the cache of a local folder after its README where that has a card, not after the tables, and
    would answer with the rows of an older mirror in the same place.
    """
    tables = sorted(p for suffix in ("parquet", "json", "jsonl", "csv") for p in folder.rglob(f"*.{suffix}"))
    state = [(str(p.relative_to(folder)), (stat := p.stat()).st_size, stat.st_mtime_ns) for p in tables]
    return hashlib.sha256(repr((str(folder), state)).encode()).hexdigest()[:24]


def quiet_lmms_eval() -> None:
    """Import lmms-eval's task machinery without its side effects on the process: log lines, and a Pillow switch.

    `lmms_eval.api.task` makes Pillow fill the missing part of truncated images with grey; the switch is put back.
    """
    import logging

    from loguru import logger
    from PIL import ImageFile

    import_hub_evaluate()
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    logger.disable("lmms_eval")
    import lmms_eval.tasks  # noqa: F401

    ImageFile.LOAD_TRUNCATED_IMAGES = before
    logging.getLogger("datasets").setLevel(logging.ERROR)
    import datasets

    datasets.disable_progress_bars()


def import_hub_evaluate() -> None:
    """Import the hub's `evaluate` package, which lmms-eval needs, past our own evaluate.py.

    Where Python's search path starts with the checkout (a script run from it), `import evaluate` would find the script.
    """
    import sys

    script = project_dir("tasks").parent / "evaluate.py"
    path = sys.path[:]
    sys.path[:] = [entry for entry in path if Path(entry).resolve() != script.parent]
    try:
        import evaluate  # noqa: F401
    finally:
        sys.path[:] = path

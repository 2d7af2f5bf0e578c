"""Which files of a data set's folder hold one split, and their rows.

Only the files of the split that is asked are ever read, so a download of that split alone is enough. The rules are
those of `datasets` (the card's `configs`, else names of files and folders); its own loader wants every split to be
there (huggingface/datasets, `data_files.py`, as of 5.2).
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from mmrope_eval.errors import cannot, sentence
from mmrope_eval.util.files import FULL
from mmrope_eval.words import flat

if TYPE_CHECKING:
    from datasets import Dataset

Format = Literal["parquet", "json", "csv", "arrow", "saved"]

_FORMATS: Final[Mapping[str, Format]] = {
    ".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow",
}  # fmt: skip

_NAMES_OF_SPLITS: Final = (
    ("train", "training"), ("validation", "valid", "val", "dev"), ("test", "testing", "eval", "evaluation"),
)
"""Words in a file's name that mean the same split."""

_LIKE_A_SPLIT: Final = re.compile(r"(?<![a-zA-Z])(?:train|val|test|dev|eval)", re.IGNORECASE)
"""Names that speak of splits, of these or of others (`testA`)."""

_SHARD: Final = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\b")
_NO_TABLES: Final = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "world.json"}


class TableError(Exception):
    """A folder does not hold a split; one sentence."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split of one configuration; for `saved` the folder that `save_to_disk` wrote."""

    format: Format
    files: tuple[Path, ...]
    missing_shards: tuple[str, ...] = ()
    """Files that belong to the split by the others' numbers and are not there."""


def split_files(folder: Path, config: str | None, split: str) -> SplitFiles:
    """The files of `split` of the configuration `config` below `folder`. TableError when they are not there."""
    saved = _saved(folder, split)
    if saved is not None:
        return saved
    configs = card_configs(folder)
    return _by_card(folder, configs, config, split) if configs else _by_names(folder, config, split)


def _saved(folder: Path, split: str) -> SplitFiles | None:
    """What `save_to_disk` wrote: a folder a split, or one split alone."""
    if (folder / "dataset_dict.json").is_file():
        if (folder / split / "state.json").is_file():
            return SplitFiles("saved", (folder / split,))
        raise TableError(f"{folder} was written by save_to_disk and holds no split '{split}'.")
    if (folder / "state.json").is_file():
        try:
            named = json.loads((folder / "state.json").read_text(encoding="utf-8")).get("_split")
        except (OSError, ValueError, AttributeError) as error:
            raise TableError(f"{folder / 'state.json'} cannot be read ({error}).") from error
        if named not in (None, split):
            raise TableError(f"{folder} was written by save_to_disk and holds the split '{named}', not '{split}'.")
        return SplitFiles("saved", (folder,))
    return None


def card_configs(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """The configurations in the head of the folder's README.md, by name; none without one. TableError for a bad head.

    A configuration without files of its own (it only describes) is left out.
    """
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    head = re.match(r"\s*---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
    if head is None:
        return {}
    try:
        content = yaml.safe_load(head.group(1))
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        # Besides YAML's own errors its constructors let through what a bad number or date makes Python raise.
        raise TableError(f"the head of {folder / 'README.md'} is no YAML ({flat(error)}).") from error
    listed = content.get("configs") if isinstance(content, Mapping) else None
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    configs = {str(entry.get("config_name", "default")): entry for entry in entries}
    return {name: c for name, c in configs.items() if c.get("data_files") or c.get("data_dir")}


def _by_card(folder: Path, configs: Mapping[str, Mapping[str, Any]], asked: str | None, split: str) -> SplitFiles:
    name = asked if asked is not None else _default(configs)
    if name is None or name not in configs:
        lack = f"no configuration '{asked}'" if asked is not None else "several configurations and no default"
        raise TableError(f"{folder} has {lack}; its README.md names {', '.join(configs)}.")
    config = configs[name]
    base = folder / str(config["data_dir"]) if config.get("data_dir") else folder
    patterns = _patterns(config.get("data_files"), split)
    if patterns is None:
        return _by_names(base, None, split)
    if not patterns:
        raise TableError(f"configuration '{name}' of {folder} has no split '{split}'.")
    files = sorted({path for pattern in patterns for path in _glob(base, pattern)})
    if not files:
        raise TableError(f"{base} has no file {' or '.join(patterns)}, which its README.md names for '{split}'.")
    return _checked(files)


def _default(configs: Mapping[str, Mapping[str, Any]]) -> str | None:
    marked = [name for name, config in configs.items() if config.get("default") is True]
    if len(configs) == 1:
        return next(iter(configs))
    return marked[0] if marked else "default" if "default" in configs else None


def _patterns(data_files: Any, split: str) -> list[str] | None:
    """The patterns of one split; [] when the others have some and it has none, None when splits are not told apart."""
    entries: list[Mapping[str, Any]] = []
    if isinstance(data_files, Mapping):
        entries = [{"split": name, "path": path} for name, path in data_files.items()]
    elif isinstance(data_files, Sequence) and not isinstance(data_files, str):
        entries = [entry for entry in data_files if isinstance(entry, Mapping)]
    if not entries:
        return None
    patterns = [entry.get("path") for entry in entries if str(entry.get("split")) == split]
    return [str(path) for paths in patterns for path in ([paths] if isinstance(paths, str) else paths or ())]


def _glob(base: Path, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise TableError(f"the README.md of {base} names files outside it ({pattern}).")
    return [path for path in base.glob(pattern) if path.suffix in _FORMATS and path.is_file()]


def _by_names(folder: Path, config: str | None, split: str) -> SplitFiles:
    """By the words in names, as `datasets` does for a folder without configurations in its card."""
    tables = _of_config(folder, config, table_files(folder))
    if not tables:
        what = f"of configuration '{config}' " if config else ""
        raise TableError(f"{folder} holds no table {what}(.parquet, .json, .jsonl, .csv or .arrow).")
    words = next((group for group in _NAMES_OF_SPLITS if split in group), (split,))
    exact = [path for path in tables if _says(path.relative_to(folder), (split,))]
    files: Sequence[Path] = exact or [path for path in tables if _says(path.relative_to(folder), words)]
    if not files:
        names = {(match.group(1) if (match := _SHARD.match(path.stem)) else path.stem) for path in tables}
        if len(names) > 1 or any(_LIKE_A_SPLIT.search(str(path.relative_to(folder))) for path in tables):
            raise TableError(f"{folder} has no file of split '{split}'; it has {_few(folder, tables)}.")
        files = tables  # one table that no name tells from others: it is all there is
    return _checked(files)


def table_files(folder: Path) -> list[Path]:
    """All files below a folder that may be tables, in order; hidden folders and descriptions left out."""
    paths = (path for path in folder.rglob("*") if path.suffix in _FORMATS and path.name not in _NO_TABLES)
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)
                  and p.is_file())  # fmt: skip


def _of_config(folder: Path, config: str | None, tables: Sequence[Path]) -> Sequence[Path]:
    """The tables of a configuration: in a folder of its name, of its name themselves, or in no folder of any name."""
    if config is None:
        return tables
    files = [path for path in tables if config in path.relative_to(folder).parts[:-1] or path.stem == config]
    return files or [path for path in tables if path.relative_to(folder).parts[:-1] in ((), ("data",))]


def _says(path: Path, words: Iterable[str]) -> bool:
    pattern = rf"(?<![a-zA-Z])(?:{'|'.join(map(re.escape, words))})(?![a-zA-Z])"
    return re.search(pattern, str(path.with_suffix(""))) is not None


def _few(folder: Path, tables: Sequence[Path]) -> str:
    names = [str(path.relative_to(folder)) for path in tables[:3]]
    return ", ".join(names) + (f" and {len(tables) - 3} more" if len(tables) > 3 else "")


def _checked(files: Sequence[Path]) -> SplitFiles:
    formats = {_FORMATS[path.suffix] for path in files}
    if len(formats) > 1:
        raise TableError(f"{files[0].parent} holds one split in several formats ({', '.join(sorted(formats))}).")
    (kind,) = formats
    return SplitFiles(kind, tuple(files), _missing_shards(files))


def _missing_shards(files: Sequence[Path]) -> tuple[str, ...]:
    """The names that numbered files (`-00000-of-00003`) say exist and that are not among them."""
    numbers_of: dict[tuple[str, str, str], set[int]] = {}
    for path in files:
        match = _SHARD.match(path.stem)
        if match:
            numbers_of.setdefault((match.group(1), match.group(3), path.suffix), set()).add(int(match.group(2)))
    return tuple(
        f"{stem}-{number:05d}-of-{total}{suffix}"
        for (stem, total, suffix), numbers in numbers_of.items()
        for number in range(int(total)) if number not in numbers
    )  # fmt: skip


def read_split(shards: SplitFiles, split: str, cache_dir: Path) -> Dataset:
    """The rows of a split. What is not Arrow already is converted once, below `cache_dir`.

    Raises TableError, naming the file, for one that is damaged or not whole.
    """
    import datasets

    _require_whole(shards)
    try:
        if shards.format == "saved":
            saved = datasets.load_from_disk(str(shards.files[0]))
            assert isinstance(saved, datasets.Dataset)
            return saved
        if shards.format == "arrow":
            return datasets.concatenate_datasets([datasets.Dataset.from_file(str(file)) for file in shards.files])
        files = {split: [str(file) for file in shards.files]}
        with _uncounted():
            return datasets.load_dataset(shards.format, data_files=files, split=split, cache_dir=str(cache_dir))
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and (cause.errno in FULL or "disk space" in str(cause)):
            raise cannot("convert tables in", cache_dir, cause,
                         "free some space, or name another folder with --cache-dir") from error  # fmt: skip
        raise TableError(f"{shards.files[0]} cannot be read ({sentence(error)}).") from error


@contextmanager
def _uncounted() -> Iterator[None]:
    """The network is not told that a table of this machine is read.

    `datasets` counts every `load_dataset`, of local files too, with a request that is waited for, up to 3 s a table.
    """
    from datasets import config

    before = config.HF_UPDATE_DOWNLOAD_COUNTS
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield
    finally:
        config.HF_UPDATE_DOWNLOAD_COUNTS = before


def reopened(rows: Dataset) -> Dataset:
    """Open rows anew over file mappings of their own, which go with them: what was read does not stay in memory."""
    copy: Dataset = pickle.loads(pickle.dumps(rows))  # a mapped table is pickled as the path of its file
    return copy


def _require_whole(shards: SplitFiles) -> None:
    """Refuse a file that a download left unfinished, before minutes are spent on those before it."""
    for file in shards.files if shards.format != "saved" else ():
        size = file.stat().st_size
        if size == 0:
            raise TableError(f"{file} is empty.")
        with file.open("rb") as stream:
            start = stream.read(64)
            if start.startswith(b"version https://git-lfs"):
                raise TableError(f"{file} is a Git LFS pointer, not the table: run 'git lfs pull' in its folder.")
            if shards.format == "parquet":
                stream.seek(max(0, size - 4))
                if size < 12 or start[:4] != b"PAR1" or stream.read(4) != b"PAR1":
                    raise TableError(f"{file} is not a whole Parquet file.")

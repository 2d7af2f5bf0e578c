"""`mmrope-eval data plan` and `data prune`: the commands that make a mirror, and what the cache holds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmrope_eval.data import cache
from mmrope_eval.errors import UserError
from mmrope_eval.task.dataset import absence, fetch_command, hub_command, media_folder, mirror_folder, missing_shards
from mmrope_eval.task.options import PlanOptions, PruneOptions
from mmrope_eval.task.registry import Registry, TaskSpec, open_registry
from mmrope_eval.util.console import say
from mmrope_eval.words import counted, size_text

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif", ".mpg", ".flv", ".wmv"})


@dataclass(frozen=True)
class PlanEntry:
    """One data set of a mirror: what it is for, how much of it is here, and the commands that fetch the rest."""

    dataset: str
    tasks: tuple[str, ...]
    licence: str | None
    folder: str
    present: bool
    """Whether rows, and where the tasks need them videos, are here."""
    lacking: str | None
    """What is not here, in a clause."""
    bytes_here: int | None
    bytes_on_hub: int | None
    """Of what the commands fetch; about, where the hub was not asked."""
    commands: tuple[str, ...]


def plan_entries(specs: Sequence[TaskSpec], root: Path, ask_hub: bool = False) -> list[PlanEntry]:
    """One entry a data set and revision, in the order of the tasks; data sets that only lend videos come with them."""
    groups: dict[tuple[str, str | None], list[TaskSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.dataset, spec.dataset_kwargs.get("revision")), []).append(spec)
    entries = []
    for group in groups.values():
        entry = _entry(group, root, ask_hub)
        asked = ask_hub and not group[0].local
        ask_hub = ask_hub and (entry.bytes_on_hub is not None or not asked)  # an unreachable hub is asked once
        entries.append(entry)
    lenders = dict.fromkeys(spec.videos_from for spec in specs if spec.videos_from)
    tasks = Registry().tasks.values()
    for lender in lenders:
        if lender and lender not in {entry.dataset for entry in entries}:
            users = [spec for spec in specs if spec.videos_from == lender]
            owners = [spec for spec in tasks if spec.dataset == lender]
            entries.append(_lender_entry(lender, owners, users, root))
    return entries


def _entry(group: Sequence[TaskSpec], root: Path, ask_hub: bool) -> PlanEntry:
    first = group[0]
    folder = mirror_folder(first, root)
    lacking = next((text for spec in group if (text := lacks(spec, root)) is not None), None)
    on_disk = folder_bytes(folder) if folder.is_dir() else None
    size = hub_bytes(first) if ask_hub and not first.local else known_bytes(group)
    return PlanEntry(first.dataset, tuple(spec.name for spec in group), first.licence, str(folder), lacking is None,
                     lacking, on_disk, size, tuple(dict.fromkeys(group_commands(group, root))))


def _lender_entry(lender: str, owners: Sequence[TaskSpec], users: Sequence[TaskSpec], root: Path) -> PlanEntry:
    lacking = next((text for spec in users if (text := _lacks_videos(spec, root)) is not None), None)
    folder = root / lender
    licence = owners[0].licence if owners else None
    commands = lender_commands(lender, owners, root)
    return PlanEntry(lender, tuple(f"videos of {spec.name}" for spec in users), licence, str(folder), lacking is None,
                     lacking, folder_bytes(folder) if folder.is_dir() else None, known_bytes(owners), tuple(commands))


def lender_commands(lender: str, owners: Sequence[TaskSpec], root: Path | None) -> list[str]:
    """The commands that fetch a data set for its videos; `owners` are the tasks that it is the data set of."""
    if owners:
        return group_commands(owners, root)
    folder = None if root is None else root / lender
    return [hub_command(lender, None, (), folder), *([unzip_command(folder)] if folder is not None else [])]


def task_commands(spec: TaskSpec, root: Path | None, tasks: Iterable[TaskSpec]) -> list[str]:
    """The commands that fetch all that one task needs; `tasks` are those among which the owner of its videos is."""
    lender = spec.videos_from
    lent = lender_commands(lender, [task for task in tasks if task.dataset == lender], root) if lender else []
    return [*group_commands([spec], root), *lent]


def lacks(spec: TaskSpec, root: Path) -> str | None:
    """What a task's data lack, in a clause; None when its rows can be read and it finds videos where it needs them."""
    problem = absence(spec, root)
    if problem is not None:
        return problem.rstrip(".") or f"there is no folder {mirror_folder(spec, root)}"
    if missing := missing_shards(spec, root):
        return f"{len(missing)} files of the split are not here ({missing[0]})"
    return _lacks_videos(spec, root) if spec.videos_from is None else None


def _lacks_videos(spec: TaskSpec, root: Path) -> str | None:
    if "video" not in spec.media:
        return None
    media = media_folder(spec, root)
    if any(Path(name).suffix.lower() in VIDEO_SUFFIXES for name in media.index.files):
        return None
    return f"there are no videos below {' or '.join(map(str, media.roots))}"


def group_commands(group: Sequence[TaskSpec], root: Path | None) -> list[str]:
    """The commands that put the splits of several tasks of one data set into a mirror, or into the hub's cache."""
    first = group[0]
    if first.local:
        return []
    if first.generated is not None:
        return [fetch_command(first, root)]
    whole = any(not spec.files for spec in group)
    patterns = [] if whole else ["README.md", *dict.fromkeys(name for spec in group for name in spec.files)]
    folder = None if root is None else mirror_folder(first, root)
    command = hub_command(first.dataset, first.dataset_kwargs.get("revision"), patterns, folder)
    videos = any("video" in spec.media and spec.videos_from is None for spec in group)
    return [command, *([unzip_command(folder)] if videos and folder is not None else [])]


def unzip_command(folder: Path) -> str:
    """Unpacks every archive beside itself, also where the folder or the archive is a link; fails when one fails."""
    script = 'for z do unzip -n -q "$z" -d "$(dirname "$z")" || exit 1; done'
    return f"find -L {shlex.quote(str(folder))} -name '*.zip' -exec sh -c '{script}' sh {{}} +"


def known_bytes(group: Sequence[TaskSpec]) -> int | None:
    """About how much the commands fetch, by the task files; None where one of them does not say."""
    sizes = {spec.files or (spec.dataset,): spec.bytes for spec in group}
    if not sizes or any(size is None for size in sizes.values()):
        return None
    return sum(size or 0 for size in sizes.values())


def hub_bytes(spec: TaskSpec) -> int | None:
    """How many bytes a data set has on the hub; None when the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(spec.dataset, revision=spec.dataset_kwargs.get("revision"), files_metadata=True,
                                    timeout=10)
    except Exception:  # noqa: BLE001 - however it fails, the size stays unknown
        return None
    return sum(file.size or 0 for file in info.siblings or ())


def plan(args: PlanOptions) -> int:
    """`data plan`: print the commands that make a mirror; 0 when everything is here, else 1."""
    specs = open_registry(args.tasks, args.tasks_dir).select(args.tasks or ["*"])
    entries = plan_entries(specs, args.data_root, args.sizes)
    if args.as_json:
        say(json.dumps({"datasets": [asdict(entry) for entry in entries]}, indent=2, ensure_ascii=False))
        return 0 if all(entry.present for entry in entries) else 1
    for entry in entries:
        kept = size_text(entry.bytes_here or 0)
        state = f"here ({kept})" if entry.present else f"incomplete ({kept})" if entry.bytes_here else "missing"
        size = f", about {size_text(entry.bytes_on_hub)} to fetch" if entry.bytes_on_hub is not None else (
            ", size unknown (--sizes asks the hub)" if entry.commands else ", a folder of one's own")  # fmt: skip
        licence = entry.licence or "licence unknown"
        say(f"# {entry.dataset}: {state}{'' if entry.present else size}; {', '.join(entry.tasks)}; {licence}")
        if entry.lacking:
            say(f"#   {entry.lacking}")
        # Fetching what is here would replace it. --json has these commands too, for another machine.
        say("" if entry.present else "".join(f"{command}\n" for command in entry.commands))
    missing = [entry for entry in entries if not entry.present]
    if missing:
        say(f"# to fetch: {to_fetch([entry.bytes_on_hub for entry in missing])}")
    say("# A zip archive is also read as it is; each of its videos is then copied into the cache when it is asked.")
    return 1 if missing else 0


def to_fetch(sizes: Collection[int | None]) -> str:
    """Data sets of these sizes, which may be unknown, in words."""
    known = [size for size in sizes if size is not None]
    unknown = len(sizes) - len(known)
    words = [*([f"about {size_text(sum(known))}"] if known else []),
             *([f"{unknown} of unknown size"] if unknown else [])]  # fmt: skip
    return f"{counted(len(sizes), 'data set')}, {', and '.join(words)}"


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prune(args: PruneOptions) -> int:
    """`data prune`: remove (or with `dry_run` count) what the cache holds; UserError for a kind that there is not."""
    unknown = [kind for kind in args.kinds if kind not in cache.KINDS]
    if unknown:
        raise UserError(f"The cache has no '{unknown[0]}'; it has {', '.join(cache.KINDS)}.")
    before = {kept.kind: kept for kept in cache.contents()}
    removed = cache.prune(args.kinds or list(cache.KINDS), args.older_than, args.dry_run)
    if args.as_json:
        entries = [
            {**asdict(kept), "folder": str(kept.folder), "bytes_before": before[kept.kind].bytes} for kept in removed
        ]
        say(json.dumps({"dry_run": args.dry_run, "removed": entries}, indent=2, ensure_ascii=False))
        return 0
    verb = "would free" if args.dry_run else "freed"
    for kept in removed:
        total = before[kept.kind]
        say(f"{verb} {size_text(kept.bytes):>9} of {size_text(total.bytes):>9}  {kept.folder}  ({kept.what})")
    say(f"{verb} {size_text(sum(kept.bytes for kept in removed))} in all")
    return 0

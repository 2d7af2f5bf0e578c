"""`mmrope-eval doctor --ray`: whether every node of a cluster would give the answers that this machine gives."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError, sentence
from mmrope_eval.util.console import say
from mmrope_eval.util.paths import cache_home

PATIENCE: Final = 90.0
"""Seconds for a node to answer: it starts Python and imports the package, perhaps from a cold network file system."""

SMALL: Final = 2**20
"""Files up to this size are compared by their content where they are settings (.json, .jinja, .txt)."""

LEAST: Final = 1e9
"""Bytes that a node's cache needs free."""


@dataclass(frozen=True)
class Facts:
    """What a node has; its answers depend on all but the last three."""

    host: str
    code: Mapping[str, str | None] = field(default_factory=dict)
    """Versions, and the answer code (`engines.running_code`), with Python's."""
    folders: Mapping[str, str | None] = field(default_factory=dict)
    """What is in a folder, as a hash over names and sizes, and settings; None where there is none."""
    gpus: int = 0
    cpus: int = 0
    free: float = 0.0
    """Bytes where the cache is."""
    problem: str = ""
    """Why nothing of this is known."""


def report(wanted: Sequence[Path], address: str | None) -> int:
    """Print a table with one line a node and what to fix; 1 where something lacks. MachinesError without a cluster.
    `wanted`: folders that every node must have."""
    folders = [str(path.absolute()) for path in wanted]
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder} is not a folder of this machine: give the place that all nodes have in common")
    mine, nodes = look(folders), gather(address, folders)
    problems = [line for node in nodes for line in compare(mine, node)]
    say(table(mine, nodes))
    for line in problems:
        say(f"FIX   {line}")
    gpus = sum(node.gpus for node in nodes)
    say(f"\n{len(nodes)} node{'s'[: len(nodes) != 1]}, {gpus} GPUs: "
        + (f"{len(problems)} thing{'s'[: len(problems) != 1]} to fix" if problems else "all would answer as this one"))
    return 1 if problems else 0


def look(folders: Sequence[str]) -> Facts:
    """This machine's facts, but for what Ray knows of it."""
    from mmrope_eval.run.engines import running_code

    cache = cache_home()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    code = {**running_code(), "Python": platform.python_version()}
    states = {folder: state(Path(folder)) for folder in folders}
    return Facts(platform.node(), code, states, free=shutil.disk_usage(existing).free)


def state(folder: Path) -> str | None:
    """A hash over the names and sizes of all files below a folder, and the content of small settings at its top."""
    if not folder.is_dir():
        return None
    content = hashlib.sha256()
    for where, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            path = Path(where, name)
            size = path.stat().st_size if path.exists() else -1
            content.update(f"{path.relative_to(folder)}\0{size}\0".encode(errors="surrogateescape"))
            if Path(where) == folder and path.suffix in (".json", ".jinja", ".txt") and 0 <= size <= SMALL:
                content.update(path.read_bytes())
    return content.hexdigest()[:16]


def gather(address: str | None, folders: Sequence[str]) -> list[Facts]:
    """The facts of every node that belongs to the cluster, in the order of their names."""
    from mmrope_eval.engine.ray_links import connect

    connect(address)
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    nodes = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(look)
    calls = [task.options(num_cpus=0, max_retries=0, scheduling_strategy=On(node["NodeID"], soft=False)).remote(folders)
             for node in nodes]  # fmt: skip
    done, _ = ray.wait(calls, num_returns=len(calls), timeout=PATIENCE)
    nodes_facts = [_facts(node, call if call in done else None) for node, call in zip(nodes, calls, strict=True)]
    return sorted(nodes_facts, key=lambda facts: facts.host)


def _facts(node: Mapping[str, Any], call: Any) -> Facts:
    import ray

    has = node["Resources"]
    ours = Facts(str(node["NodeManagerHostname"]), gpus=int(has.get("GPU", 0)), cpus=int(has.get("CPU", 0)))
    if call is None:
        return replace(ours, problem=f"it has not answered for {PATIENCE:.0f} s")
    try:
        answer = ray.get(call)
    except Exception as error:  # noqa: BLE001 - Ray's, or that of another version of this code
        lines = [line for line in str(error).splitlines() if "Error: " in line]
        return replace(ours, problem=lines[-1].strip() if lines else sentence(error))
    return replace(ours, code=answer.code, folders=answer.folders, free=answer.free)


def compare(mine: Facts, node: Facts) -> Iterator[str]:
    """What of a node is not as here, or lacks: a sentence each, with the fix."""
    if node.problem:
        if "No module named" in node.problem:
            yield (f"{node.host}: mmrope-eval cannot be imported there ({node.problem}): install it as here, and start "
                   "Ray from that environment")  # fmt: skip
        else:
            yield f"{node.host} cannot be asked: {node.problem}; look at 'ray status', and restart Ray there"
        return
    other = [name for name in mine.code if node.code.get(name) != mine.code[name]]
    if other:
        listed = ", ".join(f"{name} {node.code.get(name)} instead of {mine.code[name]}" for name in other)
        yield f"{node.host} runs other code than this machine ({listed}): install the same there, and restart Ray"
    for folder, my_version in mine.folders.items():
        its_version = node.folders.get(folder)
        if its_version is None:
            yield f"{node.host} has no folder {folder}: mount it there at the same place, or copy it"
        elif its_version != my_version:
            yield (f"{node.host} has other files in {folder} than this machine: answers would be about other weights "
                   "or data; copy the folder anew, or mount one for all")  # fmt: skip
    if node.free < LEAST:
        yield f"{node.host} has {node.free / 1e9:.1f} GB free for its cache: free 1 GB, or set MMROPE_CACHE elsewhere"


def table(mine: Facts, nodes: Sequence[Facts]) -> str:
    """One line a node."""
    from tabulate import tabulate

    names = [name for name in mine.code if name != "code"]
    head = ["node", *names, "code", "GPUs", "CPUs", "free, GB", *(Path(folder).name for folder in mine.folders)]
    rows = [[node.host, *(node.code.get(name) or "?" for name in names),
             _same(node.code.get("code"), mine.code["code"]), node.gpus, node.cpus,
             "?" if node.problem else f"{node.free / 1e9:.0f}",
             *(_same(node.folders.get(folder), version) for folder, version in mine.folders.items())]
            for node in nodes]  # fmt: skip
    return tabulate(rows, head, tablefmt="simple", disable_numparse=True)


def _same(theirs: str | None, ours: str | None) -> str:
    return "lacks" if theirs is None else "same" if theirs == ours else "OTHER"


def options_need_ray(model: Sequence[Path], address: str | None, *, ray: bool) -> None:
    """UserError for an option that only `--ray` reads."""
    for name, value in (("--model", model), ("--ray-address", address)):
        if value and not ray:
            raise UserError(f"doctor {name} is read with --ray only: add that; a checkpoint of this machine is checked "
                            "by 'mmrope-eval inspect'")  # fmt: skip

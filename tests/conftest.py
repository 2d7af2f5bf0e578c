"""Settings that hold for every test: no network, reproducible hypothesis runs, cores shared out among workers."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Read when Ray is first imported, which vLLM does too: what we set before our own import may come too late here.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")

CORES = sorted(os.sched_getaffinity(0))


def share(number: int, of: int) -> set[int]:
    """The cores of one of `of` workers, which they share where there are fewer cores than workers."""
    return set(CORES[number::of]) or {CORES[number % len(CORES)]}


def worker_cores() -> set[int]:
    """What tests of this process may compute on: two engines on the same cores would wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return set(CORES) if worker is None else share(int(worker[2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny Qwen2.5-VL, one for all tests of this process: to read. Who changes one builds one."""
    from mmrope_demo.checkpoints import build_checkpoint

    folder = build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("shared") / "tiny")
    before = _written(folder)
    yield folder
    assert _written(folder) == before, "a test changed the checkpoint that all share"


def _written(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


# Before torch is imported, which makes as many threads as there are cores.
os.sched_setaffinity(0, worker_cores())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Which imports torch and makes hundreds of thousands of objects: to look for garbage among them takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that is marked so has all cores, its fixtures too, whatever is running beside it."""
    if item.get_closest_marker("every_core") is None:
        return (yield)
    os.sched_setaffinity(0, CORES)
    try:
        return (yield)
    finally:
        os.sched_setaffinity(0, worker_cores())

"""A Ray cluster on this machine, and replicas on it that are stubs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from replica_stubs import Named

from mmrope_eval.engine import ray_links
from mmrope_eval.engine.links import Place
from mmrope_eval.engine.ray_links import RayActors

TESTS = Path(__file__).resolve().parent

MARK = f"MMROPE_EVAL_TESTED_BY={os.getpid()}"
"""In the environment of the cluster's processes: others may have clusters on this machine too."""


@contextmanager
def two_nodes(**node: Any) -> Iterator[str]:
    """The address of a cluster with two such nodes, of which this process is no driver afterwards."""
    ray_links.require_ray()
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(*MARK.split("="))
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster = Cluster(
            initialize_head=True, head_node_args={"object_store_memory": 2**27, "include_dashboard": False, **node}
        )
        cluster.add_node(object_store_memory=2**27, **node)
        patch.delenv(MARK.split("=")[0])
        try:
            yield cluster.address
        finally:
            ray.shutdown()
            cluster.shutdown()


@dataclass(frozen=True)
class Folder(Named):
    """A checkpoint that is somewhere."""

    path: Path = TESTS
    served: Path = TESTS


class Numbered(RayActors):
    """Actors whose replicas know their numbers, as stubs want it."""

    def places(self) -> Sequence[Place]:
        return [replace(place, variables={"PLACE": place.name[-1]}) for place in super().places()]


def hosts() -> dict[int, list[int]]:
    """Processes of actors of the cluster, each with its children."""
    children_by_parent: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if "ray::Host" in Path(f"/proc/{parent}/cmdline").read_text() and MARK in (folder / "environ").read_text():
                children_by_parent.setdefault(parent, []).append(int(folder.name))
        except OSError:
            continue
    return children_by_parent

"""Actors that have GPUs: the replicas of a cluster whose nodes say that they have some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from listening import wait_for_all
from ray_cluster import Folder, Numbered, two_nodes
from replica_stubs import Named, Orders, ours, read, start_with_gpus

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.ray_links import Layout
from mmrope_eval.engine.replica import Birth, Setting
from mmrope_eval.engine.replicas import Replicas
from mmrope_eval.messages import Deferred, Response

pytestmark = pytest.mark.every_core


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two nodes of four GPUs each, as far as Ray knows."""
    with two_nodes(num_cpus=2, num_gpus=4) as address:
        yield address


def test_every_replica_has_gpus_of_its_own_on_one_node(cluster: str) -> None:
    """Two GPUs for each of four replicas. Every node numbers its GPUs from 0."""
    options = EngineOptions(replicas="auto", tensor_parallel_size=2, backend="ray", ray_address=cluster)
    launch = Numbered(options)
    assert launch._layout == Layout(count=4, gpus=2, cpus=1, together=2)
    setting = Setting(cast(Any, Folder("ck")), cast(Any, Named("mrope")), Orders(delay=0.05))
    birth = Birth(setting, options, ours, start_with_gpus)
    with closing(Replicas.start(launch, birth, print)) as replicas:
        wait_for_all(replicas, 4)
        results = list(replicas.stream([Deferred(f"s/{n}", read, f"s/{n}") for n in range(80)]))
    seen = {response.text for response in results if isinstance(response, Response)}
    assert sorted(text.rpartition(" on GPU ")[2] for text in seen) == ["0,1", "0,1", "2,3", "2,3"]

"""Replicas in processes of this machine, each with GPUs, or a share of the cores, of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mmrope_eval.engine import ranks
from mmrope_eval.engine.backend import Driver
from mmrope_eval.engine.links import Link, Place, Post, ProcessLink
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replica import Birth
from mmrope_eval.engine.replicas import Replicas, start_replicas
from mmrope_eval.errors import MachinesError
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant


def start(checkpoint: Checkpoint, variant: Variant, options: EngineOptions, driver: Driver) -> Replicas:
    """The backend. Raises as `Replicas.start`, and `MachinesError` for replicas without room."""
    return start_replicas(Processes(options), checkpoint, variant, options, driver)


@dataclass(frozen=True)
class Processes:
    """Starts replicas in processes of this machine and gives each its GPUs or cores."""

    options: EngineOptions

    def places(self) -> Sequence[Place]:
        """Divide the GPUs, or the cores, among the replicas. MachinesError where there are too few of them."""
        wanted, ranks_each = self.options.replicas, self.options.tensor_parallel_size
        gpus = visible_gpus()
        if gpus:
            return gpu_places(gpus, wanted, ranks_each)
        return core_places(ranks.physical_cores(), wanted, ranks_each)

    def start(self, place: Place, birth: Birth, post: Post) -> Link:
        """Start a process."""
        return ProcessLink(place, birth, post)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Imports torch."""
    import torch

    count = int(torch.cuda.device_count())
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [part.strip() for part in named.split(",")][:count] if named is not None else [str(n) for n in range(count)]


def gpu_places(gpus: Sequence[str], wanted: int | str | None, ranks_each: int) -> list[Place]:
    """Groups of GPUs. MachinesError for more than there are."""
    most = len(gpus) // ranks_each
    count = most if wanted == "auto" else int(wanted or 1)
    if count > most or count < 1:
        raise MachinesError(f"--replicas {wanted}: {count} replicas of {ranks_each} GPUs each do not fit on the "
                        f"{len(gpus)} that this process sees; give at most {most}")  # fmt: skip
    groups = [gpus[i * ranks_each : (i + 1) * ranks_each] for i in range(count)]
    return [Place(f"replica {number} (GPU {','.join(group)})", variables={"CUDA_VISIBLE_DEVICES": ",".join(group)})
            for number, group in enumerate(groups, 1)]  # fmt: skip


def core_places(cores: Sequence[int], wanted: int | str | None, ranks_each: int) -> list[Place]:
    """Equal shares of the cores, neighbours together. MachinesError for more replicas than cores."""
    most = len(cores) // ranks_each
    count = 1 if wanted == "auto" else int(wanted or 1)
    if count > most:
        raise MachinesError(f"--replicas {wanted}: on CPU every replica needs a core of its own"
                        f"{f' for each of its {ranks_each} ranks' if ranks_each > 1 else ''}, and this process may use "
                        f"{len(cores)}; give at most {most}")  # fmt: skip
    return [Place(f"replica {number}", share) for number, share in enumerate(ranks.equal_shares(cores, count), 1)]

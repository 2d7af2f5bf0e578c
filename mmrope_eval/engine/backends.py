"""What runs an engine: this process, or replicas elsewhere. A new way to run replicas is a line in `LAUNCHES`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mmrope_eval.engine import ranks
from mmrope_eval.engine.links import Launch, Link, Place, Post, ProcessLink
from mmrope_eval.engine.live import LiveEngine
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.replica import Birth, Identify, Setting
from mmrope_eval.engine.replicas import Replicas
from mmrope_eval.errors import MachinesError
from mmrope_eval.media.policy import checkpoint_policy
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import Variant


def start_engine(
    checkpoint: Checkpoint,
    variant: Variant,
    options: EngineOptions,
    identify: Identify,
    say: Callable[[str], None],
) -> LiveEngine | Replicas:
    """The engine that options ask for. Raises as `LiveEngine.start`, and `MachinesError` for replicas without room."""
    setting = Setting(checkpoint, variant, options.policy or checkpoint_policy(checkpoint, {})[0])
    if options.replicas is None and options.backend == "processes":
        return start_inside(setting, options)
    launch = LAUNCHES[options.backend](options)
    sharing = replace(options, replicas=len(launch.places()))
    return Replicas.start(launch, Birth(setting, sharing, identify, start_inside), say)


def start_inside(setting: Setting, options: EngineOptions) -> LiveEngine:
    """An engine for this process alone."""
    return LiveEngine.start(setting.checkpoint, setting.variant, replace(options, policy=setting.policy))


@dataclass(frozen=True)
class Processes:
    """Replicas in processes of this machine, each with GPUs, or a share of the cores, of its own."""

    options: EngineOptions

    def places(self) -> Sequence[Place]:
        """One for each group of GPUs, or share of the cores. MachinesError where there are too few of them."""
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
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [part.strip() for part in said.split(",")][:count] if said is not None else [str(n) for n in range(count)]


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


def require(options: EngineOptions) -> None:
    """MachinesError where engines shall run on a cluster that this process cannot join."""
    if options.backend == "ray":
        from mmrope_eval.engine.ray_links import connect

        connect(options.ray_address)


def _ray(options: EngineOptions) -> Launch:
    from mmrope_eval.engine.ray_links import RayActors

    return RayActors(options)


LAUNCHES: Final[Mapping[str, Callable[[EngineOptions], Launch]]] = {"processes": Processes, "ray": _ray}
"""Ways to run replicas, as `EngineOptions.backend` names them."""

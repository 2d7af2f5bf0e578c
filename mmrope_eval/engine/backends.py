"""What runs engines: the register of backends. Imported with the command line, so nothing here is heavy.

To add a backend: one file with a function like `backend.Start`, and one record in `BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mmrope_eval.errors import UserError


@dataclass(frozen=True)
class Backend:
    """A way to run engines. Can be pickled."""

    name: str
    """As --backend takes it."""
    summary: str
    """For --help, as the end of a sentence."""
    starts: str
    """`module:function`, a `backend.Start`. The module is imported when an engine is started."""
    requires: str | None = None
    """`module:function` of the options, called before anything is asked: MachinesError where no engine could run."""


BACKENDS: Final[Mapping[str, Backend]] = {backend.name: backend for backend in (
    Backend("inside", "one engine inside the run", "mmrope_eval.engine.live:start_inside"),
    Backend("processes", "replicas in processes of this machine", "mmrope_eval.engine.processes:start"),
    Backend("ray", "replicas as actors of a Ray cluster (docs/cluster.md)", "mmrope_eval.engine.ray_links:start",
            requires="mmrope_eval.engine.ray_links:require"),
)}  # fmt: skip
"""All that --backend names."""


def backend_of(backend: str | Backend | None, replicas: int | str | None) -> Backend:
    """The backend that options name, or that suits them where they name none. UserError for one that cannot be.

    Whether vLLM then has processes of its own is decided for each engine (`settings.in_workers`).
    """
    if isinstance(backend, Backend):
        return backend
    name = backend or ("inside" if replicas is None else "processes")
    if name not in BACKENDS:
        raise UserError(f"--backend {name} is none: give one of {', '.join(BACKENDS)}")
    if name == "inside" and replicas is not None:
        raise UserError(f"--backend inside runs one engine: leave --replicas {replicas} out, or give --backend "
                        "processes")  # fmt: skip
    return BACKENDS[name]

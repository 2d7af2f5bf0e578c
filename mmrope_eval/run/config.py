"""What a run depends on, from the command line or from Python."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.models.naming import ModelChoice
from mmrope_eval.record.protocols import Protocol, load_protocol
from mmrope_eval.run.answer_limits import Asked, Given
from mmrope_eval.run.execute import MaxFailures
from mmrope_eval.run.system_prompt import read_system
from mmrope_eval.task.by_task import read_limits
from mmrope_eval.util.environment import cache_home


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on."""

    models: tuple[str, ...]
    """Checkpoints as people name them (see `models.naming`)."""
    tasks: tuple[str, ...]
    """Names, suites, globs, and paths of task files."""
    output: Path
    variants: tuple[str, ...] = ()
    """Names or YAML paths; empty: what each checkpoint says."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    data_root: Path | None = None
    limit: Limit | None = None
    """Of every task, where `limits` has no other."""
    limits: tuple[tuple[str, Limit], ...] = ()
    """Of some tasks, by name, suite or glob; of two for one task the later counts."""
    prompts: str | None = None
    coordinates: str | None = None
    system: str | None = None
    """The system prompt in place of the family's; None: as the family has it."""
    max_failures: MaxFailures = field(default_factory=MaxFailures)
    seed: int = 0
    seeds: tuple[int, ...] = ()
    """Each with rows of its own (see `seeds`); empty: `seed` alone."""
    max_tokens: Given = ()
    """Answer limits in place of the tasks' own."""
    temperature: float | None = None
    """At which answers are drawn, in place of the tasks' own; 0: greedy decoding."""
    thinking: Asked | None = None
    """Whether checkpoints shall think before they answer; None: as their chat templates have it, under the tasks'
    answer limits."""
    fresh: bool = False
    """Whether everything is asked, whatever answers are kept."""
    assume_stock: bool = False
    """Whether a checkpoint that names no variant may be called like one that it is not."""
    media: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `MediaPolicy` that go before what each checkpoint and the protocol say."""
    protocol: Protocol | None = None
    """Its limits, wording and answer limit go before the checkpoints' own, and single options before them."""
    options: EngineOptions = field(default_factory=EngineOptions)
    """How the engine runs; a media policy in it takes the place of what the checkpoints and `media` say."""
    command: tuple[str, ...] = ()
    model_files: tuple[Path, ...] = ()
    """YAML lists of further checkpoints."""
    tasks_dirs: tuple[Path, ...] = ()
    """Folders of task files beside the shipped ones."""
    listed: tuple[ModelChoice, ...] = ()
    """Checkpoints that a study's file lists."""
    own_folders: bool = False
    """Whether a row gets a folder of its own below `output` also where it is the only one."""
    log_file: Path | None = None
    """Where the log goes; None: into `output`."""
    verbose: bool = False
    """Whether what others write into the logs is also shown."""
    label_end: str = ""
    """What follows the name of each of its rows, where another run has the same rows."""

    def limit_of(self, task: str) -> Limit | None:
        """The limit of a task, once `limits` has the names of tasks only (`prepared.with_task_limits`)."""
        return dict(self.limits).get(task, self.limit)

    @property
    def limit_words(self) -> str | None:
        """`--limit` in words; None where there is none."""
        everywhere = [str(self.limit)] if self.limit is not None else []
        return ",".join([*everywhere, *(f"{name}:{limit}" for name, limit in self.limits)]) or None

    @property
    def answer_limits(self) -> Given:
        """The protocol's answer limit, then those of the command line, of which the later counts."""
        demanded = None if self.protocol is None else self.protocol.max_tokens
        return self.max_tokens if demanded is None else ((None, demanded), *self.max_tokens)


def config_from_args(args: argparse.Namespace) -> RunConfig:
    """The parsed command line of `run` as a RunConfig."""
    limit, limits = read_limits(args.limit)
    return RunConfig(
        models=tuple(args.model),
        tasks=tuple(args.tasks),
        output=args.output,
        model_files=tuple(args.models),
        tasks_dirs=tuple(args.tasks_dir),
        assume_stock=args.assume_stock,
        variants=tuple(args.variant),
        overrides=args.set,
        data_root=args.data_root,
        limit=limit,
        limits=limits,
        prompts=args.prompts,
        coordinates=args.coordinates,
        system=read_system(args.system),
        max_failures=MaxFailures(args.max_failures),
        seed=args.seed[0],
        seeds=args.seed,
        max_tokens=tuple(args.max_tokens),
        temperature=args.temperature,
        thinking=args.thinking,
        fresh=args.fresh,
        media=media_limits(args),
        protocol=load_protocol(args.protocol) if args.protocol is not None else None,
        options=engine_options(args),
        command=tuple(sys.argv),
        log_file=args.log_file,
        verbose=args.verbose,
    )


def engine_options(args: argparse.Namespace) -> EngineOptions:
    """How the engine runs, as the command line says."""
    return EngineOptions(
        max_model_len=args.max_model_len,
        dtype=args.dtype,
        head_dtype=args.head_dtype,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        workers=args.workers,
        tensor_parallel_size=args.tensor_parallel_size,
        replicas=args.replicas,
        backend=args.backend,
        ray_address=args.ray_address,
        data_root=args.data_root,
        gpu_memory_utilization=args.gpu_memory_utilization,
        media_cache_dir=None if args.no_cache else cache_home() / "frames",
        trust_remote_code=args.trust_remote_code,
        seed=args.seed[0],
        request_timeout=args.request_timeout,
        start_timeout=args.start_timeout,
    )


def media_limits(args: argparse.Namespace) -> dict[str, Any]:
    """The media limits that the command line names, as fields of `MediaPolicy`."""
    given = {
        "image_min_pixels": args.min_pixels,
        "image_max_pixels": args.max_pixels,
        "video_fps": args.fps,
        "video_max_frames": args.max_frames,
        "video_max_tokens": args.video_tokens,
        "frame_min_pixels": args.min_frame_pixels,
        "frame_max_pixels": args.max_frame_pixels,
    }
    return {name: value for name, value in given.items() if value is not None}

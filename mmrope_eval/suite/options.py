"""What a run depends on, from the command line or from Python."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval.engine.media_policy import MediaPolicy
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.suite.cache import cache_home
from mmrope_eval.suite.execute import MaxFailures


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    output: Path
    variants: tuple[str, ...] = ()
    """Names or YAML paths; empty: what each checkpoint says."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    data_root: Path | None = None
    limit: int | None = None
    prompts: str | None = None
    coordinates: str | None = None
    max_failures: MaxFailures = field(default_factory=MaxFailures)
    seed: int = 0
    options: EngineOptions = field(default_factory=EngineOptions)
    """How the engine runs; the media policy is part of it."""
    command: tuple[str, ...] = ()


def config_from_args(args: argparse.Namespace) -> RunConfig:
    """The parsed command line of `run` as a RunConfig."""
    return RunConfig(
        models=tuple(args.model),
        tasks=tuple(args.tasks),
        output=args.output,
        variants=tuple(args.variant),
        overrides=args.set,
        data_root=args.data_root,
        limit=args.limit,
        prompts=args.prompts,
        coordinates=args.coordinates,
        max_failures=MaxFailures(args.max_failures),
        seed=args.seed,
        options=engine_options(args, media_policy(args)),
        command=tuple(sys.argv),
    )


def engine_options(args: argparse.Namespace, policy: MediaPolicy) -> EngineOptions:
    """How the engine runs, as the command line says; `policy` is how media are read."""
    return EngineOptions(
        max_model_len=args.max_model_len,
        dtype=args.dtype,
        head_dtype=args.head_dtype,
        workers=args.workers,
        tensor_parallel_size=args.tensor_parallel_size,
        gpu_memory_utilization=args.gpu_memory_utilization,
        policy=policy,
        media_cache_dir=None if args.no_cache else cache_home() / "frames",
        trust_remote_code=args.trust_remote_code,
        seed=args.seed,
    )


def media_policy(args: argparse.Namespace) -> MediaPolicy:
    """The media policy with the limits that the command line names."""
    given = {
        "image_min_pixels": args.min_pixels,
        "image_max_pixels": args.max_pixels,
        "video_fps": args.fps,
        "video_max_frames": args.max_frames,
        "video_max_tokens": args.video_tokens,
        "frame_min_pixels": args.min_frame_pixels,
        "frame_max_pixels": args.max_frame_pixels,
    }
    return MediaPolicy(**{name: value for name, value in given.items() if value is not None})

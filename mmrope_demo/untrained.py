"""`mmrope-eval demo untrained`: twelve variants on real photographs, charts and videos, with random weights.

Builds what is missing below its folder: tiny checkpoints with random weights, and a mirror of three benchmarks made of
real photographs and videos that ship inside installed packages. A second start finds everything answered.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrope_eval.data.choice_of_rows import Limit, read_limit
from mmrope_eval.run.config import RunConfig

if TYPE_CHECKING:
    from mmrope_demo.checkpoints import Family
    from mmrope_eval.cli.demo import UntrainedOptions

VARIANTS = ("vanilla", "v2pe", "mrope", "mrope-i", "mhrope", "videorope", "hope", "circlerope", "ilrope", "omnirope",
            "mmrope", "grape")
TASKS = ("refcoco_val", "chartqa", "charades_sta")

NOTE = """\
The checkpoints are tiny and their weights are random: scores near zero are right. What this shows is that every variant
runs on images and videos through the real engine, and what a run leaves behind."""


def main(args: UntrainedOptions) -> int:
    """Build what is missing, evaluate, print the table: exit code 0, or 1 when samples failed."""
    from mmrope_demo.checkpoints import FAMILIES
    from mmrope_eval.run.run import report, run

    began = time.perf_counter()
    folder = Path(args.output)
    data = ensure_mirror(folder / "data")
    groups: dict[str, tuple[Family, ...]] = {"both": ("qwen2.5-vl", "qwen3-vl"), "all": FAMILIES,
                                             **{family: (family,) for family in FAMILIES}}  # fmt: skip
    families = groups[args.family]
    failed = asked = 0
    for family in families:
        checkpoint = ensure_checkpoint(folder / "checkpoints" / family, family)
        config = demo_config(checkpoint, data, folder / "results" / family, read_limit(args.limit))
        result = run(replace(config, fresh=args.fresh))
        print(f"\n{family}, tiny, random weights")
        report(result)
        failed, asked = failed + result.failed + len(result.broken), asked + result.asked
    print(f"\n{NOTE}")
    answered = f"{asked} samples asked now" if asked else "nothing left to ask: all answers were kept from before"
    print(f"{len(VARIANTS)} variants x {len(TASKS)} tasks, {answered}, {time.perf_counter() - began:.0f} s")
    return 1 if failed else 0


def demo_config(checkpoint: Path, data: Path, output: Path, limit: Limit | None) -> RunConfig:
    """All variants and tasks on a tiny checkpoint; media small enough for a processor without a GPU."""
    from mmrope_eval.engine.options import EngineOptions
    from mmrope_eval.media.policy import MediaPolicy

    policy = MediaPolicy(
        image_max_pixels=8 * 8 * 32 * 32,
        video_fps=1.0,
        video_max_frames=8,
        video_max_tokens=128,
        frame_min_pixels=4 * 4 * 28 * 28,
    )
    return RunConfig(
        models=(str(checkpoint),),
        tasks=TASKS,
        output=output,
        variants=VARIANTS,
        data_root=data,
        limit=limit,
        options=EngineOptions(
            max_model_len=2048,
            max_num_seqs=64,
            lookahead=32,
            policy=policy,
            media_cache_dir=output.parent.parent / "frames",
        ),
        command=tuple(sys.argv),
    )


def ensure_mirror(folder: Path) -> Path:
    """The mirror, built unless the one that is there is current."""
    from mmrope_demo.mirror import build_mirror, mirror_is_current

    if not mirror_is_current(folder):
        print(f"building the demo's data in {folder}", file=sys.stderr)
        build_mirror(folder)
    return folder


def ensure_checkpoint(folder: Path, family: Family) -> Path:
    """The family's tiny checkpoint, built unless the one that is there was built by the same code."""
    from mmrope_demo import checkpoints

    recipe = hashlib.sha256(inspect.getsource(checkpoints).encode()).hexdigest()
    stamp = folder / "recipe.sha256"
    if not stamp.is_file() or stamp.read_text() != recipe:
        print(f"building the {family} checkpoint in {folder}", file=sys.stderr)
        checkpoints.build_checkpoint(family, folder)
        stamp.write_text(recipe)
    return folder

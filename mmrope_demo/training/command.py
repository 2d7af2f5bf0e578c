"""`mmrope-eval demo train`: make the demo's checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmrope_demo.training.recipe import SEEDS, VARIANTS, Recipe
from mmrope_eval.errors import UserError

if TYPE_CHECKING:
    from mmrope_eval.cli.demo import TrainOptions


def main(args: TrainOptions) -> int:
    """Train what is asked for and is not there yet; exit code 0."""
    import torch

    from mmrope_demo.training.publish import folder_name, publish
    from mmrope_demo.training.stages import School, learn_to_tell

    unknown = [name for name in args.variant if name not in VARIANTS]
    if unknown:
        raise UserError(f"demo train: '{unknown[0]}' is no row of the demo; choose from {', '.join(VARIANTS)}.")
    if not torch.cuda.is_available():
        torch.set_num_threads(args.threads)
        torch.set_flush_denormal(True)  # softmax over a confident row takes ten times as long with them
    out, work = Path(args.out), Path(args.work)
    wanted = [
        (variant, seed)
        for variant in args.variant or VARIANTS
        for seed in args.seeds or SEEDS.get(variant, (0,))
        if not (out / folder_name(variant, seed) / "model.safetensors").is_file()
    ]
    if not wanted:
        print(f"all checkpoints asked for are in {out}: remove a folder to train it again")
        return 0
    print(f"lessons and the vision encoder, in {work}", file=sys.stderr)
    school = School.open(Recipe(), work, out)
    for number, (variant, seed) in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {variant}, seed {seed}", file=sys.stderr)
        reference, log = learn_to_tell(school, variant, seed, compiled=args.compile)
        folder = publish(school, reference, log, variant, seed, out)
        print(f"{folder}: loss {log[-1]['loss']:.3f} after {log[-1]['step']} steps, {log[-1]['seconds']:.0f} s")
    return 0

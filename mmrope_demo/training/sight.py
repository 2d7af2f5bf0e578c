"""Teaching the vision encoder to see, before any language model: what covers every patch, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mmrope_demo.training.loop import drill
from mmrope_demo.training.primer import FIGURES, GLYPHS, KINDS, PATCH, PRIMER_VERSION, Targets, primer, targets
from mmrope_demo.training.recipe import Recipe, Schedule, fingerprint
from mmrope_demo.training.seeing import before_connector, patches
from mmrope_synth.scenes import COLORS

if TYPE_CHECKING:
    from mmrope_eval.reference import ReferenceModel

SIDES = (112, 112, 112, 56)
"""Pixels of the pictures of successive steps."""
PATCH_ROWS = 1536
"""Patches a step."""


class Examiner(nn.Module):
    """Reads off a patch's features what the patch shows; thrown away after the encoder has learnt."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.sizes = (len(KINDS), len(COLORS), 2 * len(GLYPHS), 4, 2)
        self.heads = nn.Linear(hidden, sum(self.sizes))

    def loss(self, features: Tensor, wanted: Targets) -> Tensor:
        """Sum of what is missed, each kind over the patches that it concerns."""
        kind, color, glyphs, box, motion = self.heads(features).split(self.sizes, dim=1)
        kinds, colors, marks = (torch.from_numpy(a) for a in (wanted.kind, wanted.color, wanted.glyphs))
        shown, told, written = kinds > 0, colors >= 0, kinds == KINDS.index("text")
        figures = (kinds > 0) & (kinds <= len(FIGURES))
        edges, moves = (torch.from_numpy(a)[shown] for a in (wanted.box, wanted.motion))
        return (
            functional.cross_entropy(kind, kinds)
            + functional.cross_entropy(kind[figures], kinds[figures])
            + functional.cross_entropy(color[told], colors[told])
            + misspelt(glyphs[written], marks[written].flatten(1))
            + 3 * functional.smooth_l1_loss(box[shown], edges, beta=0.1)
            + functional.smooth_l1_loss(motion[shown], moves, beta=0.1)
        )


def misspelt(read: Tensor, marks: Tensor) -> Tensor:
    """Cross entropy a character that is there: logits and 0 or 1 for every place and character, (patches, n)."""
    missed = functional.binary_cross_entropy_with_logits(read, marks, reduction="sum")
    return missed / (1 + marks.sum())


def lesson(seed: Sequence[int], side: int) -> tuple[Tensor, Tensor, Targets]:
    """(pixel values, grid_thw, targets) of one step's pictures."""
    rng = Random("/".join(map(str, seed)))
    across = side // PATCH
    count = PATCH_ROWS // across**2
    drawn = [primer(rng, side) for _ in range(count)]
    wanted = [targets(items, side) for _, items in drawn]
    joined = Targets(*(np.concatenate([getattr(part, name) for part in wanted]) for name in Targets.__annotations__))
    grids = torch.tensor([[1, across, across]] * count)
    return torch.from_numpy(np.concatenate([patches(frames) for frames, _ in drawn])), grids, joined


@dataclass(frozen=True)
class Lessons(Dataset[tuple[Tensor, Tensor, Targets]]):
    """The lessons of some steps, for a worker that draws ahead."""

    steps: range
    seed: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Targets]:
        step = self.steps[index]
        return lesson((self.seed, step), SIDES[step % len(SIDES)])


def key(recipe: Recipe) -> str:
    """sha256 of all that decides what the encoder becomes."""
    about = {"primer": PRIMER_VERSION, "seeing": asdict(recipe.seeing), "shape": asdict(recipe.shape)}
    return fingerprint(about)


def learn_to_see(reference: ReferenceModel, schedule: Schedule, folder: Path, stop: int | None = None) -> list[Any]:
    """Train the vision encoder of `reference` in place; the log."""
    visual = reference.model.model.visual
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        examiner = Examiner(visual.config.hidden_size)
    both = nn.ModuleDict({"visual": visual, "examiner": examiner})

    def losses(first: int) -> Iterator[Tensor]:
        lessons = Lessons(range(first, schedule.steps))
        for pixels, grids, wanted in DataLoader(lessons, batch_size=None, num_workers=1, prefetch_factor=8):
            yield examiner.loss(before_connector(visual, pixels, grids), wanted)

    learnt = [p for name, p in both.named_parameters() if ".merger." not in name]
    return drill(both, learnt, losses, schedule, folder, stop)

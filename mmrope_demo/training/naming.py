"""Teaching the connector and the word embeddings what things are called, before any language model.

A vision token shall lie near the words for what it shows, and still tell where that ends. There is no sequence and no
position here, so no rotary variant is favoured; a language model that starts from this needs to learn that equal
directions match once, not once for every colour and shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from mmrope_demo.training import language, sight
from mmrope_demo.training.loop import drill
from mmrope_demo.training.primer import FIGURES, GLYPHS, KINDS, SCALE, TEXTS, Targets
from mmrope_demo.training.recipe import Recipe, Schedule, fingerprint
from mmrope_demo.training.seeing import CELL, before_connector
from mmrope_synth.scenes import COLORS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmrope_eval.reference import ReferenceModel

NAMING_VERSION = 3
"""Raise it when the same recipe gives another start."""
SIZES = ("small", "big")
BIG = 0.225
"""Least height of what is called big, as a share of the picture's side."""


@dataclass(frozen=True)
class Words:
    """Token ids of words that exclude each other, and which word each id is."""

    ids: Tensor
    meanings: Tensor
    """(words, ids): every row shares 1 among the spellings of its word."""

    @classmethod
    def of(cls, words: Sequence[str], vocabulary: Mapping[str, int]) -> Words:
        """All spellings in the vocabulary of some words."""
        spellings = [
            (row, vocabulary[spelling])
            for row, word in enumerate(words)
            for spelling in (word, f" {word}", word.capitalize(), f" {word.capitalize()}")
            if spelling in vocabulary
        ]
        meanings = torch.zeros(len(words), len(spellings))
        for column, (row, _) in enumerate(spellings):
            meanings[row, column] = 1.0
        ids = torch.tensor([token for _, token in spellings])
        return cls(ids, meanings / meanings.sum(1, keepdim=True).clamp(min=1))


def shares(labels: Tensor, count: int) -> Tensor:
    """(patches,) labels, -1 for none, as (cells, count): which share of a cell's labelled patches has each."""
    marks = functional.one_hot(labels.clamp(min=0), count) * (labels >= 0)[:, None]
    cells = marks.view(-1, CELL, count).sum(1).float()
    return cells / cells.sum(1, keepdim=True).clamp(min=1)


class Namer(nn.Module):
    """Asks vision tokens for names, through the word embeddings, and for edges, motions and characters."""

    def __init__(self, hidden: int, vocabulary: Mapping[str, int]) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden)
        self.edges = nn.Linear(hidden, CELL * 6)
        self.spell = nn.Linear(hidden, CELL * 2 * len(GLYPHS))
        self._words = [Words.of(words, vocabulary) for words in (FIGURES, tuple(COLORS), SIZES, TEXTS)]

    def loss(self, seen: Tensor, embeddings: Tensor, wanted: Targets, side: int) -> Tensor:
        """`seen` (cells, hidden), `embeddings` (vocabulary, hidden); the targets are of patches."""
        kinds, colors, texts, box, motion, marks = (
            torch.from_numpy(array)
            for array in (wanted.kind, wanted.color, wanted.words, wanted.box, wanted.motion, wanted.glyphs)
        )
        figures = torch.where((kinds > 0) & (kinds <= len(FIGURES)), kinds - 1, -1)
        big = ((box[:, 3] - box[:, 1]) * SCALE > BIG * side).long()
        sizes = torch.where(figures >= 0, big, -1)
        normed = self.norm(seen)
        total = torch.zeros(())
        for words, labels in zip(self._words, (figures, colors, sizes, texts), strict=True):
            share = shares(labels, len(words.meanings))
            labelled = share.sum(1) > 0
            logprobs = (normed[labelled] @ embeddings[words.ids].T).log_softmax(-1)
            total = total - (share[labelled] @ words.meanings * logprobs).sum(1).mean()
        shown = kinds > 0
        edges = self.edges(normed).view(-1, 6)[shown]
        truth = torch.cat([box, motion], 1)[shown]
        written = kinds == KINDS.index("text")
        read = self.spell(normed).view(len(kinds), -1)[written]
        total = total + sight.misspelt(read, marks[written].flatten(1))
        return total + 3 * functional.smooth_l1_loss(edges, truth, beta=0.1)


def align_scales(embeddings: Tensor, scales: Sequence[Sequence[int]], width: float = 6.0) -> None:
    """Make the embeddings of numbers that are near each other on a scale similar, in place.

    Rows keep their mean length; scales of equal length get the same directions, so that `12,` resembles `12`.
    """
    length = embeddings.norm(dim=1).mean()
    for scale in scales:
        at = torch.arange(len(scale), dtype=torch.float32)
        near = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / width) ** 2)
        generator = torch.Generator().manual_seed(len(scale))
        common = functional.normalize(near @ torch.randn(len(scale), embeddings.shape[1], generator=generator), dim=1)
        rows = torch.tensor(scale)
        embeddings[rows] = 0.9 * length * common + 0.44 * embeddings[rows]


def key(recipe: Recipe, tokenizer: Tokenizer) -> str:
    """sha256 of all that decides what the connector and the words become."""
    about = {"naming": NAMING_VERSION, "sight": sight.key(recipe), "schedule": asdict(recipe.naming)}
    return fingerprint(about | {"vocabulary": tokenizer.get_vocab()})


def learn_to_name(
    reference: ReferenceModel, tokenizer: Tokenizer, schedule: Schedule, folder: Path, stop: int | None = None
) -> list[dict[str, Any]]:
    """Train connector and word embeddings of `reference` in place, its encoder frozen; the log."""
    visual = reference.model.model.visual
    embed = reference.model.model.language_model.embed_tokens
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        namer = Namer(embed.embedding_dim, tokenizer.get_vocab())
    with torch.no_grad():
        align_scales(embed.weight, language.scales(tokenizer))
    taught = nn.ModuleDict({"merger": visual.merger, "embed": embed, "namer": namer})

    def losses(first: int) -> Iterator[Tensor]:
        steps = range(first, schedule.steps)
        lessons = DataLoader(sight.Lessons(steps, seed=1), batch_size=None, num_workers=1, prefetch_factor=8)
        for step, (pixels, grids, wanted) in zip(steps, lessons, strict=True):
            with torch.no_grad():
                features = before_connector(visual, pixels, grids)
            yield namer.loss(visual.merger(features), embed.weight, wanted, sight.SIDES[step % len(sight.SIDES)])

    return drill(taught, list(taught.parameters()), losses, schedule, folder, stop)

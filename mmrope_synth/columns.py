"""All 25 columns, those that are in no table by default, and the endless stream of training samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mmrope_synth.charts import CHARTS
from mmrope_synth.chinese import CHINESE
from mmrope_synth.core import Difficulty, generator, pick
from mmrope_synth.errors import SynthError
from mmrope_synth.examinations import EXAMINATIONS
from mmrope_synth.glances import GLANCES
from mmrope_synth.grounding import GROUNDING
from mmrope_synth.longform import LONGFORM
from mmrope_synth.reading import TEXTS
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.shows import SHOWS

_DRAWS: Final[dict[str, Draw]] = {
    **EXAMINATIONS, **TEXTS, **CHARTS, **GLANCES, **SHOWS, **LONGFORM, **GROUNDING,
}  # fmt: skip
CATEGORIES: Final[dict[str, tuple[str, ...]]] = {
    "image": (
        "mmmu", "mmbench", "mmstar", "ocrbench", "ai2d", "realworldqa", "docvqa", "textvqa", "infovqa", "chartqa",
        "blink",
    ),
    "video": ("mvbench", "star", "videomme", "lvbench", "mlvu", "charades_sta"),
    "grounding": tuple(GROUNDING),
}  # fmt: skip
"""The three groups of the paper's tables, in their order."""
COLUMNS: Final[dict[str, Draw]] = {name: _DRAWS[name] for names in CATEGORIES.values() for name in names}
EXTRA: Final[dict[str, Draw]] = {**CHINESE}
"""Columns beside those of Table 2: no suite asks for them, and training never meets them."""
DRAWN: Final[dict[str, Draw]] = {**COLUMNS, **EXTRA}


def training_samples(
    seed: int, kinds: Sequence[str] = tuple(CATEGORIES), difficulty: Difficulty | None = None
) -> Iterator[Sample]:
    """Samples for training, without end: pictures and clips in memory, never met in any evaluation set.

    `kinds` are columns or categories; a name that occurs twice is drawn twice as often. Samples that share their
    picture or video come one after another and have the same `group`; their `images` or `clip` is one object. The
    order and content depend on `seed`, `kinds` and `difficulty` alone. SynthError for an unknown kind.
    """
    columns: list[tuple[str, ...]] = []
    for kind in kinds:
        if kind not in COLUMNS and kind not in CATEGORIES:
            names = ", ".join((*CATEGORIES, *COLUMNS))
            raise SynthError(f"There is no kind '{kind}' of training samples; name categories or columns: {names}.")
        columns.append(CATEGORIES.get(kind, (kind,)))
    if not columns:
        raise SynthError("No kinds of training samples: name at least one column or category.")
    return _stream(seed, columns, difficulty or Difficulty())


def _stream(seed: int, columns: Sequence[tuple[str, ...]], difficulty: Difficulty) -> Iterator[Sample]:
    order = generator(seed, "train", "order", 0)
    serials = dict.fromkeys(COLUMNS, 0)
    while True:
        column = pick(order, pick(order, columns))
        serial = serials[column]
        serials[column] += 1
        yield from COLUMNS[column](generator(seed, "train", column, serial), difficulty, "train", serial)

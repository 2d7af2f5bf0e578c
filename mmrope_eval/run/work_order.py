"""In which order rows are asked, and in it samples: what is slow to change as seldom as possible.

Rows follow each other by weights, variant and media policy. Samples that show the same stand together, and the longest
videos come first: neighbours share the engine's caches and decoded frames. A long video that is begun last keeps one
replica busy when all others are done.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from mmrope_eval.data.located import Located
from mmrope_eval.run.execute import Cell
from mmrope_eval.task.parts import locate_video
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.sample import Sample, shows_video


def in_turns(samples: Sequence[Sample], first: int) -> list[Sample]:
    """The samples in their order, but the first ones taken from all tasks in turns."""
    by_task: dict[str, list[Sample]] = {}
    for sample in samples:
        by_task.setdefault(sample.task, []).append(sample)
    turns = (sample for turn in itertools.zip_longest(*by_task.values()) for sample in turn if sample is not None)
    ahead = list(itertools.islice(turns, first))
    taken = {sample.id for sample in ahead}
    return [*ahead, *(sample for sample in samples if sample.id not in taken)]


def neighbours(samples: Sequence[Sample], weights: Mapping[str, float]) -> list[Sample]:
    """Samples that show the same first medium next to each other, heaviest first, else in their order. `weights` by
    sample id; a group weighs what its heaviest sample does, and one that is not named weighs nothing."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        shown = sample.media[0] if sample.media else sample.id
        groups.setdefault((sample.task, shown), []).append(sample)
    heaviest = sorted(groups.values(), key=lambda group: -max(weights.get(sample.id, 0.0) for sample in group))
    return [sample for group in heaviest for sample in group]


def video_weights(samples: Sequence[Sample], plans: Mapping[str, TaskPlan]) -> dict[str, int]:
    """Bytes of the video that each sample shows: about what decoding it costs. Samples without one are not named."""
    weights: dict[str, int] = {}
    for sample in samples:
        if not shows_video(sample):
            continue
        plan = plans[sample.task]
        try:
            docs = plan.docs.get()
            weights[sample.id] = size(locate_video(plan.spec.media, docs.rows[sample.index], docs.files)[0])
        except Exception:  # noqa: BLE001 - what is wrong with a row is said where it is asked
            continue
    return weights


def size(file: Located) -> int:
    """Bytes of a file, on disk or in an archive. OSError."""
    return file.stat().st_size if isinstance(file, Path) else file.size


def schedule(cells: Sequence[Cell]) -> list[int]:
    """The places of all rows, in the order of asking: by weights, then variant, then media policy. Each is taken in the
    order in which it first appears, and rows that agree in all three stay in theirs. So no weights are loaded twice,
    and the rows of one checkpoint and variant follow each other whatever run they are of."""
    weights = _ranks(cell.checkpoint.fingerprint for cell in cells)
    variants = _ranks(cell.variant.fingerprint for cell in cells)
    policies = _ranks(repr(cell.policy) for cell in cells)
    return sorted(range(len(cells)), key=lambda at: (weights[at], variants[at], policies[at]))


def _ranks(values: Iterable[Hashable]) -> list[int]:
    """For every value, how many different ones appeared before it first did."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]

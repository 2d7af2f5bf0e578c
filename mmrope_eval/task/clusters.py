"""What a sample stands or falls with: what intervals, errors and tests draw or swap as one.

A task file says it once, by `metadata: cluster`: `picture`, `pictures` or `video`, all that the question shows, by its
content alone (another media policy, another span of the same video, another column that shows it: the same cluster);
`question`, the sample alone; or an expression over the row's fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmrope_eval.errors import SampleError
from mmrope_eval.task.spec import TaskSpec
from mmrope_eval.task.template import evaluate

SHOWN: Final[Mapping[str, str]] = {"picture": "image", "pictures": "images", "video": "video"}
"""A word of `metadata: cluster` -> the key of `media` that it goes with."""
QUESTION: Final = "question"
VIDEO_MARK: Final = "@"
"""In the fingerprint of a video, before its span; a picture's has none."""
PLACE_MARK: Final = "#"
"""In the fingerprint of a picture, before its place in the prompt, where that is told."""
_LONG: Final = 200


def is_expression(cluster: str | None) -> bool:
    """Whether `metadata: cluster` is an expression over the row's fields."""
    return cluster is not None and cluster not in SHOWN and cluster != QUESTION


def named_cluster(spec: TaskSpec, row: Mapping[str, Any]) -> str | None:
    """What the task's expression names in a row; None where it has none, or the row's is empty. SampleError where it
    cannot be computed."""
    if spec.cluster is None or not is_expression(spec.cluster):
        return None
    try:
        name = evaluate(spec.cluster, row)
    except ValueError as error:
        raise SampleError(f"the cluster cannot be read from the row ({error}).") from error
    return None if name is None or str(name) == "" else str(name)


def cluster_of(spec: TaskSpec, sample: str, named: str | None, media: Sequence[str]) -> str:
    """The name of a sample's cluster, the same in every run over the same data; its id where it stands alone. `sample`
    is its id, `named` what `named_cluster` gave, `media` the fingerprints of its plan."""
    if named is not None:
        name = f"{spec.name}:{named}"
        return name if len(name) <= _LONG else hashlib.sha256(name.encode()).hexdigest()
    if spec.cluster == QUESTION or is_expression(spec.cluster) or not media:
        return sample
    shown = contents(media)
    return shown[0] if len(shown) == 1 else hashlib.sha256("\n".join(shown).encode()).hexdigest()


def contents(media: Sequence[str]) -> list[str]:
    """Name the content of every medium of a plan, without its span or place."""
    return [medium.partition(VIDEO_MARK)[0].partition(PLACE_MARK)[0] for medium in media]

"""Which dataset rows are samples: `process_docs` functions for the task files, on lmms-eval's interface.

Images stay encoded (bytes as the dataset holds them): decoding belongs to the media layer, where a broken file is one
listed failure, and the first row must not be able to end a run.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mmrope_eval.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


def encoded(dataset: Dataset) -> Dataset:
    """Every row is one sample; image columns give `{"bytes", "path"}` in place of decoded pictures."""
    from datasets import Image

    for column in image_columns(dataset):
        dataset = dataset.cast_column(column, Image(decode=False))
    return dataset


def image_columns(dataset: Dataset) -> list[str]:
    """Names of the columns that hold one image each."""
    from datasets import Image

    return [name for name, feature in dataset.features.items() if isinstance(feature, Image)]


def round_robin(parts: Mapping[str, Dataset], folders: Mapping[str, str]) -> Dataset:
    """The rows of several data sets in turns: the first row of each, then the second of each, and so on.

    Adds `subset`, the part's name, and `folder`, its entry in `folders`. Only columns that all parts have are kept, and
    all columns of pictures: a part without one has none in it (a table types a column without any value as no picture).
    """
    from datasets import concatenate_datasets

    pictures = {name: part.features[name] for part in parts.values() for name in image_columns(part)}
    parts = {name: _with_columns(part, pictures) for name, part in parts.items()}
    first = next(iter(parts.values()))
    columns = [name for name in first.column_names if all(name in part.column_names for part in parts.values())]
    labelled = [
        part.select_columns(columns)
        .add_column("subset", [name] * len(part))
        .add_column("folder", [folders[name]] * len(part))
        for name, part in parts.items()
    ]
    starts = list(itertools.accumulate((len(part) for part in labelled), initial=0))
    turns = sorted((i, start) for part, start in zip(labelled, starts, strict=False) for i in range(len(part)))
    return concatenate_datasets(labelled).select([start + i for i, start in turns])


def _with_columns(part: Dataset, pictures: Mapping[str, Any]) -> Dataset:
    """The data set with the columns `pictures`, name -> feature; those that it lacks are empty."""
    for name, feature in pictures.items():
        if name not in part.column_names:
            part = part.add_column(name, [None] * len(part))
        if part.features[name] != feature:
            part = part.cast_column(name, feature)
    return part


def one_per_expression(dataset: Dataset) -> Dataset:
    """One sample per referring expression: RefCOCO rows hold one object with the list of its expressions in `answer`.

    The benchmark (arXiv:1608.00272 and all published tables) counts expressions, so merging an object's expressions
    into one prompt would change the task. Adds `expression`, `expression_index` and `source_row`; images are fetched
    from the original row when a sample is read, so nothing is copied.
    """
    base = encoded(dataset)
    pictures = image_columns(base)
    images, light = base.select_columns(pictures), base.remove_columns(pictures)
    expressions = light["answer"]
    rows = [row for row, texts in enumerate(expressions) for _ in texts]
    exploded = light.select(rows).flatten_indices(keep_in_memory=True)
    exploded = exploded.add_column("expression", [text for texts in expressions for text in texts])
    exploded = exploded.add_column("expression_index", [i for texts in expressions for i in range(len(texts))])
    exploded = exploded.add_column("source_row", rows)

    return exploded.with_transform(AttachPictures(images, tuple(pictures)))


@dataclass(frozen=True)
class AttachPictures:
    """Gives every row of a batch the pictures of its `source_row`; a class, so that it can be pickled with the rows."""

    images: Dataset
    names: tuple[str, ...]

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """The batch with the columns `names`."""
        pictures = [self.images[int(row)] for row in batch["source_row"]]
        return {**batch, **{name: [row[name] for row in pictures] for name in self.names}}


def refcoco_val(dataset: Dataset) -> Dataset:
    """RefCOCO val as everybody reports it: the UNC split, 3,811 objects with 10,834 expressions.

    The hub's `val` holds 8,811 rows: those and the 5,000 objects of the Google split's val.
    """
    return one_per_expression(unmerged(dataset, "RefCOCO val", merged=8811, objects=3811, expressions=10834))


def refcocog_val(dataset: Dataset) -> Dataset:
    """RefCOCOg val as everybody reports it: the UMD split, 2,573 objects with 4,896 expressions.

    The hub's `val` holds 7,573 rows: those and the 5,000 objects of the Google split's val.
    """
    return one_per_expression(unmerged(dataset, "RefCOCOg val", merged=7573, objects=2573, expressions=4896))


def unmerged(dataset: Dataset, name: str, *, merged: int, objects: int, expressions: int) -> Dataset:
    """The block of `objects` rows that one of two merged splits contributed, found by its published counts.

    A dataset that does not have exactly `merged` rows is returned as it is. Otherwise the first or the last `objects`
    rows are kept, whichever of the two has exactly `expressions` expressions. UserError when neither or both do:
    then the upload is not the known concatenation, and any guess would be a wrong score.
    """
    if len(dataset) != merged:
        return dataset
    counts = [len(texts) for texts in dataset["answer"]]
    blocks = [range(objects), range(merged - objects, merged)]
    right = [block for block in blocks if sum(counts[i] for i in block) == expressions]
    if len(right) != 1:
        raise UserError(f"{name}: the dataset has {merged} rows, a merge of two splits, but "
                        f"{'both' if right else 'neither'} of its ends {'have' if right else 'has'} the published "
                        f"{objects} objects with {expressions} expressions; point --data-root at a copy that holds "
                        f"only the {objects} rows.")
    return dataset.select(right[0])


BLINK_FIRST_ANSWERS: Final = "4fb892cf7d48028086ee5b7e9a04ce46f0ae71ed35888278e47b9b783841e25c"
"""sha256 of the letters of Relative_Reflectance in BLINK's first release (its repository's eval/val_answers.json)."""


def blink(dataset: Dataset) -> Dataset:
    """BLINK's rows. UserError for a copy whose answers to Relative_Reflectance are those of the first release.

    They belonged to other questions (github.com/zeyofu/BLINK_Benchmark, issue 13: nearly 90 % wrong) and were replaced
    on 3 September 2025. Nothing else of such a copy is known to differ.
    """
    answers = zip(dataset["idx"], dataset["answer"], strict=True)
    letters = "".join(str(answer).strip("()") for idx, answer in answers if "Relative_Reflectance" in str(idx))
    if hashlib.sha256(letters.encode()).hexdigest() == BLINK_FIRST_ANSWERS:
        raise UserError("BLINK: the answers to Relative_Reflectance are those of before 3 September 2025, nearly all "
                        "of which its authors found wrong and replaced; fetch them anew with: hf download "
                        "BLINK-Benchmark/BLINK --repo-type dataset --include 'Relative_Reflectance/val-*', or leave "
                        "the column out with --tasks ...,-blink.")
    return encoded(dataset)

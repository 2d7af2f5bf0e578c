"""What a sweep measures, from its YAML file, and the needles that it asks for, drawn by the miniature world."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mmrope_eval.errors import UserError
from mmrope_eval.rope import beside
from mmrope_eval.run.keys import task_beside
from mmrope_eval.task.yaml_text import read_yaml
from mmrope_eval.util.config import typed
from mmrope_eval.util.paths import project_dir
from mmrope_eval.words import shown
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Haystack, Needle, build_needles, needle_row_text

Scaling = Literal["none", "linear", "ntk", "yarn"]
SCALINGS: Final[tuple[Scaling, ...]] = get_args(Scaling)
Factor = Literal["reach", "context"] | Annotated[float, Field(gt=1, allow_inf_nan=False)]
"""What a context scaling stretches by beyond the trained context: how much further the variant's own positions reach,
how much longer the context is, or a number."""
STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)


def _needle(value: Any) -> Any:
    """`needle: true` is the usual one. ValueError for what would be taken for a number and is none."""
    for key, given in value.items() if isinstance(value, Mapping) else ():
        if isinstance(given, bool | str):
            raise ValueError(f"must have numbers, and {key} is {shown(given)}")
    return {} if value is True else value


Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Scalings = Annotated[tuple[Scaling, ...], Field(strict=False)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]


class Frames(BaseModel):
    """How large and how dense videos are in every point of a sweep."""

    model_config = STRICT

    cells: Count = 16
    """A frame has the area of cells x cells merged vision cells, each a token: 16 is 448 x 448 pixels in Qwen2.5-VL."""
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    """Frames per second, as long as the budget lasts."""
    counts: Counts = ()
    """Most frames of a video, one number a context; empty: as many as its tokens buy."""


class SweepConfig(BaseModel):
    """A sweep: contexts x tasks x variants x scalings. UserError for values that cannot be."""

    model_config = STRICT

    path: Path
    title: str
    contexts: Annotated[Counts, Field(min_length=1, description="token counts such as [32768, 65536]")]
    """Tokens of a prompt, its video and its text; generated tokens come on top."""
    train_context: Annotated[Count, Field(description="the tokens that the checkpoints were trained on")]
    """What the checkpoints were trained on; scaling starts beyond it."""
    tasks: Texts = ()
    """Tasks on videos, suites of them, or paths of task files."""
    needle: Annotated[Needle | None, BeforeValidator(_needle)] = None
    """How many generated videos of every length."""
    variants: Texts = ()
    """For every checkpoint; empty: what each checkpoint says."""
    scaling: Scalings = SCALINGS
    factor: Factor = "reach"
    frames: Frames = Frames()
    rows: Texts = ()
    """Variants that the checkpoints shall be of; which of them no checkpoint is, is said."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        counts = self.frames.counts
        problems = (
            (not self.tasks and self.needle is None, "needs `tasks`, a `needle`, or both"),
            ("none" not in self.scaling, "needs `none` in `scaling`: factors are derived from the unscaled positions"),
            (self.train_context not in self.contexts,
             f"needs its `train_context` ({self.train_context}) among its `contexts`"),
            (bool(counts) and (len(counts) != len(self.contexts) or list(self.contexts) != sorted(set(self.contexts))),
             "needs in `frames.counts` one number of frames for every one of its `contexts`, which must rise"),
        )  # fmt: skip
        for wrong, sentence in problems:
            if wrong:
                raise UserError(f"Sweep {self.path} {sentence}.")
        return self


def read_sweep(name: str, given: Mapping[str, Any] = MappingProxyType({})) -> SweepConfig:
    """A sweep by its path, or by its name in configs/sweeps, with the keys `given` in place of the file's. UserError
    names the file and the key that is wrong."""
    named = project_dir("configs") / "sweeps" / f"{name}.yaml"
    path = Path(name)
    if not path.is_file():
        if not named.is_file():
            shipped = ", ".join(sorted(p.stem for p in named.parent.glob("*.yaml")))
            raise UserError(f"There is no sweep file {name}; give a path, or one of {shipped}.")
        path = named
    page = " (docs/sweeps.md)"
    of_file = typed(SweepConfig, {"title": path.stem, **read_yaml(path), "path": path}, f"Sweep {path}", page)
    keys = {
        **of_file.model_dump(exclude_unset=True, exclude={"needle"}), "needle": of_file.needle,
        "tasks": [task_beside(name, path.parent) for name in of_file.tasks],
        "variants": [beside(name, path.parent) for name in of_file.variants],
        **given,
    }
    keys["contexts"] = sorted(set(keys["contexts"]))
    if of_file.frames.counts and {*keys["contexts"]} <= {*of_file.contexts}:
        counts = dict(zip(of_file.contexts, of_file.frames.counts, strict=True))
        keys["frames"] = {**keys["frames"], "counts": [counts[context] for context in keys["contexts"]]}
    where = f"Sweep {path}" + (f" with {', '.join(f'--{key}' for key in given)}" if given else "")
    return typed(SweepConfig, keys, where, page)


@contextlib.contextmanager
def said_to_the_user() -> Iterator[None]:
    """Makes a UserError of what the miniature world refuses."""
    try:
        yield
    except SynthError as error:
        raise UserError(str(error)) from error


class GeneratedNeedles:
    """Needles of the small world: where a sweep's come from."""

    def rows(self, needle: Needle) -> Sequence[Mapping[str, Any]]:
        """The questions, as rows of the needle task; they are the same at every length."""
        with said_to_the_user():
            return [needle_row_text(needle, serial) for serial in range(needle.questions)]

    def build(self, data_root: Path, dataset: str, needle: Needle, shape: tuple[int, int], fps: float) -> None:
        """Write a data set whose videos have shape[0] frames of shape[1] x shape[1] pixels; a second time do nothing.
        UserError for videos that cannot hold the cards."""
        with said_to_the_user():
            build_needles(data_root, Haystack(shape[0], shape[1], fps, **dataclasses.asdict(needle)), dataset)

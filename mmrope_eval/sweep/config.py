"""What a sweep measures, from its YAML file."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mmrope_eval.errors import UserError
from mmrope_eval.rope import beside
from mmrope_eval.run.keys import task_beside
from mmrope_eval.task.registry import project_dir, read_yaml

Scaling = Literal["none", "linear", "ntk", "yarn"]
SCALINGS: Final[tuple[str, ...]] = get_args(Scaling)
Factor = Literal["reach", "context"] | float
"""What a context scaling stretches by beyond the trained context: how much further the variant's own positions reach,
how much longer the context is, or a number."""
RULES: Final[tuple[str, ...]] = ("reach", "context")


@dataclass(frozen=True)
class Frames:
    """How large and how dense videos are in every point of a sweep."""

    cells: int = 16
    """A frame has the area of cells x cells merged vision cells, each a token: 16 is 448 x 448 pixels in Qwen2.5-VL."""
    fps: float = 2.0
    """Frames per second, as long as the budget lasts."""
    counts: tuple[int, ...] = ()
    """Most frames of a video, one number a context; empty: as many as its tokens buy."""


@dataclass(frozen=True)
class Needle:
    """The needle task of a sweep: how many generated videos of every length."""

    depths: tuple[float, ...] = (0.0, 25.0, 50.0, 75.0, 100.0)
    """Where the needle is, in per cent of the video."""
    questions: int = 8
    """At each depth."""
    distractors: int = 3
    seed: int = 0


@dataclass(frozen=True)
class SweepConfig:
    """A sweep: contexts x tasks x variants x scalings. UserError for values that cannot be."""

    path: Path
    title: str
    contexts: tuple[int, ...]
    """Tokens of a prompt, its video and its text; generated tokens come on top."""
    train_context: int
    """What the checkpoints were trained on; scaling starts beyond it."""
    tasks: tuple[str, ...] = ()
    """Tasks on videos, suites of them, or paths of task files."""
    needle: Needle | None = None
    variants: tuple[str, ...] = ()
    """For every checkpoint; empty: what each checkpoint says."""
    scaling: tuple[str, ...] = SCALINGS
    factor: Factor = "reach"
    frames: Frames = field(default_factory=Frames)
    rows: tuple[str, ...] = ()
    """Variants that the checkpoints shall be of; which of them no checkpoint is, is said."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.scaling if name not in SCALINGS]
        counts = self.frames.counts
        problems = (
            (not self.contexts or min(self.contexts) < 1, "needs `contexts`: token counts such as [32768, 65536]"),
            (self.train_context < 1, "needs `train_context`: the tokens that the checkpoints were trained on"),
            (not self.tasks and self.needle is None, "needs `tasks`, a `needle`, or both"),
            ("none" not in self.scaling, "needs `none` in `scaling`: factors are derived from the unscaled positions"),
            (self.train_context not in self.contexts, "needs its `train_context` among its `contexts`"),
            (bool(unknown), f"has an unknown scaling {unknown}; choose from {', '.join(SCALINGS)}"),
            (not (self.factor in RULES if isinstance(self.factor, str) else 1 < self.factor < math.inf),
             f"needs a `factor` out of {', '.join(RULES)}, or a number above 1, not {self.factor!r}"),
            (bool(counts) and (len(counts) != len(self.contexts) or min(counts) < 1
                               or list(self.contexts) != sorted(set(self.contexts))),
             "needs in `frames.counts` one number of frames for every one of its `contexts`, which must rise"),
            (self.frames.cells < 1 or self.frames.fps <= 0, "needs `frames` with cells of at least 1 and fps above 0"),
            (self.needle is not None and (self.needle.questions < 1 or not self.needle.depths),
             "needs at least one depth and one question in `needle`"),
        )  # fmt: skip
        for wrong, sentence in problems:
            if wrong:
                raise UserError(f"Sweep {self.path} {sentence}.")


def read_sweep(name: str) -> SweepConfig:
    """A sweep by its path, or by its name in configs/sweeps. UserError names the file and the key that is wrong."""
    named = project_dir("configs") / "sweeps" / f"{name}.yaml"
    path = Path(name)
    if not path.is_file():
        if not named.is_file():
            shipped = ", ".join(sorted(p.stem for p in named.parent.glob("*.yaml")))
            raise UserError(f"There is no sweep file {name}; give a path, or one of {shipped}.")
        path = named
    raw = read_yaml(path)
    if raw.get("needle") is True:
        raw["needle"] = {}
    content: dict[str, Any] = {"title": path.stem, **raw, "path": path}
    try:
        config = _build(SweepConfig, content)
    except (TypeError, ValueError) as error:
        raise UserError(f"Sweep {path}: {error} (see docs/sweeps.md).") from error
    return dataclasses.replace(
        config, contexts=tuple(sorted(set(config.contexts))),
        tasks=tuple(task_beside(name, path.parent) for name in config.tasks),
        variants=tuple(beside(name, path.parent) for name in config.variants),
    )  # fmt: skip


Part = typing.TypeVar("Part")


def _build(kind: type[Part], content: Mapping[str, Any]) -> Part:
    """A dataclass from a mapping, by its type hints. TypeError or ValueError names the key."""
    hints = typing.get_type_hints(kind)
    unknown = [key for key in content if key not in hints]
    if unknown:
        raise ValueError(f"unknown key '{unknown[0]}', known are {', '.join(key for key in hints if key != 'path')}")
    needed = [f.name for f in dataclasses.fields(kind)  # type: ignore[arg-type]
              if f.default is f.default_factory is dataclasses.MISSING and f.name not in content]  # fmt: skip
    if needed:
        raise ValueError(f"`{needed[0]}` is missing")
    return kind(**{key: _value(key, hints[key], value) for key, value in content.items()})


def _value(key: str, hint: Any, value: Any) -> Any:
    if value is None:
        return None
    options = [option for option in get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"`{key}` must be a list, not {value!r}")
        return tuple(_value(key, options[0], option) for option in value)
    if hint is Factor:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"`{key}` cannot be {value!r}; it takes {', '.join(RULES)} or a number above 1")
        return value if isinstance(value, str) else float(value)
    kind = next((option for option in (hint, *options) if dataclasses.is_dataclass(option)), hint)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ValueError(f"`{key}` must be a mapping, not {value!r}")
        return _build(kind, value)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is not Path and (not isinstance(value, kind) or isinstance(value, bool)):
        raise ValueError(f"`{key}` cannot be {value!r}; it takes {kind.__name__}")
    return value

"""Evaluation protocols by name (configs/protocols): what checkpoints are asked under, and what departs from it.

A protocol is written in vision tokens, so that it means the same for families whose tokens cover 28 or 32 pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmrope_eval.errors import UserError
from mmrope_eval.util.config import read_mapping, typed
from mmrope_eval.util.paths import project_dir

Time = Literal["index", "seconds"]
"""What the positions of a video's frames follow: their number, or the clock."""
GREEDY: Final = "greedy decoding"
AREAS: Final[Mapping[str, str]] = {
    "image_min_tokens": "image_min_pixels", "image_max_tokens": "image_max_pixels",
    "frame_min_tokens": "frame_min_pixels", "frame_max_tokens": "frame_max_pixels",
}
"""Limits in tokens, and the fields of a media policy that say the same in pixels."""
WORDS: Final[Mapping[str, str]] = {
    "image_min_tokens": "pictures of at least {} tokens", "image_max_tokens": "pictures of at most {} tokens",
    "frame_min_tokens": "frames of at least {} tokens", "frame_max_tokens": "frames of at most {} tokens",
    "video_max_tokens": "videos of at most {} tokens", "video_max_frames": "videos of at most {} frames",
    "video_fps": "{} frames a second",
}
"""Limits as people read them."""


class Limits(BaseModel):
    """Limits on pictures and videos; what is None is the checkpoint's own affair."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image_min_tokens: Annotated[int, Field(gt=0)] | None = None
    image_max_tokens: Annotated[int, Field(gt=0)] | None = None
    frame_min_tokens: Annotated[int, Field(gt=0)] | None = None
    frame_max_tokens: Annotated[int, Field(gt=0)] | None = None
    video_max_tokens: Annotated[int, Field(gt=0)] | None = None
    video_max_frames: Annotated[int, Field(gt=0)] | None = None
    video_fps: Annotated[float, Field(gt=0)] | None = None

    def named(self) -> dict[str, float]:
        """The limits that the protocol sets, by name."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class Protocol(BaseModel):
    """A protocol, read from its file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    title: str
    source: str
    limits: Limits = Limits()
    task_limits: dict[str, Limits] = {}
    """By task, limits that hold for it alone. A row has one policy: they are named where a row departs from them."""
    time: Time | None = None
    prompts: str | None = None
    """The wording of the questions (see configs/families)."""
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    """The limit of every answer; None: the tasks' own."""
    decoding: str = GREEDY

    def policy_fields(self, side: int) -> dict[str, Any]:
        """The limits as fields of a media policy, for tokens that cover `side` x `side` pixels."""
        return {AREAS.get(name, name): int(value) * side**2 if name in AREAS else value
                for name, value in self.limits.named().items()}


@dataclass(frozen=True)
class Asked:
    """How a row was asked; None where that is not known."""

    policy: Mapping[str, Any] | None = None
    """Its media policy."""
    side: int | None = None
    """Pixels along the side of the square that one vision token covers."""
    time: Time | None = None
    prompts: str | None = None
    system: str | None = None
    """A system prompt in place of the one that its chat template has."""
    decoding: str | None = None
    max_tokens: Mapping[str, int] = field(default_factory=dict)
    """Answer limits by task."""

    def limit(self, name: str) -> float | None:
        """One of `Limits`, as the row had it."""
        value = None if self.policy is None else self.policy.get(AREAS.get(name, name))
        if not isinstance(value, int | float):
            return None
        if name not in AREAS:
            return value
        return None if self.side is None else value / self.side**2


def decoding_of(temperatures: Collection[float]) -> str:
    """How answers were chosen, in words."""
    hot = sorted(heat for heat in set(temperatures) if heat > 0)
    return GREEDY if not hot else f"sampling (temperature {', '.join(f'{heat:g}' for heat in hot)})"


def departures(protocol: Protocol, asked: Asked, tasks: Collection[str]) -> list[str]:
    """In what a row departs from a protocol, in words: `4 frames a second instead of 2`. `tasks` are those asked.

    What was not recorded comes last, in one entry.
    """
    departed = ["a system prompt of its own"] if asked.system is not None else []
    unknown = []
    for words, value, demanded in _demands(protocol, asked, tasks):
        if value is None:
            unknown.append(words.format(_shown(demanded)))
        elif value != demanded:
            departed.append(f"{words.format(_shown(value))} instead of {_shown(demanded)}")
    return [*departed, *([f"not recorded: {', '.join(unknown)}"] if unknown else [])]


def _demands(protocol: Protocol, asked: Asked,
             tasks: Collection[str]) -> Iterator[tuple[str, float | str | None, float | str]]:
    """Every demand: its words, what the row had (None: not known), what the protocol wants."""
    for name, demanded in protocol.limits.named().items():
        yield WORDS[name], asked.limit(name), demanded
    for task, limits in protocol.task_limits.items():
        for name, demanded in limits.named().items() if task in tasks else ():
            yield f"{task}: {WORDS[name]}", asked.limit(name), demanded
    if protocol.time is not None:
        yield "time by {}", asked.time, protocol.time
    if protocol.prompts is not None:
        yield "the wording {}", asked.prompts, protocol.prompts
    yield "{}", asked.decoding, protocol.decoding
    if protocol.max_tokens is not None:
        by_limit: dict[int | None, list[str]] = {}
        for task in tasks:
            by_limit.setdefault(asked.max_tokens.get(task), []).append(task)
        for limit, named in by_limit.items():
            where = "" if len(by_limit) == 1 else f"{', '.join(named)}: "
            yield where + "answers of at most {} tokens", limit, protocol.max_tokens


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.10g}"


def label(name: str, departed: Collection[str]) -> str:
    """A row's protocol in words."""
    return name if not departed else f"{name}, but {'; '.join(departed)}"


def record(protocol: Protocol | None, asked: Asked, tasks: Collection[str]) -> dict[str, Any] | None:
    """What manifest.json keeps of the protocol that a run named; None where it named none."""
    if protocol is None:
        return None
    return {"name": protocol.name, "source": protocol.source, "departures": departures(protocol, asked, tasks)}


def load_protocol(name: str) -> Protocol:
    """A protocol by its name in configs/protocols, or by the path of a YAML file. UserError if it is bad."""
    folder = project_dir("configs") / "protocols"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UserError(f"There is no protocol '{name}'; choose one of {names}, or the path of a YAML file.")
    content = {"title": path.stem, "source": str(path), **read_mapping(path), "name": path.stem}
    return typed(Protocol, content, f"Protocol {path}", " (docs/paper.md)")

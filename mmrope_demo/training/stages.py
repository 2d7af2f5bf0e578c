"""The stages: sight and names once, for all; then the connector and the language model, once a variant and seed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmrope_demo.checkpoints import token_id
from mmrope_demo.training import encoder, language, lessons, model, naming, packing, seeing, sight
from mmrope_demo.training.loop import Course, Learner, drill, soft_targets
from mmrope_demo.training.model import START, products, read_start
from mmrope_demo.training.recipe import Recipe
from mmrope_eval.reference import ReferenceModel

KINDS = {False: "pictures", True: "clips"}


@dataclass(frozen=True)
class School:
    """What all trainings of a recipe share: words, lessons, and what the trained encoder sees in them."""

    recipe: Recipe
    work: Path
    words: tuple[str, ...]
    shell: Path
    """A checkpoint folder without weights."""
    lessons: dict[bool, lessons.Lessons]
    start: dict[str, torch.Tensor]
    """What every model starts with: the trained vision encoder, the connector and the word embeddings."""
    logs: dict[str, list[dict[str, Any]]]
    """Of the stages before."""
    seen: dict[bool, npt.NDArray[np.float16]]
    """The encoder's output for every patch of every lesson, (patches, hidden)."""
    starts: dict[bool, npt.NDArray[np.int64]]

    @classmethod
    def open(cls, recipe: Recipe, work: Path, out: Path) -> School:
        """Make or load everything below `work`; another training that does so at the same time is waited for.

        Sight and names are taken from the start that lies beside the checkpoints in `out`, where it is the recipe's.
        """
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return cls._open(recipe, work, out)

    @classmethod
    def _open(cls, recipe: Recipe, work: Path, out: Path) -> School:
        words = tuple(lessons.make_words(recipe))
        shell = model.write_shell(work / "shell", recipe.shape, words)
        made = {video: lessons.load_lessons(recipe, shell, work, video=video) for video in KINDS}
        reference = model.new_model(shell, model.demo_variant("vanilla"), seed=0)
        encoder.make_even(reference.model.model.visual)
        tokenizer = language.read_tokenizer(shell)
        naming_key = naming.key(recipe, tokenizer)
        logs: dict[str, list[dict[str, Any]]] = {}
        kept = read_start(out / START, naming_key)
        if kept is None:
            logs["seeing"] = sight.learn_to_see(reference, recipe.seeing, work / f"sight-{sight.key(recipe)[:16]}")
            place = work / f"naming-{naming_key[:16]}"
            logs["naming"] = naming.learn_to_name(reference, tokenizer, recipe.naming, place)
        else:
            reference.model.load_state_dict(kept, strict=False)
        key = f"{lessons.lessons_key(recipe, shell)[:16]}-{sight.key(recipe)[:16]}"
        seen = {
            video: seeing.features(reference.model.model.visual, made[video], work / f"seen-{name}-{key}.npy")
            for video, name in KINDS.items()
        }
        starts = {video: seeing.patch_starts(made[video]) for video in KINDS}
        return cls(recipe, work, words, shell, made, model.shared_part(reference), logs, seen, starts)

    @cached_property
    def key(self) -> str:
        """sha256 of the lessons."""
        return lessons.lessons_key(self.recipe, self.shell)

    @cached_property
    def start_key(self) -> str:
        """sha256 of all that decides `start`."""
        return naming.key(self.recipe, language.read_tokenizer(self.shell))

    @cached_property
    def course(self) -> Course:
        """The order in which the lessons are taught; the same for every variant and training seed."""
        first, rest = {}, {}
        for video, made in self.lessons.items():
            rows = [packing.make_row(i, group, video=video) for i, group in enumerate(made.groups)]
            first[video], rest[video] = rows[: self.recipe.first(video)], rows[self.recipe.first(video) :]
        rest[False] += [row for row in rest[False] if row.scaled.any()] * (self.recipe.emphasis - 1)
        recipe = self.recipe
        return Course(
            first, rest, recipe.beginning, recipe.alone, recipe.pattern, recipe.telling.tokens, recipe.data_seed
        )

    def features(self, video: bool, groups: Sequence[int]) -> torch.Tensor:
        """What the encoder sees in some groups, float32 (patches, hidden)."""
        starts = self.starts[video]
        parts = [self.seen[video][starts[group] : starts[group + 1]] for group in groups]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def learn_to_tell(
    school: School, variant: str, seed: int, stop: int | None = None, *, compiled: bool = False
) -> tuple[ReferenceModel, list[dict[str, Any]]]:
    """Train connector and language model from random weights under a variant; the model and its log."""
    schedule = school.recipe.telling
    chosen = model.demo_variant(variant)
    reference = model.new_model(school.shell, chosen, seed)
    reference.model.to("cuda" if torch.cuda.is_available() else "cpu")
    reference.model.load_state_dict(school.start, strict=False)
    visual = reference.model.model.visual
    for name, parameter in visual.named_parameters():
        parameter.requires_grad_(name.startswith("merger"))
    scales = language.scales(language.read_tokenizer(school.shell))
    soft = soft_targets(reference.model.config.get_text_config().vocab_size, scales, schedule.sigma)
    learner = Learner(reference, soft, token_id("<|im_end|>"), compiled=compiled)
    course, positions = school.course, packing.Positions(chosen)

    def losses(first: int) -> Iterator[torch.Tensor]:
        for video, batch in course.batches(first):
            with products(reference.model.device):
                seen = visual.merger(school.features(video, batch.groups).to(reference.model.device))
                loss = learner.loss(batch, seen, positions.of(batch, school.lessons[video].groups), video=video)
            yield loss

    learnt = [parameter for parameter in reference.model.parameters() if parameter.requires_grad]
    folder = school.work / "telling" / f"{variant}-{seed}-{school.recipe.fingerprint[:16]}"
    return reference, drill(reference.model, learnt, losses, schedule, folder, stop)

"""The two stages: the vision encoder, once; the connector and the language model, once a variant and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmrope_eval.demo.checkpoints import token_id
from mmrope_eval.demo.training import language, lessons, model, packing, seeing, sight
from mmrope_eval.demo.training.loop import Course, Learner, drill, soft_targets
from mmrope_eval.demo.training.recipe import Recipe
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
    visual: dict[str, torch.Tensor]
    """The trained vision encoder."""
    sight_log: tuple[dict[str, Any], ...]
    seen: dict[bool, npt.NDArray[np.float16]]
    """The encoder's output for every patch of every lesson, (patches, hidden)."""
    starts: dict[bool, npt.NDArray[np.int64]]

    @classmethod
    def open(cls, recipe: Recipe, work: Path) -> School:
        """Make or load everything below `work`."""
        words = tuple(lessons.make_words(recipe))
        shell = model.write_shell(work / "shell", recipe.shape, words)
        made = {video: lessons.load_lessons(recipe, shell, work, video=video) for video in KINDS}
        reference = model.new_model(shell, model.demo_variant("vanilla"), seed=0)
        log = sight.learn_to_see(reference, recipe.seeing, work / f"sight-{sight.key(recipe)[:16]}")
        visual = reference.model.model.visual
        key = f"{lessons.lessons_key(recipe, shell)[:16]}-{sight.key(recipe)[:16]}"
        seen = {
            video: seeing.features(visual, made[video], work / f"seen-{name}-{key}.npy")
            for video, name in KINDS.items()
        }
        state = {name: tensor.clone() for name, tensor in visual.state_dict().items() if not name.startswith("merger")}
        starts = {video: seeing.patch_starts(made[video]) for video in KINDS}
        return cls(recipe, work, words, shell, made, state, tuple(log), seen, starts)

    @cached_property
    def key(self) -> str:
        """sha256 of the lessons."""
        return lessons.lessons_key(self.recipe, self.shell)

    @cached_property
    def course(self) -> Course:
        """The order in which the lessons are taught; the same for every variant and training seed."""
        rows = {
            video: [packing.make_row(i, group, video=video) for i, group in enumerate(made.groups)]
            for video, made in self.lessons.items()
        }
        return Course(self.lessons, rows, self.recipe.telling.tokens, self.recipe.data_seed)

    def features(self, video: bool, groups: Sequence[int]) -> torch.Tensor:
        """What the encoder sees in some groups, float32 (patches, hidden)."""
        starts = self.starts[video]
        parts = [self.seen[video][starts[group] : starts[group + 1]] for group in groups]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def learn_to_tell(
    school: School, variant: str, seed: int, stop: int | None = None
) -> tuple[ReferenceModel, list[dict[str, Any]]]:
    """Train connector and language model under a variant; the model and its log."""
    schedule = school.recipe.telling
    chosen = model.demo_variant(variant)
    reference = model.new_model(school.shell, chosen, seed)
    reference.model.to("cuda" if torch.cuda.is_available() else "cpu")
    visual = reference.model.model.visual
    visual.load_state_dict(school.visual, strict=False)
    for name, parameter in visual.named_parameters():
        parameter.requires_grad_(name.startswith("merger"))
    scales = language.scales(language.read_tokenizer(school.shell))
    soft = soft_targets(reference.model.config.get_text_config().vocab_size, scales, schedule.sigma)
    learner = Learner(reference, soft, token_id("<|im_end|>"))
    course, positions = school.course, packing.Positions(chosen)

    def losses(first: int) -> Iterator[torch.Tensor]:
        for video, batch in course.batches(first):
            seen = visual.merger(school.features(video, batch.groups).to(reference.model.device))
            yield learner.loss(batch, seen, positions.of(batch, school.lessons[video].groups), video=video)

    learnt = [parameter for parameter in reference.model.parameters() if parameter.requires_grad]
    folder = school.work / "telling" / f"{variant}-{seed}-{school.recipe.fingerprint[:16]}"
    log = drill(reference.model, learnt, losses, schedule, folder, stop)
    return reference, log

"""The demo's training: taught is what will be asked, each question as if alone; an interruption changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from mmrope_eval.demo.training import language, lessons, model, packing, primer, seeing, sight
from mmrope_eval.demo.training.loop import Course, Learner, drill, soft_targets
from mmrope_eval.demo.training.recipe import DIFFICULTY, FAMILY, SECTIONS, VARIANTS, Recipe, Schedule
from mmrope_eval.demo.world import COLUMNS, training_samples
from mmrope_eval.reference import ReferenceModel
from mmrope_eval.rope import Variant
from mmrope_eval.suite.protocol import build_target
from mmrope_eval.suite.registry import Registry
from mmrope_eval.suite.scorers import SCORERS

RECIPE = replace(Recipe(), pictures=40, clips=12)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = lessons.make_words(RECIPE, groups=400)
    return model.write_shell(tmp_path_factory.mktemp("shell"), RECIPE.shape, words)


@pytest.fixture(scope="module")
def made(shell: Path) -> dict[bool, lessons.Lessons]:
    return {video: lessons.make_lessons(RECIPE, shell, video=video) for video in (False, True)}


@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_taught_earns_full_marks(column: str) -> None:
    spec = Registry().tasks[column]
    for sample in islice(training_samples(3, [column], DIFFICULTY), 40):
        question = lessons.question_of(sample, spec)
        target = build_target(spec.target, dict(sample.row))
        if spec.scorer == "box":
            target |= {"coordinates": "absolute", "used_size": [112, 112], "source_size": [112, 112]}
        score = SCORERS[spec.scorer](question.answer, target)
        least = 0.85 if spec.scorer == "span" else 0.99  # spans are taught to half a second
        assert score.values[spec.metrics[0]] >= least, (question, target, score)


def test_every_lesson_is_written_in_the_vocabulary_and_comes_back(shell: Path) -> None:
    tokenizer = language.read_tokenizer(shell)
    tasks = Registry().tasks
    for sample in islice(training_samples(4, list(COLUMNS), DIFFICULTY), 300):
        question = lessons.question_of(sample, tasks[sample.column])
        for text in (question.prompt, question.answer):
            assert tokenizer.decode(tokenizer.encode(text).ids) == text
        assert len(tokenizer.encode(question.prompt).ids) <= 48


def test_a_template_s_instructions_are_single_tokens(shell: Path) -> None:
    tokenizer = language.read_tokenizer(shell)
    for name in COLUMNS:
        for phrase in language.phrases(Registry().tasks[name].prompt(FAMILY)):
            assert len(tokenizer.encode(phrase).ids) <= 4, phrase


def test_pixels_are_those_of_the_checkpoint_s_own_processor(shell: Path) -> None:
    from transformers import AutoImageProcessor

    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(shell, local_files_only=True)
    given = processor(images=[picture], return_tensors="pt", do_resize=False)
    mine = torch.from_numpy(seeing.patches(np.repeat(picture[None], 2, 0)))
    assert given["image_grid_thw"].tolist() == [[1, 8, 8]]
    torch.testing.assert_close(mine, given["pixel_values"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("variant", ["vanilla", "mrope", "mrope-i", "mhrope", "circlerope", "+text-spatial-reset"])
@pytest.mark.parametrize("video", [False, True])
def test_a_packed_question_is_the_question_alone(
    shell: Path, made: dict[bool, lessons.Lessons], variant: str, video: bool
) -> None:
    chosen = model.demo_variant(variant)
    reference = model.new_model(shell, chosen, seed=1)
    index = max(range(len(made[video].groups)), key=lambda i: len(made[video].groups[i].questions))
    group = made[video].groups[index]
    alone = [replace(group, questions=(question,)) for question in group.questions[: packing.MOST_QUESTIONS]]
    assert len(alone) > 1
    pixels, grids = seeing.encoder_input(made[video], [index])
    with torch.no_grad():
        seen = reference.model.model.visual(pixels, grid_thw=grids).pooler_output
        together, *single = (_logits(reference, chosen, one, seen, video=video) for one in (group, *alone))
    torch.testing.assert_close(together, torch.cat(single), atol=2e-4, rtol=0)


def _logits(
    reference: ReferenceModel, variant: Variant, group: lessons.Group, seen: torch.Tensor, *, video: bool
) -> torch.Tensor:
    """Logits at all places of a group's row where something is learnt."""
    batch = packing.pack([packing.make_row(0, group, video=video)])
    net = reference.model
    tokens = torch.from_numpy(batch.tokens)
    shown = (tokens == net.config.image_token_id) | (tokens == net.config.video_token_id)
    hidden = net.model.language_model(
        inputs_embeds=net.model.language_model.embed_tokens(tokens).masked_scatter(shown[..., None], seen),
        position_ids=torch.from_numpy(packing.Positions(variant).of(batch, [group])),
        attention_mask=torch.from_numpy(batch.mask),
        use_cache=False,
    ).last_hidden_state
    return net.lm_head(hidden[torch.from_numpy(batch.labels) >= 0])


def test_padding_changes_nothing(shell: Path, made: dict[bool, lessons.Lessons]) -> None:
    rows = [packing.make_row(i, group, video=False) for i, group in enumerate(made[False].groups[:6])]
    batch = packing.pack(rows)
    assert batch.tokens.shape[1] == max(len(row.tokens) for row in rows) > min(len(row.tokens) for row in rows)
    for i, row in enumerate(rows):
        assert (batch.labels[i, len(row.tokens) :] == -1).all()
        assert not batch.mask[i, 0, : len(row.tokens), len(row.tokens) :].any()


def test_every_row_of_the_tables_fits_the_demo_s_models() -> None:
    shape = RECIPE.shape
    for name in VARIANTS:
        table = model.demo_variant(name).table(shape.head_dim, shape.num_heads, shape.rope_theta)
        assert table.axis.shape == (shape.num_heads, shape.head_dim // 2)
    assert set(SECTIONS) <= set(VARIANTS)


def test_an_interrupted_training_continues_exactly(
    shell: Path, made: dict[bool, lessons.Lessons], tmp_path: Path
) -> None:
    whole = _trained(shell, made, tmp_path / "whole", (6,))
    parts = _trained(shell, made, tmp_path / "parts", (2, 3, 6))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    begun = _trained(shell, made, tmp_path / "begun", (2,))
    assert any(not torch.equal(whole[name], begun[name]) for name in whole)


def _trained(
    shell: Path, made: dict[bool, lessons.Lessons], folder: Path, stops: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    schedule = Schedule(steps=6, warmup=2, tokens=400)
    chosen = model.demo_variant("mrope-i")
    rows = {v: [packing.make_row(i, g, video=v) for i, g in enumerate(m.groups)] for v, m in made.items()}
    course = Course(made, rows, schedule.tokens, seed=1)
    scales = language.scales(language.read_tokenizer(shell))
    positions = packing.Positions(chosen)
    for stop in stops:
        reference = model.new_model(shell, chosen, seed=0)
        size = reference.model.config.get_text_config().vocab_size
        learner = Learner(reference, soft_targets(size, scales, 2.0), end=258)
        losses = partial(_losses, reference, learner, course, positions)
        log = drill(reference.model, list(reference.model.parameters()), losses, schedule, folder, stop)
        assert log[-1]["step"] == stop
    return reference.model.state_dict()


def _losses(
    reference: ReferenceModel, learner: Learner, course: Course, positions: packing.Positions, first: int
) -> Iterator[torch.Tensor]:
    for video, batch in course.batches(first):
        pixels, grids = seeing.encoder_input(course.lessons[video], batch.groups)
        seen = reference.model.model.visual(pixels, grid_thw=grids).pooler_output
        yield learner.loss(batch, seen, positions.of(batch, course.lessons[video].groups), video=video)


def test_soft_labels_are_distributions_around_the_label(shell: Path) -> None:
    scales = language.scales(language.read_tokenizer(shell))
    size = 256 + max(max(scale) for scale in scales) + 1
    table = soft_targets(size, scales, 2.0)
    torch.testing.assert_close(table.sum(1), torch.ones(size))
    assert (table.argmax(1) == torch.arange(size)).all()
    assert table[scales[0][50], scales[0][52]] > 0.5 * table[scales[0][50], scales[0][50]]
    assert table[scales[0][50], scales[1][50]] == 0


def test_a_primer_says_what_is_in_its_picture() -> None:
    for seed in range(30):
        side = 112 if seed % 2 else 56
        frames, items = primer.primer(Random(seed), side)
        wanted = primer.targets(items, side)
        assert frames.shape == (2, side, side, 3)
        assert len(wanted.kind) == (side // 14) ** 2
        assert {primer.KINDS[kind] for kind in wanted.kind} - {"nothing"} <= {item.kind for item in items}
        assert (np.diff(wanted.box.reshape(-1, 2, 2)[wanted.kind > 0], axis=1) > 0).all()
        moving = any(item.motion != (0, 0) for item in items)
        assert moving or (frames[0] == frames[1]).all()


def test_sight_is_repeatable() -> None:
    first, second = sight.lesson((0, 5), 56), sight.lesson((0, 5), 56)
    assert torch.equal(first[0], second[0])
    assert (first[2].kind == second[2].kind).all()
    assert not torch.equal(first[0], sight.lesson((0, 6), 56)[0])

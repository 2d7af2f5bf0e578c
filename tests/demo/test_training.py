"""The demo's training: taught is what will be asked, each question as if alone; an interruption changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from mmrope_demo.training import (
    encoder,
    firsts,
    language,
    lessons,
    model,
    naming,
    packing,
    primer,
    seeing,
    sight,
    stages,
)
from mmrope_demo.training.loop import Learner, soft_targets
from mmrope_demo.training.muon import Muon, orthogonal
from mmrope_demo.training.recipe import (
    CLIP_KINDS,
    DIFFICULTY,
    FAMILY,
    KINDS,
    SECTIONS,
    VARIANTS,
    Recipe,
    Schedule,
)
from mmrope_eval.reference import ReferenceModel
from mmrope_eval.rope import Variant, load_variant
from mmrope_eval.scorer.all import SCORERS
from mmrope_eval.task.registry import Registry, TaskSpec
from mmrope_eval.task.template import build_target
from mmrope_synth import CATEGORIES, COLUMNS, Sample, training_samples
from mmrope_synth.scenes import COLORS

TAUGHT = list(dict.fromkeys(name for kind in (*KINDS, *CLIP_KINDS) for name in CATEGORIES.get(kind, (kind,))))
RECIPE = replace(Recipe(), pictures=40, clips=12, first_pictures=8, first_clips=4, beginning=2, alone=3)


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
        target = _target(sample, spec)
        score = SCORERS[spec.scorer](question.answer, target)
        least = 0.85 if spec.scorer == "span" else 0.99  # spans are taught to half a second
        value = score.values[spec.metrics[0]]
        assert value is not None and value >= least, (question, target, score)


def _target(sample: Sample, spec: TaskSpec) -> dict[str, Any]:
    target = build_target(spec.target, dict(sample.row))
    if spec.scorer == "box":
        target |= {"coordinates": "absolute", "used_size": [112, 112], "source_size": [112, 112]}
    return target


def test_every_column_but_blink_is_taught() -> None:
    """The kept checkpoints are from before it; with a lesson of it the same seeds would give others."""
    assert set(COLUMNS) - set(TAUGHT) == {"blink"} and set(TAUGHT) <= set(COLUMNS)


def test_every_lesson_is_written_in_the_vocabulary_and_comes_back(shell: Path) -> None:
    tokenizer = language.read_tokenizer(shell)
    tasks = Registry().tasks
    for sample in islice(training_samples(4, TAUGHT, DIFFICULTY), 300):
        question = lessons.question_of(sample, tasks[sample.column])
        for text in (question.prompt, question.answer):
            assert tokenizer.decode(tokenizer.encode(text).ids) == text
        assert len(tokenizer.encode(question.prompt).ids) <= 48


def test_a_template_s_instructions_are_single_tokens(shell: Path) -> None:
    tokenizer = language.read_tokenizer(shell)
    for name in TAUGHT:
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
        together, *single = (_logits(reference, chosen, packed, seen, video=video) for packed in (group, *alone))
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
    logits: torch.Tensor = net.lm_head(hidden[torch.from_numpy(batch.labels) >= 0])
    return logits


def test_the_trained_forward_is_the_stock_one(shell: Path, made: dict[bool, lessons.Lessons]) -> None:
    variant = model.demo_variant("mhrope")
    reference = model.new_model(shell, variant, seed=3)
    decoder = reference.model.model.language_model
    batch = packing.pack([packing.make_row(i, group, video=True) for i, group in enumerate(made[True].groups[:4])])
    positions = torch.from_numpy(packing.Positions(variant).of(batch, made[True].groups))
    mask, embeddings = torch.from_numpy(batch.mask), decoder.embed_tokens(torch.from_numpy(batch.tokens))
    with torch.no_grad():
        mine = Learner(reference, torch.eye(2), end=0).decode(embeddings, positions, mask)
        stock = decoder(inputs_embeds=embeddings, position_ids=positions, attention_mask=mask, use_cache=False)
    torch.testing.assert_close(mine, stock.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing(shell: Path, made: dict[bool, lessons.Lessons]) -> None:
    rows = [packing.make_row(i, group, video=False) for i, group in enumerate(made[False].groups[:6])]
    lengths = [len(row.tokens) for row in rows]
    batch = packing.pack(rows, 2000)
    assert batch.tokens.shape == (2000 // packing.padded_length(max(lengths)), packing.padded_length(max(lengths)))
    assert batch.tokens.shape[0] > len(rows) and batch.tokens.shape[1] > min(lengths)
    for i, n in enumerate(lengths):
        assert (batch.labels[i, n:] == -1).all()
        assert not batch.mask[i, 0, :n, n:].any()
    assert (batch.labels[len(rows) :] == -1).all()
    assert batch.mask.any(-1).all()  # a row that looks nowhere would not be a number
    assert packing.Positions(load_variant("mrope-i")).of(batch, made[False].groups).shape == (3, *batch.tokens.shape)


def test_batches_have_few_shapes_and_stay_within_their_tokens(made: dict[bool, lessons.Lessons]) -> None:
    rows = [packing.make_row(i, group, video=False) for i, group in enumerate(made[False].groups)]
    batches = list(packing.epoch(rows, 600, (0,)))
    shapes = {packing.pack([rows[i] for i in batch], 600).tokens.shape for batch in batches}
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    assert all(b * n <= 600 and n % packing.STEP == 0 for b, n in shapes)
    assert len(shapes) == len({n for _, n in shapes})


def test_every_row_of_the_tables_fits_the_demo_s_models() -> None:
    shape = RECIPE.shape
    for name in VARIANTS:
        table = model.demo_variant(name).table(shape.head_dim, shape.num_heads, shape.rope_theta)
        assert table.axis.shape == (shape.num_heads, shape.head_dim // 2)
    assert set(SECTIONS) <= set(VARIANTS)


@pytest.fixture(scope="module")
def school(shell: Path, made: dict[bool, lessons.Lessons], tmp_path_factory: pytest.TempPathFactory) -> stages.School:
    """Eight steps of telling, after an encoder with random weights."""
    recipe = replace(RECIPE, telling=Schedule(steps=8, warmup=2, tokens=400, matrix_rate=0.02))
    work = tmp_path_factory.mktemp("work")
    reference = model.new_model(shell, model.demo_variant("vanilla"), seed=0)
    visual = reference.model.model.visual
    seen = {video: seeing.features(visual, made[video], work / f"{video}.npy") for video in made}
    starts = {video: seeing.patch_starts(made[video]) for video in made}
    return stages.School(recipe, work, ("a",), shell, made, model.shared_part(reference), {}, seen, starts)


def test_an_interrupted_training_continues_exactly(school: stages.School, tmp_path: Path) -> None:
    whole = _weights(replace(school, work=tmp_path / "whole"), "mrope-i")
    for stop in (2, 3, 8):
        parts = _weights(replace(school, work=tmp_path / "parts"), "mrope-i", stop=stop)
    begun = _weights(replace(school, work=tmp_path / "begun"), "mrope-i", stop=2)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert any(not torch.equal(whole[name], begun[name]) for name in whole)


def test_variants_and_seeds_become_different_models_with_one_encoder(school: stages.School) -> None:
    ends = [_weights(school, variant, seed) for variant, seed in (("vanilla", 0), ("mrope-i", 0), ("mrope-i", 1))]
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert all(not torch.equal(a[name], b[name]) for a, b in combinations(ends, 2))
    for part, tensor in school.start.items():
        if ".visual." in part and ".merger." not in part:
            assert all(torch.equal(end[part], tensor) for end in ends)


def _weights(school: stages.School, variant: str, seed: int = 0, stop: int | None = None) -> dict[str, torch.Tensor]:
    reference, log = stages.learn_to_tell(school, variant, seed, stop)
    assert log[-1]["step"] == (stop or school.recipe.telling.steps)
    return dict(reference.model.state_dict())


def test_a_kept_start_serves_its_own_recipe_alone(school: stages.School, tmp_path: Path) -> None:
    path = tmp_path / "made" / model.START
    assert model.read_start(path, school.start_key) is None
    model.write_start(path, school.start, school.start_key)
    kept = model.read_start(path, school.start_key)
    assert kept is not None and kept.keys() == school.start.keys()
    assert all(torch.equal(kept[name], school.start[name]) for name in kept)
    assert model.read_start(path, "another recipe") is None


def test_boxes_are_taught_as_often_as_the_recipe_says(school: stages.School) -> None:
    taught = Counter(row.group for row in school.course.rows[False])
    groups = list(enumerate(school.lessons[False].groups))[school.recipe.first_pictures :]
    boxes = {i: any(scaled for *_, scaled in group.questions) for i, group in groups}
    assert taught == {i: school.recipe.emphasis if box else 1 for i, box in boxes.items()}
    assert 0 < sum(boxes.values()) < len(boxes)


def test_pictures_come_first_and_of_both_the_first_lessons(school: stages.School) -> None:
    batches = list(islice(school.course.batches(0), 12))
    pattern = [RECIPE.pattern[step % len(RECIPE.pattern)] for step in range(3, 12)]
    assert [video for video, _ in batches] == [False] * 3 + pattern and {*pattern} == {False, True}
    for medium in (False, True):
        early = [{group < school.recipe.first(medium) for group in batch.groups} for video, batch in batches
                 if video == medium]  # fmt: skip
        assert early == [{True}] * 2 + [{False}] * (len(early) - 2)
    later = list(islice(school.course.batches(5), 3))
    assert [batch.groups for _, batch in later] == [batch.groups for _, batch in batches[5:8]]


@pytest.mark.parametrize("video", [False, True])
def test_first_lessons_name_things_that_share_nothing_or_read_words(video: bool) -> None:
    tasks = Registry().tasks
    answered: Counter[str] = Counter()
    for sample in islice(firsts.first_samples(3, DIFFICULTY, video=video), 400):
        question = lessons.question_of(sample, tasks[sample.column])
        answered[sample.column] += 1
        score = SCORERS[tasks[sample.column].scorer](question.answer, _target(sample, tasks[sample.column]))
        value = score.values[tasks[sample.column].metrics[0]]
        assert value is not None and value >= 0.7  # spans are taught to half a second
        if sample.clip:
            names = [actor.name.split() for actor in sample.clip.actors]
            assert len({color for color, _ in names}) == len({noun for _, noun in names}) == len(names)
    assert set(answered) == ({"charades_sta", "mlvu"} if video else {"refcoco_val", "mmstar", *firsts.READING})


def test_muon_steps_are_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((3, 8, 20), (2, 20, 8), (1, 16, 16)):
        given = torch.randn(shape)
        values = torch.linalg.svdvals(orthogonal(given))
        assert values.min() > 0.3 and values.max() < 1.3
        u, _, v = torch.linalg.svd(given, full_matrices=False)
        # The same singular vectors: in their basis the result is diagonal.
        inner = u.mT @ orthogonal(given) @ v.mT
        torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), atol=1e-4, rtol=0)


def test_muon_goes_downhill_faster_than_the_gradient_alone_where_it_is_narrow() -> None:
    torch.manual_seed(0)
    target, scale = torch.randn(12, 12), torch.logspace(0, -2, 12)
    weight = torch.nn.Parameter(torch.zeros(12, 12))
    optimizer = Muon([weight], lr=0.05, weight_decay=0.0)
    losses = []
    for _ in range(200):
        loss = (((weight - target) * scale) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 100


@pytest.mark.parametrize(("step", "share"), [(0, 0.01), (99, 1.0), (100, 1.0), (300, 0.6), (500, 0.2), (900, 0.2)])
def test_learning_rates_warm_up_and_fall(step: int, share: float) -> None:
    assert Schedule(steps=500, warmup=100, final=0.2).share(step) == pytest.approx(share)


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


@pytest.mark.parametrize("side", [56, 112])
def test_equal_pictures_seen_at_once_look_as_they_do_alone(shell: Path, side: int) -> None:
    visual = model.new_model(shell, model.demo_variant("vanilla"), seed=0).model.model.visual
    names = list(visual.state_dict())
    pixels, grids, _ = sight.lesson((0, 0), side)
    with torch.no_grad():
        stock = seeing.before_connector(visual, pixels, grids)
        encoder.make_even(visual)
        even = seeing.before_connector(visual, pixels, grids)
    assert list(visual.state_dict()) == names
    torch.testing.assert_close(even, stock, atol=1e-4, rtol=1e-4)


def test_pictures_of_different_sizes_are_not_seen_at_once(shell: Path) -> None:
    visual = model.new_model(shell, model.demo_variant("vanilla"), seed=0).model.model.visual
    encoder.make_even(visual)
    (large, _, _), (small, _, _) = (sight.lesson((0, 0), side) for side in (112, 56))
    with pytest.raises(ValueError, match=r"one size, not of \[16, 64\] patches"):
        visual(torch.cat([large[:64], small[:16]]), grid_thw=torch.tensor([[1, 8, 8], [1, 4, 4]]))


def test_vision_tokens_learn_the_words_for_what_they_show(shell: Path, tmp_path: Path) -> None:
    """After few steps, with an encoder of random weights: the colour that most of a cell shows is the nearest word."""
    reference = model.new_model(shell, model.demo_variant("vanilla"), seed=0)
    tokenizer = language.read_tokenizer(shell)
    before = _named_colors(reference, tokenizer.get_vocab())
    log = naming.learn_to_name(reference, tokenizer, Schedule(steps=80, warmup=5), tmp_path)
    assert log[-1]["loss"] < log[0]["loss"]
    assert before < 0.4 < 0.5 < _named_colors(reference, tokenizer.get_vocab())


def _named_colors(reference: ReferenceModel, vocabulary: dict[str, int]) -> float:
    """Share of cells with a colour whose vision token is nearest to a spelling of it, among all spellings."""
    words = naming.Words.of(tuple(COLORS), vocabulary)
    pixels, grids, wanted = sight.lesson((9, 0), 112)
    with torch.no_grad():
        seen = reference.model.model.visual(pixels, grid_thw=grids).pooler_output
        nearest = (seen @ reference.model.model.language_model.embed_tokens.weight[words.ids].T).argmax(1)
    share = naming.shares(torch.from_numpy(wanted.color), len(COLORS))
    told = share.sum(1) > 0
    return float((words.meanings[:, nearest].argmax(0) == share.argmax(1))[told].float().mean())


def test_a_cell_shares_its_name_among_what_its_patches_show() -> None:
    labels = torch.tensor([0, 0, 1, -1, -1, -1, -1, -1])
    assert naming.shares(labels, 3).tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3), 0], [0, 0, 0]]


def test_spellings_of_a_word_share_its_meaning() -> None:
    words = naming.Words.of(("red", "blue"), {"red": 5, " red": 7, " Blue": 8, "green": 9})
    assert words.ids.tolist() == [5, 7, 8]
    assert words.meanings.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]


def test_numbers_on_a_scale_start_like_their_neighbours(shell: Path) -> None:
    embeddings = torch.randn(2000, 64)
    scales = language.scales(language.read_tokenizer(shell))
    naming.align_scales(embeddings, scales)
    rows = torch.nn.functional.normalize(embeddings[torch.tensor(scales[0])], dim=1)
    near, far = (rows[:-1] * rows[1:]).sum(1).mean(), (rows[:-50] * rows[50:]).sum(1).mean()
    assert near > 0.6 > 0.4 > far
    assert embeddings.norm(dim=1).mean() == pytest.approx(8.0, rel=0.05)

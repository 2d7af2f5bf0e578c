"""The multiple-choice image columns: MMMU, MMBench, MMStar, AI2D and RealWorldQA in their data sets' own fields."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

from mmrope_synth import charts, documents
from mmrope_synth.choices import Choice, ask_scene, count_of, draw_sequence, plural
from mmrope_synth.core import LETTERS, Difficulty, Pixels, Side, between, chance, draw_for, pick, shuffled_options
from mmrope_synth.diagrams import draw_ai2d, draw_realworldqa
from mmrope_synth.grounding import Look
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.scenes import (
    SHAPES,
    random_scene,
    render,
)

SUBJECTS: Final = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy", "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power",
        "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
"""MMMU's six disciplines and thirty subjects."""

MMBENCH: Final = {
    "count": ("object_localization", "finegrained_perception (instance-level)"),
    "color": ("attribute_recognition", "finegrained_perception (instance-level)"),
    "shape": ("attribute_recognition", "finegrained_perception (instance-level)"),
    "relation": ("spatial_relationship", "finegrained_perception (cross-instance)"),
    "place": ("object_localization", "finegrained_perception (instance-level)"),
    "most": ("attribute_comparison", "finegrained_perception (cross-instance)"),
    "exists": ("image_scene", "coarse_perception"),
}
"""Question kind -> MMBench's category and L2-category."""

MMSTAR: Final = {
    "exists": ("coarse perception", "image scene and topic"),
    "count": ("fine-grained perception", "object counting"),
    "place": ("fine-grained perception", "localization"),
    "shape": ("instance reasoning", "single-instance reasoning"),
    "relation": ("instance reasoning", "cross-instance relation reasoning"),
    "sequence": ("logical reasoning", "code & sequence reasoning"),
    "most": ("science & technology", "biology & chemistry & physics"),
    "sum": ("math", "numeric commonsense and calculation"),
}
"""Question kind -> MMStar's category and l2_category; all six categories occur."""


# --------------------------------------------------------------------------------------------------------------
# MMMU


def draw_mmmu(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One question of one subject; the subjects take turns with the serial number. A tenth has no options."""
    discipline, subject = [(d, s) for d, subjects in SUBJECTS.items() for s in subjects][serial % 30]
    pictures, choice = {
        "Art and Design": _mmmu_scene,
        "Business": _mmmu_chart,
        "Science": _mmmu_scene,
        "Health and Medicine": _mmmu_pair,
        "Humanities and Social Science": _mmmu_page,
        "Tech and Engineering": _mmmu_row,
    }[discipline](rng, difficulty, side)
    open_ended = chance(rng, 0.1)
    proof = choice.work_out if open_ended else choice.solve
    row = {
        "id": f"validation_{subject}_{serial // 30 + 1}",
        "question": choice.question,
        "options": str([] if open_ended else list(choice.options)),
        "explanation": "",
        "img_type": "['Plots and Charts']" if discipline == "Business" else "['Icons and Symbols']",
        "answer": proof(),
        "topic_difficulty": pick(rng, ("Easy", "Medium", "Hard")),
        "question_type": "open" if open_ended else "multiple-choice",
        "subfield": discipline,
    }
    images = {f"image_{i + 1}": picture for i, picture in enumerate(pictures)}
    return [Sample("mmmu", choice.kind, row, proof(), proof, f"mmmu/{serial}", images)]


def _with_image(choice: Choice) -> Choice:
    return Choice(choice.kind, f"<image 1> {choice.question}", choice.options, choice.work_out)


def _mmmu_scene(rng: Random, difficulty: Difficulty, side: Side) -> tuple[list[Pixels], Choice]:
    scene, (choice,) = ask_scene(rng, difficulty, side, (pick(rng, ("count", "color", "relation", "sum", "place")),))
    return [render(scene)], _with_image(choice)


def _mmmu_row(rng: Random, difficulty: Difficulty, side: Side) -> tuple[list[Pixels], Choice]:
    scene, choice = draw_sequence(rng, difficulty, side)
    return [render(scene)], _with_image(choice)


def _mmmu_chart(rng: Random, difficulty: Difficulty, side: Side) -> tuple[list[Pixels], Choice]:
    chart = draw_for(side, partial(charts.random_chart, rng, difficulty))
    asked = pick(rng, [q for q in charts.questions(chart, rng) if q.kind in ("highest", "lowest")])
    options = shuffled_options(rng, charts.answer(chart, asked), (*chart.labels, *charts.LABELS))
    return [charts.render(chart)], _with_image(
        Choice(f"chart-{asked.kind}", asked.text, tuple(options), partial(charts.answer, chart, asked))
    )


def _mmmu_page(rng: Random, difficulty: Difficulty, side: Side) -> tuple[list[Pixels], Choice]:
    page = draw_for(side, partial(documents.signs, rng, difficulty))
    asked = pick(rng, documents.ask(page))
    others = [value for _, value in page.facts] + [pick(rng, documents.WORDS), str(between(rng, (10, 99)))]
    others += [pick(rng, documents.WORDS) for _ in range(4)]
    options = shuffled_options(rng, asked.answer(), others)
    return [documents.render(page, difficulty.noise)], _with_image(
        Choice("sign", asked.question, tuple(options), asked.answer)
    )


def _mmmu_pair(rng: Random, difficulty: Difficulty, side: Side) -> tuple[list[Pixels], Choice]:
    """Two pictures, one of which has more of something; the placeholders stand inside the question and options."""
    noun = pick(rng, SHAPES[: difficulty.shapes])
    make = partial(random_scene, rng, difficulty, (noun, *SHAPES[: difficulty.shapes]))
    while True:
        scenes = [draw_for(side, make) for _ in range(2)]
        if count_of(scenes[0], Look(noun)) != count_of(scenes[1], Look(noun)):
            break

    def work_out() -> str:
        first, second = (count_of(scene, Look(noun)) for scene in scenes)
        return "the first image" if first > second else "the second image"

    question = f"<image 1> <image 2> Which image has more {plural(noun)}?"
    options = ("the first image", "the second image")
    return [render(scene) for scene in scenes], Choice("compare", question, options, work_out)


# --------------------------------------------------------------------------------------------------------------
# MMBench and MMStar


ROTATION: Final = 1_000_000
"""MMBench's row `index + k * ROTATION` is question `index` with its options moved on by k places."""


def draw_mmbench(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One question under every rotation of its options, in columns A to D; columns that are not used hold `nan`.

    For training it is asked once: the rotations would teach the same.
    """
    kind = pick(rng, tuple(MMBENCH))
    scene, (asked,) = ask_scene(rng, difficulty, side, (kind,))
    images, category, count = {"image": render(scene)}, MMBENCH[kind], len(asked.options)
    hint = f"There are {len(scene.things)} shapes in the picture." if chance(rng, 0.2) else "nan"
    samples = []
    for turn in range(count if side == "eval" else 1):
        choice = replace(asked, options=(*asked.options[turn:], *asked.options[:turn]))
        row = {
            "index": serial + turn * ROTATION,
            "question": choice.question,
            "hint": hint,
            "answer": choice.solve(),
            **dict(zip("ABCD", (*choice.options, "nan", "nan"), strict=False)),
            "category": category[0],
            "source": "mini",
            "L2-category": category[1],
            "comment": "nan",
            "split": "dev",
        }
        solve = choice.solve
        samples.append(Sample("mmbench", kind, row, solve(), solve, f"mmbench/{serial}", images))
    return samples


def draw_mmstar(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One question; the kinds, and with them the six categories, take turns with the serial number."""
    kind = list(MMSTAR)[serial % len(MMSTAR)]
    if kind == "sequence":
        scene, choice = draw_sequence(rng, difficulty, side)
    else:
        scene, (choice,) = ask_scene(rng, difficulty, side, (kind,))
    row = mmstar_row(choice, kind, serial)
    return [Sample("mmstar", kind, row, choice.solve(), choice.solve, f"mmstar/{serial}", {"image": render(scene)})]


def mmstar_row(choice: Choice, kind: str, serial: int) -> dict[str, object]:
    """A question in MMStar's fields, without its picture."""
    category, fine = MMSTAR[kind]
    listed = ", ".join(f"{letter}: {option}" for letter, option in zip(LETTERS, choice.options, strict=False))
    return {
        "index": serial,
        "question": f"{choice.question}\nOptions: {listed}",
        "answer": choice.solve(),
        "category": category,
        "l2_category": fine,
        "meta_info": {"source": "mini", "split": "val", "image_path": f"images/{serial}.jpg"},
    }


EXAMINATIONS: Final[dict[str, Draw]] = {
    "mmmu": draw_mmmu,
    "mmbench": draw_mmbench,
    "mmstar": draw_mmstar,
    "ai2d": draw_ai2d,
    "realworldqa": draw_realworldqa,
}

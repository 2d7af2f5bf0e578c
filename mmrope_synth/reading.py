"""The text columns: DocVQA, InfoVQA, TextVQA and OCRBench in their data sets' own fields."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any, Final

from mmrope_synth import documents
from mmrope_synth.core import Difficulty, Side, draw_for, pick, some
from mmrope_synth.documents import Asked, Page
from mmrope_synth.sample import Draw, Sample

KEYS: Final = "Answer this question using the text in the image directly."
LATEX: Final = "Please write out the expression of the formula in the image using LaTeX format."
DATASETS: Final = {
    "Regular Text Recognition": "IIIT5K",
    "Irregular Text Recognition": "svt",
    "Artistic Text Recognition": "WordArt",
    "Handwriting Recognition": "IAM",
    "Digit String Recognition": "ORAND",
    "Non-Semantic Text Recognition": "NonSemanticText",
    "Scene Text-centric VQA": "textVQA",
    "Doc-oriented VQA": "docVQA",
    "Key Information Extraction": "SROIE",
    "Handwritten Mathematical Expression Recognition": "HME100k",
}
"""OCRBench's ten question types, and a source data set of each as its `dataset` column names it."""


def docvqa_row(rng: Random, page: Page, asked: Asked, number: int) -> dict[str, Any]:
    """Configuration `DocVQA` of the DocVQA data set."""
    answer = asked.answer()
    return {
        "questionId": str(49000 + number),
        "question": asked.question,
        "question_types": ["table/list"] if asked.kind in ("total", "price", "count") else ["form"],
        "docId": 14000 + number // 2,
        "ucsf_document_id": f"mini{number // 2:04d}",
        "ucsf_document_page_no": "1",
        "answers": list(dict.fromkeys([answer, answer.upper()])),
        "data_split": "val",
    }


def infovqa_row(rng: Random, page: Page, asked: Asked, number: int) -> dict[str, Any]:
    """Configuration `InfographicVQA` of the DocVQA data set."""
    return {
        "questionId": str(65000 + number),
        "question": asked.question,
        "answers": [asked.answer()],
        "answer_type": ["single span"],
        "image_url": f"https://example.org/infographic-{number // 2}.png",
        "operation/reasoning": ["comparison"] if asked.kind == "highest" else [],
        "ocr": " ".join(text.words for text in page.texts),
        "data_split": "val",
    }


def textvqa_row(rng: Random, page: Page, asked: Asked, number: int) -> dict[str, Any]:
    """TextVQA with its ten answers, of which a few differ from the majority."""
    answer, question = asked.answer(), asked.question.lower()
    answers = [answer] * 8 + some(rng, [answer, f"the {answer}", "unanswerable", answer.upper()], 2)
    return {
        "image_id": f"{page.noise_seed:016x}",
        "question_id": 34602 + number,
        "question": question,
        "question_tokens": question.rstrip("?").split(),
        "image_width": page.size,
        "image_height": page.size,
        "flickr_original_url": f"https://example.org/{page.noise_seed}_o.jpg",
        "flickr_300k_url": f"https://example.org/{page.noise_seed}_z.jpg",
        "answers": some(rng, answers, len(answers)),
        "image_classes": ["Signage"],
        "set_name": "val",
        "ocr_tokens": [text.words for text in page.texts],
    }


def draw_ocrbench(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One picture of one question type; the types take turns with the serial number."""
    category = list(DATASETS)[serial % len(DATASETS)]
    if category in documents.STYLES:
        make = partial(documents.single, rng, difficulty, category)
    else:
        makers = {
            "Scene Text-centric VQA": (documents.signs,),
            "Doc-oriented VQA": (documents.form, documents.infographic),
            "Key Information Extraction": (documents.receipt,),
        }[category]
        make = partial(pick(rng, makers), rng, difficulty)
    page = draw_for(side, make)
    if category in documents.STYLES:
        wording = {
            "Digit String Recognition": "what is the number in the image?",
            "Handwritten Mathematical Expression Recognition": LATEX,
        }
        asked = Asked("read", wording.get(category, "what is written in the image?"), partial(page.fact, "text"))
    else:
        asked = pick(rng, documents.ask(page))
    question = f"{asked.question} {KEYS}" if category == "Key Information Extraction" else asked.question
    row = {
        "dataset": DATASETS[category],
        "question": question,
        "question_type": category,
        "answer": [asked.answer()],
    }
    images = {"image": documents.render(page, difficulty.noise)}
    return [Sample("ocrbench", category, row, asked.answer(), asked.answer, f"ocrbench/{serial}", images)]


TEXTS: Final[dict[str, Draw]] = {
    "ocrbench": draw_ocrbench,
    "docvqa": partial(
        documents.draw_pages, column="docvqa", makers=(documents.receipt, documents.form), row=docvqa_row
    ),
    "textvqa": partial(documents.draw_pages, column="textvqa", makers=(documents.signs,), row=textvqa_row),
    "infovqa": partial(documents.draw_pages, column="infovqa", makers=(documents.infographic,), row=infovqa_row),
}

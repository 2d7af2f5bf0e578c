"""MMBench's questions in Chinese, as its cn configuration has them: the same pictures, options and rotations."""

from __future__ import annotations

import re
from random import Random
from typing import Final

from mmrope_synth.choices import SIDES
from mmrope_synth.core import Difficulty, Side
from mmrope_synth.examinations import draw_mmbench
from mmrope_synth.sample import Draw, Sample

WORDS: Final = {
    "red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色", "purple": "紫色", "orange": "橙色",
    "circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "cross": "十字形", "heart": "心形",
    "shape": "形状", "biggest": "最大的", "yes": "是", "no": "否",
    **dict(zip(SIDES, ("左边", "右边", "上面", "下面"), strict=True)),
}  # fmt: skip
PLACES: Final = {"at the top": "上", "at the bottom": "下", "furthest to the left": "左", "furthest to the right": "右"}
TEMPLATES: Final = (
    (r"How many (.+) are there\?", "图中有多少个{}？"),
    (r"What color is the (.+)\?", "{}是什么颜色？"),
    (r"What is the (.+)\?", "{}是什么？"),
    (r"Where is the (.+) relative to the (.+)\?", "{}在{}的哪一边？"),
    (r"Which shape appears most often\?", "哪种形状出现得最多？"),
    (r"Is there an? (.+)\?", "图中有{}吗？"),
    (r"There are (\d+) shapes in the picture\.", "图中有{}个形状。"),
)
"""What `choices` asks, and `draw_mmbench` hints -> the same in Chinese."""


def phrase(text: str) -> str:
    """`red circles` -> `红色圆形`; numbers, and what has no translation, stay."""
    return "".join(WORDS.get(word) or WORDS.get(re.sub("e?s$", "", word), word) if not word.isdigit() else word
                   for word in text.split())  # fmt: skip


def in_chinese(text: str) -> str:
    """A question, hint or option in Chinese. ValueError for a sentence without a template."""
    for place, word in PLACES.items():
        if text == f"Which shape is {place}?":
            return f"最{word}边的是哪个形状？"
    for pattern, template in TEMPLATES:
        match = re.fullmatch(pattern, text)
        if match is not None:
            return template.format(*map(phrase, match.groups()))
    if text.endswith(("?", ".")):
        raise ValueError(f"no Chinese for {text!r}")
    return text if text == "nan" else phrase(text)


def draw_mmbench_cn(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """As `draw_mmbench`, in Chinese."""
    texts = ("question", "hint", *"ABCD")
    return [
        Sample("mmbench_cn", sample.kind, {**sample.row, **{name: in_chinese(sample.row[name]) for name in texts}},
               sample.answer, sample.proof, f"mmbench_cn/{serial}", sample.images)
        for sample in draw_mmbench(rng, difficulty, side, serial)
    ]  # fmt: skip


CHINESE: Final[dict[str, Draw]] = {"mmbench_cn": draw_mmbench_cn}

"""A benchmark of one's own for tests: eight pictures of one colour each, and the file that declares it."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from suite_mirror import write_split

COLOURS = ("red", "green", "blue", "white")
TASK = """
include: _choice.yaml
task: colours
dataset_path: ./colours
test_split: test
lmms_eval_specific_kwargs:
  default:
    media: {image: image}
    prompt: "{{ question }}\\n{{ options | lettered }}\\nAnswer with the option's letter."
model_specific_target_kwargs:
  default:
    scorer: choice
    question: question
    target: {answer: answer, options: options, group: kind}
metadata: {column: Colours, category: image, chance: 25, licence: none}
"""


def picture(colour: str, size: int = 56) -> bytes:
    """A PNG file of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "PNG")
    return out.getvalue()


def write_data(folder: Path, n: int = 8) -> Path:
    """The rows as one parquet file: `n` questions of two kinds, with the answer A, B, C and D in turn."""
    from datasets import Features, List, Value
    from datasets import Image as Picture

    features = Features({"image": Picture(), "question": Value("string"), "options": List(Value("string")),
                         "answer": Value("string"), "kind": Value("string")})  # fmt: skip
    rows = [
        {"image": {"bytes": picture(COLOURS[i % 4], 56 + 28 * (i // 4)), "path": None}, "answer": "ABCD"[i % 4],
         "question": f"Which colour is picture {i}?", "options": list(COLOURS),
         "kind": "dark" if i % 4 < 3 else "light"}
        for i in range(n)
    ]  # fmt: skip
    write_split(folder, "test", rows, features)
    return folder


def write_task(folder: Path, name: str = "colours.yaml", **changes: str) -> Path:
    """The task file, with each `old=new` of `changes` replaced in its text."""
    text = TASK
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name

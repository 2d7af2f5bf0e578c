"""The small world's language: one token for every word, number and instruction that its questions are made of.

Below the words lie all 256 bytes, so any text can be written. An instruction that a task file repeats in every prompt
("Answer the question with a single word.") is one token: the tiny models are asked in the published wording, and do not
spend their training on reading it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmrope_demo.checkpoints import SPECIAL_TOKENS, write_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.content is string -%}{{ message.content }}{%- else -%}
{%- for item in message.content -%}
{%- if item.type in ('image', 'image_url') -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif item.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif item.type == 'text' -%}{{ item.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>{%- endif -%}
"""
"""Nothing but the question and the token after which the answer comes."""

SIDE = 112
"""Pixels of a picture's side: the largest coordinate."""
HALF_SECONDS = 64
"""Times in answers reach half this many seconds, in steps of half a second."""

_WORD = re.compile(r"\n?\(?[A-H][.):] |\n?[A-Z][a-z]+: ?| ?\d+| ?[^\W\d_]+|\n")
_BLOCK = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def phrases(template: str) -> list[str]:
    """The instructions in a prompt template: its literal texts of two words and more, placeholders apart."""
    literals = [part for text in _BLOCK.split(template) for part in text.split("<image 1>")]
    return [text for text in literals if len(text.split()) > 1]


def coordinates() -> list[str]:
    """Numbers of a box, with the comma that follows the first three."""
    return [f"{n}," for n in range(SIDE + 1)] + [str(n) for n in range(SIDE + 1)]


def times() -> list[str]:
    """Seconds of a span: `12.5`, and what stands between two of them."""
    return [" - ", *(f"{n / 2:.1f}" for n in range(HALF_SECONDS + 1))]


def vocabulary(templates: Iterable[str], texts: Sequence[str], least: int = 3) -> list[str]:
    """All tokens above bytes and special tokens, in a fixed order: instructions, numbers, words seen `least` times."""
    tokens = dict.fromkeys(phrase for template in templates for phrase in phrases(template))
    tokens |= dict.fromkeys([*coordinates(), *times()])
    rest = re.compile("|".join(re.escape(p) for p in sorted(tokens, key=len, reverse=True) if " " in p and len(p) > 3))
    counts = Counter(word for text in texts for part in rest.split(text) for word in _WORD.findall(part))
    words = [word for word, count in sorted(counts.items()) if count >= least and len(word) > 1]
    return list(tokens | dict.fromkeys(words))


def write_language(out: Path, words: Sequence[str]) -> None:
    """Write tokenizer and chat template into a checkpoint folder."""
    from tokenizers import AddedToken, Tokenizer

    write_tokenizer(out)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def vocabulary_size(words: Sequence[str]) -> int:
    """Rows of the embedding matrix: bytes, special tokens and words, up to a multiple of 64."""
    return -(-(256 + len(SPECIAL_TOKENS) + len(words)) // 64) * 64


def scales(tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids that lie on a common scale, in its order: coordinates before a comma, last ones, times."""
    groups = [
        [f"{n}," for n in range(SIDE + 1)],
        [str(n) for n in range(SIDE + 1)],
        [f"{n / 2:.1f}" for n in range(HALF_SECONDS + 1)],
    ]
    id_by_token = tokenizer.get_vocab()
    return [[id_by_token[token] for token in group] for group in groups]

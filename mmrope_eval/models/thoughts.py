"""The tags around a model's thoughts: by them scorers leave thoughts out, and a prompt is seen to end inside one.

Sources: the chat templates of Qwen3-VL (`<think>`, which those of its Thinking checkpoints open themselves), GLM-4.5V,
Kimi-VL (`◁think▷`), Magistral (`[THINK]`) and others trained like them.
"""

from __future__ import annotations

import re
from typing import Final

_THOUGHT: Final = r"(?:[a-z]{1,20}:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad|cot)"
OPEN: Final = re.compile(
    rf"<{_THOUGHT}(?:\s[^<>]{{0,80}})?>|◁{_THOUGHT}▷|\[think(?:ing)?\]"
    r"|<\|(?:begin_of_thought|start_thinking|begin_of_thinking|think|thinking)\|>",
    re.IGNORECASE,
)
CLOSE: Final = re.compile(
    rf"</\s?{_THOUGHT}\s?>|◁/{_THOUGHT}▷|\[/think(?:ing)?\]"
    r"|<\|(?:end_of_thought|end_thinking|end_of_thinking|/think|/thinking)\|>",
    re.IGNORECASE,
)
TAG: Final = "<think>"
"""An opening tag, to stand for one that a template wrote."""


def after_thoughts(text: str) -> str:
    """What follows the last closed thought; the whole text where none is closed."""
    return text[max((closed.end() for closed in CLOSE.finditer(text)), default=0) :]


def ends_in_thought(text: str) -> bool:
    """Whether a thought is opened in the text and not closed."""
    return OPEN.search(after_thoughts(text)) is not None


def prompt_opens(prompt: str, question: str) -> bool:
    """Whether what a template writes after the question (an assistant's turn begun) ends inside a thought.

    Tags in the question itself open nothing. A question that the template does not write as it is decides nothing: then
    the whole prompt is looked at.
    """
    words = question.strip()
    return ends_in_thought(prompt.rpartition(words)[2] if words else prompt)

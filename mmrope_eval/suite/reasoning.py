"""Which part of a response is the answer: the one place that drops thoughts, stop tokens and invisible marks.

`answer_part` is what every scorer reads; what it drops is worth nothing under any metric. Sources: the chat templates
of Qwen3-VL (`<think>`, opened by the template itself in its Thinking checkpoints), GLM-4.5V, Kimi-VL (`◁think▷`),
Magistral (`[THINK]`) and gpt-oss (channels); Qwen3-VL's evaluation splits at `</think>` for every task, as
VLMEvalKit's SPLIT_THINK and lmms-eval's `api/reasoning.py` do.
"""

from __future__ import annotations

import re
from typing import Final

_THOUGHT: Final = r"(?:[a-z]{1,20}:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad|cot)"
_OPEN: Final = re.compile(
    rf"<{_THOUGHT}(?:\s[^<>]{{0,80}})?>|◁{_THOUGHT}▷|\[think(?:ing)?\]"
    r"|<\|(?:begin_of_thought|start_thinking|begin_of_thinking|think|thinking)\|>",
    re.IGNORECASE,
)
_CLOSE: Final = re.compile(
    rf"</\s?{_THOUGHT}\s?>|◁/{_THOUGHT}▷|\[/think(?:ing)?\]"
    r"|<\|(?:end_of_thought|end_thinking|end_of_thinking|/think|/thinking)\|>",
    re.IGNORECASE,
)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s?([a-z]{1,20})[^<]{0,40}<\|message\|>", re.IGNORECASE)

_END: Final = re.compile(
    r"<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|eot|end|eos|return|end_of_turn|endofassistant|user|observation"
    r"|im_end_of_text)\|>|</s>|<eos>|<eot>|<eoa>|<end_of_turn>|<end_of_utterance>|<pad>|\[(?:EOS|PAD)\]"
    r"|\[UNUSED_TOKEN_145\]|<｜end▁of▁sentence｜>|<\|im_start\|>(?=\s?(?:user|system)\b)",
    re.IGNORECASE,
)
_BEGIN: Final = re.compile(
    r"<\|im_start\|>\s?assistant\b\s?|<\|start_header_id\|>\s?assistant\s?<\|end_header_id\|>|<\|assistant\|>"
    r"|<start_of_turn>\s?model\b|<｜Assistant｜>|\[UNUSED_TOKEN_146\]\s?assistant\b",
    re.IGNORECASE,
)
_OTHER: Final = re.compile(
    r"<s>|<bos>|<unk>|<pad>|\[PAD\]|\[/?INST\]|<\|begin_of_text\|>|<\|startoftext\|>|<\|im_start\|>|\[gMASK\]|<sop>",
    re.IGNORECASE,
)
_PROMPT: Final = re.compile(
    r"\s*(?:<s>|<bos>|<\|begin_of_text\|>)?\s*(?:<\|im_start\|>\s?(?:system|user)\b|<\|(?:system|user)\|>"
    r"|<start_of_turn>\s?user\b|<\|start_header_id\|>\s?(?:system|user)\b)",
    re.IGNORECASE,
)
# Zero-width (non-)joiners belong to some scripts' words: they go only where they join nothing.
_INVISIBLE: Final = re.compile(
    "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]|(?<!\\w)[\u200c\u200d]"
    "|[\u200c\u200d](?!\\w)"
)


def answer_part(response: str) -> str:
    """The response without thoughts, stop tokens and invisible marks; "" when it ends inside its thoughts.

    A thought that was opened and never closed hides all that follows; a closing tag without an opening one (the
    template opened it) hides all that stands before. What a chat template writes before an answer, and all from the
    first stop token after it on (the next turn), is not the answer either. Words are left as they are.
    """
    return without_thoughts(_own_turn(_INVISIBLE.sub("", response)))


def without_thoughts(text: str) -> str:
    """What follows the last closed thought, up to one that is never closed."""
    rest = text[max((closed.end() for closed in _CLOSE.finditer(text)), default=0) :]
    opened = _OPEN.search(rest)
    return rest if opened is None else rest[: opened.start()]


def _own_turn(text: str) -> str:
    """The assistant's turn of a text that may carry a chat template's tokens."""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        last = channels[-1]
        text = text[last.end() :] if last.group(1).lower() == "final" else ""
    begins = _BEGIN.search(text)
    if begins is not None and (_PROMPT.match(text) or not text[: begins.start()].strip()):
        text = text[begins.end() :]
    text = _OTHER.sub("", text)
    # Stop tokens that pad the front end nothing: the first one after a word is the turn's end.
    return next((part for part in _END.split(text) if part.strip()), "")

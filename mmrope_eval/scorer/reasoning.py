"""Which part of a response is the answer: the one place that drops thoughts, stop tokens and invisible marks.

`answer_part` is what every scorer reads; what it drops is worth nothing under any metric. The tags of thoughts are in
`models/thoughts.py`, gpt-oss' channels here. Qwen3-VL's evaluation splits at `</think>` for every task, as VLMEvalKit's
SPLIT_THINK and lmms-eval's `api/reasoning.py` do.
"""

from __future__ import annotations

import re
from typing import Final

from mmrope_eval.models.thoughts import OPEN, TAG, after_thoughts

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


def whole_turn(response: str, *, thought_open: bool) -> str:
    """The response as scorers must read it: after the tag, where the prompt ended inside a thought that it opened.
    Without the tag a response that is cut off before its closing one would look like an answer."""
    return TAG + response if thought_open else response


def without_thoughts(text: str) -> str:
    """What follows the last closed thought, up to one that is never closed."""
    rest = after_thoughts(text)
    opened = OPEN.search(rest)
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

"""Answers in words without what only marks them: emphasis, code marks, LaTeX, HTML, JSON, and tags of a final answer.

`answer_words` is what the scorers that compare words read; `final_contents` is what a response marks as its answer.
Both work on `answer_part`. What is removed is layout: words, numbers and their order stay.

`answer_part` says which part of a response is the answer: the one place that drops thoughts, stop tokens and invisible
marks. What it drops is worth nothing under any metric. The tags of thoughts are in `models/thoughts.py`, gpt-oss'
channels here. Qwen3-VL's evaluation splits at `</think>` for every task, as VLMEvalKit's SPLIT_THINK and lmms-eval's
`api/reasoning.py` do.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

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
    rest = after_thoughts(_own_turn(_INVISIBLE.sub("", response)))
    opened = OPEN.search(rest)
    return rest if opened is None else rest[: opened.start()]


def whole_turn(response: str, *, thought_open: bool) -> str:
    """The response as scorers must read it: after the tag, where the prompt ended inside a thought that it opened.
    Without the tag a response that is cut off before its closing one would look like an answer."""
    return TAG + response if thought_open else response


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


_MACRO: Final = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt)?|mathrm|mathbf|mathit|mathsf|operatorname|mbox)\s?\{([^{}]{0,200})\}"
)
_HTML: Final = re.compile(
    r"</?(?:(?-i:[biups])|strong|em|code|pre|span|div|mark|big|small|h[1-6]|li|ul|ol|font|center|t[dhr]"
    r"|table|tbody|body|html)(?:\s[^<>]{0,80})?/?>",
    re.IGNORECASE,
)
_BREAK: Final = re.compile(r"<br\s?/?>|(?<=.)</(?:p|div|li|h[1-6])>", re.IGNORECASE)
_FENCE: Final = re.compile(r"```[ \t]*(?:[A-Za-z]{1,12}[ \t]*(?=\n))?")
_PAIRED: Final = (re.compile(r"(\*{1,3})(?=\S)([^*\n]{1,400}?)(?<=\S)\1"),
                  re.compile(r"(?<!\w)(_{1,3})(?=\S)([^_\n]{1,400}?)(?<=\S)\1(?!\w)"),
                  re.compile(r"(`{1,2})([^`\n]{1,400}?)\1"))
_WHOLE_FORMULA: Final = re.compile(r"\$\$?([^$]{1,400})\$\$?|\\[(\[]([^$]{1,400}?)\\[)\]]")
_TAGGED: Final = re.compile(
    r"<(?:final_?)?answer>(?P<tag>.{0,2000}?)(?:</(?:final_?)?answer>|$)"
    r"|<\|begin_of_box\|>(?P<token>.{0,2000}?)(?:<\|end_of_box\|>|$)",
    re.IGNORECASE | re.DOTALL,
)
_BOXED: Final = re.compile(r"\\(?:boxed|fbox)\s?\{((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,100}\}){0,100}\}){0,400})\}")
# Quotes as Python writes them: those next to a brace, a comma or a colon.
_SINGLE_QUOTE: Final = re.compile(r"(?<=[{\[,:])(?<!\\)'|(?<=[{\[,:]\s)'|'(?=\s?[:,}\]])")
# fmt: off
_KEYS: Final = frozenset([
    "answer", "finalanswer", "correctanswer", "predictedanswer", "youranswer", "myanswer", "bestanswer",
    "response", "result", "choice", "option", "letter", "answerchoice", "answerletter", "answeroption",
    "selectedoption", "selectedanswer", "selectedchoice", "selectedletter", "chosenoption", "chosenanswer",
    "correctoption", "label", "correctchoice", "correctletter", "finalchoice", "finaloption", "predictedoption",
    "prediction", "pred", "output", "selection", "selected", "solution", "correct", "答案", "选项", "最终答案",
    "正确答案", "réponse", "respuesta", "antwort", "resposta", "risposta",
])
# fmt: on
MINUS: Final = str.maketrans("\u2212\ufe63\uff0d", "---")


def tagged_contents(text: str) -> list[str]:
    """What stands in `<answer>` tags and in GLM's box tokens, in order; the tags of an inner one are removed."""
    return [_untagged(match["tag"] if match["tag"] is not None else match["token"]) for match in _TAGGED.finditer(text)]


def _untagged(text: str) -> str:
    return re.sub(r"</?(?:final_?)?answer>|<\|(?:begin|end)_of_box\|>", "", text, flags=re.IGNORECASE).strip()


def final_contents(text: str) -> list[str]:
    r"""What a response marks as its answer: in tags and box tokens if there are any, else in `\boxed{}` (`\fbox{}`)."""
    tagged = [content for content in tagged_contents(text) if content]
    return tagged or [match.group(1) for match in _BOXED.finditer(text) if match.group(1).strip()]


def json_answers(text: str) -> list[Any]:
    """The values under a key that means "answer" in a response that is a JSON object, fenced or not."""
    stripped = _FENCE.sub("", text).strip()
    if not (stripped.startswith("{") and stripped.endswith("}")) or len(stripped) > 20_000:
        return []
    try:
        value = json.loads(_SINGLE_QUOTE.sub('"', stripped))
    except (ValueError, RecursionError):
        return []
    return _answers_in(value) or _answers_in(next(iter(value.values()), None) if isinstance(value, dict) else None)


def _answers_in(value: Any) -> list[Any]:
    """The values under an answer's keys; of an object there ({"answer": {"letter": "B"}}) that of its first key."""
    if not isinstance(value, dict):
        return []
    named = [part for key, part in value.items() if re.sub(r"[\s_-]", "", str(key).lower()) in _KEYS]
    plain = [part[0] if isinstance(part, list) and len(part) == 1 else part for part in named]
    plain = [(_answers_in(part) or [None])[0] if isinstance(part, dict) else part for part in plain]
    return [part for part in plain if isinstance(part, (str, int, float)) and not isinstance(part, bool)]


def without_html(text: str) -> str:
    """Without the HTML tags that lay a text out; `<br>` and the end of a block are new lines."""
    return _HTML.sub("", _BREAK.sub("\n", text))


def without_emphasis(text: str) -> str:
    """Without paired emphasis and code marks, code fences, inline HTML tags and LaTeX's text macros."""
    text = without_html(_FENCE.sub("", text))
    for pattern in _PAIRED:
        text = pattern.sub(r"\2", text)
    text = _MACRO.sub(r"\1", text).strip()
    whole = _WHOLE_FORMULA.fullmatch(text)
    return text if whole is None else next(group for group in whole.groups() if group is not None).strip()


def answer_words(response: str) -> str:
    r"""The words that a response gives as its answer, for the scorers that compare words.

    Without thoughts; the last content of `<answer>`, of a box token or of `\boxed{}` where there is one, or the value
    of a JSON object's `answer`; without emphasis, and with the Unicode minus as "-". A sentence stays a sentence.
    """
    text = answer_part(response)
    for _ in range(3):  # a box in a tag in a box token
        contents = final_contents(text)
        if not contents:
            break
        text = contents[-1]
    named = json_answers(text)
    if len(named) == 1:
        text = str(named[0])
    return without_emphasis(text).translate(MINUS)

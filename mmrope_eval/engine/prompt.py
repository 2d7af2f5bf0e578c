"""Requests as the checkpoint's own chat template writes them, and as tokens; nothing is fetched from a network."""

from __future__ import annotations

from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.messages import Request
from mmrope_eval.models.bounded import BoundError, Bounds
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.models.template import chat_messages, check_length, medium, thinking_argument
from mmrope_eval.models.thoughts import prompt_opens


class PromptError(Exception):
    """A request that cannot become a prompt; one sentence."""


class PromptWriter:
    """Tokenises requests with a checkpoint's chat template and tokenizer. Not safe for concurrent use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises `UserError` where transformers cannot load the tokenizer."""
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.served, local_files_only=True,
                                                            trust_remote_code=checkpoint.trust_remote_code)
        except (OSError, ValueError, ImportError, AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"the tokenizer of checkpoint '{checkpoint.path}' cannot be loaded: {' '.join(str(error).split())}"
            ) from error
        self._template = checkpoint.template.text
        self._bounds = Bounds()
        ids = checkpoint.vocabulary.ids
        self._pads = {"image": ids.image_token_id, "video": ids.video_token_id}

    def write(self, request: Request) -> tuple[str, list[int]]:
        """The prompt as text and as token ids, each image and video one placeholder token. Raises `PromptError`."""
        if not any(part.strip() if isinstance(part, str) else True for part in request.content):
            raise PromptError("the question is empty")
        text = self._rendered(chat_messages(request), request)
        ids: list[int] = self._tokenizer(text)["input_ids"]
        for kind, pad in self._pads.items():
            count = sum(not isinstance(part, str) and medium(part) == kind for part in request.content)
            if ids.count(pad) != count:
                raise PromptError(f"the prompt has {ids.count(pad)} {kind} placeholders for {count} {kind}s: the "
                                  f"question must not contain {self._tokenizer.convert_ids_to_tokens(pad)}")
        return text, ids

    def _rendered(self, messages: list[dict[str, Any]], request: Request) -> str:
        def write() -> str:
            return str(self._tokenizer.apply_chat_template(messages, chat_template=self._template, tokenize=False,
                                                           add_generation_prompt=True,
                                                           **thinking_argument(request.enable_thinking)))

        try:
            text = self._bounds.run(write)
            check_length(len(text), sum(len(part) for part in request.content if isinstance(part, str)))
        except BoundError as error:
            raise PromptError(f"the checkpoint's chat template {error}") from error
        return text


def thought_open(prompt: str, request: Request) -> bool:
    """Whether a request's prompt, as `PromptWriter` wrote it, ends inside a thought that the template opened."""
    return prompt_opens(prompt, next((part for part in reversed(request.content) if isinstance(part, str)), ""))

"""Chat templates that open a thought, and such that do not."""

from __future__ import annotations

import checkpoint_copies as copies

PLAIN = (copies.TRAINED / "chat_template.jinja").read_text()

ASSISTANT = "{%- if add_generation_prompt -%}<|im_start|>{%- endif -%}"


def template(turn: str) -> str:
    """The demo's template with another beginning of the assistant's turn."""
    return PLAIN.rstrip().removesuffix(ASSISTANT) + turn

"""`--system`: a system prompt in place of the family's, as words or as a file, and whether a checkpoint takes one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmrope_eval.errors import UserError
from mmrope_eval.models.template import writes_system

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.task.registry import Family

ENDINGS: Final = (".txt", ".md")
STARTS: Final = ("/", "./", "../", "~")


def read_system(word: str | None) -> str | None:
    """The text of a system prompt: that of the file of this name, else the words themselves. The line end at a file's
    end is left out. None stays None. UserError for what looks like a file and is none, or cannot be read."""
    if word is None:
        return None
    if len(word) > 4096 or "\n" in word or not word:
        return word
    try:
        file = Path(word).expanduser()
        missing = not file.is_file()
    except (OSError, RuntimeError, ValueError):  # words that no file can be called
        return word
    if missing:
        if word.endswith(ENDINGS) or (word.startswith(STARTS) and " " not in word):
            raise UserError(f"--system {word}: there is no such file; name a text file, or give the system prompt "
                            "itself in quotes")
        return word
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"--system {word} cannot be read as text ({error}): save it as UTF-8") from error


def with_system(family: Family, system: str | None, checkpoint: Checkpoint) -> Family:
    """How a checkpoint is asked, with a system prompt in place of the family's; None: as the family has it. UserError
    where there is a system prompt and the checkpoint's chat template does not write it."""
    prompts = family if system is None else replace(family, system=system)
    template = checkpoint.template
    if prompts.system is not None and not writes_system(template, checkpoint.vocabulary.special, prompts.system,
                                                        prompts.enable_thinking):
        raise UserError(f"checkpoint '{checkpoint.path}': its chat template ({template.source}) does not write a "
                        "system prompt into the prompt, so none can be given: leave --system out")
    return prompts

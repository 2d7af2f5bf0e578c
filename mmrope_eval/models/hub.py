"""Checkpoints on the hub: out of its cache where they are whole there, else downloaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmrope_eval.errors import UserError
from mmrope_eval.models.files import INDEX
from mmrope_eval.words import first_few, flat

CONFIGS: Final = ("config.json", "adapter_config.json")
"""A folder with one of these is a checkpoint, or an adapter, of which the reader says what to do."""
CHECKPOINT: Final = re.compile(r"checkpoint-([0-9]+)")
"""A step's folder in a training's folder."""
WANTED: Final = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "*.py")
"""What is downloaded of a repository: no pictures, no weights in formats that are not read."""
WEIGHTS: Final = (".safetensors", ".bin", ".pth")
_NAME: Final = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?", re.ASCII)

Say = Callable[[str], object]
"""Hears one line at a time."""


@dataclass(frozen=True)
class Repo:
    """A model on the hub."""

    name: str
    revision: str | None

    @property
    def command(self) -> str:
        """What downloads it."""
        return f"hf download {self.name}" + (f" --revision {self.revision}" if self.revision else "")


def parse(word: str) -> Repo | None:
    """`org/name` or `org/name@revision`; None for anything else."""
    match = _NAME.fullmatch(word)
    return Repo(match[1], match[2]) if match else None


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder says what it holds."""
    return any((folder / name).is_file() for name in CONFIGS)


def download(repo: Repo, word: str, lacks: str, say: Say) -> Path:
    """The snapshot, downloaded. UserError with the command that does the same where it cannot be had."""
    from huggingface_hub import snapshot_download

    state = f"in the hub's cache only in part ({lacks})" if lacks else "not in the hub's cache"
    say(f"'{word}' is {state}: downloading it")

    def sentence(error: Exception | None) -> str:
        return (f"checkpoint '{word}' is no folder here and {state}, and {_cause(error, repo.name)}: get it with "
                f"`{repo.command}`")

    try:
        folder = Path(snapshot_download(repo.name, revision=repo.revision, allow_patterns=list(WANTED)))
    except Exception as error:  # of the network, the disk, the client: whatever it is, the way out is the same
        raise UserError(sentence(error)) from error
    if _lacks(folder):  # without a network the client is content with a part
        raise UserError(sentence(None))
    return folder


def cached(repo: Repo) -> tuple[Path | None, str]:
    """The cache's snapshot where it is whole; else None, and what a partial one lacks."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo.name, revision=repo.revision, local_files_only=True,
                                        allow_patterns=list(WANTED)))
    except LocalEntryNotFoundError as error:
        return None, "files are missing" if type(error).__name__ == "IncompleteSnapshotError" else ""
    except ValueError:  # no name that the hub allows
        return None, ""
    lacks = _lacks(folder)
    return (None, lacks) if lacks else (folder, "")


def _lacks(folder: Path) -> str:
    """What a snapshot lacks: others than us leave parts of one in the cache, a tokenizer or a configuration."""
    if not is_checkpoint(folder):
        below = any(CHECKPOINT.fullmatch(child.name) and is_checkpoint(child) for child in folder.iterdir())
        return "" if below else "config.json is missing"
    try:
        shards = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        shards = []
    missing = [name for name in shards if not (folder / str(name)).is_file()]
    if missing:
        return f"{first_few(missing)} missing"
    return "" if any(child.suffix in WEIGHTS for child in folder.iterdir()) else "the weights are missing"


def _cause(error: Exception | None, repo: str) -> str:
    """Why a download failed, in words; None where it went well and something is missing all the same."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return f"the hub wants its terms accepted (https://huggingface.co/{repo}, then `hf auth login`)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such model, or not without `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub's model has no such revision"
    if constants.HF_HUB_OFFLINE:
        return "the hub is switched off by HF_HUB_OFFLINE"
    if error is None:
        return "the hub cannot be reached, or has no more of it in safetensors"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "the hub cannot be reached"
    return f"the download failed ({flat(error, 200) or type(error).__name__})"

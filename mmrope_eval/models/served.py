"""The folder that an engine and the reference load: the user's own, or links to it with what is wrong mended.

A user's folder is never written to. Where transformers' order takes other files than vLLM's, or config.json says
something that the weights contradict, both load a folder of links in the cache, so that they see the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.files import INDEX
from mmrope_eval.models.weights import SINGLE, Weights
from mmrope_eval.util.paths import cache_home


def served_folder(folder: Path, weights: Weights, mended: Mapping[str, Mapping[str, Any]]) -> Path:
    """The folder to load; `mended` is the content of JSON files that differ from the user's."""
    single, indexed = weights.files == (folder / SINGLE,), (folder / INDEX).is_file()
    # Both read the same where just one of the two is there: beside an index, vLLM passes over model.safetensors.
    if not mended and not weights.others and single != indexed:
        return folder
    entries = _links(folder, weights, mended)
    texts = {name: json.dumps(content, indent=2) for name, content in mended.items()}
    if len(weights.files) > 1 and not indexed:
        texts[INDEX] = json.dumps({"metadata": {}, "weight_map": {n: t.file.name for n, t in weights.tensors.items()}})
    key = hashlib.sha256(json.dumps([sorted((n, str(p)) for n, p in entries.items()), texts]).encode()).hexdigest()
    base = cache_home() / "served"
    target = base / f"{folder.name[:60]}-{key[:16]}"
    if not target.is_dir():
        try:
            _build(target, entries, texts)
        except OSError as error:
            raise UserError(f"{base} cannot be written ({error.strerror or error}), where a mended view of checkpoint "
                            f"'{folder}' would lie: set XDG_CACHE_HOME to a folder that can") from error  # fmt: skip
    return target


def _links(folder: Path, weights: Weights, mended: Mapping[str, Any]) -> dict[str, Path]:
    left_out = {INDEX} if weights.files == (folder / SINGLE,) else set()
    entries = {
        path.name: path.resolve() for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix not in (".safetensors", ".bin", ".pt", ".pth") and path.name not in mended
        and path.name not in left_out
    }  # fmt: skip
    if len(weights.files) == 1 and not (folder / INDEX).is_file():
        return {**entries, SINGLE: weights.files[0].resolve()}
    return entries | {path.name: path.resolve() for path in weights.files}


def _build(target: Path, entries: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".draft-"))
    try:
        for name, path in entries.items():
            (draft / name).symlink_to(path)
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        with contextlib.suppress(OSError):
            draft.rename(target)  # another process may have been faster: its folder is the same
        if not target.is_dir():
            raise OSError(f"{target} could not be made")
    finally:
        shutil.rmtree(draft, ignore_errors=True)

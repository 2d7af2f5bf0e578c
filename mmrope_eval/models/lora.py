"""A LoRA adapter as peft, LLaMA-Factory, ms-swift and the HF Trainer save it, merged into a checkpoint of its own.

An adapter's tensors are matched to its base one by one, and one that fits nowhere is refused: peft itself would leave
it out without a word, and the numbers would be those of a model that nobody trained. One weight after another is read,
merged by peft's own layer in float32, rounded once to the dtype in which the base stores it, and written under the
base's own name. All other tensors are the base's bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import read_json, untied
from mmrope_eval.models.files import INDEX, FileHashes
from mmrope_eval.models.lora_adapter import CONFIG, WEIGHTS, Adapter, describe, is_adapter
from mmrope_eval.models.lora_merge import Merge

RECORD = "merged.json"
_LAYOUT = 1  # part of the key; to be raised when the same files would be merged into others
_VOCABULARY = ("tokenizer.json", "vocab.json")
_TOKENIZER = (*_VOCABULARY, "tokenizer_config.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_OVERLAID = ("mm_rope", "mm_media", "mm_coordinates")
_BY_HAND = ("model = peft.PeftModel.from_pretrained(transformers.AutoModelForImageTextToText.from_pretrained(BASE, "
            "dtype='auto'), ADAPTER)\nmodel.merge_and_unload().save_pretrained(OUT)")


@dataclass(frozen=True)
class MergedAdapter:
    """A finished merge: the checkpoint's folder, and what merged.json in it says."""

    path: Path
    record: Mapping[str, Any]


@dataclass(frozen=True)
class _Plan:
    """What is merged: decided, and hashed, before anything is loaded."""

    adapter: Adapter
    base: Path
    weights: tuple[Path, ...]
    copied: Mapping[str, Path]
    config: Mapping[str, Any]
    """The base's config.json with the adapter's own keys."""
    sha256: Mapping[str, Mapping[str, str]]

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps([_LAYOUT, self.sha256], sort_keys=True).encode()).hexdigest()


def merge_adapter(folder: Path, cache: Path, find_base: Callable[[str], Path]) -> MergedAdapter:
    """Merge an adapter into its base as a checkpoint below `cache`; a merge that is there already is taken.

    `find_base` gives the folder of a base by the name that the adapter has for it, and raises `UserError`. The merge
    appears whole or not at all, and neither source folder is written to. Raises `UserError` for what `describe` and
    `read_parts` refuse, a base that is none or does not fit, a missing peft, and a `cache` that is full or read-only.
    """
    adapter = describe(folder)
    plan = _plan(adapter, find_base(adapter.base))
    target = cache / plan.key
    record = _finished(target)
    if record is None:
        _check_peft()
        try:
            with _partial(cache, plan.key, sum(path.stat().st_size for path in plan.weights)) as partial:
                if partial is not None:
                    _write(plan, partial)
        except OSError as error:
            raise UserError(f"the adapter '{folder}' cannot be merged into '{cache}' ({error.strerror or error}): free "
                            "space there, or choose a cache folder that can be written") from error
        record = _finished(target)
        assert record is not None
    return MergedAdapter(target, record)


def _check_peft() -> None:
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UserError("merging an adapter needs the package peft: pip install 'mmrope-eval[lora]', or merge it "
                        f"yourself: {_BY_HAND}") from error


def _plan(adapter: Adapter, base: Path) -> _Plan:
    weights, hashes = _base_weights(adapter, base), FileHashes()
    copied = _copied(adapter, base)
    config_path = adapter.path / "config.json"
    adapter_config = read_json(config_path) if config_path.is_file() else {}
    laid_over = {key: value for key, value in adapter_config.items() if key in _OVERLAID}
    sources = {*weights, *copied.values(), base / "config.json", adapter.path / CONFIG, adapter.path / WEIGHTS}
    sums: dict[str, dict[str, str]] = {"base": {}, "adapter": {}}
    if laid_over:
        sums["adapter"]["config.json"] = hashes.of(config_path)
    for path in sorted(sources):
        sums["adapter" if path.parent == adapter.path else "base"][path.name] = hashes.of(path)
    return _Plan(adapter, base, weights, copied, read_json(base / "config.json") | laid_over, sums)


def _base_weights(adapter: Adapter, base: Path) -> tuple[Path, ...]:
    """The base's weight files. Raises `UserError` for an adapter, a quantised model, and what is no checkpoint."""
    named = f"the base '{adapter.base}' ({base}) of the adapter '{adapter.path}'"
    if is_adapter(base):
        raise UserError(f"{named} is an adapter itself: merge that one first and name its folder in {CONFIG}")
    if not (base / "config.json").is_file():
        raise UserError(f"{named} has no config.json: download it again")
    if read_json(base / "config.json").get("quantization_config"):
        raise UserError(f"{named} is quantised: name the checkpoint that it was made from in {adapter.path / CONFIG}")
    names = read_json(base / INDEX).get("weight_map", {}).values() if (base / INDEX).is_file() else ()
    files = tuple(base / name for name in sorted(set(names) or {"model.safetensors"}))
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise UserError(f"{named} lacks {', '.join(missing)}: download it again, as safetensors")
    return files


def _copied(adapter: Adapter, base: Path) -> dict[str, Path]:
    """Files of the merged checkpoint that are copies, by name: the base's, or the adapter's tokenizer and template."""
    paths = ((name, adapter.path / name) for name in (*_TOKENIZER, *_TEMPLATES))
    adapter_files = {name: path for name, path in paths if path.is_file()}
    dropped = {"config.json", INDEX, RECORD}
    # A vocabulary belongs to its other files, and one template beside another would be the one that is read.
    if any(name in adapter_files for name in _VOCABULARY):
        dropped.update(_TOKENIZER)
    if _inner_template(adapter) or any(name in adapter_files for name in _TEMPLATES):
        dropped.update(_TEMPLATES)
    kinds = {".json", ".jinja", ".txt", ".model"}
    copied = {path.name: path for path in sorted(base.iterdir()) if path.suffix in kinds and path.is_file()}
    return {name: path for name, path in copied.items() if name not in dropped} | adapter_files


def _inner_template(adapter: Adapter) -> str | None:
    """The chat template inside the adapter's tokenizer settings, where older tools keep it and no file holds one."""
    path = adapter.path / "tokenizer_config.json"
    if not path.is_file() or any((adapter.path / name).is_file() for name in _TEMPLATES):
        return None
    template = read_json(path).get("chat_template")
    return template if isinstance(template, str) else None


def _finished(target: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, UserError, KeyError, AttributeError):
        record = read_json(target / RECORD)
        if all((target / name).stat().st_size == size for name, size in record["bytes"].items()):
            return record
    return None


@contextlib.contextmanager
def _partial(cache: Path, key: str, size: int) -> Iterator[Path | None]:
    """A folder to fill, which becomes `cache/key` when the block ends well; None when another process was faster."""
    cache.mkdir(parents=True, exist_ok=True)
    partial, target = cache / f".{key}.partial", cache / key
    with (cache / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _finished(target) is not None:
            yield None
            return
        # With the lock held these are a killed process's, and a merge of which files were taken away.
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        free = shutil.disk_usage(cache).free
        if free < size:
            raise OSError(errno.ENOSPC, f"{size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
        try:
            partial.mkdir()
            yield partial
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _write(plan: _Plan, partial: Path) -> None:
    merge = Merge.begin(plan.adapter, plan.base, plan.weights)
    weight_map: dict[str, str] = {}
    total = 0
    for path in plan.weights:
        tensors = merge.file(path)
        weight_map |= dict.fromkeys(tensors, path.name)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        _save(tensors, partial / path.name)
    merge.check_used()
    if (plan.base / INDEX).is_file():
        _write_json(partial / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    config = dict(plan.config)
    if merge.untied:
        config = untied(config)
    if config == read_json(plan.base / "config.json"):
        shutil.copyfile(plan.base / "config.json", partial / "config.json")
    else:
        _write_json(partial / "config.json", config)
    for name, path in plan.copied.items():
        shutil.copyfile(path, partial / name)
    template = _inner_template(plan.adapter)
    if template:  # processors read no other place
        (partial / _TEMPLATES[0]).write_text(template, encoding="utf-8")
    adapter = plan.adapter
    record = {
        "key": plan.key,
        "base": adapter.base,
        "base_path": str(plan.base),
        "adapter_path": str(adapter.path),
        "sha256": plan.sha256,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "target_modules": list(adapter.target_modules),
        **{name: adapter.config.get(name) for name in ("modules_to_save", "use_rslora", "use_dora", "revision")},
        "merged": sorted(merge.parts.lora),
        "replaced": sorted(merge.parts.replaced),
        "untied": merge.untied,
        "versions": {name: metadata.version(name) for name in ("peft", "torch", "transformers")},
        "bytes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
    }
    _write_json(partial / RECORD, record)


def _save(tensors: Mapping[str, Any], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

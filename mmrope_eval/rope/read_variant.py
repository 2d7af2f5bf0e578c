"""Variants by name, alias, YAML file or mapping, changed in single parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.rope.parameters import VariantError, did_you_mean
from mmrope_eval.rope.sections import SECTIONS, called, merged, name_of, overridden, read_definition
from mmrope_eval.rope.variant import Variant
from mmrope_eval.util.config import read_yaml
from mmrope_eval.util.paths import project_dir
from mmrope_eval.words import shown

_MODEL_ARGUMENTS = {"dim": "head_dim", "base": "rope_theta", "num_key_value_heads": "num_kv_heads"}
"""Arguments of the published package's factory that describe the model -> our names for them."""
_DEFINING = {"extends", *(section.name for section in SECTIONS if section.name != "scaling")}
"""Keys that a mapping has when it is a definition and not a name with overrides."""
SUFFIXES = (".yaml", ".yml")
"""What the path of a file ends with, and no name does."""


def variants_dir() -> Path:
    """The folder of variant files: configs/variants of a checkout, or the copy inside an installed package."""
    return project_dir("configs") / "variants"


def variant_names() -> list[str]:
    """Names of the variants in configs/variants."""
    return sorted(p.stem for p in variants_dir().glob("*.yaml"))


def variant_aliases() -> dict[str, str]:
    """Other names for the variants in configs/variants, by their files' `aliases` -> the variant's name.

    Raises `VariantError` where two variants claim the same.
    """
    names: dict[str, str] = {}
    claimed: dict[str, str] = {}
    for name in variant_names():
        for alias in _content(variants_dir() / f"{name}.yaml")["aliases"]:
            other = claimed.setdefault(_folded(alias), name)
            if other != name:
                raise VariantError(f"variants '{other}' and '{name}' both have the alias {shown(alias)}")
            names[alias] = name
    return names


def variant_name(spec: str) -> str | None:
    """The variant in configs/variants that a name means: its own, else in any letter case and with _ for -, else an
    alias; None where there is none."""
    names = variant_names()
    if spec in names:
        return spec
    wanted = _folded(spec)
    alike = {_folded(name): name for name in names}
    if wanted in alike:
        return alike[wanted]
    return {_folded(alias): name for alias, name in variant_aliases().items()}.get(wanted)


def load_variant(spec: str | Path | Mapping[str, Any], **overrides: Any) -> Variant:
    """A variant by name, by path of a YAML file, or from a mapping (a config.json's `mm_rope`), with overrides.

    A mapping is a full definition (it has a `position` or `frequency`), or a `name` and overrides. Overrides are
    parameters of the variant's layout and allocation by their own names, and `scaling` as a mapping; a `layout` or
    `allocation` among them starts its section anew. Raises `VariantError`.
    """
    return Variant(**read_definition(overridden(_definition(spec, None), overrides)))


def load_variant_beside(folder: Path, spec: str | Path | Mapping[str, Any], **overrides: Any) -> Variant:
    """A variant as a file in `folder` names it: as `load_variant`, but a relative path of a YAML file is tried in
    `folder` first, then from the working folder."""
    return Variant(**read_definition(overridden(_definition(spec, folder), overrides)))


def changed_parameters(variant: Variant) -> tuple[str, ...]:
    """The parameters in which a variant is not the one of its name in configs/variants, each as NAME=VALUE; none where
    there is no such variant."""
    if variant.name not in variant_names():
        return ()
    named, changed = load_variant(variant.name).to_dict(), variant.to_dict()
    return tuple(f"{name}={value}" for section in SECTIONS for name, value in changed[section.name].items()
                 if name != "exact" and named[section.name].get(name) != value)


def described(variant: Variant) -> str:
    """A variant by name, with the parameters in which it is not the one of that name."""
    return " with ".join(filter(None, [variant.name, ", ".join(changed_parameters(variant))]))


def beside(name: str, folder: Path) -> str:
    """The path of a YAML file that a file in `folder` means by `name`, where there is one there; else `name` itself,
    which is a name, or a path from the working folder."""
    path = folder / name
    try:
        return str(path) if path.suffix in SUFFIXES and path.is_file() else name
    except (OSError, ValueError):  # a name longer than the file system takes, or with a zero byte
        return name


def split_model_arguments(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """A mapping in the published package's style, as the variant alone, and what it says of the model.

    ``{"name": "mrope-interleave", "dim": 128, "base": 1e6}`` is ``({"name": "mrope-interleave"}, {"head_dim": 128,
    "rope_theta": 1e6})``, for the caller to compare with the model; `num_key_value_heads` is `num_kv_heads`. All else
    is left to `load_variant`, which knows it or refuses it. Raises `VariantError` for arguments that are no numbers.
    """
    if _DEFINING & mapping.keys():
        return dict(mapping), {}
    model: dict[str, float] = {}
    for theirs, ours in _MODEL_ARGUMENTS.items():
        if theirs not in mapping:
            continue
        value = mapping[theirs]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (isinstance(value, float) and theirs == "base")) or not 0 < value < 2**63:
            raise VariantError(f"{called(mapping)}: {theirs} must be a positive "
                               f"{'number' if theirs == 'base' else 'whole number'}, not {shown(value)}")  # fmt: skip
        model[ours] = value
    return {key: value for key, value in mapping.items() if key not in _MODEL_ARGUMENTS}, model


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")


def _definition(spec: Any, folder: Path | None) -> dict[str, Any]:
    """The full definition behind a spec that a file in `folder` gives, with nothing left to extend."""
    if isinstance(spec, Mapping):
        if "name" in spec and not _DEFINING & spec.keys():
            changes = {key: value for key, value in spec.items() if key != "name"}
            return overridden(_definition(name_of(spec), folder), changes)
        return _extended(dict(spec), [], folder)
    return _extended(None, [_find(spec, folder)], folder)


def _find(spec: Any, folder: Path | None) -> Path:
    """The file that a name or a path means; a relative path is tried in `folder`, then from the working folder."""
    if not isinstance(spec, str | Path):
        raise VariantError(f"a variant is a name, the path of a YAML file or a mapping, not {shown(spec)}")
    path = Path(spec if folder is None else beside(str(spec), folder))
    if path.suffix in SUFFIXES:
        try:
            is_file = path.is_file()
        except (OSError, ValueError):  # a name longer than the file system takes, or with a zero byte
            is_file = False
        if is_file:
            return path.resolve()
        where = "" if folder is None or path.is_absolute() else f", neither in '{folder}' nor in the working folder"
        raise VariantError(f"no variant file at {shown(str(path))}{where}: give the path of a YAML file or a name from "
                           "configs/variants")
    name = variant_name(str(spec))
    if name is not None:
        return variants_dir() / f"{name}.yaml"
    names = variant_names()
    hint = did_you_mean(str(spec).replace("_", "-"), [*variant_aliases(), *names])
    raise VariantError(f"unknown variant {shown(str(spec))}{hint}; known: {', '.join(names)}")


def _content(path: Path) -> dict[str, Any]:
    """A variant file's mapping, named after the file unless it names itself; its `aliases` are a list of names. Raises
    `VariantError`."""
    try:
        content = read_yaml(path)
    except UserError as error:
        raise VariantError(f"variant file {error}") from error
    if not isinstance(content, dict):
        raise VariantError(f"variant file '{path}' must hold a mapping with position, frequency or extends")
    content.setdefault("name", path.stem)
    aliases = content.setdefault("aliases", [])
    if not isinstance(aliases, list) or set(map(type, aliases)) - {str}:
        raise VariantError(f"{called(content)}: aliases must be a list of names, not {shown(aliases)}")
    return content


def _extended(content: dict[str, Any] | None, files: list[Path], folder: Path | None) -> dict[str, Any]:
    """The content, or that of the first of `files`, laid over what it extends, section by section, whatever that
    extends in turn. Content without files is that of a file in `folder`."""
    if content is None:
        content = _content(files[0])
        content.pop("aliases")
    layers = [content]
    while (base := layers[-1].pop("extends", None)) is not None:
        if not isinstance(base, str):
            raise VariantError(f"{called(content)}: extends must be a variant's name or the path of a "
                               f"YAML file, not {shown(base)}")  # fmt: skip
        path = _find(base, files[-1].parent if files else folder)
        if path in files:
            chain = " -> ".join(f"'{file.stem}'" for file in (*files[-3:], path))
            raise VariantError(f"{called(content)} extends itself ({chain}): name another variant")
        files = [*files, path]
        layers.append(_content(path))
        layers[-1].pop("aliases")
    return merged(layers)

"""The tensors of an adapter, matched one by one to those of its base and merged into them.

The network is built without memory, to know its modules; a weight gets its values only while peft's layer merges it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.files import read_header
from mmrope_eval.models.lora_adapter import CONFIG, WEIGHTS, Adapter, Parts, in_saved_module, read_parts
from mmrope_eval.models.tensors import DECODER, EMBEDDING, HEAD, VISION, canonical_name, shape_words
from mmrope_eval.words import flat

if TYPE_CHECKING:
    from torch import Tensor, nn

# How the generations of transformers and vLLM write the parts of a network; `canonical_name` is the way back. Needed
# where adapter_config.json holds patterns, which were written for the names of their time.
_SPELLINGS: tuple[Mapping[str, str], ...] = (
    {},
    {DECODER: "model.", VISION: "visual."},
    {DECODER: "language_model.model.", VISION: "visual.", "lm_head": "language_model.lm_head"},
)
_WORDS = EMBEDDING.removesuffix(".weight")
_OUTPUT = HEAD.removesuffix(".weight")


@dataclass
class Merge:
    """The merge of one adapter while the files of its base are gone through; `begin` makes one."""

    adapter: Adapter
    parts: Parts
    layers: Mapping[str, Any]
    """peft's layer of every adapted module."""
    retied: bool
    """Whether word embeddings and output matrix are one in the base and the adapter changes one of them."""
    untied: bool = False
    """Whether they have become two different matrices."""
    used: set[str] = field(default_factory=set)

    @classmethod
    def begin(cls, adapter: Adapter, base: Path, weights: tuple[Path, ...]) -> Merge:
        """Match an adapter to its base. Raises `UserError` naming the first tensor that does not fit or is missing."""
        parts = read_parts(adapter)
        model = _skeleton(adapter, base)
        stored = {canonical_name(name) for path in weights for name in read_header(path)}
        tied = HEAD not in stored or bool(getattr(model.config, "tie_word_embeddings", False))
        absent = sorted(model.state_dict().keys() - stored - {HEAD})
        if absent:
            raise UserError(f"the base '{adapter.base}' ({base}) lacks tensor '{absent[0]}' that its config.json asks "
                            "for: download it again")
        layers = _match(adapter, parts, model, tied)
        touched = {_WORDS, _OUTPUT} & parts.lora.keys() or {EMBEDDING, HEAD} & parts.replaced.keys()
        return cls(adapter, parts, layers, tied and bool(touched))

    def file(self, path: Path) -> dict[str, Tensor]:
        """The merged tensors of one of the base's files, by the names and in the dtypes that it has for them."""
        import torch
        from safetensors import safe_open

        merged: dict[str, Tensor] = {}
        with safe_open(path, "pt") as source:
            for stored in source.keys():  # noqa: SIM118 - no mapping
                name = canonical_name(stored)
                if self.retied and name == HEAD:
                    continue  # written with the embeddings, if it is to be written
                tensor = source.get_tensor(stored)
                merged[stored] = self._value(name, tensor)
                if self.retied and name == EMBEDDING:
                    head = merged[stored] if self._together() else self._value(HEAD, tensor)
                    self.untied = not torch.equal(head, merged[stored])
                    if self.untied:
                        merged[HEAD] = head
        return merged

    def check_used(self) -> None:
        """Raise `UserError` when a tensor of the adapter has met none of the base's."""
        left = sorted(({f"{name}.weight" for name in self.parts.lora} | self.parts.replaced.keys()) - self.used)
        if left:
            raise UserError(f"the base '{self.adapter.base}' has no tensor '{left[0]}' in its files, which the adapter "
                            f"'{self.adapter.path}' changes: download the base again")

    def _together(self) -> bool:
        """Whether output matrix and embeddings were trained as one and the adapter holds it once."""
        both = {_WORDS, _OUTPUT} <= self.parts.lora.keys() or {EMBEDDING, HEAD} <= self.parts.replaced.keys()
        return bool(self.adapter.config.get("ensure_weight_tying")) and not both

    def _value(self, name: str, tensor: Tensor) -> Tensor:
        """What a parameter of the base becomes, in the base's dtype."""
        module = name.removesuffix(".weight")
        new: Tensor | None = self.parts.replaced.get(name)
        if module != name and module in self.layers:
            start = tensor if new is None else new
            new = _merge_layer(self.layers[module], start, self.parts.lora[module])
        if new is None:
            return tensor
        self.used.add(name)
        new = new.to(tensor.dtype).contiguous()
        if not new.isfinite().all():
            raise UserError(f"tensor '{name}' of the base '{self.adapter.base}' has values beyond {tensor.dtype} once "
                            f"the adapter '{self.adapter.path}' is merged: use a base that is saved in bfloat16 or "
                            "float32")
        return new


def _skeleton(adapter: Adapter, base: Path) -> Any:
    """The base's network by transformers' own class, without memory for its weights."""
    import torch
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(base, local_files_only=True)
        with torch.device("meta"):
            return transformers.AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"transformers cannot build the base '{adapter.base}' ({base}) of the adapter '{adapter.path}' "
                        f"({flat(error, 200)}): name a vision-language checkpoint in "
                        f"{CONFIG}") from error


def _match(adapter: Adapter, parts: Parts, model: nn.Module, tied: bool) -> dict[str, Any]:
    """peft's layers for the adapter's modules. Every tensor must fit one, and every one that should be there be."""
    modules = dict(model.named_modules())
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters(remove_duplicate=False)}
    for name in (*parts.lora, *parts.replaced):
        if name not in (modules if name in parts.lora else shapes):
            raise UserError(f"{adapter.path / WEIGHTS}: tensor '{parts.written[name]}' fits nothing in the base "
                            f"'{adapter.base}': name the base that the adapter was trained on as "
                            f"'base_model_name_or_path' in {CONFIG}")
    for name in _expected(adapter, parts, modules, shapes):
        if name not in parts.lora and name not in parts.replaced:
            together = tied and adapter.config.get("ensure_weight_tying") and name in (EMBEDDING, HEAD, _WORDS, _OUTPUT)
            if not together:
                raise UserError(f"{adapter.path / WEIGHTS} has no tensor for '{name}', which {CONFIG} says was "
                                "trained: the adapter is incomplete or of another base, so save or copy it again")
    layers = _peft_layers(adapter, parts, model)
    for name, kinds in parts.lora.items():
        expected = {kind: tuple(_slot(layers[name], kind).shape) for kind in _kinds(adapter, layers[name])}
        for kind in sorted(expected.keys() | kinds.keys()):
            shape = tuple(kinds[kind].shape) if kind in kinds else None
            _check_shape(adapter, f"{parts.written[name]}.{kind}", shape, expected.get(kind))
    for name, tensor in parts.replaced.items():
        _check_shape(adapter, parts.written[name], tuple(tensor.shape), shapes[name])
    return layers


def _check_shape(adapter: Adapter, name: str, actual: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> None:
    if actual != expected:
        have, need = shape_words(actual), shape_words(expected)
        raise UserError(f"{adapter.path / WEIGHTS}: tensor '{name}' is {have}, and by {CONFIG} and the base "
                        f"'{adapter.base}' it would be {need}: name the base and the settings that the adapter was "
                        "trained with")


def _expected(adapter: Adapter, parts: Parts, modules: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[str]:
    """Modules and parameters that adapter_config.json says were trained."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists
    from torch import nn

    spelling = next(
        (names for names in _SPELLINGS
         if all(_spell(name, names) == written for name, written in parts.written.items())),
        None,
    )
    if spelling is None:
        raise UserError(
            f"{adapter.path / WEIGHTS} mixes the names of several generations of transformers: save the adapter again"
        )
    keys = ("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern")
    config = LoraConfig(**{key: adapter.config.get(key) for key in keys})
    trainable = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for name, module in modules.items():
        if isinstance(module, trainable) and check_target_module_exists(config, _spell(name, spelling)):
            yield name
    yield from (name for name in shapes if in_saved_module(adapter, _spell(name, spelling)))


def _spell(name: str, spelling: Mapping[str, str]) -> str:
    for ours, theirs in spelling.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _peft_layers(adapter: Adapter, parts: Parts, model: nn.Module) -> dict[str, Any]:
    """Put peft's layers into a network without memory, one for each adapted module, with its own rank and alpha."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import get_pattern_key

    def present(patterns: str) -> dict[str, Any]:
        # They were written for names of the adapter's time; peft is given whole present names instead.
        given = adapter.config.get(patterns) or {}
        keys = {name: get_pattern_key(given.keys(), parts.written[name]) for name in parts.lora}
        return {re.escape(name): given[key] for name, key in keys.items() if key in given}

    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.config["lora_alpha"],
        target_modules=list(parts.lora),
        rank_pattern=present("rank_pattern"),
        alpha_pattern=present("alpha_pattern"),
        use_rslora=bool(adapter.config.get("use_rslora")),
        use_dora=bool(adapter.config.get("use_dora")),
        init_lora_weights=False,
        inference_mode=True,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on tied embeddings, which are dealt with here
            inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"peft cannot put the adapter '{adapter.path}' onto the base '{adapter.base}' "
                        f"({flat(error, 200)}): name the base that it was trained on in "
                        f"{CONFIG}") from error
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _kinds(adapter: Adapter, layer: Any) -> set[str]:
    words = "embedding_" if "default" in layer.lora_embedding_A else ""
    magnitude = {"lora_magnitude_vector"} if adapter.config.get("use_dora") else set()
    return {f"lora_{words}A", f"lora_{words}B"} | magnitude


def _slot(layer: Any, kind: str) -> Any:
    slot = getattr(layer, kind)["default"]
    return getattr(slot, "weight", slot)


def _merge_layer(layer: Any, weight: Tensor, kinds: Mapping[str, Tensor]) -> Tensor:
    """One weight with its part of the adapter merged by peft, in float32."""
    import torch

    base = layer.get_base_layer()
    # peft adds in place, and tied embeddings need their tensor twice.
    base.weight = torch.nn.Parameter(weight.to(torch.float32, copy=True), requires_grad=False)
    for kind, tensor in kinds.items():
        parameter = torch.nn.Parameter(tensor.float(), requires_grad=False)
        slot = getattr(layer, kind)
        if hasattr(slot["default"], "weight"):
            slot["default"].weight = parameter
        else:
            slot["default"] = parameter
    with torch.no_grad():
        layer.merge()
    merged: Tensor = base.weight.data
    base.weight = torch.nn.Parameter(merged.to("meta"), requires_grad=False)
    return merged

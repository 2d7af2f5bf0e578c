"""Which files of a folder are the weights, and whether they are all that the network of config.json needs.

vLLM counts nearly every matrix as loaded whether a file holds it or not; what is in no file is then whatever the memory
held before. So names and shapes are compared here, from the headers, before an engine starts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import read_json
from mmrope_eval.models.files import INDEX, FileHashes, TensorInfo, WeightScan, read_header
from mmrope_eval.models.tensors import EMBEDDING, HEAD, WRAPPERS, Shapes, canonical_name, is_buffer, shape_words
from mmrope_eval.words import first_few, one_line, shown

SINGLE = "model.safetensors"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")

# What quantisation puts in the place of a linear layer's weight, and beside it.
_PACKED = ("qweight", "weight_packed", "weight")
_BESIDE = ("scales", "qzeros", "g_idx", "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_global_scale",
           "weight_shape", "weight_zero_point", "weight_g_idx", "weight_format", "input_scale", "input_scale_inv",
           "input_global_scale", "input_zero_point", "activation_scale", "output_scale", "SCB")  # fmt: skip
_BESIDE_ATTENTION = ("k_scale", "v_scale", "q_scale", "prob_scale")
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint: their files and what is in them."""

    folder: Path
    files: tuple[Path, ...]
    others: tuple[Path, ...]
    """Further safetensors files of the folder, which take no part."""
    tensors: Mapping[str, TensorInfo]
    """By the name that the file gives them."""
    remarks: tuple[str, ...] = ()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by the names that the files give."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def headers(self) -> dict[Path, dict[str, TensorInfo]]:
        """Tensors by file."""
        by_file: dict[Path, dict[str, TensorInfo]] = {file: {} for file in self.files}
        for name, tensor in self.tensors.items():
            by_file[tensor.file][name] = tensor
        return by_file

    def named(self, canonical: str) -> str | None:
        """The name that the files give a tensor; None when they lack it."""
        return next((name for name in self.tensors if canonical_name(name) == canonical), None)


def check_entries(entries: Iterable[Path], remedy: str) -> None:
    """Raise `UserError` for an entry that is called like a file of a checkpoint and is a folder, or leads nowhere."""
    for entry in entries:
        if entry.is_symlink() and not entry.exists():
            raise UserError(f"checkpoint '{entry.parent}': {entry.name} is a link to a file that is not there: "
                            "download it again")  # fmt: skip
        if entry.exists() and not entry.is_file():
            raise UserError(f"checkpoint '{entry.parent}': {entry.name} is a folder where a file should be: {remedy}")


def find_weights(folder: Path) -> Weights:
    """The files that transformers would load, in its order: model.safetensors, then the index's shards.

    Without either, one safetensors file or a whole set of shards is taken. Raises `UserError` for everything else,
    naming the file and the command that mends it.
    """
    present = sorted(folder.glob("*.safetensors"))
    check_entries((*present, folder / INDEX), "download it again")
    remarks: list[str] = []
    single, index = folder / SINGLE, folder / INDEX
    if single in present:
        files = [single]
        if index.is_file():
            remarks.append(f"{INDEX} is left aside: transformers takes {SINGLE} where both are there")
    elif index.is_file():
        files = _indexed(folder, index)
    else:
        files = _unindexed(folder, [path for path in present if not path.name.startswith("adapter_")])
    if not files:
        raise UserError(f"checkpoint '{folder}' has no safetensors weights{_what_else(folder)}")
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, tensor in read_header(file).items():
            if name in tensors:
                raise UserError(f"checkpoint '{folder}' has the tensor {one_line(name)} in {tensors[name].file.name} "
                                f"and again in {file.name}: remove the file that does not belong to it")  # fmt: skip
            tensors[name] = tensor
    others = tuple(path for path in present if path not in files)
    return Weights(folder, tuple(files), others, tensors, tuple(remarks))


def _indexed(folder: Path, index: Path) -> list[Path]:
    content = read_json(index).get("weight_map")
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content.values()):
        raise UserError(f"{index} has no weight_map from tensors to files: download it again")
    names = sorted(set(content.values()))
    outside = [name for name in names if Path(name).name != name or name == ".."]
    if outside:
        raise UserError(f"{index} names the file {shown(outside[0])}, which is not in the folder itself: download it "
                        "again")
    present = {path.name for path in folder.iterdir() if path.is_file()}
    missing = [shown(name).strip("'") for name in names if name not in present]
    if missing:
        raise UserError(f"checkpoint '{folder}' lacks {first_few(missing)}, which {INDEX} names: download the folder "
                        "again")  # fmt: skip
    headers = {name: read_header(folder / name) for name in names}
    for tensor, name in content.items():
        if tensor not in headers[name]:
            raise UserError(f"{index} says that {one_line(tensor)} is in {name}, which does not hold it: download "
                            "both again")
    return [folder / name for name in names]


def _unindexed(folder: Path, present: Sequence[Path]) -> list[Path]:
    shards = {path: match for path in present if (match := _SHARD.fullmatch(path.name))}
    counts = {(match["stem"], int(match["count"])) for match in shards.values()}
    if len(counts) == 1 and len(shards) == len(present):
        ((stem, count),) = counts
        all_names = [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        missing = [name for name in all_names if not (folder / name).is_file()]
        if missing:
            raise UserError(f"checkpoint '{folder}' lacks {first_few(missing)} of {count} files of weights: "
                            "download the folder again")  # fmt: skip
        return list(shards)
    if len(present) > 1:
        raise UserError(f"checkpoint '{folder}' has neither {SINGLE} nor {INDEX}, but "
                        f"{first_few([p.name for p in present])}: "
                        f"leave the one that is the network and call it {SINGLE}")  # fmt: skip
    return list(present)


def _what_else(folder: Path) -> str:
    """What lies where weights should, and the command that makes them of it."""
    steps = sorted(path.name for path in folder.glob("global_step*") if path.is_dir())
    if (folder / "zero_to_fp32.py").is_file() or steps:
        return (f": they are still DeepSpeed's partitions ({steps[0] if steps else 'zero_to_fp32.py'}); "
                f"run 'python zero_to_fp32.py . . --safe_serialization' in that folder")
    if any(folder.glob("*.distcp")) or any(folder.glob("pytorch_model_fsdp*")):
        return ": they are FSDP's partitions; run 'accelerate merge-weights PARTITIONS FOLDER'"
    # optimizer.pt and its like are a trainer's state, no weights.
    pickled = sorted(path.name for pattern in ("pytorch_model*.bin", "model*.bin", "*.bin", "model*.pt", "*.pth")
                     for path in folder.glob(pattern) if path.name != "training_args.bin")  # fmt: skip
    if pickled:
        return (f" but has {pickled[0]}, which can run code when it is loaded: convert it with python -c \"from "
                "transformers import AutoModelForImageTextToText as M; M.from_pretrained('FOLDER')"
                ".save_pretrained('NEW')\" and copy the other files beside")
    steps = sorted(path.name for path in folder.glob("checkpoint-*") if path.is_dir())
    if steps:
        return f": give one of its checkpoints, such as {folder / steps[-1]}"
    return ": convert it with save_pretrained()"


def check_tensors(weights: Weights, needed: Shapes, *, tied: bool, quantised: bool, flat_names: bool = True
                  ) -> tuple[bool, tuple[str, ...]]:
    """Whether the files have a head of their own, and remarks; `flat_names`: whether `model.layers` are names to load.

    Raises `UserError` for a tensor that is missing, empty, of another shape, twice there or foreign to the network.
    """
    folder = weights.folder
    _check_wrappers(folder, weights.tensors)
    ours: dict[str, str] = {}
    for name in weights.tensors:
        earlier = ours.setdefault(canonical_name(name), name)
        if earlier != name:
            raise UserError(f"checkpoint '{folder}' holds {one_line(earlier)} and {one_line(name)}, which are one "
                            "tensor under two names: remove one of the two copies")  # fmt: skip
    empty = [name for name, tensor in weights.tensors.items() if 0 in tensor.shape]
    if empty:
        raise UserError(f"checkpoint '{folder}': {first_few(empty)} {'is' if len(empty) == 1 else 'are'} empty, as "
                        "DeepSpeed ZeRO-3 saves without stage3_gather_16bit_weights_on_model_save: run 'python "
                        "zero_to_fp32.py . . --safe_serialization' in that folder")
    _check_kinds(weights, quantised=quantised)
    if not flat_names:
        _check_generation(folder, weights.tensors, needed)
    own_head = HEAD in ours
    expected = {name: shape for name, shape in needed.items() if name != HEAD or own_head or not tied}
    _check_missing(folder, expected, ours, quantised=quantised)
    _check_shapes(weights, expected, ours, quantised=quantised)
    _check_foreign(folder, expected, ours, quantised=quantised)
    _check_others(weights, expected)
    beside = [path.name for path in weights.others if not _of_index(path, weights)]
    left_out = tuple(f"{name} takes no part: it holds no tensor of this network" for name in beside)
    return own_head, weights.remarks + left_out


def _check_wrappers(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        for prefix in WRAPPERS:
            if name.startswith(prefix):
                what = ("an adapter's base as peft wraps it; load it with peft and save merge_and_unload()"
                        if prefix.startswith("base_model") else
                        "the wrapper it was trained in; save the model inside (unwrap_model(model).save_pretrained)")
                raise UserError(f"checkpoint '{folder}': its tensors are named '{prefix}*' ({one_line(name)}) after "
                                f"{what}, or rename them with python -c \"from safetensors.torch import load_file as "
                                f"l, save_file as s; f='model.safetensors'; s({{k.removeprefix('{prefix}'): v for k, v "
                                f"in l(f).items()}}, f, {{'format': 'pt'}})\"")


def _check_kinds(weights: Weights, *, quantised: bool) -> None:
    odd = [name for name, tensor in weights.tensors.items() if tensor.dtype not in _FLOATS and not is_buffer(name)]
    if odd and not quantised:
        raise UserError(f"checkpoint '{weights.folder}': {first_few(odd)} {'is' if len(odd) == 1 else 'are'} of dtype "
                        f"{weights.tensors[odd[0]].dtype}, as quantised weights are, but config.json has no "
                        "quantization_config: copy config.json from where the weights come from")  # fmt: skip


def _check_generation(folder: Path, names: Iterable[str], needed: Shapes) -> None:
    old = [name for name in names if name != canonical_name(name) and canonical_name(name) in needed
           and name.startswith("model.")]  # fmt: skip
    if old:
        raise UserError(f"checkpoint '{folder}': {first_few(old)} {'is' if len(old) == 1 else 'are'} named as older "
                        f"transformers did for other families, and vLLM does not read that: call {old[0]} "
                        f"{canonical_name(old[0])}, and so on")


def _check_missing(folder: Path, expected: Shapes, ours: Mapping[str, str], *, quantised: bool) -> None:
    missing = [name for name in expected if name not in ours and not (quantised and _packed(name, ours))]
    if not missing:
        return
    why = ""
    if missing == [EMBEDDING] and HEAD in ours:
        why = f": {ours[HEAD]} is there, which is the same matrix where it is tied; save that under both names"
    if missing == [HEAD]:
        why = ": save it with its output matrix, or, where that is the word embeddings, set tie_word_embeddings to true"
    raise UserError(f"checkpoint '{folder}' lacks {first_few(missing)} of the {len(expected)} tensors that the network "
                    f"of its config.json has{why or ': save or download it again, whole'}")  # fmt: skip


def _packed(name: str, ours: Collection[str]) -> bool:
    stem, _, last = name.rpartition(".")
    return last == "weight" and any(f"{stem}.{packed}" in ours for packed in _PACKED)


def _check_shapes(weights: Weights, expected: Shapes, ours: Mapping[str, str], *, quantised: bool) -> None:
    wrong = [name for name, shape in expected.items()
             if name in ours and weights.tensors[ours[name]].shape != shape
             and not (quantised and name.endswith(".weight") and len(shape) == 2 and name != EMBEDDING)]  # fmt: skip
    if wrong:
        first = wrong[0]
        more = f" (and {len(wrong) - 1} more tensors)" if len(wrong) > 1 else ""
        reason = "vocab_size says how many rows it has; " if first in (EMBEDDING, HEAD) else ""
        raise UserError(f"checkpoint '{weights.folder}': {ours[first]} is "
                        f"{shape_words(weights.tensors[ours[first]].shape)}, and the network of config.json has "
                        f"{shape_words(expected[first])} there{more}: {reason}put config.json and weights of "
                        "one model together")


def _check_foreign(folder: Path, expected: Shapes, ours: Mapping[str, str], *, quantised: bool) -> None:
    foreign = [raw for name, raw in ours.items()
               if name not in expected and not is_buffer(name)
               and not (quantised and _beside(name, expected))]  # fmt: skip
    if not foreign:
        return
    adapters = [name for name in foreign if "lora_" in name or ".base_layer." in name]
    if adapters:
        raise UserError(f"checkpoint '{folder}' holds {first_few(adapters)} of a LoRA adapter that was not merged: "
                        "load it with peft and save merge_and_unload()")  # fmt: skip
    raise UserError(f"checkpoint '{folder}' holds {first_few(foreign)}, which the network of its config.json does not "
                    "have: put config.json and weights of one model together, or remove what does not belong to it")


def _beside(name: str, expected: Collection[str]) -> bool:
    stem, _, last = name.rpartition(".")
    if last in _BESIDE_ATTENTION:
        return f"{stem}.q_proj.weight" in expected
    # bitsandbytes puts its own under the weight's name: `x.weight.absmax`, `x.weight.quant_state.bitsandbytes__nf4`.
    above, separator, _ = name.partition(".weight.")
    return (f"{stem}.weight" in expected and (last in _BESIDE or last in _PACKED)) or (bool(separator)
                                                                                     and f"{above}.weight" in expected)


def _check_others(weights: Weights, expected: Shapes) -> None:
    for path in weights.others:
        names = read_header(path)
        if any("lora_" in name for name in names):
            raise UserError(f"checkpoint '{weights.folder}' has an adapter, {path.name}, beside whole weights: which "
                            "of them is meant? Move the adapter to a folder of its own, with its adapter_config.json")
        again = [name for name in names if canonical_name(_unwrapped(name)) in expected]
        if again and not _of_index(path, weights):
            raise UserError(f"checkpoint '{weights.folder}' has two copies of its tensors, {path.name} beside "
                            f"{weights.files[0].name} ({first_few(again)}): move away the one that is not meant")


def _unwrapped(name: str) -> str:
    for prefix in (*WRAPPERS, "ema.", "ema_model.", "model_ema."):
        name = name.removeprefix(prefix)
    return name


def _of_index(path: Path, weights: Weights) -> bool:
    """Whether a file is a shard of the index that model.safetensors goes before."""
    index = weights.folder / INDEX
    named = read_json(index).get("weight_map") if index.is_file() else None
    return isinstance(named, dict) and path.name in named.values()


def scan_weights(weights: Weights, hashes: FileHashes) -> Mapping[Path, WeightScan]:
    """Read the weights once. Raises `UserError` naming the tensors that are not finite."""
    compared = frozenset(name for name in weights.tensors if canonical_name(name) in (EMBEDDING, HEAD))
    scans = hashes.scan(weights.files, weights.headers, compared)
    bad = [name for file in weights.files for name in scans[file].not_finite]
    if bad:
        raise UserError(f"checkpoint '{weights.folder}': {first_few(bad)} {'holds' if len(bad) == 1 else 'hold'} "
                        "values that are not finite (nan or infinity): the training diverged or the file is damaged; "
                        "take an earlier checkpoint")  # fmt: skip
    return scans


def head_is_embedding(weights: Weights, scans: Mapping[Path, WeightScan]) -> bool:
    """Whether the output matrix that the files hold is the word embeddings, number for number."""
    head, embedding = weights.named(HEAD), weights.named(EMBEDDING)
    if head is None or embedding is None or weights.tensors[head].dtype != weights.tensors[embedding].dtype:
        return False
    contents = {name: digest for scan in scans.values() for name, digest in scan.contents.items()}
    return contents[head] == contents[embedding]

"""Weights are whole, finite and those of config.json before an engine starts, or the tensor that is not is named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import numpy as np
import pytest
from checkpoint_copies import FAMILIES, WEIGHTS, Stored, Tensors
from hashed import Hashed
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.errors import UserError
from mmrope_eval.models import files
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.files import FileHashes, read_header
from mmrope_eval.models.tensors import EMBEDDING, HEAD

LAYER = "model.language_model.layers.1."
INDEX = f"{WEIGHTS}.index.json"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refusal(path: Path) -> str:
    """The sentence by which a checkpoint is refused."""
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence or str(path.resolve()) in sentence
    return sentence


# ------------------------------------------------------------------------------------ every tensor, in every way


def removed(tensors: Tensors, name: str) -> Tensors:
    return {key: tensor for key, tensor in tensors.items() if key != name}


def emptied(tensors: Tensors, name: str) -> Tensors:
    return {**tensors, name: Stored(tensors[name].dtype, (0,), b"")}


def with_nan(tensors: Tensors, name: str) -> Tensors:
    return {**tensors, name: tensors[name].with_first(float("nan"))}


def with_infinity(tensors: Tensors, name: str) -> Tensors:
    last = replace(tensors[name], data=tensors[name].data[:-4] + np.float32("inf").tobytes())
    return {**tensors, name: last}


def of_another_shape(tensors: Tensors, name: str) -> Tensors:
    """A row less."""
    tensor = tensors[name]
    rows = tensor.shape[0] - 1
    return {
        **tensors,
        name: Stored(tensor.dtype, (rows, *tensor.shape[1:]), tensor.data[: len(tensor.data) * rows // (rows + 1)]),
    }


def renamed(tensors: Tensors, name: str) -> Tensors:
    return {f"{key}_old" if key == name else key: tensor for key, tensor in tensors.items()}


WAYS: dict[Callable[[Tensors, str], Tensors], str] = {
        removed: "lacks", emptied: "empty", with_nan: "not finite", with_infinity: "not finite",
        of_another_shape: " is ",
        renamed: "lacks"}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_tensor_that_is_not_what_config_json_implies_is_named(
    family: str, way: Callable[[Tensors, str], Tensors], tmp_path: Path
) -> None:
    folder = copies.copy(copies.tiny(family), tmp_path / "copy")
    whole = copies.load(folder / WEIGHTS)
    assert len(whole) > 50
    for name in whole:
        copies.dump(way(whole, name), folder / WEIGHTS)
        sentence = refusal(folder)
        assert name in sentence
        assert WAYS[way] in sentence
    copies.dump(whole, folder / WEIGHTS)
    read_checkpoint(folder)


# ----------------------------------------------------------------------------------------- what else may be wrong


def without(*parts: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: t for name, t in tensors.items() if not any(part in name for part in parts)}


def adding(*names: str, shape: tuple[int, ...] = (4,)) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: Stored.of(np.ones(shape)) for name in names}


def prefixed(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def with_old_copy(tensors: Tensors) -> Tensors:
    return {
        **tensors,
        "model.layers.0.input_layernorm.weight": tensors["model.language_model.layers.0.input_layernorm.weight"],
    }


def as_integers(tensors: Tensors) -> Tensors:
    name = f"{LAYER}mlp.down_proj.weight"
    return {**tensors, name: Stored("I32", tensors[name].shape, tensors[name].data)}


WRONG: Mapping[str, tuple[str, Callable[[Tensors], Tensors], str]] = {
    "the-last-layer": ("qwen2.5-vl", without(LAYER), rf"lacks {LAYER}.* and 9 more \(12 in all\) of the 57 tensors"),
    "half-a-layer": ("qwen2.5-vl", without(f"{LAYER}mlp"), rf"lacks {LAYER}mlp.gate_proj.weight, .*down_proj.weight "
                                                           rf"of the"),
    "a-vision-block": ("qwen2.5-vl", without("visual.blocks.1."), r"lacks model.visual.blocks.1.norm1.weight.*more"),
    "the-vision-encoder": ("qwen3-vl", without("visual."), r"lacks model.visual.patch_embed.proj.weight"),
    "the-decoder": ("qwen3-vl", without("language_model"), r"lacks model.language_model.embed_tokens.weight"),
    "the-merger": ("qwen2-vl", without("merger"), r"lacks model.visual.merger.ln_q.weight"),
    "deepstack": ("qwen3-vl", without("deepstack_merger_list.1"), r"lacks "
                                                                  r"model.visual.deepstack_merger_list.1.norm.weight"),
    "deepstack-bias": ("qwen3-vl", without("list.0.linear_fc2.bias"), r"lacks "
                                                                      r".*deepstack_merger_list.0.linear_fc2.bias of"),
    "pos-embed": ("qwen3-vl", without("pos_embed"), r"lacks model.visual.pos_embed.weight of"),
    "q-norms": ("qwen3-vl", without("q_norm"), r"lacks .*layers.0.self_attn.q_norm.weight, "
                                               r".*layers.1.self_attn.q_norm"),
    "q-biases": ("qwen2.5-vl", without("q_proj.bias"), r"lacks .*layers.0.self_attn.q_proj.bias"),
    "embedding-dropped-for-the-head": ("qwen2.5-vl", without("embed_tokens"), r"lacks .*embed_tokens.weight"),
    "untied-without-a-head": ("qwen2.5-vl", without("lm_head"), r"lacks lm_head.weight .*tie_word_embeddings to true"),
    "all": ("qwen2.5-vl", lambda tensors: {}, r"lacks .* and 54 more \(57 in all\)"),
    "a-layer-more": ("qwen2.5-vl", adding("model.language_model.layers.2.input_layernorm.weight"), r"layers.2.*does"),
    "a-block-more": ("qwen3-vl", adding("model.visual.blocks.2.norm1.weight"), r"holds model.visual.blocks.2.*does"),
    "a-merger-more": ("qwen3-vl", adding("model.visual.deepstack_merger_list.2.norm.weight"), r"holds .*list.2.*not"),
    "a-bias-more": ("qwen3-vl", adding("model.language_model.layers.0.self_attn.q_proj.bias"), r"holds .*q_proj.bias,"),
    "an-audio-tower": ("qwen2.5-vl", adding("audio_tower.conv1.weight"), r"holds audio_tower.conv1.weight"),
    "ema-inside": ("qwen2.5-vl", adding("ema.model.norm.weight"), r"holds ema.model.norm.weight"),
    "lora-inside": (
        "qwen2.5-vl", adding(f"{LAYER}self_attn.q_proj.lora_A.default.weight"), r"LoRA adapter that was not"
    ),
    "awq-names-unquantised": ("qwen2.5-vl", adding(f"{LAYER}mlp.down_proj.qweight"), r"holds .*down_proj.qweight"),
    "integers": ("qwen2.5-vl", as_integers, r"down_proj.weight is of dtype I32.*quantization_config"),
    "one-tensor-twice": ("qwen2.5-vl", with_old_copy, r"one tensor under two names"),
    "ddp": ("qwen2.5-vl", prefixed("module."), r"named 'module\.\*'.*unwrap_model"),
    "compiled": ("qwen3-vl", prefixed("_orig_mod."), r"named '_orig_mod\."),
    "peft": ("qwen2.5-vl", prefixed("base_model.model."), r"named 'base_model.model\..*merge_and_unload"),
    "fsdp": ("qwen2-vl", prefixed("_fsdp_wrapped_module."), r"named '_fsdp_wrapped_module\."),
    "lightning": ("qwen2.5-vl", prefixed("net."), r"lacks .*57 in all"),
    "old-names-of-a-new-family": ("qwen3-vl", copies.old_names, r"named as older transformers.*model.language_model\."),
    "a-name-of-two-lines": ("qwen2.5-vl", adding("a\nb"), r"holds 'a\\nb', which"),
}  # fmt: skip


@pytest.mark.parametrize(("family", "change", "sentence"), WRONG.values(), ids=WRONG)
def test_weights_of_another_network_are_refused(
    family: str, change: Callable[[Tensors], Tensors], sentence: str, tmp_path: Path
) -> None:
    folder = copies.copy(copies.tiny(family), tmp_path / "copy")
    copies.dump(change(copies.load(folder / WEIGHTS)), folder / WEIGHTS)
    assert re.search(sentence, refusal(folder))


@pytest.mark.parametrize(
    ("family", "keys", "sentence"),
    [
        ("qwen2.5-vl", {"num_hidden_layers": 3}, r"lacks model.language_model.layers.2"),
        ("qwen2.5-vl", {"num_hidden_layers": 1}, r"holds model.language_model.layers.1"),
        ("qwen3-vl", {"num_hidden_layers": 4}, r"lacks model.language_model.layers.2"),
        ("qwen2.5-vl", {"intermediate_size": 512}, r"gate_proj.weight is 256 x 32, .* has 512 x 32 there"),
        ("qwen2.5-vl", {"num_key_value_heads": 2}, r"k_proj.weight is 16 x 32, .* has 32 x 32 there"),
        ("qwen2.5-vl", {"vocab_size": 300}, r"embed_tokens.weight is 270 x 32, .* has 300 x 32 .*vocab_size"),
        ("qwen3-vl", {"head_dim": 32}, r"q_proj.weight is 32 x 128"),
        ("qwen3-vl", {"attention_bias": True}, r"lacks .*q_proj.bias"),
        ("qwen2-vl", {"tie_word_embeddings": "yes"}, r"tie_word_embeddings"),
    ],
)
def test_a_config_json_of_another_network_is_refused(
    family: str, keys: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    folder = copies.copy(copies.tiny(family), tmp_path / "copy")
    copies.edit(folder / "config.json", lambda config: copies.text_keys(config).update(keys))
    assert re.search(sentence, refusal(folder))


HARMLESS: Mapping[str, Callable[[Tensors], Tensors]] = {
    "another-order": lambda tensors: dict(
        sorted(tensors.items(), key=lambda item: hashlib.md5(item[0].encode()).digest())
    ),
    "inv-freq": adding("model.language_model.rotary_emb.inv_freq", f"{LAYER}self_attn.rotary_emb.inv_freq"),
    "names-before-4.52": copies.old_names,
    "names-of-vllm": copies.vllm_names,
    "decoder-new-encoder-old": lambda tensors: copies.renamed(tensors, [("model.visual.", "visual.")]),
    "bfloat16": lambda tensors: {name: tensor.as_dtype("BF16") for name, tensor in tensors.items()},
    "float16-norms": lambda tensors: {name: t.as_dtype("F16") if "norm" in name else t for name, t in tensors.items()},
    "float64": lambda tensors: {name: tensor.as_dtype("F64") for name, tensor in tensors.items()},
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_the_same_weights_written_otherwise_are_accepted(change: Callable[[Tensors], Tensors], tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    copies.dump(change(copies.load(folder / WEIGHTS)), folder / WEIGHTS)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.served == folder.resolve()
    assert checkpoint.remarks == ()


# ------------------------------------------------------------------------------------------------ the output matrix


def tied(folder: Path, said: Any, where: str = "top") -> Path:
    config = copies.read_json(folder / "config.json")
    if where != "top":
        inner = {key: value for key, value in config.items() if key not in ("vision_config", "architectures")}
        config["text_config"] = {**inner, "model_type": "qwen2_5_vl_text"}
        config["text_config"].pop("tie_word_embeddings")
    config.pop("tie_word_embeddings")
    for place in (config,) if where == "top" else (config["text_config"],) if where == "nested" else ():
        place["tie_word_embeddings"] = said
    if where == "contradicting":
        config["tie_word_embeddings"], config["text_config"]["tie_word_embeddings"] = said, not said
    copies.write_json(folder / "config.json", config)
    return folder


def head(kind: str, tensors: Tensors) -> Tensors:
    words = tensors[EMBEDDING]
    rolled = Stored.of(np.roll(words.numbers(), 1, 0))
    given = {"none": None, "same": words, "other": rolled, "same-in-bf16": words.as_dtype("BF16"), "other-in-bf16":
             rolled.as_dtype("BF16")}[kind]  # fmt: skip
    rest = removed(tensors, HEAD)
    return rest if given is None else {**rest, HEAD: given}


@pytest.mark.parametrize("where", ["top", "nested", "contradicting"])
@pytest.mark.parametrize(
    ("kind", "is_tied", "words"),
    [("none", True, ()), ("same", True, ()), ("other", False, "theirs is used"), ("other-in-bf16", False, "theirs is"),
     ("same-in-bf16", False, "theirs is used")],
)  # fmt: skip
def test_a_tied_checkpoint_is_served_with_the_output_matrix_that_its_files_hold(
    kind: str, is_tied: bool, words: str, where: str, tmp_path: Path
) -> None:
    folder = tied(copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy"), True, where)
    copies.dump(head(kind, copies.load(folder / WEIGHTS)), folder / WEIGHTS)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.tied == is_tied
    if is_tied:
        assert checkpoint.remarks == ()
        assert checkpoint.served == folder.resolve()
        return
    assert words in checkpoint.remarks[0]
    served = copies.read_json(checkpoint.served / "config.json")
    assert served["tie_word_embeddings"] is False
    assert served.get("text_config", served)["tie_word_embeddings"] is False
    assert (checkpoint.served / WEIGHTS).resolve() == folder / WEIGHTS
    assert copies.read_json(folder / "config.json") == checkpoint.config, "the user's file stays"


@pytest.mark.parametrize("where", ["top", "nested", "nowhere"])
def test_an_untied_checkpoint_needs_its_own_output_matrix(where: str, tmp_path: Path) -> None:
    folder = tied(copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy"), False, where)
    whole = copies.load(folder / WEIGHTS)
    assert not read_checkpoint(folder).tied
    copies.dump(removed(whole, HEAD), folder / WEIGHTS)
    assert "lacks lm_head.weight" in refusal(folder)


def test_what_is_tied_and_another_head_differ_in_identity(tmp_path: Path) -> None:
    prints = set()
    for kind in ("none", "same", "other"):
        folder = tied(copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / kind), True)
        copies.dump(head(kind, copies.load(folder / WEIGHTS)), folder / WEIGHTS)
        prints.add(read_checkpoint(folder).fingerprint)
    assert len(prints) == 3


# ------------------------------------------------------------------------------------------- which files are read


Folder = Callable[[Path, Tensors], object]


def zeros(tensors: Tensors) -> Tensors:
    return {name: replace(tensor, data=bytes(len(tensor.data))) for name, tensor in tensors.items()}


def placed_elsewhere(folder: Path, tensors: Tensors) -> None:
    names = [path.name for path in copies.shards(tensors, folder, 3)]
    copies.edit(folder / INDEX, lambda index: index["weight_map"].update({EMBEDDING: names[-1], HEAD: names[0]}))


def one_swapped(folder: Path, tensors: Tensors) -> None:
    """The second shard of three comes from a network of other sizes."""
    shard = copies.shards(tensors, folder, 3)[1]
    copies.dump({name: of_another_shape({name: t}, name)[name] for name, t in copies.load(shard).items()}, shard)


def one_from_another_split(folder: Path, tensors: Tensors) -> None:
    shard = copies.shards(tensors, folder, 3)[1]
    copies.dump(dict(list(copies.load(shard).items())[1:]), shard)


def index_of(content: Any) -> Folder:
    def change(folder: Path, tensors: Tensors) -> None:
        copies.shards(tensors, folder, 2)
        copies.write_json(folder / INDEX, content)

    return change


def shards_then(change: Callable[[list[Path], Path], object], *, count: int = 2, index: bool = True) -> Folder:
    return lambda folder, tensors: change(copies.shards(tensors, folder, count, index=index), folder)


def beside(name: str, change: Callable[[Tensors], Tensors]) -> Folder:
    return lambda folder, tensors: copies.dump(change(tensors), folder / name)


def in_place_of_weights(name: str, *entries: str) -> Folder:
    """Files (with a dot) and folders where model.safetensors was."""

    def change(folder: Path, tensors: Tensors) -> None:
        (folder / WEIGHTS).unlink()
        for entry in (name, *entries):
            (folder / entry).write_bytes(b"x") if "." in entry else (folder / entry).mkdir()

    return change


def a_folder_called_weights(folder: Path, tensors: Tensors) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def a_dangling_link(folder: Path, tensors: Tensors) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder / "blob")


LORA = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": Stored.of(np.ones((4, 32)))}

BAD_FILES: Mapping[str, tuple[Folder, str]] = {
    "an-index-that-names-another-shard": (placed_elsewhere, r"index.json says that .* is in"),
    "a-shard-of-other-sizes": (one_swapped, r"and the network of config.json has .* there \(and \d+ more tensors\)"),
    "a-shard-of-another-split": (one_from_another_split, r"index.json says that .* is in model-00002-of-00003.*does "
                                                         r"not hold"),
    "a-shard-missing": (shards_then(lambda found, folder: found[1].unlink()), r"lacks "
                                                                              r"model-00002-of-00002.*index.json"),
    "a-shard-missing-without-index": (
        shards_then(lambda found, folder: found[0].unlink(), index=False), r"lacks model-00001-of-00002.* of 2 files"
    ),
    "a-middle-shard-missing-without-index": (
        shards_then(lambda found, folder: found[1].unlink(), count=4, index=False), r"lacks model-00002-of-00004.* of"
    ),
    "two-sets-of-shards": (
        shards_then(lambda found,
                    folder: [copies.dump({}, folder / f"ema-0000{i}-of-00002.safetensors") for i in (1, 2)],
                    index=False), r"neither model.safetensors nor .*index.json, but ema-00001"
    ),
    "the-same-tensors-in-two-shards": (
        shards_then(lambda found, folder: copies.dump(copies.load(found[0]) | copies.load(found[1]), found[1])),
        r"has the tensor .* in model-00001-of-00002.safetensors and again in model-00002"
    ),
    "an-index-without-a-map": (index_of({}), r"index.json has no weight_map"),
    "an-index-with-a-list": (index_of({"weight_map": ["a"]}), r"no weight_map"),
    "an-index-with-numbers": (index_of({"weight_map": {"a": 1}}), r"no weight_map"),
    "an-index-that-leaves-the-folder": (index_of({"weight_map": {"a": "../b.safetensors"}}), r"not in the folder"),
    "an-index-that-names-the-folder": (index_of({"weight_map": {"a": ".."}}), r"not in the folder itself"),
    "an-index-with-a-long-name": (index_of({"weight_map": {"a": "b" * 300}}), r"lacks b+"),
    "an-index-with-a-null-byte": (index_of({"weight_map": {"a": "b\0c"}}), r"lacks b\\x00c"),
    "a-second-full-set": (beside("zz_ema.safetensors", zeros), r"two copies of its tensors, zz_ema.safetensors beside"),
    "an-ema-copy": (beside("ema.safetensors", prefixed("ema.")), r"two copies of its tensors, ema.safetensors"),
    "a-consolidated-copy": (beside("consolidated.safetensors", copies.old_names), r"two copies"),
    "shards-beside-without-index": (
        lambda folder, tensors: [copies.shards(tensors, folder, 2, index=False),
                                 copies.dump(tensors, folder / WEIGHTS)],
        r"two copies of its tensors, model-00001-of-00002.safetensors beside"
    ),
    "an-adapter-beside": (beside("adapter_model.safetensors", lambda tensors: LORA), r"adapter .*beside whole weights"),
    "a-renamed-adapter-beside": (beside("lora.safetensors", lambda tensors: LORA), r"has an adapter,"),
    "a-folder-called-like-the-file": (a_folder_called_weights, r"model.safetensors is a folder"),
    "a-dangling-link": (a_dangling_link, r"model.safetensors is a link to a file that is not there"),
    "no-weights": (lambda folder, tensors: (folder / WEIGHTS).unlink(), r"no safetensors weights"),
    "pickled": (in_place_of_weights("pytorch_model.bin"), r"pytorch_model.bin, which can run code.*save_pretrained"),
    "pickled-shards": (in_place_of_weights("pytorch_model-00001-of-00002.bin"), r"pytorch_model-00001-of-00002.bin"),
    "a-pickled-file-beside-the-trainer's": (
        in_place_of_weights("optimizer.pt", "training_args.bin", "model.pt"), r"but has model.pt, which"
    ),
    "a-trainer's-state-alone": (in_place_of_weights("optimizer.pt", "rng_state_0.bin"), r"no safetensors weights"),
    "deepspeed": (in_place_of_weights("global_step500", "zero_to_fp32.py"), r"DeepSpeed's partitions.*zero_to_fp32.py"),
    "fsdp": (in_place_of_weights("pytorch_model_fsdp_0", "__0_0.distcp"), r"FSDP's partitions.*merge-weights"),
    "a-run": (in_place_of_weights("checkpoint-500"), r"give one of its checkpoints, such as .*checkpoint-500"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_leave_a_question_are_refused(change: Folder, sentence: str, tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    change(folder, copies.load(folder / WEIGHTS))
    assert re.search(sentence, refusal(folder))


def old_index_and_shards(folder: Path, tensors: Tensors) -> None:
    copies.shards(zeros(tensors), folder, 2)
    copies.dump(tensors, folder / WEIGHTS)


def old_index_without_shards(folder: Path, tensors: Tensors) -> None:
    for path in copies.shards(zeros(tensors), folder, 3):
        path.unlink()
    copies.dump(tensors, folder / WEIGHTS)


def renamed_file(folder: Path, tensors: Tensors) -> None:
    (folder / WEIGHTS).rename(folder / "weights.safetensors")


GOOD_FILES: Mapping[str, tuple[Folder, int, str]] = {
    "two-shards": (lambda folder, tensors: copies.shards(tensors, folder, 2), 2, ""),
    "five-shards-without-index": (lambda folder, tensors: copies.shards(tensors, folder, 5, index=False), 5, ""),
    "one-file-of-another-name": (renamed_file, 1, ""),
    "older-shards-and-index": (old_index_and_shards, 1, "index.json is left aside"),
    "an-older-index-without-its-shards": (old_index_without_shards, 1, "index.json is left aside"),
    "a-trainer's-safetensors": (
        beside("optimizer.safetensors", lambda tensors: {"exp_avg.0": Stored.of(np.ones(3))}), 1,
        "optimizer.safetensors takes no part"
    ),
    "a-mistral-style-copy": (
        beside("consolidated.safetensors", lambda tensors: {"layers.0.attention.wq.weight": Stored.of(np.ones(3))}), 1,
        "consolidated.safetensors takes no part"
    ),
    "an-empty-file-beside": (beside("extra.safetensors", lambda tensors: {}), 1, "extra.safetensors takes no part"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "count", "remark"), GOOD_FILES.values(), ids=GOOD_FILES)
def test_what_is_served_holds_the_right_files_and_no_others(
    change: Folder, count: int, remark: str, tmp_path: Path
) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    tensors = copies.load(folder / WEIGHTS)
    change(folder, tensors)
    checkpoint = read_checkpoint(folder)
    assert len(checkpoint.weights.files) == count
    assert [remark in line for line in checkpoint.remarks] == ([True] if remark else [])
    served = sorted(checkpoint.served.glob("*.safetensors"))
    loaded = {name: tensor for path in served for name, tensor in copies.load(path).items()}
    assert loaded == tensors, "what an engine loads: all files that it finds"
    assert len(served) == count
    if count > 1:
        assert set(copies.read_json(checkpoint.served / INDEX)["weight_map"]) == set(tensors)
    else:
        assert not (checkpoint.served / INDEX).exists()
        assert served[0].name == WEIGHTS


# ---------------------------------------------------------------------------------------------------- quantised


def quantised(folder: Path, method: str, change: Callable[[Tensors], Tensors]) -> Path:
    copies.merged(folder / "config.json", quantization_config={"quant_method": method})
    copies.dump(change(copies.load(folder / WEIGHTS)), folder / WEIGHTS)
    return folder


def packed(names: Mapping[str, tuple[str, tuple[int, ...]]], *, keep: bool) -> Callable[[Tensors], Tensors]:
    """The linear layers of the decoder in another form: `names` beside or in place of `weight`."""

    def change(tensors: Tensors) -> Tensors:
        changed: Tensors = {}
        for name, tensor in tensors.items():
            linear = name.endswith("_proj.weight") and "language_model" in name
            if not linear or keep:
                changed[name] = Stored("F8_E4M3", tensor.shape, bytes(len(tensor.data) // 4)) if linear else tensor
            if linear:
                changed |= {name.removesuffix("weight") + key: Stored(dtype, shape,
                                                                    bytes(4 * int(np.prod(shape, dtype=int))))
                          for key, (dtype, shape) in names.items()}  # fmt: skip
        return changed

    return change


QUANTISED = {
    "fp8-blocks": ("fp8", packed({"weight_scale_inv": ("F32", (2, 2))}, keep=True)),
    "fp8-with-inputs": ("fp8", packed({"weight_scale": ("F32", ()), "input_scale": ("F32", ())}, keep=True)),
    "awq": ("awq", packed({"qweight": ("I32", (4, 8)), "qzeros": ("I32", (1, 8)), "scales": ("F32", (1, 8))},
                          keep=False)),
    "gptq": ("gptq", packed({"qweight": ("I32", (4, 8)), "qzeros": ("I32", (1, 8)), "scales": ("F32", (1, 8)),
                             "g_idx": ("I32", (32,))}, keep=False)),
    "compressed": ("compressed-tensors", packed({"weight_packed": ("I32", (4, 8)), "weight_scale": ("F32", (8,)),
                                                 "weight_shape": ("I32", (2,))}, keep=False)),
    "nf4": ("bitsandbytes", packed({"weight.absmax": ("U32", (4,)), "weight.quant_map": ("F32", (16,)),
                                    "weight.quant_state.bitsandbytes__nf4": ("I32", (9,))}, keep=True)),
}  # fmt: skip


@pytest.mark.parametrize(("method", "change"), QUANTISED.values(), ids=QUANTISED)
def test_quantised_weights_are_accepted_where_config_json_says_so(
    method: str, change: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    folder = quantised(copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy"), method, change)
    assert read_checkpoint(folder).quantisation == method
    copies.merged(folder / "config.json", quantization_config=None)
    assert "config.json" in refusal(folder)


def test_a_quantised_checkpoint_still_needs_every_layer(tmp_path: Path) -> None:
    lost = f"{LAYER}mlp.up_proj"
    names: dict[str, tuple[str, tuple[int, ...]]] = {"qweight": ("I32", (4, 8)), "scales": ("F32", (1, 8))}
    folder = quantised(copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy"), "awq", lambda tensors: without(
        lost)(packed(names, keep=False)(tensors)))  # fmt: skip
    assert f"lacks {lost}.weight" in refusal(folder)


@pytest.mark.parametrize("given", [{}, [], "fp8", {"quant_method": None}, {"quant_method": 4}])
def test_a_quantisation_without_a_method_is_refused(given: Any, tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    copies.edit(folder / "config.json", lambda config: config.update(quantization_config=given))
    assert "quantization_config must be a mapping that names its quant_method" in refusal(folder)


# ------------------------------------------------------------------------------------- one pass over a file's bytes

NOT_FINITE = {
    "F64": (0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF0 << 48) + 1, (1 << 64) - 1),
    "F32": (0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7F80_0001, 0xFFFF_FFFF),
    "F16": (0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF),
    "BF16": (0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF),
    "F8_E5M2": (0x7C, 0xFC, 0x7D, 0x7F, 0xFF),
    "F8_E4M3": (0x7F, 0xFF),
    "F8_E8M0": (0xFF,),
    "F8_E4M3FNUZ": (0x80,),
    "F8_E5M2FNUZ": (0x80,),
}
FINITE = {  # zero, minus zero or one, subnormals, the largest of both signs
    "F64": (0, 1 << 63, 1, (1 << 52) - 1, (0x7FF0 << 48) - 1, (0xFFF0 << 48) - 1),
    "F32": (0, 1 << 31, 1, (1 << 23) - 1, 0x7F7F_FFFF, 0xFF7F_FFFF),
    "F16": (0, 1 << 15, 1, 0x3FF, 0x7BFF, 0xFBFF),
    "BF16": (0, 1 << 15, 1, 0x7F, 0x7F7F, 0xFF7F),
    "F8_E5M2": (0, 0x80, 1, 3, 0x7B, 0xFB),
    "F8_E4M3": (0, 0x80, 1, 7, 0x7E, 0xFE),
    "F8_E8M0": (0, 1, 0x7F, 0xFE),
    "F8_E4M3FNUZ": (0, 1, 0x7F, 0xFF),
    "F8_E5M2FNUZ": (0, 1, 0x7F, 0xFF),
    "I32": (0x7F80_0000, 0xFFFF_FFFF),
    "U8": (0x7F, 0xFF),
}
SIZES = {"F64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}


def scanned(path: Path, contents_of: frozenset[str] = frozenset()) -> files.WeightScan:
    return FileHashes(path.parent / "hashes").scan([path], {path: read_header(path)}, contents_of)[path]


def raw(dtype: str, *bits: int) -> Stored:
    size = SIZES.get(dtype, 1)
    return Stored(dtype, (len(bits),), b"".join(value.to_bytes(size, "little") for value in bits))


@pytest.mark.parametrize("dtype", FINITE)
def test_values_that_are_not_finite_are_found_in_every_dtype_and_no_others(dtype: str, tmp_path: Path) -> None:
    good = {f"good{i}": raw(dtype, *[value] * 3) for i, value in enumerate(FINITE[dtype])}
    bad = {f"bad{i}": raw(dtype, FINITE[dtype][0], value, FINITE[dtype][0])
           for i, value in enumerate(NOT_FINITE.get(dtype, ()))}  # fmt: skip
    bad_tensors = scanned(copies.dump(good | bad, tmp_path / "w.safetensors"))
    assert set(bad_tensors.not_finite) == set(bad)
    assert bad_tensors.digest == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("dtype", "torch_name"),
    [
        ("F8_E4M3", "float8_e4m3fn"),
        ("F8_E5M2", "float8_e5m2"),
        ("F8_E4M3FNUZ", "float8_e4m3fnuz"),
        ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
    ],
)
def test_every_byte_of_eight_bit_floats_is_judged_as_torch_does(dtype: str, torch_name: str, tmp_path: Path) -> None:
    import torch

    values = torch.arange(256, dtype=torch.uint8).view(getattr(torch, torch_name)).float()
    tensors = {f"{byte:02x}": raw(dtype, byte) for byte in range(256)}
    bad_tensors = scanned(copies.dump(tensors, tmp_path / "w.safetensors"))
    assert set(bad_tensors.not_finite) == {f"{byte:02x}" for byte in range(256) if not values[byte].isfinite()}


class Drop(io.FileIO):
    """A file of which the system gives few bytes at a time."""

    most = 8

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.most if size is None or size < 0 else min(size, self.most))


@contextmanager
def read_by(count: int) -> Iterator[None]:
    """Weights are read by so many bytes."""
    kind, whole = type("Drops", (Drop,), {"most": count}), Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda path, *how, **named: (
            kind(path) if path.name == WEIGHTS else whole(path, *how, **named)))  # fmt: skip
        yield


@given(
    dtype=st.sampled_from(sorted(NOT_FINITE)), lengths=st.lists(st.integers(0, 70), min_size=1, max_size=5),
    at=st.integers(0, 10**6), piece=st.sampled_from([8, 16, 64, 4096]), order=st.randoms(use_true_random=False),
    bad=st.booleans(),
)  # fmt: skip
def test_one_bad_value_anywhere_is_found_and_the_hash_is_the_file_s(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, lengths: list[int], at: int, piece: int, order: Any, bad: bool
) -> None:
    folder = tmp_path_factory.mktemp("scan")
    size = SIZES.get(dtype, 1)
    tensors = {f"t{i}": raw(dtype, *[FINITE[dtype][i % len(FINITE[dtype])]] * n) for i, n in enumerate(lengths)}
    total = sum(lengths)
    wrong: set[str] = set()
    if bad and total:
        at %= total
        for name, tensor in tensors.items():
            if 0 <= at < tensor.shape[0]:
                value = NOT_FINITE[dtype][at % len(NOT_FINITE[dtype])].to_bytes(size, "little")
                data = tensor.data[: at * size] + value + tensor.data[(at + 1) * size :]
                tensors[name], wrong = replace(tensor, data=data), {name}
                break
            at -= tensor.shape[0]
    entries = list(copies.header_of(tensors).items())
    order.shuffle(entries)  # a header lists tensors in any order
    path = copies.dump(tensors, folder / WEIGHTS, dict(entries))
    headers = {path: read_header(path)}
    with read_by(piece):
        report = FileHashes(folder / "hashes").scan([path], headers, frozenset(tensors))[path]
    assert set(report.not_finite) == wrong
    assert report.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.contents == {name: hashlib.sha256(tensor.data).hexdigest() for name, tensor in tensors.items()}


@pytest.mark.parametrize("at", [0, files.PIECE // 4 - 1, files.PIECE // 4, files.PIECE // 2 + 1])
def test_a_bad_value_at_the_edges_of_the_real_pieces_is_found(at: int, tmp_path: Path) -> None:
    values = np.ones(files.PIECE // 2 + 2, "<f4")
    values[at] = np.nan
    path = copies.dump({"first": Stored.of(np.ones(3)), "t": Stored.of(values)}, tmp_path / "w.safetensors")
    assert scanned(path).not_finite == ("t",)


# ----------------------------------------------------------------------------------- headers that say what is not so


def edited(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["b"].update(fields)


LIES: Mapping[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "overlap": (edited(data_offsets=[8, 24]), r"b starts within the tensor before it"),
    "a-gap": (lambda header: header.pop("a"), r"b starts away from"),
    "backwards": (edited(data_offsets=[32, 16]), r"offsets or shape of b"),
    "negative": (edited(data_offsets=[-16, 0]), r"offsets or shape of b"),
    "too-few-bytes": (edited(shape=[8]), r"b has 16 bytes, which is not its shape \[8\] of F32"),
    "too-many-bytes": (edited(shape=[2]), r"b has 16 bytes"),
    "another-dtype": (edited(dtype="F16"), r"b has 16 bytes, which is not its shape \[4\] of F16"),
    "unknown-dtype": (edited(dtype="F128"), r"b is of the unknown dtype 'F128'"),
    "no-dtype": (lambda header: header["b"].pop("dtype"), r"b is of the unknown dtype None"),
    "dtype-a-list": (edited(dtype=[]), r"unknown dtype \[\]"),
    "no-offsets": (lambda header: header["b"].pop("data_offsets"), r"offsets or shape of b"),
    "infinite-offset": (edited(data_offsets=[16, float("inf")]), r"offsets or shape of b"),
    "text-offset": (edited(data_offsets=["16", "32"]), r"offsets or shape of b"),
    "three-offsets": (edited(data_offsets=[16, 32, 48]), r"offsets or shape of b"),
    "shape-a-number": (edited(shape=4), r"offsets or shape of b"),
    "negative-shape": (edited(shape=[-2, -2]), r"offsets or shape of b"),
    "boolean-shape": (edited(shape=[4, True]), r"offsets or shape of b"),
    "an-entry-that-is-a-list": (lambda header: header.update(b=[]), r"offsets or shape of b"),
    "beyond-the-end": (lambda header: header.update(c={"dtype": "F32", "shape": [4], "data_offsets": [32, 48]}),
                       r"bytes announced"),
    "bytes-too-many": (lambda header: header.pop("b"), r"bytes announced, \d+ present"),
    "huge": (edited(shape=[2**62, 4], data_offsets=[16, 16 + 2**66]), r"bytes announced"),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "sentence"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_as_the_library_does(
    lie: Callable[[dict[str, Any]], object], sentence: str, tmp_path: Path
) -> None:
    from safetensors import SafetensorError, safe_open

    tensors = {"a": Stored.of(np.ones(4)), "b": Stored.of(np.ones(4))}
    header = copies.header_of(tensors)
    lie(header)
    path = copies.dump(tensors, tmp_path / "w.safetensors", header)
    with pytest.raises(UserError, match=sentence) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(SafetensorError), safe_open(path, "np"):
        pass


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a complete safetensors file"),
        (b"1234567", "not a complete"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer.*git lfs pull"),
        (b"\xff" * 64, "its header is not one"),
        ((2).to_bytes(8, "little") + b"[]", "its header is not one"),
        ((4).to_bytes(8, "little") + b"null", "its header is not one"),
        ((9).to_bytes(8, "little") + b"{}", "not a complete"),
        ((2).to_bytes(8, "little") + b"\xff\xfe", "not a complete"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "not a complete"),
        (b"PK\x03\x04" + bytes(100), "not a complete"),
        (b"<!DOCTYPE html><html><head><title>404</title></head></html>" * 3, "its header is not one"),
    ],
    ids=["nothing", "seven-bytes", "lfs", "ones", "list", "null", "short-header", "no-utf8", "deep", "zip", "html"],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    (folder / WEIGHTS).write_bytes(content)
    assert re.search(sentence, refusal(folder))


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.999])
def test_a_torn_download_is_refused(share: float, tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: int(len(whole) * share)])
    assert "download it again" in refusal(folder)


def test_holes_of_no_length_and_spaces_behind_the_header_are_no_lie(tmp_path: Path) -> None:
    tensors = {"a": Stored.of(np.ones(4)), "none": Stored.of(np.ones((0, 3))), "b": Stored.of(np.ones(4)), "scalar":
               Stored("F32", (), bytes(4))}  # fmt: skip
    header = read_header(copies.dump(tensors, tmp_path / "w.safetensors"))
    assert {name: tensor.shape for name, tensor in header.items()} == {
        "a": (4,),
        "none": (0, 3),
        "b": (4,),
        "scalar": (),
    }


@given(data=st.data())
def test_a_damaged_header_is_refused_or_read_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("header")
    path = copies.dump({"a": Stored.of(np.ones(4)), "b": Stored.of(np.ones((2, 3)))}, folder / "w.safetensors")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        scanned(path)
    except UserError as error:
        assert "\n" not in str(error)


# ------------------------------------------------------------------------------------------------ read once, remembered


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Hashed:
    return Hashed(monkeypatch)


def read_whole(folder: Path, hashed: Hashed) -> list[str]:
    """The files of a folder that were read from end to end, once for each time."""
    digests = hashed.digests
    names = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in folder.iterdir()}
    return [names[digest] for digest in digests if digest in names]


def test_a_second_look_reads_no_weights_and_no_file_again(tmp_path: Path, hashed: Hashed) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    copies.shards(copies.load(folder / WEIGHTS), folder, 3)
    hashed.clear()
    first = read_checkpoint(folder).fingerprint
    reads = read_whole(folder, hashed)
    assert len([name for name in reads if name.endswith(".safetensors")]) == 3, "each once: hash and values in one pass"
    assert len(reads) == len(set(reads)) > 3
    hashed.clear()
    assert read_checkpoint(folder).fingerprint == first
    assert read_whole(folder, hashed) == []


def test_what_was_found_not_finite_is_remembered_too(tmp_path: Path, hashed: Hashed) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    copies.dump(with_nan(copies.load(folder / WEIGHTS), EMBEDDING), folder / WEIGHTS)
    first = refusal(folder)
    assert WEIGHTS in read_whole(folder, hashed)
    hashed.clear()
    assert refusal(folder) == first
    assert read_whole(folder, hashed) == []


@pytest.mark.parametrize(
    "name", [WEIGHTS, "config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json"]
)
def test_a_byte_changed_behind_an_old_time_is_seen(name: str, tmp_path: Path) -> None:
    """The same size, and the time of modification put back, as rsync and tar do."""
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    path = folder / name
    copies.merged(folder / "config.json", note="abcd")
    before, stat = read_checkpoint(folder).fingerprint, path.stat()
    content = path.read_bytes()
    time.sleep(0.02)  # the clock of the file system has steps
    changed = {
        WEIGHTS: content[:-1] + bytes([content[-1] ^ 1]), "config.json": content.replace(b"abcd", b"abce"),
        "tokenizer.json": content.replace(b"\n", b" ", 1),
        "chat_template.jinja": content.replace(b"helpful", b"hopeful"),
        "preprocessor_config.json": content.replace(b"\n", b" ", 1),
    }[name]  # fmt: skip
    assert changed != content or name == "chat_template.jinja"
    path.write_bytes(changed)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert path.stat().st_size == stat.st_size
    assert read_checkpoint(folder).fingerprint != before


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def slow() -> str:
        digest = files.hash_file(path)
        time.sleep(0.02)
        path.write_bytes(b"new")
        return digest

    FileHashes(tmp_path / "hashes").of_part(path, "", slow)
    assert FileHashes(tmp_path / "hashes").of(path) == hashlib.sha256(b"new").hexdigest()


def test_weights_that_shrink_while_they_are_read_are_refused(tmp_path: Path) -> None:
    path = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy") / WEIGHTS
    headers = {path: read_header(path)}
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="became shorter while it was read"):
        FileHashes(tmp_path / "hashes").scan([path], headers, frozenset())


@pytest.mark.parametrize("memory", ["", "[]", "{", '{"digest": 1, "not_finite": [], "contents": null}', "null"])
def test_a_damaged_memory_costs_a_reading_and_no_run(memory: str, tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    first = read_checkpoint(folder).fingerprint
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) > 4
    for path in kept:
        path.write_text(memory)
    assert read_checkpoint(folder).fingerprint == first


def test_a_cache_folder_that_cannot_be_written_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    read_checkpoint(copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy"))


def test_a_mended_view_needs_the_cache_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    old_index_and_shards(folder, copies.load(folder / WEIGHTS))
    assert "XDG_CACHE_HOME" in refusal(folder)


def test_a_view_follows_the_weights_when_they_are_written_again(tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2.5-vl"), tmp_path / "copy")
    tensors = copies.load(folder / WEIGHTS)
    old_index_and_shards(folder, tensors)
    first = read_checkpoint(folder)
    changed = {**tensors, EMBEDDING: tensors[EMBEDDING].with_first(3.0)}
    copies.dump(changed, folder / WEIGHTS)
    second = read_checkpoint(folder)
    assert second.fingerprint != first.fingerprint
    assert copies.load(second.served / WEIGHTS) == changed
    assert json.loads((second.served / "config.json").read_text()) == second.config

"""Merging LoRA adapters: every tensor where it belongs, by hand's arithmetic, and nothing left out in silence."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file

from mmrope_demo.checkpoints import FAMILIES, Family, build_checkpoint
from mmrope_eval.errors import UserError
from mmrope_eval.models.lora import MergedAdapter, merge_adapter
from mmrope_eval.models.lora_adapter import WEIGHTS, describe, is_adapter, read_parts

Q = "model.language_model.layers.{}.self_attn.q_proj"
PEFT = "base_model.model."
TEXT = ["q_proj", "v_proj", "down_proj"]
MODELS: dict[Path, Any] = {}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, Path]:
    return {family: build_checkpoint(family, tmp_path_factory.mktemp("bases") / family) for family in FAMILIES}


@pytest.fixture
def base(bases: Mapping[Family, Path]) -> Path:
    return bases["qwen2.5-vl"]


@pytest.fixture(scope="session")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen3-vl", tmp_path_factory.mktemp("bases") / "tied", tie_word_embeddings=True)


@pytest.fixture(autouse=True)
def own_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def train(base: Path, out: Path, *, seed: int = 0, **settings: Any) -> Path:
    """An adapter as peft saves it, every trained tensor away from where it started."""
    if base not in MODELS:
        MODELS[base] = transformers.AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
    model = copy.deepcopy(MODELS[base])
    settings = {"r": 4, "lora_alpha": 12, "target_modules": TEXT} | settings
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    wrapped.save_pretrained(out)
    return out


def merge(adapter: Path, base: Path, cache: Path | None = None) -> MergedAdapter:
    return merge_adapter(adapter, cache or adapter.parent / "cache", lambda name: base)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their written names."""
    return {name: tensor for path in folder.glob("model*.safetensors") for name, tensor in load_file(path).items()}


def by_hand(base: Mapping[str, torch.Tensor], adapter: Path, scale: float) -> dict[str, torch.Tensor]:
    """base + scale B A in float32, rounded once, for adapters with the base's own names."""
    parts, expected = load_file(adapter / "adapter_model.safetensors"), dict(base)
    for name, A in parts.items():
        if name.endswith("lora_A.weight"):
            module = name.removeprefix(PEFT).removesuffix(".lora_A.weight")
            B, weight = parts[f"{PEFT}{module}.lora_B.weight"], base[f"{module}.weight"]
            total = weight.float() + scale * (B.float() @ A.float())
            magnitude = parts.get(f"{PEFT}{module}.lora_magnitude_vector")
            if magnitude is not None:
                total *= (magnitude / total.norm(dim=1))[:, None]
            expected[f"{module}.weight"] = total.to(weight.dtype)
        elif "lora_" not in name:
            expected[name.removeprefix(PEFT)] = parts[name]
    return expected


def agree(merged: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], base: Mapping[str, Any]) -> int:
    """Check all tensors; the number of those that are no longer the base's."""
    assert merged.keys() == expected.keys() == base.keys()
    changed = 0
    for name, tensor in merged.items():
        assert tensor.dtype == base[name].dtype
        if expected[name] is base[name]:
            assert torch.equal(tensor, base[name]), name
        else:
            assert not torch.equal(tensor, base[name]), f"{name} is not merged"
            torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6, msg=name)
            changed += 1
    return changed


# Settings of LoraConfig, scale, and how many tensors of Qwen2.5-VL (its vision encoder has down_proj too) and Qwen3-VL.
KINDS: dict[str, tuple[dict[str, Any], float, tuple[int, int, int]]] = {
    "plain": ({}, 3, (8, 6, 6)),
    "rslora": ({"use_rslora": True}, 6, (8, 6, 6)),
    "dora": ({"use_dora": True}, 3, (8, 6, 6)),
    "modules_to_save": ({"modules_to_save": ["embed_tokens", "lm_head"]}, 3, (10, 8, 8)),
    "a merger": ({"modules_to_save": ["visual.merger"]}, 3, (13, 12, 12)),
    "vision": ({"target_modules": ["attn.qkv", "attn.proj"]}, 3, (4, 4, 4)),
    "one block": ({"target_modules": ["qkv"], "layers_to_transform": [1], "layers_pattern": "blocks"}, 3, (1, 1, 1)),
    "regex": ({"target_modules": r"model\.language_model\.layers\.1\..*(q|o)_proj"}, 3, (2, 2, 2)),
    "excluded": ({"exclude_modules": r".*(layers|blocks)\.0.*"}, 3, (4, 3, 3)),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("settings", "scale", "changed"), KINDS.values(), ids=KINDS.keys())
def test_merged_weights_are_those_computed_by_hand(
    settings: dict[str, Any], scale: float, changed: tuple[int, int], family: Family, bases: Mapping[Family, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    base, adapter = tensors(bases[family]), train(bases[family], tmp_path / "adapter", bias="none", **settings)
    merged = merge(adapter, bases[family])
    assert agree(tensors(merged.path), by_hand(base, adapter, scale), base) == changed[FAMILIES.index(family)]
    # The folder is a checkpoint: transformers finds every tensor in it, and none that it does not know.
    model, report = transformers.AutoModelForImageTextToText.from_pretrained(merged.path, output_loading_info=True)
    assert not any(report.values())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tensors(merged.path).items())


@pytest.mark.parametrize("use_dora", [False, True], ids=["plain", "dora"])
def test_a_bfloat16_base_is_merged_in_float32_and_rounded_once(use_dora: bool, tmp_path: Path) -> None:
    base = build_checkpoint("qwen3-vl", tmp_path / "base", dtype="bfloat16")
    adapter = train(base, tmp_path / "adapter", use_dora=use_dora)
    merged, expected = tensors(merge(adapter, base).path), by_hand(tensors(base), adapter, 3)
    assert merged.keys() == expected.keys()
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        # A norm's last bit in float32 may tip a value between two neighbours.
        assert (tensor != expected[name]).float().mean() <= (0.002 if use_dora else 0), name


def test_ranks_and_alphas_of_single_layers(base: Path, tmp_path: Path) -> None:
    patterns: dict[str, Any] = {
        "rank_pattern": {r"layers\.0\.self_attn\.q_proj": 2}, "alpha_pattern": {r"layers\.1\..*q_proj": 40}
    }  # fmt: skip
    adapter = train(base, tmp_path / "adapter", target_modules=["q_proj"], **patterns)
    before, after, parts = tensors(base), tensors(merge(adapter, base).path), load_file(adapter / WEIGHTS)
    for layer, scale in enumerate((12 / 2, 40 / 4)):
        A, B = (parts[f"{PEFT}{Q.format(layer)}.lora_{half}.weight"] for half in "AB")
        name = f"{Q.format(layer)}.weight"
        torch.testing.assert_close(after[name], before[name] + scale * (B @ A))


def rename(path: Path, new: Callable[[str], str]) -> None:
    save_file({new(name): tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def configure(adapter: Path, **settings: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


GENERATIONS: dict[str, Callable[[str], str]] = {
    "transformers 4.49": lambda n: n.replace("model.language_model.", "model.").replace("model.visual.", "visual."),
    "vLLM": lambda n: n.replace("model.language_model.", "language_model.model.")
    .replace("model.visual.", "visual.").replace("lm_head", "language_model.lm_head"),
    "DDP": lambda n: f"module.{n}",
    "with the adapter's name": lambda n: n.replace("_A.weight", "_A.default.weight"),
}  # fmt: skip


@pytest.mark.parametrize("new", GENERATIONS.values(), ids=GENERATIONS.keys())
def test_names_of_other_generations_mean_the_same_tensors(
    new: Callable[[str], str], base: Path, tmp_path: Path
) -> None:
    targets: dict[str, Any] = {"target_modules": ["q_proj", "qkv"], "modules_to_save": ["lm_head"]}
    adapter = train(base, tmp_path / "adapter", **targets)
    expected = tensors(merge(adapter, base).path)
    rename(adapter / WEIGHTS, lambda name: PEFT + new(name.removeprefix(PEFT)))
    again = merge(adapter, base)
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2, "other files, another merge"
    for name, tensor in tensors(again.path).items():
        assert torch.equal(tensor, expected[name]), name


def test_old_patterns_are_read_by_old_names(base: Path, tmp_path: Path) -> None:
    adapter = train(base, tmp_path / "adapter", target_modules=r"model\.language_model\..*q_proj")
    before, parts = tensors(base), load_file(adapter / WEIGHTS)
    rename(adapter / WEIGHTS, GENERATIONS["transformers 4.49"])
    # By present names the pattern would fit the vision encoder as well, and alpha's fit nothing.
    configure(adapter, target_modules=r"model\..*(q_proj|qkv)", alpha_pattern={r"^model\.layers\.1\..*": 20})
    after = tensors(merge(adapter, base).path)
    for layer, scale in enumerate((3, 5)):
        A, B = (parts[f"{PEFT}{Q.format(layer)}.lora_{half}.weight"] for half in "AB")
        name = f"{Q.format(layer)}.weight"
        torch.testing.assert_close(after[name], before[name] + scale * (B @ A))


def test_an_old_base_in_pieces_keeps_its_names_and_pieces(base: Path, tmp_path: Path) -> None:
    adapter = train(base, tmp_path / "adapter", target_modules=["q_proj", "qkv"])
    expected, old = tensors(merge(adapter, base).path), GENERATIONS["transformers 4.49"]
    pieces = Path(shutil.copytree(base, tmp_path / "pieces"))
    names = sorted(load_file(pieces / "model.safetensors"))
    weight_map: dict[str, str] = {}
    for at, file in enumerate(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
        part = {old(name): tensors(base)[name] for name in names[at::2]}
        save_file(part, pieces / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (pieces / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (pieces / "model.safetensors.index.json").write_text(json.dumps(index))
    merged = merge(adapter, pieces).path
    assert json.loads((merged / "model.safetensors.index.json").read_text())["weight_map"] == weight_map
    assert sorted(path.name for path in merged.glob("*.safetensors")) == sorted(set(weight_map.values()))
    merged_tensors = tensors(merged)
    assert all(torch.equal(merged_tensors[old(name)], tensor) for name, tensor in expected.items())


TIES: dict[str, tuple[dict[str, Any], bool]] = {  # settings, whether embeddings and output matrix part
    "both saved": ({"modules_to_save": ["embed_tokens", "lm_head"]}, True),
    "embeddings saved": ({"modules_to_save": ["embed_tokens"]}, True),
    "output saved": ({"modules_to_save": ["lm_head"]}, True),
    "saved as one": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, False),
    "LoRA on embeddings": ({"target_modules": ["q_proj", "embed_tokens"]}, True),
    "LoRA on output": ({"target_modules": ["q_proj", "lm_head"]}, True),
    "LoRA as one": ({"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}, False),
    "neither": ({}, False),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's, on tied embeddings
@pytest.mark.parametrize(("settings", "untied"), TIES.values(), ids=TIES.keys())
def test_tied_embeddings_part_where_training_parted_them(
    settings: dict[str, Any], untied: bool, tied_base: Path, tmp_path: Path
) -> None:
    adapter = train(tied_base, tmp_path / "adapter", **settings)
    merged = merge(adapter, tied_base)
    model = transformers.AutoModelForImageTextToText.from_pretrained(merged.path)
    trained = peft.PeftModel.from_pretrained(copy.deepcopy(MODELS[tied_base]), adapter)
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, trained(tokens).logits, rtol=1e-4, atol=1e-4)
    assert merged.record["untied"] == untied and ("lm_head.weight" in tensors(merged.path)) == untied
    same = (merged.path / "config.json").read_bytes() == (tied_base / "config.json").read_bytes()
    assert same != untied
    # peft may or may not keep the frozen embeddings beside LoRA's tensors.
    edit(adapter, lambda parts: [parts.pop(name) for name in list(parts) if "base_layer" in name])
    again = tensors(merge(adapter, tied_base).path)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors(merged.path).items())


# ---- what is refused ----


def edit(adapter: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    content = load_file(adapter / WEIGHTS)
    change(content)
    save_file(content, adapter / WEIGHTS)


A0 = f"{PEFT}{Q.format(0)}.lora_A.weight"
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no JSON": (lambda a: (a / "adapter_config.json").write_text("{"), "adapter_config.json cannot be read as JSON"),
    "no base": (lambda a: configure(a, base_model_name_or_path=None), "'base_model_name_or_path' is missing"),
    "no rank": (lambda a: configure(a, r=None), "'r' is missing"),
    "rank": (lambda a: configure(a, r="8"), "'r' cannot be '8'"),
    "no targets": (lambda a: configure(a, target_modules=[]), r"'target_modules' cannot be \[\]"),
    "other type": (lambda a: configure(a, peft_type="IA3"), "'peft_type' is 'IA3' and only 'LORA' can be merged"),
    "tokens": (lambda a: configure(a, trainable_token_indices=[1]), "'trainable_token_indices' is set, which cannot"),
    "of the future": (lambda a: configure(a, use_new=True), "'use_new' is set, which cannot be merged"),
    "PiSSA": (lambda a: configure(a, init_lora_weights="pissa"), "'pissa', which changes the base's own weights"),
    "no weights": (lambda a: (a / WEIGHTS).unlink(), "has no adapter_model.safetensors: copy it"),
    "pickle": (lambda a: (a / WEIGHTS).rename(a / "adapter_model.bin"), "convert it in that folder with"),
    "cut off": (lambda a: (a / WEIGHTS).write_bytes((a / WEIGHTS).read_bytes()[:-9]), "is not a complete"),
    "ZeRO-3": (lambda a: edit(a, lambda t: t.update({A0: torch.zeros(0)})), f"tensor '{A0}' is empty, as DeepSpeed"),
    "NaN": (lambda a: edit(a, lambda t: t[A0].view(-1)[3].fill_(torch.nan)), f"tensor '{A0}' holds nan or infinity"),
    "stray": (lambda a: edit(a, lambda t: t.update({"x.ia3_l": torch.ones(2)})), "'x.ia3_l' is no lora_A or lora_B"),
    "norm": (
        lambda a: edit(a, lambda t: t.update({f"{PEFT}model.language_model.norm.weight": torch.ones(256)})),
        "belongs to none of 'modules_to_save'",
    ),
    "twice": (
        lambda a: edit(a, lambda t: t.update({GENERATIONS["transformers 4.49"](A0): t[A0].clone()})),
        "is there under another name too",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES.keys())
def test_an_adapter_that_cannot_be_merged_is_refused_by_name(
    damage: Callable[[Path], Any], sentence: str, adapter: Path, base: Path
) -> None:
    damage(adapter)
    for attempt in (lambda folder: read_parts(describe(folder)), lambda folder: merge(folder, base)):
        with pytest.raises(UserError, match=sentence) as raised:
            attempt(adapter)
        assert str(adapter) in str(raised.value) and "\n" not in str(raised.value)
    assert not list(adapter.parent.glob("cache/[!.]*"))


MISFITS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "foreign name": (lambda a: rename(a / WEIGHTS, lambda n: n.replace("layers.1", "layers.9")), "layers.9.*fits"),
    "unknown generation": (
        lambda a: rename(a / WEIGHTS, lambda n: n.replace("model.language_model", "model.text_model")),
        "tensor 'model.text_model.*' fits nothing in the base",
    ),
    "half of it": (
        lambda a: edit(a, lambda t: [t.pop(name) for name in list(t) if "layers.1" in name]),
        f"has no tensor for '{Q.format(1)}', which adapter_config.json says was trained",
    ),
    "no B": (lambda a: edit(a, lambda t: t.pop(A0.replace("lora_A", "lora_B"))), r"q_proj.lora_B' is absent"),
    "no magnitude": (lambda a: configure(a, use_dora=True), r"lora_magnitude_vector' is absent"),
    "rank": (lambda a: configure(a, r=8), r"q_proj.lora_A' is 4 x 256, and .* would be 8 x 256"),
    "no saved module": (lambda a: configure(a, modules_to_save=["lm_head"]), "no tensor for 'lm_head.weight'"),
    "other base": (
        lambda a: edit(a, lambda t: t.update({A0: torch.ones(4, 128)})), "is 4 x 128, and .* would be 4 x 256",
    ),
    "mixed names": (
        lambda a: rename(a / WEIGHTS, lambda n: GENERATIONS["vLLM"](n) if "layers.1" in n else n),
        "mixes the names of several generations",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "sentence"), MISFITS.values(), ids=MISFITS.keys())
def test_a_tensor_that_does_not_fit_the_base_is_refused_by_name(
    damage: Callable[[Path], Any], sentence: str, adapter: Path, base: Path
) -> None:
    damage(adapter)
    with pytest.raises(UserError, match=sentence) as raised:
        merge(adapter, base)
    assert str(adapter) in str(raised.value) and "\n" not in str(raised.value)
    assert not list(adapter.parent.glob("cache/[!.]*")) and not list(adapter.parent.glob("cache/*.partial"))


@pytest.fixture(scope="session")
def trained(bases: Mapping[Family, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(bases["qwen2.5-vl"], tmp_path_factory.mktemp("trained") / "adapter", target_modules=["q_proj"])


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "adapter"))


BASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "adapter": (lambda b: (b / "adapter_config.json").write_text("{}"), "is an adapter itself: merge that one first"),
    "no config": (lambda b: (b / "config.json").unlink(), "has no config.json"),
    "no weights": (lambda b: (b / "model.safetensors").unlink(), "lacks model.safetensors: download it again"),
    "quantised": (lambda b: overlay(b, quantization_config={"bits": 4}), "is quantised: name the checkpoint"),
    "language only": (lambda b: (b / "config.json").write_text('{"model_type": "qwen2"}'), "transformers cannot build"),
    "incomplete": (
        lambda b: rename(b / "model.safetensors", lambda n: n.replace("layers.1.self_attn.q_proj.weight", "x")),
        f"lacks tensor '{Q.format(1)}.weight'",
    ),
}  # fmt: skip


def overlay(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | keys))


@pytest.mark.parametrize(("damage", "sentence"), BASES.values(), ids=BASES.keys())
def test_a_base_that_is_none_is_refused(
    damage: Callable[[Path], Any], sentence: str, adapter: Path, base: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    damage(other)
    with pytest.raises(UserError, match=sentence):
        merge(adapter, other)


def test_without_peft_the_package_and_the_way_by_hand_are_named(
    adapter: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = merge(adapter, base)
    monkeypatch.setitem(sys.modules, "peft", None)
    assert merge(adapter, base) == done, "what is merged already needs no peft"
    with pytest.raises(UserError, match=r"pip install 'mmrope-eval\[lora\]', or merge it yourself: (.|\n)*OUT\)$"):
        merge(adapter, base, tmp_path / "elsewhere")


# ---- the folder that comes out ----


def test_a_folder_is_an_adapter_by_its_files(adapter: Path, base: Path, tmp_path: Path) -> None:
    assert is_adapter(adapter) and not is_adapter(base) and not is_adapter(tmp_path)
    (adapter / "adapter_config.json").unlink()
    assert is_adapter(adapter)
    shutil.copy(base / "model.safetensors", adapter)
    assert not is_adapter(adapter)


def test_merging_twice_gives_the_same_bytes_and_touches_neither_source(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    def state(folder: Path) -> dict[str, tuple[int, str]]:
        return {path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
                for path in folder.iterdir()}  # fmt: skip

    before = state(adapter), state(base)
    first, second = (merge(adapter, base, tmp_path / name) for name in ("one", "two"))
    assert first.record == second.record and first.path.name == second.path.name
    first_state, second_state = (state(merged.path) for merged in (first, second))
    digests, others = ({name: digest for name, (_, digest) in files.items()} for files in (first_state, second_state))
    assert digests == others
    assert (state(adapter), state(base)) == before
    assert merge(adapter, base, tmp_path / "one") == first
    assert state(first.path) == first_state, "nothing is written again"
    record = json.loads((first.path / "merged.json").read_text())
    assert record["rank"] == 4 and record["alpha"] == 12 and record["target_modules"] == ["q_proj"]
    assert record["base"] == json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert record["sha256"]["adapter"][WEIGHTS] == before[0][WEIGHTS][1]
    assert record["sha256"]["base"]["model.safetensors"] == before[1]["model.safetensors"][1]
    assert record["versions"]["peft"] == peft.__version__


def test_another_adapter_base_or_template_is_another_merge(adapter: Path, base: Path, tmp_path: Path) -> None:
    paths = [merge(adapter, base).path]
    edit(adapter, lambda parts: parts[A0].mul_(2))
    paths.append(merge(adapter, base).path)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    (other / "chat_template.jinja").write_text("new")
    paths.append(merge(adapter, other).path)
    overlay(adapter, mm_rope="mhrope")
    paths.append(merge(adapter, other).path)
    assert len(set(paths)) == 4


def test_files_are_the_base_s_but_for_the_adapter_s_own(adapter: Path, base: Path) -> None:
    merged = merge(adapter, base).path
    names = {path.name for path in base.iterdir()}
    assert {path.name for path in merged.iterdir()} == names | {"merged.json"}
    for name in names - {"model.safetensors"}:
        assert (merged / name).read_bytes() == (base / name).read_bytes(), name
    overlay(adapter, mm_rope="mhrope", mm_coordinates={"x": 1}, hidden_size=1)
    (adapter / "tokenizer.json").write_text("{}")
    (adapter / "chat_template.jinja").write_text("mine")
    (adapter / "preprocessor_config.json").write_text("{}")
    other = merge(adapter, base).path
    assert {path.name for path in other.iterdir()} == names - {"tokenizer_config.json"} | {"merged.json"}
    config = json.loads((base / "config.json").read_text())
    assert json.loads((other / "config.json").read_text()) == config | {"mm_rope": "mhrope", "mm_coordinates": {"x": 1}}
    assert (other / "tokenizer.json").read_text() == "{}" and (other / "chat_template.jinja").read_text() == "mine"
    assert (other / "preprocessor_config.json").read_bytes() == (base / "preprocessor_config.json").read_bytes()


def test_a_template_inside_the_adapter_s_tokenizer_is_the_one_that_is_read(adapter: Path, base: Path) -> None:
    settings = json.loads((base / "tokenizer_config.json").read_text())
    (adapter / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "mine"}))
    merged = merge(adapter, base).path
    assert transformers.AutoTokenizer.from_pretrained(merged).chat_template == "mine"
    assert transformers.AutoProcessor.from_pretrained(merged).chat_template == "mine"


def test_two_at_once_merge_once(adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[Path] = []

    def noted(tensors: Any, path: Path, **rest: Any) -> None:
        writes.append(path)
        save_file(tensors, path, **rest)

    monkeypatch.setattr("safetensors.torch.save_file", noted)
    with ThreadPoolExecutor(4) as pool:
        merged = list(pool.map(lambda _: merge(adapter, base), range(4)))
    assert len({checkpoint.path for checkpoint in merged}) == 1 and len(writes) == 1


def test_what_a_killed_merge_or_a_clean_up_left_is_done_anew(adapter: Path, base: Path) -> None:
    merged = merge(adapter, base).path
    bytes_of = (merged / "model.safetensors").read_bytes()
    (merged / "model.safetensors").unlink()
    partial = merged.with_name(f".{merged.name}.partial")
    partial.mkdir()
    (partial / "model.safetensors").write_text("half")
    assert merge(adapter, base).path == merged and not partial.exists()
    assert (merged / "model.safetensors").read_bytes() == bytes_of


def test_a_full_or_unwritable_cache_is_one_sentence(
    adapter: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be merged into '.*file/cache' \(Not a directory\): free space"):
        merge(adapter, base, tmp_path / "file" / "cache")

    def full(*_: Any, **__: Any) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(UserError, match="No space left on device"):
            merge(adapter, base)
    assert not list((tmp_path / "cache").glob("[!.]*")) and not list((tmp_path / "cache").glob(".*.partial"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10**6))
    with pytest.raises(UserError, match=r"0\.0 GB are needed and 0\.0 GB are free"):
        merge(adapter, base)


def test_float16_that_cannot_hold_the_sum_is_refused(tmp_path: Path) -> None:
    base = build_checkpoint("qwen3-vl", tmp_path / "base", dtype="float16")
    adapter = train(base, tmp_path / "adapter", target_modules=["q_proj"])
    edit(adapter, lambda parts: [tensor.mul_(1e4) for tensor in parts.values()])
    with pytest.raises(UserError, match=r"q_proj.weight' of the base .* has values beyond torch.float16"):
        merge(adapter, base)


def test_a_merge_that_would_leave_a_tensor_out_stops(
    adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the base's files change under its hands."""

    whole = safetensors.safe_open

    @contextlib.contextmanager
    def cut(path: Path, framework: str) -> Iterator[Any]:
        with whole(path, framework) as file:
            names = [name for name in file.keys() if path.parent != base or "q_proj" not in name]  # noqa: SIM118
            yield SimpleNamespace(keys=lambda: names, get_tensor=file.get_tensor, metadata=file.metadata)

    monkeypatch.setattr(safetensors, "safe_open", cut)
    with pytest.raises(UserError, match=r"has no tensor '.*q_proj.weight' in its files"):
        merge(adapter, base)

"""Checkpoint folders for tests: tiny ones to change, and one set of weights as different writers lay it out.

Safetensors files are written by hand here, so that a test can write what the library would refuse to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, get_args

import numpy as np

from mmrope_demo import checkpoints

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ROOT / "checkpoints" / "mrope-i"
"""A trained checkpoint whose output matrix is its word embeddings."""
FAMILIES: tuple[str, ...] = get_args(checkpoints.Family)
WEIGHTS = "model.safetensors"

_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: np.ndarray) -> Stored:
        """A float32 array."""
        return cls("F32", values.shape, values.astype("<f4").tobytes())

    def numbers(self) -> np.ndarray:
        """Its values as float64."""
        if self.dtype == "BF16":
            whole = np.frombuffer(self.data, "<u2").astype("<u4") << 16
            return whole.view("<f4").astype(float).reshape(self.shape)
        return np.frombuffer(self.data, _NUMPY[self.dtype]).astype(float).reshape(self.shape)

    def with_first(self, value: float) -> Stored:
        """The same with another first value, of a float32 tensor."""
        return replace(self, data=np.float32(value).tobytes() + self.data[4:])

    def as_dtype(self, dtype: str) -> Stored:
        """Its values in another dtype."""
        values = self.numbers()
        if dtype == "BF16":
            bits = (values.astype("<f4").view("<u4") >> 16).astype("<u2")
            return Stored(dtype, self.shape, bits.tobytes())
        return Stored(dtype, self.shape, values.astype(_NUMPY[dtype]).tobytes())


Tensors = dict[str, Stored]


def load(path: Path) -> Tensors:
    """All tensors of a safetensors file."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    return {name: Stored(entry["dtype"], tuple(entry["shape"]), content[begin + entry["data_offsets"][0] :
                                                                       begin + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}  # fmt: skip


def header_of(tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """The header of a file with these tensors in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape),
                        "data_offsets": [place, place + len(tensor.data)]}  # fmt: skip
        place += len(tensor.data)
    return header


def dump(tensors: Mapping[str, Stored], path: Path, header: Any = None) -> Path:
    """Write a safetensors file; `header` may say otherwise than what is in it."""
    text = json.dumps(header_of(tensors) if header is None else header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensor.data for tensor in tensors.values()))
    return path


def shards(tensors: Mapping[str, Stored], folder: Path, count: int, *, index: bool = True) -> list[Path]:
    """Weights in several files, as `save_pretrained` calls them; model.safetensors goes."""
    (folder / WEIGHTS).unlink(missing_ok=True)
    names = sorted(tensors)
    files = [folder / f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    for i, file in enumerate(files):
        dump({name: tensors[name] for name in names[i::count]}, file)
    if index:
        places = {name: files[i % count].name for i, name in enumerate(names)}
        write_json(folder / f"{WEIGHTS}.index.json", {"metadata": {"total_size": 0}, "weight_map": places})
    return files


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    content = read_json(path)
    change(content)
    write_json(path, content)


def merged(path: Path, **keys: Any) -> None:
    """Set keys of a JSON file; None takes a key out."""
    edit(path, lambda content: [content.pop(k, None) if v is None else content.update({k: v}) for k, v in keys.items()])


_kept: list[TemporaryDirectory[str]] = []


@cache
def tiny(family: str) -> Path:
    """A tiny checkpoint of a family, not to be changed: two layers, untied, one KV head for two query heads."""
    _kept.append(TemporaryDirectory(prefix="mmrope-tiny-"))  # goes with the process
    folder = Path(_kept[-1].name)
    return checkpoints.build_checkpoint(cast(Any, family), folder, num_heads=2, num_kv_heads=1, head_dim=16)


def copy(source: Path, target: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("training.*")))


def text_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json that has the language model's keys."""
    return config.get("text_config", config)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------- one set of weights, as writers lay it out

_OLD_NAMES = (("model.language_model.", "model."), ("model.visual.", "visual."))
_VLLM_NAMES = (("model.language_model.", "language_model.model."), ("model.visual.", "visual."),
               ("lm_head.", "language_model.lm_head."))  # fmt: skip
_TEXT_KEYS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
              "num_key_value_heads", "hidden_act", "rms_norm_eps", "max_position_embeddings", "rope_theta",
              "bos_token_id",
              "eos_token_id", "use_cache", "rope_scaling", "use_sliding_window", "tie_word_embeddings",
              "initializer_range")  # fmt: skip


def renamed(tensors: Mapping[str, Stored], prefixes: Sequence[tuple[str, str]]) -> Tensors:
    """The first prefix that fits is replaced."""

    def name(old: str) -> str:
        return next((new + old.removeprefix(prefix) for prefix, new in prefixes if old.startswith(prefix)), old)

    return {name(old): tensor for old, tensor in tensors.items()}


def old_names(tensors: Mapping[str, Stored]) -> Tensors:
    """`model.layers` and `visual.`, as before transformers 4.52 (and, saved again, up to 4.57)."""
    return renamed(tensors, _OLD_NAMES)


def vllm_names(tensors: Mapping[str, Stored]) -> Tensors:
    """`language_model.model.`, as vLLM calls them."""
    return renamed(tensors, _VLLM_NAMES)


def _word_files(folder: Path) -> None:
    """vocab.json, merges.txt, added_tokens.json and special_tokens_map.json, as the slow tokenizers were saved."""
    content = read_json(folder / "tokenizer.json")
    write_json(folder / "vocab.json", content["model"]["vocab"])
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    added = {entry["content"]: entry["id"] for entry in content["added_tokens"]}
    write_json(
        folder / "added_tokens.json", {word: i for word, i in added.items() if word not in content["model"]["vocab"]}
    )
    marks = ("lstrip", "normalized", "rstrip", "single_word", "special", "content")
    decoder = {str(entry["id"]): {key: entry[key] for key in marks} for entry in content["added_tokens"]}
    merged(folder / "tokenizer_config.json", added_tokens_decoder=decoder)
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    write_json(folder / "special_tokens_map.json", {key: {"content": word, **flags} for key, word in named.items()})
    merged(folder / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", processor_class="Qwen2_5_VLProcessor",
           unk_token="<|endoftext|>")  # fmt: skip


def _all_pixels(folder: Path) -> None:
    merged(folder / "preprocessor_config.json", do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True,
           resample=3, rescale_factor=1 / 255)  # fmt: skip


def of_4_49(source: Path, out: Path) -> Path:
    """transformers 4.49: flat, torch_dtype, chat_template.json, vocab.json and merges.txt, no file for videos."""
    copy(source, out)
    dump(old_names(load(source / WEIGHTS)), out / WEIGHTS)
    vision = {key: value for key, value in read_json(source / "config.json")["vision_config"].items()
              if key not in ("in_channels", "hidden_act", "patch_size", "spatial_merge_size", "temporal_patch_size",
                             "window_size")}  # fmt: skip
    scaling = {**read_json(source / "config.json")["rope_scaling"], "type": "default", "rope_type": "default"}
    merged(out / "config.json", vision_config={**vision, "torch_dtype": "float32"}, rope_scaling=scaling,
           _name_or_path=str(source), sliding_window=4096, max_window_layers=80, transformers_version="4.49.0",
           attention_dropout=0.0)  # fmt: skip
    template = (out / "chat_template.jinja").read_text(encoding="utf-8")
    (out / "chat_template.jinja").unlink()
    write_json(out / "chat_template.json", {"chat_template": template})
    (out / "video_preprocessor_config.json").unlink()
    _word_files(out)
    _all_pixels(out)
    size = read_json(out / "preprocessor_config.json")["size"]
    merged(out / "preprocessor_config.json", min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"])
    merged(out / "tokenizer_config.json", chat_template=template)
    return out


def of_4_57(source: Path, out: Path) -> Path:
    """transformers 4.57: flat, and the language model's part again in text_config, which alone says that it is tied."""
    copy(source, out)
    dump(old_names(load(source / WEIGHTS)), out / WEIGHTS)

    def both(config: dict[str, Any]) -> None:
        config["dtype"] = config.pop("torch_dtype")
        config["rope_scaling"] |= {"type": "default", "rope_type": "default"}
        inner = {key: config[key] for key in (*_TEXT_KEYS, "dtype", "mm_rope", "mm_media") if key in config}
        config["text_config"] = {
            **inner,
            "model_type": "qwen2_5_vl_text",
            "architectures": config["architectures"],
            "layer_types": ["full_attention"] * config["num_hidden_layers"],
            "sliding_window": None,
        }
        del config["tie_word_embeddings"]
        config["transformers_version"] = "4.57.3"

    edit(out / "config.json", both)
    _word_files(out)
    _all_pixels(out)
    nothing = dict.fromkeys(("crop_size", "device", "do_center_crop", "min_pixels", "max_pixels", "do_pad"))
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        edit(out / name, lambda content: content.update(nothing, do_resize=True, resample=3))
    merged(out / "preprocessor_config.json", image_processor_type="Qwen2VLImageProcessorFast")
    edit(
        out / "video_preprocessor_config.json",
        lambda content: content.update(min_frames=4, max_frames=768, fps=None, num_frames=None, do_sample_frames=False),
    )
    return out


def of_5_19(source: Path, out: Path) -> Path:
    """The installed transformers' own `save_pretrained`: nested, and processor_config.json for pictures and videos."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    AutoModelForImageTextToText.from_pretrained(source, dtype="auto").save_pretrained(out)
    AutoProcessor.from_pretrained(source).save_pretrained(out)
    return out


def published(source: Path, out: Path) -> Path:
    """Qwen2.5-VL-3B's own files: vision_config without the class's own, the template in tokenizer_config, shards."""
    copy(source, out)
    shards(old_names(load(source / WEIGHTS)), out, 2)
    edit(
        out / "config.json",
        lambda config: config["vision_config"].update(
            {
                "in_chans": config["vision_config"].pop("in_channels"),
                "spatial_patch_size": config["vision_config"]["patch_size"],
            }
        ),
    )
    edit(
        out / "config.json",
        lambda config: [
            config["vision_config"].pop(key, None)
            for key in ("patch_size", "spatial_merge_size", "temporal_patch_size", "model_type")
        ],
    )
    merged(out / "config.json", transformers_version="4.41.2", vision_token_id=267)
    template = (out / "chat_template.jinja").read_text(encoding="utf-8")
    (out / "chat_template.jinja").unlink()
    merged(out / "tokenizer_config.json", chat_template=template)
    (out / "video_preprocessor_config.json").unlink()
    size = read_json(out / "preprocessor_config.json")["size"]
    merged(out / "preprocessor_config.json", size=None, min_pixels=size["shortest_edge"],
           max_pixels=size["longest_edge"],
           image_processor_type="Qwen2VLImageProcessor")  # fmt: skip
    return out


def of_trainer(source: Path, out: Path) -> Path:
    """A step of a Trainer with DeepSpeed: whole weights among the state of the training."""
    copy(source, out)
    (out / "global_step500").mkdir()
    for name in ("global_step500/mp_rank_00_model_states.pt", "optimizer.pt", "scheduler.pt", "training_args.bin",
                 "rng_state_0.pth", "latest", "zero_to_fp32.py", "trainer_state.json"):  # fmt: skip
        (out / name).write_text("{}", encoding="utf-8")
    return out


def of_vllm(source: Path, out: Path) -> Path:
    """Weights under the names that vLLM has for them."""
    copy(source, out)
    dump(vllm_names(load(source / WEIGHTS)), out / WEIGHTS)
    return out


def snapshot(source: Path, out: Path) -> Path:
    """As the hub's cache keeps it: links to blobs without a name."""
    blobs, commit = out / "blobs", out / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    commit.mkdir(parents=True)
    for i, path in enumerate(sorted(source.iterdir())):
        if path.is_file():
            shutil.copy(path, blobs / f"{i:040x}")
            (commit / path.name).symlink_to(Path("../../blobs") / f"{i:040x}")
    return commit


GENERATIONS: Mapping[str, Callable[[Path, Path], Path]] = {
    "4.49": of_4_49, "4.57": of_4_57, "5.19": of_5_19, "published": published, "trainer": of_trainer, "vllm": of_vllm,
    "snapshot": snapshot,
}  # fmt: skip

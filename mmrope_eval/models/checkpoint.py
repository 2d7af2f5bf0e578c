"""A checkpoint folder, read and checked without loading it: what is evaluated is exactly what its files hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import TextConfig, VisionConfig, parse_part, read_jsons, text_part, untied
from mmrope_eval.models.families import family_of
from mmrope_eval.models.family import FAMILY_KEY, ModelFamily, VisionGeometry
from mmrope_eval.models.files import INDEX, FileHashes
from mmrope_eval.models.identity import as_identified
from mmrope_eval.models.naming import close_folder, resolve_models
from mmrope_eval.models.processor import ProcessorSettings, read_processor
from mmrope_eval.models.rope_config import RopeConfig, read_rope
from mmrope_eval.models.template import ChatTemplate, find_template
from mmrope_eval.models.tensors import Shapes, canonical_name, shape_words
from mmrope_eval.models.vocabulary import Vocabulary, read_vocabulary
from mmrope_eval.models.weights import (
    SINGLE,
    Weights,
    check_entries,
    check_tensors,
    find_weights,
    head_is_embedding,
    scan_weights,
)
from mmrope_eval.util.paths import cache_home
from mmrope_eval.words import shown

# Their content takes part in the identity of a checkpoint: what can change a response.
TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json",
)  # fmt: skip
PROCESSOR_FILES: Final = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
TEMPLATE_FILES: Final = ("chat_template.jinja", "chat_template.json")
_IDENTITY_FILES: Final = ("config.json", "generation_config.json", *TOKENIZER_FILES, *TEMPLATE_FILES, *PROCESSOR_FILES)
_WORD_FILES: Final = ("tokenizer.json", "vocab.json", "merges.txt")
_JSON_FILES: Final = tuple(name for name in _IDENTITY_FILES if name.endswith(".json") and name not in _WORD_FILES)

# Keys of config.json that do not change what the network computes once our rotary table is inside; nor does any key
# with "rope" in its name.
_NOT_THE_NETWORK: Final = (
    "mm_coordinates", "mm_media", "_name_or_path", "transformers_version", "use_cache", "architectures",
    "initializer_range", "attention_dropout",
)  # fmt: skip

DTYPES: Final = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was found whole; `read_checkpoint` makes one."""

    path: Path
    """As the user has it."""
    served: Path
    """What an engine and the reference load: `path`, or links to it with what is wrong mended."""
    family: ModelFamily
    geometry: VisionGeometry
    head_dim: int
    num_heads: int
    num_kv_heads: int
    num_layers: int
    tokens_per_second: float
    """Position units per second of video under `time: seconds`: Qwen2.5-VL's `tokens_per_second`; 0 where time is not
    measured."""
    max_position: int
    """The longest context that config.json declares, in tokens."""
    dtype: str
    """In which the weights were saved, by config.json; bfloat16 where it does not say."""
    quantisation: str | None
    fingerprint: str
    """sha256 over weights, config, tokenizer, chat template and processor settings; empty where weights are unread."""
    rope: RopeConfig = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    template: ChatTemplate = field(repr=False)
    processor: ProcessorSettings = field(repr=False)
    weights: Weights = field(repr=False)
    tied: bool
    """Whether the output matrix is the word embeddings."""
    config: Mapping[str, Any] = field(repr=False)
    """config.json, as written."""
    network: Mapping[str, Any] = field(repr=False)
    """What of config.json decides the network, as it is served."""
    remarks: tuple[str, ...] = ()
    """What was read otherwise than a user might think; one sentence each."""
    adapter: Mapping[str, Any] | None = None
    """What was merged, where the user gave an adapter."""
    trust_remote_code: bool = False

    @property
    def rope_theta(self) -> float:
        """The rotary base."""
        return self.rope.theta

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that rotate."""
        return self.rope.rotary_dim

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return self.vocabulary.eos_ids

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights on disk."""
        return sum(path.stat().st_size for path in self.weights.files)

    def declared(self, key: str) -> Any:
        """One of our own keys of config.json (`mm_media`, `mm_coordinates`), at the top or in text_config."""
        given = self.config.get(key)
        return text_part(self.config).get(key) if given is None else given


def read_checkpoint(path: str | Path, trust_remote_code: bool = False, *, read_weights: bool = True) -> Checkpoint:
    """Read and check a checkpoint folder without loading it; its weights are read once, and remembered.

    An adapter's folder is merged into its base first. `trust_remote_code` only allows transformers and vLLM to run code
    from the folder later. `read_weights=False` looks at the weights' headers alone: without a fingerprint, without a
    check that every value is finite, and so not for a run. Raises `UserError`, one sentence naming the file and what to
    do, for everything that would make an engine compute something else than the checkpoint holds, or fail.
    """
    folder, adapter = _opened(path)
    check_entries([folder / name for name in _IDENTITY_FILES],
                  "copy the file again from where the checkpoint comes from")
    where, files = folder / "config.json", read_jsons(folder, _JSON_FILES)
    config = files["config.json"]
    places = (config, text_part(config))
    family = family_of(config.get("model_type"), f"checkpoint '{path}' (config.json)")
    text, vision = _parts(places, family, where)
    geometry = VisionGeometry(vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    vocabulary = read_vocabulary(folder, files, text.vocab_size)
    template = find_template(folder, files, vocabulary.tokens, vocabulary.special)
    processor = read_processor(folder, files, family, geometry)
    rope = read_rope(config, family, text, str(where))
    quantisation = _quantisation(places, where)
    checked = _read_weights(folder, config, family.tensors(text, vision), tied=_says_tied(places, where),
                            quantised=quantisation is not None, flat_names=family.flat_names, scan=read_weights)
    return Checkpoint(
        path=Path(path).expanduser().absolute(),  # a link keeps the name that somebody gave it
        served=served_folder(folder, checked.weights, _mended(processor, config, checked.config, family)),
        family=family,
        geometry=geometry,
        head_dim=text.head_size,
        num_heads=text.num_attention_heads,
        num_kv_heads=text.kv_heads,
        num_layers=text.num_hidden_layers,
        tokens_per_second=family.tokens_per_second(config["vision_config"]),
        max_position=text.max_position_embeddings,
        dtype=_dtype(places, where),
        quantisation=quantisation,
        fingerprint=_fingerprint(folder, checked, config, template) if read_weights else "",
        rope=rope,
        vocabulary=vocabulary,
        template=template,
        processor=processor,
        weights=checked.weights,
        tied=checked.tied,
        config=config,
        network=_network(checked.config),
        remarks=(*checked.remarks, *((template.remark,) if template.remark else ()), *processor.remarks),
        adapter=adapter,
        trust_remote_code=trust_remote_code,
    )


def _opened(path: str | Path) -> tuple[Path, Mapping[str, Any] | None]:
    """The folder with a whole model, and what was merged to make it."""
    try:
        folder = Path(path).expanduser()
        exists = folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name; ~ of a user that there is not
        raise UserError(f"checkpoint '{path}' is not a folder ({error}): give the path of a downloaded "
                        "checkpoint") from error
    if not exists:
        close = close_folder(folder)
        raise UserError(f"checkpoint '{path}' is not a folder: give the path of a downloaded checkpoint"
                        + (f" (did you mean '{close}'?)" if close else ""))
    folder = folder.resolve()
    if (folder / "adapter_config.json").is_file() or any(folder.glob("adapter_model.*")):
        return _merged(folder)
    if not (folder / "config.json").is_file():
        steps = sorted(child.name for child in folder.glob("*/config.json"))
        inside = f" (it holds {len(steps)} folders that do)" if steps else ""
        raise UserError(f"checkpoint '{path}' has no config.json: give the folder that holds one{inside}")
    return folder, None


def _merged(folder: Path) -> tuple[Path, Mapping[str, Any] | None]:
    from mmrope_eval.models.lora import merge_adapter

    whole = sorted(path.name for path in folder.glob("model*.safetensors"))
    if whole:
        raise UserError(f"checkpoint '{folder}' has an adapter (adapter_config.json, adapter_model) beside whole "
                        f"weights ({whole[0]}): which of them is meant? Move the adapter's files to a folder of their "
                        "own")
    merged = merge_adapter(folder, cache_home() / "merged", lambda base: resolve_models([base])[0].path)
    return merged.path, merged.record


Places = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Where the language model's keys may stand: the top of config.json, and its text_config (the top, without one)."""


def _parts(places: Places, family: ModelFamily, where: Path) -> tuple[TextConfig, VisionConfig]:
    config, text = places
    vision = config.get("vision_config")
    if config.get("text_config") is not None and not isinstance(config["text_config"], Mapping):
        raise UserError(f"{where}: text_config must be a mapping, not {shown(config['text_config'])}")
    if not isinstance(vision, Mapping):
        raise UserError(f"{where} has no vision_config: it is not the config.json of a whole {family.title} model")
    missing = [key for key in family.text_required if text is config and key not in config]
    if missing:
        raise UserError(f"{where} does not describe a {family.model_type} model: key '{missing[0]}' is missing")
    parts = parse_part(family.text, text, str(where)), parse_part(family.vision, vision, f"{where}, vision_config")
    for place, problem in ((str(where), parts[0].problem()), (f"{where}, vision_config", parts[1].problem(parts[0]))):
        if problem is not None:
            raise UserError(f"{place}: {problem}; copy config.json from where the weights come from")
    return parts


def _says_tied(places: Places, where: Path) -> bool:
    """Either place may say so: transformers 4.52 to 4.57 wrote the truth into text_config alone."""
    values = [part["tie_word_embeddings"] for part in places if "tie_word_embeddings" in part]
    for value in values:
        if not isinstance(value, bool):
            raise UserError(f"{where}: tie_word_embeddings must be true or false, not {shown(value)}")
    return True in values


def _mended(processor: ProcessorSettings, config: Mapping[str, Any], mended: Mapping[str, Any], family: ModelFamily
            ) -> dict[str, Mapping[str, Any]]:
    """Files by name as transformers and vLLM have to read them, where those are not the user's."""
    if family.hf_model_type is not None:
        # What is not said would be as in the other family.
        unsaid = {"tokens_per_second": family.video.tokens_per_second} if family.video.timed else {}
        vision = {**unsaid, **config["vision_config"]}
        mended = {**mended, "model_type": family.hf_model_type, FAMILY_KEY: family.model_type, "vision_config": vision}
    return {**processor.mended, **({} if mended is config else {"config.json": mended})}


def _dtype(places: Places, where: Path) -> str:
    for part in places:
        for key in ("dtype", "torch_dtype"):
            given = part.get(key)
            if given is not None:
                name = str(given).removeprefix("torch.")
                if not isinstance(given, str) or name not in DTYPES:
                    raise UserError(f"{where}: {key} is {shown(given)}; give one of {', '.join(DTYPES)}")
                return name
    return "bfloat16"


def _quantisation(places: Places, where: Path) -> str | None:
    given = next((part["quantization_config"] for part in places if part.get("quantization_config") is not None), None)
    if given is None:
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("quant_method"), str):
        raise UserError(f"{where}: quantization_config must be a mapping that names its quant_method, not "
                        f"{shown(given)}")
    return str(given["quant_method"])


@dataclass(frozen=True)
class _Checked:
    """Weights that are whole, and config.json as they need it."""

    weights: Weights
    config: Mapping[str, Any]
    tied: bool
    remarks: tuple[str, ...]
    hashes: FileHashes


def _read_weights(folder: Path, config: Mapping[str, Any], needed: Shapes, *, tied: bool, quantised: bool,
                  flat_names: bool, scan: bool) -> _Checked:
    weights, hashes = find_weights(folder), FileHashes()
    own_head, remarks = check_tensors(weights, needed, tied=tied, quantised=quantised, flat_names=flat_names)
    scans = scan_weights(weights, hashes) if scan else {}
    if not (scan and tied and own_head) or head_is_embedding(weights, scans):
        return _Checked(weights, config, tied, remarks, hashes)
    remark = ("config.json says that the output matrix is the word embeddings (tie_word_embeddings), but the weights "
              "hold another: theirs is used, as transformers does")  # fmt: skip
    return _Checked(weights, untied(config), False, (*remarks, remark), hashes)


def _fingerprint(folder: Path, checked: _Checked, config: Mapping[str, Any], template: ChatTemplate) -> str:
    notes = ["output matrix: the file's own"] if checked.config is not config else []
    notes += [f"chat template: {template.source}"] if template.changed else []
    files = [folder / name for name in _IDENTITY_FILES if (folder / name).is_file()]
    where = folder / "config.json"
    text = where.read_bytes().decode("utf-8")
    meant = as_identified(text)
    instead = {where: hashlib.sha256(meant.encode()).hexdigest()} if meant != text else None
    return checked.hashes.combined([*checked.weights.files, *files], notes, instead)


def switch_problem(running: Checkpoint, other: Checkpoint) -> str | None:
    """Why an engine that runs one checkpoint cannot take the weights of another, in a few words; None when it can."""
    if running.network != other.network:
        return "their config.json describe different networks"
    for name in TOKENIZER_FILES:
        if _content(running.served / name) != _content(other.served / name):
            return f"their tokenizers differ ({name})"
    for kind, settings in running.processor.pixels.items():
        if settings != other.processor.pixels[kind]:
            return f"their {kind} processors treat pixels differently"
    ours, theirs = (
        {canonical_name(name): shape for name, shape in c.weights.shapes().items()} for c in (running, other)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            our_shape, their_shape = shape_words(ours.get(name)), shape_words(theirs.get(name))
            return f"weight '{name}' is {our_shape} in one and {their_shape} in the other"
    return None


def _network(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _network(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _NOT_THE_NETWORK and "rope" not in key
    }


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def served_folder(folder: Path, weights: Weights, mended: Mapping[str, Mapping[str, Any]]) -> Path:
    """The folder that an engine and the reference load: the user's own, which is never written to, or links to it.

    Links in the cache where transformers' order takes other files than vLLM's, or config.json says something that the
    weights contradict, so that both see the same. `mended` is the content of JSON files that differ from the user's.
    """
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

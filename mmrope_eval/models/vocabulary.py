"""The tokenizer of a checkpoint: whether it is there, knows the media tokens, and fits the embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import ConfigPart, TokenId, parse_part, read_json
from mmrope_eval.models.template import MediaTokens
from mmrope_eval.models.words import mended
from mmrope_eval.words import flat, shown

MEDIA_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class MediaTokenIds(ConfigPart):
    """Tokens of config.json that stand for media; all of them are written by every transformers."""

    image_token_id: TokenId
    video_token_id: TokenId
    vision_start_token_id: TokenId
    vision_end_token_id: TokenId


@dataclass(frozen=True)
class Vocabulary:
    """What of a tokenizer a checkpoint's other files refer to."""

    tokens: MediaTokens
    ids: MediaTokenIds
    special: Mapping[str, str]
    """Its named tokens, for chat templates."""
    eos_ids: tuple[int, ...]
    """Tokens that end an answer."""


def read_vocabulary(folder: Path, config: Mapping[str, Any], vocab_size: int) -> Vocabulary:
    """Read and check a checkpoint's tokenizer. Raises `UserError` naming the file and what to do."""
    settings = _settings(folder)
    by_id = _token_names(folder, settings)
    largest = max(by_id, default=0)
    if largest >= vocab_size:
        raise UserError(f"checkpoint '{folder}': its tokenizer knows token {largest} ({shown(by_id[largest])}), but "
                        f"the embeddings have vocab_size {vocab_size} rows: copy the tokenizer that the model was "
                        "trained with")
    ids = parse_part(MediaTokenIds, config, str(folder / "config.json"))
    names = []
    for key in MEDIA_IDS:
        token = getattr(ids, key)
        if token not in by_id:
            raise UserError(f"{folder / 'config.json'}: {key} is {token}, which its tokenizer does not know: copy "
                            "tokenizer and config.json of one model")  # fmt: skip
        names.append(by_id[token])
    if len(set(names)) < len(names):
        raise UserError(f"{folder / 'config.json'}: {', '.join(MEDIA_IDS)} must be four different tokens, not {names}")
    image, video, start, end = names
    special = {name: text for name in NAMED_TOKENS if (text := _content(settings.get(name))) is not None}
    eos = _eos_ids(folder, config, vocab_size,
                   {text: token for token, text in by_id.items()}.get(special.get("eos_token", "")))
    return Vocabulary(MediaTokens(start, image, video, end), ids, special, eos)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        raise UserError(f"checkpoint '{folder}' has no tokenizer_config.json: copy tokenizer.json, "
                        "tokenizer_config.json and their like from the model that it was trained from")  # fmt: skip
    if (folder / "special_tokens_map.json").is_file():
        read_json(folder / "special_tokens_map.json")  # transformers reads it where the settings do not say all
    settings = read_json(path)
    if not settings:
        raise UserError(f"{path} is empty: copy it from the model that the checkpoint was trained from")
    _check_tokens(settings, path)
    return settings


def _check_tokens(settings: Mapping[str, Any], path: Path) -> None:
    """Raise `UserError` for a token that is none: transformers cannot load such a tokenizer."""
    decoder = settings.get("added_tokens_decoder")
    if not isinstance(decoder, Mapping | None):
        raise UserError(f"{path}: added_tokens_decoder must be a mapping from numbers to tokens, not {shown(decoder)}")
    several = {"added_tokens_decoder": list((decoder or {}).values())}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        given = settings.get(key)
        if isinstance(given, Mapping):
            several[key] = list(given.values())
        elif isinstance(given, list):
            several[key] = given
        elif given is not None:
            raise UserError(f"{path}: {key} must be a list of tokens, not {shown(given)}")
    named = {name: [settings[name]] for name in NAMED_TOKENS if settings.get(name) is not None}
    for key, tokens in (several | named).items():
        wrong = [token for token in tokens if _content(token) is None]
        if wrong:
            raise UserError(f"{path}: {key} has {shown(wrong[0])} where a token should be: copy the file from where "
                            "the checkpoint comes from")  # fmt: skip
    length = settings.get("model_max_length")
    if not isinstance(length, int | float | None):
        raise UserError(f"{path}: model_max_length must be a number, not {shown(length)}")
    for key in ("tokenizer_class", "processor_class"):
        if not isinstance(settings.get(key), str | None):
            raise UserError(f"{path}: {key} must be a name, not {shown(settings[key])}")


def _token_names(folder: Path, settings: Mapping[str, Any]) -> dict[int, str]:
    """Tokens by id. `UserError` where there is no tokenizer, or none that can be read."""
    whole = folder / "tokenizer.json"
    if whole.is_file():
        tokens = _of_tokenizers(whole)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        words = read_json(folder / "vocab.json")
        if not words or not (folder / "merges.txt").stat().st_size:
            raise UserError(f"checkpoint '{folder}': vocab.json or merges.txt is empty: copy both again")
        tokens = {token: word for word, token in words.items() if isinstance(token, int)}
    else:
        raise UserError(f"checkpoint '{folder}' has no tokenizer (tokenizer.json, or vocab.json and merges.txt): copy "
                        "it from the model that it was trained from")  # fmt: skip
    added = folder / "added_tokens.json"
    if added.is_file():
        tokens |= {token: word for word, token in read_json(added).items() if isinstance(token, int)}
    decoder = settings.get("added_tokens_decoder")
    for token, entry in (decoder.items() if isinstance(decoder, Mapping) else ()):
        text = _content(entry)
        if str(token).isdecimal() and len(str(token)) < 12 and text is not None:
            tokens[int(token)] = text
    return tokens


def _of_tokenizers(path: Path) -> dict[int, str]:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f"{path} cannot be read as a tokenizer ({flat(error, 200)}): "
                        f"{mended(path, 'copy it again from where the checkpoint comes from')}") from error
    return {token: word for word, token in tokenizer.get_vocab(with_added_tokens=True).items()}


def _content(entry: Any) -> str | None:
    """A token's text, which files give plainly or in a mapping."""
    text = entry.get("content") if isinstance(entry, Mapping) else entry
    return text if isinstance(text, str) else None


def _eos_ids(folder: Path, config: Mapping[str, Any], vocab_size: int, of_tokenizer: int | None) -> tuple[int, ...]:
    """By generation_config.json, else config.json, else the tokenizer."""
    nested = config.get("text_config")
    places = [("config.json", part) for part in (nested, config) if isinstance(part, Mapping)]
    path = folder / "generation_config.json"
    if path.is_file():
        generation = read_json(path)
        for key in ("pad_token_id", "bos_token_id"):
            if generation.get(key) is not None and type(generation[key]) is not int:
                raise UserError(f"{path}: {key} must be a token's number, not {shown(generation[key])}")
        places.insert(0, (path.name, generation))
    for name, part in places:
        given = part.get("eos_token_id")
        if given is None:
            continue
        ids = given if isinstance(given, list) else [given]
        if not ids or not all(type(token) is int and 0 <= token < vocab_size for token in ids):
            raise UserError(f"{folder / name}: eos_token_id must be tokens below vocab_size {vocab_size}, not "
                            f"{json.dumps(given)[:80]}")  # fmt: skip
        return tuple(ids)
    if of_tokenizer is None:
        raise UserError(f"checkpoint '{folder}' does not say which token ends an answer: copy generation_config.json "
                        "from the model that it was trained from")  # fmt: skip
    return (of_tokenizer,)

"""The tokenizer of a checkpoint: whether it is there, knows the media tokens, and fits the embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import ConfigPart, JsonFiles, TokenId, parse_part, read_json, text_part
from mmrope_eval.models.template import MediaTokens
from mmrope_eval.words import flat, mended, shown

MEDIA_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def _content(entry: Any) -> Any:
    """A token's text, which files give plainly or in a mapping."""
    return entry.get("content", entry) if isinstance(entry, Mapping) else entry


def _listed(tokens: Any) -> Any:
    """Tokens, which files list or give by name."""
    return list(tokens.values()) if isinstance(tokens, Mapping) else tokens


Token = Annotated[str, BeforeValidator(_content)]
Tokens = Annotated[list[Token], BeforeValidator(_listed)]


class TokenizerSettings(ConfigPart):
    """What of tokenizer_config.json bears on tokens; transformers cannot load a tokenizer with others."""

    added_tokens_decoder: dict[str, Token] | None = None
    """Tokens by number."""
    additional_special_tokens: Tokens | None = None
    extra_special_tokens: Tokens | None = None
    bos_token: Token | None = None
    eos_token: Token | None = None
    pad_token: Token | None = None
    unk_token: Token | None = None
    model_max_length: float | None = None
    tokenizer_class: str | None = None
    processor_class: str | None = None


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


def read_vocabulary(folder: Path, files: JsonFiles, vocab_size: int) -> Vocabulary:
    """Check a checkpoint's tokenizer, with the folder's `files`. Raises `UserError` naming the file and what to do."""
    settings = _settings(folder, files)
    by_id = _token_names(folder, files, settings)
    largest = max(by_id, default=0)
    if largest >= vocab_size:
        raise UserError(f"checkpoint '{folder}': its tokenizer knows token {largest} ({shown(by_id[largest])}), but "
                        f"the embeddings have vocab_size {vocab_size} rows: copy the tokenizer that the model was "
                        "trained with")
    ids = parse_part(MediaTokenIds, files["config.json"], str(folder / "config.json"))
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
    special = {name: text for name in NAMED_TOKENS if (text := getattr(settings, name)) is not None}
    eos = _eos_ids(folder, files, vocab_size,
                   {text: token for token, text in by_id.items()}.get(special.get("eos_token", "")))
    return Vocabulary(MediaTokens(start, image, video, end), ids, special, eos)


def _settings(folder: Path, files: JsonFiles) -> TokenizerSettings:
    if "tokenizer_config.json" not in files:
        raise UserError(f"checkpoint '{folder}' has no tokenizer_config.json: copy tokenizer.json, "
                        "tokenizer_config.json and their like from the model that it was trained from")  # fmt: skip
    path, settings = folder / "tokenizer_config.json", files["tokenizer_config.json"]
    if not settings:
        raise UserError(f"{path} is empty: copy it from the model that the checkpoint was trained from")
    return parse_part(TokenizerSettings, settings, str(path))


def _token_names(folder: Path, files: JsonFiles, settings: TokenizerSettings) -> dict[int, str]:
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
    added = files.get("added_tokens.json", {})
    tokens |= {token: word for word, token in added.items() if isinstance(token, int)}
    decoder = settings.added_tokens_decoder or {}
    return tokens | {int(token): text for token, text in decoder.items() if token.isdecimal() and len(token) < 12}


def _of_tokenizers(path: Path) -> dict[int, str]:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f"{path} cannot be read as a tokenizer ({flat(error, 200)}): "
                        f"{mended(path, 'copy it again from where the checkpoint comes from')}") from error
    return {token: word for word, token in tokenizer.get_vocab(with_added_tokens=True).items()}


def _eos_ids(folder: Path, files: JsonFiles, vocab_size: int, of_tokenizer: int | None) -> tuple[int, ...]:
    """By generation_config.json, else config.json, else the tokenizer."""
    generation, config = files.get("generation_config.json", {}), files["config.json"]
    for key in ("pad_token_id", "bos_token_id"):
        if generation.get(key) is not None and type(generation[key]) is not int:
            raise UserError(f"{folder / 'generation_config.json'}: {key} must be a token's number, not "
                            f"{shown(generation[key])}")  # fmt: skip
    for name, part in (("generation_config.json", generation), ("config.json", text_part(config)),
                       ("config.json", config)):  # fmt: skip
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

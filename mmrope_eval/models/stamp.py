"""`mmrope-eval stamp`: write the variant that a checkpoint was trained with into its config.json, and nothing else.

The file's text is edited where the key stands or belongs; every other byte stays. It is replaced in one step, so that a
failure leaves the old one. A file that others share (the hub's cache links to one copy) is never written.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.models import hub
from mmrope_eval.models.config import parse_part, read_json, text_part
from mmrope_eval.models.families import BY_MODEL_TYPE, family_of
from mmrope_eval.models.identity import Member, as_identified, members, past_space
from mmrope_eval.models.naming import resolve_models
from mmrope_eval.models.options import StampOptions
from mmrope_eval.models.rope_config import VARIANT_KEY, read_rope
from mmrope_eval.models.variant_choice import video_time
from mmrope_eval.rope import Variant, VariantError, load_variant, load_variant_beside, variant_name
from mmrope_eval.util.console import say
from mmrope_eval.util.files import whole

_SNAPSHOT: Final = re.compile(r".*/models--[^/]+/snapshots/[^/]+")

Value = str | dict[str, Any]


@dataclass(frozen=True)
class Stamp:
    """What is to be written into one folder; checked, and not yet written."""

    path: Path
    """The config.json."""
    value: Value
    text: str
    """Its new content."""
    changed: bool
    """Whether that differs from what is there."""
    copy: bool
    """Whether text_config has a copy that is kept the same."""
    frames: str | None = None
    """How far apart the variant puts a video's frames, where the model's videos carry seconds."""
    identified: bool = True
    """Whether the new content is another identity than the old one."""


def main(args: StampOptions) -> int:
    """Check every folder that the name means, then write, and say what was written."""
    variant = load_variant(args.variant, **args.set)
    value = spelled(args.variant, args.set, variant)
    for stamp in [plan_stamp(folder, variant, value, force=args.force) for folder in _folders(args.model)]:
        full = isinstance(value, dict) and value.keys() != {"name", "time"}
        shown = f"its definition in full, named '{variant.name}'" if full else json.dumps(value)
        if stamp.changed:
            write(stamp)
            say(f'{stamp.path}: "{VARIANT_KEY}" is now {shown}, fingerprint {variant.fingerprint[:12]}')
            if stamp.frames is not None:
                say(f"  frames {stamp.frames}")
            say("  config.json is part of a checkpoint's identity: answers that were stored before are asked again"
                if stamp.identified else "  it says what the file meant before: answers that were stored are kept")
            if stamp.copy:
                say("  text_config holds a copy of the key, which says the same now")
        else:
            say(f'{stamp.path}: "{VARIANT_KEY}" means {shown} already, nothing was written')
        say(f"  check it with: mmrope-eval inspect {shlex.quote(str(stamp.path.parent))}")
    return 0


def spelled(name: str, changes: Mapping[str, Any], variant: Variant) -> Value:
    """A variant as config.json has it: the name of a shipped one, with `time` where that is all that is said besides,
    else a definition that needs no other file."""
    canonical = variant_name(name)
    value: Value = variant.to_dict()
    if canonical is not None and changes.keys() <= {"time"}:
        value = {"name": canonical, **changes} if changes else canonical
    assert load_variant(value).fingerprint == variant.fingerprint
    return value


def _folders(word: str) -> list[Path]:
    """The folders of this machine that a word names. Raises `UserError` for all else."""
    name = word.rpartition("=")[0] or word
    if not any(Path(spelling).expanduser().is_dir() for spelling in (word, name)) and hub.parse(name) is not None:
        raise UserError(f"checkpoint '{word}' is not a folder: stamp writes into folders of this machine only; a model "
                        f"of the hub is asked as {name}=VARIANT or with --variant")  # fmt: skip
    choices = resolve_models([word])
    if any(choice.variant for choice in choices):
        raise UserError(f"checkpoint '{word}' names a variant itself: say 'mmrope-eval stamp CKPT VARIANT', two words")
    return [choice.path for choice in choices]


def plan_stamp(folder: Path, variant: Variant, value: Value, *, force: bool = False) -> Stamp:
    """Check that `variant` can be written into a folder's config.json. Raises `UserError` where it cannot."""
    path = folder.resolve() / "config.json"
    if not path.is_file():
        what = "is an adapter without" if (folder / "adapter_config.json").is_file() else "has no"
        raise UserError(f"checkpoint '{folder}' {what} config.json: stamp the model that it belongs to, or say the "
                        "variant with --variant or CKPT=VARIANT")  # fmt: skip
    _check_own(folder, path)
    config = read_json(path)
    places = [(where, part) for where, part in (("the top", config), ("text_config", config.get("text_config")))
              if isinstance(part, dict)]  # fmt: skip
    named = {where: part[VARIANT_KEY] for where, part in places if part.get(VARIANT_KEY) is not None}
    other = {where: present for where, present in named.items() if not _means(present, variant, path.parent)}
    if other and not force:
        elsewhere = " and ".join(f"{_shown(present)} at {where}" for where, present in other.items())
        raise UserError(f"{path} already says {VARIANT_KEY} {elsewhere}, and you say {_shown(value)}: --force writes "
                        "yours over it")  # fmt: skip
    copy = VARIANT_KEY in (places[-1][1] if len(places) > 1 else {})
    stamped = _with(config, value, copy)
    if "model_type" in config or not (folder / "adapter_config.json").is_file():  # an adapter's own keys alone
        _check_fit(stamped, variant, path)
    if named.get("the top") is not None and not other and (not copy or "text_config" in named):
        return Stamp(path, value, "", changed=False, copy=copy)
    before = path.read_bytes().decode("utf-8")
    text = _edited(before, value, copy)
    assert json.dumps(json.loads(text)) == json.dumps(stamped)
    return Stamp(path, value, text, True, copy, _frames(stamped, variant), as_identified(before) != as_identified(text))


def _frames(config: Mapping[str, Any], variant: Variant) -> str | None:
    """`video_time` of a whole model's config.json; None for an adapter's own keys."""
    family, vision = BY_MODEL_TYPE.get(str(config.get("model_type"))), config.get("vision_config")
    if family is None or not isinstance(vision, Mapping):
        return None
    return video_time(variant, family.tokens_per_second(vision))


def _check_own(folder: Path, path: Path) -> None:
    """Refuse a file that is not the folder's own, or cannot be written."""
    if path.is_symlink() or _SNAPSHOT.fullmatch(path.parent.as_posix()):
        what = f"a link to {path.resolve()}" if path.is_symlink() else "in the hub's cache"
        raise UserError(f"{path} is {what}, which others share: copy the folder (cp -rL) and stamp the copy, or say "
                        "the variant with --variant or CKPT=VARIANT")  # fmt: skip
    if not (os.access(folder, os.W_OK) and os.access(path, os.W_OK)):
        raise UserError(f"'{path}' cannot be written: make it writable, or say the variant with --variant or "
                        "CKPT=VARIANT")  # fmt: skip


def _means(value: Any, variant: Variant, folder: Path) -> bool:
    try:
        readable = isinstance(value, str | Mapping)
        return readable and load_variant_beside(folder, value).fingerprint == variant.fingerprint
    except VariantError:
        return False


def _shown(value: Any) -> str:
    """A name, or the name of a definition."""
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        short = value.keys() == {"name", "time"}
        return f"'{value['name']}' with {'time: ' + str(value['time']) if short else 'parameters'}"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _with(config: Mapping[str, Any], value: Value, copy: bool) -> dict[str, Any]:
    stamped = {**config, VARIANT_KEY: value}
    return stamped | {"text_config": {**stamped["text_config"], VARIANT_KEY: value}} if copy else stamped


def _check_fit(config: Mapping[str, Any], variant: Variant, path: Path) -> None:
    """Refuse a variant that does not fit the network, and keys of config.json that name another."""
    family = family_of(str(config.get("model_type")), f"checkpoint '{path.parent}'")
    text = parse_part(family.text, text_part(config), str(path))
    rope = read_rope(config, family, text, str(path))
    if rope.questions:
        raise UserError(f"{rope.questions[0]}; take out the key that is wrong, or say --variant or CKPT=VARIANT")
    try:
        variant.check_fit(rope.rotary_dim, text.kv_heads)
    except VariantError as error:
        raise UserError(f"variant '{variant.name}' does not fit checkpoint '{path.parent}': {error}") from error


def _edited(text: str, value: Value, copy: bool) -> str:
    """The text of config.json with the key's value replaced, or put behind the last key."""
    top = members(text, past_space(text, 0))
    if not top:
        return json.dumps({VARIANT_KEY: value}, indent=2) + "\n"
    edits = [_edit(text, top, value)]
    if copy:
        nested = next(member for member in reversed(top) if member.key == "text_config")
        edits.append(_edit(text, members(text, nested.value), value))
    for start, end, written in sorted(edits, reverse=True):
        text = text[:start] + written + text[end:]
    return text


def _edit(text: str, listed: Sequence[Member], value: Value) -> tuple[int, int, str]:
    """(from, to, what stands there then); a definition is laid out as the file is."""
    space = text[listed[-1].before : listed[-1].start]
    written = json.dumps(value)
    if "\n" in space and not isinstance(value, str):
        first = re.match(r"\s*\{\r?\n( +)", text)
        written = json.dumps(value, indent=len(first[1]) if first else 2)
        written = written.replace("\n", "\n" + space.rpartition("\n")[2])
    old = [member for member in listed if member.key == VARIANT_KEY]
    if old:
        return old[-1].value, old[-1].end, written
    end = listed[-1].end
    return end, end, f',{space}"{VARIANT_KEY}": {written}'


def write(stamp: Stamp) -> None:
    """Replace the file in one step, with its permissions. Raises `UserError` where that cannot be, the old one kept."""
    try:
        with whole(stamp.path, lasting=True) as draft:
            draft.write_bytes(stamp.text.encode("utf-8"))
            draft.chmod(stamp.path.stat().st_mode & 0o7777)
    except OSError as error:
        raise UserError(f"{stamp.path} cannot be written ({error.strerror or error}); it is as it was") from error

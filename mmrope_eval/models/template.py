"""The chat template of a checkpoint: which of its files gives it, and whether it can place pictures and videos."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox

from mmrope_eval.errors import UserError, sentence
from mmrope_eval.messages import ImageSource, Request, VideoSource
from mmrope_eval.models.bounded import CHARACTERS, MEMORY, BoundError, Bounds
from mmrope_eval.models.config import JsonFiles
from mmrope_eval.models.thoughts import prompt_opens
from mmrope_eval.words import mended

TEXT = "Which way is up?"
POWER = 1000
"""The largest power that a template may raise a number to."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template that can place media."""

    text: str
    source: str
    """The file that it stands in."""
    remark: str | None = None
    changed: bool = False
    """Whether another file's was used before version 0.3, for this folder."""


@dataclass(frozen=True)
class MediaTokens:
    """How a medium is written: the tokens around it, and the one that stands for its content."""

    start: str
    image: str
    video: str
    end: str


def find_template(folder: Path, files: JsonFiles, tokens: MediaTokens, special: Mapping[str, str]) -> ChatTemplate:
    """The template by which transformers' processor writes prompts: its own files before the tokenizer's.

    `files` are the folder's, `special` the tokenizer's named tokens (eos_token and such). Raises `UserError` where
    there is none, none that can place media, or two that write different prompts.
    """
    candidates = list(_candidates(folder, files))
    if not candidates:
        raise UserError(f"checkpoint '{folder}' has no chat template: copy chat_template.jinja or chat_template.json "
                        "from the model that it was trained from into its folder")  # fmt: skip
    written = {source: _write(text, tokens, special) for source, text in candidates}
    usable = [(source, text) for source, text in candidates if not isinstance(written[source], _Useless)]
    if not usable:
        source = candidates[0][0]
        raise UserError(f"checkpoint '{folder}': the chat template in {source} {written[source]}: copy "
                        "chat_template.jinja or chat_template.json from the model that it was trained from into its "
                        "folder")  # fmt: skip
    source, text = usable[0]
    for other, _ in usable[1:]:
        if written[other] != written[source] and other != "tokenizer_config.json":
            raise UserError(f"checkpoint '{folder}' has two chat templates that write different prompts, in {source} "
                            f"and {other}: remove the one that it was not trained with")  # fmt: skip
    unused = [name for name, _ in candidates if name != source and written[name] != written[source]]
    remark = f"chat template of {source}; {', '.join(unused)} has another, not used" if unused else None
    # Until 0.2 the tokenizer's was taken, which transformers fills from the .jinja file if there is one.
    earlier = next((name for name in ("chat_template.jinja", "tokenizer_config.json", "chat_template.json")
                    if name in written), source)  # fmt: skip
    return ChatTemplate(text, source, remark, changed=written[earlier] != written[source])


def written_question(template: ChatTemplate, special: Mapping[str, str], told: bool | None = None,
                     system: str | None = None) -> str:
    """A question with one picture as the template writes it, for people to look at and to compare.

    `told` is what it is told by the name `enable_thinking`; None: nothing. Raises `UserError` where it cannot write
    one.
    """
    messages = turns([{"type": "image"}, {"type": "text", "text": TEXT}], system)
    return _written(template, special, messages, told, "a question with one picture")


def written_request(template: ChatTemplate, special: Mapping[str, str], request: Request) -> str:
    """A request as the template writes it, each image and video as its placeholder. Raises `UserError` where it cannot.
    """
    return _written(template, special, chat_messages(request), request.enable_thinking, request.id)


def _written(template: ChatTemplate, special: Mapping[str, str], messages: list[dict[str, Any]], told: bool | None,
             what: str) -> str:
    try:
        return _rendered(template.text, messages, {**special, **thinking_argument(told)})
    except Exception as error:  # a template is a program, and may raise anything
        raise UserError(f"the chat template in {template.source} cannot write {what} ({sentence(error)})") from error


def chat_messages(request: Request) -> list[dict[str, Any]]:
    """A request as the messages that chat templates take: its system prompt, where it has one, then the question."""
    return turns([{"type": "text", "text": part} if isinstance(part, str) else {"type": medium(part)}
                  for part in request.content], request.system)  # fmt: skip


def turns(question: list[dict[str, str]], system: str | None) -> list[dict[str, Any]]:
    """A question's parts as messages, behind a system prompt where there is one."""
    before = [] if system is None else [{"role": "system", "content": [{"type": "text", "text": system}]}]
    return [*before, {"role": "user", "content": question}]


def medium(part: ImageSource | VideoSource) -> str:
    """The name that templates have for it."""
    return "image" if isinstance(part, ImageSource) else "video"


def thinking_argument(told: bool | None) -> dict[str, bool]:
    """What a template is told, as arguments: by the name that Qwen's and others trained like them read."""
    return {} if told is None else {"enable_thinking": told}


def opens_thought(template: ChatTemplate, special: Mapping[str, str], told: bool | None = None) -> bool:
    """Whether a prompt ends inside a thought that the template opened."""
    return prompt_opens(written_question(template, special, told), TEXT)


def heeds(template: ChatTemplate, special: Mapping[str, str], told: bool) -> bool:
    """Whether telling the template so changes the prompt, with a system prompt or without one."""
    def written(value: bool | None, system: str | None) -> str | None:
        try:
            return written_question(template, special, value, system)
        except UserError:  # a template may refuse system prompts
            return None

    return any(written(told, system) != written(None, system) for system in (None, TEXT))


def writes_system(template: ChatTemplate, special: Mapping[str, str], system: str, told: bool | None = None) -> bool:
    """Whether a system prompt, given as the engine gives it, stands in the prompt as it is; an empty one cannot be
    looked for, so other words stand for it."""
    words = system if system.strip() else f"{TEXT} {TEXT}"
    try:
        return words.strip() in written_question(template, special, told, words)
    except UserError:  # a template may refuse system prompts
        return False


def _candidates(folder: Path, files: JsonFiles) -> Iterator[tuple[str, str]]:
    """(file, template), in the order of transformers' processors."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            yield path.name, path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as text ({error}): {mended(path, 'save it as UTF-8')}") from error
    for name in ("chat_template.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        given = files.get(name, {}).get("chat_template")
        if isinstance(given, list):  # several by name, as older tokenizers keep them
            given = {str(item.get("name")): item.get("template") for item in given if isinstance(item, Mapping)}
        if isinstance(given, Mapping):
            given = given.get("default")
        if isinstance(given, str) and given.strip():
            yield name, given


class _Useless(str):
    """Why a template is of no use, as the end of a sentence."""


def _write(text: str, tokens: MediaTokens, special: Mapping[str, str]) -> str:
    """A question with a picture and a video as the template writes it, or why it cannot."""
    try:
        prompt = _rendered(text, turns([{"type": "image"}, {"type": "video"}, {"type": "text", "text": TEXT}], None),
                           special)  # fmt: skip
    except BoundError as error:
        return _Useless(str(error))
    except Exception as error:  # noqa: BLE001 - a template is a program, and may raise anything
        return _Useless(f"cannot be used ({sentence(error)})")
    for kind, pad in (("image", tokens.image), ("video", tokens.video)):
        place = tokens.start + pad + tokens.end
        if prompt.count(pad) != 1 or place not in prompt:
            return _Useless(f"cannot place media (it does not write {place} for {'an' if kind == 'image' else 'a'} "
                            f"{kind})")
    if prompt.index(tokens.image) > prompt.index(tokens.video):
        return _Useless(f"cannot place media (it writes {tokens.video} for an image and {tokens.image} for a video, "
                        "which image_token_id and video_token_id of config.json name the other way round)")  # fmt: skip
    if prompt.count(TEXT) != 1:
        return _Useless("leaves the question's text out")
    return prompt


def _rendered(text: str, messages: list[Any], variables: Mapping[str, Any]) -> str:
    """Messages as a template writes them. Raises what it raises, and `BoundError` where it takes too much."""
    def write() -> str:
        template = _environment().from_string(text)
        return joined(template.generate(messages=messages, add_generation_prompt=True, **variables), 0)

    return Bounds(memory=MEMORY).run(write)


def joined(pieces: Iterable[str], question: int) -> str:
    """A prompt of its pieces. `BoundError` as soon as it is too long for a question of so many characters."""
    kept, length = [], 0
    for piece in pieces:
        kept.append(piece)
        length += len(piece)
        check_length(length, question)
    return "".join(kept)


def check_length(length: int, question: int) -> None:
    """`BoundError` for a prompt that is too long for a question of so many characters."""
    if length > CHARACTERS + 2 * question:
        raise BoundError(f"writes more than {CHARACTERS:,} characters around a question")


class Sandbox(jinja2.sandbox.SandboxedEnvironment):
    """jinja2's, in which nothing grows to a length that no prompt has: that would be one call, which nothing ends."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.filters = {name: _watched(name, made) for name, made in self.filters.items()}

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """A product, a power, a sum, or a text that is formatted."""
        check_growth(operator, left, (right,))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as jinja2 has it
        """A call of a function or of a text's method."""
        method = getattr(__obj, "__wrapped__", __obj)  # jinja2 puts its own function around `format`
        check_growth(getattr(method, "__name__", ""), getattr(method, "__self__", None), (*args, *kwargs.values()))
        return super().call(__context, __obj, *args, **kwargs)


class _Sandbox(Sandbox, jinja2.sandbox.ImmutableSandboxedEnvironment):
    """As transformers has it for chat templates: what a template is handed stays as it is."""


def _watched(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments are looked at first; what jinja2 hands it besides stays."""

    @functools.wraps(made)
    def watched(*args: Any, **kwargs: Any) -> Any:
        given = args[1:] if hasattr(made, "jinja_pass_arg") else args
        check_growth(name, given[0] if given else None, (*given[1:], *kwargs.values()))
        return made(*args, **kwargs)

    return watched


_WIDTH: Final = re.compile("[%:.][^\\s{}%]{0,8}?([0-9]{1,18})")
"""A width or a precision, in a text that is formatted."""


def check_growth(what: str, subject: Any, given: Sequence[Any]) -> None:
    """`BoundError` where an operator, a method or a filter would make more of its subject than a prompt holds."""
    first = given[0] if given else None
    if what == "*":
        for things, times in ((subject, first), (first, subject)):
            if isinstance(things, Sequence) and isinstance(times, int):
                check_length(len(things) * times, 0)
        return
    if what == "**":
        if isinstance(first, int) and abs(first) > POWER:
            raise BoundError(f"raises a number to a power above {POWER:,}")
        return
    if what == "+":
        if isinstance(subject, Sequence) and isinstance(first, Sequence):
            check_length(len(subject) + len(first), 0)
        return
    if isinstance(subject, str):
        _check_text(what, subject, given)
    for value in given if what != "%" else ():
        if isinstance(value, int):
            check_length(value, 0)


def _check_text(what: str, text: str, given: Sequence[Any]) -> None:
    """Raise `BoundError` where an operator or a method would make more of a text than a prompt holds."""
    first, second = (*given, None, None)[:2]
    if what in ("%", "format", "format_map"):
        check_length(max(map(int, _WIDTH.findall(text)), default=0), 0)
        if "*" in text:  # a width that is an argument
            check_length(max((value for value in _flat(first) if isinstance(value, int)), default=0), 0)
    elif what == "replace" and isinstance(first, str) and isinstance(second, str):
        check_length(text.count(first) * len(second), 0)
    elif what == "join" and isinstance(first, Sequence):
        check_length(len(first) * len(text), 0)
    elif what == "translate" and isinstance(first, Mapping):
        check_length(len(text) * max((len(value) for value in first.values() if isinstance(value, str)), default=0), 0)
    elif what == "expandtabs" and isinstance(first, int):
        check_length(text.count("\t") * first, 0)


def _flat(value: Any) -> Sequence[Any]:
    return tuple(value.values()) if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`, by which some templates mark what is trained on; it changes nothing of the prompt."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """The block's content."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _environment() -> jinja2.Environment:
    """jinja2 as transformers sets it up for chat templates."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.datetime.now().strftime(pattern)
    return environment

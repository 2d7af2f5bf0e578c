"""Every file of a checkpoint's folder, spoiled in every way: a sentence that names it, or an answer, nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import pytest
from checkpoint_copies import FAMILIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import checkpoint_policy
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.models.variant_choice import resolve_variant


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def whole_folder(folder: Path) -> Path:
    """A checkpoint with every file that one can have; the chat template is in three of them."""
    copies.copy(copies.tiny("qwen2.5-vl"), folder)
    tensors = copies.load(folder / copies.WEIGHTS)
    copies.shards(tensors, folder, 2)
    copies._word_files(folder)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    copies.write_json(folder / "chat_template.json", {"chat_template": template})
    copies.merged(folder / "tokenizer_config.json", chat_template=template)
    copies.write_json(folder / "processor_config.json", {
        "processor_class": "Qwen2_5_VLProcessor",
        "image_processor": copies.read_json(folder / "preprocessor_config.json"),
        "video_processor": copies.read_json(folder / "video_preprocessor_config.json")})  # fmt: skip
    return folder


# ------------------------------------------------------------------------------------------------ each file, spoiled


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def an_empty_object(path: Path) -> None:
    path.write_text("{}")


def an_empty_list(path: Path) -> None:
    path.write_text("[]")


def null(path: Path) -> None:
    path.write_text("null")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 4)


def utf16(path: Path) -> None:
    path.write_bytes(path.read_bytes().decode("utf-8", "replace").encode("utf-16"))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "blob-that-is-gone")


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def nested_deeply(path: Path) -> None:
    path.write_text('{"a":' * 500 + "1" + "}" * 500)


def a_web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html>\n<html>\n<title>Entry not found</title>\n</html>\n")


WAYS = [removed, emptied, torn, an_empty_object, an_empty_list, null, garbage, utf16, a_folder, a_dangling_link,
        a_link_to_itself, nested_deeply, a_web_page]  # fmt: skip

FILES = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "added_tokens.json", "special_tokens_map.json", "preprocessor_config.json", "video_preprocessor_config.json",
    "processor_config.json", "chat_template.jinja", "chat_template.json", "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
]  # fmt: skip

MAY_GO = {
    "tokenizer.json", "generation_config.json", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json",
    "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json", "chat_template.jinja",
    "chat_template.json", "model.safetensors.index.json",
}  # fmt: skip
"""Another file says the same, or there are checkpoints without it."""

MAY_BE_EMPTY = {
    "generation_config.json", "special_tokens_map.json", "processor_config.json",
    "added_tokens.json", "vocab.json", "chat_template.json", "video_preprocessor_config.json",
    "preprocessor_config.json",
}  # fmt: skip
"""`{}` there says nothing that another file does not say."""

NOT_READ = {"vocab.json", "merges.txt"}
"""Of no account beside tokenizer.json, whatever is in it; but it has to be a file."""


def outcome(folder: Path) -> Checkpoint | str:
    """A checkpoint with its variant and limits, or the sentence by which it is refused."""
    try:
        checkpoint = read_checkpoint(folder)
        resolve_variant(checkpoint, None)
        checkpoint_policy(checkpoint, {})
    except UserError as error:
        sentence = str(error)
        assert sentence, "an empty sentence"
        assert "\n" not in sentence
        sentence.encode("utf-8")
        return sentence
    return checkpoint


def content_of(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """What an answer depends on."""
    return (checkpoint.vocabulary, checkpoint.template.text, checkpoint.processor.limits, checkpoint.config,
            checkpoint.tied, checkpoint.rope, checkpoint.eos_ids, checkpoint.geometry)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_spoiled_file_is_named_or_makes_no_difference(name: str, way: Callable[[Path], None], tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "whole")
    whole = outcome(folder)
    assert isinstance(whole, Checkpoint)
    way(folder / name)
    reading = outcome(folder)
    readable = way in (removed, an_empty_object) or name == "chat_template.jinja" or name in NOT_READ
    if isinstance(reading, str):
        assert name in reading, reading
        assert not (way is removed and name in MAY_GO), reading
        return
    assert readable and way not in (a_folder, a_dangling_link, a_link_to_itself), "accepted a file that is none"
    if way is removed:
        assert name in MAY_GO
    elif way is an_empty_object and name != "chat_template.jinja":
        assert name in MAY_BE_EMPTY | NOT_READ
    same = [expected == actual for expected, actual in zip(content_of(whole), content_of(reading), strict=True)]
    assert all(same) or name == "generation_config.json"
    if name == "generation_config.json":
        assert reading.eos_ids == (258,), "config.json's"


@contextmanager
def somebody_else(folder: Path) -> Iterator[None]:
    """As a user without rights: root may read everything, so root becomes nobody for a moment."""
    if os.geteuid() != 0:
        yield
        return
    ways = [parent for parent in folder.parents if parent.stat().st_mode & 0o055 != 0o055]
    modes = {parent: parent.stat().st_mode for parent in ways}
    for parent in ways:
        parent.chmod(modes[parent] | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in modes.items():
            parent.chmod(mode)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_may_not_be_read_is_named(name: str, tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "whole")
    folder.chmod(0o755)
    (folder / name).chmod(0)
    with somebody_else(folder):
        message = outcome(folder)
    assert isinstance(message, str)
    assert name in message


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [
        (("preprocessor_config.json",), None),
        (("processor_config.json",), None),
        ((), "has no preprocessor_config.json.*hf download"),
    ],
)
def test_pictures_need_one_of_two_files(kept: tuple[str, ...], sentence: str | None, tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "whole")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"):
        if name not in kept:
            (folder / name).unlink()
    reading = outcome(folder)
    if sentence is None:
        assert isinstance(reading, Checkpoint)
    else:
        assert isinstance(reading, str)
        assert "preprocessor_config.json" in reading


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("tokenizer.json",), None),
        (("vocab.json", "merges.txt", "added_tokens.json"), None),
        (("tokenizer.json", "vocab.json"), "has no tokenizer"),
        (("tokenizer.json", "merges.txt"), "has no tokenizer"),
        (("tokenizer_config.json",), "has no tokenizer_config.json"),
        (("chat_template.jinja", "chat_template.json"), None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_words_need_a_tokenizer(names: tuple[str, ...], words: str | None, tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "whole")
    whole = outcome(folder)
    for name in names:
        (folder / name).unlink()
    reading = outcome(folder)
    if words is None:
        assert isinstance(reading, Checkpoint)
        assert isinstance(whole, Checkpoint)
        assert reading.vocabulary == whole.vocabulary
    else:
        assert isinstance(reading, str)
        assert words in reading


# ------------------------------------------------------------------------------------------------------------- fuzz

LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, "", -1, 0, 1, 2, 3, float("inf"), float("-inf"), float("nan"), 10**30, 10**400, -(10**400),
                     0.5, True,
                     False, [], {}, [1, 2], [None], {"a": 1}, "1", "default", "yarn", "mrope", "hopeful\nrope",
                     "é\ud800\0",
                     "x" * 400, [[]], [{}], {"": {}}, 2**31, 2**63, 1e300, 1e-300]),
    st.text(max_size=6),
    st.integers(),
    st.floats(),
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                                          max_size=3),
                      max_leaves=4)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from(["rope_theta", "rope_scaling", "rope_parameters", "mm_rope", "text_config", "head_dim",
                     "mrope_section",
                     "type", "rope_type", "factor", "circle_rope", "rope_pos_id_version", "rope_pos_id_stride",
                     "partial_rotary_factor", "mrope_interleaved", "architectures", "quantization_config", "dtype",
                     "size", "min_pixels", "fps", "chat_template", "added_tokens_decoder", "eos_token_id",
                     "eos_token"]),
    st.text(max_size=8),
)  # fmt: skip


def paths(content: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield so_far
    if isinstance(content, dict | list):
        inside = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in inside:
            yield from paths(value, (*so_far, key))


def changed(content: Any, data: st.DataObject) -> Any:
    """The content with one to three places replaced, deleted or added to."""
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(paths(content))
        place = data.draw(st.sampled_from(places if len(places) < 200 else places[:200]))
        what = data.draw(st.sampled_from(["replace", "delete", "add"]))
        if not place and what != "add":
            if data.draw(st.integers(0, 9)) == 0:
                return data.draw(VALUES)
            continue
        parent: Any = content
        for key in place[:-1]:
            parent = parent[key]
        if what == "add":
            target = parent[place[-1]] if place else content
            if isinstance(target, dict):
                target[data.draw(KEYS)] = data.draw(VALUES)
        elif what == "delete":
            del parent[place[-1]]
        else:
            parent[place[-1]] = data.draw(VALUES)
        content = json.loads(json.dumps(content))  # what was drawn belongs to hypothesis
    return content


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One folder a family, to spoil and to restore."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = copies.copy(copies.tiny(family), tmp_path_factory.mktemp("fuzz") / family)
        return made[family]

    return folder


def fuzzed(path: Path, data: st.DataObject) -> None:
    """Spoil one file, look, and put it back."""
    before = path.read_bytes() if path.exists() else None
    try:
        content = changed(json.loads(before) if before else {}, data)
        path.write_text(json.dumps(content), encoding="utf-8")
        reading = outcome(path.parent)
        if isinstance(reading, Checkpoint):
            assert reading.served.is_dir()
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("family", FAMILIES)
@FUZZ
@given(data=st.data())
def test_any_config_json_is_read_or_refused_in_one_line(family: str, workplace: Any, data: st.DataObject) -> None:
    fuzzed(workplace(family) / "config.json", data)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json",
                                  "tokenizer_config.json", "generation_config.json", "chat_template.json",
                                  "added_tokens.json", "special_tokens_map.json"])  # fmt: skip
@FUZZ
@given(data=st.data())
def test_any_other_json_file_is_read_or_refused_in_one_line(name: str, workplace: Any, data: st.DataObject) -> None:
    fuzzed(workplace("qwen3-vl") / name, data)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_index_is_read_or_refused_in_one_line(workplace: Any, data: st.DataObject) -> None:
    source = workplace("qwen2-vl")
    folder = source.parent / "sharded"
    if not folder.exists():
        shutil.copytree(source, folder)
        copies.shards(copies.load(folder / copies.WEIGHTS), folder, 2)
    fuzzed(folder / "model.safetensors.index.json", data)


GOOD_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}"
    "{% else %}<|vision_start|><|{{ c.type }}_pad|><|vision_end|>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)
PIECES = ["{{ messages", "{% for m in messages %}", "{% endfor %}", "{{ raise_exception('no\nway') "
                                                                    "}}", "{{ 1/0 }}", "{{ x.y.z }}",
          "{% generation %}", "{% endgeneration %}", "{{ messages[9].content }}", "{% macro r(x) %}{{ r(x) }}{% "
                                                                                  "endmacro %}{{ r(1) }}",
          "{{ ''.__class__.__mro__ }}", "{{ range(10**9)|list }}", "{{ 'a' * 10 }}", "{% include 'x' "
                                                                                     "%}", "{% set x = 1 %}",
          "{{ strftime_now(1) }}", "{{ tools|tojson }}", "{% break %}", "\0", "{#", "%}"]  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pieces=st.lists(
        st.one_of(st.sampled_from(PIECES), st.text(max_size=5), st.integers(0, len(GOOD_TEMPLATE))), max_size=4
    )
)
def test_any_template_is_used_or_refused_in_one_line(workplace: Any, pieces: list[str | int]) -> None:
    text = GOOD_TEMPLATE
    for piece in pieces:
        text = text[:piece] if isinstance(piece, int) else text + piece
    path = workplace("qwen2.5-vl") / "chat_template.jinja"
    before = path.read_bytes()
    try:
        path.write_text(text, encoding="utf-8")
        outcome(path.parent)
    finally:
        path.write_bytes(before)


# --------------------------------------------------------------------------------- what is accepted can also be loaded

ODD = [
    None,
    "",
    -1,
    0,
    1,
    2,
    float("inf"),
    10**30,
    0.5,
    True,
    False,
    [],
    {},
    [1, 2],
    [None],
    {"a": 1},
    "1",
    "default",
    "x",
    4.0,
    64,
]


def loaded(checkpoint: Checkpoint, name: str) -> None:
    """What an engine will ask of transformers, and that it understands the file as we do."""
    import transformers

    if name == "config.json":
        config = transformers.AutoConfig.from_pretrained(checkpoint.served)
        text = config.get_text_config()
        assert text.rope_parameters["rope_theta"] == checkpoint.rope_theta
        assert (text.num_hidden_layers, text.num_key_value_heads) == (checkpoint.num_layers, checkpoint.num_kv_heads)
        assert config.vision_config.patch_size == checkpoint.geometry.patch_size
    elif name == "tokenizer_config.json":
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.served)
        vocabulary = checkpoint.vocabulary
        assert tokenizer.convert_tokens_to_ids(vocabulary.tokens.image) == vocabulary.ids.image_token_id
        assert tokenizer("<|im_start|>a")["input_ids"][0] == 257
    else:
        size = transformers.AutoImageProcessor.from_pretrained(checkpoint.served).size
        limits = checkpoint.processor.limits
        assert (size["shortest_edge"], size["longest_edge"]) == (limits["image_min_pixels"], limits["image_max_pixels"])


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_accepted_can_be_loaded_by_transformers(name: str, workplace: Any, data: st.DataObject) -> None:
    path = workplace(data.draw(st.sampled_from(FAMILIES))) / name
    before = path.read_bytes()
    content = json.loads(before)
    places = [place for place in paths(content) if place and place != ("vision_config", "hidden_act")]
    place = data.draw(st.sampled_from(places))
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()):
        parent[place[-1]] = data.draw(st.sampled_from(ODD))
    else:
        del parent[place[-1]]
    try:
        path.write_text(json.dumps(content), encoding="utf-8")
        reading = outcome(path.parent)
        if isinstance(reading, Checkpoint):
            loaded(reading, name)
    finally:
        path.write_bytes(before)

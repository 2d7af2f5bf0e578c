"""What a checkpoint folder says about itself, what it is refused for, and which one can take over a running engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import pytest
from checkpoint_copies import FAMILIES, WEIGHTS

from mmrope_demo.checkpoints import SPECIAL_TOKENS, Family, build_checkpoint, token_id
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import checkpoint_policy
from mmrope_eval.models.checkpoint import read_checkpoint, switch_problem

OLD: Family = "qwen2.5-vl"
NEW: Family = "qwen3-vl"
Change = Callable[[Path], object]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copies.copy(copies.tiny(OLD), tmp_path / "copy")


def refusal(path: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("family", "patch", "tokens_per_second", "layers", "kinds"),
    [
        ("qwen2-vl", 14, 0.0, 2, "qwen2_vl"),
        (OLD, 14, 2.0, 2, "qwen2_5_vl"),
        (NEW, 16, 0.0, 2, "qwen3_vl"),
    ],
)
def test_every_family_is_read(family: str, patch: int, tokens_per_second: float, layers: int, kinds: str) -> None:
    checkpoint = read_checkpoint(copies.tiny(family))
    assert (checkpoint.family.name, checkpoint.family.model_type) == (family, kinds)
    assert (checkpoint.geometry.patch_size, checkpoint.num_layers) == (patch, layers)
    assert checkpoint.tokens_per_second == tokens_per_second
    assert (checkpoint.num_heads, checkpoint.num_kv_heads, checkpoint.head_dim, checkpoint.rotary_dim) == (2, 1, 16, 16)
    assert (checkpoint.dtype, checkpoint.eos_ids, checkpoint.rope_theta) == ("float32", (258, 256), 100_000.0)
    assert checkpoint.weight_bytes == (copies.tiny(family) / WEIGHTS).stat().st_size
    assert checkpoint.remarks == ()


# ------------------------------------------------------------------------------------------------------- config.json


def config(**keys: Any) -> Change:
    """Keys of config.json; None takes one out."""
    return lambda folder: copies.merged(folder / "config.json", **keys)


def vision(**keys: Any) -> Change:
    return lambda folder: copies.edit(folder / "config.json", lambda content: content["vision_config"].update(keys))


def whole(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda folder: copies.edit(folder / "config.json", change)


BAD_CONFIG: dict[str, tuple[Change, str]] = {
    "another-model": (config(model_type="llama"), r"\(config.json\) is of model type 'llama': .*qwen2_vl, qwen2_5_vl, "
                                                  r"qwen3_vl"),
    "a-mixture-of-experts": (config(model_type="qwen3_vl_moe"), "model type 'qwen3_vl_moe'"),
    "no-model-type": (config(model_type=None), "model type 'None'"),
    "a-type-of-two-lines": (config(model_type="a\nb"), r"model type ''a\\nb''"),
    "another-family": (config(model_type="qwen3_vl"), r"config.json"),
    "no-encoder": (config(vision_config=None), "has no vision_config"),
    "an-encoder-of-text": (config(vision_config="tall"), "has no vision_config"),
    "text-config-a-list": (config(text_config=[1]), r"text_config must be a mapping, not \[1\]"),
    "text-config-empty": (config(text_config={}), "config.json"),
    "no-layers": (config(num_hidden_layers=None), "key 'num_hidden_layers' is missing"),
    "layers-as-text": (config(num_hidden_layers="2"), "'num_hidden_layers' must be .*not '2'"),
    "layers-as-float": (config(num_hidden_layers=2.0), "'num_hidden_layers' must be"),
    "no-heads-at-all": (config(num_attention_heads=0), "'num_attention_heads' must be .*not 0"),
    "minus-one": (config(hidden_size=-1), "'hidden_size' must be .*not -1"),
    "huge": (config(vocab_size=10**400), "'vocab_size' must be"),
    "heads-that-do-not-divide": (config(num_key_value_heads=3), "cannot share 3 KV heads"),
    "odd-heads": (config(hidden_size=30), "config.json: heads of 15 channels"),
    "merge-of-nothing": (vision(spatial_merge_size=0), "vision_config: 'spatial_merge_size' must be"),
    "patch-as-list": (vision(patch_size=[14, 14]), "vision_config: 'patch_size' must be"),
    "window-of-nothing": (vision(window_size=0), "vision_config: 'window_size' must be"),
    "blocks-as-text": (vision(fullatt_block_indexes=["1"]), "vision_config: fullatt_block_indexes, entry 1 must be"),
    "clock-as-text": (vision(tokens_per_second="2"), "vision_config: 'tokens_per_second' must be"),
    "clock-that-stands": (vision(tokens_per_second=0), "vision_config: 'tokens_per_second' must be"),
    "a-wide-encoder": (vision(out_hidden_size=64), "pictures have 64 channels .* hidden_size is 32"),
    "another-activation": (config(hidden_act="gelu"), "'hidden_act' must be 'silu'"),
    "a-norm-as-text": (config(rms_norm_eps="1e-6"), "'rms_norm_eps' must be"),
    "a-norm-of-nothing": (config(rms_norm_eps=0), "'rms_norm_eps' must be"),
    "windows": (config(use_sliding_window=True, sliding_window=4096, max_window_layers=1), "use_sliding_window is"),
    "windows-as-number": (config(use_sliding_window=1), "'use_sliding_window' must be"),
    "a-cache-as-text": (config(use_cache="yes"), "'use_cache' must be"),
    "an-end-as-text": (config(eos_token_id="<|im_end|>"), "'eos_token_id' must be"),
    "clock-of-halves": (vision(tokens_per_second=0.5), "vision_config: 'tokens_per_second' must be"),
    "an-empty-dtype": (config(torch_dtype=""), "torch_dtype is ''"),
    "tie-null": (whole(lambda content: content.update(tie_word_embeddings=None)), "tie_word_embeddings must be true"),
    "a-huge-base": (config(rope_theta=10**30), "rope_theta must be a number above one"),
    "dtype-of-eight-bits": (config(torch_dtype="float8_e4m3fn"), "torch_dtype is 'float8_e4m3fn'; give one of float32"),
    "dtype-a-list": (config(torch_dtype=["float32"]), r"torch_dtype is \['float32'\]"),
    "tie-as-text": (config(tie_word_embeddings="true"), "tie_word_embeddings must be true or false, not 'true'"),
    "tie-as-number": (config(tie_word_embeddings=1), "tie_word_embeddings must be true or false, not 1"),
    "no-image-token": (config(image_token_id=None), "config.json: key 'image_token_id' is missing"),
    "no-end-token": (config(vision_end_token_id=None), "key 'vision_end_token_id' is missing"),
    "image-token-as-text": (config(image_token_id="268"), "'image_token_id' must be .*not '268'"),
    "image-token-beyond": (config(image_token_id=9999), "image_token_id is 9999, which its tokenizer does not know"),
    "image-token-negative": (config(image_token_id=-1), "'image_token_id' must be"),
    "one-token-for-both": (config(video_token_id=token_id("<|image_pad|>")), "must be four different tokens"),
    "another-token": (config(image_token_id=token_id("<|quad_start|>")), r"does not write .*<\|quad_start\|>"),
    "start-and-end-swapped": (config(vision_start_token_id=token_id("<|vision_end|>"),
                                     vision_end_token_id=token_id("<|vision_start|>")), "does not write"),
    "image-and-video-swapped": (config(image_token_id=token_id("<|video_pad|>"),
                                       video_token_id=token_id("<|image_pad|>")),
                                "the other way round"),
    "fewer-rows-than-tokens": (config(vocab_size=260), r"knows token 269 \('<\|video_pad\|>'\).*vocab_size 260"),
    "more-rows-than-there-are": (config(vocab_size=271), "vocab_size says how many rows"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), BAD_CONFIG.values(), ids=BAD_CONFIG)
def test_a_config_json_that_cannot_be_is_refused(change: Change, sentence: str, folder: Path) -> None:
    change(folder)
    message = refusal(folder)
    assert re.search(sentence, message), message
    assert str(folder) in message


def test_an_activation_that_vllm_would_not_compute_is_refused(tmp_path: Path) -> None:
    folder = copies.copy(copies.tiny("qwen2-vl"), tmp_path / "copy")
    vision(hidden_act="gelu")(folder)
    assert re.search("vision_config: 'hidden_act' must be 'quick_gelu'", refusal(folder))


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (config(torch_dtype="torch.bfloat16"), "bfloat16"),
        (config(torch_dtype=None, dtype="float16"), "float16"),
        (config(torch_dtype=None), "bfloat16"),
        (config(auto_map={"AutoModel": "x.X"}, use_cache=False, unheard_of=[1, {"a": None}]), "float32"),
        (config(hidden_act="silu", sliding_window=32768, max_window_layers=28, use_sliding_window=False), "float32"),
        (whole(lambda content: content["vision_config"].pop("window_size")), "float32"),
        (whole(lambda content: content["vision_config"].pop("patch_size")), "float32"),
        (config(text_config=None), "float32"),
    ],
)
def test_a_config_json_that_is_only_unusual_is_read(change: Change, dtype: str, folder: Path) -> None:
    change(folder)
    assert read_checkpoint(folder).dtype == dtype


# -------------------------------------------------------------------------------------------------- words and template


def tokenizer(**keys: Any) -> Change:
    return lambda folder: copies.merged(folder / "tokenizer_config.json", **keys)


def added(word: str, token: int) -> Change:
    def change(folder: Path) -> None:
        entry = {"id": token, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False,
                 "special": True}  # fmt: skip
        copies.edit(folder / "tokenizer.json", lambda content: content["added_tokens"].append(entry))

    return change


def ends_with(given: Any) -> Change:
    return lambda folder: copies.edit(
        folder / "generation_config.json", lambda content: content.update(eos_token_id=given)
    )


BAD_WORDS: dict[str, tuple[Change, str]] = {
    "a-token-more-than-rows": (added("<|extra|>", 270), r"knows token 270 \('<\|extra\|>'\)"),
    "a-token-of-two-lines": (added("a\nb", 270), r"knows token 270 \('a\\nb'\)"),
    "an-added-token-more": (
        lambda folder: copies.write_json(folder / "added_tokens.json", {"<tool>": 300}), r"knows token 300 \('<tool>'\)"
    ),
    "a-decoder-entry-more": (tokenizer(added_tokens_decoder={"271": {"content": "<x>"}}), r"knows token 271 \('<x>'\)"),
    "eos-as-text": (ends_with("<|im_end|>"), "generation_config.json: eos_token_id must be tokens below vocab_size "
                                             "270"),
    "eos-list-of-text": (ends_with(["258"]), "eos_token_id must be tokens"),
    "eos-beyond": (ends_with([258, 270]), "eos_token_id must be tokens"),
    "eos-negative": (ends_with(-1), "eos_token_id must be tokens"),
    "eos-nothing": (ends_with([]), "eos_token_id must be tokens"),
    "eos-true": (ends_with(True), "eos_token_id must be tokens"),
    "pad-as-text": (
        lambda folder: copies.merged(folder / "generation_config.json", pad_token_id="<pad>"), "pad_token_id must be"
    ),
    "special-tokens-as-text": (tokenizer(additional_special_tokens="x"), "'additional_special_tokens' must be a list"),
    "a-special-token-that-is-none": (
        tokenizer(additional_special_tokens=["a", 4]), "additional_special_tokens, entry 2 must be text, not 4"
    ),
    "named-tokens-that-are-none": (
        tokenizer(extra_special_tokens={"image": []}), r"extra_special_tokens, entry 1 must be text, not \[\]"
    ),
    "an-end-token-that-is-none": (tokenizer(eos_token=7), "'eos_token' must be text, not 7"),
    "a-decoder-that-is-a-list": (tokenizer(added_tokens_decoder=["x"]), "'added_tokens_decoder' must be a mapping"),
    "a-decoder-without-texts": (
        tokenizer(added_tokens_decoder={"1": {}}), r"'added_tokens_decoder.1' must be text, not \{\}"
    ),
    "a-length-as-text": (tokenizer(model_max_length="32k"), "'model_max_length' must be a number"),
    "a-class-as-list": (tokenizer(tokenizer_class=["x"]), "'tokenizer_class' must be text"),
    "an-empty-tokenizer-config": (
        lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "tokenizer_config.json is empty"
    ),
    "eos-nowhere": (
        lambda folder: [ends_with(None)(folder), config(eos_token_id=None)(folder), tokenizer(eos_token=None)(folder)],
        "does not say which token ends an answer: copy generation_config.json"
    ),
    "a-broken-tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text('{"model": {"type": "BPE"}}'), "tokenizer.json cannot"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), BAD_WORDS.values(), ids=BAD_WORDS)
def test_a_tokenizer_that_does_not_fit_is_refused(change: Change, sentence: str, folder: Path) -> None:
    change(folder)
    message = refusal(folder)
    assert re.search(sentence, message), message


@pytest.mark.parametrize(
    ("change", "eos"),
    [
        (ends_with(258), (258,)),
        (ends_with([256, 258]), (256, 258)),
        (lambda folder: (folder / "generation_config.json").unlink(), (258,)),
        (lambda folder: [ends_with(None)(folder), config(eos_token_id=256)(folder)], (256,)),
        (lambda folder: [ends_with(None)(folder), config(eos_token_id=None)(folder)], (258,)),
        (lambda folder: [ends_with(None)(folder), config(eos_token_id=None)(folder),
                         tokenizer(eos_token={"content": "<|endoftext|>"})(folder)], (256,)),
    ],
)  # fmt: skip
def test_the_end_of_an_answer_is_said_by_generation_config_then_config_then_tokenizer(
    change: Change, eos: tuple[int, ...], folder: Path
) -> None:
    change(folder)
    assert read_checkpoint(folder).eos_ids == eos


TEMPLATE = """{%- for m in messages -%}<|im_start|>{{ m.role }}
{%- for c in m.content -%}{%- if c.type == 'text' -%}{{ c.text }}
{%- else -%}<|vision_start|><|{{ c.type }}_pad|><|vision_end|>{%- endif -%}{%- endfor -%}<|im_end|>{%- endfor -%}"""
TEXT_ONLY = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
OTHER = TEMPLATE.replace("<|im_start|>", "<|im_start|>Q: ")
MARKED = TEMPLATE.replace("{{ c.text }}", "{% generation %}{{ c.text }}{% endgeneration %}")

JINJA, JSON, PROCESSOR, TOKENIZER = (
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "tokenizer_config.json",
)


def templates(folder: Path, given: dict[str, Any]) -> Path:
    """Put templates into files, by name, in place of the folder's own."""
    (folder / JINJA).unlink()
    for name, text in given.items():
        if name == JINJA:
            (folder / name).write_text(text, encoding="utf-8")
        elif (folder / name).is_file():
            copies.merged(folder / name, chat_template=text)
        else:
            copies.write_json(folder / name, {"chat_template": text})
    return folder


@pytest.mark.parametrize(
    ("given", "source", "remark"),
    [
        ({JINJA: TEMPLATE}, JINJA, None),
        ({JSON: TEMPLATE}, JSON, None),
        ({PROCESSOR: TEMPLATE}, PROCESSOR, None),
        ({TOKENIZER: TEMPLATE}, TOKENIZER, None),
        ({TOKENIZER: {"default": TEMPLATE, "tool_use": TEXT_ONLY}}, TOKENIZER, None),
        ({TOKENIZER: [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "x"}]}, TOKENIZER,
         None),
        ({TOKENIZER: [{"name": ["odd"]}, "odd", {"name": "default", "template": TEMPLATE}]}, TOKENIZER, None),
        ({JINJA: MARKED}, JINJA, None),
        ({JINJA: TEMPLATE, JSON: TEMPLATE, TOKENIZER: TEMPLATE}, JINJA, None),
        ({JINJA: TEMPLATE, JSON: TEMPLATE + "{# a remark #}"}, JINJA, None),
        ({JSON: TEMPLATE, TOKENIZER: TEXT_ONLY}, JSON, "chat template of chat_template.json; tokenizer_config.json "
                                                       "has another"),
        ({JSON: TEXT_ONLY, TOKENIZER: TEMPLATE}, TOKENIZER, "chat template of tokenizer_config.json;"),
        ({JINJA: TEMPLATE, TOKENIZER: OTHER}, JINJA, "chat template of chat_template.jinja; tokenizer_config.json has "
                                                     "another"),
        ({JINJA: "{{ broken", JSON: TEMPLATE}, JSON, "chat template of chat_template.json; chat_template.jinja has "
                                                     "another"),
        ({JINJA: TEMPLATE, JSON: ""}, JINJA, None),
        ({JINJA: TEMPLATE, JSON: 4}, JINJA, None),
    ],
)  # fmt: skip
def test_the_template_that_can_place_media_is_used_and_another_is_remarked(
    given: dict[str, Any], source: str, remark: str | None, folder: Path
) -> None:
    checkpoint = read_checkpoint(templates(folder, given))
    assert checkpoint.template.source == source
    assert checkpoint.template.text.startswith(MARKED[:40])
    assert [line for line in checkpoint.remarks if "template" in line] == list(checkpoint.remarks)
    assert (checkpoint.remarks[0] if checkpoint.remarks else "").startswith(remark or "")
    assert bool(checkpoint.remarks) == (remark is not None)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "has no chat template: copy chat_template.jinja"),
        ({TOKENIZER: ""}, "has no chat template"),
        ({TOKENIZER: [{"name": "tool_use", "template": TEMPLATE}]}, "has no chat template"),
        ({JINJA: TEXT_ONLY}, r"chat template in chat_template.jinja .*"),
        ({TOKENIZER: "{{ messages[0].content[2].text }}"}, r"tokenizer_config.json cannot place media "
                                                           r".*<\|vision_start\|><\|image_pad"),
        ({JINJA: TEMPLATE.replace("<|vision_start|>", "")}, "cannot place media"),
        ({JINJA: TEMPLATE.replace("{{ c.type }}", "image")}, "cannot place media"),
        ({JINJA: TEMPLATE + "<|image_pad|>"}, "cannot place media"),
        ({JINJA: TEMPLATE.replace("{{ c.text }}", "")}, "leaves the question's text out"),
        ({JINJA: TEMPLATE.replace("endfor", "endfour", 1)}, r"chat_template.jinja cannot be used"),
        ({JINJA: "{{ raise_exception('no\npictures') }}"}, r"cannot be used \(TemplateError: no pictures\)"),
        ({JINJA: "{% macro r(x) %}{{ r(x) }}{% endmacro %}{{ r(1) }}"}, r"cannot be used \(RecursionError"),
        ({JINJA: "{{ ''.__class__.__mro__[1].__subclasses__() }}"}, r"cannot be used \(SecurityError"),
        ({JINJA: TEMPLATE, JSON: OTHER}, "two chat templates that write different prompts, in chat_template.jinja and "
                                         "chat_template.json"),
        ({JSON: TEMPLATE, PROCESSOR: OTHER}, "in chat_template.json and processor_config.json"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_place_media_is_refused(given: dict[str, Any], sentence: str, folder: Path) -> None:
    message = refusal(templates(folder, given))
    assert re.search(sentence, message), message


# ----------------------------------------------------------------------------------------------------------- processor


def pictures(**keys: Any) -> Change:
    return lambda folder: copies.merged(folder / "preprocessor_config.json", **keys)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            pictures(patch_size=16),
            "preprocessor_config.json: patch_size is 16, and vision_config of config.json has patch_size 14",
        ),
        (pictures(merge_size=3), "merge_size is 3, and vision_config of config.json has spatial_merge_size 2"),
        (pictures(patch_size="14"), "'patch_size' must be"),
        (pictures(image_mean=[0.5, 0.5]), "'image_mean' is empty"),
        (pictures(image_mean=["0.5"] * 3), "image_mean, entry 1 must be"),
        (pictures(image_std=[0.5, 0.5, 0]), "image_std must be three numbers above zero"),
        (pictures(image_std=[0.5, 0.5, 10**400]), "image_std, entry 3 must be"),
        (pictures(size=[1, 2]), "'size' must be"),
        (
            pictures(size={"shortest_edge": "a", "longest_edge": 10}),
            r"'size.shortest_edge' must be a whole number, not 'a'",
        ),
        (pictures(size={"shortest_edge": 0, "longest_edge": 10}), r"'size.shortest_edge' must be above 0, not 0"),
        (
            pictures(size={"shortest_edge": 10**6, "longest_edge": 10}),
            r"min_pixels \(shortest_edge\) is 1000000, above",
        ),
        (pictures(size={"shortest_edge": 1, "longest_edge": 10**400}), r"'size.longest_edge' must be"),
        (pictures(size={}), r"size must say shortest_edge and longest_edge, in pixels, not \{\}"),
        (pictures(size={"width": 224, "height": 224}), "size must say shortest_edge and longest_edge"),
        (pictures(size={"shortest_edge": 784}), "size must say shortest_edge and longest_edge"),
        (pictures(size={"longest_edge": 784}), "size must say shortest_edge and longest_edge"),
        (pictures(processor_class=["x"]), "'processor_class' must be"),
        (pictures(min_pixels=0), "'min_pixels' must be"),
        (pictures(max_pixels=-5), "'max_pixels' must be"),
        (pictures(do_resize=False), "do_resize is false"),
        (pictures(do_center_crop=True), "do_center_crop is true"),
        (pictures(resample=0), "resample is 0, but .*put 3 there"),
        (
            pictures(image_processor_type="CLIPImageProcessor"),
            "image_processor_type is 'CLIPImageProcessor', which is not Qwen2.5",
        ),
        (pictures(image_processor_type="a\nb"), r"image_processor_type is 'a\\nb'"),
    ],
)
def test_processor_settings_that_cannot_be_obeyed_are_refused(change: Change, sentence: str, folder: Path) -> None:
    (folder / "video_preprocessor_config.json").unlink()
    change(folder)
    message = refusal(folder)
    assert re.search(sentence, message), message
    assert "preprocessor_config.json" in message


@pytest.mark.parametrize(
    ("change", "limits"),
    [
        (pictures(), (784, 12845056)),
        (pictures(min_pixels=784, max_pixels=3136), (784, 3136)),
        (pictures(size={"min_pixels": 784, "max_pixels": 4000}), (784, 4000)),
        (pictures(size=None), (3136, 1003520)),
        (pictures(size=None, min_pixels=3136, max_pixels=12845056), (3136, 12845056)),
        (pictures(max_pixels=1003520), (784, 1003520)),
    ],
)
def test_limits_on_pictures_are_the_folder_s_own(change: Change, limits: tuple[int, int], folder: Path) -> None:
    change(folder)
    policy, sources = checkpoint_policy(read_checkpoint(folder), {})
    assert (policy.image_min_pixels, policy.image_max_pixels) == limits
    assert "preprocessor_config.json" in sources["image_max_pixels"]
    assert checkpoint_policy(read_checkpoint(folder), {"image_max_pixels": 9999})[0].image_max_pixels == 9999


@pytest.mark.parametrize("given", ["Qwen2_5_VLImageProcessor", "Qwen2_5_VLImageProcessorFast"])
def test_a_class_that_transformers_dropped_is_mended_in_what_is_served(given: str, folder: Path) -> None:
    pictures(image_processor_type=given)(folder)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.served != folder.resolve()
    served = json.loads((checkpoint.served / "preprocessor_config.json").read_text())
    assert served["image_processor_type"] == "Qwen2VLImageProcessor"
    assert any(given in line for line in checkpoint.remarks)


# ------------------------------------------------------------------------------------------------------------- folders


def test_what_is_no_folder_is_refused_with_the_nearest_one(folder: Path, tmp_path: Path) -> None:
    assert f"did you mean '{folder}'?" in refusal(tmp_path / "cpoy")
    assert "is not a folder" in refusal(tmp_path / "nothing-like-it")
    assert "is not a folder" in refusal(folder / "config.json")
    assert "is not a folder" in refusal("~nobody-of-that-name/x")
    assert "is not a folder" in refusal("x" * 5000)


def test_a_folder_without_a_model_says_where_one_may_be(tmp_path: Path) -> None:
    for step in ("checkpoint-1", "checkpoint-2"):
        copies.copy(copies.tiny(OLD), tmp_path / "run" / step)
    assert re.search(r"has no config.json: .* \(it holds 2 folders that do\)", refusal(tmp_path / "run"))
    (tmp_path / "bare").mkdir()
    assert "has no config.json: give the folder that holds one" in refusal(tmp_path / "bare")


def test_an_adapter_beside_whole_weights_is_a_question(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x/y"}')
    assert "adapter" in refusal(folder)


@pytest.mark.parametrize("name", ["with space", "100%&#$~^{}", "prüfung-ü", "a'b\"c"])
def test_any_folder_name_will_do(name: str, tmp_path: Path) -> None:
    made = copies.copy(copies.tiny(NEW), tmp_path / name)
    copies.shards(copies.load(made / WEIGHTS), made, 2, index=False)
    checkpoint = read_checkpoint(made)
    assert checkpoint.path == made
    assert checkpoint.served.is_dir()


# ------------------------------------------------------------------------------------------------------------ identity


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_follows_contents_alone(family: str, tmp_path: Path) -> None:
    first, second = (copies.copy(copies.tiny(family), tmp_path / name) for name in ("one", "other"))
    original = read_checkpoint(first).fingerprint
    (second / "README.md").write_text("notes")
    (second / "optimizer.pt").write_bytes(b"state")
    assert read_checkpoint(second).fingerprint == original
    prints = {original}
    files = sorted(path.name for path in first.iterdir())
    assert len(files) >= 7
    for name in files:
        if name == WEIGHTS:
            content = (second / name).read_bytes()
            (second / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            (second / name).write_text((second / name).read_text() + "\n")
        fingerprint = read_checkpoint(second).fingerprint
        assert fingerprint not in prints, name
        prints.add(fingerprint)


# ---------------------------------------------------------------------------------- who can take over a running engine


@pytest.mark.parametrize("family", FAMILIES)
def test_a_retrained_copy_can_take_over(family: Any, tmp_path: Path) -> None:
    running = read_checkpoint(copies.tiny(family))
    retrained = build_checkpoint(family, tmp_path / "new", num_heads=2, num_kv_heads=1, head_dim=16, seed=5,
                                 rope_theta=777.0,
                                 mm_rope="hope")  # fmt: skip
    assert switch_problem(running, read_checkpoint(retrained)) is None


def more_layers(folder: Path) -> None:
    build_checkpoint(OLD, folder, num_heads=2, num_kv_heads=1, head_dim=16, num_layers=3)


def without_head(folder: Path) -> None:
    config(tie_word_embeddings=True)(folder)
    tensors = copies.load(folder / WEIGHTS)
    del tensors["lm_head.weight"]
    copies.dump(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (more_layers, "describe different networks"),
        (vision(tokens_per_second=4), "describe different networks"),
        (config(rms_norm_eps=1e-5), "describe different networks"),
        (without_head, "describe different networks"),
        (tokenizer(model_max_length=7), r"tokenizers differ \(tokenizer_config.json\)"),
        (lambda folder: (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n"),
         r"tokenizers differ \(tokenizer.json\)"),
        (pictures(image_mean=[0.1, 0.1, 0.1]), "their image processors treat pixels differently"),
    ],
)  # fmt: skip
def test_another_network_or_another_reading_cannot_take_over(change: Change, words: str, folder: Path) -> None:
    running = read_checkpoint(copies.tiny(OLD))
    change(folder)
    problem = switch_problem(running, read_checkpoint(folder))
    assert problem is not None
    assert re.search(words, problem)


@pytest.mark.parametrize(
    "change",
    [
        pictures(max_pixels=3136, min_pixels=784),
        config(mm_rope="hope"),
        config(which_rope="videorope"),
        config(mm_media={"video_fps": 1.0}),
        config(rope_theta=777.0),
    ],
)
def test_what_is_obeyed_outside_the_network_needs_no_engine_of_its_own(change: Change, folder: Path) -> None:
    running = read_checkpoint(copies.tiny(OLD))
    change(folder)
    assert switch_problem(running, read_checkpoint(folder)) is None


def test_other_names_for_the_same_tensors_can_take_over(folder: Path) -> None:
    copies.dump(copies.old_names(copies.load(folder / WEIGHTS)), folder / WEIGHTS)
    assert switch_problem(read_checkpoint(copies.tiny(OLD)), read_checkpoint(folder)) is None


def test_the_words_of_these_checkpoints_are_what_the_tests_say() -> None:
    assert [token_id(token) for token in SPECIAL_TOKENS] == list(range(256, 270))

"""`mmrope-eval inspect`: facts of every checkpoint, what is wrong with one, how they differ; without torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrope_eval import cli
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.files import read_header

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
TINY = CHECKPOINTS / "mrope-i"

Inspect = Callable[..., tuple[int, str]]
Copy = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A checkpoint under a name, with other keys in config.json; `None` takes a key out."""

    def make(name: str = "copy", **keys: Any) -> Path:
        made = Path(shutil.copytree(TINY, tmp_path / name, copy_function=shutil.copy))
        config = {**json.loads((made / "config.json").read_text()), **keys}
        (made / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        return made

    return make


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Inspect:
    def call(*words: str | Path) -> tuple[int, str]:
        code = cli.main(["inspect", *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out or printed.err

    return call


def lines(text: str) -> dict[str, str]:
    """A block's lines by their keys; marked ones with their mark."""
    parts = [line.partition(":") for line in text.splitlines() if ":" in line]
    return {key.removeprefix("  "): value.strip() for key, _, value in parts}


def facts(printed: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(printed)["checkpoints"][0]
    return content


def test_a_whole_checkpoint(inspect: Inspect) -> None:
    code, printed = inspect(TINY)
    assert code == 0
    value_by_line = lines(printed)
    assert value_by_line["path"] == str(TINY)
    assert value_by_line["variant"] == "mrope-i, by config.json (mm_rope)"
    assert value_by_line["fingerprint"] == read_checkpoint(TINY).fingerprint[:12]
    assert value_by_line["family"] == "Qwen2.5-VL (model_type qwen2_5_vl)"
    assert (value_by_line["rope theta"], value_by_line["mrope_section"]) == ("50", "4, 6, 6")
    assert value_by_line["rotary_dim"] == "32 of 32 channels of a head"
    assert value_by_line["attention"] == "4 heads on 4 KV heads of 32 channels, 4 layers"
    assert value_by_line["output matrix"] == "the word embeddings (tied)"
    assert value_by_line["video frames"] == "4 a second, 4 to 32 (config.json, mm_media)"
    assert value_by_line["pictures"] == "784 to 12,845,056 pixels, 28 x 28 a token (preprocessor_config.json)"
    assert value_by_line["chat template"] == "chat_template.jinja"
    assert "<|vision_start|><|image_pad|><|vision_end|>Which way is up?" in value_by_line["a question"]
    assert value_by_line["dtype"] == "float32 (stored as bfloat16)"
    count = sum(int(np.prod(tensor.shape)) for tensor in read_header(TINY / "model.safetensors").values())
    assert value_by_line["weights"].startswith(f"{count:,} parameters, ")
    assert "asked differently" not in printed


def test_json_has_all_of_it(inspect: Inspect) -> None:
    code, printed = inspect(TINY, CHECKPOINTS / "mrope", "--json")
    content = json.loads(printed)
    checkpoint = content["checkpoints"][0]
    assert code == 0 and checkpoint["state"] == "whole" and checkpoint["questions"] == []
    assert checkpoint["fingerprint"] == read_checkpoint(TINY).fingerprint
    assert checkpoint["variant"]["definition"]["position"]["spatial_reset"] is True
    assert checkpoint["media"]["limits"]["video_max_tokens"] == 64
    assert checkpoint["media"]["sources"]["video_max_tokens"] == "config.json, mm_media"
    assert content["asked_differently"]["from"] == str(TINY)
    (other,) = content["asked_differently"]["others"]
    assert [difference["what"] for difference in other["differences"]] == ["variant"]
    assert other["switch_problem"] is None


def test_a_broken_one_does_not_stop_the_others(copy: Copy, inspect: Inspect) -> None:
    broken = copy("broken")
    (broken / "preprocessor_config.json").unlink()
    code, printed = inspect(broken, TINY, CHECKPOINTS / "hope")
    assert code == 1
    first, second, third, differing = printed.split("\n\n")
    assert lines(first)["! broken"].startswith(f"checkpoint '{broken}' has no preprocessor_config.json")
    assert lines(second)["variant"].startswith("mrope-i") and lines(third)["variant"].startswith("hope")
    assert differing.startswith(f"asked differently from {TINY}\n")
    code, printed = inspect(broken, "--json")
    assert code == 1 and facts(printed)["state"] == "broken" and "preprocessor_config" in facts(printed)["problem"]


def test_a_question_is_shown_beside_the_rest(copy: Copy, inspect: Inspect) -> None:
    made = copy("odd", mm_rope=None, which_rope="hope")
    code, printed = inspect(made)
    value_by_line = lines(printed)
    assert code == 1 and "which_rope" in value_by_line["! question"] and "variant" not in value_by_line
    assert value_by_line["rope theta"] == "50" and value_by_line["boxes"] == "absolute (its family's)"
    code, printed = inspect(f"{made}=hope")
    assert code == 0 and lines(printed)["variant"] == "hope, by --variant"
    code, printed = inspect(made, "--variant", "mhrope")
    assert code == 1 and "assigns 8 KV heads, but the model has 4" in lines(printed)["! question"]
    code, printed = inspect(made, "--variant", "mhrope", "--set", "mrope_section=[1,1,2]")
    assert code == 0


def test_open_questions_are_no_agreement(copy: Copy, inspect: Inspect) -> None:
    first, second = (copy(name, mm_rope=None, which_rope=name) for name in ("m_rope", "videorope"))
    code, printed = inspect(first, second, TINY)
    assert code == 1
    differing = printed.partition("asked differently")[2]
    assert "variant:  an open question\n" in differing and "not an open question\n" in differing
    assert "absent" not in differing and "nothing" not in differing


def test_what_is_only_assumed_is_marked(copy: Copy, inspect: Inspect) -> None:
    code, printed = inspect(copy("plain", mm_rope=None))
    value_by_line = lines(printed)
    assert code == 0 and value_by_line["! variant"] == "qwen2.5-vl, by model type (qwen2_5_vl)"
    assert "stamp CKPT" in value_by_line["! assumed"]
    named = copy("my-hope", mm_rope=None)
    code, printed = inspect(named)
    assert code == 1 and "--variant hope" in lines(printed)["! question"]
    code, printed = inspect(named, "--assume-stock")
    assert code == 0 and lines(printed)["! variant"].startswith("qwen2.5-vl")


def test_limits_that_contradict_each_other(copy: Copy, inspect: Inspect) -> None:
    code, printed = inspect(copy(mm_media={"image_max_pixels": 100}))
    assert code == 1 and "image_min_pixels is 784, above image_max_pixels" in lines(printed)["! question"]
    assert lines(printed)["variant"].startswith("mrope-i")
    code, printed = inspect(copy("boxes", mm_coordinates="inches"))
    assert code == 1 and "unknown coordinate convention 'inches'" in lines(printed)["! question"]


def test_what_differs_is_named(copy: Copy, inspect: Inspect, tmp_path: Path) -> None:
    other = copy(mm_coordinates="thousand", torch_dtype="bfloat16", rope_scaling={"type": "linear", "factor": 2.0})
    processor = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps({**processor, "max_pixels": 3136}))
    template = other / "chat_template.jinja"
    template.write_text("You see." + template.read_text())
    settings = other / "tokenizer_config.json"
    settings.write_text(settings.read_text() + "\n")
    (tmp_path / "models.yaml").write_text(f"- {TINY}\n- path: {other}\n  prompts: paper\n")
    code, printed = inspect("--models", tmp_path / "models.yaml", "--json")
    assert code == 0
    (compared,) = json.loads(printed)["asked_differently"]["others"]
    differences = {row["what"]: (row["first"], row["other"]) for row in compared["differences"]}
    assert differences["image_max_pixels"] == ("12,845,056", "3,136")
    assert differences["boxes"] == ("absolute", "thousand")
    assert differences["prompts"] == ("qwen2.5-vl", "paper")
    assert differences["dtype"] == ("float32", "bfloat16")
    assert differences["context scaling"] == ("none", '{"type": "linear", "factor": 2.0}')
    assert differences["a question"][1] == f"You see.{differences['a question'][0]}"
    assert {"chat template", "tokenizer_config.json", "variant"} <= differences.keys()
    assert compared["switch_problem"] == "their config.json describe different networks"
    code, printed = inspect("--models", tmp_path / "models.yaml")
    assert "    boxes:                  thousand, not absolute\n" in printed
    assert printed.endswith(f"    {'engine:':<22}  each needs its own: their config.json describe different networks\n")


def test_one_folder_under_two_variants(inspect: Inspect) -> None:
    code, printed = inspect(TINY, f"{TINY}=mrope")
    assert code == 0 and "mrope (" in printed and printed.endswith("one can switch between them\n")
    code, printed = inspect(TINY, f"{TINY}=mrope-i")
    assert re.search(r"frames: +by index, 1 a grid \(time: index\), not by the clock, 2 a second \(time:", printed)
    plain = CHECKPOINTS / "vanilla"
    code, printed = inspect(plain, f"{plain}=vanilla")
    assert "nothing:  the same questions" in printed


def test_headers_alone(copy: Copy, inspect: Inspect) -> None:
    made = copy()
    header = next(iter(read_header(made / "model.safetensors").values()))
    content = bytearray((made / "model.safetensors").read_bytes())
    content[header.begin : header.end] = b"\xff" * (header.end - header.begin)  # nan
    (made / "model.safetensors").write_bytes(content)
    code, printed = inspect(made)
    assert code == 1 and "not finite" in lines(printed)["! broken"]
    code, printed = inspect(made, "--no-weights")
    assert code == 0 and "values not read" in lines(printed)["state"]
    assert lines(printed)["fingerprint"] == "not computed (--no-weights)"
    code, printed = inspect(made, "--no-weights", "--json")
    assert facts(printed)["fingerprint"] is None and facts(printed)["weights"]["read"] is False


def test_an_adapter_is_not_merged_for_its_headers(tmp_path: Path, inspect: Inspect) -> None:
    adapter = tmp_path / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "base_model_name_or_path": str(TINY), "r": 4, "lora_alpha": 8,
        "target_modules": ["q_proj"]}))
    (adapter / "adapter_model.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    code, printed = inspect(adapter, "--no-weights")
    assert code == 0 and lines(printed)["adapter"] == f"LoRA of rank 4, alpha 8, on {TINY}"
    assert not (tmp_path / "cache").exists()


def test_the_step_of_a_training(copy: Copy, inspect: Inspect, tmp_path: Path) -> None:
    copy("run/checkpoint-20")
    copy("run/checkpoint-3")
    code, printed = inspect(tmp_path / "run")
    assert code == 0
    assert [line.strip() for line in printed.splitlines() if "training:" in line] == [
        f"training:       step {step} of {tmp_path / 'run'}" for step in (3, 20)]


BAD: dict[str, tuple[list[Any], str]] = {
    "nothing": ([], "name at least one checkpoint"),
    "no folder": (["no/such/folder"], "is not a folder"),
    "no variant": ([TINY, "--variant", "mrope-ii"], "did you mean 'mrope-i'"),
    "no variant behind =": ([f"{TINY}=hop"], "did you mean 'hope'"),
    "no parameter": ([TINY, "--variant", "mrope", "--set", "stride=1"], "has no parameter 'stride'"),
    "twice": ([TINY, TINY], "is named twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_exit_code_2(case: str, inspect: Inspect) -> None:
    words, sentence = BAD[case]
    code, printed = inspect(*words)
    assert code == 2 and sentence in printed and printed.count("\n") == 1


def test_nothing_heavy_is_imported() -> None:
    code = ("import sys; from mmrope_eval import cli; "
            f"assert cli.main(['inspect', {str(TINY)!r}, {str(CHECKPOINTS / 'circlerope-upstream')!r}]) == 0; "
            "print([name for name in ('torch', 'transformers', 'vllm', 'lmms_eval') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("\n[]\n"), done.stdout[-300:] + done.stderr


PAGE = CHECKPOINTS.parent / "docs" / "checkpoints.md"


def shown_on_the_page(mark: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")[2]
    return [line.removeprefix("    ") for line in text.partition("\n\n")[0].splitlines()]


def test_the_page_shows_what_is_printed(inspect: Inspect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(CHECKPOINTS.parent)
    printed = inspect("checkpoints/mrope-i", "checkpoints/mrope")[1].splitlines()
    wanted = shown_on_the_page("inspect")
    cut = wanted.index("...")
    changing = ("  path:", "  fingerprint:")  # with the place, and with every training of the demo
    assert [line for line in printed[:cut] if not line.startswith(changing)] == [
        line for line in wanted[:cut] if not line.startswith(changing)]
    assert printed[cut - len(wanted) + 1 :] == wanted[cut + 1 :]

    monkeypatch.chdir(tmp_path)
    shutil.copytree(TINY, "CKPT", copy_function=shutil.copy)
    config = json.loads(Path("CKPT/config.json").read_text())
    Path("CKPT/config.json").write_text(json.dumps({key: value for key, value in config.items() if key != "mm_rope"}))
    assert cli.main(["stamp", "CKPT", "mrope-i"]) == 0
    assert capsys.readouterr().out.replace(str(tmp_path) + "/", "").splitlines() == shown_on_the_page("stamp")


def test_the_sentences_on_the_page_are_said() -> None:
    import ast

    literals = "\n".join(
        str(node.value) for path in (CHECKPOINTS.parent / "mmrope_eval" / "models").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)
    )  # fmt: skip
    table = PAGE.read_text(encoding="utf-8").partition("| checked | said |")[2].partition("\n\n")[0]
    sentences = [row.split("|")[2].strip().strip("`") for row in table.splitlines()[2:]]
    assert len(sentences) > 20
    assert [sentence for sentence in sentences if sentence not in literals] == []

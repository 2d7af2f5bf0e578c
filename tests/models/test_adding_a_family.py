"""A model family is one file in models/families, and one in configs/families for how it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from copied_product import copy_product

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.errors import UserError
from mmrope_eval.models.families import asked_as, family_of, read_families

RECORD = '''"""A family of its own name and patch limits, with Qwen2.5-VL's classes."""

import dataclasses

from mmrope_eval.models.families.qwen2_5_vl import FAMILY as QWEN2_5_VL

FAMILY = dataclasses.replace(
    QWEN2_5_VL,
    name="made-up-vl",
    title="Made-up-VL",
    model_type="made_up_vl",
    stock_variant="mrope-i",
    hf_model_type="qwen2_5_vl",
    image_limits=(4 * 28 * 28, 64 * 28 * 28),
    also_asked_as=(),
    video=dataclasses.replace(QWEN2_5_VL.video, tokens_per_second=3, frame_limits=(3136, 12544)),
)
'''
WORDING = "coordinates: thousand\nprompts: made-up-vl\nsystem: null\n"

Ask = Callable[[str], str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with a family more: two files, and nothing else is edited."""
    house = copy_product(tmp_path_factory.mktemp("house"), "mmrope_synth", "configs", "tasks")
    (house / "mmrope_eval/models/families/made_up_vl.py").write_text(RECORD)
    (house / "configs/families/made-up-vl.yaml").write_text(WORDING)
    return house


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint whose config.json is of the new type and leaves out what its family decides."""
    folder = build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("checkpoints") / "made-up")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "made_up_vl"
    config["rope_scaling"]["mrope_section"] = [6, 5, 5]  # as its stock variant, mrope-i, divides 16 pairs
    del config["vision_config"]["tokens_per_second"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def ask(house: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """What code prints in a process of the copied product; `checkpoint` is the folder's path there."""

    def run(code: str) -> str:
        variables = {**os.environ, "PYTHONPATH": str(house),
                     "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", f"checkpoint = {str(checkpoint)!r}\n{code}"], cwd=house,
                              env=variables, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_checkpoint_of_it_is_read_and_inspected(ask: Ask) -> None:
    printed = ask("from mmrope_eval.cli import main\nmain(['inspect', checkpoint, '--json', '--assume-stock'])")
    (report,) = json.loads(printed)["checkpoints"]
    assert report["problem"] is None and report["questions"] == [] and report["variant"]["name"] == "mrope-i"
    assert report["family"] == {"name": "made-up-vl", "title": "Made-up-VL", "model_type": "made_up_vl"}
    assert report["network"]["tokens_per_second"] == 3


def test_its_limits_and_wording_are_its_own(ask: Ask) -> None:
    printed = ask("""
from mmrope_eval.media.policy import checkpoint_policy, published_size
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.families import asked_as
from mmrope_eval.task.registry import Registry
read = read_checkpoint(checkpoint, read_weights=False)
policy, _ = checkpoint_policy(read, {})
print((policy.frame_min_pixels, policy.frame_max_pixels), Registry().family(read.family.name).coordinates)
print(published_size(1000, 1000, asked_as("made-up-vl")), read.family.stock_variant)
""")
    assert printed == "(3136, 12544) thousand\n(224, 224) mrope-i\n"


REFERENCE = """
import torch
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.media.image import LoadedVideo
from mmrope_eval.messages import Generation, Request, VideoSource
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.reference import load_reference
from mmrope_eval.rope import load_variant
read = read_checkpoint(checkpoint)
text, ids = PromptWriter(read).write(Request("a", ("How many?",), Generation(max_tokens=1)))
reference = load_reference(read.served, load_variant("mrope"))
prompt = reference.prepare(["How many?"])
print(prompt.token_ids == tuple(ids), type(reference.model).__name__, read.family.architecture)
print(reference.model.config.model_type, reference.model.config.mm_family)
logits = reference.forward(reference.collate([prompt]))
print(bool(torch.isfinite(logits).all()))
"""
ENGINE = """
from pathlib import Path
from PIL import Image
from mmrope_eval.engine.live import LiveEngine
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.media.policy import checkpoint_policy
from mmrope_eval.messages import Generation, ImageSource, Request
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_eval.reference import load_reference
Image.linear_gradient("L").convert("RGB").save("picture.png")
read = read_checkpoint(checkpoint)
chosen = resolve_variant(read, None, assume_stock=True)
request = Request("a", (ImageSource(Path("picture.png")), "How many?"), Generation(max_tokens=6, ignore_eos=True))
with LiveEngine.start(read, chosen.variant, EngineOptions(workers=False, max_model_len=2048)) as engine:
    (answer,) = engine.stream([request])
    print("shape", engine._shape.tokens_per_second, chosen.variant.name)
reference = load_reference(read.served, chosen.variant)
prompt = reference.prepare_request(request, checkpoint_policy(read, {})[0])
print("same", reference.generate(prompt, request.generation).token_ids == answer.token_ids, len(answer.token_ids))
"""


@pytest.fixture(scope="module")
def computed(ask: Ask) -> list[str]:
    """What both print, in one process: it imports for longer than they take."""
    return ask(f"{REFERENCE}print('engine')\n{ENGINE}").splitlines()


def test_its_prompts_positions_and_reference_are_made(computed: list[str]) -> None:
    """A video's grid lasts one second, and the family counts 3 units a second."""
    assert computed[: computed.index("engine")] == [
        "True Qwen2_5_VLForConditionalGeneration MMRope_made_up_vl_Qwen2_5_VLForConditionalGeneration",
        "qwen2_5_vl made_up_vl", "True",
    ]  # fmt: skip


def test_an_engine_answers_as_the_reference(computed: list[str]) -> None:
    """vLLM's class is Qwen2.5-VL's; what a second counts and the variant where none is named are the family's own."""
    assert [line for line in computed if line.startswith(("shape", "same"))] == [
        "shape 3.0 mrope-i", "same True 6",
    ]  # fmt: skip


@pytest.mark.parametrize("text, problem", [
    ("x = 1\n", "odd declares no FAMILY"),
    ("from mmrope_eval.models.families.qwen3_vl import FAMILY\n", None),
])  # fmt: skip
def test_a_file_declares_one_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str | None
) -> None:
    package = tmp_path / "some_families"
    package.mkdir()
    (package / "odd.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("some_families")]:
        monkeypatch.delitem(sys.modules, name)
    if problem is None:
        assert [family.name for family in read_families([str(package)], "some_families")] == ["qwen3-vl"]
        (package / "twice.py").write_text(text)
        problem = "declares 'qwen3-vl', which there is already"
    with pytest.raises(TypeError, match=problem):
        read_families([str(package)], "some_families")


def test_what_no_family_is_called_is_refused_by_name() -> None:
    assert asked_as("paper").name == "qwen2.5-vl"
    with pytest.raises(UserError, match="no model family is asked as 'gemma'"):
        asked_as("gemma")
    with pytest.raises(UserError, match="of model type 'gemma3': this project evaluates qwen2_vl, qwen2_5_vl, "):
        family_of("gemma3", "here")

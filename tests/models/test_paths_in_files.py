"""A path inside a YAML or config.json means the file beside it; where there is none, the one in the working folder.

A table, a sweep or a checkpoint that was right from one folder was wrong from every other. Paths in a --models file are
always relative to it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import pytest
import yaml

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.naming import resolve_models
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.rope import Variant, VariantError, beside, load_variant, load_variant_beside
from mmrope_eval.sweep.config import read_sweep

STRIDES = {"beside": 0.25, "there": 0.5, "base": 0.125}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def variant_file(path: Path, stride: float, extends: str = "mrope-i") -> Path:
    return write(path, {"extends": extends, "position": {"temporal_stride": stride}})


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`files` and `work` both have a variants/half.yaml, and each one more; `work` is the working folder."""
    for folder, kind in (("files", "beside"), ("work", "there")):
        variant_file(tmp_path / folder / "variants" / "half.yaml", STRIDES[kind])
        variant_file(tmp_path / folder / "variants" / f"{kind}.yaml", STRIDES[kind])
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "files"


def of_table(folder: Path, name: str) -> Variant:
    path = write(folder / "table.yaml", {"rows": [{"label": "row", "variant": name}], "columns": ["ChartQA"]})
    variant = load_definition(str(path)).rows[0].variant
    assert variant is not None
    return variant


def of_row_by_name(folder: Path, name: str) -> Variant:
    variant = load_definition(str(write(folder / "table.yaml", {"rows": [name], "columns": ["MMMU"]}))).rows[0].variant
    assert variant is not None
    return variant


def of_sweep(folder: Path, name: str) -> Variant:
    content = {"contexts": [96], "train_context": 96, "tasks": ["lvbench"], "variants": [name]}
    return load_variant(read_sweep(str(write(folder / "sweep.yaml", content))).variants[0])


def of_variant(folder: Path, name: str) -> Variant:
    return load_variant(write(folder / "mine.yaml", {"extends": name, "summary": "mine"}))


def checkpoint(folder: Path, mm_rope: Any) -> Path:
    made = folder / "ck"
    shutil.rmtree(made, ignore_errors=True)
    copies.copy(copies.tiny("qwen2.5-vl"), made)
    path = made / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mm_rope": mm_rope}))
    return made


def up(name: str) -> str:
    """A path as a file one folder further down has it."""
    return name if Path(name).is_absolute() else f"../{name}"


def of_checkpoint(folder: Path, name: str) -> Variant:
    return resolve_variant(read_checkpoint(checkpoint(folder, up(name)), read_weights=False), None).variant


def of_checkpoint_with_overrides(folder: Path, name: str) -> Variant:
    spec = {"name": up(name), "integer_time": False}
    return resolve_variant(read_checkpoint(checkpoint(folder, spec), read_weights=False), None).variant


def of_checkpoint_by_definition(folder: Path, name: str) -> Variant:
    spec = {"name": "own", "extends": up(name)}
    return resolve_variant(read_checkpoint(checkpoint(folder, spec), read_weights=False), None).variant


def of_models_file(folder: Path, name: str) -> Variant:
    (folder / "ck").mkdir(exist_ok=True)
    (folder / "ck" / "config.json").write_text("{}")
    variant = resolve_models([], [write(folder / "models.yaml", [{"path": "ck", "variant": name}])])[0].variant
    assert variant is not None
    return load_variant(variant)


KINDS: dict[str, Callable[[Path, str], Variant]] = {
    "table, row": of_table, "table, row by path": of_row_by_name, "sweep": of_sweep, "variant, extends": of_variant,
    "checkpoint": of_checkpoint, "checkpoint, overrides": of_checkpoint_with_overrides,
    "checkpoint, definition": of_checkpoint_by_definition, "--models": of_models_file,
}  # fmt: skip


def stride(variant: Variant) -> float:
    return float(variant.to_dict()["position"]["temporal_stride"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_beside_goes_before_the_one_in_the_working_folder(kind: str, folders: Path) -> None:
    assert stride(KINDS[kind](folders, "variants/half.yaml")) == STRIDES["beside"]
    assert stride(KINDS[kind](folders, "variants/beside.yaml")) == STRIDES["beside"]
    assert stride(KINDS[kind](folders, str(folders.parent / "work/variants/half.yaml"))) == STRIDES["there"]


@pytest.mark.parametrize("kind", ["table, row", "table, row by path", "sweep", "variant, extends"])
def test_where_there_is_none_beside_the_working_folder_has_it(kind: str, folders: Path) -> None:
    assert stride(KINDS[kind](folders, "variants/there.yaml")) == STRIDES["there"]


def test_a_checkpoints_path_may_be_from_the_working_folder_too(folders: Path) -> None:
    made = checkpoint(folders, "variants/there.yaml")
    assert stride(resolve_variant(read_checkpoint(made, read_weights=False), None).variant) == STRIDES["there"]


@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_none_at_all_the_path_is_named(kind: str, folders: Path) -> None:
    with pytest.raises((UserError, VariantError), match=r"no variant file at '\S*variants/gone.yaml'"):
        KINDS[kind](folders, "variants/gone.yaml")


def test_a_name_is_no_path(folders: Path) -> None:
    """A folder or a file that is called like a variant changes nothing."""
    variant_file(folders / "hope", 9.0)
    assert beside("hope", folders) == "hope"
    assert load_variant_beside(folders, "hope") == load_variant("hope")
    assert load_variant_beside(folders, {"name": "hope"}) == load_variant("hope")


def test_a_chain_of_files_each_names_the_next_from_where_it_lies(folders: Path) -> None:
    variant_file(folders / "b" / "second.yaml", 3.0)
    variant_file(folders / "a" / "first.yaml", 2.0, extends="../b/second.yaml")
    write(folders / "top.yaml", {"extends": "a/first.yaml", "position": {"integer_time": False}})
    assert stride(load_variant(folders / "top.yaml")) == 2.0


def test_an_adapters_own_key_is_beside_it_and_its_bases_beside_the_base(folders: Path) -> None:
    base = read_checkpoint(checkpoint(folders, "../variants/beside.yaml"), read_weights=False)
    adapter = folders / "elsewhere" / "adapter"
    adapter.mkdir(parents=True)
    variant_file(folders / "elsewhere" / "variants" / "beside.yaml", 7.0)
    merged = dataclasses.replace(base, path=adapter, adapter={"base_path": str(base.path)})
    assert stride(resolve_variant(merged, None).variant) == STRIDES["beside"]
    (adapter / "config.json").write_text(json.dumps({"mm_rope": "../variants/beside.yaml"}))
    assert stride(resolve_variant(merged, None).variant) == 7.0


def test_stamp_knows_what_a_checkpoint_already_says_by_a_path(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variant = write(folders / "variants" / "wide.yaml", {"extends": "v2pe", "position": {"visual_stride": 4.0}})
    made = checkpoint(folders, "../variants/wide.yaml")
    assert cli.main(["stamp", str(made), str(variant)]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert cli.main(["inspect", str(made), "--no-weights"]) == 0
    assert "wide" in capsys.readouterr().out


def test_the_engine_finds_it_as_well(folders: Path) -> None:
    """vLLM on its own, with our plugin, reads config.json from wherever it was started."""
    from types import SimpleNamespace

    from mmrope_eval.engine.vllm_model import configured_variant

    config = SimpleNamespace(mm_rope="../variants/beside.yaml", model_type="qwen2_5_vl")
    about = SimpleNamespace(model_config=SimpleNamespace(hf_config=config, model=str(checkpoint(folders, "hope"))))
    assert stride(configured_variant(about)) == STRIDES["beside"]

"""`mmrope-eval stamp`: writes the key and nothing else, refuses what it should, and loses nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.models import stamp as module
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.identity import as_identified
from mmrope_eval.models.stamp import plan_stamp, spelled, write
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_eval.rope import Variant, load_variant, variant_names

TINY = Path(__file__).resolve().parents[2] / "checkpoints" / "mrope"

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """A checkpoint with other keys at the top and, where given, in a nested copy; `None` takes a key out."""

    def make(nested: dict[str, Any] | None = None, name: str = "ckpt", **top: Any) -> Path:
        made = Path(shutil.copytree(TINY, tmp_path / name, copy_function=shutil.copy))
        config = {**json.loads((made / "config.json").read_text()), **top}
        if nested is not None:
            config["text_config"] = {key: value for key, value in config.items() if key != "vision_config"} | nested
        for part in (config, config.get("text_config", {})):
            for key in [key for key, value in part.items() if value is None]:
                del part[key]
        (made / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        return made

    return make


def stamp(*words: str | Path) -> int:
    return cli.main(["stamp", *map(str, words)])


def config_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


def variant_of(folder: Path) -> Variant:
    return resolve_variant(read_checkpoint(folder), None).variant


def test_a_name_is_one_more_line_and_every_other_byte_stays(folder: Make,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    made = folder(mm_rope=None, note="ä é", epsilon=1e-06)
    (made / "config.json").chmod(0o640)
    before = (made / "config.json").read_text()
    assert stamp(made, "MRoPE_I") == 0
    after = (made / "config.json").read_text()
    last = before.rstrip()[:-1].rstrip()
    assert after == before.replace(last, last + ',\n  "mm_rope": "mrope-i"')
    assert (made / "config.json").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in TINY.iterdir())
    printed = capsys.readouterr().out
    assert '"mm_rope" is now "mrope-i"' in printed and f"mmrope-eval inspect {made}" in printed
    assert variant_of(made).fingerprint == load_variant("mrope-i").fingerprint
    assert stamp(made, "mrope-i") == 0 and "already" in capsys.readouterr().out
    assert (made / "config.json").read_text() == after


@pytest.mark.parametrize("spec", ["v2pe", "hope", "own.yaml", "circlerope"])
def test_what_has_no_name_is_written_in_full(folder: Make, tmp_path: Path, spec: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("extends: mrope-i\nposition: {temporal_stride: 0.5, integer_time: false}\n")
    change = {"v2pe": "visual_stride=64", "hope": "temporal_stride=0.75", "circlerope": "radius=auto-2"}.get(spec)
    changes = ["--set", change] if change else []
    made = folder(mm_rope=None)
    assert stamp(made, spec, *changes) == 0
    Path("own.yaml").unlink()
    key, _, value = (change or "").partition("=")
    wanted = (load_variant(spec, **{key: json.loads(value) if value[0].isdigit() else value}) if change else
              load_variant("mrope-i", temporal_stride=0.5, integer_time=False))
    assert variant_of(made).fingerprint == wanted.fingerprint


def test_every_shipped_variant_reads_back() -> None:
    for name in variant_names():
        variant = load_variant(name)
        assert spelled(name, {}, variant) == name
        assert load_variant(json.loads(json.dumps(variant.to_dict()))).fingerprint == variant.fingerprint


def test_another_variant_is_only_overwritten_by_force(folder: Make,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    made = folder()
    before = (made / "config.json").read_bytes()
    assert stamp(made, "hope") == 2
    printed = capsys.readouterr().err
    assert "'mrope' with time: seconds" in printed and "'hope'" in printed and "--force" in printed
    assert (made / "config.json").read_bytes() == before
    assert stamp(made, "hope", "--force") == 0
    old = b'"mm_rope": {\n    "name": "mrope",\n    "time": "seconds"\n  }'
    assert old in before and (made / "config.json").read_bytes() == before.replace(old, b'"mm_rope": "hope"')


def test_which_clock_is_part_of_the_stamp(folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = folder(mm_rope=None)
    assert stamp(made, "mrope-i") == 0
    assert "frames by index, 1 a grid (time: index)" in capsys.readouterr().out
    assert (variant_of(made).time, config_of(made)["mm_rope"]) == ("index", "mrope-i")
    named = (made / "config.json").read_text()
    before = read_checkpoint(made).fingerprint
    assert stamp(made, "mrope-i", "--set", "time=seconds") == 2, "it says another clock already"
    assert "'mrope-i' at the top, and you say 'mrope-i' with time: seconds" in capsys.readouterr().err
    assert stamp(made, "mrope-i", "--set", "time=seconds", "--force") == 0
    printed = capsys.readouterr().out
    assert '"mm_rope" is now {"name": "mrope-i", "time": "seconds"}, fingerprint faf767954d0e' in printed
    assert "frames by the clock, 2 a second (time: seconds)" in printed
    assert "it says what the file meant before: answers that were stored are kept" in printed
    assert "asked again" not in printed
    assert variant_of(made).time == "seconds" and read_checkpoint(made).fingerprint == before
    assert as_identified((made / "config.json").read_text()) == named
    assert stamp(made, "mrope-i", "--set", "time=index", "--force") == 0
    assert "asked again" in capsys.readouterr().out and read_checkpoint(made).fingerprint != before


@pytest.mark.parametrize(("written", "meant"), [
    ({"name": "hope", "time": "seconds"}, "hope"),
    ({"name": "circlerope-upstream", "time": "seconds"}, "circlerope"),
    ({"name": "hope", "time": "index"}, {"name": "hope", "time": "index"}),
    ({"time": "seconds", "name": "v2pe", "visual_stride": 4}, {"name": "v2pe", "visual_stride": 4}),
    ({"name": "x", "position": {"layout": "grid", "time": "seconds"}}, {"name": "x", "position": {"layout": "grid"}}),
    ({"name": "x", "position": {"time": "seconds"}, "scaling": None}, {"name": "x", "position": {}, "scaling": None}),
    ("hope", "hope"), (7, 7), ([], []),
])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_saying_what_was_meant_is_no_other_identity(written: Any, meant: Any, nested: bool, indent: int | None) -> None:
    def text(value: Any) -> str:
        inner = {"text_config": {"a": [1], "mm_rope": value, "time": "seconds"}} if nested else {}
        other = {"time": "seconds", "position": {"time": "seconds"}}
        return json.dumps({**other, "mm_rope": value, **inner, "x": other}, indent=indent)

    assert json.loads(as_identified(text(written))) == json.loads(text(meant))
    assert as_identified(text(meant)) == text(meant)
    if not isinstance(meant, str):
        return
    assert as_identified(text(written)) == text(meant), "to the byte"


def test_a_copy_in_text_config_agrees_afterwards(folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = folder(nested={"mm_rope": "mrope-i"})
    assert stamp(made, "mrope-i") == 2, "the top still names the variant before it, as transformers 4.57 leaves it"
    assert "'mrope' with time: seconds at the top" in capsys.readouterr().err
    assert stamp(made, "mrope-i", "--force") == 0
    assert "text_config" in capsys.readouterr().out
    config = config_of(made)
    assert config["mm_rope"] == config["text_config"]["mm_rope"] == "mrope-i"
    assert variant_of(made).name == "mrope-i"
    assert stamp(made, "v2pe", "--set", "visual_stride=32", "--force") == 0
    assert config_of(made)["text_config"]["mm_rope"]["position"]["visual_stride"] == 32
    assert '\n    "mm_rope": {\n      "name"' in (made / "config.json").read_text(), "laid out as the file is"
    alone = folder(nested={"mm_rope": "mrope-i"}, mm_rope=None, name="alone")
    assert stamp(alone, "mrope-i") == 0 and config_of(alone)["mm_rope"] == "mrope-i"


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown": ({"mm_rope": None}, "mrope-ii", "did you mean 'mrope-i'"),
    "no fit": ({"mm_rope": None}, "mhrope", "does not fit checkpoint .* the model has 4"),
    "circle": ({"mm_rope": None, "circle_rope": {"alpha": 0.5, "radius": 10, "move_to_origin": True}}, "mrope-i",
               "'mrope-i' at mm_rope of the top and .*circle.* at circle_rope of the top"),
    "v2pe": ({"mm_rope": None, "rope_pos_id_version": "v2pe_fix", "rope_pos_id_stride": 16}, "mrope",
             "names two variants: 'mrope' at mm_rope of the top and .*v2pe.* at rope_pos_id_version"),
    "another clock": ({}, "mrope", "already says mm_rope 'mrope' with time: seconds at the top, and you say 'mrope'"),
    "no number": ({"mm_rope": 7}, "mrope", "already says mm_rope 7"),
    "family": ({"model_type": "llama", "mm_rope": None}, "mrope", "model type 'llama'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(folder: Make, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    keys, variant, sentence = REFUSED[case]
    made = folder(**keys)
    before = (made / "config.json").read_bytes()
    assert stamp(made, variant) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert re.search(sentence, printed), printed
    assert (made / "config.json").read_bytes() == before
    assert not list(made.glob(".config*"))


def test_a_key_that_agrees_is_no_contradiction(folder: Make) -> None:
    made = folder(mm_rope=None, circle_rope={"alpha": 0.5, "radius": 10, "move_to_origin": True})
    assert stamp(made, "circlerope") == 0


def test_a_key_that_only_asks_is_answered(folder: Make) -> None:
    made = folder(mm_rope=None, which_rope="m_rope")
    with pytest.raises(UserError, match="which_rope"):
        variant_of(made)
    assert stamp(made, "mrope-i") == 0 and variant_of(made).name == "mrope-i"


def test_the_hub_s_cache_is_never_written(folder: Make, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    blob = folder(mm_rope=None, name="blobs") / "config.json"
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(blob)
    before = blob.read_bytes()
    assert stamp(snapshot, "mrope-i", "--force") == 2
    printed = capsys.readouterr().err
    assert str(blob) in printed and "CKPT=VARIANT" in printed and "copy the folder" in printed
    assert blob.read_bytes() == before and (snapshot / "config.json").is_symlink()
    (snapshot / "config.json").unlink()
    shutil.copy(blob, snapshot / "config.json")  # where the cache's file system has no links
    assert stamp(snapshot, "mrope-i") == 2 and "in the hub's cache" in capsys.readouterr().err
    for word in ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct=mrope"):
        assert stamp(word, "mrope") == 2
        assert "folders of this machine only" in capsys.readouterr().err


def test_a_failure_leaves_the_file(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(mm_rope=None)
    before = (made / "config.json").read_bytes()
    plan = plan_stamp(made, load_variant("mrope-i"), "mrope-i")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*it is as it was"):
        write(plan)
    assert (made / "config.json").read_bytes() == before
    assert not list(made.glob(".config*"))


def test_a_folder_that_cannot_be_written(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(mm_rope=None)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match="cannot be written: make it writable"):
        plan_stamp(made, load_variant("mrope-i"), "mrope-i")


def test_other_folders_with_the_same_file_keep_theirs(folder: Make, tmp_path: Path) -> None:
    made = folder(mm_rope=None)
    os.link(made / "config.json", tmp_path / "hard-link.json")
    before = (tmp_path / "hard-link.json").read_bytes()
    assert stamp(made, "mrope-i") == 0
    assert (tmp_path / "hard-link.json").read_bytes() == before


def test_all_steps_of_a_training_at_once(folder: Make, tmp_path: Path) -> None:
    steps = [folder(mm_rope=None, name=f"run/checkpoint-{step}") for step in (1, 2)]
    odd = folder(name="run/checkpoint-3")
    assert stamp(tmp_path / "run", "mrope-i") == 2, "one names another variant"
    assert all("mm_rope" not in config_of(step) for step in steps), "so nothing is written"
    shutil.rmtree(odd)
    assert stamp(tmp_path / "run", "mrope-i") == 0
    assert all(config_of(step)["mm_rope"] == "mrope-i" for step in steps)
    assert stamp(f"{tmp_path}/run/checkpoint-1=mrope", "mrope-i") == 2


def test_an_adapter_without_a_config(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"is an adapter without config\.json: stamp the model that it belongs to"):
        plan_stamp(tmp_path, load_variant("mrope"), "mrope")
    (tmp_path / "config.json").write_text('{"mm_media": {}}')  # an adapter's own keys, laid over its base's
    assert stamp(tmp_path, "mrope-i") == 0
    assert config_of(tmp_path) == {"mm_media": {}, "mm_rope": "mrope-i"}


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                      max_leaves=8)
KEYS = st.text().filter(lambda key: key not in ("mm_rope", "text_config"))


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.sampled_from([None, 1, 2, 4, "\t"]), st.booleans(),
       st.sampled_from(["mrope-i", {"name": "v2pe", "a": [1, {}]}]),
       st.sampled_from(["", "mm_rope", "text_config"]), st.sampled_from(["\n", "\r\n"]))
def test_any_json_keeps_all_else(content: dict[str, Any], indent: int | str | None, ascii_only: bool, value: Any,
                                 holder: str, newline: str) -> None:
    if holder == "mm_rope":
        content = {"mm_rope": {"old": 1}, **content}
    if holder == "text_config":
        content = {"text_config": {"mm_rope": "old", **content}, **content}
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only).replace("\n", newline)
    wanted = module._with(content, value, holder == "text_config")
    edited = module._edited(f" {text}\n", value, holder == "text_config")
    assert json.loads(edited) == wanted and list(json.loads(edited)) == list(wanted)

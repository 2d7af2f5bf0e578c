"""One set of weights in the layouts of eight writers is one checkpoint: the same tensors, words, limits and answers.

The layouts were compared with what transformers 4.49.0 and 4.57.3 really write; 5.19 writes its own here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_copies as copies
import numpy as np
import pytest
from checkpoint_copies import GENERATIONS, TRAINED

from mmrope_eval import cli
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint, switch_problem
from mmrope_eval.models.tensors import HEAD, canonical_name
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_synth import build_world


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("generations")
    return {"source": TRAINED, **{name: write(TRAINED, out / name) for name, write in GENERATIONS.items()}}


@pytest.fixture(scope="module")
def read(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return {name: read_checkpoint(folder) for name, folder in folders.items()}


def values(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Tensors of what an engine loads, in transformers' present naming; a tied head's copy says nothing new."""
    stored = {
        name: tensor for path in checkpoint.served.glob("*.safetensors") for name, tensor in copies.load(path).items()
    }
    return {ours: tensor.numbers() for name, tensor in stored.items() if (ours := canonical_name(name)) != HEAD}


each = pytest.mark.parametrize("name", GENERATIONS)


@each
def test_the_tensors_are_the_source_s(name: str, read: dict[str, Checkpoint]) -> None:
    loaded, wanted = values(read[name]), values(read["source"])
    assert loaded.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert np.array_equal(loaded[key], tensor), key
    assert read[name].tied


@each
def test_numbers_words_and_rotation_are_the_source_s(name: str, read: dict[str, Checkpoint]) -> None:
    checkpoint, wanted = read[name], read["source"]
    for key in ("family", "geometry", "head_dim", "num_heads", "num_kv_heads", "num_layers", "tokens_per_second",
                "max_position",
                "rope_theta", "rotary_dim", "eos_ids", "adapter", "quantisation"):  # fmt: skip
        assert getattr(checkpoint, key) == getattr(wanted, key), key
    assert checkpoint.vocabulary.ids == wanted.vocabulary.ids
    assert checkpoint.template.text == wanted.template.text
    assert checkpoint.rope.section == wanted.rope.section
    assert checkpoint.declared("mm_media") == wanted.declared("mm_media")
    assert checkpoint.remarks == ()
    chosen, other = resolve_variant(checkpoint, None), resolve_variant(wanted, None)
    assert (chosen.variant.fingerprint, chosen.how) == (other.variant.fingerprint, "config.json (mm_rope)")


@each
def test_limits_on_pictures_are_the_source_s(name: str, read: dict[str, Checkpoint]) -> None:
    limits = read[name].processor.limits
    pictures = ("image_min_pixels", "image_max_pixels")
    assert {key: limits[key] for key in pictures} == {key: read["source"].processor.limits[key] for key in pictures}


@pytest.mark.parametrize("name", ["trainer", "snapshot", "vllm"])
def test_what_differs_in_names_alone_can_take_over_a_running_engine(name: str, read: dict[str, Checkpoint]) -> None:
    assert switch_problem(read["source"], read[name]) is None


def test_copies_of_the_same_bytes_are_one_identity(read: dict[str, Checkpoint]) -> None:
    assert read["trainer"].fingerprint == read["snapshot"].fingerprint == read["source"].fingerprint
    assert len({checkpoint.fingerprint for checkpoint in read.values()}) == len(read) - 2


def renamed(*, mm_rope: Any, where: str) -> Callable[[dict[str, Any]], object]:
    return lambda config: (config["text_config"] if where == "text_config" else config).update(mm_rope=mm_rope)


def test_a_variant_trained_on_with_4_57_is_not_taken_for_the_earlier_one(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """`config.mm_rope = X` changed text_config alone where there was one before."""
    folder = copies.copy(folders["4.57"], tmp_path / "trained-on")
    copies.edit(folder / "config.json", renamed(mm_rope="hope", where="text_config"))
    assert any(
        "names two variants: {'name': 'mrope-i', 'time': 'seconds'} at mm_rope of the top and 'hope'" in checkpoint
        for checkpoint in read_checkpoint(folder).rope.questions
    )


def test_every_layout_differs_from_the_others_in_the_files_that_it_is_about(folders: dict[str, Path]) -> None:
    """So that the tests above compare something."""

    def has(name: str, file: str) -> bool:
        return (folders[name] / file).exists()

    assert has("4.49", "chat_template.json") and not has("4.49", "chat_template.jinja")
    assert not has("4.49", "video_preprocessor_config.json") and has("4.49", "vocab.json")
    assert "text_config" not in copies.read_json(folders["4.49"] / "config.json")
    both = copies.read_json(folders["4.57"] / "config.json")
    assert both["hidden_size"] == both["text_config"]["hidden_size"] and "tie_word_embeddings" not in both
    nested = copies.read_json(folders["5.19"] / "config.json")
    assert "hidden_size" not in nested and nested["transformers_version"] > "5"
    assert has("5.19", "processor_config.json") and not has("5.19", "preprocessor_config.json")
    assert "patch_size" not in copies.read_json(folders["published"] / "config.json")["vision_config"]
    assert has("published", "model.safetensors.index.json") and not has("published", "model.safetensors")
    assert (folders["snapshot"] / "model.safetensors").is_symlink()
    assert has("trainer", "global_step500/mp_rank_00_model_states.pt")
    assert any(name.startswith("language_model.model.") for name in copies.load(folders["vllm"] / "model.safetensors"))
    assert any(name.startswith("visual.") for name in copies.load(folders["4.57"] / "model.safetensors"))


def test_an_engine_gives_the_same_answers_for_every_layout(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one test here that starts engines: eight questions, an engine a layout that no running one can take."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tasks = ("refcoco_val", "charades_sta")
    build_world(tmp_path / "data", n=16, columns=tasks)
    # Folders of one kind beside each other: the engine is kept for them.
    order = ("source", "trainer", "vllm", "snapshot", "4.49", "4.57", "5.19", "published")
    assert set(order) == set(folders)
    listed = [{"path": str(folders[name]), "label": name.replace(".", "-")} for name in order]
    models = copies.write_json(tmp_path / "models.yaml", listed)
    command = ["run", "--models", str(models), "--tasks", ",".join(tasks), "--limit", "4", "--data-root",
               str(tmp_path / "data"), "--output", str(tmp_path / "out")]  # fmt: skip
    assert cli.main(command) == 0
    answers = {}
    for name in order:
        samples = tmp_path / "out" / name.replace(".", "-") / "samples"
        rows = [json.loads(line) for task in tasks for line in
                (samples / f"{task}.jsonl").read_text().splitlines()]  # fmt: skip
        answers[name] = [row["prediction"] for row in rows]
    assert len(answers["source"]) == 8
    assert len(set(answers["source"])) > 4, "answers that could differ"
    assert [name for name in order if answers[name] != answers["source"]] == []

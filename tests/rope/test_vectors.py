"""docs/vectors/positions.json: it is what the code gives, stock transformers agrees, and the page's snippets run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrope_eval import cli
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_eval.rope import load_variant, variant_names
from mmrope_eval.rope.vectors import as_json, layout_of, vectors

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "vectors" / "positions.json"
PAGE = ROOT / "docs" / "training.md"
TINY = ROOT / "checkpoints" / "mrope"

Layout = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def snippet(first: str) -> str:
    """The page's code block that begins with a line."""
    text = PAGE.read_text(encoding="utf-8")
    block = re.search(rf"^    {re.escape(first)}.*\n(?:    .*\n|\n(?=    ))*", text, re.MULTILINE)
    assert block is not None, first
    return re.sub("^    ", "", block[0], flags=re.MULTILINE)


def same(first: Any, second: Any) -> bool:
    """Equal, but for the last digits of cosines on another machine."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if first is None or isinstance(first, str):
        return bool(first == second)
    return bool(np.isclose(first, second, rtol=1e-9, atol=1e-9))


def test_the_file_is_what_the_code_gives(stored: dict[str, Any]) -> None:
    assert same(stored, vectors()), "write it anew: python -m mmrope_eval.rope.vectors docs/vectors/positions.json"
    assert stored["variants"].keys() == set(variant_names())
    assert FILE.stat().st_size < 400_000
    assert as_json(stored) == FILE.read_text(encoding="utf-8")


def test_numbers_are_exact(stored: dict[str, Any]) -> None:
    for name, content in stored["variants"].items():
        variant = load_variant(name)
        assert (content["fingerprint"], content["time"]) == (variant.fingerprint, variant.time)
        for layout, wanted in content["positions"].items():
            positions, delta = variant.positions(layout_of(stored["layouts"][layout]))
            np.testing.assert_allclose([wanted[axis] for axis in "thw"], positions, rtol=0, atol=1e-12)
            assert delta == pytest.approx(wanted["delta"], abs=1e-12)
        assert len(content["axis"]) == 8 and {len(row) for row in content["axis"]} == {64}


ALIKE = {frozenset({"74e48c2ecd4c", "23a0ec6bd29e"})}
"""mrope-i and ilrope-upstream, which differ under a fractional stride alone: only the first truncates."""


def test_the_layouts_tell_variants_apart(stored: dict[str, Any]) -> None:
    """A wrong variant does not pass: whatever rotates differently differs in the file."""
    seen: dict[str, set[str]] = {}
    for content in stored["variants"].values():
        numbers = json.dumps([content[key] for key in ("positions", "axis", "inv_freq")])
        seen.setdefault(numbers, set()).add(content["fingerprint"][:12])
    assert {frozenset(fingerprints) for fingerprints in seen.values() if len(fingerprints) > 1} == ALIKE


def arguments_of_the_page() -> Callable[..., tuple[list[int], list[list[int]]]]:
    names: dict[str, Any] = {}
    exec(snippet("def arguments("), names)
    arguments: Callable[..., tuple[list[int], list[list[int]]]] = names["arguments"]
    return arguments


@pytest.mark.parametrize("layout", ["text", "picture", "two pictures", "video as one block"])
def test_stock_transformers_gives_the_same(stored: dict[str, Any], layout: str) -> None:
    """An implementation that we did not write; of the video up to its last cell, as it loses count behind it."""
    import torch
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    parts: Layout = stored["layouts"][layout]
    ids, grids = arguments_of_the_page()(parts, image_pad=7, vision_start=5)
    stock = Qwen2_5_VLModel.__new__(Qwen2_5_VLModel)
    torch.nn.Module.__init__(stock)
    stock.config = Qwen2_5_VLConfig(vision_config={"tokens_per_second": 2, "spatial_merge_size": 2})
    video = layout.startswith("video")
    kinds = torch.tensor([[(2 if video else 1) * (token == 7) for token in ids]])
    given: dict[str, Any] = {"video_grid_thw" if video else "image_grid_thw": torch.tensor(grids) if grids else None}
    if video:
        given["second_per_grid_ts"] = torch.tensor([parts[1]["step"] / 2])
    positions, delta = stock.get_rope_index(torch.tensor([ids]), kinds, **given)
    wanted = stored["variants"]["qwen2.5-vl"]["positions"][layout]
    counted = ids.index(7) + ids.count(7) if video else len(ids)
    assert np.array_equal(positions[:, 0, :counted].numpy(), [wanted[axis][:counted] for axis in "thw"])
    assert video or int(delta) == wanted["delta"]


@pytest.mark.parametrize("name", variant_names())
def test_the_page_s_comparison_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our own code in the trainer's place it passes, with another variant's it does not."""
    monkeypatch.chdir(ROOT)
    code = snippet("import json").replace('"mrope-i"', repr(name))
    table = snippet("table = vectors").replace('"mrope-i"', repr(name))
    variant = load_variant(name)

    def run(positions: Any, inv_freq: Any) -> None:
        exec(code + table, {"positions": positions, "inv_freq": inv_freq})

    frequencies = variant.table(128, 8, 1e6).inv_freq[0]
    run(lambda layout: variant.positions(layout_of(layout)), frequencies)
    other = load_variant("mrope" if name in ("vanilla", "multi-head") else "vanilla")
    if variant.position != other.position:
        with pytest.raises(AssertionError):
            run(lambda layout: other.positions(layout_of(layout)), frequencies)
    with pytest.raises(AssertionError):
        run(lambda layout: variant.positions(layout_of(layout)), frequencies * 1.01)


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("before", [None, "mrope"])
def test_the_three_lines_write_the_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None,
                                           nested: bool) -> None:
    """Saved by the installed transformers, read by us."""
    import shutil
    from types import SimpleNamespace

    from transformers import AutoConfig

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(TINY, tmp_path / "ckpt", copy_function=shutil.copy))
    config = json.loads((folder / "config.json").read_text())
    del config["mm_rope"]
    if before is not None:
        config["mm_rope"] = before
        if nested:
            config["text_config"] = {key: value for key, value in config.items() if key != "vision_config"}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = AutoConfig.from_pretrained(folder)
    model = SimpleNamespace(config=loaded, save_pretrained=loaded.save_pretrained)
    exec(snippet("for part in (model.config"), {"model": model, "OUT": folder})
    saved = json.loads((folder / "config.json").read_text())
    assert saved["mm_rope"] == "mrope-i"
    chosen = resolve_variant(read_checkpoint(folder), None)
    assert (chosen.variant.name, chosen.how, chosen.assumed) == ("mrope-i", "config.json (mm_rope)", False)


@pytest.mark.parametrize("page", ["training.md", "checkpoints.md"])
def test_every_command_on_the_page_is_understood(page: str) -> None:
    import shlex

    lines = re.findall(r"^    ((?:python evaluate\.py|mmrope-eval) [^#\n]*)", (ROOT / "docs" / page).read_text(),
                       re.MULTILINE)  # fmt: skip
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(line)
        argv = ["run", *words[2:]] if words[0] == "python" else words[1:]
        assert cli.parse(argv)

"""Rows come from the mirror as it is now."""

from __future__ import annotations

from pathlib import Path

from suite_mirror import png, refcoco

from mmrope_eval.task.dataset import load_docs
from mmrope_eval.task.registry import Registry

CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: val\n    path: data/val-*\n---\n"


def test_a_mirror_that_changed_in_place_is_read_anew(tmp_path: Path) -> None:
    """With a hub card in the folder, `datasets` alone answers the second time with the rows of the first."""
    registry = Registry()
    (spec,) = registry.select(["refcocoplus_val"])
    folder = tmp_path / spec.dataset
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    for expression in ("the old cup", "the new cup"):
        refcoco(folder, [(png(1), [expression], [4, 4, 20, 20])])
        rows = load_docs(spec, tmp_path, registry.family("qwen2.5-vl")).rows
        assert [row["expression"] for row in rows] == [expression]

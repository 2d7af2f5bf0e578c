"""What every task asks, byte for byte, for each family of checkpoints; and that its default is lmms-eval's own wording.

The snapshots are tests/cases/prompts/FAMILY.json, over the rows of rows.json. After a change of wording on purpose:
`python tests/lmms/test_prompts.py` writes them anew; raise the task's `version`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmrope_eval.data.media_files import MediaFolder
from mmrope_eval.messages import ImageSource, VideoSource
from mmrope_eval.task.parts import build_parts, subtitle_text, with_subtitles
from mmrope_eval.task.registry import Registry, TaskSpec
from mmrope_eval.task.template import render

DATA = Path(__file__).resolve().parents[1] / "cases/prompts"
ROWS: dict[str, dict[str, Any]] = json.loads((DATA / "rows.json").read_text(encoding="utf-8"))
REGISTRY = Registry()
FAMILIES = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl", "paper")
SUBTITLES = """1
00:00:00,200 --> 00:00:02,500
<font color="white" size=".72c">an orange star
shrinks</font>

2
00:00:02,500 --> 00:00:03,000
<font color="white" size=".72c">an orange star shrinks</font>

3
00:00:03,200 --> 00:00:05,300
<i>It moves.</i>
"""


def row_of(task: str) -> dict[str, Any]:
    """The task's row, in which "@" stands for a picture that is named after its field."""
    row = ROWS["refcoco"] if task.startswith("refcoco") else ROWS[task.removesuffix("_subtitles")]
    return {key: {"bytes": key.encode()} if value == "@" else value for key, value in row.items()}


def folder_of_videos(root: Path) -> Path:
    """Every video that the rows name, as an empty file, and one file of subtitles."""
    plain = ("D.mp4", "E.mp4", "F.mp4", "videos/G.mp4")
    names = ("star/Charades_segment/a.mp4", "Charades_v1_480/B.mp4", "data/C.mp4", *plain)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "subtitle").mkdir(exist_ok=True)
    (root / "subtitle/C.srt").write_text(SUBTITLES)
    return root


def asked(spec: TaskSpec, family: str, root: Path) -> list[str]:
    """What a checkpoint of a family is given, in reading order."""
    videos = MediaFolder((root,), tuple(spec.media.get("folders", (".",))))
    row = with_subtitles(spec.media, row_of(spec.name), videos)
    prompt = render(spec.prompt(REGISTRY.family(family).prompts), row)
    lines = []
    for part in build_parts(spec.media, prompt, row, videos):
        if isinstance(part, VideoSource):
            lines.append(f"<video {part.path.relative_to(root)} {part.start}-{part.end}>")
        else:
            lines.append(f"<picture {part.data!r}>" if isinstance(part, ImageSource) else part)
    return lines


def snapshot(family: str, root: Path) -> str:
    prompts_by_task = {spec.name: asked(spec, family, root) for spec in REGISTRY.tasks.values()}
    return json.dumps(prompts_by_task, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_prompt_is_the_recorded_one_byte_for_byte(family: str, tmp_path: Path) -> None:
    assert snapshot(family, folder_of_videos(tmp_path)).encode() == (DATA / f"{family}.json").read_bytes()


def test_each_family_has_a_wording_of_its_own_and_no_other_is_left_over() -> None:
    assert set(FAMILIES) == set(REGISTRY.families)
    used = {name for spec in REGISTRY.tasks.values() for name in spec.prompts}
    assert used == {"default", *FAMILIES}
    snapshots = [(DATA / f"{family}.json").read_text() for family in FAMILIES]
    assert len(set(snapshots)) == len(FAMILIES)


STOCK = {
    "mmmu": ("mmmu.utils", "mmmu_doc_to_text", "mmmu/mmmu_val.yaml"),
    "mmbench": ("mmbench.en_utils", "mmbench_doc_to_text", "mmbench/_default_template_mmbench_en_yaml"),
    "mmbench_cn": ("mmbench.cn_utils", "mmbench_doc_to_text", "mmbench/_default_template_mmbench_cn_yaml"),
    "mmstar": ("mmstar.utils", "mmstar_doc_to_text", "mmstar/_default_template_yaml"),
    "ocrbench": ("ocrbench.utils", "ocrbench_doc_to_text", "ocrbench/ocrbench.yaml"),
    "ai2d": ("ai2d.utils", "ai2d_doc_to_text", "ai2d/ai2d.yaml"),
    "realworldqa": ("realworldqa.utils", "realworldqa_doc_to_text", "realworldqa/realworldqa.yaml"),
    "docvqa": ("docvqa.utils", "docvqa_doc_to_text", "docvqa/_default_template_docvqa_yaml"),
    "infovqa": ("infovqa.utils", "infovqa_doc_to_text", "infovqa/_default_template_infovqa_yaml"),
    "textvqa": ("textvqa.utils", "textvqa_doc_to_text", "textvqa/_default_template_textvqa_yaml"),
    "chartqa": ("chartqa.utils", "chartqa_doc_to_text", "chartqa/chartqa.yaml"),
    "blink": ("blink.utils", "blink_doc_to_text", "blink/_default_template_yaml"),
    "mvbench": ("mvbench.utils", "mvbench_doc_to_text", "mvbench/mvbench_action_sequence.yaml"),
    "lvbench": ("lvbench.utils", "lvbench_doc_to_text", "lvbench/lvbench.yaml"),
    "mlvu": ("mlvu.utils", "mlvu_doc_to_text", "mlvu/mlvu_dev.yaml"),
}
"""Our task -> lmms-eval's module, function and file. Three differ on purpose. Video-MME's stock wording speaks of
subtitles that the model is not given; Charades-STA's has two typing errors; RefCOCO's asks for all of an object's
expressions at once. STAR has no stock task."""


@pytest.mark.parametrize("task", STOCK)
def test_the_default_wording_is_that_of_lmms_eval(task: str) -> None:
    import lmms_eval

    from mmrope_eval.lmms.stock import fresh_module

    module, function, file = STOCK[task]

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda *_: None)
    path = Path(lmms_eval.__file__).parent / "tasks" / file
    kwargs = yaml.load(path.read_text(), Loader)["lmms_eval_specific_kwargs"]["default"]
    row = row_of(task)
    theirs = getattr(fresh_module(module), function)(row, kwargs)
    assert render(REGISTRY.tasks[task].prompt("default"), row) == theirs.rstrip("\n")


def test_subtitles_are_the_spoken_lines_and_nothing_else() -> None:
    assert subtitle_text(SUBTITLES) == "an orange star shrinks\nIt moves."
    assert subtitle_text(SUBTITLES.replace("\n", "\r\n")) == "an orange star shrinks\nIt moves."
    assert subtitle_text("") == subtitle_text("7\n00:00:01,000 --> 00:00:02,000\n\n") == ""


def test_a_video_without_subtitles_is_asked_without(tmp_path: Path) -> None:
    root = folder_of_videos(tmp_path)
    (root / "subtitle/C.srt").unlink()
    lines = asked(REGISTRY.tasks["videomme_subtitles"], "qwen3-vl", root)
    assert lines[1].startswith("This video's subtitles are listed below:\nNo subtitles available\nQuestion: ")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        for name in FAMILIES:
            (DATA / f"{name}.json").write_text(snapshot(name, folder_of_videos(Path(scratch))), encoding="utf-8")

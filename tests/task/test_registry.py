"""Tasks, suites and families: what names mean, and that every file says what it must."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmrope_eval.errors import UserError
from mmrope_eval.record.aggregate import AGGREGATES
from mmrope_eval.task.registry import PREFIX, Registry, read_family, read_task, task_files

REGISTRY = Registry()
REFCOCO = ["refcoco_testA", "refcoco_testB", "refcoco_val"]
PLUS = ["refcocoplus_testA", "refcocoplus_testB", "refcocoplus_val"]


@pytest.mark.parametrize(("words", "expected"), [
    (["chartqa"], ["chartqa"]),
    (["mmrope_chartqa"], ["chartqa"]),
    (["charades_sta", "chartqa"], ["charades_sta", "chartqa"]),
    (["chartqa", "chartqa", "image", "-mm*", "-*vqa", "-ai2d", "-*world*", "-ocr*"], ["chartqa", "blink"]),
    (["video", "-m*", "-star", "-l*"], ["videomme", "charades_sta"]),
    (["refcoco_*"], REFCOCO),
    (["refcoco*_val", "-refcocog_val"], ["refcoco_val", "refcocoplus_val"]),
    (["grounding", "-refcoco_*", "-refcocog_*"], ["refcocoplus_val", "refcocoplus_testA", "refcocoplus_testB"]),
    (["*", "-grounding", "-image", "-video"], ["mmbench_cn", "needle", "videomme_subtitles"]),
])
def test_names(words: list[str], expected: list[str]) -> None:
    assert [spec.name for spec in REGISTRY.select(words)] == expected


@pytest.mark.parametrize(("words", "message"), [
    (["chartq"], "no task or suite 'chartq'; did you mean 'chartqa'"),
    (["groundin"], "did you mean 'grounding'"),
    (["-chartqaa", "chartqa"], "did you mean 'chartqa'"),
    (["zzz*"], "no task or suite 'zzz\\*'; see mmrope-eval list"),
    (["table2", "-image", "-video", "-grounding"], "leaves no task"),
])
def test_wrong_names_are_one_helpful_sentence(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        REGISTRY.select(words)
    assert "\n" not in str(caught.value)


def test_the_suites_are_the_columns_of_the_paper() -> None:
    sizes = {name: len(REGISTRY.select([name])) for name in ("image", "video", "grounding", "table2")}
    assert sizes == {"image": 11, "video": 6, "grounding": 8, "table2": 25}
    assert [spec.column for spec in REGISTRY.select(["table2"])] == [
        "MMMU", "MMBench", "MMStar", "OCRBench", "AI2D", "RealWorldQA", "DocVQA", "TextVQA", "InfoVQA", "ChartQA",
        "BLINK", "MVBench", "STAR", "VideoMME", "LVBench", "MLVU", "Charades-STA", "RefCOCO val", "RefCOCO testA",
        "RefCOCO testB", "RefCOCO+ val", "RefCOCO+ testA", "RefCOCO+ testB", "RefCOCOg val", "RefCOCOg test"]


@pytest.mark.parametrize("path", task_files(REGISTRY.tasks_dir), ids=lambda path: path.stem)
def test_every_task_file(path: Path) -> None:
    spec = read_task(path)
    assert path.stem == spec.name, "the file is named after its task"
    assert spec.metrics and spec.generation.max_tokens > 0 and spec.generation.temperature == 0
    assert "token" not in spec.dataset_kwargs, "public data need no login"
    assert spec.question is not None
    assert spec.licence and spec.expected and (spec.chance is None or 0 <= spec.chance < 50)
    assert spec.category in ("image", "video", "grounding")
    assert spec.average in AGGREGATES and spec.content["task"] == PREFIX + spec.name


class TestFilesOfAFolder:
    """Choosing reads headings; a file is checked in full when its task is chosen, and all are by the test above."""

    GOOD = (REGISTRY.tasks_dir / "chartqa.yaml").read_text()

    def test_a_fault_is_said_when_the_task_is_chosen_and_keeps_no_other_from_being_asked(self, tmp_path: Path) -> None:
        (tmp_path / "good.yaml").write_text(self.GOOD)
        broken = self.GOOD.replace("task: mmrope_chartqa", "task: broken").replace("column: ChartQA", "column: Broken")
        (tmp_path / "broken.yaml").write_text(broken.replace("test_split", "test_splt"))
        registry = Registry(tmp_path)
        assert list(registry.tasks) == ["broken", "chartqa"]
        assert [spec.name for spec in registry.select(["chartqa"])] == ["chartqa"]
        ways: list[Callable[[], object]] = [
            lambda: registry.select(["broken"]), lambda: list(registry.tasks.values())
        ]  # fmt: skip
        for choose in ways:
            with pytest.raises(UserError, match=r"broken\.yaml: unknown key 'test_splt', did you mean 'test_split'"):
                choose()

    @pytest.mark.parametrize(("old", "new", "sentence"), [
        ("column: ChartQA", "column: 3", "'metadata.column' must be text, not 3"),
        ("task: mmrope_chartqa", "task: [mmrope_chartqa]", "'task' must be text, not "),
        ("column: ChartQA", "suites: {a: b}\n  column: ChartQA", "'metadata.suites' must be text or a list of texts"),
        ("column: ChartQA", "suites: [1]\n  column: ChartQA", "metadata.suites, entry 1 must be text, not 1"),
    ])
    def test_what_has_no_heading_is_refused_with_others(
        self, tmp_path: Path, old: str, new: str, sentence: str,
    ) -> None:
        text = self.GOOD.replace(old, new)
        assert text != self.GOOD
        (tmp_path / "odd.yaml").write_text(text)
        with pytest.raises(UserError) as caught:
            Registry(tmp_path).select(["*"])
        assert f"odd.yaml: {sentence}" in str(caught.value)

    def test_a_name_and_a_column_stand_in_one_file_alone(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / f"{name}.yaml").write_text(self.GOOD)
        with pytest.raises(UserError, match=r"Two task files have 'task: chartqa', \S+/one.yaml and \S+/two.yaml: "):
            Registry(tmp_path).select(["chartqa"])

    def test_a_task_that_is_called_as_its_file_needs_no_other_file(self, tmp_path: Path) -> None:
        (tmp_path / "chartqa.yaml").write_text(self.GOOD)
        (tmp_path / "odd.yaml").write_text("a: [")
        registry = Registry(tmp_path)
        assert [spec.name for spec in registry.select(["mmrope_chartqa"])] == ["chartqa"]
        with pytest.raises(UserError, match=r"odd\.yaml cannot be read as YAML"):
            registry.select(["chart*"])


def test_families_declare_their_coordinates() -> None:
    declared = {name: family.coordinates for name, family in REGISTRY.families.items()}
    assert declared["qwen2.5-vl"] == "absolute"
    assert declared["qwen3-vl"] == "thousand"


@pytest.mark.parametrize(("text", "message"), [
    ("coordinates: inches\n", "'coordinates' must be 'absolute', 'thousand' or 'unit', not 'inches'"),
    ("coordinates: unit\nprompt: paper\n", "unknown key 'prompt', did you mean 'prompts'?"),
    ("coordinates: unit\nsystem: [a]\n", "'system' must be text, not"),
    ("prompts: paper\n", "key 'coordinates' is missing"),
])  # fmt: skip
def test_a_prompt_family_that_cannot_be_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_family(tmp_path / "mine.yaml")
    assert "mine.yaml: " in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)


def test_the_wording_follows_the_prompt_family_and_falls_back_to_the_default() -> None:
    spec = REGISTRY.tasks["refcoco_val"]
    assert spec.prompt("qwen2.5-vl") != spec.prompt("qwen3-vl") != spec.prompt("default")
    assert REGISTRY.tasks["chartqa"].prompt("qwen3-vl") == REGISTRY.tasks["chartqa"].prompt("default")


def test_lmms_eval_knows_none_of_our_names_and_all_of_them_load_there() -> None:
    from mmrope_eval.lmms.loader import quiet_lmms_eval

    quiet_lmms_eval()
    import lmms_eval.tasks
    from lmms_eval.tasks import TaskManager

    ours = TaskManager(include_path=str(REGISTRY.tasks_dir), include_defaults=False)
    assert {PREFIX + name for name in REGISTRY.tasks} == set(ours.all_tasks)
    builtin = Path(lmms_eval.tasks.__file__).parent.rglob("*.yaml")
    assert not any(PREFIX in path.read_text(errors="ignore") for path in builtin)


def test_lmms_eval_is_imported_without_what_only_pipelines_need_and_transformers_is_whole_after_it() -> None:
    script = (
        "import sys; from mmrope_eval.lmms.loader import quiet_lmms_eval; quiet_lmms_eval(); import lmms_eval.api.task;"
        "print(*sorted({'evaluate', 'sklearn', 'sympy', 'transformers.pipelines'} & set(sys.modules)));"
        "from transformers import pipeline; print(pipeline.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["evaluate", "transformers.pipelines"]

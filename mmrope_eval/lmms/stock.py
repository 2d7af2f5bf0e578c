"""lmms-eval's own number from the same responses: its installed functions, called as its evaluator calls them.

Nothing of theirs may reach the rest of the program: a task's module is loaded afresh for each use (OCRBench keeps its
sum in a module variable, MMBench seeds Python's generator), rows are copied before they are handed over (TextVQA
rewrites them), files go to a temporary folder, what is printed is dropped, the state of `random` and `numpy.random`
is restored, and SystemExit becomes a SecondError like any other fault. lmms-eval is imported on first use (seconds).

MMMU draws an option at random where it can read none. Its authors seed the generator with 42; here every sample seeds
it with "42:" and its row's id, so that the number is repeatable and no sample depends on another.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import io
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from mmrope_eval.scorer.all import SecondError, SecondItem, SecondResult
from mmrope_eval.words import flat

SEED: Final = 42
Process = Callable[[ModuleType, dict[str, Any], str], Any]
"""(task module, row, stripped response) -> what the metric's aggregation takes."""
Total = Callable[[ModuleType, list[Any], Any], float]
"""(task module, processed results, command-line arguments) -> number on the stock task's own scale."""
SampleScore = Callable[[ModuleType, Any], float]
"""(task module, processed result) -> the sample's share in [0, 1]."""


@dataclass(frozen=True)
class StockTask:
    """How lmms-eval 0.7.3 scores one of its tasks."""

    task: str
    module: str
    metric: str
    process: Process
    total: Total
    score_sample: SampleScore
    scale: float
    """What turns the stock number into 0-100."""
    note: str | None = None


# Ways to call the stock functions


def _process(function: str, metric: str) -> Process:
    def process(module: ModuleType, doc: dict[str, Any], response: str) -> Any:
        return getattr(module, function)(doc, [response])[metric]

    return process


def _total(function: str) -> Total:
    def total(module: ModuleType, results: list[Any], arguments: Any) -> float:
        aggregate = getattr(module, function)
        takes_arguments = "args" in inspect.signature(aggregate).parameters
        return float(aggregate(results, arguments) if takes_arguments else aggregate(results))

    return total


def _alone(function: str, scale: float) -> SampleScore:
    """A sample's share as the stock aggregation of that one sample."""

    def score_sample(module: ModuleType, result: Any) -> float:
        return _total(function)(module, [result], None) * scale / 100

    return score_sample


def _mean(_module: ModuleType, results: list[Any], _arguments: Any) -> float:
    return statistics.fmean(float(result) for result in results)


def _itself(_module: ModuleType, result: Any) -> float:
    return float(result)


def _field(name: str) -> SampleScore:
    return lambda _module, result: float(result[name])


def _agrees(_module: ModuleType, result: Any) -> float:
    return float(result["pred_answer"] == result["answer"])


def _anls(_module: ModuleType, doc: dict[str, Any], response: str) -> float:
    from lmms_eval.api.metrics import anls

    return float(anls(references=list(doc["answers"]), predictions=[response])["anls"])


def _ai2d(module: ModuleType, doc: dict[str, Any], response: str) -> float:
    from lmms_eval.api.metrics import exact_match_hf_evaluate

    kept = module.MultiChoiceRegexFilter(regex_pattern=r"([A-Z])\.").apply([[response]], [doc])
    gold = module.ai2d_doc_to_target(doc, "mcq")
    result = exact_match_hf_evaluate([kept[0].strip()], [gold], ignore_case=True, ignore_punctuation=True)
    return float(result["exact_match"])


def _mmbench_one(module: ModuleType, result: Any) -> float:
    import pandas

    answers = {result["index"]: result["answer"]}
    row = pandas.DataFrame([{**result, "prediction": str(result["prediction"])}])
    return float(module.mmbench_evaluator.eval_sub_data(row, answers, static_only=True))


def _plain(task: str, module: str, metric: str, function: str) -> StockTask:
    """A task whose process_results gives a number and whose metric is lmms-eval's mean."""
    return StockTask(task, module, metric, _process(function, metric), _mean, _itself, 100.0)


def _aggregated(task: str, module: str, metric: str, process: str, total: str, scale: float,
                score_sample: SampleScore | None = None, note: str | None = None) -> StockTask:
    """A task with an aggregation of its own: `process` and `total` are functions of its module."""
    return StockTask(task, module, metric, _process(process, metric), _total(total),
                     score_sample or _alone(total, scale), scale, note)  # fmt: skip


def _mmbench(task: str, note: str) -> StockTask:
    """By the reader without a judge model, whatever the task's own is."""
    return _aggregated(task, "mmbench.en_utils", "gpt_eval_score", "mmbench_process_results",
                       "mmbench_aggregate_dev_results_static", 1.0, _mmbench_one, note)  # fmt: skip


def _tasks() -> Iterator[StockTask]:
    yield _aggregated("mmmu_val", "mmmu.utils", "mmmu_acc", "mmmu_process_results", "mmmu_aggregate_results", 100.0,
                      note="unreadable multiple-choice answers are drawn at random (seed '42:' and the row's id)")
    yield _mmbench("mmbench_en_dev_static", "the static variant: mmbench_en_dev itself asks an OpenAI model where it "
                                            "cannot read an answer")
    yield _mmbench("mmbench_cn_dev", "by the reader of mmbench_en_dev_static: mmbench_cn_dev itself asks an OpenAI "
                                     "model where it cannot read an answer")
    yield _aggregated("mmstar", "mmstar.utils", "average", "mmstar_process_results", "mmstar_aggregate_results", 100.0,
                      _field("score"))
    yield _aggregated("ocrbench", "ocrbench.utils", "ocrbench_accuracy", "ocrbench_process_results",
                      "ocrbench_aggregate_accuracy", 100.0, _field("score"))
    yield StockTask("ai2d", "ai2d.utils", "exact_match", _ai2d, _mean, _itself, 100.0)
    yield _plain("realworldqa", "realworldqa.utils", "exact_match", "realworldqa_process_results")
    for name in ("docvqa", "infovqa"):
        yield StockTask(f"{name}_val", f"{name}.utils", "anls", _anls, _mean, _itself, 100.0)
    yield _plain("textvqa_val", "textvqa.utils", "exact_match", "textvqa_process_results")
    yield _plain("chartqa", "chartqa.utils", "relaxed_overall", "chartqa_process_results")
    yield _aggregated("blink", "blink.utils", "blink_acc", "blink_process_results", "blink_aggregate_results", 100.0,
                      _field("is_correct"),
                      "the mean of the tasks present, as lmms-eval's group of its fourteen tasks takes it")
    yield _plain("lvbench", "lvbench.utils", "lvbench_score", "lvbench_process_results")
    yield _aggregated("mvbench", "mvbench.utils", "mvbench_accuracy", "mvbench_process_results",
                      "mvbench_aggregate_results", 1.0, _field("score"),
                      "lmms-eval reports 20 numbers and no mean; this is the mean of those present")
    yield _aggregated("videomme", "videomme.utils", "videomme_perception_score", "videomme_process_results",
                      "videomme_aggregate_results", 1.0, _agrees)
    yield _aggregated("mlvu_dev", "mlvu.utils", "mlvu_percetion_score", "mlvu_process_results",
                      "mlvu_aggregate_results_dev", 1.0, _agrees)
    yield _aggregated("temporal_grounding_charades", "charades_sta.utils", "charades_sta_mIOU",
                      "temporal_grounding_process_results_generation", "temporal_grounding_aggregate_miou", 1.0)
    for name in ("refcoco_grounding", "refcoco_grounding_testA", "refcoco_grounding_testB",
                 "refcoco_plus_grounding_testA", "refcoco_plus_grounding_testB", "refcocog_grounding_test"):
        yield _aggregated(name, "refcoco_grounding.utils", "refcoco_grounding_ACC@0.5",
                          "refcoco_grounding_process_result", "refcoco_grounding_acc05", 100.0,
                          note="scored per expression; the stock task asks for all expressions of an object in one "
                               "prompt")  # fmt: skip


STOCK: Final[Mapping[str, StockTask]] = {task.task: task for task in _tasks()}
"""The lmms-eval tasks that a task file may name as its counterpart (`metadata: stock`)."""


def stock_score(task: str, items: Sequence[SecondItem], tasks: Mapping[str, StockTask] = STOCK) -> SecondResult:
    """The number of lmms-eval's `task`, a name in `tasks`, for responses.

    SecondError when there is no such task, no item, or when lmms-eval's code fails on them (the sample is named).
    """
    if task not in tasks:
        raise SecondError(f"lmms-eval's '{task}' is not called here; those that are: {', '.join(tasks)}.")
    if not items:
        raise SecondError(f"lmms-eval's {task} cannot score zero responses.")
    stock = tasks[task]
    with _isolated(stock.task) as arguments:
        module = fresh_module(stock.module)
        results = [_processed(stock, module, position, item) for position, item in enumerate(items)]
        samples = tuple(stock.score_sample(module, copy.deepcopy(result)) for result in results)
        # Again fresh: shares that were computed through an aggregation may have left a sum behind.
        value = _totalled(stock, fresh_module(stock.module), results, [item.group for item in items], arguments)
    return SecondResult(value * stock.scale, samples, stock.task, stock.metric, stock.note)


def _processed(stock: StockTask, module: ModuleType, position: int, item: SecondItem) -> Any:
    random.seed(f"{SEED}:{item.doc.get('id', position)}")
    doc = {name: Picture(value) if is_picture(value) else copy.deepcopy(value) for name, value in item.doc.items()}
    try:
        return stock.process(module, doc, item.response.strip())
    except (Exception, SystemExit) as error:
        raise SecondError(f"lmms-eval's {stock.task} fails on sample {position}: {describe(error)}.") from error


def _totalled(stock: StockTask, module: ModuleType, results: list[Any], groups: Sequence[str | None],
              arguments: Any) -> float:
    if all(group is None for group in groups):
        return stock.total(module, results, arguments)
    parts: dict[str, list[Any]] = {}
    for result, group in zip(results, groups, strict=True):
        parts.setdefault(str(group), []).append(result)
    return statistics.fmean(stock.total(module, parts[group], arguments) for group in sorted(parts))


@dataclass(frozen=True)
class Picture:
    """What stock scoring may ask of a picture: its (width, height), found when asked for."""

    value: Any

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if not isinstance(self.value, Mapping):
            return (int(self.value.size[0]), int(self.value.size[1]))
        if "width" in self.value:
            return (int(self.value["width"]), int(self.value["height"]))
        from PIL import Image

        with Image.open(io.BytesIO(self.value["bytes"]) if self.value.get("bytes") else self.value["path"]) as picture:
            return picture.size


def is_picture(value: Any) -> bool:
    """Whether a field holds a picture: a PIL image or one of the mappings that stand for one."""
    if isinstance(value, Mapping):
        return set(value) in ({"bytes", "path"}, {"bytes"}, {"path"}, {"width", "height"})
    return hasattr(value, "size") and hasattr(value, "mode")


def describe(error: BaseException) -> str:
    """An exception on one line, with its kind."""
    return f"{type(error).__name__}: {flat(error)}".rstrip(": ").rstrip(".")


def fresh_module(name: str) -> ModuleType:
    """A new copy of `lmms_eval.tasks.<name>`, which nothing else shares and sys.modules does not keep.

    SecondError when lmms-eval is not installed or the file is missing.
    """
    installed = importlib.util.find_spec("lmms_eval")
    folders = list(installed.submodule_search_locations or ()) if installed is not None else []
    path = next((p for f in folders if (p := Path(f, "tasks", *name.split(".")).with_suffix(".py")).is_file()), None)
    spec = importlib.util.spec_from_file_location(f"_mmrope_stock.{name}", path) if path is not None else None
    if spec is None or spec.loader is None:
        raise SecondError(f"lmms-eval's task module {name} is not installed; install lmms-eval 0.7.3.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _isolated(task: str) -> Iterator[Any]:
    """Run foreign code: faults become SecondError, global state comes back as it was, output is dropped."""
    import numpy
    from loguru import logger

    state, numpy_state, path = random.getstate(), numpy.random.get_state(), list(sys.path)
    logger.disable("_mmrope_stock")
    logger.disable("lmms_eval")
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield SimpleNamespace(output_path=folder)
    except SecondError:
        raise
    except (Exception, SystemExit) as error:
        raise SecondError(f"lmms-eval's {task} fails: {describe(error)}.") from error
    finally:
        logger.enable("lmms_eval")
        random.setstate(state)
        numpy.random.set_state(numpy_state)
        sys.path[:] = path

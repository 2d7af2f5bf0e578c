"""Finished runs as pandas frames.

run = load_run("runs/mine")
run.scores.pivot(index="variant", columns="column", values="score")
run.samples.query("task == 'chartqa' and score == 0")
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.steps import checkpoint_name, training_run, training_step

SCORES: Final = "scores.json"
MANIFEST: Final = "manifest.json"
STORE: Final = "responses.sqlite"
FAILED_ROW: Final = "failed.json"

SCORE_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys(("model", "variant", "task", "column", "category", "metric"), "object"),
    **dict.fromkeys(("score", "stderr", "chance"), "float64"),
    **dict.fromkeys(("n", "expected", "failed", "truncated", "unparsed"), "Int64"),
    "limited": "bool",
    **dict.fromkeys(("max_tokens", "own_max_tokens"), "Int64"),
    **dict.fromkeys(("average", "scorer"), "object"),
    **dict.fromkeys(("scorer_version", "task_version"), "Int64"),
    **dict.fromkeys(("prompt_hash", "data_fingerprint", "variant_fingerprint", "model_fingerprint"), "object"),
    "step": "Int64",
    **dict.fromkeys(("training_run", "cell"), "object"),
})
"""Columns of `Run.scores` and their types."""

SAMPLE_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys(("model", "variant", "task", "id", "group"), "object"),
    "score": "float64",
    **dict.fromkeys(("failed", "truncated"), "bool"),
    **dict.fromkeys(("parsed", "prediction", "target"), "object"),
    "prompt_tokens": "Int64",
    "max_position": "float64",
    "step": "Int64",
    **dict.fromkeys(("training_run", "cell"), "object"),
})
"""Columns of `Run.samples` and their types; a column `score_<metric>` for each metric follows."""


@dataclass(frozen=True)
class Cell:
    """One checkpoint under one variant: a folder with scores.json, manifest.json and samples/<task>.jsonl."""

    path: Path
    manifest: Mapping[str, Any]
    entries: Mapping[str, Any]
    """scores.json as it lies on disk."""

    @property
    def model(self) -> str:
        """The name of the checkpoint's folder, or of its repository in the hub's cache."""
        return checkpoint_name(str(self.entries["checkpoint"]["path"]))

    @functools.cached_property
    def step(self) -> int | None:
        """The training step of the checkpoint; None where it has none."""
        found = self._recorded("step", training_step)
        return None if found is None else int(found)

    @functools.cached_property
    def run(self) -> str | None:
        """The training that the step is of, by its folder; None where there is no step."""
        found = self._recorded("run", training_run)
        return None if found is None else str(found)

    def _recorded(self, name: str, rule: Callable[[str], Any]) -> Any:
        """What the record says of the checkpoint, or what the same rule says today where the record is older."""
        checkpoint = self.entries["checkpoint"]
        return checkpoint[name] if name in checkpoint else rule(str(checkpoint["path"]))

    @property
    def model_fingerprint(self) -> str | None:
        """sha256 of the checkpoint; tells two folders of the same name apart."""
        found = self.entries["checkpoint"].get("fingerprint")
        return None if found is None else str(found)

    @property
    def variant(self) -> str:
        """The variant's name."""
        return str(self.entries["variant"]["name"])

    @property
    def variant_fingerprint(self) -> str | None:
        """sha256 of the variant's definition: equal for two names of one definition."""
        found = self.entries["variant"].get("fingerprint")
        return None if found is None else str(found)

    @property
    def assumed(self) -> bool:
        """Whether nothing named the variant, so that it was taken from the model type."""
        recorded = self.manifest.get("variant") or {}
        return bool(recorded.get("assumed", str(recorded.get("how", "")).startswith("model type")))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the run's order."""
        return tuple(self.entries["tasks"])

    @property
    def limited(self) -> bool:
        """Whether `--limit` cut the tasks short."""
        return self.manifest.get("limit") is not None


@dataclass(frozen=True)
class Run:
    """A run's cells; the frames are read when they are first asked for."""

    path: Path
    cells: tuple[Cell, ...]
    unfinished: tuple[Path, ...] = ()
    """Folders that hold responses but no scores: their run was stopped."""
    failed: Mapping[Path, str] = field(default_factory=dict)
    """Folders of rows that could not be evaluated, each with its cause."""

    def assumptions(self) -> list[str]:
        """One sentence on the cells whose variant nobody named."""
        names = list(dict.fromkeys(f"{cell.model} ({cell.variant})" for cell in self.cells if cell.assumed))
        return [f"{self.path}: the variant of {', '.join(names)} is assumed from the model type, as no config.json "
                "names one"] if names else []  # fmt: skip

    def left_out(self) -> list[str]:
        """One sentence for each folder that has no scores."""
        stopped = [f"{folder} is a run that did not finish" for folder in self.unfinished]
        return stopped + [f"{folder} is a row that failed ({cause})" for folder, cause in self.failed.items()]

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """One row per cell and task.

        `score`, `stderr` and `chance` are on a 0-100 scale and missing where unknown; `n` counts samples asked,
        `expected` those of the whole benchmark; `failed` are counted wrong; `max_tokens` is the answer limit,
        `own_max_tokens` the task's own; `average` names how samples become the score (see
        mmrope_eval.suite.aggregate); `step` and `training_run` are the checkpoint's, where it is a step of
        a training; `cell` is the folder.
        """
        return frame((score_row(cell, task) for cell in self.cells for task in cell.tasks), SCORE_COLUMNS)

    @functools.cached_property
    def samples(self) -> pd.DataFrame:
        """One row per cell, task and sample.

        `group` is what samples share: the fingerprint of their images or videos, else the sample's id. `score` is the
        primary metric in [0, 1] (wrong and failed: 0; missing: does not apply), each metric is a column
        `score_<metric>`; `target` is the mapping that the scorer read, whose `group` names the sample's sub-tasks.
        """
        return frame((row for cell in self.cells for row in sample_rows(cell)), SAMPLE_COLUMNS)


def load_run(path: str | Path) -> Run:
    """The run in a folder: its one cell, or all cells of its subfolders.

    Raises UserError where the folder holds no finished run, or a file of it is missing or damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the --output of a run.")
    found = cell_folders(folder, SCORES)
    failed = {one: str(read_record(one / FAILED_ROW).get("cause")) for one in cell_folders(folder, FAILED_ROW)}
    stopped = tuple(one for one in cell_folders(folder, STORE) if one not in found and one not in failed)
    if not found and failed:
        raise UserError(f"{folder} holds no scores, for its checkpoints failed: {'; '.join(failed.values())}")
    if not found and stopped:
        raise UserError(f"{folder} holds a run that did not finish; start its command again.")
    if not found:
        raise UserError(f"{folder} holds no {SCORES}; name the --output of a run.")
    return Run(folder, tuple(map(read_cell, found)), stopped, failed)


def cell_folders(folder: Path, name: str) -> list[Path]:
    """The folder itself where it holds the file, else every folder below that does, in the order of their names."""
    return [folder] if (folder / name).is_file() else sorted(path.parent for path in folder.glob(f"**/{name}"))


def read_cell(folder: Path) -> Cell:
    """One cell's records, its samples unread. UserError when they are missing, damaged or of another kind."""
    scores = read_record(folder / SCORES)
    try:
        _ = scores["checkpoint"]["path"], scores["variant"]["name"], dict(scores["tasks"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / SCORES} is not the scores of a run; start the run's command again.") from error
    return Cell(folder, read_record(folder / MANIFEST), scores)


def read_record(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file. UserError when it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; start the run's command again.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); start the run's command again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a record of a run; start the run's command again.")
    return content


def score_row(cell: Cell, task: str) -> dict[str, Any]:
    """One row of `Run.scores`; what an older run did not record is None."""
    entry = cell.entries["tasks"][task]
    main = entry.get("main")
    value = (entry.get("metrics") or {}).get(main) or {}
    return {
        "model": cell.model,
        "variant": cell.variant,
        "task": task,
        "metric": main,
        "score": value.get("value"),
        "stderr": value.get("stderr"),
        "limited": cell.limited,
        **answer_limits(cell, task),
        "variant_fingerprint": cell.variant_fingerprint,
        "model_fingerprint": cell.model_fingerprint,
        "step": cell.step,
        "training_run": cell.run,
        "cell": str(cell.path),
        **{name: entry.get(f"n_{name}") for name in ("failed", "truncated", "unparsed")},
        **{name: entry.get(name) for name in ("column", "category", "chance", "n", "expected", "average", "scorer",
                                              "scorer_version", "task_version", "prompt_hash", "data_fingerprint")},
    }


def answer_limits(cell: Cell, task: str) -> dict[str, int | None]:
    """The tokens that an answer could have, and those that the task's file gives; older records had no others."""
    recorded = (cell.manifest.get("tasks") or {}).get(task) or {}
    limit = (recorded.get("generation") or {}).get("max_tokens")
    return {"max_tokens": limit, "own_max_tokens": recorded.get("own_max_tokens", limit)}


def sample_rows(cell: Cell) -> Iterator[dict[str, Any]]:
    """The cell's rows of `Run.samples`. UserError when a file of samples is missing or damaged."""
    for task in cell.tasks:
        path = cell.path / "samples" / f"{task}.jsonl"
        main = cell.entries["tasks"][task].get("main")
        for number, line in enumerate(read_lines(path), 1):
            try:
                yield sample_row(cell, task, main, json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{path} line {number} is damaged; `mmrope-eval rescore` writes it anew.") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a file of samples."""
    try:
        # Not splitlines(): answers may hold U+2028 and its like unescaped.
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `mmrope-eval rescore` writes it anew.") from error


def sample_row(cell: Cell, task: str, main: str | None, sample: Mapping[str, Any]) -> dict[str, Any]:
    """One row of `Run.samples`."""
    scores = sample["scores"]
    return {
        "model": cell.model,
        "variant": cell.variant,
        "task": task,
        "id": str(sample["id"]),
        "group": media_group(sample),
        "score": None if main is None else scores.get(main),
        "failed": sample.get("failure") is not None,
        "truncated": bool(sample.get("truncated")),
        "parsed": sample.get("parsed"),
        "prediction": sample.get("prediction"),
        "target": sample.get("target"),
        "prompt_tokens": sample.get("prompt_tokens"),
        "max_position": (sample.get("positions") or {}).get("max_position"),
        "step": cell.step,
        "training_run": cell.run,
        "cell": str(cell.path),
        **{f"score_{name}": value for name, value in scores.items()},
    }


def media_group(sample: Mapping[str, Any]) -> str:
    """What a bootstrap clusters on: one name for the sample's images and videos together, else its id."""
    prints = [str(media["fingerprint"]) for media in sample.get("media") or ()]
    if len(prints) > 1:
        return hashlib.sha256("\n".join(prints).encode()).hexdigest()
    return prints[0] if prints else str(sample["id"])


def frame(rows: Iterator[dict[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame with these columns first, all of them present even in an empty one."""
    found = pd.DataFrame(list(rows))
    metrics = {name: "float64" for name in found.columns if name not in types}
    return found.reindex(columns=[*types, *metrics]).astype({**types, **metrics})

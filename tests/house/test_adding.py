"""Adding one is one place: a variant, a kind of layout, a benchmark. Each is added from outside and run.

The other three stand beside what they add to: a model family (tests/models), a backend (tests/engine), a report's
format (tests/report); docs/architecture.md names all of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from own_benchmark import write_data, write_task
from suite_fakes import FakeEngine, FakeStart

from mmrope_eval.messages import Failure, Request, Response
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Right(FakeEngine):
    """Knows every answer of `own_benchmark`."""

    def reply(self, request: Request) -> Response | Failure:
        """The letter of the picture's colour."""
        response = super().reply(request)
        assert isinstance(response, Response)
        return dataclasses.replace(response, text="ABCD"[int(request.id.partition("/")[2]) % 4])


class RightStart(FakeStart):
    """Starts engines that know the answers."""

    def __call__(self, checkpoint: object, variant: object, options: object = None) -> FakeEngine:
        """Whatever it shall run."""
        self.engines.append(Right(checkpoint, variant))  # type: ignore[arg-type]
        return self.engines[-1]


def test_a_variant_is_a_yaml_file(checkpoint: Path, tmp_path: Path) -> None:
    """And a benchmark is one more: both lie in a folder of the user's, and a run takes them by their paths."""
    (tmp_path / "half.yaml").write_text("extends: mrope-i\nposition: {temporal_stride: 0.5, integer_time: false}\n")
    write_data(tmp_path / "colours")
    config = RunConfig((str(checkpoint),), (str(write_task(tmp_path)),), tmp_path / "out",
                       (str(tmp_path / "half.yaml"), "mrope-i"))  # fmt: skip
    start = RightStart()
    rows = running.run(config, start).rows
    assert list(rows) == ["half", "mrope-i"] and len(start.asked) == 16, "another variant has answers of its own"
    manifest = json.loads((tmp_path / "out" / "half" / "manifest.json").read_text())
    assert manifest["variant"]["definition"]["position"]["temporal_stride"] == 0.5


def test_a_benchmark_is_a_task_file(checkpoint: Path, tmp_path: Path) -> None:
    """Of another shape than the shipped ones: an average, a suite and a group of its own."""
    write_data(tmp_path / "colours")
    task = write_task(tmp_path, **{"column: Colours": "column: Shades, average: macro, suites: mine"})
    config = RunConfig((str(checkpoint),), ("mine",), tmp_path / "out", ("mrope",), tasks_dirs=(task.parent,))
    entry = running.run(config, RightStart()).rows["mrope"]["colours"]
    assert (entry["column"], entry["average"], entry["metrics"]["accuracy"]["value"]) == ("Shades", "macro", 100)
    assert entry["groups"] == {"dark": {"value": 100, "n": 6}, "light": {"value": 100, "n": 2}}


STAIRS = '''
class StairsLayout(TimedLayout):
    """Every row one step higher than the last, in time as well."""

    layout: Literal["stairs"] = "stairs"
    rise: Positive = 1.0
    """Positions from row to row."""

    def place(self, block: Vision) -> Placement:
        """Rows climb on the temporal axis."""
        t, h, w = np.meshgrid(np.arange(block.t), np.arange(block.h), np.arange(block.w), indexing="ij")
        cells = np.stack([t + self.rise * h, h, w]).reshape(3, -1).astype(np.float64)
        return cells, np.ones((3, 1)), float(cells.max() + 1)


PositionDesign = Annotated[StairsLayout | '''


def test_a_kind_of_layout_is_a_class_and_its_name(tmp_path: Path) -> None:
    """In rope/positions.py and nowhere else: a copy of the package in which only that file differs knows it by name,
    with its parameters, its errors and its place in `show`."""
    shutil.copytree(ROOT / "mmrope_eval", tmp_path / "mmrope_eval", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("configs", "tasks", "mmrope_synth"):
        (tmp_path / name).symlink_to(ROOT / name)
    file = tmp_path / "mmrope_eval" / "rope" / "positions.py"
    before = file.read_text()
    assert before.count("\nPositionDesign = Annotated[") == 1
    file.write_text(before.replace("\nPositionDesign = Annotated[", STAIRS))
    (tmp_path / "mine.yaml").write_text("extends: mrope\nposition: {layout: stairs, rise: 2}\n")

    def python(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip

    done = python("from mmrope_eval.rope import *; v = load_variant('mine.yaml')\n"
                  "print(v.positions([Text(1), Vision(1, 2, 2), Text(1)])[0][0].tolist(), v.fingerprint != "
                  "load_variant('mrope').fingerprint)")
    assert done.stdout == "[0.0, 1.0, 1.0, 3.0, 3.0, 4.0] True\n", done.stderr
    done = python("import mmrope_eval.cli as cli; cli.main(['show', 'mine.yaml'])")
    assert "stairs" in done.stdout and "rise" in done.stdout, done.stderr
    (tmp_path / "mine.yaml").write_text("extends: mrope\nposition: {layout: stairs, rize: 2}\n")
    done = python("import mmrope_eval.cli as cli; print(cli.main(['show', 'mine.yaml']))")
    assert done.stdout == "2\n" and "did you mean 'rise'?" in done.stderr

"""Evaluate the demo's checkpoints and write results/demo: what `make results` runs.

    python scripts/demo_results.py [--n 96] [--output runs/demo-results] [--part tables sweep]

Tables 2, 3 and 4 as markdown, LaTeX and, with intervals, CSV; the spread between training seeds; every checkpoint's
scores; the extrapolation sweep. Answers are kept in --output: a second start asks nothing again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "checkpoints"
RESULTS = ROOT / "results" / "demo"
PARTS = ("tables", "sweep")
AVERAGES = ("Image", "Video", "Grounding", "Overall")
SWEPT = ("vanilla", "mrope", "videorope", "mhrope", "mrope-i")
LONG_SECONDS = (28.0, 32.0)
"""Of the sweep's videos: the longest that were trained on."""
DENSE_FPS = 12.0
"""Of these videos: enough frames for the longest context."""


def main() -> int:
    """Evaluate, then write; exit code 1 when samples failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=96, help="rows a column (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "demo-results")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    done = {"tables": tables, "sweep": sweep}
    code = 0
    for part in args.part:
        code = max(code, done[part](args.n, args.output))
        for path in RESULTS.rglob("*"):
            if path.suffix in (".json", ".csv", ".md", ".tex"):
                path.write_text(path.read_text().replace(f"{ROOT}/", ""))  # a record is the same wherever it was made
    return code


def tables(n: int, output: Path) -> int:
    """Every checkpoint on every column."""
    from mmrope_eval.demo.run import checkpoints, demo_config, ensure_world
    from mmrope_eval.suite.run import run

    names = sorted(path.parent.name for path in HOME.glob("*/config.json"))
    data = ensure_world(output / "world", n)
    result = run(demo_config(checkpoints(HOME, names), data, output / "results", None))
    write_tables([folder for _, folder in sorted(result.folders.items())], n)
    return 1 if result.failed else 0


def write_tables(folders: list[Path], n: int) -> None:
    """Tables, seed spread and scores of finished runs."""
    from mmrope_eval.report.definitions import load_definition
    from mmrope_eval.report.render import render
    from mmrope_eval.report.results import load_run
    from mmrope_eval.report.tables import Options, build

    runs = {run.cells[0].model: run for run in map(load_run, folders)}
    first = [run for model, run in runs.items() if "-seed" not in model]
    for name, baseline in (("2", "vanilla"), ("3", "vanilla"), ("4", None)):
        for kind, ending, options in (
            ("markdown", "md", Options(baseline=baseline)),
            ("latex", "tex", Options()),
            ("csv", "csv", Options(level=0.95)),
        ):
            table = build(load_definition(name), first, options)
            (RESULTS / f"table{name}.{ending}").write_text(render(table, kind).rstrip("\n") + "\n")
    seeds = {model: build(load_definition("2"), [run], Options()) for model, run in runs.items()
             if any(other.startswith(f"{model.partition('-seed')[0]}-seed") for other in runs)}  # fmt: skip
    (RESULTS / "seeds.md").write_text(seed_table(seeds))
    shutil.rmtree(RESULTS / "scores", ignore_errors=True)
    (RESULTS / "scores").mkdir()
    for model, run in runs.items():
        shutil.copy(run.cells[0].path / "scores.json", RESULTS / "scores" / f"{model}.json")
    about = json.loads((folders[0] / "manifest.json").read_text())
    kept = {key: about[key] for key in ("versions", "policy", "media_policy", "data") if key in about}
    (RESULTS / "about.json").write_text(json.dumps({"rows_a_column": n, **kept}, indent=2) + "\n")
    print(f"{len(runs)} checkpoints: tables and scores in {RESULTS.relative_to(ROOT)}", file=sys.stderr)


def seed_table(seeds: dict[str, Any]) -> str:
    """The averages of checkpoints that differ in their training seed alone."""
    from tabulate import tabulate

    lines = []
    for model, table in seeds.items():
        (row,) = [row for row in table.rows if table.picked[row]]
        lines.append([model, *(f"{table.cell(row, column)['score']:.2f}" for column in AVERAGES)])
    return tabulate(lines, headers=["checkpoint", *AVERAGES], tablefmt="github", disable_numparse=True) + "\n"


def sweep(n: int, output: Path) -> int:
    """Long videos and needles at one to eight times the trained context, with and without context scaling."""
    from mmrope_eval import cli
    from mmrope_eval.demo.training.recipe import DIFFICULTY
    from mmrope_eval.demo.world import build_world

    dense = dataclasses.replace(DIFFICULTY, fps=(DENSE_FPS,), lvbench_seconds=LONG_SECONDS)
    data = build_world(output / "long", n=n, columns=("lvbench",), difficulty=dense)
    command = ["--model", *(str(HOME / name) for name in SWEPT), "--data-root", str(data)]
    (RESULTS / "sweep").mkdir(exist_ok=True)
    codes = []
    for name, figure in (("demo", "sweep"), ("demo-needle", "needle")):
        codes.append(cli.main(["sweep", name, *command, "--output", str(output / name)]))
        for ending in ("csv", "png", "pdf"):
            shutil.copy(output / name / f"{figure}.{ending}", RESULTS / "sweep" / f"{figure}.{ending}")
    shutil.copy(output / "demo-needle" / "sweep.csv", RESULTS / "sweep" / "needle-points.csv")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

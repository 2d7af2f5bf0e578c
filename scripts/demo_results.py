"""Evaluate the demo's checkpoints and write results/demo: what `make results` runs.

    python scripts/demo_results.py [--n 96] [--output runs/demo-results] [--part tables sweep | pages]

Every checkpoint's cell, packed, in results/demo/runs (of further training seeds in results/demo-seeds); from these
tables 2, 3 and 4 as markdown, LaTeX and, with intervals, CSV, and the spread between seeds; the extrapolation sweep.
Answers are kept in --output: a second start asks nothing again.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "checkpoints"
RESULTS = ROOT / "results" / "demo"
SEEDS = ROOT / "results" / "demo-seeds"
"""Apart, so that `mmrope-eval table 2 results/demo` has one run a row."""
KEPT = ("id", "scores", "parsed", "failure", "truncated", "cluster", "prompt_tokens")
"""What a packed line keeps as it is; of the target its group, of the media their fingerprints. No words."""
PARTS = ("tables", "sweep")
PAGES = "pages"
"""Of the packed cells alone: their tables anew, without an engine."""
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
    parser.add_argument("--part", nargs="+", choices=(*PARTS, PAGES), default=PARTS,
                        help="pages: the tables anew from the cells that are there (default: tables sweep)")
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    done: dict[str, Callable[[int, Path], int]] = {
        "tables": tables, "sweep": sweep, PAGES: lambda n, _: write_tables(n)}  # fmt: skip
    code = 0
    for part in args.part:
        code = max(code, done[part](args.n, args.output))
        for path in [*RESULTS.glob("*.*"), *RESULTS.glob("sweep/*.csv")]:
            if path.suffix in (".json", ".csv", ".md", ".tex"):
                path.write_text(anywhere(path.read_text()))
    return code


def tables(n: int, output: Path) -> int:
    """Every checkpoint on every column."""
    from mmrope_demo.run import checkpoints, demo_config, ensure_world
    from mmrope_eval.run.run import run

    names = sorted(path.parent.name for path in HOME.glob("*/config.json"))
    data = ensure_world(output / "world", n)
    result = run(demo_config(checkpoints(HOME, names), data, output / "results", None))
    for place in (RESULTS / "runs", SEEDS):
        shutil.rmtree(place, ignore_errors=True)
    for folder in result.folders.values():
        model = Path(json.loads((folder / "scores.json").read_text())["checkpoint"]["path"]).name
        pack(folder, (SEEDS if "-seed" in model else RESULTS / "runs") / model)
    return write_tables(n) or int(bool(result.failed))


def anywhere(text: str) -> str:
    """A record's text without the place of the checkout: it is the same wherever it was made."""
    return text.replace(f"{ROOT}/", "")


def pack(folder: Path, target: Path) -> None:
    """A cell as `table`, `compare` and `check` read any: its records, and its samples without their words, packed."""
    from mmrope_eval.record.files import write_json, write_manifest

    scores, manifest = (json.loads(anywhere((folder / f"{name}.json").read_text())) for name in ("scores", "manifest"))
    (target / "samples").mkdir(parents=True)
    for task in scores["tasks"]:
        lines = (folder / "samples" / f"{task}.jsonl").read_text(encoding="utf-8").split("\n")
        text = "".join(json.dumps(slim(json.loads(line))) + "\n" for line in lines if line)
        (target / "samples" / f"{task}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    write_json(target / "scores.json", scores)
    write_manifest(target, manifest, scores)


def slim(row: dict[str, Any]) -> dict[str, Any]:
    """A sample's line with what makes and compares scores."""
    target = row["target"] and {name: row["target"][name] for name in ("group",) if name in row["target"]}
    media = [{"kind": facts["kind"], "fingerprint": facts["fingerprint"]} for facts in row["media"]]
    return {**{name: row[name] for name in KEPT if name in row}, "target": target, "media": media}


def write_tables(n: int) -> int:
    """Tables and seed spread of the packed cells; 0."""
    from mmrope_demo.run import demo_definition
    from mmrope_eval.report.runs import load_run
    from mmrope_eval.report.table.build import Options, build
    from mmrope_eval.report.table.render import render

    first = [load_run(RESULTS)]
    for name, baseline in (("2", "vanilla"), ("3", "vanilla"), ("4", None)):
        for kind, ending, options in (
            ("markdown", "md", Options(baseline=baseline)),
            ("latex", "tex", Options()),
            ("csv", "csv", Options(level=0.95)),
        ):
            table = build(demo_definition(name), first, options)
            (RESULTS / f"table{name}.{ending}").write_text(render(table, kind).rstrip("\n") + "\n")
    cells = sorted((cell for run in (*first, load_run(SEEDS)) for cell in run.cells), key=lambda cell: cell.model)
    several = {cell.model.partition("-seed")[0] for cell in cells if "-seed" in cell.model}
    seeds = {cell.model: build(demo_definition("2"), [load_run(cell.path)], Options()) for cell in cells
             if cell.model.partition("-seed")[0] in several}  # fmt: skip
    (RESULTS / "seeds.md").write_text(seed_table(seeds))
    about = {"rows_a_column": n, "versions": cells[0].manifest["versions"]}
    (RESULTS / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    print(f"{len(cells)} checkpoints: tables and cells in {RESULTS.relative_to(ROOT)}", file=sys.stderr)
    return 0


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
    from mmrope_demo.training.recipe import DIFFICULTY
    from mmrope_eval import cli
    from mmrope_synth import build_world

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

"""`mmrope-eval demo`: the trained checkpoints on the small world, through the real engine, as the paper's Table 2.

Seven tiny checkpoints, one a variant, answer a miniature of every benchmark column in one start of the engine. A second
start finds everything answered.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrope_eval.data.choice_of_rows import Limit, read_limit
from mmrope_eval.errors import UserError

if TYPE_CHECKING:
    from mmrope_eval.cli.demo import DemoOptions
    from mmrope_eval.report.definitions import TableDefinition
    from mmrope_eval.run.config import RunConfig

NOTE = """\
circlerope-upstream moves its ring from frame to frame, as the published package does; the paper's circlerope does not.
Tiny models (1.4 M parameters) trained for minutes on a synthetic world: what they say about the variants holds there.
`mmrope-eval table overall RESULTS --intervals` shows how sure each score is, `mmrope-eval compare` tests two rows,
`mmrope-eval trainings` compares designs that were trained several times (checkpoints NAME-seed1, NAME-seed2).
BLINK is beyond them, below chance: no lesson showed them several pictures or asked in its words."""


def main(args: DemoOptions) -> int:
    """Evaluate, print the table: exit code 0, or 1 when samples failed."""
    from mmrope_eval.run.run import run
    from mmrope_synth import COLUMNS

    began = time.perf_counter()
    folder = Path(args.output)
    models = checkpoints(args.checkpoints, args.variant)
    limit = read_limit(args.limit)
    config = demo_config(models, ensure_world(folder / "world", args.n), folder / "results", limit)
    result = run(replace(config, fresh=args.fresh))
    if result.rows:
        print_table(sorted(folder for label, folder in result.folders.items() if label in result.rows))
    for label, cause in result.broken.items():
        print(f"{label} failed: {cause}")
    print(f"\n{NOTE}")
    answered = f"{result.asked} questions asked now" if result.asked else "all answers were kept from before"
    print(f"{len(models)} checkpoints x {len(COLUMNS)} columns, {answered}, {time.perf_counter() - began:.0f} s")
    return 1 if result.failed or result.broken else 0


def checkpoints(folder: Path | None, variants: Sequence[str]) -> list[Path]:
    """The folders of the trained checkpoints. UserError when one is missing."""
    from mmrope_demo.training.recipe import TABLE_2
    from mmrope_eval.util.paths import project_dir

    home = folder or project_dir("checkpoints")
    paths = [home / name for name in variants or TABLE_2]
    for path in paths:
        if not (path / "model.safetensors").is_file():
            raise UserError(
                f"The demo's checkpoint {path} is missing; make it with mmrope-eval demo train --variant {path.name} "
                f"--out {home}."
            )
    return paths


def ensure_world(folder: Path, n: int) -> Path:
    """The small world's miniature benchmarks with `n` rows a column, built unless they are there."""
    from dataclasses import asdict

    from mmrope_demo.training.recipe import DIFFICULTY
    from mmrope_synth import build_world
    from mmrope_synth.core import WORLD_VERSION
    from mmrope_synth.writer import LAYOUT_VERSION, MANIFEST

    about = {"world": WORLD_VERSION, "layout": LAYOUT_VERSION, "n": n, "difficulty": asdict(DIFFICULTY)}
    wanted = json.loads(json.dumps(about))
    stamp = folder.with_name(f"{folder.name}.json")
    if not (stamp.is_file() and (folder / MANIFEST).is_file() and json.loads(stamp.read_text()) == wanted):
        print(f"drawing the small world in {folder}", file=sys.stderr)
        build_world(folder, n=n, difficulty=DIFFICULTY)
        stamp.write_text(json.dumps(wanted))
    return folder


def demo_config(models: list[Path], data: Path, output: Path, limit: Limit | None) -> RunConfig:
    """All columns on the trained checkpoints, under the media policy that they carry (`mm_media`)."""
    from mmrope_eval.engine.options import EngineOptions
    from mmrope_eval.run.config import RunConfig

    frames = output.parent / "frames"
    options = EngineOptions(max_model_len=2048, max_num_seqs=64, lookahead=64, media_cache_dir=frames)
    return RunConfig(
        models=tuple(str(model) for model in models),
        tasks=("table2",),
        output=output,
        data_root=data,
        limit=limit,
        options=options,
        command=tuple(sys.argv),
    )


def demo_definition(name: str) -> TableDefinition:
    """A table of the paper with CircleRoPE as the demo trained it, which is the published package's."""
    from dataclasses import replace

    from mmrope_eval.report.definitions import Row, load_definition
    from mmrope_eval.rope import load_variant

    definition, upstream = load_definition(name), "circlerope-upstream"
    return replace(definition, rows=tuple(Row(upstream, load_variant(upstream)) if row.label == "circlerope" else row
                                          for row in definition.rows))  # fmt: skip


def print_table(folders: list[Path]) -> None:
    """Table 2 of finished runs, with chance levels; several trainings of one variant are one row, their mean."""
    from mmrope_eval.report.runs import load_run
    from mmrope_eval.report.table.build import Options, build
    from mmrope_eval.report.table.render import render

    print()
    runs = [load_run(folder) for folder in folders]
    print(render(build(demo_definition("overall"), runs, Options(seeds="mean")), "markdown"))

"""What `sweep` is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from mmrope_eval.run.keys import DRY_RUN, AnswerKeys, EngineKeys, Limit, RunKeys, TalkKeys
from mmrope_eval.util.keys import Names, Paths, PathText, Seeds, Text, Words, argument, option, same

OUTPUT: Final = Path("runs/sweep")

CHECKPOINTS: Final = "checkpoints"

Factor = Literal["reach", "context"] | Annotated[float, Field(gt=1, allow_inf_nan=False)]
"""What a context scaling stretches by beyond the trained context: how much further the variant's own positions reach,
how much longer the context is, or a number."""


class SweepOptions(AnswerKeys, EngineKeys, TalkKeys):
    """What `sweep` is asked: a sweep file, checkpoints, where results go."""

    groups = (CHECKPOINTS, "answers", "engine", "what is said")
    config: str = argument("a sweep's YAML file, or a name in configs/sweeps", metavar="FILE")
    model: Words | None = same(RunKeys, "model", group=CHECKPOINTS)
    models: Paths | None = same(RunKeys, "models", group=CHECKPOINTS)
    assume_stock: bool = same(RunKeys, "assume_stock", group=CHECKPOINTS)
    tasks_dir: Paths | None = same(RunKeys, "tasks_dir")
    limit: Limit = same(RunKeys, "limit")
    variants: Names = same(
        RunKeys, "variants", "RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    factor: Factor | None = option(
        "scale by the reach of the variant's positions, by the length of the context, or by a number: reach, context "
        "or NUMBER; default: the file's", metavar="RULE")
    axis: Literal["context", "tokens"] = option(
        "the figure's horizontal axis: contexts as planned, or the tokens of the median prompt (default: %(default)s)",
        "context")
    fresh: bool = same(RunKeys, "fresh")
    no_cache: bool = same(RunKeys, "no_cache")
    prompts: Text | None = same(RunKeys, "prompts", "prompt family; default: that of the checkpoint")
    data_root: PathText | None = same(
        RunKeys, "data_root", "local mirror of the datasets; default: the hub (needles are generated below --output)")
    output: PathText | None = same(
        RunKeys, "output", f"where points, table and figures go, and where a sweep resumes (default: {OUTPUT})")
    dry_run: bool = option(DRY_RUN, False)
    reported: bool = option("draw the paper's scores at 256K as crosses", False)
    report_only: bool = option("measure nothing: show and draw what --output holds", False)
    seed: Seeds = same(RunKeys, "seed", group="engine")

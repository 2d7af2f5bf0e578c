"""What `sweep` is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import BeforeValidator, Field

from mmrope_eval.run.keys import DRY_RUN, AnswerKeys, EngineKeys, Limit, RunKeys, TalkKeys
from mmrope_eval.util.keys import (
    DATA_ROOT,
    Names,
    Paths,
    PathText,
    Seeds,
    Text,
    Words,
    argument,
    field_of,
    option,
    split_names,
    split_numbers,
)

OUTPUT: Final = Path("runs/sweep")
CHECKPOINTS: Final = "checkpoints"
FILE_KEYS: Final = ("tasks", "contexts", "scaling", "factor")
"""Options that take the place of what the sweep's file says."""

Scaling = Literal["none", "linear", "ntk", "yarn"]
SCALINGS: Final[tuple[Scaling, ...]] = get_args(Scaling)
Count = Annotated[int, Field(ge=1)]
Scalings = Annotated[tuple[Scaling, ...], Field(strict=False)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]
Factor = Literal["reach", "context"] | Annotated[float, Field(gt=1, allow_inf_nan=False)]
"""What a context scaling stretches by beyond the trained context: how much further the variant's own positions reach,
how much longer the context is, or a number."""


class SweepOptions(AnswerKeys, EngineKeys, TalkKeys):
    """What `sweep` is asked: a sweep file, checkpoints, where results go."""

    groups = (CHECKPOINTS, "answers", "engine", "what is said")
    config: str = argument("a sweep's YAML file, or a name in configs/sweeps", metavar="FILE")
    model: Words | None = field_of(RunKeys, "model", group=CHECKPOINTS)
    models: Paths | None = field_of(RunKeys, "models", group=CHECKPOINTS)
    assume_stock: bool = field_of(RunKeys, "assume_stock", group=CHECKPOINTS)
    tasks_dir: Paths | None = field_of(RunKeys, "tasks_dir")
    limit: Limit = field_of(RunKeys, "limit")
    variants: Names = field_of(
        RunKeys, "variants", "RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    tasks: Names = option("tasks on videos, suites and globs of them, and paths of task files; default: the file's", [],
                          metavar="LIST")
    contexts: Annotated[Counts, BeforeValidator(split_numbers)] = option(
        "tokens of a prompt, several with commas between, the trained ones among them; default: the file's", (),
        metavar="N[,N...]", action="store")
    scaling: Annotated[Scalings, BeforeValidator(split_names)] = option(
        f"context scalings out of {', '.join(SCALINGS)}, with commas between; default: the file's", (),
        metavar="NAME[,NAME...]", action="store")
    factor: Factor | None = option(
        "scale by the reach of the variant's positions, by the length of the context, or by a number: reach, context "
        "or NUMBER; default: the file's", metavar="RULE")
    axis: Literal["context", "tokens"] = option(
        "the figure's horizontal axis: contexts as planned, or the tokens of the median prompt (default: %(default)s)",
        "context")
    fresh: bool = field_of(RunKeys, "fresh")
    no_cache: bool = field_of(RunKeys, "no_cache")
    prompts: Text | None = field_of(RunKeys, "prompts", "prompt family; default: that of the checkpoint")
    data_root: PathText | None = field_of(
        RunKeys, "data_root", f"{DATA_ROOT} (needles are generated below --output)")
    output: PathText | None = field_of(
        RunKeys, "output", f"where points, table and figures go, and where a sweep resumes (default: {OUTPUT})")
    dry_run: bool = option(DRY_RUN, False)
    reported: bool = option("draw the paper's scores at 256K as crosses", False)
    report_only: bool = option("measure nothing: show and draw what --output holds", False)
    seed: Seeds = field_of(RunKeys, "seed", group="engine")

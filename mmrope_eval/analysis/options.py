"""What `analyze` is asked."""

from __future__ import annotations

from typing import Any, Final, Literal

from mmrope_eval.run.keys import LIMIT, Dtype, MediaKeys, RunKeys
from mmrope_eval.util.keys import (
    DATA_ROOT,
    TASKS_DIR,
    Names,
    Place,
    Places,
    Positive,
    Rate,
    argument,
    field_of,
    in_groups,
    option,
)

EXAMPLES: Final = """\
examples:
  the three guidelines, position growth, overlap, frequencies and decay, with figures
    mmrope-eval analyze mrope mrope-i hope --figures figures
  of a checkpoint's own RoPE, in its own geometry, two of these tables
    mmrope-eval analyze --model CKPT --section guidelines,growth
  attention on visual tokens with and without spatial reset; as JSON it fills table attention
    mmrope-eval analyze mrope-i qwen3-vl --model CKPT --tasks docvqa --limit 50 --format json --output mrope-i.json
"""

ALONE: Final = "without tasks: positions and frequencies"

ATTENTION: Final = "with tasks: attention on visual tokens"

CHECKPOINT: Final = "a checkpoint"
MEDIA: Final = "images and videos"


class AnalyzeOptions(MediaKeys):
    """What `analyze` is asked: which variants, for which model and layout; with --tasks, attention of a real model."""

    groups = (ALONE, CHECKPOINT, ATTENTION, MEDIA)
    epilog = EXAMPLES
    variants: list[str] = argument(
        "names or YAML paths; default: with --model what the checkpoint says, else the rows of the paper's Table 2", [],
        metavar="VARIANT", nargs="*")
    set: dict[str, Any] = field_of(RunKeys, "set", "override one parameter of every variant; may be repeated")
    format: Literal["text", "markdown", "csv", "json"] = option("default: %(default)s", "text")
    output: Place | None = option("write here instead of printing", metavar="FILE")
    section: Names = option(
        "only these tables: guidelines, table1, growth, overlap, spectrum, decay; default: all", [], group=ALONE,
        metavar="NAME[,NAME...]")
    layout: str | None = option(
        "text:N, image:HxW and video:TxHxW@STEP in merged grid cells, for example 'text:12 image:9x7 text:20'; "
        "default: one image and one video, printed above the tables", group=ALONE, metavar="PARTS")
    head_dim: Positive | None = option("default: the paper's models', or --model's", group=ALONE)
    kv_heads: Positive | None = option("default: the same", group=ALONE)
    theta: Rate | None = option("rotary base; default: the same", group=ALONE, metavar="F")
    figures: Place | None = option("also draw figures there, as PDF and PNG", group=ALONE, metavar="DIR")
    model: str | None = option(
        "whose RoPE and geometry are analysed, with --tasks its attention", group=CHECKPOINT, metavar="CKPT")
    assume_stock: bool = field_of(RunKeys, "assume_stock", group=CHECKPOINT)
    tasks: Names = option(
        "comma-separated tasks, suites, globs and paths of task files on whose samples attention is measured", [],
        group=ATTENTION, metavar="LIST")
    tasks_dir: Places = option(TASKS_DIR, [], group=ATTENTION, metavar="DIR")
    dtype: Dtype = field_of(RunKeys, "dtype", group=ATTENTION)
    data_root: Place | None = option(DATA_ROOT, group=ATTENTION, metavar="DIR")
    limit: str | None = option(f"{LIMIT}; default: 16", group=ATTENTION)


USES: Final = {
    "an analysis without --tasks": in_groups(AnalyzeOptions, ALONE),
    "attention on --tasks": in_groups(AnalyzeOptions, ATTENTION, MEDIA),
}
"""What is analysed, and the options that only it reads."""
NAMINGS: Final = {"variants by name": frozenset[str](), "the variant of a --model": frozenset({"assume_stock"})}
"""What names the variants, and the options that only it reads."""

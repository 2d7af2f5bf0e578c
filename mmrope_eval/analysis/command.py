"""`mmrope-eval analyze`: variants side by side without a model, or attention on visual tokens with one (table 5)."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mmrope_eval.analysis.sections import Row, Section, percent, render
from mmrope_eval.data.choice_of_rows import Limit, read_limit
from mmrope_eval.errors import UserError, sentence
from mmrope_eval.rope import Variant
from mmrope_eval.run.keys import LIMIT, Dtype, MediaKeys, RunKeys
from mmrope_eval.util.console import say, write_file
from mmrope_eval.util.keys import DATA_ROOT, TASKS_DIR, Names, Place, Places, Positive, Rate, argument, field_of, option
from mmrope_eval.words import nearest

if TYPE_CHECKING:
    from mmrope_eval.analysis.attention import VisualAttention
    from mmrope_eval.analysis.measures import Geometry
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.models.naming import ModelChoice
    from mmrope_eval.reference import Prompt, ReferenceModel

DEFAULT_SAMPLES = 16

ATTENTION_NOTES = (
    "Per cent of attention that falls on visual tokens, mean over heads and samples.",
    "text: mean over the text tokens after the first visual token; last: the prompt's last token, which predicts the "
    "answer's first; even: what even attention over all visible tokens would give.",
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


class AnalyzeOptions(MediaKeys):
    """What `analyze` is asked: which variants, for which model and layout; with --tasks, attention of a real model."""

    groups = (ALONE, CHECKPOINT, ATTENTION, "images and videos")
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
    head_dim: Positive | None = option("default: 128 (Qwen2.5-VL-7B), or --model's", group=ALONE)
    kv_heads: Positive | None = option("default: 4, or --model's", group=ALONE)
    theta: Rate | None = option("rotary base; default: 1000000, or --model's", group=ALONE, metavar="F")
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


def main(args: AnalyzeOptions) -> int:
    """The command: exit code 0. UserError for options that contradict each other."""
    from mmrope_eval.analysis.tables import DEFAULT_LAYOUT, TABLE_1, header, make_report, sections

    words = [name for word in args.variants for name in word.split(",") if name]
    variants = [name for word in words for name in (TABLE_1 if word == "table1" else (word,))]
    stems = [Path(name).stem if name.endswith((".yaml", ".yml")) else name for name in variants]
    for name in stems:
        if stems.count(name) > 1:
            raise UserError(f"variant '{name}' is named twice: rows are told apart by name, give the file another one")
    if args.tasks:
        return attention_main(args, variants)
    for word, given in (("--data-root", args.data_root), ("--limit", args.limit)):
        if given is not None:
            raise UserError(f"{word} has a meaning with --tasks only: name the tasks on which attention is measured")
    named = None if args.model is None else _checkpoint(args.model)
    geometry = _geometry(args, None if named is None else named[1])
    layout, fixed = args.layout or DEFAULT_LAYOUT, args.kv_heads is not None
    chosen = variants if variants or named is None else [_own_variant(args, *named)]
    report = make_report(chosen, layout, geometry, args.set, fixed_heads=fixed)
    about = {"geometry": dataclasses.asdict(geometry), "layout": report.layout, "remarks": list(report.notes)}
    give(args, render(wanted(sections(report), args.section), args.format, header(report), about))
    if args.figures is not None:
        from mmrope_eval.analysis.figures import write_figures

        for path in write_figures(report, args.figures):
            say(str(path), file=sys.stderr)
    return 0


def _checkpoint(word: str) -> tuple[ModelChoice, Checkpoint]:
    from mmrope_eval.run.cells import one_checkpoint

    return one_checkpoint(word)


def _own_variant(args: AnalyzeOptions, choice: ModelChoice, checkpoint: Checkpoint) -> Variant:
    """What a run would evaluate the checkpoint under."""
    from mmrope_eval.models.variant_choice import resolve_variant

    return resolve_variant(checkpoint, choice.variant, args.set, assume_stock=args.assume_stock).variant


def wanted(tables: Sequence[Section], names: Sequence[str]) -> list[Section]:
    """The tables of these names in their own order, all where none is named. UserError for a name that none has."""
    table_names = [table.name for table in tables]
    for name in names:
        if name not in table_names:
            close = nearest(name, table_names)
            hint = "there is no such table" if close is None else f"did you mean '{close}'?"
            raise UserError(f"--section {name}: {hint} The tables are {', '.join(table_names)}.")
    return [table for table in tables if not names or table.name in names]


def _geometry(args: AnalyzeOptions, checkpoint: Checkpoint | None) -> Geometry:
    from mmrope_eval.analysis.measures import Geometry

    geometry = Geometry()
    if checkpoint is not None:
        geometry = Geometry(checkpoint.head_dim, checkpoint.num_kv_heads, checkpoint.rope_theta, checkpoint.rotary_dim)
    given: dict[str, Any] = {"num_kv_heads": args.kv_heads, "rope_theta": args.theta}
    if args.head_dim is not None:
        given |= {"head_dim": args.head_dim, "rotary_dim": args.head_dim}
    return dataclasses.replace(geometry, **{name: value for name, value in given.items() if value is not None})


def attention_main(args: AnalyzeOptions, variants: list[str]) -> int:
    """Attention on visual tokens of one checkpoint under each variant, on the first samples of each task."""
    if args.model is None:
        raise UserError("--tasks measures attention, which takes a model: give --model CKPT")
    if args.section:
        raise UserError("--section chooses tables of the analysis without a model: leave it out, or leave out --tasks")
    for word in ("--layout", "--head-dim", "--kv-heads", "--theta", "--figures"):
        if getattr(args, word[2:].replace("-", "_")) is not None:
            raise UserError(f"{word} belongs to the analysis without a model: leave it out, or leave out --tasks")
    from mmrope_eval.models.variant_choice import resolve_variant

    choice, checkpoint = _checkpoint(args.model)
    names_given: Sequence[str | None] = variants or (choice.variant,)
    chosen = [resolve_variant(checkpoint, name, args.set, assume_stock=args.assume_stock).variant
              for name in names_given]
    rows = attention_rows(args, choice, checkpoint, chosen)
    names = [variant.name for variant in chosen]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    header = [f"model: {Path(args.model).name}, fingerprint {checkpoint.fingerprint[:12]}"]
    about = {"model": str(checkpoint.path), "fingerprint": checkpoint.fingerprint, "variants": names,
             "definitions": {variant.name: variant.to_dict() for variant in chosen}}
    if args.format in ("csv", "json"):
        tables = [Section("attention", "", rows, lambda row: row, ("variant", "task", "layer"), ATTENTION_NOTES)]
    else:
        tables = [layer_section([row for row in rows if row["task"] == task], task, names) for task in tasks]
    give(args, render(tables, args.format, header, about))
    return 0


def give(args: AnalyzeOptions, text: str) -> None:
    """Print text, or write it to --output."""
    if args.output is None:
        say(text)
    else:
        write_file(args.output, f"{text}\n")


def attention_rows(args: AnalyzeOptions, choice: ModelChoice, checkpoint: Checkpoint,
                   variants: list[Variant]) -> list[Row]:
    """A row for each variant, task and layer (counted from 1), shares between 0 and 1; the last layer row of each is
    the mean of all layers."""
    import torch

    from mmrope_eval.analysis.attention import visual_attention
    from mmrope_eval.reference import load_reference

    dtype = getattr(torch, checkpoint.dtype if args.dtype == "auto" else args.dtype)
    reference = load_reference(checkpoint.served, variants[0], dtype=dtype)
    if torch.cuda.is_available():
        reference.model.to("cuda")
    by_row: dict[tuple[str, str], list[VisualAttention]] = {}
    for task, prompt in task_prompts(args, choice, checkpoint, reference):
        for variant in variants:
            reference.set_variant(variant)
            by_row.setdefault((task, variant.name), []).append(visual_attention(reference, prompt))
    rows: list[Row] = []
    for (task, name), shares in by_row.items():
        text, last = (np.mean([getattr(s, which) for s in shares], axis=0) for which in ("text", "last"))
        even_text, even_last = (float(np.mean([getattr(s, e) for s in shares])) for e in ("even_text", "even_last"))
        for layer, values in [*enumerate(zip(text, last, strict=True), 1), ("all", (text.mean(), last.mean()))]:
            rows.append({"variant": name, "task": task, "layer": layer, "samples": len(shares),
                         "text": float(values[0]), "last": float(values[1]), "even_text": even_text,
                         "even_last": even_last})
    return rows


def task_prompts(args: AnalyzeOptions, choice: ModelChoice, checkpoint: Checkpoint,
                 reference: ReferenceModel) -> Iterator[tuple[str, Prompt]]:
    """The first samples of each task as a run would ask them. Rows that cannot be asked are named on stderr."""
    from mmrope_eval.errors import SampleError
    from mmrope_eval.media.policy import checkpoint_policy
    from mmrope_eval.run.cells import cell_family
    from mmrope_eval.run.config import RunConfig, media_limits
    from mmrope_eval.task.planner import Plans
    from mmrope_eval.task.registry import open_registry

    registry = open_registry(args.tasks, args.tasks_dir)
    config = RunConfig((choice.named,), tuple(args.tasks), Path())
    specs = registry.select(args.tasks)
    family = cell_family(config, choice, checkpoint, registry)
    plans = Plans(specs, args.data_root, read_limit(args.limit) or Limit(DEFAULT_SAMPLES)).of(family)
    policy, _ = checkpoint_policy(checkpoint, media_limits(args))
    for name, plan in plans.items():
        used = 0
        for sample in plan.samples:
            try:
                if sample.problem:
                    raise SampleError(sample.problem[1])
                yield name, reference.prepare_request(plan.request(sample), policy)
                used += 1
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 - a processor raises anything at an odd sample
                say(f"mmrope-eval: {sample.id} left out: {sentence(error)}", file=sys.stderr)
        if not used:
            raise UserError(f"none of the first {len(plan.samples)} samples of task '{name}' can be asked")


def layer_section(rows: list[Row], task: str, variants: list[str]) -> Section:
    """One task's table: a row for each layer, two columns for each variant."""
    merged: dict[Any, Row] = {}
    for row in rows:
        line = merged.setdefault(row["layer"], {"layer": str(row["layer"])})
        line[f"{row['variant']} text"], line[f"{row['variant']} last"] = row["text"], row["last"]
        line["even text"], line["even last"] = row["even_text"], row["even_last"]

    def show(row: Row) -> Row:
        columns = [f"{name} {which}" for name in [*variants, "even"] for which in ("text", "last")]
        return {"layer": row["layer"], **{name: percent(row[name], 2) for name in columns}}

    title = f"Share of attention on visual tokens, %: {task}, {rows[0]['samples']} samples"
    return Section("attention", title, list(merged.values()), show, ("layer",), ATTENTION_NOTES)

"""The rows of a result: which checkpoints under which variants, how each is asked, what determines its responses.

Everything that can be known without an engine is known here: a checkpoint that cannot be evaluated is a row that
failed, before anything starts, and the others go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrope_eval.engine import ranks
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MEDIA_VERSION, MediaPolicy, checkpoint_policy
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.models.naming import ModelChoice, make_labels, one_model, resolve_models
from mmrope_eval.models.template import writes_system
from mmrope_eval.models.variant_choice import resolve_variant
from mmrope_eval.run.answer_limits import read_thinking
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell
from mmrope_eval.run.manifest import time_of, versions
from mmrope_eval.store.answer_code import answer_code
from mmrope_eval.task.registry import Family, Registry, check_coordinates
from mmrope_eval.task.sample import TIME
from mmrope_eval.util.row_names import changed_name
from mmrope_eval.words import flat

if TYPE_CHECKING:
    from mmrope_eval.rope import Variant

IDENTITY = 1
"""Of the rule by which a context is written: another number would make every kept answer another one."""


@dataclass(frozen=True)
class FailedRow:
    """A row that cannot be evaluated, and why in one sentence."""

    label: str
    folder: Path
    cause: str
    path: Path | None = None
    """The checkpoint's, as it was named."""
    variant: str = ""
    """As it was asked for; "" where the checkpoint should have said it."""


@dataclass(frozen=True)
class Rows:
    """The rows of a run."""

    cells: tuple[Cell, ...]
    failed: tuple[FailedRow, ...]
    folders: Mapping[str, Path]
    """Of all rows by label, in the order asked for."""


def make_cells(config: RunConfig, registry: Registry) -> Rows:
    """Checkpoints times variants, checkpoint by checkpoint, each with a label and a folder of its own. Raises
    `UserError` where no row can be evaluated, and for what is wrong with the command itself."""
    choices = resolve_models(config.models, config.model_files, config.listed)
    if not choices:
        raise UserError("name at least one checkpoint with --model, or a file of them with --models")
    _check_names(config, choices, registry)
    drafts: list[Cell | Exception] = []
    named: list[tuple[ModelChoice, str]] = []
    for choice, variant_asked, draft_or_error in _read(config, choices, registry):
        drafts.append(draft_or_error)
        named.append((choice, draft_or_error.variant.name if isinstance(draft_or_error, Cell) else variant_asked or ""))
    _check_once([(choice, draft) for (choice, _), draft in zip(named, drafts, strict=True)])
    errors = [draft for draft in drafts if isinstance(draft, Exception)]
    if len(errors) == len(drafts):
        causes = list(dict.fromkeys(flat(error) for error in errors))
        several = f"none of {len(errors)} rows can be evaluated: {'; '.join(causes)}"
        raise errors[0] if len(errors) == 1 else UserError(causes[0] if len(causes) == 1 else several)
    labels = [f"{label}{config.label_end}" for label in make_labels(_with_variants(named, drafts, config.overrides))]
    alone = len(drafts) == 1 and not config.own_folders
    folders = [config.output] if alone else [config.output / label for label in labels]
    cells, failed = [], []
    for draft, label, folder, (choice, variant) in zip(drafts, labels, folders, named, strict=True):
        if isinstance(draft, Cell):
            cells.append(dataclasses.replace(draft, label=label, folder=folder))
        else:
            failed.append(FailedRow(label, folder, flat(draft), choice.path, variant))
    return Rows(tuple(cells), tuple(failed), dict(zip(labels, folders, strict=True)))


def _check_once(drafts: Sequence[tuple[ModelChoice, Cell | Exception]]) -> None:
    """UserError for a row that would be asked twice: one checkpoint under one variant, whichever words named them."""
    seen: dict[tuple[object, ...], ModelChoice] = {}
    for choice, cell in drafts:
        if isinstance(cell, Exception):
            continue
        key = (choice.path.resolve(), cell.variant.name, cell.variant.fingerprint, choice.label, str(cell.family))
        if key in seen:
            words = dict.fromkeys((seen[key].named, choice.named))
            raise UserError(f"checkpoint {choice.path} is named twice under the variant '{cell.variant.name}', by "
                            f"{' and by '.join(map(repr, words))}: leave one out, or give them different labels in a "
                            "--models file")  # fmt: skip
        seen[key] = choice


def _with_variants(named: Sequence[tuple[ModelChoice, str]], drafts: Sequence[object],
                   overrides: Mapping[str, Any]) -> list[tuple[ModelChoice, str, tuple[str, ...]]]:
    """Checkpoints with the names of their variants, in which `overrides` stand, and what else is changed in these. A
    row that failed before its variant was known goes by the others', where they have one in common."""
    from mmrope_eval.rope import changed_parameters

    variants = {variant for (_, variant), draft in zip(named, drafts, strict=True) if isinstance(draft, Cell)}
    usual = variants.pop() if len(variants) == 1 else ""
    names = [variant or usual for _, variant in named]
    pairs = [pair for key, value in overrides.items()
             for pair in (value.items() if isinstance(value, Mapping) else [(key, value)])]
    told = [f"{name}={value}" for name, value in pairs]
    changes = [changed_parameters(draft.variant) if isinstance(draft, Cell) else () for draft in drafts]
    return [(choice, name and changed_name(name, told), tuple(change for change in changed if change not in told))
            for (choice, _), name, changed in zip(named, names, changes, strict=True)]


def _check_names(config: RunConfig, choices: Sequence[ModelChoice], registry: Registry) -> None:
    """What is wrong with the command whatever the checkpoints hold, before gigabytes are read."""
    from mmrope_eval.rope import load_variant

    if config.options.tensor_parallel_size > 1:
        ranks.require_devices(config.options.tensor_parallel_size)
    for name in dict.fromkeys([*config.variants, *(choice.variant for choice in choices if choice.variant)]):
        load_variant(name, **config.overrides)
    demanded = config.protocol.prompts if config.protocol else None
    for wording in dict.fromkeys([config.prompts, demanded, *(choice.prompts for choice in choices)]):
        if wording is not None and wording not in registry.wordings:
            raise UserError(f"--prompts {wording}: no task has such a wording; choose one of "
                            f"{', '.join(sorted(registry.wordings))}.")


def _read(config: RunConfig, choices: Sequence[ModelChoice],
          registry: Registry) -> Iterator[tuple[ModelChoice, str | None, Cell | Exception]]:
    """Every row as a cell without label and folder, or what is wrong with it."""
    for choice in choices:
        variants: Sequence[str | None] = (choice.variant,) if choice.variant else config.variants or (None,)
        try:
            checkpoint: Checkpoint | Exception = read_checkpoint(choice.path, config.options.trust_remote_code)
        except UserError as error:
            checkpoint = error
        for name in variants:
            try:
                if isinstance(checkpoint, Exception):
                    raise checkpoint
                yield choice, name, _cell(config, choice, checkpoint, name, registry)
            except UserError as error:
                yield choice, name, error


def _cell(config: RunConfig, choice: ModelChoice, checkpoint: Checkpoint, variant: str | None,
          registry: Registry) -> Cell:
    chosen = resolve_variant(checkpoint, variant, config.overrides, assume_stock=config.assume_stock)
    chosen.variant.check_fit(checkpoint.rotary_dim, checkpoint.num_kv_heads)
    _check_precision(checkpoint, config.options.dtype)
    ranks.require_split(checkpoint, config.options.tensor_parallel_size)
    policy, sources = cell_policy(config, checkpoint)
    thinking = read_thinking(config.thinking, checkpoint)
    asked = dataclasses.replace(cell_family(config, choice, checkpoint, registry), enable_thinking=thinking.told)
    family = with_system(asked, config.system, checkpoint)
    context = response_context(config, checkpoint, chosen.variant, policy, thinking.told)
    return Cell("", checkpoint, chosen, family, policy, sources, config.output, context, choice.named, thinking,
                time_of(checkpoint, chosen.variant))  # fmt: skip


def _check_precision(checkpoint: Checkpoint, dtype: str) -> None:
    precision = checkpoint.dtype if dtype == "auto" else dtype
    if checkpoint.quantisation is not None and precision == "float32":
        raise UserError(f"checkpoint '{checkpoint.path}' is quantised ({checkpoint.quantisation}), which runs in half "
                        "precision only: give --dtype bfloat16 or float16")  # fmt: skip


def cell_policy(config: RunConfig, checkpoint: Checkpoint) -> tuple[MediaPolicy, dict[str, str]]:
    """A row's media policy, and by field where it was said."""
    if config.options.policy is not None:
        return config.options.policy, {}
    if config.protocol is None:
        return checkpoint_policy(checkpoint, config.media)
    demanded = config.protocol.policy_fields(checkpoint.geometry.factor)
    return checkpoint_policy(checkpoint, config.media, demanded, f"protocol {config.protocol.name}")


def cell_family(config: RunConfig, choice: ModelChoice, checkpoint: Checkpoint, registry: Registry) -> Family:
    """How a checkpoint is asked and read: its family's file, config.json's `mm_coordinates`, the protocol's wording,
    its entry in a --models file, then the command line."""
    family = registry.family(checkpoint.family.name)
    declared = checkpoint.declared("mm_coordinates")
    for name, where in ((declared, f"{checkpoint.path}/config.json"), (choice.coordinates, choice.named),
                        (config.coordinates, "--coordinates")):
        if name is not None:
            family = dataclasses.replace(family, coordinates=check_coordinates(str(name), where))
    wording = config.prompts or choice.prompts or (config.protocol.prompts if config.protocol else None)
    return family if wording is None else dataclasses.replace(family, prompts=wording)


def with_system(family: Family, system: str | None, checkpoint: Checkpoint) -> Family:
    """How a checkpoint is asked, with a system prompt in place of the family's; None: as the family has it. UserError
    where there is a system prompt and the checkpoint's chat template does not write it."""
    prompts = family if system is None else dataclasses.replace(family, system=system)
    template = checkpoint.template
    if prompts.system is not None and not writes_system(template, checkpoint.vocabulary.special, prompts.system,
                                                        prompts.enable_thinking):
        raise UserError(f"checkpoint '{checkpoint.path}': its chat template ({template.source}) does not write a "
                        "system prompt into the prompt, so none can be given: leave --system out")
    return prompts


def response_context(config: RunConfig, checkpoint: Checkpoint, variant: Variant, policy: MediaPolicy,
                     thinking: bool | None = None) -> dict[str, Any]:
    """What determines a response besides its question; part of every response's identity.

    The code that answers is named by its answer version (see `answer_code`), not by the version of the package. The
    chat template is part of the weights' fingerprint; what it is told as enable_thinking (`thinking`) is named where it
    changes the prompt. So is the `time` of a variant where videos carry seconds and it counts frames: without it the
    identity is the one of version 0.3, whose answers about pictures are kept.
    """
    indexed = variant.time == "index" and checkpoint.family.video.timed
    return {
        **({} if thinking is None else {"enable_thinking": thinking}),
        **({TIME: "index"} if indexed else {}),
        "store": IDENTITY,
        "weights": checkpoint.fingerprint,
        "variant": variant.timeless_fingerprint,
        "policy": policy.record(),
        "media": MEDIA_VERSION,
        "dtype": config.options.dtype,
        "head_dtype": config.options.head_dtype,
        "max_model_len": config.options.max_model_len,
        "versions": {**versions(), "mmrope-eval": answer_code().version},
    }


def one_checkpoint(word: str) -> tuple[ModelChoice, Checkpoint]:
    """The one checkpoint that a word names. Raises `UserError` for several."""
    choice = one_model(word)
    return choice, read_checkpoint(choice.path)

"""`mmrope-eval inspect`: what checkpoints hold, under which RoPE and how each would be asked, without an engine.

Neither torch nor transformers nor vLLM is imported: the answer is there in a second, or as soon as gigabytes are read
for the first time. What a run would refuse is said here in the same words.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import checkpoint_policy
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint, switch_problem
from mmrope_eval.models.description import describe
from mmrope_eval.models.lora_adapter import describe as describe_adapter
from mmrope_eval.models.lora_adapter import is_adapter
from mmrope_eval.models.naming import ModelChoice, resolve_models
from mmrope_eval.models.variant_choice import resolve_variant, video_time
from mmrope_eval.rope import changed_parameters, load_variant
from mmrope_eval.rope import described as described_variant
from mmrope_eval.run.options import InspectOptions
from mmrope_eval.task.registry import Registry, check_coordinates
from mmrope_eval.util.console import say
from mmrope_eval.words import flat, size_text

Facts = dict[str, Any]


@dataclass(frozen=True)
class Inspected:
    """One checkpoint, and what `--json` says of it."""

    facts: Facts
    checkpoint: Checkpoint | None
    """None where it is broken, or was not read."""

    @property
    def fine(self) -> bool:
        """Whether a run would take it as it is."""
        return self.facts["problem"] is None and not self.facts.get("questions")


def main(args: InspectOptions) -> int:
    """Print a block for every checkpoint and how they differ; 1 where one could not be evaluated as it is."""
    choices = resolve_models(args.model, args.models or ())
    if not choices:
        raise UserError("name at least one checkpoint, or a file of them with --models")
    for name in dict.fromkeys([args.variant, *(choice.variant for choice in choices)]):
        if name is not None:
            load_variant(name, **args.set)
    registry = Registry()
    inspected: list[Inspected] = []
    for choice in choices:
        inspected.append(_inspect(choice, args, registry))
        if not args.as_json:
            say("\n".join(block(inspected[-1].facts)), end="\n\n" if choice is not choices[-1] else "\n", flush=True)
    differing = comparison(inspected)
    if args.as_json:
        say(json.dumps({"checkpoints": [entry.facts for entry in inspected], "asked_differently": differing}, indent=2,
                         ensure_ascii=False))  # fmt: skip
    elif differing is not None:
        say("\n" + "\n".join(_comparison_lines(differing)))
    return 0 if all(entry.fine for entry in inspected) else 1


# --- facts --------------------------------------------------------------------------------------------------------


def _inspect(choice: ModelChoice, args: InspectOptions, registry: Registry) -> Inspected:
    facts: Facts = {"named": choice.named, "path": str(choice.path.resolve()), "revision": choice.revision,
                    "state": "whole", "problem": None}  # fmt: skip
    try:
        if args.no_weights and is_adapter(choice.path):
            adapter = describe_adapter(choice.path)
            adapter_facts = {"base": adapter.base, "rank": adapter.rank, "alpha": adapter.alpha}
            return Inspected({**facts, "state": "not read", "adapter": adapter_facts}, None)
        checkpoint = read_checkpoint(choice.path, read_weights=not args.no_weights)
        described = describe(checkpoint)
    except UserError as error:
        return Inspected({**facts, "state": "broken", "problem": flat(error)}, None)
    questions: list[str] = []
    facts |= described
    facts["variant"] = _variant(checkpoint, choice, args, questions)
    facts["media"] = _media(checkpoint, questions)
    facts |= _wording(checkpoint, choice, registry, questions)
    return Inspected({**facts, "questions": questions}, checkpoint)


def _variant(checkpoint: Checkpoint, choice: ModelChoice, args: InspectOptions, questions: list[str]) -> Facts | None:
    try:
        chosen = resolve_variant(checkpoint, choice.variant or args.variant, args.set, assume_stock=args.assume_stock)
        chosen.variant.check_fit(checkpoint.rotary_dim, checkpoint.num_kv_heads)
    except UserError as error:
        questions.append(flat(error))
        return None
    return {
        "name": chosen.variant.name,
        "changed": changed_parameters(chosen.variant),
        "described": described_variant(chosen.variant),
        "how": chosen.how,
        "assumed": chosen.assumed,
        "fingerprint": chosen.variant.fingerprint,
        "definition": chosen.variant.to_dict(),
        "video_time": video_time(chosen.variant, checkpoint.tokens_per_second),
    }


def _media(checkpoint: Checkpoint, questions: list[str]) -> Facts | None:
    try:
        policy, sources = checkpoint_policy(checkpoint, {})
    except UserError as error:
        questions.append(flat(error))
        return None
    # A source is a file of the folder, with the key in brackets where it is not a file of its own.
    short = {field: place.rpartition("/")[2].replace(" (", ", ").removesuffix(")") for field, place in sources.items()}
    return {"limits": dataclasses.asdict(policy), "sources": short}


def _wording(checkpoint: Checkpoint, choice: ModelChoice, registry: Registry, questions: list[str]) -> Facts:
    family = registry.family(checkpoint.family.name)
    coordinates, source = family.coordinates, "its family's"
    for name, where in ((checkpoint.declared("mm_coordinates"), "config.json"), (choice.coordinates, "--models")):
        if name is not None:
            try:
                coordinates, source = check_coordinates(str(name), f"{checkpoint.path} ({where})"), where
            except UserError as error:
                questions.append(flat(error))
    return {"coordinates": coordinates, "coordinates_source": source, "prompts": choice.prompts or family.prompts}


# --- a block of text ----------------------------------------------------------------------------------------------


def block(facts: Facts) -> Iterator[str]:
    """A checkpoint's name, and a line for every fact; `!` marks what wants an answer or a second look."""
    yield facts["named"]
    rows = list(_rows(facts))
    width = max(len(key) for _, key, _ in rows) + 1
    for mark, key, text in rows:
        yield f"{mark} {key + ':':<{width}}  {text}"


Row = tuple[str, str, str]


def _rows(facts: Facts) -> Iterator[Row]:
    yield " ", "path", facts["path"] + (f" (commit {facts['revision'][:12]})" if facts["revision"] else "")
    if facts["problem"] is not None:
        yield "!", "broken", facts["problem"]
        return
    if facts["state"] == "not read":
        yield " ", "adapter", _adapter_text(facts["adapter"])
        yield "!", "not read", "an adapter is merged into its base first, which --no-weights leaves out"
        return
    family = facts["family"]
    yield " ", "family", f"{family['title']} (model_type {family['model_type']})"
    read = facts["weights"]["read"]
    yield " ", "state", ("whole: every tensor is there, every value finite" if read else
                         "whole by its headers; values not read (--no-weights)")  # fmt: skip
    yield " ", "fingerprint", facts["fingerprint"][:12] if read else "not computed (--no-weights)"
    yield from _variant_rows(facts)
    yield from _network_rows(facts)
    yield from _media_rows(facts)
    yield from _asking_rows(facts)
    if facts["training"]["step"] is not None:
        yield " ", "training", f"step {facts['training']['step']} of {facts['training']['run']}"
    if facts["adapter"] is not None:
        yield " ", "adapter", _adapter_text(facts["adapter"])
    for remark in facts["remarks"]:
        yield "!", "remark", remark


def _adapter_text(adapter: Mapping[str, Any]) -> str:
    return f"LoRA of rank {adapter['rank']}, alpha {adapter['alpha']:g}, on {adapter['base']}"


def _variant_rows(facts: Facts) -> Iterator[Row]:
    variant, rope = facts["variant"], facts["rope"]
    if variant is not None:
        yield "!" if variant["assumed"] else " ", "variant", f"{variant['described']}, by {variant['how']}"
        if variant["assumed"]:
            yield "!", "assumed", ("nothing in the folder names a RoPE, so it is taken for stock: --variant NAME says "
                                   "otherwise, 'mmrope-eval stamp CKPT NAME' writes it down")  # fmt: skip
        if variant["video_time"] is not None:
            yield " ", "frames", variant["video_time"]
    for question in facts["questions"]:
        yield "!", "question", question
    yield " ", "rope theta", f"{rope['theta']:g}"
    yield " ", "rotary_dim", f"{rope['rotary_dim']} of {facts['network']['head_dim']} channels of a head"
    section = rope["mrope_section"]
    yield " ", "mrope_section", "none" if section is None else ", ".join(map(str, section))
    scaling = _scaling(facts)
    details = ", ".join(f"{key} {value}" for key, value in scaling.items() if key != "type" and value is not None)
    yield " ", "context", (f"{facts['network']['max_position']:,} tokens, scaling {scaling['type']}"
                           + (f" ({details})" if details else ""))  # fmt: skip


def _scaling(facts: Facts) -> Mapping[str, Any]:
    """The variant's, or what config.json says where the variant is not known."""
    variant = facts["variant"]
    scaling: Mapping[str, Any] = variant["definition"]["scaling"] if variant is not None else facts["rope"]["scaling"]
    return scaling or {"type": "none"}


def _network_rows(facts: Facts) -> Iterator[Row]:
    network, weights = facts["network"], facts["weights"]
    yield " ", "attention", (f"{network['heads']} heads on {network['kv_heads']} KV heads of {network['head_dim']} "
                             f"channels, {network['layers']} layers")  # fmt: skip
    files = weights["files"]
    names = files[0] if len(files) == 1 else f"{len(files)} files, {files[0]} to {files[-1]}"
    counted = "stored values" if network["quantisation"] else "parameters"
    yield " ", "weights", f"{weights['parameters']:,} {counted}, {size_text(weights['bytes'])} in {names}"
    matrix = "the word embeddings (tied)" if weights["tied"] else "its own"
    if weights["tied"] and weights["own_output_matrix"]:
        matrix += ", of which the file has a copy" if weights["read"] else " by config.json; the file's own is unread"
    yield " ", "output matrix", matrix
    yield " ", "dtype", f"{network['dtype']} (stored as {', '.join(weights['stored_as'])})"
    yield " ", "quantisation", network["quantisation"] or "none"


def _media_rows(facts: Facts) -> Iterator[Row]:
    if facts["media"] is None:
        return
    limits, sources = facts["media"]["limits"], facts["media"]["sources"]

    def origins(*fields: str) -> str:
        """The files that set these limits, in brackets."""
        return f"({', '.join(dict.fromkeys(sources.get(field, 'default') for field in fields))})"

    low, high, side = limits["image_min_pixels"], limits["image_max_pixels"], facts["network"]["token_side"]
    yield " ", "pictures", (f"{low:,} to {high:,} pixels, {side} x {side} a token "
                            f"{origins('image_min_pixels', 'image_max_pixels')}")  # fmt: skip
    if limits["video_frames"] is not None:
        yield " ", "video frames", f"{limits['video_frames']} {origins('video_frames')}"
    else:
        yield " ", "video frames", (f"{limits['video_fps']:g} a second, {limits['video_min_frames']} to "
                                    f"{limits['video_max_frames']} "
                                    f"{origins('video_fps', 'video_min_frames', 'video_max_frames')}")  # fmt: skip
    yield " ", "video tokens", f"at most {limits['video_max_tokens']:,} {origins('video_max_tokens')}"
    yield " ", "frame pixels", (f"{limits['frame_min_pixels']:,} to {limits['frame_max_pixels']:,} "
                                f"{origins('frame_min_pixels', 'frame_max_pixels')}")  # fmt: skip
    if limits["video_min_pixels"] is not None:
        least = f"{limits['video_min_pixels']:,}"
        yield " ", "video pixels", f"at least {least} in all frames {origins('video_min_pixels')}"


def _asking_rows(facts: Facts) -> Iterator[Row]:
    yield " ", "chat template", facts["template"]["source"]
    yield " ", "a question", _escaped(facts["template"]["question"])
    yield " ", "thoughts", _thoughts(facts["template"])
    ids, token = facts["ends"]["ids"], facts["ends"]["eos_token"]
    yield " ", "ends answers", f"token {', '.join(map(str, ids))}" + (f" (eos_token {token})" if token else "")
    yield " ", "boxes", f"{facts['coordinates']} ({facts['coordinates_source']})"
    yield " ", "prompts", facts["prompts"]


def _thoughts(template: Mapping[str, Any]) -> str:
    if not template["opens_thought"] and not template["enable_thinking"]:
        return "none that the chat template knows of"
    text = "the chat template opens one" if template["opens_thought"] else "left to the model"
    if template["enable_thinking"]:
        told = " and ".join(str(value).lower() for value in template["enable_thinking"])
        text += f", and heeds enable_thinking={told}"
    return f"{text} (--thinking)"


def _escaped(text: str) -> str:
    """On one line, as a JSON string without its quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


# --- one beside another -------------------------------------------------------------------------------------------


def comparison(inspected: Sequence[Inspected]) -> Facts | None:
    """What each checkpoint is asked, or read, differently from the first; None where fewer than two could be read."""
    read = [entry for entry in inspected if entry.checkpoint is not None]
    if len(read) < 2:
        return None
    return {"from": read[0].facts["named"], "others": [_compared(read[0], entry) for entry in read[1:]]}


def _compared(first: Inspected, other: Inspected) -> Facts:
    assert first.checkpoint is not None and other.checkpoint is not None
    facts, others = _asked(first.facts), _asked(other.facts)
    absent = (None, "absent")
    pairs = {name: (facts.get(name, absent), others.get(name, absent)) for name in [*facts, *others]}
    differences = [{"what": name, "first": mine[1], "other": its[1]} for name, (mine, its) in pairs.items()
                   if mine[0] != its[0]]  # fmt: skip
    same = other.facts["path"] == first.facts["path"]
    return {"named": other.facts["named"], "differences": differences,
            "switch_problem": None if same else switch_problem(first.checkpoint, other.checkpoint)}  # fmt: skip


def _asked(facts: Facts) -> dict[str, tuple[Any, str]]:
    """All that changes what is asked or how it is read: what is compared, and how that is shown."""
    variant, rope, network, template = facts["variant"], facts["rope"], facts["network"], facts["template"]
    compared: dict[str, tuple[Any, str]] = {}
    if variant is None:  # equals nothing, another open question neither
        compared["variant"] = compared["frames"] = (facts["questions"], "an open question")
    else:
        compared["variant"] = (variant["fingerprint"], f"{variant['described']} ({variant['fingerprint'][:8]})")
        compared["frames"] = (variant["video_time"], variant["video_time"] or "one a grid")
    scaling = _scaling(facts)
    compared["context scaling"] = (scaling, scaling["type"] if scaling["type"] == "none" else json.dumps(scaling))
    compared["rope theta"] = (rope["theta"], f"{rope['theta']:g}")
    for key in ("dtype", "quantisation", "max_position"):
        compared[key] = (network[key], str(network[key] or "none"))
    for field, value in (facts["media"] or {"limits": {}})["limits"].items():
        compared[field] = (value, "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value))
    question = _escaped(template["question"])
    compared["a question"] = (question, question)
    compared["chat template"] = (template["sha256"], f"{template['source']} ({template['sha256'][:8]})")
    compared |= {name: (digest, digest[:8]) for name, digest in facts["tokenizer"].items()}
    compared["ends answers"] = (facts["ends"]["ids"], ", ".join(map(str, facts["ends"]["ids"])))
    compared["boxes"] = (facts["coordinates"], facts["coordinates"])
    compared["prompts"] = (facts["prompts"], facts["prompts"])
    return compared


def _comparison_lines(differing: Facts) -> Iterator[str]:
    yield f"asked differently from {differing['from']}"
    for other in differing["others"]:
        yield f"  {other['named']}"
        rows = [(what, theirs + (f", not {ours}" if ours != theirs else ""))
                for what, ours, theirs in (entry.values() for entry in other["differences"])]  # fmt: skip
        rows = rows or [("nothing", "the same questions, read the same way")]
        problem = other["switch_problem"]
        rows.append(("engine", "one can switch between them" if problem is None else f"each needs its own: {problem}"))
        width = max(len(key) for key, _ in rows) + 1
        yield from (f"    {key + ':':<{width}}  {text}" for key, text in rows)

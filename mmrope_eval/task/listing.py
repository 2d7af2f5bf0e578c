"""What `mmrope-eval list tasks` and `mmrope-eval show TASK` print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.errors import SampleError, UserError
from mmrope_eval.media.image import MediaError, MediaPolicy, load_image, load_video
from mmrope_eval.messages import ImageSource, MediaFacts, Part, VideoSource
from mmrope_eval.models.families import asked_as
from mmrope_eval.task.dataset import absence
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Family, Registry, TaskSpec
from mmrope_eval.task.sample import Sample


def task_table(registry: Registry, data_root: Path | None) -> str:
    """One line a task: column, dataset, split, rows, main metric, chance, licence, and whether it can be read now."""
    from tabulate import tabulate

    where = "in mirror" if data_root is not None else "cached"
    headers = ["task", "column", "category", "dataset", "split", "n", "metric", "chance", where, "licence"]
    body = [[_cell(value) for value in facts.values()] for facts in task_facts(registry, data_root)]
    return tabulate(body, headers, tablefmt="simple", disable_numparse=True)


def task_facts(registry: Registry, data_root: Path | None) -> list[dict[str, Any]]:
    """The same as plain values; None for what is not known, `present` for whether it can be read now."""
    return [
        {"name": spec.name, "column": spec.column, "category": spec.category, "dataset": spec.dataset,
         "split": spec.split, "n": spec.expected.get("samples") or spec.expected.get("expressions"),
         "metric": spec.metrics[0], "chance": spec.chance, "present": absence(spec, data_root) is None,
         "licence": spec.licence or None}
        for spec in registry.tasks.values()
    ]  # fmt: skip


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def sample_lines(spec: TaskSpec, family: Family, count: int, data_root: Path | None,
                 policy: MediaPolicy | None = None) -> Iterator[str]:
    """The first `count` samples of a task exactly as a checkpoint of `family` is asked: prompt, media facts, target."""
    plan = Plans([spec], data_root, Limit(count, "first")).of(family)[spec.name]
    for sample in plan.samples:
        yield ""
        yield f"{sample.id}  (scorer {spec.scorer}, coordinates {family.coordinates}, prompts {family.prompts})"
        if sample.problem is not None:
            yield f"  cannot be asked: {sample.problem[1]}"
            continue
        yield from (f"  {line}" for line in media_lines(plan, sample, policy or MediaPolicy()))
        if sample.system is not None:
            yield f"  system: {sample.system!r}"
        yield f"  prompt: {sample.prompt!r}"
        yield f"  generation: {sample.generation.max_tokens} tokens, temperature {sample.generation.temperature:g}"
        yield f"  target: {sample.target}"
    if not plan.samples:
        raise UserError(f"Task {spec.name} has no samples.")


def media_lines(plan: TaskPlan, sample: Sample, policy: MediaPolicy) -> Iterator[str]:
    """What becomes of each image and video of a sample under a media policy."""
    try:
        parts: tuple[Part, ...] = plan.request(sample).content
    except SampleError as error:
        yield f"media: {error}"
        return
    for part in parts:
        if not isinstance(part, str):
            try:
                yield f"media: {facts_line(media_facts(part, policy, plan.family))}"
            except MediaError as error:
                yield f"media: {error}"


def media_facts(part: ImageSource | VideoSource, policy: MediaPolicy, family: Family) -> MediaFacts:
    """The facts of one medium for a published checkpoint of the family (its usual patch sizes)."""
    geometry = asked_as(family.name).published
    if isinstance(part, ImageSource):
        return load_image(part, policy, geometry).facts
    return load_video(part, policy, geometry, None).facts


def facts_line(facts: MediaFacts) -> str:
    """One line on one medium."""
    text = f"{facts.kind} {'x'.join(map(str, facts.source_size))} -> {'x'.join(map(str, facts.used_size))}"
    if facts.kind == "video":
        text += f", {len(facts.frame_indices)} of {facts.source_frames} frames over {facts.duration} s"
    text += f", grid {'x'.join(map(str, facts.grid_thw))}, {facts.tokens} tokens"
    return "; ".join([text, *facts.notes])



"""What `mmrope-eval list tasks` and `mmrope-eval show TASK` print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.errors import SampleError, UserError
from mmrope_eval.media.image import MediaError, MediaPolicy, load_image, load_video
from mmrope_eval.messages import ImageSource, MediaFacts, Request, VideoSource
from mmrope_eval.models.families import asked_as
from mmrope_eval.models.family import VisionGeometry
from mmrope_eval.task.dataset import absence
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Family, Registry, TaskSpec
from mmrope_eval.task.sample import Sample


def task_table(registry: Registry, data_root: Path | None) -> str:
    """One line a task, which a terminal of 100 columns has room for, and where the rest of `task_facts` is."""
    from tabulate import tabulate

    where = "in mirror" if data_root is not None else "cached"
    headers = ["task", "column", "category", "n", "metric", "chance", where]
    shown = ("name", "column", "category", "n", "metric", "chance", "present")
    body = [[_cell(facts[name]) for name in shown] for facts in task_facts(registry, data_root)]
    table = tabulate(body, headers, tablefmt="simple", disable_numparse=True)
    return f"{table}\n\nData sets, splits and licences: 'list tasks --json', or 'show TASK' for one."


def task_facts(registry: Registry, data_root: Path | None) -> list[dict[str, Any]]:
    """Every task as plain values: the table's, data set, split and licence; None for what is not known.

    `present` says whether its rows can be read now.
    """
    return [
        {"name": spec.name, "column": spec.column, "category": spec.category, "dataset": spec.dataset,
         "split": spec.split, "n": spec.expected_samples,
         "metric": spec.metrics[0], "chance": spec.chance, "present": absence(spec, data_root) is None,
         "licence": spec.licence or None}
        for spec in registry.tasks.values()
    ]  # fmt: skip


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Asker:
    """Who is asked, as far as that shapes a question: a checkpoint, or a published one of a family."""

    family: Family
    geometry: VisionGeometry
    policy: MediaPolicy = field(default_factory=MediaPolicy)
    write: Callable[[Request], str] | None = None
    """Writes a whole prompt by the chat template; None where that is not known."""


def published(family: Family) -> Asker:
    """A published checkpoint of the family, under this project's media limits."""
    return Asker(family, asked_as(family.name).published)


def sample_lines(spec: TaskSpec, asker: Asker, count: int, data_root: Path | None) -> Iterator[str]:
    """The first `count` samples of a task exactly as they are asked: prompt, media facts, target."""
    family = asker.family
    plan = Plans([spec], data_root, Limit(count, "first")).of(family)[spec.name]
    for sample in plan.samples:
        yield ""
        yield f"{sample.id}  (scorer {spec.scorer}, coordinates {family.coordinates}, prompts {family.prompts})"
        if sample.problem is not None:
            yield f"  cannot be asked: {sample.problem[1]}"
            continue
        yield from (f"  {line}" for line in request_lines(plan, sample, asker))
        if sample.system is not None:
            yield f"  system: {sample.system!r}"
        yield f"  prompt: {sample.prompt!r}"
        yield f"  generation: {sample.generation.max_tokens} tokens, temperature {sample.generation.temperature:g}"
        yield f"  target: {sample.target}"
    if not plan.samples:
        raise UserError(f"Task {spec.name} has no samples.")


def request_lines(plan: TaskPlan, sample: Sample, asker: Asker) -> Iterator[str]:
    """What becomes of each image and video of a sample, and the whole prompt where a chat template is known."""
    try:
        request = plan.request(sample)
    except SampleError as error:
        yield f"media: {error}"
        return
    for part in request.content:
        if not isinstance(part, str):
            try:
                yield f"media: {facts_line(media_facts(part, asker))}"
            except MediaError as error:
                yield f"media: {error}"
    if asker.write is not None:
        yield f"as the chat template writes it: {asker.write(request)!r}"


def media_facts(part: ImageSource | VideoSource, asker: Asker) -> MediaFacts:
    """The facts of one medium for whom is asked."""
    if isinstance(part, ImageSource):
        return load_image(part, asker.policy, asker.geometry).facts
    return load_video(part, asker.policy, asker.geometry, None).facts


def facts_line(facts: MediaFacts) -> str:
    """One line on one medium."""
    text = f"{facts.kind} {'x'.join(map(str, facts.source_size))} -> {'x'.join(map(str, facts.used_size))}"
    if facts.kind == "video":
        text += f", {len(facts.frame_indices)} of {facts.source_frames} frames over {facts.duration} s"
    text += f", grid {'x'.join(map(str, facts.grid_thw))}, {facts.tokens} tokens"
    return "; ".join([text, *facts.notes])

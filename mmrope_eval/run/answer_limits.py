"""How long answers may be, how they are drawn, and who thinks before answering: what the tasks say, `--max-tokens`,
`--temperature` and `--thinking`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy, largest_item
from mmrope_eval.models.template import heeds, opens_thought
from mmrope_eval.task.registry import TaskSpec

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.task.plan import TaskPlan

Asked = Literal["on", "off", "auto"]
Given = tuple[tuple[str | None, int], ...]
"""`--max-tokens` as given: (task, suite or glob, limit), None for all tasks; of two for one task the later counts."""

THINKING_TOKENS: Final = 32_768
"""Of thoughts and answer together, as in Qwen3-VL's evaluation of its Thinking checkpoints (`infer_think.sh` of
RealWorldQA, VideoMME and ODinW-13 in github.com/QwenLM/Qwen3-VL; MMMU and MathVision there have 40,960)."""
TEXT_ROOM: Final = 1_024
"""Tokens of a prompt besides its largest picture or video, when a context is divided."""
LEAST_THOUGHTS: Final = 1_024
"""With fewer tokens hardly a thought comes to its end."""
LEAST_PROMPT: Final = 64
"""No prompt of a template, a question and a picture is shorter."""


@dataclass(frozen=True)
class Thinking:
    """How a row deals with thoughts."""

    asked: Asked | None = None
    """`--thinking`; None: nothing is changed."""
    told: bool | None = None
    """What the chat template is told as `enable_thinking`; None: nothing, as it would change nothing."""
    thought_open: bool = False
    """Whether prompts end inside a thought that the template opened."""
    raised: bool = False
    """Whether the tasks' answer limits are raised."""


def read_thinking(asked: Asked | None, checkpoint: Checkpoint) -> Thinking:
    """What a checkpoint's chat template does when it is asked so. UserError where it cannot do that."""
    template, special = checkpoint.template, checkpoint.vocabulary.special
    opened = opens_thought(template, special)
    if asked is None:
        return Thinking(thought_open=opened)
    heeded = [value for value in (True, False) if heeds(template, special, value)]
    where = f"checkpoint '{checkpoint.path}': its chat template ({template.source})"
    if not opened and not heeded:
        if asked == "on":
            raise UserError(f"{where} neither opens a thought nor reads enable_thinking, so --thinking cannot turn "
                            "thoughts on; for a checkpoint that opens them itself raise the answer limit: --max-tokens "
                            f"{THINKING_TOKENS}")  # fmt: skip
        return Thinking(asked)
    shall_think = asked != "off"
    argument = shall_think if shall_think in heeded else None
    opened = opens_thought(template, special, argument)
    if not shall_think and opened:
        raise UserError(f"{where} opens a thought whatever it is told, so --thinking off cannot turn thoughts off: "
                        "give --thinking on")
    return Thinking(asked, argument, opened, raised=shall_think)


def row_limits(thinking: Thinking, specs: Sequence[TaskSpec], given: Mapping[str, int],
               most: int = THINKING_TOKENS) -> dict[str, int]:
    """A row's limits by task where they are not the task's own: those given; with thoughts `most` where it is more."""
    task_limits = {spec.name: spec.generation.max_tokens for spec in specs}
    raised = dict.fromkeys(task_limits, most) if thinking.raised else {}
    limits = {name: max(limit, task_limits[name]) for name, limit in raised.items()} | dict(given)
    return {name: limit for name, limit in limits.items() if limit != task_limits[name]}


def with_limits(plans: Mapping[str, TaskPlan], limits: Mapping[str, int]) -> Mapping[str, TaskPlan]:
    """Put these answer limits on the plans of tasks."""
    return {name: plan.limited(limits[name]) if name in limits else plan for name, plan in plans.items()}


def with_temperature(plans: Mapping[str, TaskPlan], temperature: float | Mapping[str, float] | None,
                     seed: int) -> Mapping[str, TaskPlan]:
    """Plans by task at one temperature, or each at its own of a mapping; None, or a task it lacks: the task's own."""
    if temperature is None:
        return plans
    heats = temperature if isinstance(temperature, Mapping) else dict.fromkeys(plans, temperature)
    return {name: plan.heated(heats[name], seed) if name in heats else plan for name, plan in plans.items()}


@dataclass(frozen=True)
class Room:
    """How the tokens of a row's context are shared between prompts and answers."""

    context: int
    """max_model_len."""
    prompt: int
    """Of the largest picture or video that the media policy allows, and its text."""

    @classmethod
    def of(cls, checkpoint: Checkpoint, policy: MediaPolicy, max_model_len: int | None) -> Room:
        """The room that a row has: a checkpoint under a media policy."""
        prompt = largest_item(policy, checkpoint.geometry) + TEXT_ROOM
        return cls(max_model_len or checkpoint.max_position, prompt)

    @property
    def thinking(self) -> int:
        """The limit of an answer with thoughts, so that every prompt still has its room."""
        return min(THINKING_TOKENS, self.context - self.prompt)

    def check(self, thinking: Thinking, given: Mapping[str, int]) -> None:
        """UserError where answers leave no room for any prompt, or prompts none for thoughts."""
        for name, limit in given.items():
            if limit > self.context - LEAST_PROMPT:
                raise UserError(f"--max-tokens {limit} for {name} leaves no room for a prompt in the context of "
                                f"{self.context} tokens (max_model_len): lower it, or raise --max-model-len")
        if thinking.raised and self.thinking < LEAST_THOUGHTS:
            raise UserError(f"--thinking: the context of {self.context} tokens (max_model_len) leaves less than "
                            f"{LEAST_THOUGHTS} for thoughts beside the largest picture or video of "
                            f"{self.prompt - TEXT_ROOM}: raise --max-model-len, or lower --max-pixels and "
                            "--video-tokens")  # fmt: skip

    def remarks(self, thinking: Thinking, given: Mapping[str, int]) -> Iterator[str]:
        """What is to be said of the limits before a row is asked."""
        if thinking.raised and self.thinking < THINKING_TOKENS:
            yield (f"thoughts and answer have {self.thinking:,} tokens, not {THINKING_TOKENS:,}, so that the largest "
                   f"picture or video fits the context of {self.context:,} too; --max-model-len raises it")  # fmt: skip
        most = max(given.values(), default=0)
        if given and most > self.context - self.prompt:
            yield (f"warning: answers of up to {most:,} tokens leave {self.context - most:,} of the context for a "
                   f"prompt, and the largest picture or video takes {self.prompt - TEXT_ROOM:,}: longer prompts will "
                   "fail")  # fmt: skip


def warnings(thinking: Thinking, specs: Sequence[TaskSpec], given: Mapping[str, int]) -> Iterator[str]:
    """What will go wrong: prompts that open a thought under limits made for answers without one."""
    kept = [spec.generation.max_tokens for spec in specs if spec.name not in given]
    if thinking.thought_open and thinking.asked is None and kept:
        low, high = min(kept), max(kept)
        limits = f"{high}" if low == high else f"{low} to {high}"
        yield (f"warning: its chat template opens a thought, and answers have {limits} tokens: those cut off inside "
               f"their thoughts count as unread; --thinking gives them {THINKING_TOKENS:,}")  # fmt: skip


def described(thinking: Thinking) -> str | None:
    """A row's thoughts in words; None where nobody asked about them."""
    if thinking.asked is None:
        return None
    if not thinking.raised:
        state = "off" if thinking.asked == "off" else "none that its chat template knows of"
    else:
        state = "opened by its chat template" if thinking.thought_open else "on"
    return f"thoughts: {state}" + ("" if thinking.told is None else f" (enable_thinking={str(thinking.told).lower()})")

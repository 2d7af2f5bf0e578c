"""Give every scorer answers that no model gave and right answers that are none.

    python benchmarks/fault_responses.py [--responses 10000] [--seed 0] [--scratch DIR]

Time: more than two minutes on two shared cores.

The questions are real ones of every benchmark, built small. Each is scored on random text (all of Unicode, control
characters, halves of characters, digits, brackets, JSON, LaTeX, fragments of its own right answer, up to 20,000
characters), as a run scores an answer. What may come out is a value from 0 to 1 for every metric of the task, the same
the second time, within --patience seconds. All else is a fault and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PIECES: tuple[str, ...] = (
    "A", "(B)", "answer is", "Answer:", "\n", " ", "**", "\\boxed{", "}", "{", "[", "]", "(", ")", "<think>", "'", "\t",
    "</think>", "<|box_start|>", "0", "1", "99", "1000", "1e999", "-3", "3.14", "1,234", "%", "$", "½", "二", "A、",
    "\u0000", "\u202e", "\ud800", "\udfff", "🙂", "e\u0301", "\x1b[2J", "from", "to", "seconds", "12.5s", "00:01:02",
    ":", '"bbox_2d":', "not", "none", "null", "NaN", "Infinity", "∞", "\\frac{1}{2}", "```json\n", "```", "\u2028",
)  # fmt: skip


def main() -> int:
    """Run the campaign; exit code 1 when it found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=10_000, help="for each scorer (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=5.0, help="seconds for one answer (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scorers = campaign(args.responses, args.seed, args.scratch or Path(temporary), args.patience)
    return report(scorers)


@dataclass
class Scorer:
    """What one scorer's answers came to."""

    name: str
    tasks: list[str] = field(default_factory=list)
    tried: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    above: int = 0
    """Answers that were worth something."""
    wrong: list[tuple[str, str]] = field(default_factory=list)
    """The fault, and with which answer of which sample."""


@dataclass(frozen=True)
class Question:
    """A sample as its scorer sees it."""

    id: str
    target: Mapping[str, Any]
    metrics: Sequence[str]


def questions(scratch: Path) -> dict[str, list[Question]]:
    """Questions of all benchmarks, by scorer."""
    from mmrope_eval.messages import MediaFacts, Response
    from mmrope_eval.run.results import scoring_target
    from mmrope_eval.task.planner import Plans
    from mmrope_eval.task.registry import Registry
    from mmrope_synth import build_world

    registry = Registry()
    family = registry.family("qwen2.5-vl")
    if not (scratch / "world").is_dir():
        build_world(scratch / "world", n=8)
    picture = MediaFacts("image", "f", (96, 64), (84, 56), (1, 4, 6), 6)
    questions_by_scorer: dict[str, list[Question]] = {}
    for name, plan in Plans(registry.select(["table2"]), scratch / "world", None, 0).of(family).items():
        for sample in plan.samples:
            answer = Response(sample.id, "", (), "stop", 0, (picture,))
            target = scoring_target(sample, plan.spec.scorer, family, answer)
            assert target is not None, name
            questions_by_scorer.setdefault(plan.spec.scorer, []).append(Question(sample.id, target, plan.spec.metrics))
    return questions_by_scorer


# ---------------------------------------------------------------------------------------------------------- the answers


def pieces(dice: random.Random, target: str) -> str:
    """Words, signs and brackets as answers have them, in any order."""
    return dice.choice(["", " "]).join(dice.choices(PIECES, k=dice.choice([1, 3, 12, 60])))


def noise(dice: random.Random, target: str) -> str:
    """Any characters, halves of some among them."""
    return "".join(chr(dice.randrange(dice.choice([128, 0x3000, 0x110000]))) for _ in range(dice.choice([1, 20, 300])))


def mutated(dice: random.Random, target: str) -> str:
    """The target with a few pieces put in, left out or doubled."""
    text = list(target)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(text) + 1)
        text[at : at + dice.randrange(3)] = dice.choice([[dice.choice(PIECES)], [], text[at : at + 4] * 2])
    return "".join(text)


def repeated(dice: random.Random, target: str) -> str:
    """One piece thousands of times: what a pattern that goes back over its steps takes for ever on."""
    count = dice.choice([50, 1000, 5000])
    return (dice.choice(PIECES) + dice.choice(PIECES)) * count + dice.choice(PIECES)


def shaped(dice: random.Random, target: str) -> str:
    """JSON that looks like an answer, with numbers that are none."""
    number = dice.choice([0, -1, 10**30, 1e308, math.inf, math.nan, None, "7", [1], True])
    value = dice.choice([[number] * dice.choice([0, 3, 4, 5]), {"bbox_2d": [number] * 4, "label": "x"}, number])
    return json.dumps(dice.choice([value, [value], [value, value]]))


KINDS: tuple[Callable[[random.Random, str], str], ...] = (pieces, noise, mutated, repeated, shaped)
WEIGHTS = (40, 20, 25, 1, 14)


# --------------------------------------------------------------------------------------------------------- the campaign


def campaign(count: int, seed: int, scratch: Path, patience: float = 5.0) -> list[Scorer]:
    """So many answers for every scorer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.path.insert(0, str(ROOT))
    from mmrope_eval.scorer.all import SCORERS
    from mmrope_eval.scorer.answer_part import whole_turn

    def scored(name: str, question: Question, text: str) -> dict[str, Any]:
        return dict(SCORERS[name](whole_turn(text, thought_open=False), question.target).values)

    scorers = []
    for name, asked in sorted(questions(scratch).items()):
        scorer = Scorer(name, sorted({question.id.partition("/")[0] for question in asked}))
        for number in range(count):
            dice = random.Random(f"{seed}/{name}/{number}")
            question = asked[number % len(asked)]
            text = dice.choices(KINDS, WEIGHTS)[0](dice, json.dumps(question.target, ensure_ascii=False))
            tried(scorer, question, text, partial(scored, name, question), patience)
        scorers.append(scorer)
    return scorers


def tried(
    scorer: Scorer, question: Question, text: str, score: Callable[[str], Mapping[str, Any]], patience: float
) -> None:
    """Score one answer twice, and note what is wrong with the result."""
    began = time.perf_counter()
    try:
        values, again = score(text), score(text)
    except Exception:  # noqa: BLE001 - that is what is looked for
        fault = " | ".join(traceback.format_exc().strip().splitlines()[-2:])
    else:
        fault = odd(values, again, question.metrics)
        scorer.above += any(values.get(metric) or 0 for metric in question.metrics)
    took = (time.perf_counter() - began) / 2
    scorer.tried, scorer.seconds, scorer.slowest = scorer.tried + 1, scorer.seconds + took, max(scorer.slowest, took)
    if not fault and took > patience:
        fault = f"{took:.1f} s"
    if fault:
        scorer.wrong.append((fault, f"{question.id}: {text[:200]!r}"))


def odd(values: Mapping[str, Any], again: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """What is wrong with a score; "" where nothing is."""
    if repr(values) != repr(again):
        return f"another score the second time: {values} and {again}"
    for metric in metrics:
        if metric not in values:
            return f"no value for {metric}"
        value = values[metric]
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            return f"{metric} is {value!r}"
    return ""


def report(scorers: Sequence[Scorer]) -> int:
    """Print what came of every scorer; 1 where there is a fault."""
    from tabulate import tabulate

    rows = [[scorer.name, len(scorer.tasks), scorer.tried, scorer.above, len(scorer.wrong), f"{scorer.seconds:.1f}",
             f"{scorer.slowest:.2f}"] for scorer in scorers]  # fmt: skip
    head = ["scorer", "tasks", "answers", "worth something", "faults", "s", "slowest, s"]
    print(tabulate(rows, head, tablefmt="simple"))
    wrong = [(scorer.name, *line) for scorer in scorers for line in scorer.wrong]
    for name, fault, answer in wrong[:50]:
        print(f"{name}: {fault}: {answer}".encode("ascii", "backslashreplace").decode())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

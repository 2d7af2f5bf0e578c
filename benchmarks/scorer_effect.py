"""What our scorers change: one fixed set of responses to the small world, scored by ours and by another harness.

    python benchmarks/scorer_effect.py [--n 24] [--scorer stock|vlmevalkit]

Time: about a minute on two shared cores.

`stock` is lmms-eval; `vlmevalkit` needs the extra of that name. Every row of every column is answered in several styles
in which models answer. Of each style it is known whether it gives the right answer, and only that one, so that the
table can say how often either scorer agrees. Questions that the other harness does not have are left out. Prints the
markdown tables of tasks/README.md. No engine and no model is involved; the same responses come out every time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """One response: what kind it is, its text, and what it is worth to a reader (None: the definition decides)."""

    style: str
    text: str
    worth: float | None


def choice(options: Mapping[str, str], right: str) -> Iterator[Answer]:
    """How models answer multiple-choice questions."""
    wrong = next(letter for letter in options if letter != right)
    text, other = options[right], options[wrong]
    for style, response in {
        "letter": right,
        "(letter)": f"({right})",
        "letter and text": f"{right}. {text}",
        "sentence": f"The answer is {right}.",
        "sentence, then 'All ...'": f"The best answer is {right}. All of the other options are ruled out.",
        "bold": f"**{right}**",
        "boxed": f"So the result is $\\boxed{{{right}}}$.",
        "tags": f"<think>It could be {wrong}, at first sight.</think><answer>{right}</answer>",
        "reasoning, then answer": f"A closer look shows why. Option {wrong} is wrong.\n\nAnswer: {right}",
    }.items():
        yield Answer(style, response, 1.0)
    # Where the options are letters themselves, as in AI2D, a letter may mean either.
    yield Answer("option text", text, None if text.upper() in options else 1.0)
    for style, response in {
        "wrong letter": wrong,
        "wrong sentence": f"The answer is {wrong}.",
        "wrong, naming the right one": f"The answer is {wrong}, not {right}.",
        "both": f"It is either {wrong} or {right}.",
        "neither": "A man walks through a door. I cannot tell.",
        "refusal": "Described options do not match. Unable to decide.",
        "empty": "",
    }.items():
        yield Answer(style, response, 0.0)
    if other != text:
        yield Answer("wrong option text", other, None if other.upper() in options else 0.0)


def words(answer: str, accepted: list[str], charts: bool) -> Iterator[Answer]:
    """How models answer open questions with a word, a number or a phrase."""
    yield Answer("answer", answer, None)
    yield Answer("full stop", f"{answer}.", None)
    yield Answer("upper case", answer.upper(), None)
    yield Answer("blanks around", f"  {answer}\n", None)
    yield Answer("sentence", f"The answer is {answer}.", None)
    yield Answer("one letter off", f"{answer}x", None)
    yield Answer("every answer", f"{answer} or {answer[::-1]} or none", None)
    number = answer.replace(",", "")
    if number.isdigit():
        yield Answer("thousands", f"{int(number):,}", 1.0 if charts else None)
        yield Answer("per cent", f"{answer}%", None)
        yield Answer("4 per cent off", str(round(int(number) * 1.04)), None)
    if not any(text.lower() in "no idea" for text in accepted):
        yield Answer("wrong", "no idea", 0.0)
    yield Answer("empty", "", 0.0)


def boxes(row: Row) -> Iterator[Answer]:
    """How models write a box; the picture is fed at its own size, the convention is pixels."""
    x, y, w, h = row["bbox"]
    right = [round(v) for v in (x, y, x + w, y + h)]
    away = [0, 0, 3, 3]
    yield Answer("JSON", f'```json\n[{{"bbox_2d": {right}, "label": "it"}}]\n```', 1.0)
    yield Answer("list", str(right), 1.0)
    yield Answer("corners", "({},{}),({},{})".format(*right), 1.0)
    yield Answer("right one first", f"{right} {away}", 1.0)
    yield Answer("right one last of three", f"{away} {[0, 0, 112, 112]} {right}", 0.0)
    yield Answer("wrong", str(away), 0.0)
    yield Answer("reversed corners", str([*right[2:], *right[:2]]), 0.0)
    yield Answer("undeclared 0-1 scale", str([round(v / 112, 3) for v in right]), 0.0)
    yield Answer("empty", "", 0.0)


def spans(row: Row) -> Iterator[Answer]:
    """How models write a span of time."""
    start, end = row["timestamp"]
    yield Answer("as asked", f"The event happens in the {start} - {end} seconds.", 1.0)
    yield Answer("from ... to", f"From {start} to {end} seconds.", 1.0)
    yield Answer("units", f"{start}s - {end}s", 1.0)
    yield Answer("clock", f"00:{start:04.1f} - 00:{end:04.1f}", 1.0)
    yield Answer("reversed", f"{end} - {start} seconds", 0.0)
    yield Answer("a point", f"at {start} seconds", 0.0)
    yield Answer("elsewhere", f"{end + 50} - {end + 60}", 0.0)
    yield Answer("empty", "", 0.0)


def answers(task: str, row: Row, target: Row) -> Iterator[Answer]:
    """The fixed set of responses to one row."""
    from mmrope_eval.scorer.choice_text import read_options

    options = read_options(target.get("options"))
    if "bbox" in row:
        yield from boxes(row)
    elif "timestamp" in row:
        yield from spans(row)
    elif len(options) >= 2:
        yield from choice(options, str(target["answer"]))
    else:
        accepted = target["answers"] if "answers" in target else [target["answer"]]
        yield from words(str(accepted[0]), [str(text) for text in accepted], task == "chartqa")


# --------------------------------------------------------------------------------------------------------------


def effect(task: str, root: Path, scorer: str) -> str:
    """The task's row of the table."""
    from mmrope_eval.run.side_by_side import SECONDS, second_item, second_number
    from mmrope_eval.scorer.all import SCORERS
    from mmrope_eval.task.planner import Plans
    from mmrope_eval.task.registry import Registry

    registry, second = Registry(), SECONDS[scorer]
    spec, family = registry.tasks[task], registry.family("qwen2.5-vl")
    other = second.counterpart(spec)
    plan = Plans([spec], root, None).of(family)[task]
    items, ours, responses = [], [], []
    for sample in plan.samples:
        row, target = plan.docs.get().rows[sample.index], dict(sample.target or {})
        if spec.scorer == "box":
            target |= {"coordinates": family.coordinates, "source_size": (112, 112), "used_size": (112, 112)}
        for answer in answers(task, row, target):
            responses.append(answer)
            ours.append(SCORERS[spec.scorer](answer.text, target).values[spec.metrics[0]] or 0.0)
            items.append(second_item(other, row, answer.text, target))
    head = [spec.column, len(responses), share(ours)]
    if other is None:
        return line([*head, "—", "—", agreed(responses, ours), "—", ""])
    samples = second_number(second, spec, items).samples
    asked = [i for i, value in enumerate(samples) if value is not None]
    responses, ours = [responses[i] for i in asked], [ours[i] for i in asked]
    theirs = [samples[i] or 0.0 for i in asked]
    differ = [i for i in range(len(responses)) if abs(ours[i] - theirs[i]) > 1e-9]
    where = styles([responses[i] for i in differ], [theirs[i] - ours[i] for i in differ])
    both = [share(ours), share(theirs), len(differ), agreed(responses, ours), agreed(responses, theirs)]
    return line([spec.column, len(responses), *both, where])


def line(cells: list[Any]) -> str:
    """A row of a markdown table."""
    return " ".join(f"| {cell}".rstrip() for cell in cells) + " |"


def share(scores: list[float]) -> str:
    """The mean score on a 0-100 scale."""
    return f"{100 * statistics.fmean(scores):.1f}"


def agreed(responses: list[Answer], scores: list[float]) -> str:
    """How many of the responses with a known worth get it."""
    pairs = [(a.worth, score) for a, score in zip(responses, scores, strict=True) if a.worth is not None]
    return f"{sum(abs(worth - score) < 0.01 for worth, score in pairs)}/{len(pairs)}" if pairs else "—"


def styles(responses: list[Answer], gaps: list[float]) -> str:
    """The styles on which the two differ, the commonest first, with who is the higher."""
    count = Counter((answer.style, gap > 0) for answer, gap in zip(responses, gaps, strict=True))
    return "; ".join(f"{style} ({'+' if higher else '−'}{n})" for (style, higher), n in count.most_common(6))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=24, help="rows a column (default: %(default)s)")
    parser.add_argument("--scorer", choices=["stock", "vlmevalkit"], default="stock", help="default: %(default)s")
    args = parser.parse_args()
    from mmrope_synth import COLUMNS, build_world

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
        root = build_world(Path(scratch) / "world", n=args.n)
        name = {"stock": "stock", "vlmevalkit": "VLMEvalKit"}[args.scorer]
        print(line(["column", "responses", "ours", name, "differ", "ours as meant", f"{name} as meant",
                    f"where {name} is higher (+) or lower (−)"]))
        print("|---|--:|--:|--:|--:|--:|--:|---|")
        for task in COLUMNS:
            print(effect(task, root, args.scorer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`mmrope-eval compare A B --seeds mean`: do the designs of two sides differ, over all trainings of each?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmrope_eval.report.compare.pairing import count
from mmrope_eval.report.compare.seed_findings import METHOD, Finding, Sides, findings, record, sentence, sides, too_few
from mmrope_eval.report.compare.trainings_command import notes
from mmrope_eval.report.runs import Run, load_run
from mmrope_eval.util.console import say


def compare_means(a: Path, b: Path, *, alpha: float, as_json: bool) -> int:
    """Print the comparison; 0 whatever it says."""
    first, second = load_run(a), load_run(b)
    both = sides(first, second)
    found = findings([(one, 0, 1) for one in both.measured], level=1 - alpha)
    if as_json:
        content = {"a": str(first.path), "b": str(second.path), "seeds": "mean", "alpha": alpha,
                   "comparisons": [record(one, alpha) for one in found],
                   "only_in_a": list(both.only_first), "only_in_b": list(both.only_second)}
        say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        say(*lines(first, second, both, found, alpha))
    return 0


def lines(first: Run, second: Run, both: Sides, found: Sequence[Finding], alpha: float) -> Iterator[str]:
    """The comparison in words."""
    yield f"A  {first.path}"
    yield f"B  {second.path}"
    shown = sum(one.shown(alpha) for one in found)
    yield ""
    yield f"{shown} of {count(len(found), 'comparison')} shown to differ at the {100 * alpha:g} % level."
    for one in both.measured:
        a, b = one.designs
        yield ""
        yield f"{a.label} ({', '.join(a.names)}) -> {b.label} ({', '.join(b.names)}):"
        yield from (f"  {sentence(line, alpha)}" for line in found if (line.first, line.second) == (a.label, b.label))
    yield ""
    yield from too_few(found, alpha)
    yield METHOD
    for side, alone in (("A", both.only_first), ("B", both.only_second)):
        if alone:
            yield f"Only in {side}: {', '.join(alone)}."
    yield from dict.fromkeys(note for one in both.measured for note in notes(one, ()))

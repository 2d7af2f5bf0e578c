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
    results = findings([(measurement, 0, 1) for measurement in both.measured], level=1 - alpha)
    if as_json:
        content = {"a": str(first.path), "b": str(second.path), "seeds": "mean", "alpha": alpha,
                   "comparisons": [record(finding, alpha) for finding in results],
                   "only_in_a": list(both.only_first), "only_in_b": list(both.only_second)}
        say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        say(*lines(first, second, both, results, alpha))
    return 0


def lines(first: Run, second: Run, both: Sides, results: Sequence[Finding], alpha: float) -> Iterator[str]:
    """The comparison in words."""
    yield f"A  {first.path}"
    yield f"B  {second.path}"
    shown = sum(finding.shown(alpha) for finding in results)
    yield ""
    yield f"{shown} of {count(len(results), 'comparison')} shown to differ at the {100 * alpha:g} % level."
    for measurement in both.measured:
        a, b = measurement.designs
        yield ""
        yield f"{a.label} ({', '.join(a.names)}) -> {b.label} ({', '.join(b.names)}):"
        yield from (f"  {sentence(line, alpha)}" for line in results if (line.first, line.second) == (a.label, b.label))
    yield ""
    yield from too_few(results, alpha)
    yield METHOD
    for side, alone in (("A", both.only_first), ("B", both.only_second)):
        if alone:
            yield f"Only in {side}: {', '.join(alone)}."
    yield from dict.fromkeys(note for measurement in both.measured for note in notes(measurement, ()))

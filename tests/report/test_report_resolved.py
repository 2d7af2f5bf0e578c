"""A table is resolved once: what it is of is looked up when it is written, not asked for again cell by cell."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest
from report_files import write_cell

import mmrope_eval
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.render import render

PACKAGE = str(Path(mmrope_eval.__file__).parent)
T = TypeVar("T")
TASKS = ("chartqa", "ai2d", "mmstar", "docvqa", "mvbench", "star")


def filled(folder: Path, variants: Sequence[str], tasks: Sequence[str]) -> Table:
    """A table of these rows and columns, that nobody has looked at yet."""
    for variant in variants:
        write_cell(folder / variant, variant, {task: [1, 0] for task in tasks})
    return build(load_definition("overall"), [load_run(folder)], Options(partial=True))


def entered(work: Callable[[], object]) -> Counter[str]:
    """How often each file of the package was entered from another one."""
    counts: Counter[str] = Counter()
    last = ""

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal last
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE) and file != last:
            counts[Path(file).relative_to(PACKAGE).as_posix()] += 1
            last = file

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counts


def in_a_fresh_process(work: Callable[..., T], *arguments: object) -> T:
    """A profiler and what torch.compile leaves in a process do not get on: the call never ends."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def ways_of_two_sizes(form: str, tmp_path: Path) -> tuple[Counter[str], Counter[str]]:
    small = filled(tmp_path / "small", ("mrope", "hope"), TASKS[:2])
    large = filled(tmp_path / "large", ("mrope", "hope", "mrope-i", "vanilla"), TASKS)
    render(small, "json"), render(small, form)  # so that the modules of the format are there
    again = filled(tmp_path / "again", ("mrope", "hope"), TASKS[:2])
    return entered(lambda: render(again, form)), entered(lambda: render(large, form))


@pytest.mark.parametrize("form", ["markdown", "csv"])
def test_a_larger_table_is_written_without_more_ways_between_files(form: str, tmp_path: Path) -> None:
    few, many = in_a_fresh_process(ways_of_two_sizes, form, tmp_path)
    asked = ("report/definitions.py", "report/table/build.py", "report/table/page.py",
             "report/markdown_text.py", "record/comparable.py", "rope/variant.py", "rope/sections.py")
    assert {file: many[file] for file in asked} == {file: few[file] for file in asked}


def ways_of_one_cell(tmp_path: Path) -> Counter[str]:
    write_cell(tmp_path, "mrope", {"chartqa": [1]})
    definition = load_definition("overall")
    render(build(definition, [load_run(tmp_path)], Options(partial=True)), "markdown")  # imports
    return entered(lambda: render(build(definition, [load_run(tmp_path)], Options(partial=True)), "markdown"))


def test_one_known_cell_takes_few_ways_between_files(tmp_path: Path) -> None:
    counts = in_a_fresh_process(ways_of_one_cell, tmp_path)
    assert sum(counts.values()) <= 86, counts.most_common()


def ways_of_a_definition() -> Counter[str]:
    load_definition("overall")  # imports, and the numbers of all tables
    return entered(lambda: load_definition("overall"))


def test_the_rows_of_a_table_are_read_and_validated_in_one_visit_each() -> None:
    """Seven variants from nine files: each file is read once, and no word is looked up for what is right."""
    counts = in_a_fresh_process(ways_of_a_definition)
    assert sum(counts.values()) <= 44 and "rope/parameters.py" not in counts, counts.most_common()

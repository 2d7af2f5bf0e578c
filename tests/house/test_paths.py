"""What pages name is there: files, modules, functions, other pages and their sections; all rooms are named."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from rooms import ORDER

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in (
    "README.md", "CONTRIBUTING.md", "tasks/README.md", "tests/golden/README.md"))])  # fmt: skip
PLACES = (ROOT, *(ROOT / name for name in ("mmrope_eval", "mmrope_demo", "mmrope_synth", "docs", "tests", "tasks")))
FOLDERS = "|".join(sorted({path.name for place in PLACES[:4] for path in place.iterdir() if path.is_dir()}))
NAMED = re.compile(rf"`(?:python )?((?:{FOLDERS})/[\w./+-]*[\w/])`")
"""Paths below a folder of this project, in code quotes."""
ELSEWHERE = re.compile(r"runs/.*|demo/.*|data/.*|.*\b(NAME|ROOM)\b.*|.*\.venv.*|results?/demo2?")
"""What a reader makes, and places in other people's data."""


def anchors(page: Path) -> set[str]:
    """The names of a page's sections, as links write them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_and_link_on_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    named = {name for name in NAMED.findall(text) if not ELSEWHERE.fullmatch(name)}
    assert {name for name in named if not any((place / name).exists() for place in PLACES)} == set()
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if link.startswith(("http", "mailto")):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def test_every_module_and_function_on_a_page_is_there() -> None:
    names = {name for page in PAGES
             for name in re.findall(r"\bmmrope_(?:eval|demo|synth)(?:\.[A-Za-z_]+)+", page.read_text())}  # fmt: skip
    assert len(names) > 5
    for name in names:
        module = name
        rest: list[str] = []
        while True:
            try:
                attribute = importlib.import_module(module)
                break
            except ModuleNotFoundError:
                module, _, last = module.rpartition(".")
                rest.insert(0, last)
        for part in rest:
            assert hasattr(attribute, part), name
            attribute = getattr(attribute, part)


def rows(title: str, page: str = "docs/architecture.md") -> list[list[str]]:
    """The cells of the first table after a heading or a line."""
    lines = (ROOT / page).read_text().partition(title)[2].splitlines()
    table = [line for line in lines if line.startswith("|")]
    end = next((at for at, line in enumerate(lines) if line.startswith("## ")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end] if line in table][2:]


@pytest.mark.parametrize("title", ["# The rooms\n", "## Where to look\n"])
def test_every_room_is_explained_and_leads_to_its_files(title: str) -> None:
    named = {name for row in rows(title) for name in re.findall(r"\w+", row[0])}
    assert set(ORDER) - {"__init__", "__main__"} - named == set()
    assert named <= set(ORDER), named - set(ORDER)


def test_what_may_be_added_has_one_place_and_a_test_that_adds_it() -> None:
    places = {row[0]: (row[1], row[2]) for row in rows("## One place each\n")}
    tests = {"a RoPE variant": "house/test_adding.py", "a kind of layout": "house/test_adding.py",
             "a benchmark": "house/test_adding.py", "a model family": "models/test_adding_a_family.py",
             "a backend": "engine/test_backends.py", "a report's format": "report/test_report_formats.py"}
    for thing, test in tests.items():
        place, seen = places[thing]
        assert "`" in place and f"`tests/{test}`" in seen

"""`mmrope-eval compare`: what differs, how surely, what was not alike, and what only one run has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_files import sample, write_cell

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.report.compare.compare import differences
from mmrope_eval.report.compare.contrasts import family_of
from mmrope_eval.report.compare.pairing import match
from mmrope_eval.report.runs import load_run

RNG = np.random.default_rng(1)


def coins(n: int, chance: float) -> list[float]:
    tosses: list[float] = (RNG.random(n) < chance).astype(float).tolist()
    return tosses


def compare(capsys: pytest.CaptureFixture[str], *argv: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(["compare", *map(str, argv)])
    return code, *capsys.readouterr()


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """B loses 60 of 400 answers in ChartQA, changes a few in LVBench both ways, and gains in RefCOCO."""
    chart, lv, ref = coins(400, 0.7), coins(200, 0.5), coins(300, 0.3)
    worse = [value if i % 5 else 0.0 for i, value in enumerate(chart)]
    other = [1 - value if i in (3, 40, 77, 120) else value for i, value in enumerate(lv)]
    better = [value if i % 4 else 1.0 for i, value in enumerate(ref)]
    a = write_cell(tmp_path / "a", "mrope", {"chartqa": chart, "lvbench": lv, "refcoco_val": ref})
    b = write_cell(tmp_path / "b", "mrope-i", {"chartqa": worse, "lvbench": other, "refcoco_val": better})
    return a, b


def test_it_says_in_words_what_differs(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = compare(capsys, *runs)
    assert (code, err) == (0, "")
    blocks = {block.split(":")[0]: block for block in out.split("\n\n")}
    assert "2 of 3 columns shown to differ at the 5 % level, all of them together." in out
    assert "mrope -> mrope-i, RefCOCO val (acc_50): " in blocks["B is better"]
    assert "points higher" in blocks["B is better"] and "300 samples on 150 pictures or videos" in out
    assert "mrope -> mrope-i, ChartQA (relaxed): " in blocks["B is worse"]
    assert "points lower" in blocks["B is worse"] and "p < 0.001 over all" in blocks["B is worse"]
    assert "LVBench" in blocks["No difference shown"] and "would probably have shown" in blocks["No difference shown"]
    assert "Seed 0." in out


def test_too_few_samples_for_anything_to_show_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_cell(tmp_path / "a", "mrope", {"chartqa": [1.0, 1.0, 0.0]})
    b = write_cell(tmp_path / "b", "mrope-i", {"chartqa": [1.0, 0.0, 0.0]})
    assert "No difference here, however large, could show by itself: these are too few samples." in compare(
        capsys, a, b)[1]


def test_the_numbers_are_those_of_the_samples(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = compare(capsys, *runs, "--json", "--seed", 4)
    report = json.loads(out)
    assert report["seed"] == 4
    chart = next(row for row in report["comparisons"] if row["task"] == "chartqa")
    scores = [load_run(path).scores.set_index("task")["score"]["chartqa"] for path in runs]
    assert (chart["first"], chart["second"]) == pytest.approx(scores)
    assert chart["low"] < chart["change"] < chart["high"] < 0
    assert chart["p"] <= chart["p_adjusted"] <= 3 * chart["p"]
    assert compare(capsys, *runs, "--json", "--seed", 4)[1] == out, "the same seed, the same bytes"


def test_a_tasks_numbers_do_not_depend_on_what_else_is_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    several = differences(family_of(match(*map(load_run, runs)).pairs))
    alone = [load_run(write_cell(tmp_path / f"{path.name}1", cell.variant, {
        "lvbench": load_run(path).samples.query("task == 'lvbench'")["score"].tolist()}))
        for path in runs for cell in load_run(path).cells]
    difference = differences(family_of(match(*alone).pairs))[0]
    same = next(contrast for contrast in several if contrast.task == "lvbench")
    assert (difference.low, difference.high, difference.p) == (same.low, same.high, same.p)


def test_samples_are_paired_by_identity_and_the_rest_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [sample("chartqa", i, i % 2) for i in range(40)]
    a = write_cell(tmp_path / "a", "mrope", {"chartqa": rows[:33], "ai2d": [1, 0]})
    b = write_cell(tmp_path / "b", "mrope", {"chartqa": rows[:2:-1], "docvqa": [1, 0]})
    pair = match(load_run(a), load_run(b)).pairs[0]
    assert (pair.first == pair.second).all() and len(pair.first) == 30
    _, out, _ = compare(capsys, a, b)
    assert "equal scores (" in out and "the same" not in out
    assert "Only in A: AI2D of mrope." in out and "Only in B: DocVQA of mrope." in out
    assert "Only in A, ChartQA of mrope: 3 samples (chartqa/0, chartqa/1, chartqa/2)." in out
    assert "Only in B, ChartQA of mrope: 7 samples (chartqa/39, chartqa/38, " in out and "and 2 more" in out
    _, out, _ = compare(capsys, a, b, "--json")
    assert len(json.loads(out)["comparisons"][0]["only_second"]) == 7


def test_pictures_are_known_where_only_one_run_could_read_them(tmp_path: Path) -> None:
    lost = [sample("chartqa", i, 0, media=[] if i < 2 else [{"fingerprint": f"chartqa-picture-{i // 2}"}],
                   failure={"stage": "media", "cause": "gone"} if i < 2 else None, target=None) for i in range(6)]
    a = write_cell(tmp_path / "a", "mrope", {"chartqa": lost})
    b = write_cell(tmp_path / "b", "mrope", {"chartqa": [1] * 6})
    for first, second in ((a, b), (b, a)):
        assert match(load_run(first), load_run(second)).pairs[0].layout.clusters == 3


def test_the_columns_own_average_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = ["easy"] * 90 + ["hard"] * 10
    values = {"a": [1] * 90 + [0] * 10, "b": [0] * 90 + [1] * 10}
    for name, scores in values.items():
        rows = [sample("mvbench", i, s, target={"answer": "A", "group": groups[i]}) for i, s in enumerate(scores)]
        write_cell(tmp_path / name, "mrope", {"mvbench": rows}, changes={"average": "macro"})
    _, out, _ = compare(capsys, tmp_path / "a", tmp_path / "b", "--json")
    comparison = json.loads(out)["comparisons"][0]
    assert (comparison["first"], comparison["second"], comparison["p"]) == (50.0, 50.0, 1.0)


def test_cells_are_matched_by_variant_or_by_folder(tmp_path: Path) -> None:
    for name, good in (("one", 1), ("two", 0)):
        for variant in ("mrope", "hope"):
            write_cell(tmp_path / name / variant, variant, {"ai2d": [good] * 4})
        write_cell(tmp_path / f"{name}-several" / "x", "mrope", {"ai2d": [good] * 4}, model="x")
        write_cell(tmp_path / f"{name}-several" / "y", "mrope", {"ai2d": [good] * 4}, model="y")
    named = match(load_run(tmp_path / "one"), load_run(tmp_path / "two"))
    assert [pair.cell for pair in named.pairs] == ["hope", "mrope"]
    by_folder = match(load_run(tmp_path / "one-several"), load_run(tmp_path / "two-several"))
    assert [pair.cell for pair in by_folder.pairs] == ["x", "y"]
    part = match(load_run(tmp_path / "one" / "hope"), load_run(tmp_path / "two"))
    assert [pair.cell for pair in part.pairs] == ["hope"]
    assert part.only_second == (("mrope", "AI2D", "ai2d"),)


@pytest.mark.parametrize(("changes", "kind"), [
    ({"prompt_hash": "other"}, "prompts"), ({"scorer_version": 2}, "scorers"), ({"data_fingerprint": "x"}, "data"),
    ({"average": "macro"}, "scorers"), ({"task_version": 9}, "scorers"), ({"prompt_hash": None}, "prompts"),
])
def test_what_is_not_alike_is_said(
    changes: dict[str, Any], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    a = write_cell(tmp_path / "a", "mrope", {"ai2d": [1, 0, 1]})
    b = write_cell(tmp_path / "b", "mrope", {"ai2d": [1, 0, 1]}, changes=changes)
    assert match(load_run(a), load_run(b)).pairs[0].unlike == (kind,)
    assert f"Not alike: the {kind} of AI2D of mrope; a difference may come from there." in compare(capsys, a, b)[1]


def test_nothing_in_common_is_an_error_of_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    a = write_cell(tmp_path / "a", "mrope", {"ai2d": [1]})
    b = write_cell(tmp_path / "b", "mrope", {"docvqa": [1]})
    code, out, err = compare(capsys, a, b)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "no variant and task in common: mrope on ai2d against mrope on docvqa." in err
    write_cell(tmp_path / "c", "mrope", {"ai2d": [1]}, changes={"average": "median"})
    with pytest.raises(UserError, match="average 'median' is unknown"):
        match(load_run(tmp_path / "c"), load_run(tmp_path / "c"))


def test_rows_that_match_by_name_alone_are_not_said_to_have_no_variant_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """Two checkpoints of one variant are told apart by their names, which a run of other checkpoints does not have."""
    single, seeds = tmp_path / "one", tmp_path / "seeds"
    for variant in ("mrope-i", "vanilla"):
        write_cell(single / variant, variant, {"ai2d": [1, 0]})
    for name in ("seedA", "seedB"):
        write_cell(seeds / name, "mrope-i", {"ai2d": [1, 0]}, model=name)
    code, out, err = compare(capsys, single, seeds)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "no variant" not in err
    assert (f"{seeds} has mrope-i more than once, so rows are matched by name, and no name is in both: mrope-i, "
            f"vanilla in {single}; seedA, seedB in {seeds}; compare one row's folder of each.") in err
    assert compare(capsys, single / "mrope-i", seeds / "seedB")[0] == 0

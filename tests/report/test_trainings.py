"""Several trainings of a design: what commands say of them, and that they never take one for the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from report_files import sample, write_cell

from mmrope_demo.run import print_table
from mmrope_eval import cli
from mmrope_eval.report.compare.seed_stats import trainings_needed
from mmrope_eval.report.compare.trainings import designs_of, measured
from mmrope_eval.report.runs import load_run

ROOT = Path(__file__).resolve().parents[2]
DEMO, SEEDS = ROOT / "results" / "demo", ROOT / "results" / "demo-seeds"
QUESTIONS = 400


def call(capsys: pytest.CaptureFixture[str], *argv: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(list(map(str, argv)))
    return code, *capsys.readouterr()


def training(folder: Path, variant: str, level: float, seed: int, *, columns: Sequence[str] = ("chartqa", "ai2d"),
             n: int = QUESTIONS, **more: Any) -> Path:
    """A checkpoint of its own that answers this share of the questions, two about each picture."""
    rng = np.random.default_rng(seed)
    values = {task: (rng.random(n) < level).astype(float).tolist() for task in columns}
    return write_cell(folder, variant, values, model=folder.name, **more)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two designs of four trainings each, eight points apart with trainings two apart; one of another design."""
    for place, (variant, level) in enumerate((("vanilla", 0.50), ("mrope-i", 0.60))):
        for seed in range(4):
            training(tmp_path / variant / f"{variant}-seed{seed}", variant, level + 0.01 * (seed - 1.5),
                     10 * place + seed)
    training(tmp_path / "hope" / "hope", "hope", 0.7, 99)
    return tmp_path


# -- F4: the demo's own trainings -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def demo() -> dict[str, Any]:
    """What `trainings` says of the demo's trainings, for machines."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["trainings", str(DEMO), str(SEEDS), "--format", "json", "--points", "3"]) == 0
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


@pytest.mark.parametrize(("column", "training_sd", "low", "high", "share", "needed"), [
    ("Image", 1.32, 1.05, 4.14, 61, 7), ("Video", 5.8, 3.7, 14.7, 94, 64), ("Grounding", 9.3, 5.9, 23.0, 99, 155),
    ("Overall", 4.34, 2.74, 10.78, 98, 35)])
def test_what_a_training_changes_in_the_demo(
    demo: dict[str, Any], column: str, training_sd: float, low: float, high: float, share: float, needed: int
) -> None:
    spread = demo["spread"][column]
    assert spread["df"] == 5
    assert (spread["training_sd"], spread["low"], spread["high"]) == pytest.approx((training_sd, low, high), abs=0.06)
    assert 100 * spread["training_share"] == pytest.approx(share, abs=0.6)
    assert spread["trainings_needed"]["3"] == needed


def test_no_two_designs_of_the_demo_are_shown_to_differ(demo: dict[str, Any]) -> None:
    assert len(demo["comparisons"]) == 12 and not any(comparison["shown"] for comparison in demo["comparisons"])
    comparison = next(row for row in demo["comparisons"] if (row["first"], row["second"], row["column"])
                      == ("mrope-i", "vanilla", "Grounding"))
    assert comparison["trainings"] == [3, 3] and comparison["by_luck"] == pytest.approx(0.1)
    assert comparison["change"] == pytest.approx(-6.24, abs=0.01) and comparison["low"] < -15 and comparison["high"] > 3


def test_the_page_s_example_is_the_demo_s(demo: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "ci.md").read_text()
    example = page.partition("### An example")[2].partition("\n### ")[0]
    for place, label in enumerate(("vanilla", "MRoPE-I")):
        design = next(row for row in demo["designs"] if row["label"] == label.lower())
        scores = design["scores"]["Grounding"]
        cells = " | ".join([label, *(f"{score:.2f}" for score in scores), f"mean {np.mean(scores):.2f}"])
        assert f"| {cells} |" in example, place
    comparison = next(row for row in demo["comparisons"] if (row["first"], row["second"], row["column"])
                      == ("mrope-i", "vanilla", "Grounding"))
    assert f"{-comparison['change']:.1f} points ahead" in example
    assert f"between −{comparison['high']:.1f} and +{-comparison['low']:.1f}" in example
    image, grounding = demo["spread"]["Image"], demo["spread"]["Grounding"]
    assert f"{grounding['sd']:.1f} points in grounding; {100 * grounding['training_share']:.0f} % of" in example
    assert f"takes {grounding['trainings_needed']['3']} trainings of each design" in example
    assert f"({image['sd']:.1f} points) it takes {image['trainings_needed']['3']}" in example.replace("\n", " ")
    assert [trainings_needed(sd, points) for sd, points in ((0.5, 1), (1, 1), (1, 3))] == [6, 17, 4]


def test_the_tables_intervals_contain_the_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    """vanilla and mrope-i in grounding: disjoint over questions, not over trainings (± 11.6 and ± 6.4)."""
    argv = ("table", "2", DEMO, SEEDS, "--seeds", "mean", "--intervals", "--model", "vanilla*,mrope-i*", "--format",
            "json")
    code, out, err = call(capsys, *argv)
    assert (code, err) == (0, "")
    table = json.loads(out)
    cells = {(cell["row"], cell["column"]): cell for cell in table["cells"]}
    vanilla, other = (cells[row, "Grounding"] for row in ("vanilla", "mrope-i"))
    assert vanilla["high"] > other["low"]
    assert (vanilla["high"] - vanilla["score"], other["high"] - other["score"]) == pytest.approx((11.8, 6.8), abs=0.3)
    notes = {note["kind"]: note["text"] for note in table["notes"] if note["kind"] in ("mean", "incomplete")}
    assert "MMMU 96 of 900" in notes["incomplete"] and "of 2,700," in notes["incomplete"], "VideoMME's own"
    assert "288" not in notes["incomplete"]
    assert "from the lowest to the highest training Image 37.87 to 40.54" in notes["mean"]
    assert "over other questions and, in rows of several trainings, over other trainings" in " ".join(table["remarks"])
    assert not any("one training" in remark for remark in table["remarks"])


def test_the_demo_s_documented_command_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    """`demo --variant mrope-i,mrope-i-seed1`, after the evaluation: the table is of their mean."""
    assert "demo --variant mrope-i,mrope-i-seed1" in (ROOT / "docs" / "demo.md").read_text()
    print_table([DEMO / "runs" / "mrope-i", SEEDS / "mrope-i-seed1"])
    out = capsys.readouterr().out
    assert "mean of 2 runs (mrope-i, mrope-i-seed1), from the lowest to the highest training" in out


# -- designs ----------------------------------------------------------------------------------------------------

def test_designs_differ_where_trainings_do_less(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "trainings", home, "--baseline", "vanilla")
    assert (code, err) == (0, "")
    assert "mrope-i against vanilla:" in out and ": shown." in out
    assert "nothing can be shown" not in out
    assert "Trained once, so that nothing is said of them as designs: hope." in out


@pytest.mark.parametrize("kept", [2, 3])
def test_with_two_or_three_trainings_nothing_is_shown(
    kept: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glob = ",".join(f"*-seed{seed}" for seed in range(kept))
    code, out, _ = call(capsys, "trainings", home, "--model", glob)
    assert code == 0 and ": shown." not in out
    assert f"With {kept} and {kept} trainings nothing can be shown of designs" in out


@pytest.mark.parametrize(("argv", "words"), [
    (("--variant", "mrope"), "--variant mrope: the runs are of hope 1, mrope-i 4, vanilla 4; choose among these"),
    (("--variant", "hope"), "No design here was trained more than once (hope 1)"),
    (("--baseline", "hope"), "--baseline hope is none of the designs with several trainings: mrope-i, vanilla"),
    (("--model", "x*"), "--model x* matches none of the runs' checkpoints"),
])
def test_what_cannot_be_compared_is_said(
    argv: tuple[str, ...], words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "trainings", home, *argv)
    assert (code, out) == (2, "") and words in err


def test_steps_of_a_training_are_no_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (100, 200):
        write_cell(tmp_path / f"s{step}", "mrope", {"ai2d": [1.0, 0.0]}, model=f"run/checkpoint-{step}")
    code, _, err = call(capsys, "trainings", tmp_path)
    assert code == 2 and "training steps are not trainings" in err


def test_the_same_weights_twice_are_one_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, values in (("a", [1.0, 0.0]), ("b", [1.0, 0.0])):
        write_cell(tmp_path / name, "mrope", {"ai2d": values}, model="same")
    assert [len(design.trainings) for design in designs_of([load_run(tmp_path)])] == [1]
    write_cell(tmp_path / "c", "mrope", {"ai2d": [1.0, 1.0]}, model="same")
    code, _, err = call(capsys, "trainings", tmp_path)
    assert code == 2 and "two runs of the same weights have different results" in err


def test_columns_and_samples_that_some_training_lacks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training(tmp_path / "a", "mrope", 0.5, 1)
    training(tmp_path / "b", "mrope", 0.5, 2, columns=("chartqa",), n=300)
    (design,) = designs_of([load_run(tmp_path)])
    measurement = measured([design])
    assert measurement.judged == ("ChartQA",) and measurement.absent == ("AI2D",)
    assert measurement.columns["ChartQA"].left_out == 100
    assert len(measurement.columns["ChartQA"].clusters) == 150
    out = call(capsys, "trainings", tmp_path)[1]
    assert "Left out, as not every training was asked: AI2D." in out
    assert "Samples that only some trainings have, left out: ChartQA 100." in out


def test_an_average_joins_its_columns_by_picture(tmp_path: Path) -> None:
    shared = [{"fingerprint": "one"}]
    lines = {task: [sample(task, i, float(i % 2), media=shared if i < 2 else [{"fingerprint": f"{task} {i}"}])
                    for i in range(6)]
             for task in ("refcoco_val", "refcoco_testA", "refcoco_testB", "refcocoplus_val", "refcocoplus_testA",
                          "refcocoplus_testB", "refcocog_val", "refcocog_test")}
    for name in ("a", "b"):
        write_cell(tmp_path / name, "mrope", lines, model=name)
    measurement = measured(designs_of([load_run(tmp_path)]))
    assert measurement.judged == ("Grounding",)
    (scores,) = measurement.scores("Grounding")
    assert scores.totals == pytest.approx([50, 50]) and scores.parts.shape == (2, 1 + 8 * 4)


# -- compare, check ---------------------------------------------------------------------------------------------

def test_compare_over_trainings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "compare", home / "vanilla", home / "mrope-i", "--seeds", "mean")
    assert (code, err) == (0, "") and out.splitlines()[3] == "2 of 2 comparisons shown to differ at the 5 % level."
    assert "vanilla (vanilla-seed0, vanilla-seed1, vanilla-seed2, vanilla-seed3) -> mrope-i (mrope-i-seed0," in out
    report = json.loads(call(capsys, "compare", home / "vanilla", home / "mrope-i", "--seeds", "mean", "--json")[1])
    assert [comparison["trainings"] for comparison in report["comparisons"]] == [[4, 4], [4, 4]]


@pytest.mark.parametrize(("first", "second", "code", "headline"), [
    ("mrope-i", "vanilla", 0, "Passed"), ("vanilla", "mrope-i", 1, "Failed: 2")])
def test_check_over_trainings(
    first: str, second: str, code: int, headline: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, out, err = call(capsys, "check", home / first, "--against", home / second, "--seeds", "mean")
    assert (exit_code, err) == (code, "") and out.startswith(headline)
    assert f"{second} -> {first}: 4 trainings in the baseline, 4 in this run." in out


def test_a_margin_over_trainings_is_asked_of_something(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Two columns and no average: "Passed", though nothing was asked of any cell.
    line = ("check", home / "mrope-i", "--against", home / "vanilla", "--seeds", "mean")
    code, out, err = call(capsys, *line, "--margin", "2")
    assert (code, out, err.count("\n")) == (2, "", 1) and "--margin-columns 2" in err
    code, out, _ = call(capsys, "check", home / "vanilla", "--against", home / "mrope-i", "--seeds", "mean",
                        "--tolerance", "9", "--margin-columns", "2")
    assert code == 3 and "Train more on each side, or ask for less" in out and "Ask more questions" not in out


def test_a_margin_of_columns_over_trainings_that_judge_averages_alone_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    # A column of an average is not judged over trainings: "Passed", though no column was looked at.
    for seed in (1, 2):
        copytree(SEEDS / f"vanilla-seed{seed}", tmp_path / f"seed{seed}")
    line = ("check", DEMO / "runs" / "vanilla", "--against", tmp_path, "--seeds", "mean")
    assert call(capsys, *line, "--margin", "90", "--margin-columns", "2")[0] == 0
    code, out, err = call(capsys, *line, "--margin-columns", "2")
    assert (code, out, err.count("\n")) == (2, "", 1) and "--margin 2" in err


@pytest.mark.parametrize(("argv", "words"), [
    (("check", "vanilla", "--against", "vanilla"), "both hold the training vanilla-seed0"),
    (("check", "hope", "--against", "hope2"), "hold one training each: with --seeds mean one side needs two"),
    (("check", "hope", "--against", "huang2025"), "--seeds mean needs trainings on both sides"),
    (("compare", "two", "vanilla"), "have no design in common"),
])
def test_sides_that_cannot_be_compared_are_refused(
    argv: tuple[str, ...], words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training(home / "hope2", "hope", 0.5, 5)
    for variant in ("mrope", "hope"):
        training(home / "two" / variant, variant, 0.5, 6)
    line = [str(home / word) if (home / word).exists() else word for word in argv]
    code, out, err = call(capsys, *line, "--seeds", "mean")
    assert (code, out) == (2, "") and words in err


def test_what_one_side_lacks_is_named_and_fails_where_all_is_required(
    home: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path_factory.mktemp("new")
    for seed in range(2):
        training(new / f"v{seed}", "vanilla", 0.5, 60 + seed, columns=("chartqa",))
        training(new / f"m{seed}", "mrope", 0.5, 70 + seed)
    line = ("check", new, "--against", home, "--seeds", "mean")
    code, out, _ = call(capsys, *line)
    assert code == 0
    assert "every column of hope: only the baseline has trainings of it." in out
    assert "AI2D of vanilla: not every training of this run has it." in out
    assert "every column of mrope: the baseline has no trainings of it." in out
    assert call(capsys, *line, "--require-all")[0] == 1
    out = call(capsys, "compare", home, new, "--seeds", "mean")[1]
    assert "Only in A: hope, mrope-i." in out and "Only in B: mrope." in out


def test_trainings_that_were_not_measured_alike_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training(home / "mrope-i" / "later", "mrope-i", 0.6, 50, changes={"prompt_hash": "other"})
    line = ("check", home / "mrope-i", "--against", home / "vanilla", "--seeds", "mean")
    code, _, err = call(capsys, *line)
    assert code == 2 and "different prompts of ChartQA, AI2D" in err and "--allow-different prompts" in err
    code, out, _ = call(capsys, *line, "--allow-different", "prompts")
    assert code == 0 and "Not alike: the prompts of ChartQA, AI2D" in out


# -- one training a row -----------------------------------------------------------------------------------------

ABOUT = "what is said here is about these checkpoints, not about designs"


@pytest.mark.parametrize(("first", "second", "sentence"), [
    ("vanilla-seed0", "vanilla-seed1", "Two trainings of one design, vanilla: "),
    ("vanilla-seed0", "mrope-i-seed0", "One training each: "),
    ("vanilla-seed0", "again", ""),
], ids=["of one design", "of two", "the same weights run twice"])
def test_one_training_against_one_is_about_checkpoints(
    first: str, second: str, sentence: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: home / name.partition("-seed")[0] / name for name in (first, second)}
    paths["again"] = tmp_path / "once" / "vanilla-seed0"
    training(paths["again"], "vanilla", 0.5, 77)
    for line in (("compare", paths[first], paths[second]), ("check", paths[second], "--against", paths[first])):
        out = call(capsys, *line)[1]
        assert (f"{sentence}{ABOUT}" in out) == bool(sentence) and (ABOUT in out) == bool(sentence)


def test_a_table_says_which_rows_are_one_training(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = "Every row is one training: differences are between checkpoints, not shown to be between designs;"
    out = call(capsys, "table", "2", home, "--partial", "--model", "*-seed0,hope")[1]
    assert every in out
    for form in ("html", "latex", "json"):
        assert every in call(capsys, "table", "2", home, "--partial", "--model", "*-seed0", "--format", form)[1]
    out = call(capsys, "table", "2", home, "--partial", "--seeds", "mean")[1]
    assert "One training each: hope; differences from them are between checkpoints" in out and every not in out
    assert "one training" not in call(capsys, "table", "2", home / "hope", "--partial")[1].lower()


def test_one_checkpoint_under_two_variants_is_no_two_trainings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for variant in ("mrope", "hope"):
        training(tmp_path / variant / "same", variant, 0.5, 3)
    assert "one training" not in call(capsys, "table", "2", tmp_path, "--partial")[1].lower()


def test_published_models_are_other_trainings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training(home / "run", "mrope-i", 0.6, 4, columns=("chartqa",))
    out = call(capsys, "check", home / "run", "--against", "huang2025", "--allow-different", "data")[1]
    assert "Published models are other trainings than this run's." in out


# -- counts of several runs -------------------------------------------------------------------------------------

def test_answers_of_several_trainings_add_up_and_the_benchmark_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, failed in enumerate((1, 0, 2)):
        lines = [sample("chartqa", i, 0.0 if i < failed else 1.0,
                        failure={"stage": "engine", "cause": "no"} if i < failed else None) for i in range(24)]
        write_cell(tmp_path / f"t{number}", "vanilla", {"chartqa": lines}, model=f"t{number}")
    out = call(capsys, "table", "2", tmp_path, "--partial", "--seeds", "mean")[1]
    assert "part of the benchmark only: ChartQA 24 of 2,500" in out
    assert "with failed samples, counted wrong: ChartQA (vanilla 3 of 48 in 2 of 3 runs)" in out


# -- intervals of a mean ----------------------------------------------------------------------------------------

def cell_of(run: Path, column: str, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """A cell of Table 2 with its interval."""
    out = call(capsys, "table", "2", run, "--partial", "--intervals", "--format", "json", *argv)[1]
    cell: dict[str, Any] = next(cell for cell in json.loads(out)["cells"] if cell["column"] == column)
    return cell


def test_a_checkpoint_that_was_run_twice_is_one_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its two runs differ a little, as rounding does, and say nothing of other trainings."""
    for name, right in (("once", 200), ("again", 204)):
        write_cell(tmp_path / name, "vanilla", {"ai2d": [1.0] * right + [0.0] * (400 - right)}, model="same")
    cell = cell_of(tmp_path, "AI2D", capsys, "--seeds", "mean")
    assert (cell["runs"], cell["score"]) == (2, 50.5) and cell["high"] - cell["low"] < 16


def test_a_score_of_several_trainings_has_students_interval_and_the_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, right in enumerate((180, 200, 220)):
        write_cell(tmp_path / f"t{number}", "vanilla", {"ai2d": [1.0] * right + [0.0] * (400 - right)},
                   model=f"t{number}")
    alone = cell_of(tmp_path / "t1", "AI2D", capsys)
    cell = cell_of(tmp_path, "AI2D", capsys, "--seeds", "mean")
    half = 4.303 * 5 / 3**0.5  # t of two degrees of freedom, trainings 45, 50 and 55
    assert cell["score"] == 50 and cell["low"] < 50 - half and cell["high"] > 50 + half
    widest = np.hypot(half, max(50 - alone["low"], alone["high"] - 50))
    assert cell["high"] - cell["low"] <= 2 * widest + 0.5


def test_columns_that_other_trainings_have_are_taken_to_move_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ChartQA of two trainings, AI2D of two others: the average is no surer than if they were the same two."""
    def values(right: int) -> list[float]:
        return [1.0] * right + [0.0] * (400 - right)

    for place, apart in enumerate((("chartqa", "ai2d"), ("ai2d", "chartqa"))):
        for number, right in enumerate((190, 210)):
            write_cell(tmp_path / "apart" / f"{place}{number}", "vanilla", {apart[0]: values(right)},
                       model=f"{place}{number}")
    for number, right in enumerate((190, 210)):
        write_cell(tmp_path / "same" / f"{number}", "vanilla", {"chartqa": values(right), "ai2d": values(right)},
                   model=f"{number}")
    same, apart_too = (cell_of(tmp_path / name, "Image", capsys, "--seeds", "mean") for name in ("same", "apart"))
    assert (same["low"], same["high"]) == pytest.approx((apart_too["low"], apart_too["high"]), abs=0.2)
    assert same["high"] - same["low"] > 2 * 12.7 * 2.5 - 1

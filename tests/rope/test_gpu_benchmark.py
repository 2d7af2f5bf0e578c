"""benchmarks/gpu.py, as far as a machine without a GPU can go: its checks, its byte model, what it says and writes.

Kernels run through Triton's interpreter, in a process that chooses it before Triton is imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmrope_eval.rope import variant_names

ROOT = Path(__file__).resolve().parents[2]
MISSING = ("pydantic", "yaml", "vllm", "transformers", "lmms_eval", "liger_kernel", "tabulate", "pandas", "av")
"""What a machine with torch and Triton alone does not have."""


@pytest.fixture(scope="module", autouse=True)
def beside() -> Iterator[None]:
    """Its files find each other as when it is started as a script."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


def module(name: str) -> Any:
    return importlib.import_module(name)


def interpreted(code: str, *, without: tuple[str, ...] = ()) -> Any:
    """What `code` prints last, as JSON, run beside benchmarks/ in a new process where packages are missing."""
    hide = "".join(f"sys.modules[{name!r}] = None\n" for name in without)
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{hide}{code}"],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


# --- what it tries ----------------------------------------------------------------------------------------------------


def test_the_file_of_tables_is_the_catalogue() -> None:
    """If not: python benchmarks/gpu.py --write-tables."""
    cases = module("gpu_cases")
    kept, made = cases.read_tables(), cases.catalogue()
    assert sorted(name for table in kept for name in table.names) == variant_names()
    assert cases.TABLES_FILE.read_text() == cases.written(made)
    for first, second in zip(kept, made, strict=True):
        assert np.array_equal(first.axis, second.axis) and np.array_equal(first.inv_freq, second.inv_freq)
        assert first.attention_factor == second.attention_factor


def test_a_table_is_cut_to_other_heads() -> None:
    table = next(t for t in module("gpu_cases").read_tables() if t.names[0] == "mhrope")
    cut = table.cut(3, 5)
    assert cut.axis.shape == cut.inv_freq.shape == (3, 5) and np.array_equal(cut.axis, table.axis[:3, :5])
    assert np.array_equal(table.cut(10, 64).axis[8:], table.axis[:2])


CHECKS = """
import torch
from gpu_cases import SHAPES, read_tables
from gpu_correct import Scope, check
from gpu_fill import check as check_fill
tables = [t for t in read_tables() if t.names[0] in ("+3d", "mhrope")]
scope = Scope(SHAPES[5:7], tokens=(1, 2, 19), compiled=False, units={torch.bfloat16: 1.01})
lines = [*check(tables, "cpu", scope), *check_fill(tables, "cpu")]
print(json.dumps([[line.what, line.state, line.said] for line in lines]))
"""


def test_every_kernel_is_checked_where_only_torch_and_triton_are() -> None:
    lines = interpreted(CHECKS, without=MISSING)
    states = {what: state for what, state, _ in lines}
    assert len(lines) == 3 + 2 * 3 + 2
    assert states.pop("transformers' own rotation, float32") == "skipped"
    assert set(states.values()) == {"passed"}, lines
    rotations = [sentence for what, _, sentence in lines if what.startswith("rotation")]
    assert all(sentence.startswith("24 rotations") for sentence in rotations), "4 ways, 2 tables, 3 numbers of tokens"


def test_the_formula_of_transformers_is_compared() -> None:
    correct, tables = module("gpu_correct"), module("gpu_cases").read_tables()
    line = correct.formula_of_transformers(tables, "cpu")
    assert line.state == "passed" and line.numbers["error"] < 4e-6


@pytest.mark.parametrize("normed", [False, True])
def test_compiled_layers_are_compared(normed: bool) -> None:
    torch.compiler.reset()
    line = module("gpu_correct").compiled_layers(normed, module("gpu_cases").read_tables(), "cpu")
    assert line.state == "passed", line


def wrong_angle(case: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """One pair of one head turns the other way."""
    q, _ = module("gpu_correct").operator(case)
    case.sin[:, -1:, 3] *= -1
    return q, module("gpu_correct").operator(case)[1]


def also_v(case: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotates, and touches a channel of v."""
    case.packed[-1, -1] += 1
    rotated: tuple[torch.Tensor, torch.Tensor] = module("gpu_correct").operator(case)
    return rotated


def nothing(case: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return case.q, case.k


def not_a_number(case: Any) -> tuple[torch.Tensor, torch.Tensor]:
    q, k = module("gpu_correct").operator(case)
    k[0, 0] = torch.nan
    return q, k


@pytest.mark.parametrize("way", [wrong_angle, also_v, nothing, not_a_number], ids=lambda way: way.__name__)
def test_a_kernel_that_is_wrong_is_found(way: Any) -> None:
    correct, cases = module("gpu_correct"), module("gpu_cases")
    scope = correct.Scope(tokens=(5,))
    line = correct.rotations(cases.SHAPES[7], torch.bfloat16, cases.read_tables()[:1], "cpu", scope, {"wrong": way})
    assert line.state == "failed" and "wrong, +3d, 5 tokens" in line.said


def test_a_fill_that_is_wrong_is_found() -> None:
    correct, tables = module("gpu_correct"), module("gpu_cases").read_tables()
    assert correct.fills_are_accurate(tables, "cpu").state == "passed"

    class OneTokenLate(correct.SharedRotary):  # type: ignore[misc,name-defined]
        def fill(self, encoded: torch.Tensor) -> None:
            super().fill(encoded + 1)

    assert correct.fills_are_accurate(tables, "cpu", OneTokenLate).state == "failed"


def test_a_slice_that_is_wrong_is_found() -> None:
    correct, tables = module("gpu_correct"), module("gpu_cases").read_tables()
    mhrope = [t for t in tables if t.distinct > 1]
    line = correct.slices_of_ranks(mhrope, "cpu", lambda heads, rank, world: slice(0, max(heads // world, 1)))
    assert line.state == "failed" and "rank 1 of 2" in line.said


# --- bytes and seconds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "least", "separate", "shared"), [
    ("Qwen2.5-VL-7B", 16408, 18432, 16896), ("Qwen2.5-VL-72B on 8 GPUs", 4632, 5120, 5120),
    ("Qwen3-VL-8B", 20504, 24576, 20992), ("a quarter of the channels rotate", 3096, 4096, 3200),
])  # fmt: skip
def test_bytes_of_a_token_and_layer(model: str, least: int, separate: int, shared: int) -> None:
    """In bfloat16; docs/fidelity.md has 18,432 for Qwen2.5-VL-7B."""
    speed, (shape,) = module("gpu_speed"), [s for s in module("gpu_cases").SHAPES if s.model == model]
    assert speed.least_bytes(shape, 2) == least
    assert speed.own_bytes(shape, 2, shared_row=False) == separate
    assert speed.own_bytes(shape, 2, shared_row=True) == shared


@pytest.mark.parametrize("tokens", [2, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_byte_model_is_the_size_of_what_is_read_and_written(tokens: int, dtype: torch.dtype) -> None:
    cases, speed = module("gpu_cases"), module("gpu_speed")
    for shape in (cases.SHAPES[0], cases.SHAPES[3], cases.SHAPES[6]):
        case = cases.given(shape, cases.read_tables()[0], tokens, dtype, "cpu")
        shared = case.cos.stride(1) == 0
        once = [t[:, :1] if shared else t for t in (case.cos, case.sin)]
        size = sum(t.numel() * t.element_size() for t in (case.q, case.k, case.q, case.k, *once))
        assert shared == (tokens == 2)
        assert tokens * speed.own_bytes(shape, dtype.itemsize, shared_row=shared) == size


def test_all_candidates_are_timed_or_said_to_be_missing() -> None:
    cases, speed = module("gpu_cases"), module("gpu_speed")
    mrope = next(t for t in cases.read_tables() if "mrope" in t.names)
    lines = list(speed.compared(cases.SHAPES[1], 4, mrope, "cpu", rounds=1))
    line_by_kernel = {line.what.partition(": ")[2]: line for line in lines}
    assert {name for name, line in line_by_kernel.items() if line.state == "measured"} >= {
        speed.COPY, speed.OURS, "ours, in place, one row for all heads", "ours, operator of compiled layers",
        "vLLM's native MRotaryEmbedding", "transformers' function",
    }  # fmt: skip
    if importlib.util.find_spec("liger_kernel") is None:
        assert line_by_kernel["Liger's kernel"].said == "ModuleNotFoundError: No module named 'liger_kernel'"
    assert line_by_kernel["vLLM's Triton kernel"].state == "skipped", "not on CPU"
    copy, ours = line_by_kernel[speed.COPY].numbers, line_by_kernel[speed.OURS].numbers
    assert copy["of_copy"] == ours["to_ours"] == 1
    assert ours["gb_s"] == pytest.approx(ours["bytes"] / ours["us"] / 1e3)
    assert ours["of_copy"] == pytest.approx(ours["gb_s"] / copy["gb_s"])


def test_the_sections_of_a_table() -> None:
    tables = module("gpu_cases").read_tables()
    section = {name: module("gpu_speed").section(t) for t in tables for name in t.names}
    assert section["mrope"] == [16, 24, 24] and section["qwen3-vl"] == [24, 20, 20]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_machine_without_a_gpu_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    out = tmp_path / "found.json"
    assert module("gpu").main(["--only", "correctness", "fill", "speed", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("there is no CUDA device") == 3 and f"3 skipped; 0 s; written to {out}" in printed
    content = json.loads(out.read_text())
    assert content["format"] == 1 and content["counts"] == {"passed": 0, "failed": 0, "measured": 0, "skipped": 3}
    assert content["machine"]["device"] == "CPU" and content["machine"]["torch"] == torch.__version__
    assert [set(line) for line in content["lines"]] == [{"part", "what", "state", "said", "numbers"}] * 3


def test_the_table_and_the_exit_code() -> None:
    lines = module("gpu_lines")
    verdicts = [lines.verdict("a", "one", True, "fine", error=0.5), lines.skipped("bcd", "longer", "no\n  GPU")]
    assert lines.table(verdicts).splitlines() == [
        "part  what    state    result",
        "----  ------  -------  ------",
        "a     one     passed   fine",
        "bcd   longer  skipped  no GPU",
    ]
    assert lines.exit_code(verdicts) == 0
    wrong = [*verdicts, lines.verdict("a", "two", False, "bad")]
    assert lines.exit_code(wrong) == 1
    assert lines.as_json({}, wrong, 1.26)["counts"] == {"passed": 1, "failed": 1, "measured": 0, "skipped": 1}
    assert lines.as_json({}, verdicts, 1.26)["lines"][0]["numbers"] == {"error": 0.5}


def test_time_that_is_used_up_is_said() -> None:
    lines = module("gpu_lines")
    many = (lines.skipped("a", str(i), "") for i in range(9))
    first, last = lines.while_there_is_time("a", lines.Clock(0.0), many)
    assert (first.what, last.what) == ("0", "what is left of it") and "--seconds" in last.said


def test_a_part_that_breaks_is_a_failure_and_the_others_go_on() -> None:
    gpu, lines = module("gpu"), module("gpu_lines")

    def breaks(device: str, clock: Any) -> Iterator[Any]:
        yield lines.verdict("speed", "one", True, "")
        raise RuntimeError("no kernel image")

    after = [lines.skipped("engine", "x", "")]
    parts = {"speed": breaks, "engine": lambda device, clock: iter(after)}
    outcomes = gpu.collect(["speed", "engine"], "cuda", lines.Clock(9.0), lambda words: None, parts=parts)
    assert [line.state for line in outcomes] == ["passed", "failed", "skipped"]
    assert outcomes[1].said == "RuntimeError: no kernel image"


# --- the fill ---------------------------------------------------------------------------------------------------------


def test_kernels_and_bytes_of_a_fill() -> None:
    """The numbers of docs/fidelity.md: kernels a step, and bytes of 8,192 tokens of Qwen2.5-VL-7B."""
    fill, encoding = module("gpu_fill"), module("mmrope_eval.rope.encoding")
    table = next(t for t in module("gpu_cases").read_tables() if "mrope" in t.names).cut(4, 64)
    codec = encoding.PositionCodec()
    rotary, encoded = fill.rotary_of(table, 8192, codec, "cpu"), fill.encoded_positions(8192, codec, "cpu")
    names, moved = fill.operations(lambda: rotary.fill(encoded))
    page = (ROOT / "docs" / "fidelity.md").read_text()
    assert f"{len(names)} kernels and {moved / 1e6:.0f} MB" in page
    shares = ", ".join(f"{len(names) * fill.LAUNCH * FASTEST / model.bytes:.1%}" for model in fill.DECODERS)
    assert shares.replace("%", " %") in page


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("architecture", [80, 90])
def test_the_one_kernel_compiles_to_machine_code(architecture: int, bits: int) -> None:
    """For Ampere and Hopper; sine and cosine are the accurate ones, not the hardware's."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel, codec = module("gpu_fill_kernel").fill_kernel, module("mmrope_eval.rope.encoding").PositionCodec(bits)
    constants = {"LOWEST": codec.lowest, "INTEGER_BITS": codec.integer_bits, "FRACTION": 2.0**-codec.fraction_bits,
                 "WIDE": bits == 64, "PAIRS": 64, "PADDED": 64, "TOKENS": 8}  # fmt: skip
    tensors = {"encoded": f"*i{bits}", "axis": "*i64", "reset": "*i64"}
    tensors |= dict.fromkeys(("freq", "factor", "cos", "sin"), "*fp32")
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else tensors.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": 4})
    assert "st.global" in compiled.asm["ptx"] and ".approx" not in compiled.asm["ptx"]


FASTEST = 0.85 * 3.35e12
"""Bytes a second of an H100, at the share of it that a copy reaches."""


# --- engines ----------------------------------------------------------------------------------------------------------


def compared(**changes: Any) -> Any:
    facts = {"prompt_error": 1e-5, "generated_error": 2e-5, "same_prompt": True, "position_error": 0.0}
    return SimpleNamespace(**{**facts, **changes})


A, B = np.array([-1.0, -2.0]), np.array([-1.0, -2.4])


@pytest.mark.parametrize(("comparisons", "scores", "graphs", "states"), [
    ([compared()], [A, B, A], True, ["passed", "passed"]),
    ([compared()], [A, B, A], False, ["failed", "passed"]),
    ([compared(generated_error=6e-3)], [A, B, A], True, ["failed", "passed"]),
    ([compared(), compared(generated_error=float("nan"))], [A, B, A], True, ["failed", "passed"]),
    ([compared(), compared(same_prompt=False)], [A, B, A], True, ["failed", "passed"]),
    ([compared(position_error=0.1)], [A, B, A], True, ["failed", "passed"]),
    ([compared()], [A, B, B, A], True, ["passed", "failed"]),
    ([compared()], [A, B, A + 0.02], True, ["passed", "failed"]),
], ids=["right", "no graphs", "far off", "nan", "another prompt", "another position", "a switch without effect",
        "no way back"])  # fmt: skip
def test_what_an_engine_came_to(comparisons: list[Any], scores: list[Any], graphs: bool, states: list[str]) -> None:
    lines = module("gpu_engine").lines_of("x, compiled", comparisons, scores, "cuda", graphs=graphs, wanted=True)
    assert [line.state for line in lines] == states


def test_engines_that_are_not_started_are_said() -> None:
    engine, lines = module("gpu_engine"), module("gpu_lines")
    outcomes = list(engine.check("cpu", lines.Clock(1.0)))
    assert [line.state for line in outcomes] == ["skipped"] * 6
    assert [line.said for line in outcomes[4:]] == ["0 GPUs here"] * 2 and "45 seconds" in outcomes[0].said
    (line,) = engine.check("cpu", lines.Clock(1.0), needed=("json", "no_such_package"))
    assert line.said == "not installed: no_such_package"


def test_an_engine_whose_process_dies_fails() -> None:
    (line,) = module("gpu_engine").in_a_process("no such family", "eager", "cpu", 300.0)
    assert line.state == "failed" and "no such family" in line.said


def test_a_tiny_engine_agrees_with_transformers() -> None:
    lines = module("gpu_engine").in_a_process("qwen2.5-vl", "eager", "cpu", 500.0)
    assert [line.state for line in lines] == ["passed", "passed"], lines
    assert lines[0].said.startswith("25 comparisons without CUDA graphs")

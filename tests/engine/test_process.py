"""What the process around vLLM reads and leaves: environment variables of blocks that overlap."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmrope_eval.engine.process import environment, uncollected

ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_that_overlap_take_back_their_own_variables_in_any_order(
    monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    monkeypatch.setenv("KNOWN", "user's")
    monkeypatch.delenv("NEW", raising=False)
    before = dict(os.environ)
    values = ({"KNOWN": "0", "NEW": "0", "ONLY_0": "0"}, {"KNOWN": "1"}, {"NEW": "2", "KNOWN": "2"})
    blocks = [environment(value) for value in values]
    for block in blocks:
        block.__enter__()
    os.environ["LEFT_BY_VLLM"] = "1"
    for count, ended in enumerate(order, 1):
        blocks[ended].__exit__(None, None, None)
        still = [values[number] for number in range(3) if number not in order[:count]]
        for name, usual in (("KNOWN", "user's"), ("NEW", None), ("ONLY_0", None)):
            open_values = [value[name] for value in still if name in value]
            assert os.environ.get(name) == (open_values[-1] if open_values else usual)
    assert dict(os.environ) == before


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_collected_afterwards_if_it_was_before(before: bool) -> None:
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(LookupError), uncollected():
            assert not gc.isenabled()
            raise LookupError
        assert gc.isenabled() == before
    finally:
        gc.enable()


def test_what_vllm_says_before_it_has_a_logger_goes_to_the_log(tmp_path: Path) -> None:
    """As in a run, whose stderr is a stream of ours; in a process of its own, as vLLM may have a logger here."""
    code = """
import io, logging, os, sys
from pathlib import Path
from mmrope_eval.engine.process import words_of_start
sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb"), write_through=True)
with words_of_start(Path(sys.argv[1]), None):
    logging.getLogger("vllm.importing").warning("no Triton")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "log.txt")], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "log.txt").read_text() == "no Triton\n"

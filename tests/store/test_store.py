"""The response store: durable at once, never twice, honest about what it holds."""

from __future__ import annotations

import dataclasses
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import identity

from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure, Generation, MediaFacts, PositionFacts, Response
from mmrope_eval.store import store
from mmrope_eval.task import sample as plan

FACTS = MediaFacts("video", "f", (640, 360), (56, 28), (2, 2, 4), 4, 32, 8.0, 4.0, (0, 31), (0.0, 3.875), 1.0, ("cut",))


def response(sample: str, text: str = "hello") -> Response:
    return Response(sample, text, (1, 2), "stop", 9, (FACTS,), PositionFacts("p", 41.5, -3.25))


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    failure = Failure("t/1", "media", "the file ends early", (FACTS,))
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        kept.put_all([store.Outcome("a", response("t/0"))])
        kept.put_all([store.Outcome("b", failure)])
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        results = kept.get([("a", "t/0"), ("b", "t/1"), ("c", "t/2")])
    assert results == {"t/0": response("t/0"), "t/1": failure}


@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    with store.ResponseStore(tmp_path_factory.mktemp("s") / "r.sqlite") as kept:
        kept.put_all([store.Outcome("a", response("t/0", text))])
        outcome = kept.get([("a", "t/0")])["t/0"]
    assert isinstance(outcome, Response) and outcome.text == text


def test_a_response_is_found_only_under_its_own_identity(tmp_path: Path) -> None:
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        kept.put_all([store.Outcome("weights 1", response("t/0"))])
        assert kept.get([("weights 2", "t/0")]) == {}
        kept.put_all([store.Outcome("weights 2", response("t/0", "other"))])
        assert kept.get([("weights 1", "t/0")])["t/0"] == response("t/0")


def test_two_samples_may_ask_the_same(tmp_path: Path) -> None:
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        kept.put_all([store.Outcome("same", response("t/0"))])
        kept.put_all([store.Outcome("same", response("t/1"))])
        assert set(kept.get([("same", "t/0"), ("same", "t/1")])) == {"t/0", "t/1"}


def test_a_response_is_never_replaced_a_failure_is_and_its_attempts_are_counted(tmp_path: Path) -> None:
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        kept.put_all([store.Outcome("a", Failure("t/0", "engine", "first"))])
        assert not kept.known({"t/0": "a"})["t/0"].final
        kept.put_all([store.Outcome("a", Failure("t/0", "engine", "second"))])
        again = kept.known({"t/0": "a"})["t/0"]
        assert again.final and again.attempts == 2
        assert kept.get([("a", "t/0")])["t/0"] == Failure("t/0", "engine", "second")
        kept.put_all([store.Outcome("a", response("t/0"))])
        kept.put_all([store.Outcome("a", response("t/0", "late duplicate"))])
        kept.put_all([store.Outcome("a", Failure("t/0", "engine", "late failure"))])
        assert kept.get([("a", "t/0")])["t/0"] == response("t/0")
    rows = sqlite3.connect(tmp_path / "r.sqlite").execute("SELECT count(*) FROM responses").fetchone()
    assert rows == (1,)


def test_every_put_survives_kill_9(tmp_path: Path) -> None:
    """The writer kills itself right after its last put returned; nothing is closed or flushed."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from mmrope_eval.messages import Response
        from mmrope_eval.store.store import Outcome, ResponseStore
        kept = ResponseStore(Path(sys.argv[1]))
        for i in range(25):
            kept.put_all([Outcome("a", Response(f"t/{i}", str(i), (i,), "stop", 1))])
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "r.sqlite")], check=False)
    assert done.returncode == -signal.SIGKILL
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        assert len(kept.get(("a", f"t/{i}") for i in range(25))) == 25


def test_each_commit_is_synced(tmp_path: Path) -> None:
    with store.ResponseStore(tmp_path / "r.sqlite") as kept:
        modes = [kept._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]


def test_other_schemas_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store.ResponseStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
    with pytest.raises(UserError, match="store schema 999"):
        store.ResponseStore(path)
    (tmp_path / "no.sqlite").write_bytes(b"this is no database, and long enough to be looked at" * 20)
    with pytest.raises(UserError, match="is no response store"):
        store.ResponseStore(tmp_path / "no.sqlite")


SAMPLE = plan.Sample("t/0", "t", 0, "What is it?", None, ("image-hash",), Generation(16), {"answer": "x"})
CONTEXT = {"weights": "w", "variant": "v", "policy": {"image_max_pixels": 9}, "versions": {}, "dtype": "auto"}


@pytest.mark.parametrize("change", [
    {"prompt": "What is that?"}, {"system": "Be brief."}, {"media": ("other-hash",)}, {"media": ()},
    {"generation": Generation(17)}, {"generation": Generation(16, stop=("\n",))}, {"problem": ("prompt", "empty")},
])
def test_the_identity_covers_the_question(change: dict[str, Any]) -> None:
    assert identity(dataclasses.replace(SAMPLE, **change), CONTEXT) != identity(SAMPLE, CONTEXT)


@pytest.mark.parametrize("key", CONTEXT)
def test_the_identity_covers_the_run(key: str) -> None:
    assert identity(SAMPLE, {**CONTEXT, key: "other"}) != identity(SAMPLE, CONTEXT)


def test_the_identity_covers_nothing_else() -> None:
    moved = dataclasses.replace(SAMPLE, id="u/7", task="u", index=7, target={"answer": "y"})
    assert identity(moved, dict(reversed(CONTEXT.items()))) == identity(SAMPLE, CONTEXT)

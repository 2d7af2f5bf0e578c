"""A file is there whole or as it was, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mmrope_eval.util.files import draft_of, whole, write_text


@pytest.mark.parametrize("lasting", [False, True])
def test_what_was_written_takes_the_place_of_the_file(lasting: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    for text in ("first", "second"):
        with whole(path, lasting=lasting) as draft:
            draft.write_text(text)
        assert path.read_text() == text and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt(), ValueError("x")])
def test_whatever_is_raised_the_file_stays_as_it_was(fault: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("kept")
    with pytest.raises(type(fault)) as raised, whole(path) as draft:
        draft.write_text("half of")
        raise fault
    assert path.read_text() == "kept" and list(tmp_path.iterdir()) == [path]
    if isinstance(raised.value, OSError):
        assert raised.value.filename == str(path), "nobody knows the draft"


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, whole(tmp_path / "x.json"):
        (tmp_path / "other").read_bytes()
    assert raised.value.filename == str(tmp_path / "other")


def test_an_error_without_a_number_names_no_file(tmp_path: Path) -> None:
    """A damaged archive that is being unpacked is no fault of the place that it is unpacked to."""
    with pytest.raises(OSError, match=r"^damaged$") as raised, whole(tmp_path / "x"):
        raise OSError("damaged")
    assert raised.value.filename is None


def test_a_draft_is_hidden_and_beside_its_file(tmp_path: Path) -> None:
    draft = draft_of(tmp_path / "x.json")
    assert draft.parent == tmp_path and draft.name.startswith(".x.json.") and str(os.getpid()) in draft.name


def test_a_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "ä\r\n\n")
    assert (tmp_path / "x").read_bytes() == "ä\r\n\n".encode()

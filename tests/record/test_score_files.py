"""Files that are no responses, `--output` on the responses themselves, keys and ids that stand twice: all said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_record
from mmrope_eval.record.schema import Scores

LINE = json.dumps({"id": "a", "doc": {"question": "q", "answers": ["tea"]}, "response": "tea"})


def score(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = cli.main(["score", *map(str, argv)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("content", "sentence"), [
    (f"{LINE}\n{LINE}\n".encode("utf-16"), "is UTF-16, and not text in UTF-8"),
    (f"{LINE}\n{LINE}\n".encode("utf-32"), "is UTF-16, and not text in UTF-8"),
    (gzip.compress(LINE.encode(), mtime=0), "is packed with gzip"),
    (b"PK\3\4" + LINE.encode(), "is a zip file"),
    (b"", "holds no line to score"),
    (b"\n  \n\r\n", "holds no line to score"),
])  # fmt: skip
def test_a_file_without_lines_of_responses_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, sentence: str
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    code, err = score(capsys, "docvqa", path)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["r.jsonl", "link.jsonl", "sub/../r.jsonl"])
def test_the_responses_are_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(LINE)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.jsonl").symlink_to(path)
    code, err = score(capsys, "docvqa", path, "--output", tmp_path / name)
    assert code == 2 and "is the file of responses itself" in err and path.read_text() == LINE


def test_a_key_that_stands_twice_is_a_bad_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f'{LINE[:-1]}, "response": "coffee"}}\n{LINE}\n')
    code, err = score(capsys, "docvqa", path)
    assert code == 1 and "line 1: it is not JSON (the key 'response' stands twice)" in err and "1 of 2 lines" in err


def test_lines_that_repeat_an_id_are_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{LINE}\n{LINE}\n{LINE}\n")
    code, err = score(capsys, "docvqa", path)
    assert code == 0 and "2 of these lines repeat an `id`; each counts" in err


@pytest.mark.parametrize(("task", "doc", "response"), [
    ("docvqa", {"answers": []}, "tea"),
    ("docvqa", {"answers": [["tea"]]}, "tea"),
    ("docvqa", {"answers": {"a": "tea"}}, "tea"),
    ("chartqa", {"answer": "", "type": "human_test"}, ""),
    ("mmmu", {"answer": "Z", "options": "['a', 'b']", "question_type": "multiple-choice"}, "A"),
])  # fmt: skip
def test_a_right_answer_that_cannot_be_right_is_a_bad_line_as_it_is_in_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, doc: dict[str, object], response: str
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"doc": {"question": "q", **doc}, "response": response}))
    code, err = score(capsys, task, path)
    assert code == 1 and "0 of 1 lines scored" in err and "line 1: the " in err


def test_a_record_with_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"format": 1, "tasks": {}, "tasks": {}}')
    with pytest.raises(UserError, match="the key 'tasks' stands twice"):
        read_record(tmp_path / "scores.json", Scores)

"""`mmrope-eval score TASK FILE.jsonl`: responses from anywhere, scored as a run scores its own.

A line of FILE is a JSON object with

- `doc`: the row's fields under the data set's own names (what the task's target is made of; pictures may be absent); or
  `id`, TASK/ROW as runs write it, by which the row is read from the data set (see `response_line`),
- `response`: the model's text, or null for a sample that failed, which counts as wrong; `prediction` in a run's files,
- and, if wanted, `id`, `media` as in a run's samples/*.jsonl (for boxes: `source_size` and `used_size`), and
  `thought_open`: true where the prompt ended inside a thought that the chat template opened, so that the response
  begins inside it (`--thought-open` says so of every line that does not).

Boxes need the picture's size, (width, height) in pixels, from the first of: `media[0]`; `image_size`, or `width` and
`height`, or `image_width` and `image_height`, in the line or in `doc`; `doc.image` as a path (relative to FILE) or
{"path": ...} or {"width": ..., "height": ...}. Under the coordinates `absolute` they also need the size of the resized
picture that the model saw, `used_size` in the same places; without it the default media policy's is computed and that
is said on stderr.

MVBench's sub-task is `subset` in `doc`, as a run adds it; BLINK's is its row's `sub_task`.

A response may carry what a server left in it: stop tokens, a byte order mark, zero-width characters, and thoughts. No
scorer reads them (`answer_part.answer_part`); another harness' number (`--scorer`) is made from the response as it is.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import SampleError, UserError, sentence
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME
from mmrope_eval.models.families import asked_as
from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.run import results, side_by_side
from mmrope_eval.run.keys import Coordinates, RunKeys, Scorer
from mmrope_eval.run.response_line import LineError, RowsById, RowsError, check_said, family_of_line, in_thought, parse
from mmrope_eval.run.side_by_side import Second
from mmrope_eval.scorer import all as scorers
from mmrope_eval.scorer.all import SecondError, SecondResult
from mmrope_eval.scorer.answer_part import whole_turn
from mmrope_eval.scorer.score import Score
from mmrope_eval.task.registry import Family, TaskSpec, open_registry
from mmrope_eval.task.targets import check_target
from mmrope_eval.task.template import build_target
from mmrope_eval.util.console import say, write_file
from mmrope_eval.util.keys import DATA_ROOT, TASKS_DIR, Keys, Place, Places, argument, field_of, option
from mmrope_eval.util.unread import MARK, WARNING, too_many
from mmrope_eval.words import shortened, visible

Size = tuple[float, float]

CAUSE: Final = 150
"""Characters of a cause at most: a line may hold megabytes, of which a message needs none."""
MESSAGE: Final = 200
"""Characters of an error line at most."""


@dataclass(frozen=True)
class Line:
    """One usable line with its worth."""

    number: int
    id: Any
    doc: Mapping[str, Any]
    response: str | None
    target: Mapping[str, Any]
    assumed_size: bool
    """Whether the size of the resized picture was computed and not given."""
    score: Score

    def row(self) -> dict[str, Any]:
        """The line of the output."""
        named = {} if self.id is None else {"id": self.id}
        scores = dict(self.score.values)
        return {"line": self.number, **named, "scores": scores, "parsed": self.score.parsed, "target": self.target}


@dataclass(frozen=True)
class BadLine:
    """One line that cannot be scored, and why, in at most CAUSE characters."""

    number: int
    cause: str

    @classmethod
    def of(cls, number: int, cause: str) -> BadLine:
        """With the cause cut to size."""
        return cls(number, shortened(cause, CAUSE))

    def message(self, path: Path) -> str:
        """The line for the terminal; of a long path the end is shown."""
        head, place = "mmrope-eval: error: ", visible(f"{path}, line {self.number}: ")
        room = MESSAGE - len(head) - len(self.cause)
        return head + (place if len(place) <= room else f"...{place[-(room - 3):]}") + self.cause

    def row(self) -> dict[str, Any]:
        """The line of the output: nothing is lost, every input line has one."""
        return {"line": self.number, "error": self.cause}


SCORE_FORMAT: Final = """\
a line of FILE:
  {"id": "TASK/ROW", "response": "text, or null where there is none"}     the row is read from the data set; or
  {"doc": {the data set's own fields}, "response": ..., "id": anything, if wanted,
   "thought_open": true where the prompt ended inside a thought that the chat template opened}
  for boxes also the picture's size, "image_size": [width, height], and with coordinates in pixels of the resized
  picture "used_size": [width, height]; in the line or in doc. A run's own samples/TASK.jsonl is such a file.
"""


class ScoreOptions(Keys):
    """What `score` is asked."""

    epilog = SCORE_FORMAT
    task: str = argument("the task whose scorer reads the responses, or its file", metavar="TASK")
    file: Place = argument("JSON lines with `id` or `doc`, and `response`; or a run's samples/TASK.jsonl",
                           metavar="FILE")
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    scorer: Scorer = field_of(RunKeys, "scorer")
    data_root: Place | None = option(
        f"for lines that name their rows by `id`: {DATA_ROOT}", metavar="DIR")
    prompts: str = option(f"family whose coordinates the boxes are written in (default: {DEFAULT_FAMILY_NAME})",
                          DEFAULT_FAMILY_NAME, metavar="FAMILY")
    coordinates: Coordinates | None = field_of(
        RunKeys, "coordinates", "how boxes are written, where it is not the family's way")
    thought_open: bool = option(
        "responses begin inside a thought that the prompt opened, where their line says nothing", False)
    output: Place | None = option("write the scored lines here; default: stdout", metavar="FILE")


def main(args: ScoreOptions) -> int:
    """The command: exit code 0, or 1 when lines could not be used or there is no other number that was asked for."""
    second = side_by_side.second_of(args.scorer)
    refuse_file(args.file, args.output)
    spec, family = task_and_family(args.task, args.prompts, args.coordinates, args.tasks_dir)
    rows = RowsById(spec, family, args.data_root)
    lines = list(score_lines(args.file, spec, family, thought_open=args.thought_open, rows=rows,
                             told=args.coordinates is not None))
    if not lines:
        raise UserError(f"{args.file} holds no line to score; give a file with a JSON object a line.")
    good = [line for line in lines if isinstance(line, Line)]
    bad = [line for line in lines if isinstance(line, BadLine)]
    second_result, problem = second_numbers(second, spec, good) if second is not None else (None, None)
    write(args.output, output_rows(spec, lines, second, second_result))
    for text in (*summary(spec, good, bad), *second_summary(second, spec, good, second_result, problem)):
        say(text, file=sys.stderr)
    for line in bad:
        say(line.message(args.file), file=sys.stderr)
    return int(bool(bad) or problem is not None)


def task_and_family(name: str, prompts: str, coordinates: str | None,
                    folders: Sequence[Path] = ()) -> tuple[TaskSpec, Family]:
    """The one task of that name or file, and how boxes are read. UserError for an unknown name or a suite."""
    registry = open_registry([name], folders)
    specs = registry.select([name])
    if len(specs) != 1:
        raise UserError(f"'{name}' means {len(specs)} tasks; a file holds the responses to one, name it.")
    family = registry.family(prompts)
    return specs[0], family if coordinates is None else dataclasses.replace(family, coordinates=coordinates)


NO_LINES: Final = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "packed with gzip",
                   b"PK": "a zip file", b"\x28\xb5": "packed with zstd", b"BZ": "packed with bzip2",
                   b"\xfd7": "packed with xz"}  # fmt: skip
"""What a file is that begins so, of which some "line" may look good by chance."""


def refuse_file(path: Path, output: Path | None) -> None:
    """UserError for a file that would be overwritten, or that holds no lines of UTF-8."""
    try:
        if output is not None and output.exists() and path.exists() and output.samefile(path):
            raise UserError(f"--output {output} is the file of responses itself, which would be gone; name another.")
        if not path.is_file():  # a pipe's beginning can be read once
            return
        with path.open("rb") as stream:
            head = stream.read(2)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    if head in NO_LINES:
        raise UserError(f"{path} is {NO_LINES[head]}, and not text in UTF-8 with a JSON object a line; convert or "
                        "unpack it.")  # fmt: skip


def score_lines(path: Path, spec: TaskSpec, family: Family, *, thought_open: bool = False,
                rows: RowsById | None = None, told: bool = False) -> Iterator[Line | BadLine]:
    """Every line that is not blank, scored or with its cause. UserError when the file, or rows by id, cannot be read.

    `thought_open` holds for lines that do not say it themselves; `told` is whether the family's coordinates hold for
    lines that do.
    """
    try:
        with path.open("rb") as stream:
            for number, text in enumerate(stream, 1):
                if text.strip():
                    yield score_line(number, text, path.parent, spec, family, thought_open=thought_open,
                                     rows=rows, told=told)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error


def score_line(number: int, text: bytes, folder: Path, spec: TaskSpec, family: Family, *, thought_open: bool = False,
               rows: RowsById | None = None, told: bool = False) -> Line | BadLine:
    """One line; whatever its content, a cause comes back and never an exception, but for `RowsError`."""
    try:
        entry, doc, response = parse(text, rows)
        target = build_target(spec.target, doc)
        check_target(spec.scorer, target)
        check_said(entry, target)
        family = family if told else family_of_line(entry, family)
        assumed = False
        if spec.scorer == "box":
            sizes, assumed = box_sizes(entry, doc, folder, family)
            target |= {"coordinates": family.coordinates, **sizes}
        turn = None if response is None else whole_turn(response, thought_open=in_thought(entry, thought_open))
        score = scorers.score_failure(spec.scorer, target) if turn is None else (
            scorers.SCORERS[spec.scorer](turn, target))
        line = Line(number, entry.get("id"), doc, response, target, assumed, score)
        json_line(line.row())  # numbers that JSON does not have would end the command when all is scored
    except RowsError:
        raise
    except (LineError, SampleError) as error:
        return BadLine.of(number, str(error))
    except Exception as error:  # noqa: BLE001 - fields of the wrong type may raise anything in expressions and scorers
        return BadLine.of(number, f"its doc does not fit task {spec.name} ({sentence(error)}).")
    return line


def json_line(row: Mapping[str, Any]) -> str:
    """One line of the output. ValueError for a number that is not finite. Half of a surrogate pair, which no encoding
    takes, becomes JSON's own escape when the line is written."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


# ---------------------------------------------------------------------------------------------------- sizes of pictures


def box_sizes(entry: Mapping[str, Any], doc: Mapping[str, Any], folder: Path,
              family: Family) -> tuple[dict[str, Size], bool]:
    """`source_size` and `used_size`, and whether the second is computed. LineError when the first is nowhere."""
    media = entry.get("media") or [{}]
    first = media[0] if isinstance(media, Sequence) and isinstance(media[0], Mapping) else {}
    places: tuple[Mapping[str, Any], ...] = (first, entry, doc)
    source = next(filter(None, (declared_size(place, folder) for place in places)), None)
    if source is None:
        raise LineError("it does not say how large the picture is; add `image_size`: [width, height] to its doc.")
    used = next(filter(None, (pair(place.get("used_size"), "used_size") for place in places)), None)
    if used is not None or family.coordinates != "absolute":
        return {"source_size": source, "used_size": used or source}, False
    from mmrope_eval.media.policy import published_size

    used = published_size(int(source[0]), int(source[1]), asked_as(family.name))
    return {"source_size": source, "used_size": used}, True


def declared_size(place: Mapping[str, Any], folder: Path) -> Size | None:
    """The picture's (width, height) as one mapping gives it, or None."""
    for name in ("source_size", "image_size"):
        if place.get(name) is not None:
            return pair(place[name], name)
    for width, height in (("width", "height"), ("image_width", "image_height")):
        if place.get(width) is not None and place.get(height) is not None:
            return pair([place[width], place[height]], f"{width} and {height}")
    image = place.get("image")
    if isinstance(image, Mapping):
        if "width" in image and "height" in image:
            return pair([image["width"], image["height"]], "image")
        image = image.get("path")
    return file_size(folder / image) if isinstance(image, str) else None


def pair(value: Any, name: str) -> Size | None:
    """Two numbers above zero; None for None. LineError for anything else."""
    if value is None:
        return None
    numbers = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not numbers or not all(isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0 for v in value):
        raise LineError(f"its `{name}` is not a width and a height in pixels.")
    return (value[0], value[1])


def file_size(path: Path) -> Size:
    """(width, height) of a picture file; LineError when it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError) as error:
        raise LineError(f"its picture {path} cannot be read ({type(error).__name__}).") from error


# ------------------------------------------------------------------------------------------------------- what comes out


def second_numbers(second: Second, spec: TaskSpec, good: Sequence[Line]) -> tuple[SecondResult | None, str | None]:
    """The other harness' number from the same responses, or why there is none."""
    items = [side_by_side.second_item(second.counterpart(spec), line.doc, line.response, line.target) for line in good]
    try:
        return side_by_side.second_number(second, spec, items), None
    except SecondError as error:
        return None, str(error)


def output_rows(spec: TaskSpec, lines: Sequence[Line | BadLine], second: Second | None,
                result: SecondResult | None) -> Iterator[dict[str, Any]]:
    """One object a line, in the file's order, with the other harness' value beside ours where it was asked for."""
    shares = iter(result.samples if result else ())
    for line in lines:
        row = line.row()
        if second is not None and result is not None and isinstance(line, Line):
            share = next(shares)
            row |= {second.key: share, "agree": side_by_side.agree(line.score.values[spec.metrics[0]], share)}
        yield row


def write(output: Path | None, rows: Iterator[Mapping[str, Any]]) -> None:
    """To a file, whole or not at all, or to the standard output."""
    lines = map(json_line, rows)
    if output is not None:
        write_file(output, "".join(f"{line}\n" for line in lines))
        return
    for line in lines:
        say(line)


def summary(spec: TaskSpec, good: Sequence[Line], bad: Sequence[BadLine]) -> Iterator[str]:
    """The column's numbers as a run would report them for these lines."""
    average = spec.average
    for name in spec.metrics:
        mean = AGGREGATES[average]([Item.of(line.score.values[name], line.target) for line in good])
        value, error = (results.percent(part) for part in (mean.value, mean.stderr))
        spread, alone = ("", "") if error is None else (f" ± {error:.2f}", ", ± as if no two shared a picture or video")
        yield f"{spec.column} {name}: {side_by_side.number(value)}{spread} (n {mean.n}, {average}{alone})"
    failed = sum(line.response is None for line in good)
    unread = sum(line.response is not None and line.score.parsed is None for line in good)
    yield f"{len(good)} of {len(good) + len(bad)} lines scored; {failed} failed, {unread} with no readable answer"
    if too_many(unread, len(good) - failed):
        yield f"{MARK} {WARNING}: {unread} of {len(good) - failed}"
    named = [json.dumps(line.id, sort_keys=True) for line in good if line.id is not None]
    repeated = len(named) - len(set(named))  # a file that was appended to twice, perhaps
    if repeated:
        yield f"{repeated} of these lines repeat an `id`; each counts"
    assumed = sum(line.assumed_size for line in good)
    if assumed:
        yield f"{assumed} lines do not say the resized picture's size (`used_size`); the default media policy's is used"


def second_summary(second: Second | None, spec: TaskSpec, good: Sequence[Line], result: SecondResult | None,
                   problem: str | None) -> Iterator[str]:
    """The other harness' number in one line, and what to know about it."""
    if problem is not None:
        yield f"{problem} (Samples are the lines scored, counted from 0.)"
    if second is not None and result is not None:
        pairs = zip(good, result.samples, strict=True)
        agreed = [side_by_side.agree(line.score.values[spec.metrics[0]], share) for line, share in pairs]
        compared = len(agreed) - agreed.count(None)
        yield (f"{second.title} {result.task} {result.metric}: {result.value:.2f} "
               f"({agreed.count(False)} of {compared} samples differ{'; ' + result.note if result.note else ''})")

"""What the commands around a run are asked: `inspect` before it, `status`, `rescore` and `score` after it."""

from __future__ import annotations

from typing import Any, Final

from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME
from mmrope_eval.run.keys import Coordinates, RunKeys, Scorer
from mmrope_eval.util.keys import DATA_ROOT, TASKS_DIR, Keys, Place, Places, argument, field_of, option

EXAMPLES: Final = """\
examples:
  what a checkpoint holds, under which RoPE and how it would be asked
    mmrope-eval inspect CKPT
  what is asked differently from one to another, and whether one engine serves them
    mmrope-eval inspect CKPT_A CKPT_B=mrope-i 'RUN/checkpoint-*'

Exit code 0, 1 where a checkpoint is broken or cannot be evaluated without an answer from you, 2 for bad input.
"""

SCORE_FORMAT: Final = """\
a line of FILE:
  {"id": "TASK/ROW", "response": "text, or null where there is none"}     the row is read from the data set; or
  {"doc": {the data set's own fields}, "response": ..., "id": anything, if wanted,
   "thought_open": true where the prompt ended inside a thought that the chat template opened}
  for boxes also the picture's size, "image_size": [width, height], and with coordinates in pixels of the resized
  picture "used_size": [width, height]; in the line or in doc. A run's own samples/TASK.jsonl is such a file.
"""


class InspectOptions(Keys):
    """What `inspect` is asked."""

    epilog = EXAMPLES
    model: list[str] = argument(
        "checkpoints, named as for --model of 'run': folders, quoted globs, runs with checkpoint-* folders, LoRA "
        "adapters, hub names, CKPT=VARIANT", [], metavar="CKPT", nargs="*")
    models: Places | None = field_of(RunKeys, "models")
    assume_stock: bool = field_of(RunKeys, "assume_stock")
    set: dict[str, Any] = field_of(RunKeys, "set", "override one parameter of every variant; may be repeated")
    variant: str | None = option("RoPE variant by name or YAML path, as if 'run' were given it", metavar="NAME")
    no_weights: bool = option("read headers only: no fingerprint, no check for values that are not finite", False)
    as_json: bool = option("print one JSON object", False, name="json")


class StatusOptions(Keys):
    """What `status` is asked."""

    output: Place = argument("the --output of a run or a study", metavar="OUTPUT")
    as_json: bool = option("print one JSON object", False, name="json")


class RescoreOptions(Keys):
    """What `rescore` is asked."""

    run: Place = argument("the --output of a run, or one of its rows", metavar="RUN")
    scorer: Scorer = field_of(RunKeys, "scorer")
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    output: Place | None = option("write here instead of into the run", metavar="DIR")
    data_root: Place | None = option("local mirror of the datasets; default: where the run had it", metavar="DIR")


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

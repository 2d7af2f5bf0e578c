"""`mmrope-eval score`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import key_options, options_as
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME
from mmrope_eval.run.keys import ROOT

SCORE_FORMAT = """\
a line of FILE:
  {"id": "TASK/ROW", "response": "text, or null where there is none"}     the row is read from the data set; or
  {"doc": {the data set's own fields}, "response": ..., "id": anything, if wanted,
   "thought_open": true where the prompt ended inside a thought that the chat template opened}
  for boxes also the picture's size, "image_size": [width, height], and with coordinates in pixels of the resized
  picture "used_size": [width, height]; in the line or in doc. A run's own samples/TASK.jsonl is such a file.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`: a task, a file of responses, how boxes are read."""
    parser.epilog = SCORE_FORMAT
    parser.add_argument("task", metavar="TASK", help="the task whose scorer reads the responses, or its file")
    parser.add_argument("file", metavar="FILE", type=Path,
                        help="JSON lines with `id` or `doc`, and `response`; or a run's samples/TASK.jsonl")
    key_options(parser, "tasks_dir", "scorer",
                data_root=f"for lines that name their rows by `id`: {ROOT}; default: HF_HOME, then the hub",
                prompts=f"family whose coordinates the boxes are written in (default: {DEFAULT_FAMILY_NAME})",
                coordinates="how boxes are written, where it is not the family's way")
    parser.add_argument("--thought-open", action="store_true",
                        help="responses begin inside a thought that the prompt opened, where their line says nothing")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the scored lines here; default: stdout")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `run.score_file`)."""
    from mmrope_eval.run.score_file import ScoreOptions, main

    return main(options_as(ScoreOptions, args))

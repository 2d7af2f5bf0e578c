"""`mmrope-eval study`: what it is asked, and what it does."""

from __future__ import annotations

import sys
from typing import Final

from mmrope_eval.cli.options import flags
from mmrope_eval.cli.run import show
from mmrope_eval.run.keys import DRY_RUN, EngineKeys, RunKeys, TalkKeys
from mmrope_eval.util.keys import ROOT, Paths, PathText, Place, Seeds, Share, Whole, argument, field_of, option

EXAMPLES: Final = """\
examples:
  all runs of a file, each checkpoint's weights loaded once; the same command continues
    mmrope-eval study study.yaml --replicas auto
  how far it is, from another shell
    mmrope-eval status results/study
"""


class StudyOptions(EngineKeys, TalkKeys):
    """What `study` is asked: its file, where results go, how the engine runs."""

    groups = ("engine", "what is said")
    epilog = EXAMPLES
    file: Place = argument("the study's YAML file (docs/study.md)", metavar="FILE")
    output: PathText | None = field_of(RunKeys, "output", "where results go; default: the file's `output`")
    data_root: PathText | None = field_of(RunKeys, "data_root", f"{ROOT}; default: the file's `data_root`")
    tasks_dir: Paths | None = field_of(RunKeys, "tasks_dir")
    cache_dir: PathText | None = field_of(RunKeys, "cache_dir")
    fresh: bool = field_of(RunKeys, "fresh")
    no_cache: bool = field_of(RunKeys, "no_cache")
    max_failures: Whole | Share | None = field_of(
        RunKeys, "max_failures", "give a row up once more than N of its samples have failed (0.05: more than 5 %% of "
        "them)")
    dry_run: bool = option(DRY_RUN, False)
    seed: Seeds = field_of(RunKeys, "seed", group="engine")


def main(options: StudyOptions) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    from mmrope_eval.run.run import report
    from mmrope_eval.study.study import Study, read_study, run_configs, run_study

    given = flags(options, Study, "seed")
    if options.dry_run:
        return show(run_configs(read_study(options.file, given), options.file))
    results = run_study(options.file, given, command=sys.argv)
    for result in results:
        report(result)
    return max(result.code for result in results)
